"""The planner's subscriptions: forecasts, latents, odometry, transforms, each with its time of arrival.

People and latents are kept as they came, as bytes, and read only when somebody asks: reading all modes of all people takes longer than
everything else that the node does between two requests.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from nav_msgs.msg import Odometry
from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.subscription import Subscription

from jepa_ros.config import param, validate
from jepa_ros.msg import LatentState, OccupancyForecast, PedestrianForecastArray
from jepa_ros.protocols import ModelSpec
from jepa_ros.ros import readers
from jepa_ros.ros.autoware.source import objects_source
from jepa_ros.ros.own_topics import own_graph
from jepa_ros.ros.tools.recorder import message_class
from jepa_ros.ros.topics import ODOMETRY, TF, LiveChoice
from jepa_ros.ros.world_model.subscriptions import EVERY, LATCHED, NO_MESSAGE, SEARCH_PERIOD_S, TYPES, warm_up_reading
from jepa_ros.sensing.frames.ego import EgoHistory, OdometrySample, finite_difference, read_odometry
from jepa_ros.sensing.frames.odometry import fixed_from_told, in_base
from jepa_ros.sensing.frames.poses import message_pose
from jepa_ros.sensing.frames.transforms import TransformError, TransformTree
from jepa_ros.sensing.topic_choice.verdicts import Named
from jepa_ros.types import NANOSECONDS, EgoState, FloatArray

NEWEST = QoSProfile(depth=1, reliability=ReliabilityPolicy.RELIABLE)
SPARE_HISTORY_S = 1.0
HEARD_S = 1.0  # whoever has sent a forecast so lately is active


@dataclass(frozen=True)
class PlannerInputConfig:
    """Where the planner's inputs are, and how old they may be."""

    world_model: str = param("world_model", "name of the node whose forecasts are used")
    predicted_objects_topic: str = param("", "PredictedObjects of Autoware, used instead of world_model's objects; empty = world_model's")
    odometry_topic: str = param(
        "", "nav_msgs/Odometry; empty = found by type (where there is none, the forecasts' own poses give the motion)"
    )
    max_age_s: float = param(
        0.6, "forecasts and odometry older than this are not used for plans, s", at_least=0.05, at_most=60.0, at_most_live=5.0,
        read_only=False,
    )  # fmt: skip

    def __post_init__(self) -> None:
        validate(self)


@dataclass(frozen=True)
class Came:
    """A message (or its bytes) and when it came."""

    content: Any
    received_s: float  # steady clock


@dataclass(frozen=True)
class Heard:
    """A consistent copy of the newest of everything."""

    occupancy: Came | None  # OccupancyForecast
    pedestrians: Came | None  # bytes of a PedestrianForecastArray
    objects: Came | None  # bytes of an ObjectForecastArray
    latents: tuple[Came, ...]  # bytes of LatentStates, oldest first
    odometry: Came | None  # what it tells is in `PlannerInputs.ego`; None also where none has been found


class PlannerInputs:
    """Listens from construction to `close()`. Motion and transforms are to be read under `lock`."""

    def __init__(
        self,
        node: Node,
        config: PlannerInputConfig,
        spec: ModelSpec | None,
        explain: Callable[[], str] = lambda: "",
        now_s: Callable[[], float] = time.monotonic,
    ) -> None:
        """spec: of the model that imagines; None = latents are not listened to until `listen_to_latents`.

        explain: why no forecast comes. now_s: when messages come; in a replay, the bag's time.
        """
        self.explain = explain
        self.uses_lidar = False  # whether the model that imagines does
        self._now_s = now_s
        self.lock = threading.Lock()
        self.ego = EgoHistory()  # of the base, from odometry, in the odometry's own frame
        self._told: OdometrySample | None = None  # its newest message
        self._base_frame = ""  # of the forecasts; empty until one has come
        self.anchors = EgoHistory()  # from the forecasts' own poses
        self.tree = TransformTree()
        self._node = node
        named = Named(odometry=node.resolve_topic_name(config.odometry_topic) if config.odometry_topic else None)
        self._live = LiveChoice(named, ("odometry",))
        self._named_odometry = named.odometry
        self._odometries: set[str] = set()  # those listened to
        self._odometry_topic: str | None = None
        self._occupancy: Came | None = None
        self._pedestrians: Came | None = None
        self._objects: Came | None = None
        self._odometry: Came | None = None
        self._latents: deque[Came] = deque()
        self._history_s: float | None = None  # for how long latents are kept; None = nobody asked for any
        self._hears_latents = False
        self._last_anchor: tuple[int, FloatArray] | None = None
        self._subscriptions: list[Subscription] = []
        topic = config.world_model.rstrip("/")
        self._listen(OccupancyForecast, f"{topic}/occupancy", self._take_occupancy, NEWEST)
        self._listen(PedestrianForecastArray, f"{topic}/pedestrians", self._take_pedestrians, NEWEST, raw=True)
        self.objects_type, self.objects_topic = objects_source(config.predicted_objects_topic, topic)
        self._listen(self.objects_type, self.objects_topic, self._take_objects, NEWEST, raw=True)
        self._latent_topic = f"{topic}/latent"
        if spec is not None:
            self.listen_to_latents(spec)
        self._listen_to_transforms()
        self._listen_on()
        self._timer = node.create_timer(SEARCH_PERIOD_S, self._listen_on, clock=Clock(clock_type=ClockType.STEADY_TIME))

    def listen_to_latents(self, spec: ModelSpec | None) -> None:
        """From any thread, within SEARCH_PERIOD_S: as long a history as a model needs; None = the newest alone."""
        self._history_s = spec.history * spec.dt_s + SPARE_HISTORY_S if spec else SPARE_HISTORY_S
        self.uses_lidar = spec is not None and "lidar" in spec.inputs

    def hears_forecasts(self) -> bool:
        """Whether one has come of late."""
        return self._occupancy is not None and self._now_s() - self._occupancy.received_s < HEARD_S

    def _listen_on(self) -> None:
        """To what has been found or asked for since."""
        self._find_odometry()
        if self._history_s is not None and not self._hears_latents:
            self._hears_latents = True
            self._listen(LatentState, self._latent_topic, self._take_latent, NEWEST, raw=True)

    def close(self) -> None:
        self._node.destroy_timer(self._timer)
        for subscription in self._subscriptions:
            self._node.destroy_subscription(subscription)
        self._subscriptions.clear()

    def heard(self) -> Heard:
        with self.lock:
            return Heard(self._occupancy, self._pedestrians, self._objects, tuple(self._latents), self._odometry)

    def motion(self, fixed_frame: str, stamp_ns: int | None = None) -> EgoState | None:
        """The base's motion in a fixed frame by odometry, the newest or at a stamp; None where it does not reach. Raises TransformError."""
        with self.lock:
            state = self.ego.newest() if stamp_ns is None else self.ego.at(stamp_ns)
            if state is None or self._told is None or self._told.odom_frame in ("", fixed_frame):
                return state
            fixed = fixed_from_told(fixed_frame, self._told.odom_frame, state.stamp_ns, self.tree)
        return EgoState(state.stamp_ns, fixed @ state.odom_from_base, state.velocity_mps, state.yaw_rate_radps)

    def age_s(self, stamp_ns: int, received_s: float) -> float:
        """The larger of the age by stamp and the time since it came: a clock that stands still hides nothing."""
        since_s = self._now_s() - received_s
        now_ns = self._node.get_clock().now().nanoseconds
        # Simulated time that has not begun reads 0.
        return since_s if now_ns == 0 else max(since_s, (now_ns - stamp_ns) / NANOSECONDS)

    def _listen(self, kind: type, topic: str, take: Callable[[Any], None], qos: QoSProfile, raw: bool = False) -> None:
        self._subscriptions.append(self._node.create_subscription(kind, topic, take, qos, raw=raw))

    def _listen_raw(self, kind: type, name: str, topic: str, take: Callable[[Any], None], qos: QoSProfile) -> None:
        """Anybody may publish on these topics, and bytes that are no message can end a process in rclpy's own reader (see `inputs`)."""
        warm_up_reading(name)

        def receive(data: bytes) -> None:
            try:
                message = TYPES.deserialize_cdr(data, name)
            except NO_MESSAGE as error:
                self._node.get_logger().warning(f"{topic}: {len(data)} bytes left out, no {name}: {error}", throttle_duration_sec=5.0)
                return
            take(message)

        self._listen(kind, topic, receive, qos, raw=True)

    def _listen_to_transforms(self) -> None:
        try:
            kind = message_class(TF)
        except (ModuleNotFoundError, AttributeError) as error:
            self._node.get_logger().warning(f"no TF ({error}): goals must be in the forecasts' own frames")
            return
        self._listen_raw(kind, TF, "/tf", partial(self._take_transforms, static=False), EVERY)
        self._listen_raw(kind, TF, "/tf_static", partial(self._take_transforms, static=True), LATCHED)

    def _find_odometry(self) -> None:
        """Listen to every odometry there is; the rule says which one is used."""
        self._live.see(own_graph(self._node))
        for topic in self._live.candidates if self._named_odometry is None else {self._named_odometry}:
            if topic not in self._odometries:
                self._odometries.add(topic)
                self._listen_raw(Odometry, ODOMETRY, topic, partial(self._take_odometry_of, topic), EVERY)
        self._decide()

    def _decide(self) -> None:
        chosen = self._live.decide(time.monotonic_ns()).odometry
        if chosen == self._odometry_topic:
            return
        with self.lock:  # another odometry has another origin
            self.ego.clear()
            self._told = self._odometry = None
            self._odometry_topic = chosen
        why = "; ".join(str(verdict) for verdict in self._live.choice.verdicts)
        self._node.get_logger().info(f"ego motion from {chosen or 'the forecasts'}: {why}")

    def _take_odometry_of(self, topic: str, message: Any) -> None:
        told_something = self._live.look(topic, ODOMETRY, message, time.monotonic_ns())
        if told_something and topic != self._odometry_topic:
            self._decide()
        if topic == self._odometry_topic:
            self._take_odometry(message)

    def _take_occupancy(self, message: OccupancyForecast) -> None:
        try:
            received = readers.received_of(message)
        except ValueError as error:
            self._node.get_logger().warning(f"forecast left out: {error}", throttle_duration_sec=5.0)
            return
        with self.lock:
            self._occupancy = Came(message, self._now_s())
            self._use_base(message.header.frame_id.lstrip("/"))
            last, self._last_anchor = self._last_anchor, (received.stamp_ns, received.odom_from_anchor)
            if last is None or received.stamp_ns <= last[0]:
                self.anchors.clear()
                self._latents.clear()
                return
            dt_s = (received.stamp_ns - last[0]) / NANOSECONDS
            self.anchors.add(finite_difference(last[1], received.odom_from_anchor, dt_s, received.stamp_ns))

    def _use_base(self, base_frame: str) -> None:
        """The lock is held. Odometry of another frame of the vehicle is handed on as that of the base."""
        told, changed = self._told, base_frame != self._base_frame
        self._base_frame = base_frame
        if not changed or told is None or told.child_frame in ("", base_frame):
            return
        self.ego.clear()
        try:
            self.ego.add(in_base(told, base_frame, self.tree), told.has_twist)
        except TransformError as error:
            self._node.get_logger().warning(f"odometry left out: {error}", throttle_duration_sec=5.0)

    def _take_pedestrians(self, data: bytes) -> None:
        with self.lock:
            self._pedestrians = Came(data, self._now_s())

    def _take_objects(self, data: bytes) -> None:
        with self.lock:
            self._objects = Came(data, self._now_s())

    def _take_latent(self, data: bytes) -> None:
        now_s = self._now_s()
        with self.lock:
            self._latents.append(Came(data, now_s))
            while self._latents[0].received_s < now_s - (self._history_s or 0.0):
                self._latents.popleft()

    def _take_odometry(self, message: Any) -> None:
        with self.lock:
            try:
                sample = read_odometry(message)
                state = in_base(sample, self._base_frame or sample.child_frame, self.tree)
            except ValueError as error:
                self._node.get_logger().warning(f"odometry left out: {error}", throttle_duration_sec=5.0)
                return
            if self.ego.newest_ns is not None and state.stamp_ns < self.ego.newest_ns - NANOSECONDS:
                self.ego.clear()  # a bag that starts again
                self.tree.clear()
            believed = self.ego.twist.believed
            self.ego.add(state, sample.has_twist)
            self._told = sample
            self._odometry = Came(message, self._now_s())
            if believed and not self.ego.twist.believed:
                self._node.get_logger().warning(f"{self._odometry_topic}: {self.ego.twist.explain()}")

    def _take_transforms(self, message: Any, static: bool) -> None:
        self._live.look("/tf_static" if static else "/tf", TF, message, time.monotonic_ns())
        for edge in message.transforms:
            self._take_transform(edge, static)

    def _take_transform(self, edge: Any, static: bool) -> None:
        stamp_ns = None if static else readers.stamp_ns_of(edge.header.stamp)
        try:
            with self.lock:
                self.tree.add(edge.header.frame_id, edge.child_frame_id, message_pose(edge.transform), stamp_ns)
        except ValueError as error:
            self._node.get_logger().warning(f"transform left out: {error}", throttle_duration_sec=5.0)
