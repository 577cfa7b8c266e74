"""Subscriptions that feed the sensor hub.

Messages are taken as raw bytes and read by `rosbags`, as a bag's are: several times faster than rclpy's own reader, and bytes that are no
message raise an error there, where the generated C code can end the process.
"""

from __future__ import annotations

import struct
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
from jepa_ros.ros.candidates import own_graph, several
from jepa_ros.ros.latency import LatencyBook
from jepa_ros.ros.tools.recorder import message_class
from jepa_ros.ros.topics import CLOUD, COMPRESSED, IMAGE, INFO, KINDS, ODOMETRY, TF, find_calibration, find_images, find_one
from jepa_ros.ros.world_model.message_check import refusal
from jepa_ros.ros.world_model.watch import ArrivalWatch
from jepa_ros.sensing import SensorHub, decode_compressed_image
from jepa_ros.types import NANOSECONDS

NEWEST = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
EVERY = QoSProfile(depth=50, reliability=ReliabilityPolicy.BEST_EFFORT)  # best effort matches every publisher
LATCHED = QoSProfile(depth=100, reliability=ReliabilityPolicy.RELIABLE, durability=DurabilityPolicy.TRANSIENT_LOCAL)
SEARCH_PERIOD_S = 0.5
GONE_S = 2.0  # a driver that starts again takes about as long
TYPES = get_typestore(Stores.LATEST)
PNG = bytes.fromhex(  # of one pixel
    "89504e470d0a1a0a0000000d49484452000000010000000108000000003a7e9b550000000a49444154789c636800000082008177cd72b60000000049454e44ae426082"
)
NO_MESSAGE = (SerdeError, struct.error, ValueError, IndexError)  # what bytes that are no message of the type raise


@dataclass(frozen=True)
class InputConfig:
    """Where the sensors are. Whatever is left empty is found by its type."""

    cloud_topic: str = param("", "sensor_msgs/PointCloud2 of the lidar; empty = found by type")
    image_topics: tuple[str, ...] = param((), "sensor_msgs/Image or CompressedImage of the cameras; empty = every calibrated colour camera")
    camera_info_topics: tuple[str, ...] = param((), "one for each of image_topics; empty = camera_info beside the image")
    odometry_topic: str = param("", "nav_msgs/Odometry; empty = found by type (where there is none, TF gives the motion)")

    def __post_init__(self) -> None:
        validate(self)
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
        self._find_cameras = cameras and not config.image_topics
        named = {KINDS[CLOUD]: config.cloud_topic, KINDS[ODOMETRY]: config.odometry_topic}
        self._named = {kind: node.resolve_topic_name(topic) for kind, topic in named.items() if topic}
        self._images = list(map(node.resolve_topic_name, config.image_topics))
        self._calibrations = dict(zip(self._images, map(node.resolve_topic_name, config.camera_info_topics), strict=False))
        self._transport: deque[tuple[int, float]] = deque(maxlen=32)
        self._subscriptions: dict[str, Subscription] = {}
        self._kinds_found: dict[str, str] = {}  # kind -> topic
        self._problems: dict[str, str | None] = {}  # kind -> what to do about it
        self._gone: dict[str, tuple[str, float]] = {}  # kind -> a topic without a publisher, since when (steady clock)
        self.watch = ArrivalWatch()
        self._sensors: set[str] = set()  # topics of images and clouds
        self._listen("/tf", TF, EVERY, partial(hub.put_transforms, static=False), "tf")
        self._listen("/tf_static", TF, LATCHED, partial(hub.put_transforms, static=True), "tf_static")
        self._search()
        self._timer = node.create_timer(SEARCH_PERIOD_S, self._search, clock=Clock(clock_type=ClockType.STEADY_TIME))

    @property
    def topics(self) -> list[str]:
        return sorted(self._subscriptions)

    def transport_ms(self, stamp_ns: int) -> float:
        """From publication to our callback, of the newest image or sweep with this stamp; 0 where it is not known."""
        return next((elapsed_ms for stamp, elapsed_ms in reversed(self._transport) if stamp == stamp_ns), 0.0)

    def silent_s(self) -> float | None:
        """Since the last image or cloud; None where none has come."""
        return min((silent for topic in self._sensors if (silent := self.watch.silent_s(topic)) is not None), default=None)

    def problems(self) -> dict[str, str]:
        """Topic (or kind, where there is none) -> what is wrong with how its messages come, and what to do."""
        lossy = {topic: loss for topic in self._subscriptions if (loss := self.watch.loss(topic))}
        return lossy | {self._kinds_found.get(kind, kind): problem for kind, problem in self._problems.items() if problem}

    def close(self) -> None:
        self._node.destroy_timer(self._timer)
        for subscription in self._subscriptions.values():
            self._node.destroy_subscription(subscription)
        self._subscriptions.clear()

    def _search(self) -> None:
        """Listen to whatever is named or found, and not listened to yet."""
        node, hub = self._node, self._hub
        graph = own_graph(node)
        self._listen_to_one(ODOMETRY, graph, EVERY, hub.put_odometry)
        self._listen_to_one(CLOUD, graph, NEWEST, hub.put_cloud)
        found = find_images(graph) if self._find_cameras else {}
        for image in self._images or found:
            if graph.get(image) in (IMAGE, COMPRESSED):  # raw or compressed: only the graph knows
                put = hub.put_compressed_image if graph[image] == COMPRESSED else hub.put_image
                self._listen(image, graph[image], NEWEST, partial(put, image), image)
            calibration = self._calibrations.get(image) or find_calibration(image, graph)
            if calibration:
                self._listen(calibration, INFO, EVERY, partial(hub.put_camera_info, image), f"{image}/camera_info")

    def _judge(self, kind: str, graph: dict[str, str]) -> None:
        """What speaks against the topic of this kind; one that was found, and whose publisher has gone, is given up for another."""
        topic, named = self._kinds_found.get(kind), self._named.get(KINDS[kind])
        parameter = f"inputs.{'cloud' if kind == CLOUD else 'odometry'}_topic"
        problem = None
        if topic is None:
            if kind in self._gone:
                problem = f"nobody publishes {self._gone[kind][0]} any more: is its driver running? Looking for another {kind}"
        elif self._node.count_publishers(topic):
            self._gone.pop(kind, None)
            problem = None if named else several(kind, graph, topic, parameter)
        elif named:
            offered = ", ".join(sorted(other for other, its_kind in graph.items() if its_kind == kind)) or "none"
            problem = f"nobody publishes {topic} ({parameter}); of its type there are: {offered}"
        else:
            since_s = self._gone.setdefault(kind, (topic, time.monotonic()))[1]
            if time.monotonic() - since_s > GONE_S:
                self._node.destroy_subscription(self._subscriptions.pop(topic))
                self.watch.forget(topic)
                del self._kinds_found[kind]
        self._problems[kind] = problem

    def _listen_to_one(self, kind: str, graph: dict[str, str], qos: QoSProfile, put: Callable[[str, Any], None]) -> None:
        topic = self._named.get(KINDS[kind]) or find_one(kind, graph)
        if topic and kind not in self._kinds_found:
            self._listen(topic, kind, qos, partial(put, topic), topic)
        self._judge(kind, graph)

    def _listen(self, topic: str, kind: str, qos: QoSProfile, put: Callable[[Any], None], name: str) -> None:
        """name: under which the hub counts this input."""
        if topic in self._subscriptions:
            return
        is_sensor = KINDS[kind] in ("camera", "lidar")
        warm_up_reading(kind)

        def receive(data: bytes, info: dict[str, Any]) -> None:
            self.watch.note(topic, info)
            try:
                message = TYPES.deserialize_cdr(data, kind)
            except NO_MESSAGE:
                self._hub.reject(name, KINDS[kind], "undeserialisable")
                return
            reason = refusal(kind, message)
            if reason:
                self._hub.reject(name, KINDS[kind], reason)
                return
            put(message)
            if is_sensor:
                self._note_transport(message.header.stamp, info["source_timestamp"])
            self._on_message()

        try:
            message_type = message_class(kind)
        except (ModuleNotFoundError, AttributeError) as error:
            self._node.get_logger().warning(f"not listening to {topic}: {kind} is not installed ({error}); see `sensing.static_transforms`")
            return
        self._kinds_found[kind] = topic
        if is_sensor:
            self._sensors.add(topic)
        self._subscriptions[topic] = self._node.create_subscription(message_type, topic, receive, qos, raw=True)
        self._node.get_logger().info(f"listening to {topic} ({kind})")

    def _note_transport(self, stamp: Any, published_ns: int) -> None:
        elapsed_ms = max(0.0, (time.time_ns() - published_ns) / 1e6)  # another machine's clock may be ahead
        self._latency.add("transport", elapsed_ms)
        self._transport.append((stamp.sec * NANOSECONDS + stamp.nanosec, elapsed_ms))


def warm_up_reading(kind: str) -> None:
    """The reader of a type is generated, and the image library loaded, on first use: not in the way of the first frame."""
    TYPES.get_msgdef(kind)
    if kind == COMPRESSED:
        decode_compressed_image(SimpleNamespace(format="png", data=PNG))
