"""Odometry in the frames that are asked for: a pose of the base, in the fixed frame. Frames are transformed, never renamed."""

from __future__ import annotations

from jepa_ros.sensing.frames.ego import OdometrySample, carried
from jepa_ros.sensing.frames.transforms import TransformError, Transforms
from jepa_ros.types import EgoState, FloatArray


def in_base(sample: OdometrySample, base_frame: str, tree: Transforms) -> EgoState:
    """The state of `base_frame`, where the odometry may tell of another frame of the vehicle. Raises TransformError."""
    if not sample.child_frame or sample.child_frame == base_frame:
        return sample.state
    return carried(sample.state, tree.lookup(sample.child_frame, base_frame, None))


def fixed_from_told(fixed_frame: str, told_frame: str, stamp_ns: int, tree: Transforms) -> FloatArray:
    """(4, 4): where the odometry's own frame lies in another fixed frame, such as the map. Raises TransformError."""
    try:
        return tree.lookup(fixed_frame, told_frame, stamp_ns)
    except TransformError:
        return tree.lookup(fixed_frame, told_frame, None)  # localisation corrects seldom, and its newest word holds
