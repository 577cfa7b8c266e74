"""~/goal_path: a path or lane to keep to, for robots without Nav2. FollowPath does the same with an outcome."""

from __future__ import annotations

from collections.abc import Callable

from nav_msgs.msg import Path
from rclpy.node import Node

from jepa_ros.planning.route import Progress, Route
from jepa_ros.ros import readers
from jepa_ros.ros.planner.controller import Controller, ControllerConfig
from jepa_ros.ros.planner.follow import PathTask
from jepa_ros.ros.planner.follow_path import poses_of


class GoalPath:
    """Listens from construction to `close()`. A newer path takes over without a halt; an empty one stops the robot."""

    def __init__(self, node: Node, config: Callable[[], ControllerConfig], controller: Controller) -> None:
        self._node = node
        self._config = config
        self._controller = controller
        self._subscription = node.create_subscription(Path, "~/goal_path", self._on_path, 1)

    def close(self) -> None:
        self._node.destroy_subscription(self._subscription)

    def _on_path(self, message: Path) -> None:
        try:
            route = Route(poses_of(message))
        except ValueError as error:
            self._controller.give_up(str(error))
            if message.poses:
                self._node.get_logger().warning(f"~/goal_path is not followed: {error}", throttle_duration_sec=5.0)
            return
        config, header = self._config(), message.header
        frame = (header.frame_id or message.poses[0].header.frame_id).lstrip("/")
        progress = Progress(config.progress_radius_m, config.progress_allowance_s)
        self._controller.follow(PathTask(route, frame, readers.stamp_ns_of(header.stamp), progress, lambda: False, lambda _: None))
