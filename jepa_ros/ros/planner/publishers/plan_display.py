"""Publishes the newest path, the robot's shape, and the shape along the path."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from geometry_msgs.msg import Point, Point32, Polygon, PolygonStamped, Quaternion, Vector3
from nav_msgs.msg import Path
from rclpy.lifecycle import LifecycleNode
from rclpy.qos import DurabilityPolicy, QoSProfile
from std_msgs.msg import ColorRGBA
from visualization_msgs.msg import Marker, MarkerArray

from jepa_ros.planning import PlannerConfig
from jepa_ros.planning.footprint import Footprint
from jepa_ros.ros.autoware.trajectory import trajectory_of, trajectory_type
from jepa_ros.types import Plan

LATCHED = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
STEPS = 2  # of a path, from one drawn shape to the next
LINE_M = 0.03
COLOUR = ColorRGBA(r=0.1, g=0.78, b=0.35, a=0.7)


class PlanDisplay:
    """Publishers from the node's making on: `path` takes every path, empty ones, too. Called by the planning thread."""

    def __init__(self, node: LifecycleNode, config: Callable[[], PlannerConfig]) -> None:
        self._node = node
        self._config = config
        self._path = node.create_lifecycle_publisher(Path, "~/path", 1)
        self._shape = node.create_lifecycle_publisher(PolygonStamped, "~/footprint", LATCHED)
        self._markers = node.create_lifecycle_publisher(MarkerArray, "~/markers", 1)
        kind = trajectory_type()
        self._trajectory = None if kind is None else node.create_lifecycle_publisher(kind, "~/trajectory", 1)
        self._told: tuple[str, Footprint] | None = None

    def path(self, message: Path, plan: Plan | None = None, start_mps: float = 0.0) -> None:
        """plan: that the path is of; None = the last one holds no more. start_mps: forward speed at its beginning."""
        self._path.publish(message)
        if self._trajectory is not None and self._trajectory.get_subscription_count():
            config = self._config()
            wheelbase_m = config.limits.wheelbase_m if config.kinematics == "bicycle" else 0.0
            self._trajectory.publish(trajectory_of(message, plan, start_mps, wheelbase_m))
        if self._markers.get_subscription_count():
            self._markers.publish(markers_along(message, self._config().body))

    def base(self, frame: str) -> None:
        """Set the robot's frame, from the newest forecast, and publish its shape in it once."""
        shape = (frame, self._config().body)
        if shape != self._told and self._shape.is_activated:
            self._told = shape
            corners = [Point32(x=x, y=y) for x, y in shape[1].outline_N2.tolist()]
            message = PolygonStamped(polygon=Polygon(points=corners))
            message.header.frame_id, message.header.stamp = frame, self._node.get_clock().now().to_msg()
            self._shape.publish(message)


def markers_along(path: Path, footprint: Footprint) -> MarkerArray:
    """One marker: the shape at every second pose of a path and at its last. Deletes what was shown where the path is empty."""
    if not path.poses:
        return MarkerArray(markers=[Marker(header=path.header, ns="footprint", action=Marker.DELETEALL)])
    places = [stamped.pose for stamped in path.poses[::-STEPS]]
    poses_L3 = np.array([(place.position.x, place.position.y, yaw_of(place.orientation)) for place in places])
    lines = []
    for outline_N2, place in zip(footprint.placed(poses_L3).tolist(), places, strict=True):
        corners = [Point(x=x, y=y, z=place.position.z) for x, y in outline_N2]
        for one, next_ in zip(corners, (*corners[1:], corners[0]), strict=True):
            lines += [one, next_]
    marker = Marker(header=path.header, ns="footprint", type=Marker.LINE_LIST, scale=Vector3(x=LINE_M), color=COLOUR, points=lines)
    return MarkerArray(markers=[marker])


def yaw_of(turn: Quaternion) -> float:
    """Heading of a pose on the ground, rad."""
    return math.atan2(2.0 * (turn.w * turn.z + turn.x * turn.y), 1.0 - 2.0 * (turn.y**2 + turn.z**2))
