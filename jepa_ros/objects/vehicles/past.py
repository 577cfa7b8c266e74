"""Recent positions of tracked vehicles, for forecasters. Axes: V vehicles, T steps (oldest first, the last = now)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from jepa_ros.types import FloatArray

STEP_S, STEPS = 0.4, 8
EXACT = 1e-6  # a step that falls on a report does not ask for the next one


class Past:
    """Remembers what was reported, for as long as the steps reach back."""

    def __init__(self) -> None:
        self._told: list[tuple[float, NDArray[np.int64], FloatArray]] = []

    def add(self, now_s: float, ids: NDArray[np.int64], places_m: FloatArray) -> FloatArray:
        """Take in places (V, 2) of vehicles `ids` (V,) now; (V, T, 2) where each was every STEP_S, NaN where that is not known.

        Between two reports the place is interpolated; a report stands for itself alone within half of a step.
        """
        oldest_s = now_s - (STEPS - 1) * STEP_S
        recent = [told for told in self._told if told[0] < now_s]
        first = max(sum(told[0] <= oldest_s for told in recent) - 1, 0)  # the one before the oldest step is kept, to interpolate
        self._told = [*recent[first:], (now_s, ids, places_m)]
        times_s = np.array([told[0] for told in self._told])
        known_VL2 = np.stack([_of(ids, *told[1:]) for told in self._told], axis=1)
        wanted_s = now_s - STEP_S * np.arange(STEPS - 1, -1, -1)
        after = np.clip(np.searchsorted(times_s, wanted_s - 1e-9), 0, len(times_s) - 1)
        before = np.maximum(after - 1, 0)
        gap_s = times_s[after] - times_s[before]
        share = np.where(gap_s > 0, np.clip((wanted_s - times_s[before]) / np.where(gap_s > 0, gap_s, 1.0), 0.0, 1.0), 1.0)
        start, end = known_VL2[:, before], known_VL2[:, after]
        start, end = np.where((share > 1 - EXACT)[:, None], end, start), np.where((share < EXACT)[:, None], start, end)
        past: FloatArray = np.where((wanted_s >= times_s[0] - 1e-9)[:, None], start + share[:, None] * (end - start), np.nan)
        return past


def _of(ids: NDArray[np.int64], known: NDArray[np.int64], places_m: FloatArray) -> FloatArray:
    """(V, 2) places of `ids` among those of `known`, NaN for others."""
    found = np.full((len(ids), 2), np.nan)
    if len(known) and len(ids):
        order = np.argsort(known)
        slot = np.clip(np.searchsorted(known, ids, sorter=order), 0, len(known) - 1)
        row = order[slot]
        same = known[row] == ids
        found[same] = places_m[row[same]]
    return found
