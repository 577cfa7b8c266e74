"""A gate between the simulated robot and the nodes under test: passes every message on, byte for byte, or spoils it in one chosen way."""

from __future__ import annotations

import heapq
import itertools
import struct
import time
from collections.abc import Callable, Iterable
from typing import Any

from geometry_msgs.msg import Twist
from nav_msgs.msg import Odometry
from rclpy.clock import Clock as SteadyClock
from rclpy.clock import ClockType
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from rosbags.typesys import Stores, get_typestore
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import CameraInfo, Image, PointCloud2
from tf2_msgs.msg import TFMessage

from jepa_ros.types import NANOSECONDS

LIDAR, CAMERA, INFO, ODOMETRY = "/lidar/points", "/camera/image_raw", "/camera/camera_info", "/odom"
TRANSFORMS, STATIC, CLOCK = "/tf", "/tf_static", "/clock"
SENSORS = {LIDAR: PointCloud2, CAMERA: Image, INFO: CameraInfo, ODOMETRY: Odometry}
TOPICS = {**SENSORS, TRANSFORMS: TFMessage, STATIC: TFMessage, CLOCK: Clock}
FLUSH_S = 0.01
TYPES = get_typestore(Stores.LATEST)
TRANSFORM_TYPE = "tf2_msgs/msg/TFMessage"

# What a spoiler gives: (seconds to wait, bytes) of everything that is sent in place of the message.
Spoiler = Callable[[bytes], Iterable[tuple[float, bytes]]]


def pulled(data: bytes) -> Iterable[tuple[float, bytes]]:
    """A cable that is pulled: nothing gets through."""
    return ()


def doubled(data: bytes) -> Iterable[tuple[float, bytes]]:
    """Every message comes twice."""
    return ((0.0, data), (0.0, data))


def delayed(seconds: float) -> Spoiler:
    """Every message comes `seconds` later."""
    return lambda data: ((seconds, data),)


def swapped() -> Spoiler:
    """Every second message overtakes the one before it."""
    held: list[bytes] = []

    def spoil(data: bytes) -> Iterable[tuple[float, bytes]]:
        if held:
            return ((0.0, data), (0.0, held.pop()))
        held.append(data)
        return ()

    return spoil


def stamped(seconds: float) -> Spoiler:
    """Stamps that are `seconds` off."""
    return lambda data: ((0.0, shifted(data, round(seconds * NANOSECONDS))),)


def garbled(rng: Any) -> Spoiler:
    """Bytes that are no message, of any length up to the message's own."""
    return lambda data: ((0.0, data[:4] + rng.bytes(int(rng.integers(1, max(2, min(len(data), 4096)))))),)


def shifted(data: bytes, by_ns: int) -> bytes:
    """A message whose first field is a stamp, or a header, that many ns later. CDR: 4 bytes of encapsulation, then sec and nanosec."""
    sec, nanosec = struct.unpack_from("<iI", data, 4)
    stamp_ns = max(0, sec * NANOSECONDS + nanosec + by_ns)
    moved = bytearray(data)
    struct.pack_into("<iI", moved, 4, stamp_ns // NANOSECONDS, stamp_ns % NANOSECONDS)
    return bytes(moved)


def shifted_transforms(data: bytes, by_ns: int) -> bytes:
    """A TF message whose stamps are moved by `by_ns`."""
    message: Any = TYPES.deserialize_cdr(data, TRANSFORM_TYPE)
    for edge in message.transforms:
        stamp_ns = max(0, edge.header.stamp.sec * NANOSECONDS + edge.header.stamp.nanosec + by_ns)
        edge.header.stamp.sec, edge.header.stamp.nanosec = stamp_ns // NANOSECONDS, stamp_ns % NANOSECONDS
    return bytes(TYPES.serialize_cdr(message, TRANSFORM_TYPE))


class Gate:
    """Forwards /sim/X to /X. `spoil[topic]` is what is done to a topic; `jump_ns` moves the clock and all stamps together."""

    def __init__(self, node: Node) -> None:
        self.spoil: dict[str, Spoiler] = {}
        self.jump_ns = 0
        self.clock_ns = 0  # the newest time that was passed on
        self.commands: list[tuple[float, float, float]] = []  # steady s, m/s, rad/s
        self.speed_mps = 0.0  # of the simulated robot
        self._waiting: list[tuple[float, int, str, bytes]] = []
        self._order = itertools.count()
        self._publishers = {}
        for topic, kind in TOPICS.items():
            self._publishers[topic] = node.create_publisher(kind, topic, _quality(topic))
            node.create_subscription(kind, f"/sim{topic}", lambda data, topic=topic: self._take(topic, data), _quality(topic), raw=True)
        node.create_subscription(Odometry, f"/sim{ODOMETRY}", self._note_speed, 5)
        node.create_subscription(Twist, "/cmd_vel", self._note_command, 20)
        node.create_timer(FLUSH_S, self._flush, clock=SteadyClock(clock_type=ClockType.STEADY_TIME))

    def heal(self) -> None:
        """Pass everything on again; what was held back comes late."""
        self.spoil.clear()

    def _take(self, topic: str, data: bytes) -> None:
        if self.jump_ns:
            data = shifted_transforms(data, self.jump_ns) if topic in (TRANSFORMS, STATIC) else shifted(data, self.jump_ns)
        for wait_s, message in self.spoil.get(topic, lambda data: ((0.0, data),))(data):
            if wait_s:
                heapq.heappush(self._waiting, (time.monotonic() + wait_s, next(self._order), topic, message))
            else:
                self._send(topic, message)

    def _send(self, topic: str, data: bytes) -> None:
        if topic == CLOCK and len(data) >= 12:
            sec, nanosec = struct.unpack_from("<iI", data, 4)
            self.clock_ns = sec * NANOSECONDS + nanosec
        self._publishers[topic].publish(data)

    def _flush(self) -> None:
        while self._waiting and self._waiting[0][0] <= time.monotonic():
            _, _, topic, data = heapq.heappop(self._waiting)
            self._send(topic, data)

    def _note_speed(self, message: Odometry) -> None:
        self.speed_mps = abs(message.twist.twist.linear.x)

    def _note_command(self, message: Twist) -> None:
        self.commands.append((time.monotonic(), message.linear.x, message.angular.z))


def _quality(topic: str) -> QoSProfile:
    durability = DurabilityPolicy.TRANSIENT_LOCAL if topic == STATIC else DurabilityPolicy.VOLATILE
    reliability = ReliabilityPolicy.BEST_EFFORT if topic == CLOCK else ReliabilityPolicy.RELIABLE
    return QoSProfile(depth=5, reliability=reliability, durability=durability)
