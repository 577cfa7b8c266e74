"""Writes live topics to one MCAP file that rosbag2, Foxglove and Rerun open. Messages stay serialized all the way."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy

from jepa_ros.ros.tools.output_bag import OutputBag, header_stamp_ns, is_latched

HELD = 10_000  # messages kept until time begins
QUEUE = 20


def message_class(type_name: str) -> Any:
    """The Python class of "package/msg/Name". Raises ModuleNotFoundError or AttributeError where its package is not built here."""
    package, kind, name = type_name.split("/")
    return getattr(importlib.import_module(f"{package}.{kind}"), name)


class Recorder:
    """Subscribes to topics as they appear and writes every message as it came. `close()` leaves the finished file.

    Under use_sim_time there is no time until the first /clock. What comes before it is written at that moment, if it is meant for all
    times (/tf_static) or has a stamp of its own; what was stamped 0 was said before time began and has no place in a recording.
    """

    def __init__(self, node: Node, path: Path, on_message: Callable[[str, bytes], None] | None = None) -> None:
        self._node = node
        self._bag = OutputBag(path)
        self._on_message = on_message
        self._held: list[tuple[str, bytes]] = []
        self.before_time = 0  # messages left out because they were stamped before time began

    @property
    def counts(self) -> dict[str, int]:
        """Topic -> messages written."""
        return self._bag.counts

    def add(self, topic: str, type_name: str, latched: bool = False) -> None:
        """Record one more topic; one that is recorded already is left alone. `latched`: also published to late subscribers."""
        if topic in self._bag.counts:
            return
        kind = message_class(type_name)
        latched = latched or is_latched(topic)
        self._bag.add(topic, type_name, latched)
        # Best effort accepts every publisher; with the shared-memory transport nothing is lost on one machine.
        qos = QoSProfile(
            depth=100 if latched else QUEUE,
            reliability=ReliabilityPolicy.RELIABLE if latched else ReliabilityPolicy.BEST_EFFORT,
            durability=DurabilityPolicy.TRANSIENT_LOCAL if latched else DurabilityPolicy.VOLATILE,
        )
        self._node.create_subscription(kind, topic, lambda data: self._take(topic, data), qos, raw=True)

    def _take(self, topic: str, data: bytes) -> None:
        now_ns = self._node.get_clock().now().nanoseconds
        if now_ns > 0:
            self._write_held(now_ns)
            self._bag.write(topic, now_ns, data)
        elif len(self._held) < HELD:
            self._held.append((topic, data))
        if self._on_message:
            self._on_message(topic, data)

    def _write_held(self, now_ns: int) -> None:
        held, self._held = self._held, []
        for topic, data in held:
            if is_latched(topic) or header_stamp_ns(data) > 0:
                self._bag.write(topic, now_ns, data)
            else:
                self.before_time += 1

    def close(self) -> None:
        self._bag.close()
