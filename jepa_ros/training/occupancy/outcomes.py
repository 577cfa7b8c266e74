"""What later sweeps show of the cells of an earlier one, in its anchor frame. Axes: N point, Y/X grid rows and columns."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from jepa_ros.sensing.voxelize import occupancy_grid, visible_cells
from jepa_ros.types import FloatArray, GridSpec, Observation

LATE_NS = 60_000_000  # a later sweep may be so far from its step


@dataclass(frozen=True)
class FlatSweep:
    """One sweep, over flattened ground, in its anchor frame."""

    stamp_ns: int
    odom_from_anchor: FloatArray
    points_m: FloatArray  # (N, 3), heights above the ground

    @classmethod
    def of(cls, observation: Observation) -> FlatSweep:
        """Of an observation with a lidar."""
        points = observation.flattened_m - np.array([0.0, 0.0, observation.ground_height_m])
        return cls(observation.stamp_ns, observation.odom_from_anchor, points.astype(np.float32))

    def seen_from(self, odom_from_other: FloatArray) -> FloatArray:
        """(N, 3) in another anchor frame; heights stay."""
        other_from_anchor = np.linalg.inv(odom_from_other) @ self.odom_from_anchor
        places = self.points_m[:, :2] @ other_from_anchor[:2, :2].T + other_from_anchor[:2, 3]
        return np.column_stack((places, self.points_m[:, 2])).astype(np.float32)


def outcome(now: FlatSweep, then: FlatSweep, grid: GridSpec) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """(Y, X) which cells of now are occupied then, and (Y, X) which the later sweep could see."""
    points = then.seen_from(now.odom_from_anchor)
    x_m, y_m = (np.linalg.inv(now.odom_from_anchor) @ then.odom_from_anchor)[:2, 3]
    return occupancy_grid(points, 0.0, grid), visible_cells(points, 0.0, grid, (float(x_m), float(y_m)))


def step_of(now: FlatSweep, then: FlatSweep, step_ns: int) -> int | None:
    """How many model steps lie between two sweeps; None where it is no whole number of them."""
    passed_ns = then.stamp_ns - now.stamp_ns
    step = round(passed_ns / step_ns)
    return step if abs(passed_ns - step * step_ns) <= LATE_NS else None
