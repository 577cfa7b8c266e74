"""Which objects a planner listens to: those of its world model, or those of an Autoware stack in their place."""

from __future__ import annotations

from typing import Any

from rclpy.serialization import deserialize_message

from jepa_ros.msg import ObjectForecastArray
from jepa_ros.ros.autoware.objects import MISSING, forecasts_of, predicted_objects_type
from jepa_ros.sensing.frames.transforms import TransformError, TransformTree


def objects_source(theirs: str, world_model: str) -> tuple[type, str]:
    """Type and topic. theirs: a topic of PredictedObjects; empty = the world model's. Raises ValueError where the type is missing."""
    if not theirs:
        return ObjectForecastArray, f"{world_model}/objects"
    kind = predicted_objects_type()
    if kind is None:
        raise ValueError(f"inputs.predicted_objects_topic = {theirs!r}: {MISSING}")
    return kind, theirs


def read_objects(kind: type, data: bytes, fixed_frame: str, tree: TransformTree) -> ObjectForecastArray:
    """In the fixed frame, by the transform at their stamp, or by the newest where TF is not so far yet. Raises TransformError, or
    ValueError."""
    message: Any = deserialize_message(data, kind)
    if kind is ObjectForecastArray:
        return message
    frame = message.header.frame_id.lstrip("/")
    stamp = message.header.stamp
    try:
        fixed_from_frame = tree.lookup(fixed_frame, frame, stamp.sec * 1_000_000_000 + stamp.nanosec)
    except TransformError:
        fixed_from_frame = tree.lookup(fixed_frame, frame, None)
    return forecasts_of(message, fixed_from_frame, fixed_frame)
