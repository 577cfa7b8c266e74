"""Odometry in the requested frames: the pose of the base in the fixed frame. Frames are transformed, never renamed."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from jepa_ros.sensing.frames.ego import OdometrySample, carried
from jepa_ros.sensing.frames.transforms import TransformError, Transforms
from jepa_ros.types import EgoState, FloatArray

VEHICLES = ("base_link", "base_footprint")  # REP-105, REP-120
UPRIGHT = np.cos(np.radians(45.0))  # between a vehicle's z axis and the vertical; no ramp is so steep
AHEAD = np.cos(np.radians(30.0))  # between the x axes of a vehicle and of a frame that can stand for it


def is_upright(odom_from_child: FloatArray) -> bool:
    """Whether a frame stands as a vehicle's does: z up (REP-103). A camera's optical frame, or a sensor upside down, does not."""
    return bool(odom_from_child[2, 2] > UPRIGHT)


def vehicle_frame(child: str, upright: bool, pose: Callable[[str, str], FloatArray | None]) -> str:
    """The vehicle whose motion an odometry of `child` tells: `child` itself, or where that is a sensor that lies or is turned, base_link.

    `upright`: of `child`. `pose`: target_from_source by TF, or None. Empty where the child cannot be it and TF tells of no vehicle.
    """
    space, _, name = child.rpartition("/")
    if name in VEHICLES and upright:
        return child
    for vehicle in (f"{space}/{name}" if space else name for name in VEHICLES):
        mount = pose(vehicle, child) if vehicle != child else None
        if mount is not None:
            stands_for_it = upright and mount[0, 0] > AHEAD
            return child if stands_for_it else vehicle
    return child if upright else ""


def in_base(sample: OdometrySample, base_frame: str, tree: Transforms) -> EgoState:
    """The state of `base_frame`, from odometry of any frame of the vehicle. Raises TransformError."""
    if not sample.child_frame or sample.child_frame == base_frame:
        return sample.state
    return carried(sample.state, tree.lookup(sample.child_frame, base_frame, None))


def fixed_from_told(fixed_frame: str, told_frame: str, stamp_ns: int, tree: Transforms) -> FloatArray:
    """(4, 4): where the odometry's own frame lies in another fixed frame, such as the map. Raises TransformError."""
    try:
        return tree.lookup(fixed_frame, told_frame, stamp_ns)
    except TransformError:
        return tree.lookup(fixed_frame, told_frame, None)  # localisation corrects seldom, and its newest word holds
