"""Subscriptions that feed the sensor hub.

Messages are taken as raw bytes and read by `rosbags`, as a bag's are: several times faster than rclpy's own reader, and bytes that are no
message raise an error there, where the generated C code can end the process.
"""

from __future__ import annotations

import struct
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from types import SimpleNamespace
from typing import Any

from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from rclpy.subscription import Subscription
from rosbags.serde import SerdeError
from rosbags.typesys import Stores, get_typestore

from jepa_ros.config import param, validate
from jepa_ros.ros.latency import LatencyBook
from jepa_ros.ros.own_topics import crowded, own_graph, several
from jepa_ros.ros.tools.recorder import message_class
from jepa_ros.ros.topics import CLOUD, COMPRESSED, IMAGE, INFO, KINDS, ODOMETRY, TF, LiveChoice
from jepa_ros.ros.world_model.arrival_monitor import ArrivalMonitor
from jepa_ros.ros.world_model.message_check import refusal
from jepa_ros.sensing import SensorHub, decode_compressed_image
from jepa_ros.sensing.topic_choice.verdicts import Choice, Named, Verdict
from jepa_ros.types import NANOSECONDS

NEWEST = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)  # images: an older one would only be copied and left
SWEEPS = QoSProfile(depth=5, reliability=ReliabilityPolicy.BEST_EFFORT)  # every cloud, although a busy machine comes late to read it
EVERY = QoSProfile(depth=50, reliability=ReliabilityPolicy.BEST_EFFORT)  # best effort matches every publisher
LATCHED = QoSProfile(depth=100, reliability=ReliabilityPolicy.RELIABLE, durability=DurabilityPolicy.TRANSIENT_LOCAL)
SEARCH_PERIOD_S = 0.5
SETTLED_S = 5.0  # after so long what is left is reported, and points kept for comparison are freed
TYPES = get_typestore(Stores.LATEST)
PNG = bytes.fromhex(  # of one pixel
    "89504e470d0a1a0a0000000d49484452000000010000000108000000003a7e9b550000000a49444154789c636800000082008177cd72b60000000049454e44ae426082"
)
NO_MESSAGE = (SerdeError, struct.error, ValueError, IndexError)  # what bytes that are no message of the type raise


@dataclass(frozen=True)
class InputConfig:
    """Topics of the sensors. What is left empty is found by its content."""

    cloud_topics: tuple[str, ...] = param((), "sensor_msgs/PointCloud2 of each lidar, merged; empty = every lidar that TF knows")
    cloud_topic: str = param("", "a single lidar, as in earlier releases")
    image_topics: tuple[str, ...] = param((), "sensor_msgs/Image or CompressedImage of the cameras; empty = every calibrated camera")
    camera_info_topics: tuple[str, ...] = param((), "one for each of image_topics; empty = camera_info beside the image")
    odometry_topic: str = param("", "nav_msgs/Odometry; empty = found by its content (without one, TF gives the motion)")

    def __post_init__(self) -> None:
        validate(self)
        if self.cloud_topic and self.cloud_topics:
            raise ValueError(f"inputs.cloud_topic = {self.cloud_topic!r} beside inputs.cloud_topics = {self.cloud_topics}: leave one empty")
        if self.camera_info_topics and len(self.camera_info_topics) != len(self.image_topics):
            raise ValueError(
                f"inputs.camera_info_topics has {len(self.camera_info_topics)} names for {len(self.image_topics)} inputs.image_topics: "
                "give one for each, or none"
            )


class Inputs:
    """Open while the node is active. Topics that are not there yet are looked for twice a second."""

    def __init__(
        self, node: Node, config: InputConfig, hub: SensorHub, cameras: bool, on_message: Callable[[], None], latency: LatencyBook
    ) -> None:
        """cameras: look for cameras, too; those named in the config are used in any case. on_message: called after each message."""
        self._node = node
        self._hub = hub
        self._on_message = on_message
        self._latency = latency
        self._named = _named(node, config, cameras)
        self._live = LiveChoice(self._named, ("camera", "lidar", "odometry"), hub.config.base_frame)
        self._taken = Choice()
        self._told: dict[str, str] = {}  # topic -> the verdict in the log
        self._since_s = time.monotonic()
        self._transport: deque[tuple[int, float]] = deque(maxlen=32)
        self._transport_lock = threading.Lock()  # the worker reads what the callbacks write
        self._subscriptions: dict[str, Subscription] = {}
        self.watch = ArrivalMonitor()
        self._listen("/tf", TF)
        self._listen("/tf_static", TF)
        self._search()
        self._timer = node.create_timer(SEARCH_PERIOD_S, self._search, clock=Clock(clock_type=ClockType.STEADY_TIME))

    @property
    def topics(self) -> list[str]:
        return sorted(self._subscriptions)

    def transport_ms(self, stamp_ns: int) -> float:
        """From publication to our callback, of the newest image or sweep with this stamp; 0 where it is not known."""
        with self._transport_lock:
            return next((elapsed_ms for stamp, elapsed_ms in reversed(self._transport) if stamp == stamp_ns), 0.0)

    @property
    def verdicts(self) -> tuple[Verdict, ...]:
        """What was taken and left, and why."""
        return self._taken.verdicts

    def silent_s(self) -> float | None:
        """Since the last image or cloud; None where none has come."""
        sensors = (*self._taken.lidars, *self._taken.cameras)
        return min((silent for topic in sensors if (silent := self.watch.silent_s(topic)) is not None), default=None)

    def problems(self) -> dict[str, str]:
        """Topic -> what is wrong with how its messages come, or with the choice, and what to do."""
        taken = self._taken
        lossy = {topic: loss for topic in taken.topics if topic in self._subscriptions and (loss := self.watch.loss(topic))}
        odometry = (taken.odometry,) if taken.odometry else ()
        return (
            {topic: told for topic in taken.topics if (told := crowded(self._node, topic))}
            | lossy
            | self._unheard()
            | self._problems_of(CLOUD, taken.lidars, "inputs.cloud_topics")
            | self._problems_of(ODOMETRY, odometry, "inputs.odometry_topic")
        )

    def _unheard(self) -> dict[str, str]:
        """Images and clouds that somebody publishes and that do not arrive: those that are taken, and all where none of their kind is."""
        found = {"camera": self._taken.cameras, "lidar": self._taken.lidars}
        kinds = {topic: KINDS[kind] for topic, kind in self._live.candidates.items() if topic in self._subscriptions and kind in KINDS}
        return {
            topic: told
            for topic, kind in kinds.items()
            if kind in found and (topic in found[kind] or not found[kind]) and (told := self.watch.unheard(topic))
        }

    def _problems_of(self, kind: str, taken: tuple[str, ...], parameter: str) -> dict[str, str]:
        graph = self._live.candidates
        named = self._named.lidars if kind == CLOUD else self._named.odometry
        problems = {}
        for topic in (topic for topic in taken if topic not in graph):
            offered = ", ".join(sorted(other for other, its_kind in graph.items() if its_kind == kind)) or "none"
            told = f"nobody publishes {topic} ({parameter}); of its type there are: {offered}"
            found = f"nobody publishes {topic} any more: is its driver running? Looking for another {kind}"
            problems[topic] = told if named else found
        doubtful = {verdict.topic: kind for verdict in self._taken.verdicts if not verdict.taken and verdict.doubtful}
        rivals = {topic: kind for topic in doubtful if graph.get(topic) == kind}
        if rivals and taken and not problems:
            text = several(kind, rivals | {taken[0]: kind}, taken[0], parameter)
            problems |= {taken[0]: text} if text else {}
        return problems

    def close(self) -> None:
        self._node.destroy_timer(self._timer)
        for subscription in self._subscriptions.values():
            self._node.destroy_subscription(subscription)
        self._subscriptions.clear()

    def _search(self) -> None:
        """Listen to all candidates that are there, and judge them again."""
        node, named = self._node, self._named
        self._live.see(own_graph(node))
        wanted = self._live.candidates
        wanted |= dict.fromkeys(named.lidars or (), CLOUD) | ({named.odometry: ODOMETRY} if named.odometry else {})
        for topic, kind in wanted.items():
            if topic not in self._subscriptions and self._is_wanted(topic, kind) and not self._is_spare(topic):
                self._listen(topic, kind)
        self._decide()
        for topic in [topic for topic in self._subscriptions if self._is_spare(topic)]:
            self._node.destroy_subscription(self._subscriptions.pop(topic))
        if time.monotonic() - self._since_s > SETTLED_S:
            self._live.forget_points()

    def _is_wanted(self, topic: str, kind: str) -> bool:
        """Whether a candidate can still become an input. Where inputs are named, the others are not listened to."""
        if topic in self._live.choice.topics:
            return True
        role, named = KINDS[kind], self._named
        if role == "camera":
            return topic in named.cameras if named.cameras is not None else not self._live.settled(topic)
        if role == "lidar":
            return topic in named.lidars if named.lidars is not None else not self._live.settled(topic)
        if role == "camera_info":
            return named.cameras is None or topic in self._live.choice.topics or topic in named.infos.values() or bool(named.cameras)
        return topic == named.odometry if named.odometry is not None else True

    def _is_spare(self, topic: str) -> bool:
        """An image or a cloud that was looked at and left, or that is no candidate any more: gone, or found out to be another robot's.

        A topic is discovered before the node that publishes it, so what lies in another robot's namespace may be listened to for a moment.
        """
        if topic in self._taken.topics:
            return False
        return self._live.settled(topic) if topic in self._live.candidates else self._live.was_sensor(topic)

    def _decide(self) -> None:
        """Use what the rule says now, and say what has changed."""
        before, now = self._taken, self._live.decide(time.monotonic_ns())
        self._taken = now
        gone = {*before.lidars, *before.cameras} - {*now.lidars, *now.cameras}
        if before.odometry and before.odometry != now.odometry:
            gone.add(before.odometry)
        for topic in gone:
            self._hub.forget(topic)
            self.watch.forget(topic)
        for topic in now.topics - set(self._subscriptions):
            if topic in self._live.candidates:
                self._listen(topic, self._live.candidates[topic])
        waiting = time.monotonic() - self._since_s < SETTLED_S
        for verdict in now.verdicts:
            if self._told.get(verdict.topic) != str(verdict) and not (waiting and not verdict.taken):
                self._told[verdict.topic] = str(verdict)
                self._node.get_logger().info(f"input {verdict}")

    def _listen(self, topic: str, kind: str) -> None:
        """To a candidate, or to TF."""
        if topic in self._subscriptions:
            return
        warm_up_reading(kind)
        qos = {CLOUD: SWEEPS, IMAGE: NEWEST, COMPRESSED: NEWEST}.get(kind, LATCHED if topic == "/tf_static" else EVERY)
        try:
            message_type = message_class(kind)
        except (ModuleNotFoundError, AttributeError) as error:
            self._node.get_logger().warning(f"not subscribed to {topic}: no {kind} installed ({error}); see `sensing.static_transforms`")
            return
        receive = partial(self._receive, topic, kind)
        self._subscriptions[topic] = self._node.create_subscription(message_type, topic, receive, qos, raw=True)
        self._node.get_logger().info(f"subscribed to {topic} ({kind})")

    def _receive(self, topic: str, kind: str, data: bytes, info: dict[str, Any]) -> None:
        self.watch.note(topic, info)
        try:
            message = TYPES.deserialize_cdr(data, kind)
        except NO_MESSAGE:
            self._live.garbage(topic, kind, "undeserialisable")
            self._reject(topic, kind, "undeserialisable")
            return
        told_something = self._live.look(topic, kind, message, time.monotonic_ns())
        if told_something and topic not in self._taken.topics:  # its first message may be all that was missing
            self._decide()
        reason = refusal(kind, message)
        if reason:
            self._reject(topic, kind, reason)
        elif self._put(topic, kind, message):
            if KINDS[kind] in ("camera", "lidar"):
                self._note_transport(message.header.stamp, info["source_timestamp"])
            self._on_message()

    def _reject(self, topic: str, kind: str, reason: str) -> None:
        if kind == TF or topic in self._taken.topics:
            name = next((f"{image}/camera_info" for image, known in self._taken.cameras.items() if known == topic), topic)
            self._hub.reject(topic.lstrip("/") if kind == TF else name, KINDS[kind], reason)

    def _put(self, topic: str, kind: str, message: Any) -> bool:
        """Hand a message to the hub; False where its topic is not taken."""
        hub = self._hub
        if kind == TF:
            hub.put_transforms(message, static=topic == "/tf_static")
            return True
        if kind == INFO:
            images = [image for image, known in self._taken.cameras.items() if known == topic]
            for image in images:
                hub.put_camera_info(image, message)
            return bool(images)
        if topic not in self._taken.topics:
            return False
        puts = {IMAGE: hub.put_image, COMPRESSED: hub.put_compressed_image, CLOUD: hub.put_cloud, ODOMETRY: hub.put_odometry}
        puts[kind](topic, message)
        return True

    def _note_transport(self, stamp: Any, published_ns: int) -> None:
        elapsed_ms = max(0.0, (time.time_ns() - published_ns) / 1e6)  # another machine's clock may be ahead
        self._latency.add("transport", elapsed_ms)
        with self._transport_lock:
            self._transport.append((stamp.sec * NANOSECONDS + stamp.nanosec, elapsed_ms))


def _named(node: Node, config: InputConfig, cameras: bool) -> Named:
    """What the parameters name, by full names."""
    clouds = config.cloud_topics or ((config.cloud_topic,) if config.cloud_topic else ())
    images = [node.resolve_topic_name(topic) for topic in config.image_topics]
    infos = dict(zip(images, map(node.resolve_topic_name, config.camera_info_topics), strict=False))
    return Named(
        cameras=images if images or not cameras else None,
        lidars=[node.resolve_topic_name(topic) for topic in clouds] if clouds else None,
        odometry=node.resolve_topic_name(config.odometry_topic) if config.odometry_topic else None,
        infos=infos,
    )


def warm_up_reading(kind: str) -> None:
    """The reader of a type is generated, and the image library loaded, on first use: not in the way of the first frame."""
    TYPES.get_msgdef(kind)
    if kind == COMPRESSED:
        decode_compressed_image(SimpleNamespace(format="png", data=PNG))
