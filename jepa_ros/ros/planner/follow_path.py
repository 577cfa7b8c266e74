"""The controller behind Nav2's FollowPath action: a global path in, commands out, as Nav2's controller server does it. Needs nav2_msgs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from nav_msgs.msg import Path
from rclpy.action import ActionServer, CancelResponse, GoalResponse
from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.node import Node

from jepa_ros.planning.route import Progress, Route, limited_speed
from jepa_ros.ros import conversions, readers
from jepa_ros.ros.planner.config import PlannerNodeConfig
from jepa_ros.ros.planner.controller import Controller
from jepa_ros.ros.planner.follow import End, PathTask, Tracking
from jepa_ros.ros.planner.nav2 import failed
from jepa_ros.types import FloatArray

try:
    from nav2_msgs.action import FollowPath
    from nav2_msgs.msg import SpeedLimit
except ImportError:  # the pip home, or a robot without Nav2
    FollowPath = SpeedLimit = None

# The names that Nav2's own trees and parameters give to the one of each kind that this server is.
NAMES = {
    "controller_id": ("", "FollowPath", "jepa_ros"),
    "goal_checker_id": ("", "general_goal_checker", "goal_checker"),
    "progress_checker_id": ("", "progress_checker"),
    "path_handler_id": ("", "PathHandler"),
}


class FollowPathServer:
    """Serves from construction to `close()`."""

    @classmethod
    def offer(
        cls, node: Node, config: Callable[[], PlannerNodeConfig], is_active: Callable[[], bool], controller: Controller
    ) -> FollowPathServer | None:
        """None where nav2_msgs is not installed."""
        return None if FollowPath is None else cls(node, config, is_active, controller)

    def __init__(self, node: Node, config: Callable[[], PlannerNodeConfig], is_active: Callable[[], bool], controller: Controller) -> None:
        self._node = node
        self._config = config
        self._is_active = is_active
        self._controller = controller
        self._limits = node.create_subscription(SpeedLimit, "speed_limit", self._on_limit, 10)
        self._server = ActionServer(
            node,
            FollowPath,
            config().controller.follow_path,
            self._execute,
            callback_group=ReentrantCallbackGroup(),
            goal_callback=lambda _: GoalResponse.ACCEPT if self._is_active() else GoalResponse.REJECT,
            cancel_callback=self._on_cancel,
        )

    def close(self) -> None:
        self._server.destroy()
        self._node.destroy_subscription(self._limits)

    def _on_cancel(self, _: Any) -> CancelResponse:
        """bt_navigator waits 50 ms for the end of what it cancels, which is as long as the controller's timer may take to look."""
        executor = self._node.executor
        if executor is not None:
            executor.create_task(self._controller.check_path)  # after this callback, when the goal's handle says that it is cancelled
        return CancelResponse.ACCEPT

    async def _execute(self, handle: Any) -> Any:
        goal = handle.request
        for field, names in NAMES.items():
            asked = getattr(goal, field, "")  # older releases have fewer
            if asked not in names:
                self._controller.give_up(f"{field} = {asked!r}")  # as Nav2 does: the path before this one ends, too
                return failed(
                    handle, FollowPath.Result(), "INVALID_CONTROLLER", f"{field} = {asked!r}: give one of {', '.join(map(repr, names))}"
                )
        try:
            route = Route(poses_of(goal.path))
        except ValueError as error:
            self._controller.give_up("the path is invalid")
            return failed(handle, FollowPath.Result(), "INVALID_PATH", str(error))
        config, header = self._config().controller, goal.path.header
        task = PathTask(
            route,
            (header.frame_id or goal.path.poses[0].header.frame_id).lstrip("/"),
            readers.stamp_ns_of(header.stamp),
            Progress(config.progress_radius_m, config.progress_allowance_s),
            lambda: handle.is_cancel_requested,
            lambda tracking: self._tell(handle, tracking),
        )
        self._controller.follow(task)
        how, message = await task.done
        if how is End.REACHED:
            handle.succeed()
            return FollowPath.Result()
        if handle.is_cancel_requested:
            handle.canceled()
            return FollowPath.Result()
        if how is End.REPLACED:  # not an error: whoever sent the new path is told no code
            handle.abort()
            return FollowPath.Result()
        return failed(handle, FollowPath.Result(), how.name, message)

    def _tell(self, handle: Any, tracking: Tracking) -> None:
        """In the planning thread."""
        if not handle.is_active:
            return
        feedback = FollowPath.Feedback()
        content = getattr(feedback, "tracking_feedback", feedback)  # in older releases distance and speed are all there is
        content.distance_to_goal, content.speed = float(tracking.distance_m), float(tracking.speed_mps)
        if content is not feedback:
            content.header = conversions.header_message(tracking.stamp_ns, self._controller.fixed_frame)
            content.robot_pose.header = content.header
            content.robot_pose.pose = conversions.planar_pose_message(*tracking.pose.tolist())
            content.position_tracking_error = float(tracking.along.off_m)
            content.heading_tracking_error = float(tracking.along.heading_off_rad)
            content.current_path_index = tracking.along.segment
            content.remaining_path_length = float(tracking.along.left_m)
        handle.publish_feedback(feedback)

    def _on_limit(self, message: Any) -> None:
        most_mps = self._config().planner.limits.max_speed_mps
        try:
            self._controller.max_speed_mps = limited_speed(most_mps, message.speed_limit, message.percentage)
        except ValueError as error:
            self._node.get_logger().warning(f"speed_limit is ignored: {error}", throttle_duration_sec=5.0)


def poses_of(path: Path) -> FloatArray:
    """(N, 3) x m, y m, yaw rad; only the last pose has a heading, and none (NaN) where its quaternion is zero. Raises ValueError."""
    if not path.poses:
        raise ValueError("the path holds no pose")
    places = np.array([(stamped.pose.position.x, stamped.pose.position.y, np.nan) for stamped in path.poses])
    turn = path.poses[-1].pose.orientation
    if (turn.x, turn.y, turn.z, turn.w) != (0.0, 0.0, 0.0, 0.0):
        matrix = readers.matrix_of(path.poses[-1].pose)
        places[-1, 2] = np.arctan2(matrix[1, 0], matrix[0, 0])
    return places
