"""Returns from the vehicle itself are no obstacles: they are cut out before anything looks at the sweep."""

from __future__ import annotations

import dataclasses
from typing import Any

from numpy.typing import NDArray

from jepa_ros.types import LidarSweep

Box = tuple[float, float, float, float]  # x_min, y_min, x_max, y_max, base frame, m

# Where nothing is configured: the height of the lidar above the ground tells a car with it on the roof from a robot.
# A box that is too large hides people beside a small robot; one that is too small shows a car its own mirrors.
ROOF_M = 1.3
CAR: Box = (-2.5, -2.0, 2.5, 2.0)
ROBOT: Box = (-0.5, -0.5, 0.5, 0.5)


def own_body(sweep: LidarSweep, ground_height_m: float) -> Box:
    """The box of a vehicle that has this lidar, by the lidar's height above the ground."""
    return CAR if sweep.base_from_lidar[2, 3] - ground_height_m > ROOF_M else ROBOT


def without_own_body(sweep: LidarSweep, box: Box) -> LidarSweep:
    """The sweep without the points over the box."""
    x, y = sweep.points_m[:, 0], sweep.points_m[:, 1]
    x_min, y_min, x_max, y_max = box
    outside = (x < x_min) | (x > x_max) | (y < y_min) | (y > y_max)
    if outside.all():
        return sweep

    def kept(column: NDArray[Any] | None) -> Any:
        return None if column is None else column[outside]

    return dataclasses.replace(
        sweep,
        points_m=kept(sweep.points_m),
        intensity=kept(sweep.intensity),
        ring=kept(sweep.ring),
        time_offset_s=kept(sweep.time_offset_s),
    )
