"""Low obstacles that a lidar has seen and now looks over: a bumper, a pallet, a kerb beside the robot.

The beams of a lidar on a roof come down to the ground some metres away. What is lower than the lowest of them cannot be seen from nearby,
although it was seen from further away, and a world model that looks back for a second has forgotten it by then. So the height of what
stood in each cell is kept until a beam has passed through the cell below that height, or the robot has driven away.

Axes: N point, A direction (one degree each), D distance bin, Y/X grid rows and columns.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from jepa_ros.movers import Bodies
from jepa_ros.sensing.lidar_view import DIRECTIONS, LidarView, directions
from jepa_ros.sensing.odom_map import OdomMap
from jepa_ros.sensing.sight import GAP
from jepa_ros.sensing.voxelize import cell_indices
from jepa_ros.types import FloatArray, GridSpec

NEAR_M = 8.0  # beams that dip by 15 degrees from 2 m above the ground reach it at 7.5 m
BIN_M = 0.2


@dataclass(frozen=True)
class Beams:
    """How low one lidar's beams are at each distance in each direction. Anchor frame."""

    origin_m: FloatArray  # (2,)
    height_m: float  # of the lidar above the ground
    dip_AD: NDArray[np.float32]  # steepest descent among the beams that reach so far, m per m; -inf = none does
    first_m: NDArray[np.float32]  # (A,) to the first return that hides what is behind it

    def lowest_m(self, x: NDArray[np.float32], y: NDArray[np.float32]) -> NDArray[np.float32]:
        """Height of the lowest beam over each place, m above the ground; inf where none reaches so far."""
        x, y = x - np.float32(self.origin_m[0]), y - np.float32(self.origin_m[1])
        distance, direction = np.hypot(x, y), directions(x, y)
        dip = self.dip_AD[direction, np.minimum((distance / BIN_M).astype(int), self.dip_AD.shape[1] - 1)]
        return np.maximum(np.float32(self.height_m) - distance * dip, 0.0)

    def hides(self, x: NDArray[np.float32], y: NDArray[np.float32]) -> NDArray[np.bool_]:
        """Whether a place lies behind the first return of its direction."""
        x, y = x - np.float32(self.origin_m[0]), y - np.float32(self.origin_m[1])
        return np.asarray(np.hypot(x, y) >= self.first_m[directions(x, y)])


def beams_of(view: LidarView) -> Beams:
    """Those that returned, of one lidar."""
    distance, direction = view.polar
    dip = (np.float32(view.origin_m[2]) - view.sampled_m[:, 2]) / np.maximum(distance, np.float32(BIN_M))
    bins = math.ceil(NEAR_M / BIN_M)
    steepest = np.full(DIRECTIONS * bins, -np.inf, np.float32)
    np.maximum.at(steepest, direction * bins + np.minimum((distance / np.float32(BIN_M)).astype(int), bins - 1), dip.astype(np.float32))
    dip_AD = np.maximum.accumulate(steepest.reshape(DIRECTIONS, bins)[:, ::-1], axis=1)[:, ::-1]
    return Beams(np.asarray(view.origin_m[:2]), view.height_m, _widened(dip_AD), view.first_m)


class LowObstacles:
    """Heights of what stood near the robot, kept where no beam comes low enough to see it. One instance belongs to one stream."""

    def __init__(self, grid: GridSpec) -> None:
        """grid: of the answers, in the anchor frame."""
        self._grid = grid
        self._top = OdomMap(math.ceil(NEAR_M / grid.resolution_m) + 1, grid.resolution_m, 0.0)  # m above the ground; 0 = nothing

    def clear(self) -> None:
        """Forget the stream."""
        self._top.clear()

    def update(self, odom_from_anchor: FloatArray, views: Sequence[LidarView], movers: Bodies) -> NDArray[np.bool_]:
        """(Y, X) True where something low was seen and is now looked over.

        movers: what moves on; its returns are not kept, and do not show that what was there before is gone.
        """
        self._top.follow(odom_from_anchor[:2, 3])
        now_m = np.zeros_like(self._top.values)
        x, y = self._top.centres_in(odom_from_anchor)
        lowest_m = np.full(x.shape, np.inf, np.float32)
        covered = np.ones(x.shape, bool)
        for view in views:
            self._raise(now_m, view, odom_from_anchor)
            beams = beams_of(view)
            lowest_m = np.minimum(lowest_m, beams.lowest_m(x, y))
            covered &= beams.hides(x, y)
        unseen = (now_m == 0.0) & (lowest_m > self._top.values)
        hidden = (now_m > 0.0) & movers.around(x, y, self._grid.resolution_m)
        self._top.values = np.where(unseen | hidden, self._top.values, now_m)
        kept = unseen & ~covered & (self._top.values > 0.0)
        answer = np.zeros(self._grid.rows * self._grid.columns, bool)
        answer[cell_indices(np.column_stack((x[kept], y[kept])), self._grid)[0]] = True
        return answer.reshape(self._grid.rows, self._grid.columns)

    def _raise(self, top_m: FloatArray, view: LidarView, odom_from_anchor: FloatArray) -> None:
        near_m = view.body_m[(np.abs(view.body_m[:, 0]) < NEAR_M) & (np.abs(view.body_m[:, 1]) < NEAR_M)]
        row, column = self._top.indices(near_m[:, :2] @ odom_from_anchor[:2, :2].T + odom_from_anchor[:2, 3])
        inside = (row >= 0) & (row < top_m.shape[0]) & (column >= 0) & (column < top_m.shape[1])
        height = near_m[inside, 2] - np.float32(view.ground_z_m)
        np.maximum.at(top_m, (row[inside], column[inside]), height.astype(top_m.dtype))


def _widened(dip_AD: NDArray[np.float32]) -> NDArray[np.float32]:
    """A sensor with few columns leaves directions empty: its beams are taken to be as low there as in the next directions."""
    around, widest = np.concatenate((dip_AD[-GAP:], dip_AD, dip_AD[:GAP])), dip_AD.copy()
    for first in range(2 * GAP + 1):
        np.maximum(widest, around[first : first + len(dip_AD)], out=widest)
    return widest
