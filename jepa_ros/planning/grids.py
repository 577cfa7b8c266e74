"""Grids for planning: occupancy made ready for a disc-shaped robot, and the length of the way to the goal around what stands still.

All in the anchor frame, [y, x] = [row, column]. Axes: T time, Y rows, X columns.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from jepa_ros.types import FloatArray, GridSpec

UNKNOWN = 1.0  # what lies beyond the forecast is taken as occupied: a robot drives within sight
COARSE_M = 0.8  # cell of the cost-to-go grid; it guides, collisions are judged on the fine grid
FAR_M = 1e6
SOFT_FACTOR = 3.0  # a cell that is surely occupied, if it were passable, would be this many times longer to cross


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


def clear_disc(volume_TYX: NDArray[np.float32], grid: GridSpec, centre_m: FloatArray, radius_m: float) -> NDArray[np.float32]:
    """A copy in which the cells under the robot itself are free: what a lidar sees there is the robot."""
    x, y = cell_centres(grid)
    under = (x[None, :] - centre_m[0]) ** 2 + (y[:, None] - centre_m[1]) ** 2 <= radius_m**2
    return np.where(under, np.float32(0.0), volume_TYX)


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


def forgive_start(inflated_TYX: NDArray[np.float32], grid: GridSpec, start_m: FloatArray, radius_m: float) -> NDArray[np.float32]:
    """Within `radius_m` of the start only what exceeds the start's own value now counts: a robot that stands beside an obstacle may leave.

    Anything that was inflated by the robot's radius is wider than this disc, so the robot cannot cross it there.
    """
    x, y = cell_centres(grid)
    near = (x[None, :] - start_m[0]) ** 2 + (y[:, None] - start_m[1]) ** 2 <= radius_m**2
    beside = (np.abs(x[None, :] - start_m[0]) < grid.resolution_m) & (np.abs(y[:, None] - start_m[1]) < grid.resolution_m)
    own = inflated_TYX[0][beside].max(initial=0.0)
    return np.where(near, np.maximum(inflated_TYX - own, 0.0), inflated_TYX)


def at_times(volume_TYX: NDArray[np.float32], volume_times_s: FloatArray, times_s: FloatArray) -> NDArray[np.float32]:
    """The volume at other times: linear between steps, held after the last."""
    last = len(volume_times_s) - 1
    if last == 0:
        return np.repeat(volume_TYX, len(times_s), axis=0)
    after = np.searchsorted(volume_times_s, times_s).clip(1, last)
    before_s, after_s = volume_times_s[after - 1], volume_times_s[after]
    share = ((times_s - before_s) / (after_s - before_s)).clip(0.0, 1.0).astype(np.float32)[:, None, None]
    return volume_TYX[after - 1] * (1.0 - share) + volume_TYX[after] * share


class CostToGo:
    """Length of the shortest way to the goal around what stands still, m, on a coarse grid.

    Solves the eikonal equation |grad d| = slowness by upwind differences (Rouy and Tourin 1992), all cells at once until nothing
    changes. A goal beyond the grid needs no projection: every free edge cell starts with its straight-line distance to the goal.
    """

    def __init__(self, inflated_YX: NDArray[np.float32], grid: GridSpec, goal_m: FloatArray, blocked_from: float) -> None:
        factor = max(1, round(COARSE_M / grid.resolution_m))
        occupied, coarse = _coarsen(inflated_YX, grid, factor, blocked_from)
        self.grid = coarse
        x, y = cell_centres(coarse)
        self.straight_m = np.hypot(x[None, :] - goal_m[0], y[:, None] - goal_m[1]).astype(np.float32)
        blocked = occupied >= 1.0
        step_m = np.where(blocked, np.float32(FAR_M), np.float32(coarse.resolution_m) * (1.0 + SOFT_FACTOR * occupied)).astype(np.float32)
        seed_m = np.full(step_m.shape, FAR_M, dtype=np.float32)
        if inside(grid, goal_m):
            near = (self.straight_m <= 1.5 * coarse.resolution_m) & ~blocked
            seed_m[near] = self.straight_m[near]
        else:
            edge = np.ones(step_m.shape, dtype=bool)
            edge[1:-1, 1:-1] = False
            edge &= ~blocked
            seed_m[edge] = self.straight_m[edge]
        length_m = _eikonal(seed_m, step_m)
        self.reached = length_m < 0.5 * FAR_M
        self.length_m = _extend(length_m, self.reached, coarse.resolution_m)

    def reachable_from(self, point_m: FloatArray) -> bool:
        """Whether a way leads from any free cell next to this point to the goal."""
        column, row = ((point_m - np.array(self.grid.origin_m)) // self.grid.resolution_m).astype(int)
        return bool(self.reached[max(row - 1, 0) : row + 2, max(column - 1, 0) : column + 2].any())

    def detour_m(self) -> NDArray[np.float32]:
        """(Y, X) how much longer the way is than the straight line; 0 where the goal is in plain sight."""
        return np.maximum(self.length_m - self.straight_m, 0.0)


def inside(grid: GridSpec, point_m: FloatArray) -> bool:
    """Whether a point lies on the grid."""
    column, row = (point_m - np.array(grid.origin_m)) / grid.resolution_m
    return bool(0 <= column < grid.columns and 0 <= row < grid.rows)


def _coarsen(inflated_YX: NDArray[np.float32], grid: GridSpec, factor: int, blocked_from: float) -> tuple[NDArray[np.float32], GridSpec]:
    """Mean occupancy of factor x factor cells; 1 where more than half of them are blocked."""
    rows, columns = -(-grid.rows // factor), -(-grid.columns // factor)
    padded = np.pad(inflated_YX, ((0, rows * factor - grid.rows), (0, columns * factor - grid.columns)), mode="edge")
    blocks = padded.reshape(rows, factor, columns, factor)
    occupied = np.minimum(blocks.mean(axis=(1, 3)), np.float32(0.99))
    occupied[(blocks >= blocked_from).mean(axis=(1, 3)) > 0.5] = 1.0
    return occupied, GridSpec(rows, columns, grid.resolution_m * factor, grid.origin_m)


def _eikonal(seed_m: NDArray[np.float32], step_m: NDArray[np.float32]) -> NDArray[np.float32]:
    rows, columns = seed_m.shape
    length = np.full((rows + 2, columns + 2), FAR_M, dtype=np.float32)
    core = length[1:-1, 1:-1]
    core[...] = seed_m
    double_square = 2.0 * step_m * step_m
    for sweep in range(4 * (rows + columns)):
        across = np.minimum(length[1:-1, :-2], length[1:-1, 2:])
        along = np.minimum(length[:-2, 1:-1], length[2:, 1:-1])
        gap = np.minimum(np.abs(across - along), step_m)
        update = np.minimum(across, along) + 0.5 * (gap + np.sqrt(double_square - gap * gap))
        if sweep % 8 == 7 and not (update < core).any():
            break
        np.minimum(core, update, out=core)
    return core.copy()


def _extend(length_m: NDArray[np.float32], reached: NDArray[np.bool_], resolution_m: float) -> NDArray[np.float32]:
    """Give blocked cells a value a little above their highest free neighbour, so that interpolation next to a wall pulls nobody into it."""
    finite = np.where(reached, length_m, np.float32(-1.0))
    padded = np.pad(finite, 1, constant_values=-1.0)
    rows, columns = finite.shape
    highest = np.max([padded[r : r + rows, c : c + columns] for r in range(3) for c in range(3)], axis=0)
    highest[highest < 0] = finite.max(initial=0.0)
    return np.where(reached, length_m, highest + np.float32(resolution_m))
