"""The global path around static obstacles: for every cell, how much longer it is than the straight line. It checks no collision.

All in the anchor frame, [y, x] = [row, column].
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array
from scipy.sparse.csgraph import dijkstra

from jepa_ros.planning.grids import cell_centres, inside
from jepa_ros.types import FloatArray, GridSpec

SOFT_FACTOR = 3.0  # a cell that is surely occupied, if it were passable, would be this many times longer to cross
TIGHT_FACTOR = 6.0  # the same for a cell where the robot may touch something: on coarse cells a door can look narrower than it is
DOUBT_FACTOR = 15.0  # the same for a cell that is blocked now but too far away to matter yet
DIAGONAL = math.sqrt(2.0)
BELIEVED_AFTER_S = 3.0  # what was free must be blocked for so long until the guide leads around it: a crowd in a door is no wall


class StandingMemory:
    """Static obstacles, slow to appear and quick to disappear: people without a track block a door only for moments."""

    def __init__(self) -> None:
        self._last: tuple[float, FloatArray, GridSpec, NDArray[np.float32]] | None = None

    def believed(self, standing_YX: NDArray[np.float32], grid: GridSpec, anchor_pose: FloatArray, stamp_s: float) -> NDArray[np.float32]:
        """(Y, X) what to believe of the newest probabilities; `anchor_pose`: (4, 4) odom from the grid's frame."""
        if self._last is not None:
            last_s, last_pose, last_grid, last_YX = self._last
            passed_s = stamp_s - last_s
            if 0.0 <= passed_s < BELIEVED_AFTER_S:  # later, all of it is believed
                before_YX = _moved(last_YX, last_grid, grid, np.linalg.inv(last_pose) @ anchor_pose)
                standing_YX = np.minimum(standing_YX, before_YX + np.float32(passed_s / BELIEVED_AFTER_S))
        self._last = (stamp_s, anchor_pose, grid, standing_YX)
        return standing_YX


def _moved(values_YX: NDArray[np.float32], grid: GridSpec, to_grid: GridSpec, grid_from_to: FloatArray) -> NDArray[np.float32]:
    """Values of one grid at the cells of another (nearest cell); 1 where the first says nothing."""
    x, y = np.meshgrid(*cell_centres(to_grid))
    column = grid_from_to[0, 0] * x + grid_from_to[0, 1] * y + (grid_from_to[0, 3] - grid.origin_m[0])
    row = grid_from_to[1, 0] * x + grid_from_to[1, 1] * y + (grid_from_to[1, 3] - grid.origin_m[1])
    column, row = (np.floor(at / grid.resolution_m).astype(int) for at in (column, row))
    known = (column >= 0) & (column < grid.columns) & (row >= 0) & (row < grid.rows)
    moved_YX = np.ones(x.shape, np.float32)
    moved_YX[known] = values_YX[row[known], column[known]]
    return moved_YX


class CostToGo:
    """Length of the shortest way to the goal in steps along rows, columns and diagonals, m.

    Such steps overstate a length by up to 8 %, with and without obstacles alike: the detour, their difference, is what a planner adds
    to the straight-line distance. A goal beyond the grid needs no projection: every free edge cell starts with its own distance to it.
    """

    def __init__(
        self,
        standing_YX: NDArray[np.float32],
        beside_YX: NDArray[np.float32],
        grid: GridSpec,
        start_m: FloatArray,
        goal_m: FloatArray,
        tolerance_m: float,
        blocked_from: float,
        sure_m: float = math.inf,
    ) -> None:
        """standing_YX, beside_YX: probability that a cell is occupied, and that a robot there would touch something.

        sure_m: what blocks the way further from the start than this may be gone before the robot is there: long to
        cross, but no wall.
        """
        self.grid = grid
        x, y = cell_centres(grid)
        across, along = np.abs(x[None, :] - goal_m[0]), np.abs(y[:, None] - goal_m[1])
        self._free_m = np.maximum(across, along) + (DIAGONAL - 1.0) * np.minimum(across, along)
        sure = np.hypot(x[None, :] - start_m[0], y[:, None] - start_m[1]) <= sure_m
        slowness = np.where(beside_YX < blocked_from, 1.0 + SOFT_FACTOR * beside_YX.astype(np.float64), TIGHT_FACTOR)
        slowness[standing_YX >= blocked_from] = DOUBT_FACTOR
        slowness[(standing_YX >= blocked_from) & sure] = np.inf
        step_m = grid.resolution_m * slowness
        seeds = np.zeros(step_m.shape, dtype=bool)
        if inside(grid, goal_m):
            seeds |= np.hypot(across, along) <= max(tolerance_m, 0.75 * grid.resolution_m)
        else:
            seeds[[0, -1]] = seeds[:, [0, -1]] = True
        length_m = _shortest(np.where(seeds & np.isfinite(step_m), self._free_m, np.inf), step_m)
        self.reached = np.isfinite(length_m)
        self.length_m = _extend(length_m, self.reached, grid.resolution_m)

    def reachable_from(self, point_m: FloatArray) -> bool:
        """Whether a way leads from any free cell next to this point to the goal."""
        column, row = ((point_m - np.array(self.grid.origin_m)) // self.grid.resolution_m).astype(int)
        return bool(self.reached[max(row - 1, 0) : row + 2, max(column - 1, 0) : column + 2].any())

    def ahead(self, point_m: FloatArray, most_m: float) -> FloatArray:
        """(N, 2) centres of the cells that the way leads through from a point on, as far as `most_m` from it."""
        x, y = cell_centres(self.grid)
        column, row = ((point_m - np.array(self.grid.origin_m)) // self.grid.resolution_m).astype(int)
        places: list[tuple[float, float]] = []
        while 0 <= row < self.grid.rows and 0 <= column < self.grid.columns:
            places.append((x[column], y[row]))
            around = self.length_m[max(row - 1, 0) : row + 2, max(column - 1, 0) : column + 2]
            if math.dist(places[-1], point_m) > most_m or around.min() >= self.length_m[row, column]:
                break
            down, right = np.unravel_index(int(around.argmin()), around.shape)
            row, column = max(row - 1, 0) + int(down), max(column - 1, 0) + int(right)
        return np.array(places).reshape(-1, 2)

    def detour_m(self) -> NDArray[np.float32]:
        """(Y, X) how much longer the way is than it would be without obstacles."""
        return np.maximum(self.length_m - self._free_m, 0.0).astype(np.float32)


def _shortest(seed_m: FloatArray, step_m: FloatArray) -> FloatArray:
    """Dijkstra from a source that is tied to each seed by the length it starts with. Infinite where no way leads."""
    edges = _edges(*step_m.shape)
    flat_m, cells = step_m.ravel(), step_m.size
    between_m = edges.length * (flat_m[edges.start] + flat_m[edges.end])
    seeds = np.flatnonzero(np.isfinite(seed_m))
    graph = csr_array(
        (
            np.concatenate((between_m, seed_m.ravel()[seeds])),
            np.concatenate((edges.end, seeds.astype(np.int32))),
            np.append(edges.first, len(between_m) + len(seeds)),
        ),
        shape=(cells + 1, cells + 1),
    )
    return dijkstra(graph, directed=False, indices=cells)[:-1].reshape(step_m.shape)


@dataclass(frozen=True)
class _Edges:
    """Pairs of neighbouring cells, each once, in the order of their first cells."""

    start: NDArray[np.int32]
    end: NDArray[np.int32]
    length: FloatArray  # half the distance between their centres, cells
    first: NDArray[np.int32]  # (cells + 1,) where each cell's edges begin


@lru_cache(maxsize=4)
def _edges(rows: int, columns: int) -> _Edges:
    index = np.arange(rows * columns, dtype=np.int32).reshape(rows, columns)
    pairs = (
        (index[:, :-1], index[:, 1:], 0.5),
        (index[:-1], index[1:], 0.5),
        (index[:-1, :-1], index[1:, 1:], 0.5 * DIAGONAL),
        (index[:-1, 1:], index[1:, :-1], 0.5 * DIAGONAL),
    )
    start = np.concatenate([a.ravel() for a, _, _ in pairs])
    order = np.argsort(start, kind="stable")
    end = np.concatenate([b.ravel() for _, b, _ in pairs])
    length = np.concatenate([np.full(a.size, half) for a, _, half in pairs])
    first = np.searchsorted(start[order], np.arange(rows * columns + 1)).astype(np.int32)
    return _Edges(start[order], end[order], length[order], first)


def _extend(length_m: FloatArray, reached: NDArray[np.bool_], resolution_m: float) -> FloatArray:
    """Give blocked cells a value a little above their highest free neighbour, so that interpolation next to a wall pulls nobody into it."""
    finite = np.where(reached, length_m, -1.0)
    padded = np.pad(finite, 1, constant_values=-1.0)
    rows, columns = finite.shape
    highest = np.max([padded[r : r + rows, c : c + columns] for r in range(3) for c in range(3)], axis=0)
    highest[highest < 0] = finite.max(initial=0.0)
    return np.where(reached, length_m, highest + resolution_m)
