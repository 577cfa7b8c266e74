"""~/annotated_image: the camera's picture with boxes, ways and the plan. Nothing is loaded or subscribed without a subscriber."""

from __future__ import annotations

import numpy as np
from geometry_msgs.msg import PolygonStamped
from nav_msgs.msg import Path
from rclpy.lifecycle import LifecycleNode
from rclpy.qos import DurabilityPolicy, QoSProfile
from rclpy.subscription import Subscription
from sensor_msgs.msg import Image

from jepa_ros.planning.footprint import Footprint
from jepa_ros.ros import readers
from jepa_ros.ros.conversions import Frames, byte_array
from jepa_ros.ros.stamps import header_message
from jepa_ros.types import Observation, SceneState

LATCHED = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
PLAN_HOLDS_NS = 2_000_000_000  # an older plan is not shown


class AnnotatedImage:
    """One publisher. `publish` is called by the thread that publishes everything else."""

    def __init__(self, node: LifecycleNode, path_topic: str) -> None:
        """path_topic: where the planner tells its newest plan; it tells its shape on `footprint` beside that."""
        self._node = node
        self._path_topic = path_topic
        self._publisher = node.create_lifecycle_publisher(Image, "~/annotated_image", 1)
        self._listens: list[Subscription] = []
        self._robot: Footprint | None = None  # as the planner tells it; without it no plan is drawn
        self._way: tuple[int, np.ndarray] | None = None  # stamp, and (L, 3) in the fixed frame

    def publish(self, state: SceneState, frames: Frames, observation: Observation) -> None:
        """Draw and publish, if there is a subscriber and a camera."""
        if not self._publisher.get_subscription_count():
            self._stop_listening()
            return
        if not self._listens:
            shape_topic = f"{self._path_topic.rpartition('/')[0]}/footprint"
            self._listens = [
                self._node.create_subscription(Path, self._path_topic, self._on_path, 1),
                self._node.create_subscription(PolygonStamped, shape_topic, self._on_footprint, LATCHED),
            ]
        from jepa_ros.viz.overlay import annotated  # it draws: a second to import, and only for this

        way = self._way
        shown = way[1] if way is not None and abs(state.stamp_ns - way[0]) < PLAN_HOLDS_NS else None
        drawn = annotated(observation, state, shown if self._robot else None, self._robot or Footprint())
        if drawn is None:
            return
        camera, picture = drawn
        height, width = picture.shape[:2]
        header = header_message(camera.stamp_ns, frames.base)
        self._publisher.publish(Image(header=header, height=height, width=width, encoding="rgb8", step=3 * width, data=byte_array(picture)))

    def destroy(self) -> None:
        self._stop_listening()
        self._node.destroy_lifecycle_publisher(self._publisher)

    def _stop_listening(self) -> None:
        for subscription in self._listens:
            self._node.destroy_subscription(subscription)
        self._listens, self._way, self._robot = [], None, None

    def _on_footprint(self, message: PolygonStamped) -> None:
        self._robot = Footprint(corners=tuple((point.x, point.y) for point in message.polygon.points)) if message.polygon.points else None

    def _on_path(self, message: Path) -> None:
        """An empty one: the last plan holds no more."""
        matrices = [readers.matrix_of(stamped.pose) for stamped in message.poses]
        poses = np.array([(m[0, 3], m[1, 3], np.arctan2(m[1, 0], m[0, 0])) for m in matrices])
        self._way = (readers.stamp_ns_of(message.header.stamp), poses) if len(poses) else None
