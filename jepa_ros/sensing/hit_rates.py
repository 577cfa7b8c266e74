"""How often, lately, each place held a return when a sensor looked at it. One sweep hits the edge of a wall, the next one passes it.

Axes: S share, K what is counted: hits, looks; L time constant, Y/X grid rows and columns.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from jepa_ros.sensing.odom_map import OdomMap
from jepa_ros.sensing.sight import centres, half_cells
from jepa_ros.sensing.voxelize import OCCUPIED_M
from jepa_ros.types import NANOSECONDS, FloatArray, GridSpec

LATELY_S = (0.4, 2.0)  # time constants: a model step, and as long as a car that passes keeps a place in view
FIRST_S = 0.1  # what the first sweep of a stream stands for: lidars turn at 10 Hz
LONGEST_S = 1.0  # a longer gap between two sweeps counts as so much
SHARES = ("hits_short", "hits_long", "looked_short", "looked_long", "looked")  # what `update` returns, in this order


class HitRates:
    """Fading averages of hits and of looks, in a map that lies still in odom. One instance belongs to one stream."""

    def __init__(self, grid: GridSpec) -> None:
        """grid: of the answers, in the anchor frame."""
        self._shape = (grid.rows, grid.columns)
        self._x, self._y = np.ascontiguousarray(centres(grid).T)  # of the grid's cells
        self._rates = OdomMap(half_cells(grid), grid.resolution_m, 0.0, layers=(2, len(LATELY_S)))  # K, L
        self._last_ns: int | None = None

    def clear(self) -> None:
        """Forget the stream."""
        self._rates.clear()
        self._last_ns = None

    def update(
        self, stamp_ns: int, odom_from_anchor: FloatArray, looked_at: NDArray[np.bool_], points_m: FloatArray, ground_z_m: float
    ) -> NDArray[np.float32]:
        """(S, Y, X), all 0-1: of the looks lately, the share that were hits, by time constant; the share of that time in which the place
        was looked at; whether it is looked at now.

        looked_at: `SightMemory.looked_at` of this sweep. points_m: (N, 3) its returns over flattened ground, anchor frame, of which those
        that make a cell occupied are read; ground_z_m: the height of that ground.
        """
        passed_s = FIRST_S if self._last_ns is None else min((stamp_ns - self._last_ns) / NANOSECONDS, LONGEST_S)
        self._last_ns = stamp_ns
        rates, position_m = self._rates, odom_from_anchor[:2, 3]
        rates.follow(position_m)
        height = points_m[:, 2] - np.float32(ground_z_m)
        body_m = points_m.take(np.flatnonzero((height >= OCCUPIED_M[0]) & (height <= OCCUPIED_M[1])), axis=0)[:, :2]
        row, column = rates.indices(body_m @ odom_from_anchor[:2, :2].T + position_m)
        size = 2 * rates.half_cells
        inside = (row >= 0) & (row < size) & (column >= 0) & (column < size)
        hit = np.zeros((size, size), bool)
        hit[row[inside], column[inside]] = True
        looked_at = looked_at | hit
        fades_L11 = np.exp(-passed_s / np.array(LATELY_S))[:, None, None]
        rates.values *= fades_L11
        rates.values += (1.0 - fades_L11) * np.stack((hit, looked_at))[:, None]
        cells_N = rates.cells_of(self._x, self._y, odom_from_anchor)
        hits_LN, looks_LN = rates.values.reshape(2, len(LATELY_S), -1).take(cells_N, axis=2)
        shares = np.concatenate((hits_LN / np.maximum(looks_LN, 1e-3), looks_LN, looked_at.ravel().take(cells_N)[None]))
        return shares.reshape(-1, *self._shape).astype(np.float32)
