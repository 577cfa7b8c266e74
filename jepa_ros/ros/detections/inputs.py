"""Subscribes to what other detectors tell, and adds to each observation what is new of it.

A message that cannot be read costs itself and a warning; a class that nobody knows costs its detections and one warning.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from importlib.util import find_spec
from typing import Any, Protocol

import numpy as np
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.serialization import deserialize_message

from jepa_ros.config import param, validate
from jepa_ros.movers import ImageBoxes, Kind
from jepa_ros.objects.camera.classes import UnknownClass, kind_of, kinds_by_name
from jepa_ros.ros.detections.reading import Boxes3D, boxes_3d, detected_objects, image_boxes
from jepa_ros.ros.tools.recorder import message_class
from jepa_ros.sensing.frames.transforms import TransformError
from jepa_ros.types import NANOSECONDS, FloatArray, Observation

NEWEST = QoSProfile(depth=4, reliability=ReliabilityPolicy.BEST_EFFORT)
TYPES = {
    "topic_2d": "vision_msgs/msg/Detection2DArray",
    "topic_3d": "vision_msgs/msg/Detection3DArray",
    "autoware_topic": "autoware_perception_msgs/msg/DetectedObjects",
}
KEPT = 8  # messages that wait for their observation
POSES = 64  # of the vehicle, one for each observation
AHEAD_NS = 50_000_000  # so much newer than the sweep a detection may be


@dataclass(frozen=True)
class DetectionsConfig:
    """Other detectors whose word counts beside our own; empty = none."""

    topic_2d: str = param("", "vision_msgs/Detection2DArray of a camera's image, in pixels of the raw image")
    camera: str = param("", "image topic that these boxes are of; empty = of the only camera")
    topic_3d: str = param("", "vision_msgs/Detection3DArray, in any frame that TF knows")
    autoware_topic: str = param("", "autoware_perception_msgs/DetectedObjects, in any frame that TF knows")
    classes: str = param("", "class names of yours: 'forklift=vehicle, 0=person'; person, rider, two_wheeler, vehicle or other")
    max_age_s: float = param(0.5, "detections that are older than the sweep by more than this come too late", at_least=0.0, at_most=5.0)

    def __post_init__(self) -> None:
        validate(self)
        kinds_by_name(self.classes)

    @property
    def topics(self) -> dict[str, str]:
        """Parameter -> topic, of those that are set."""
        return {name: getattr(self, name) for name in TYPES if getattr(self, name)}


def check_types(config: DetectionsConfig) -> None:
    """Raises ValueError where the package of a topic's messages is not installed."""
    for name, topic in config.topics.items():
        package = TYPES[name].split("/")[0]
        if find_spec(package) is None:
            raise ValueError(f"detections.{name} = {topic!r}: {package} is not installed; install it, or leave the topic empty")


class Hub(Protocol):
    """What is asked of a sensor hub."""

    @property
    def epoch(self) -> int: ...
    @property
    def last_timings_ms(self) -> Mapping[str, float]: ...
    def take(self) -> Observation | None: ...
    def base_from(self, frame: str, stamp_ns: int) -> FloatArray: ...

    @property
    def odom_frame(self) -> str: ...


class Detections:
    """Stands between a hub and the worker: takes observations and adds the newest detections of other nodes, each once."""

    def __init__(self, node: Node, config: DetectionsConfig, hub: Hub) -> None:
        self._node, self._config, self._hub = node, config, hub
        self._own = kinds_by_name(config.classes)
        self._unknown: set[str] = set()
        self._lock = threading.Lock()  # callbacks put, the worker takes
        self._waiting: deque[ImageBoxes | Boxes3D] = deque(maxlen=KEPT)
        self._poses: deque[tuple[int, FloatArray]] = deque(maxlen=POSES)
        self._cameras: deque[tuple[str, ...]] = deque(maxlen=POSES)  # of the same observations
        self._epoch = hub.epoch
        self._told_camera = False
        camera = node.resolve_topic_name(config.camera) if config.camera else ""
        readers: dict[str, Callable[[Any], ImageBoxes | Boxes3D]] = {
            "topic_2d": lambda message: image_boxes(message, camera, self._kind_of),
            "topic_3d": lambda message: boxes_3d(message, self._kind_of),
            "autoware_topic": detected_objects,
        }
        self._subscriptions = [
            node.create_subscription(kind, topic, partial(self._on_message, kind, topic, readers[name]), NEWEST, raw=True)
            for name, topic in config.topics.items()
            for kind in (message_class(TYPES[name]),)
        ]

    @property
    def epoch(self) -> int:
        return self._hub.epoch

    @property
    def last_timings_ms(self) -> Mapping[str, float]:
        return self._hub.last_timings_ms

    def take(self) -> Observation | None:
        """The hub's newest observation, with what is new of other detectors."""
        observation = self._hub.take()
        if observation is None or not self._subscriptions:
            return observation
        if self._hub.epoch != self._epoch:  # time has jumped: nothing from before belongs to what comes
            self._epoch = self._hub.epoch
            self._poses.clear()
            self._cameras.clear()
            with self._lock:
                self._waiting.clear()
        self._cameras.append(tuple(image.name for image in observation.cameras))
        self._poses.append((observation.stamp_ns, observation.ego.odom_from_base))
        ripe = self._ripe(observation.stamp_ns)
        if not ripe:
            return observation
        boxes = tuple(named for told in ripe if isinstance(told, ImageBoxes) and (named := self._of_camera(told)) is not None)
        seen = tuple(told.placed(pose) for told in ripe if isinstance(told, Boxes3D) and (pose := self._odom_from(told)) is not None)
        richer = replace(observation, detected=boxes + seen)
        vars(richer).update({name: vars(observation)[name] for name in ("levelled_m", "flattened_m") if name in vars(observation)})
        return richer

    def close(self) -> None:
        """Listen no more."""
        for subscription in self._subscriptions:
            self._node.destroy_subscription(subscription)
        self._subscriptions = []

    def _ripe(self, now_ns: int) -> list[ImageBoxes | Boxes3D]:
        """What was received up to now and is not too old; what is newer waits."""
        with self._lock:
            waiting = list(self._waiting)
            self._waiting.clear()
            self._waiting.extend(told for told in waiting if now_ns + AHEAD_NS < told.stamp_ns < now_ns + NANOSECONDS)
        oldest_ns = now_ns - int(self._config.max_age_s * NANOSECONDS)
        late = [told for told in waiting if told.stamp_ns < oldest_ns]
        if late:
            age_s = (now_ns - late[-1].stamp_ns) / NANOSECONDS
            self._warn(f"detections come {age_s:.2f} s after their sweep and are not used: detections.max_age_s = {self._config.max_age_s}")
        return [told for told in waiting if oldest_ns <= told.stamp_ns <= now_ns + AHEAD_NS]

    def _of_camera(self, boxes: ImageBoxes) -> ImageBoxes | None:
        """The same boxes with the name that their camera has here, raw or compressed; None where none is meant, or any of several."""
        names = sorted({name for seen in self._cameras for name in seen})
        if not names:
            return boxes
        of = [name for name in names if not boxes.camera or _plain(name) == _plain(boxes.camera)]
        if len({_plain(name) for name in of}) == 1:
            return replace(boxes, camera=of[0])
        if not self._told_camera and len(self._cameras) >= KEPT:  # in the first observations some cameras may be missing
            self._told_camera = True
            wrong = f"{boxes.camera!r} is none of the cameras" if boxes.camera else "it must be set where there are several cameras"
            text = f"boxes of detections.topic_2d are not used: detections.camera: {wrong}; set it to one of: {', '.join(names)}"
            self._node.get_logger().warning(text)
        return None

    def _odom_from(self, told: Boxes3D) -> FloatArray | None:
        """Where the frame of a message was in odom at its stamp, by the nearest observation's pose; None where TF does not know it."""
        if told.frame == self._hub.odom_frame:
            return np.eye(4)
        odom_from_base = min(self._poses, key=lambda pose: abs(pose[0] - told.stamp_ns))[1]
        try:
            return odom_from_base @ self._hub.base_from(told.frame, told.stamp_ns)
        except TransformError as error:
            self._warn(f"detections in frame {told.frame!r} are not used: {error}")
            return None

    def _on_message(self, kind: type, topic: str, read: Callable[[Any], ImageBoxes | Boxes3D], data: bytes) -> None:
        try:
            told = read(deserialize_message(data, kind))
        except Exception as error:  # of whoever publishes: one message is lost, not the node
            self._warn(f"{topic}: a message cannot be read: {type(error).__name__}: {error}")
            return
        with self._lock:
            self._waiting.append(told)

    def _kind_of(self, name: str) -> Kind | None:
        if name in self._own:
            return self._own[name]
        try:
            return kind_of(name)
        except UnknownClass:
            if name not in self._unknown and len(self._unknown) < KEPT:
                self._unknown.add(name)
                fix = f"detections.classes: '{name}=person' (or rider, two_wheeler, vehicle, other)"
                self._node.get_logger().warning(f"detections of class {name!r} are left out, as its meaning is not known; set {fix}")
            return None

    def _warn(self, text: str) -> None:
        self._node.get_logger().warning(text, throttle_duration_sec=10.0)


def _plain(topic: str) -> str:
    """Of the raw image, whichever form of it is named."""
    return topic.lstrip("/").removesuffix("/compressed")
