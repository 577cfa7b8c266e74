"""Recent positions of tracked vehicles, for forecasters. Axes: V vehicles, T steps (oldest first, the last = now)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from jepa_ros.objects.time_steps import HISTORY, STEP_S, positions_at
from jepa_ros.types import FloatArray


class PositionHistory:
    """Remembers what was reported, for as long as the steps reach back."""

    def __init__(self) -> None:
        self._told: list[tuple[float, NDArray[np.int64], FloatArray]] = []

    def add(self, now_s: float, ids: NDArray[np.int64], places_m: FloatArray) -> FloatArray:
        """Take in places (V, 2) of vehicles `ids` (V,) now; (V, T, 2) where each was every STEP_S, NaN where that is not known.

        Between two reports the place is interpolated.
        """
        oldest_s = now_s - (HISTORY - 1) * STEP_S
        recent = [told for told in self._told if told[0] < now_s]
        first = max(sum(told[0] <= oldest_s for told in recent) - 1, 0)  # the one before the oldest step is kept, to interpolate
        self._told = [*recent[first:], (now_s, ids, places_m)]
        times_s = np.array([told[0] for told in self._told])
        known_VL2 = np.full((len(ids), len(self._told), 2), np.nan)
        if len(ids):
            told_ids, told_m = (np.concatenate([told[part] for told in self._told]) for part in (1, 2))
            moment = np.repeat(np.arange(len(self._told)), [len(told[1]) for told in self._told])
            order = np.argsort(ids)
            row = order[np.clip(np.searchsorted(ids, told_ids, sorter=order), 0, len(ids) - 1)]
            own = ids[row] == told_ids
            known_VL2[row[own], moment[own]] = told_m[own]
        return positions_at(now_s - STEP_S * np.arange(HISTORY - 1, -1, -1), times_s, known_VL2)
