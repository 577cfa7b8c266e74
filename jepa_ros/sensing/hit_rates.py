"""How often, lately, each place held a return when a sensor looked at it. One sweep hits the edge of a wall, the next one passes it.

Axes: S share, Y/X grid rows and columns.
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
        self._cells = centres(grid)
        self._hits, self._looks = ([OdomMap(half_cells(grid), grid.resolution_m, 0.0) for _ in LATELY_S] for _ in range(2))
        self._last_ns: int | None = None

    def clear(self) -> None:
        """Forget the stream."""
        for kept in (*self._hits, *self._looks):
            kept.clear()
        self._last_ns = None

    def update(
        self, stamp_ns: int, odom_from_anchor: FloatArray, looked_at: NDArray[np.bool_], points_m: FloatArray, ground_z_m: float
    ) -> NDArray[np.float32]:
        """(S, Y, X), all 0-1: of the looks lately, the share that were hits, by time constant; the share of that time in which the place
        was looked at; whether it is looked at now.

        looked_at: `SightMemory.looked_at` of this sweep. points_m: (N, 3) its returns over flattened ground, anchor frame; ground_z_m: the
        height of that ground.
        """
        passed_s = FIRST_S if self._last_ns is None else min((stamp_ns - self._last_ns) / NANOSECONDS, LONGEST_S)
        self._last_ns = stamp_ns
        for kept in (*self._hits, *self._looks):
            kept.follow(odom_from_anchor[:2, 3])
        window = self._hits[0]
        height = points_m[:, 2] - np.float32(ground_z_m)
        body_m = points_m[(height >= OCCUPIED_M[0]) & (height <= OCCUPIED_M[1]), :2]
        row, column = window.indices(body_m @ odom_from_anchor[:2, :2].T + odom_from_anchor[:2, 3])
        size = 2 * window.half_cells
        inside = (row >= 0) & (row < size) & (column >= 0) & (column < size)
        hit = np.zeros((size, size), bool)
        hit[row[inside], column[inside]] = True
        looked_at = looked_at | hit
        for hits, looks, lately_s in zip(self._hits, self._looks, LATELY_S, strict=True):
            fades = np.exp(-passed_s / lately_s)
            hits.values = fades * hits.values + (1.0 - fades) * hit
            looks.values = fades * looks.values + (1.0 - fades) * looked_at
        at = window.indices(self._cells @ odom_from_anchor[:2, :2].T + odom_from_anchor[:2, 3])
        hits_KN, looks_KN = (np.stack([kept.values[at] for kept in maps]) for maps in (self._hits, self._looks))
        shares = np.concatenate((hits_KN / np.maximum(looks_KN, 1e-3), looks_KN, looked_at[at][None]))
        return shares.reshape(-1, *self._shape).astype(np.float32)
