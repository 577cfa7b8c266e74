"""The world model's publishers. A message is built only while there is a subscriber."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from nav_msgs.msg import OccupancyGrid
from rclpy.lifecycle import LifecycleNode
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import PointCloud2
from visualization_msgs.msg import MarkerArray

from jepa_ros.config import param, validate
from jepa_ros.msg import LatentForecast, LatentState, ObjectForecastArray, OccupancyForecast, PedestrianForecastArray
from jepa_ros.objects.scene.cells import with_movers
from jepa_ros.protocols import ModelSpec
from jepa_ros.ros import conversions
from jepa_ros.ros.autoware.objects import predicted_objects_message, predicted_objects_type
from jepa_ros.ros.conversions import Frames
from jepa_ros.ros.world_model.annotated import AnnotatedImage
from jepa_ros.ros.world_model.costmaps import HORIZONS_S, predicted_obstacles_message, reaches
from jepa_ros.ros.world_model.markers import marker_array
from jepa_ros.ros.world_model.objects import detections_message, detections_type, objects_message
from jepa_ros.types import NANOSECONDS, Observation, SceneState

RELIABLE = QoSProfile(depth=5, reliability=ReliabilityPolicy.RELIABLE)
MAP = QoSProfile(depth=1, reliability=ReliabilityPolicy.RELIABLE, durability=DurabilityPolicy.TRANSIENT_LOCAL)  # as Nav2 listens to maps
OF_OCCUPANCY = ("occupancy", "occupancy_grid", "predicted_obstacles", *(f"occupancy_grid/{name}" for name in HORIZONS_S))


@dataclass(frozen=True)
class OutputConfig:
    """How much of it is published. A running node takes changes."""

    top_modes: int = param(6, "forecast modes published for each person, likeliest first", at_least=1, at_most=100, read_only=False)
    markers_period_s: float = param(
        0.2,
        "least time between two ~/markers, which are expensive to build, s; 0 = with every output",
        at_least=0.0,
        at_most=60.0,
        read_only=False,
    )
    grid_horizon_s: float = param(
        1.2, "which step ~/occupancy_grid shows, s after the stamp; 0 = now", at_least=0.0, at_most=60.0, read_only=False
    )

    predicted_obstacles_s: float = param(
        2.4, "~/predicted_obstacles shows what will be occupied within this time, s", at_least=0.0, at_most=60.0, read_only=False
    )
    predicted_obstacles_beside_m: float = param(
        4.0, "and this near to the path that the robot drives by then, m", at_least=0.1, at_most=100.0, read_only=False
    )

    plan_topic: str = param("planner/path", "whose plan ~/annotated_image shows; used at configure", read_only=False)

    def __post_init__(self) -> None:
        validate(self)


def grid_at(horizon_s: float, state: SceneState, frames: Frames) -> OccupancyGrid | None:
    """None where the forecast does not reach so far."""
    return conversions.occupancy_grid_message(state, horizon_s, frames) if reaches(state, horizon_s) else None


class Outputs:
    """The publishers of one configured model."""

    def __init__(self, node: LifecycleNode, spec: ModelSpec, forecasters: tuple[str, str], config: Callable[[], OutputConfig]) -> None:
        """`forecasters`: names of those of people and of vehicles."""

        def pedestrians(state: SceneState, frames: Frames) -> PedestrianForecastArray:
            return conversions.pedestrians_message(state, forecasters[0], frames, config().top_modes)

        def objects(state: SceneState, frames: Frames) -> ObjectForecastArray:
            return objects_message(state, forecasters, frames, config().top_modes)

        builders: dict[str, tuple[type, Callable[[SceneState, Frames], Any]]] = {
            "latent": (LatentState, lambda state, frames: conversions.latent_state_message(state, spec, frames)),
            "latent_forecast": (LatentForecast, lambda state, frames: conversions.latent_forecast_message(state, spec, frames)),
            "occupancy": (OccupancyForecast, conversions.occupancy_message),
            "pedestrians": (PedestrianForecastArray, pedestrians),
            "objects": (ObjectForecastArray, objects),
            "occupancy_grid": (
                OccupancyGrid,
                lambda state, frames: conversions.occupancy_grid_message(state, config().grid_horizon_s, frames),
            ),
            "predicted_obstacles": (
                PointCloud2,
                lambda state, frames: predicted_obstacles_message(
                    state, config().predicted_obstacles_s, config().predicted_obstacles_beside_m, frames
                ),
            ),
            "markers": (MarkerArray, lambda state, frames: marker_array(state, frames, config().top_modes)),
        }
        detections = detections_type()
        if detections is not None:
            builders["detections"] = (detections, detections_message)
        predicted = predicted_objects_type()
        if predicted is not None:
            builders["predicted_objects"] = (predicted, lambda state, frames: predicted_objects_message(objects(state, frames)))
        for name, horizon_s in HORIZONS_S.items():
            builders[f"occupancy_grid/{name}"] = (OccupancyGrid, partial(grid_at, horizon_s))
        self._node = node
        self._config = config
        self._publishers = {
            topic: (node.create_lifecycle_publisher(kind, f"~/{topic}", MAP if kind is OccupancyGrid else RELIABLE), build)
            for topic, (kind, build) in builders.items()
        }
        self._annotated = AnnotatedImage(node, config().plan_topic)
        self._marked_ns: int | None = None

    def publish(self, state: SceneState, frames: Frames, observation: Observation | None = None) -> None:
        """observation: that the state was made from; without one there is no annotated image."""
        heard = {topic for topic, (publisher, _) in self._publishers.items() if publisher.get_subscription_count()}
        if not heard.isdisjoint(OF_OCCUPANCY):
            state = with_movers(state)
        for topic, (publisher, build) in self._publishers.items():
            if topic in heard and (topic != "markers" or self._markers_are_due(state.stamp_ns)):
                message = build(state, frames)
                if message is not None:
                    publisher.publish(message)
        if observation is not None:
            self._annotated.publish(state, frames, observation)

    def destroy(self) -> None:
        for publisher, _ in self._publishers.values():
            self._node.destroy_lifecycle_publisher(publisher)
        self._publishers.clear()
        self._annotated.destroy()

    def _markers_are_due(self, stamp_ns: int) -> bool:
        period_ns = self._config().markers_period_s * NANOSECONDS
        # A tenth of a period early is in time; a stamp before the last one begins anew.
        if self._marked_ns is not None and 0 <= stamp_ns - self._marked_ns < 0.9 * period_ns:
            return False
        self._marked_ns = stamp_ns
        return True
