"""Height of the ground under each point: a coarse grid of lowest returns, cleared of what stands on it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from jepa_ros.types import FloatArray

CELL_M = 1.0
WIDEST_OBJECT_CELLS = 5  # a car is less than 2 m wide; a wall is thin, because nothing is seen behind it
STEEPEST = 0.25  # rise per metre: a steeper street is a ramp for pedestrians only in name


@dataclass(frozen=True)
class GroundGrid:
    """Ground height on a square grid around the origin."""

    height_m: FloatArray  # (rows, columns) at the corners of fine cells
    cell_m: float
    half_side_m: float

    @classmethod
    def fit(
        cls, points: FloatArray, range_m: float, ground_height_m: float, lidar_m: FloatArray | None = None, blind_m: float = 0.0
    ) -> GroundGrid:
        """From those of (N, 3) points in a gravity-aligned frame that lie within `range_m` of its origin in x and y.

        `ground_height_m`: the height where there are none. `blind_m`: within it of `lidar_m` (2,) no beam reaches the ground: all returns
        there are of what stands on it, and in a crowd that may be wider than any one object.
        """
        points = points[(np.abs(points[:, :2]) < range_m).all(axis=1)]
        side = int(np.ceil(2 * range_m / CELL_M)) + 1
        index = ((points[:, :2] + range_m) / CELL_M).astype(np.intp)
        lowest = np.full((side, side), np.inf, dtype=np.float32)
        np.minimum.at(lowest.reshape(-1), index[:, 1] * side + index[:, 0], points[:, 2].astype(np.float32))
        axis = (np.arange(side) + 0.5) * CELL_M - range_m
        distance = np.hypot(axis[None, :], axis[:, None])
        # What lies above the steepest plausible ground is an object, what lies far below it a reflection.
        plausible = np.abs(lowest - ground_height_m) < 0.5 + STEEPEST * distance
        lowest[~plausible] = np.inf
        if lidar_m is not None:
            from_lidar = np.hypot(axis[None, :] - lidar_m[0], axis[:, None] - lidar_m[1])
            lowest[from_lidar + 0.5 * CELL_M < blind_m] = ground_height_m
        return cls(_refine(_clear_objects(lowest, ground_height_m)), CELL_M / 2, range_m)

    def at(self, positions_m: FloatArray) -> FloatArray:
        """(N,) ground height under (N, 2) positions."""
        index = ((positions_m + self.half_side_m) / self.cell_m).astype(np.intp)
        index = np.clip(index, 0, self.height_m.shape[0] - 1)
        return self.height_m[index[:, 1], index[:, 0]]


def _clear_objects(lowest: FloatArray, default_m: float) -> FloatArray:
    """Morphological opening over known cells only: a bump narrower than the window is an object, a slope passes unchanged."""
    size = (WIDEST_OBJECT_CELLS, WIDEST_OBJECT_CELLS)
    eroded = ndimage.grey_erosion(lowest, size=size)
    opened = ndimage.grey_dilation(np.where(np.isfinite(eroded), eroded, -np.inf), size=size)
    known = np.isfinite(lowest) & np.isfinite(opened)
    # Rough ground (kerbs, grass) stays as measured; only what stands out is cut.
    ground = np.where(lowest - opened < 0.3, lowest, opened)
    if not known.any():
        return np.full_like(lowest, default_m)
    nearest = ndimage.distance_transform_edt(~known, return_distances=False, return_indices=True)
    filled = ground[tuple(nearest)]
    return ndimage.uniform_filter(filled, size=3)


def _refine(coarse: FloatArray) -> FloatArray:
    """Bilinear values at half the cell size, so that a slope is no staircase."""
    padded = np.pad(coarse, 1, mode="edge")
    rows = np.stack([0.75 * padded[1:-1] + 0.25 * padded[:-2], 0.75 * padded[1:-1] + 0.25 * padded[2:]], axis=1)
    rows = rows.reshape(-1, padded.shape[1])
    both = np.stack([0.75 * rows[:, 1:-1] + 0.25 * rows[:, :-2], 0.75 * rows[:, 1:-1] + 0.25 * rows[:, 2:]], axis=2)
    return both.reshape(rows.shape[0], -1)
