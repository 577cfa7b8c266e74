"""Stands in for nodes and DDS: what is published reaches its listeners at once, in the same thread, and time is the bag's.

So everything that takes a node (outputs, the planner's inputs) runs here as it is.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

from rclpy.logging import get_logger
from rclpy.serialization import deserialize_message, serialize_message

from jepa_ros.types import NANOSECONDS


class Graph:
    """The topics. `now_ns` is simulated time, set by the caller."""

    def __init__(self, recorded: Mapping[str, str], wanted: set[str], record: Callable[[str, int, bytes], None]) -> None:
        """recorded: topic -> type of what comes from the bag. wanted: outputs that are recorded. record: called with each and its time."""
        self.now_ns = 0
        self.recorded = recorded
        self._wanted = wanted
        self._record = record
        self._listeners: dict[str, list[Callable[[bytes], None]]] = defaultdict(list)

    def now_s(self) -> float:
        return self.now_ns / NANOSECONDS

    def has_listener(self, topic: str) -> bool:
        return topic in self._wanted or bool(self._listeners[topic])

    def listen(self, topic: str, take: Callable[[bytes], None]) -> None:
        self._listeners[topic].append(take)

    def deliver(self, topic: str, data: bytes) -> None:
        for take in self._listeners[topic]:
            take(data)

    def publish(self, topic: str, data: bytes) -> None:
        """Publish: record the message and pass it to its subscribers."""
        if topic in self._wanted:
            self._record(topic, self.now_ns, data)
        self.deliver(topic, data)


@dataclass(frozen=True)
class LoopbackPublisher:
    """As rclpy's."""

    graph: Graph
    topic: str

    def get_subscription_count(self) -> int:
        return int(self.graph.has_listener(self.topic))

    def publish(self, message: Any) -> None:
        if self.graph.has_listener(self.topic):
            self.graph.publish(self.topic, serialize_message(message))


class LoopbackNode:
    """As much of a node as our own code asks of one. Timers never fire: there is nothing to wait for."""

    executor = None

    def __init__(self, graph: Graph, name: str) -> None:
        self._graph = graph
        self._name = name

    def get_name(self) -> str:
        return self._name

    def get_fully_qualified_name(self) -> str:
        return f"/{self._name}"

    def resolve_topic_name(self, topic: str) -> str:
        if topic.startswith("~/"):
            return f"/{self._name}/{topic[2:]}"
        return topic if topic.startswith("/") else f"/{topic}"

    def create_lifecycle_publisher(self, kind: type, topic: str, qos: Any) -> LoopbackPublisher:
        return LoopbackPublisher(self._graph, self.resolve_topic_name(topic))

    def destroy_lifecycle_publisher(self, publisher: LoopbackPublisher) -> None:
        pass

    def create_subscription(self, kind: type, topic: str, callback: Callable[[Any], None], qos: Any, raw: bool = False) -> Any:
        take = callback if raw else lambda data: callback(deserialize_message(data, kind))
        self._graph.listen(self.resolve_topic_name(topic), take)
        return SimpleNamespace(topic_name=topic)

    def destroy_subscription(self, subscription: Any) -> None:
        pass

    def create_timer(self, period_s: float, callback: Callable[[], None], clock: Any = None) -> None:
        return None

    def destroy_timer(self, timer: None) -> None:
        pass

    def get_topic_names_and_types(self) -> list[tuple[str, list[str]]]:
        return [(topic, [kind]) for topic, kind in self._graph.recorded.items()]

    def get_namespace(self) -> str:
        return "/"

    def get_node_names_and_namespaces(self) -> list[tuple[str, str]]:
        return []

    def count_publishers(self, topic: str) -> int:
        return int(topic in self._graph.recorded)

    def get_publishers_info_by_topic(self, topic: str) -> list[Any]:
        return []

    def get_clock(self) -> Any:
        return SimpleNamespace(now=lambda: SimpleNamespace(nanoseconds=self._graph.now_ns))

    def get_logger(self) -> Any:
        return get_logger(self._name)
