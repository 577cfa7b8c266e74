"""Removes returns from the vehicle itself before a sweep is used."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jepa_ros.types import FloatArray, LidarSweep

Box = tuple[float, float, float, float]  # x_min, y_min, x_max, y_max, base frame, m

# Where nothing is configured: the height of the lidar above the ground tells a car with it on the roof from a robot.
# A box that is too large hides people beside a small robot; one that is too small shows a car its own mirrors.
ROOF_M = 1.3
CAR: Box = (-2.5, -2.0, 2.5, 2.0)
ROBOT: Box = (-0.5, -0.5, 0.5, 0.5)


def own_body(sweep: LidarSweep, ground_height_m: float) -> Box:
    """The box of a vehicle that has this lidar, by the lidar's height above the ground."""
    return CAR if sweep.base_from_lidar[2, 3] - ground_height_m > ROOF_M else ROBOT


def off_body(points_base_m: FloatArray, box: Box) -> NDArray[np.bool_]:
    """(N,) which of the points, in the base frame as it was when each was measured, are not the vehicle itself."""
    x, y = points_base_m[:, 0], points_base_m[:, 1]
    x_min, y_min, x_max, y_max = box
    return (x < x_min) | (x > x_max) | (y < y_min) | (y > y_max)


def of_points(sweep: LidarSweep, kept: NDArray[np.bool_]) -> LidarSweep:
    """The sweep with only some of its points."""

    index = np.flatnonzero(kept)

    def column(values: NDArray[Any] | None) -> Any:
        return None if values is None else values.take(index, axis=0)

    parts = tuple(
        dataclasses.replace(part, first=int(kept[: part.first].sum()), count=int(kept[part.first : part.first + part.count].sum()))
        for part in sweep.parts
    )
    return dataclasses.replace(
        sweep,
        parts=parts,
        points_m=column(sweep.points_m),
        intensity=column(sweep.intensity),
        ring=column(sweep.ring),
        time_offset_s=column(sweep.time_offset_s),
    )
