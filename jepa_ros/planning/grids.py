"""Grids for planning: occupancy made ready for a disc-shaped robot.

All in the anchor frame, [y, x] = [row, column]. Axes: T time, Y rows, X columns.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt

from jepa_ros.types import FloatArray, GridSpec

UNKNOWN = 1.0  # what lies beyond the forecast is taken as occupied: a robot drives within sight


def cell_centres(grid: GridSpec) -> tuple[FloatArray, FloatArray]:
    """x of each column (X,) and y of each row (Y,), m."""
    x = grid.origin_m[0] + grid.resolution_m * (np.arange(grid.columns) + 0.5)
    y = grid.origin_m[1] + grid.resolution_m * (np.arange(grid.rows) + 0.5)
    return x, y


def crop(volume_TYX: NDArray[np.float32], grid: GridSpec, centre_m: FloatArray, half_side_m: float) -> tuple[NDArray[np.float32], GridSpec]:
    """The square around a point, on the same cells. Where it leaves the grid it is filled with UNKNOWN."""
    low = np.floor((centre_m - half_side_m - np.array(grid.origin_m)) / grid.resolution_m).astype(int)
    high = np.ceil((centre_m + half_side_m - np.array(grid.origin_m)) / grid.resolution_m).astype(int)
    # One cell of UNKNOWN is all that is ever needed beyond an edge: look-ups repeat the border.
    (column_0, row_0), (column_1, row_1) = np.maximum(low, -1), np.minimum(high, (grid.columns + 1, grid.rows + 1))
    column_0, row_0 = min(column_0, grid.columns - 1), min(row_0, grid.rows - 1)
    column_1, row_1 = max(column_1, 1), max(row_1, 1)
    inside = volume_TYX[:, max(row_0, 0) : min(row_1, grid.rows), max(column_0, 0) : min(column_1, grid.columns)]
    pad = ((0, 0), (int(row_0 < 0), int(row_1 > grid.rows)), (int(column_0 < 0), int(column_1 > grid.columns)))
    origin = (grid.origin_m[0] + column_0 * grid.resolution_m, grid.origin_m[1] + row_0 * grid.resolution_m)
    cropped = np.pad(inside, pad, constant_values=UNKNOWN)
    return cropped, GridSpec(cropped.shape[1], cropped.shape[2], grid.resolution_m, origin)


def clear_discs(volume_TYX: NDArray[np.float32], grid: GridSpec, centres_m: FloatArray, radii_m: FloatArray | float) -> NDArray[np.float32]:
    """A copy in which the cells whose centres lie in any of the (N, 2) discs are free."""
    x, y = cell_centres(grid)
    across_NX, along_NY = x - centres_m[:, :1], y - centres_m[:, 1:]
    reach_N11 = np.broadcast_to(radii_m, len(centres_m))[:, None, None]
    under_YX = (along_NY[:, :, None] ** 2 + across_NX[:, None, :] ** 2 <= reach_N11**2).any(axis=0)
    return np.where(under_YX, np.float32(0.0), volume_TYX)


def split(volume_TYX: NDArray[np.float32], grid: GridSpec) -> tuple[NDArray[np.float32], GridSpec]:
    """The same probabilities on cells of half the size."""
    return volume_TYX.repeat(2, axis=1).repeat(2, axis=2), halved(grid)


def halved(grid: GridSpec) -> GridSpec:
    """The same area in cells of half the size."""
    return GridSpec(2 * grid.rows, 2 * grid.columns, 0.5 * grid.resolution_m, grid.origin_m)


def inflate(volume_TYX: NDArray[np.float32], resolution_m: float, radius_m: float) -> NDArray[np.float32]:
    """The largest probability among the cells that a disc at each cell's centre touches (centre within radius + half a cell)."""
    reach = (radius_m + 0.5 * resolution_m) / resolution_m
    cells = math.floor(reach)
    rows, columns = volume_TYX.shape[1:]
    padded = np.pad(volume_TYX, ((0, 0), (cells, cells), (cells, cells)), mode="edge")
    widest = np.zeros_like(volume_TYX)
    # A disc is a stack of horizontal runs: rows at the same distance share one run.
    for down in range(cells + 1):
        half_run = math.floor(math.sqrt(reach * reach - down * down))
        for sign in (1, -1) if down else (1,):
            band = padded[:, cells + sign * down : cells + sign * down + rows]
            for right in range(-half_run, half_run + 1):
                np.maximum(widest, band[:, :, cells + right : cells + right + columns], out=widest)
    return widest


def clearance(occupied_YX: NDArray[np.bool_], grid: GridSpec) -> NDArray[np.float32]:
    """Distance from each cell's centre to the nearest occupied cell's, m; where nothing is occupied, a distance beyond all others."""
    if not occupied_YX.any():
        return np.full(occupied_YX.shape, grid.resolution_m * sum(occupied_YX.shape), np.float32)
    return (grid.resolution_m * distance_transform_edt(~occupied_YX)).astype(np.float32)


def between_cells(values_YX: NDArray[np.float32], grid: GridSpec, point_m: FloatArray) -> float:
    """Bilinear reading at a point."""
    x, y = ((axis - at) / grid.resolution_m for axis, at in zip(cell_centres(grid), point_m, strict=True))
    return float(np.maximum(0.0, 1.0 - np.abs(y)) @ values_YX @ np.maximum(0.0, 1.0 - np.abs(x)))


def at_times(volume_TYX: NDArray[np.float32], volume_times_s: FloatArray, times_s: FloatArray) -> NDArray[np.float32]:
    """The volume at other times: linear between steps, held after the last."""
    last = len(volume_times_s) - 1
    if last == 0:
        return np.repeat(volume_TYX, len(times_s), axis=0)
    after = np.searchsorted(volume_times_s, times_s).clip(1, last)
    before_s, after_s = volume_times_s[after - 1], volume_times_s[after]
    share = ((times_s - before_s) / (after_s - before_s)).clip(0.0, 1.0).astype(np.float32)[:, None, None]
    return volume_TYX[after - 1] * (1.0 - share) + volume_TYX[after] * share


def inside(grid: GridSpec, point_m: FloatArray) -> bool:
    """Whether a point lies on the grid."""
    column, row = (point_m - np.array(grid.origin_m)) / grid.resolution_m
    return bool(0 <= column < grid.columns and 0 <= row < grid.rows)
