"""Writes live topics to one MCAP file that rosbag2, Foxglove and Rerun open. Messages stay serialized all the way."""

from __future__ import annotations

import importlib
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ament_index_python.packages import get_package_share_directory
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.typesys import Stores, get_types_from_msg, get_typestore

LATCHED_TOPICS = ("/tf_static",)


def message_class(type_name: str) -> Any:
    """The Python class of "package/msg/Name". Raises ModuleNotFoundError or AttributeError where its package is not built here."""
    package, kind, name = type_name.split("/")
    return getattr(importlib.import_module(f"{package}.{kind}"), name)


class Recorder:
    """Subscribes to topics as they appear and writes every message as it came. `close()` leaves the finished file."""

    def __init__(self, node: Node, path: Path, on_message: Callable[[str, bytes], None] | None = None) -> None:
        self._node = node
        self._path = path
        self._folder = path.with_suffix(".recording")
        shutil.rmtree(self._folder, ignore_errors=True)
        self._writer = Writer(self._folder, version=9, storage_plugin=StoragePlugin.MCAP)
        self._writer.open()
        self._typestore = _typestore()
        self._on_message = on_message
        self._topics: set[str] = set()
        self.counts: dict[str, int] = {}

    def add(self, topic: str, type_name: str) -> None:
        """Record one more topic; one that is recorded already is left alone."""
        if topic in self._topics:
            return
        self._topics.add(topic)
        self.counts[topic] = 0
        connection = self._writer.add_connection(topic, type_name, typestore=self._typestore)
        # Best effort accepts every publisher; with the shared-memory transport nothing is lost on one machine.
        latched = topic in LATCHED_TOPICS
        qos = QoSProfile(
            depth=100 if latched else 20,
            reliability=ReliabilityPolicy.RELIABLE if latched else ReliabilityPolicy.BEST_EFFORT,
            durability=DurabilityPolicy.TRANSIENT_LOCAL if latched else DurabilityPolicy.VOLATILE,
        )

        def write(data: bytes) -> None:
            self.counts[topic] += 1
            self._writer.write(connection, self._node.get_clock().now().nanoseconds, data)
            if self._on_message:
                self._on_message(topic, data)

        self._node.create_subscription(message_class(type_name), topic, write, qos, raw=True)

    def close(self) -> None:
        self._writer.close()
        (recorded,) = self._folder.glob("*.mcap")
        shutil.move(recorded, self._path)
        shutil.rmtree(self._folder)


def _typestore() -> Any:
    """Standard messages and ours, so that the file carries the definition of every type in it."""
    typestore = get_typestore(Stores.ROS2_KILTED)
    own = {}
    for definition in sorted(Path(get_package_share_directory("jepa_ros"), "msg").glob("*.msg")):
        own.update(get_types_from_msg(definition.read_text(), f"jepa_ros/msg/{definition.stem}"))
    typestore.register(own)
    return typestore


def header_stamp_ns(data: bytes) -> int:
    """Stamp of a serialized message whose first field is a std_msgs/Header (CDR: 4 bytes of encapsulation, then sec, nanosec)."""
    return int.from_bytes(data[4:8], "little", signed=True) * 1_000_000_000 + int.from_bytes(data[8:12], "little")
