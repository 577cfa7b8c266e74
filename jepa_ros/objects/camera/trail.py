"""Candidates of the last second, followed from sweep to sweep: an answer about an image belongs to the candidates of its moment."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from jepa_ros.types import NANOSECONDS, FloatArray

T = TypeVar("T")


@dataclass(frozen=True)
class _Sweep(Generic[T]):
    stamp_ns: int
    proposed: T
    places_m: FloatArray  # (M, 2) in odom
    before: NDArray[np.intp]  # (M,) which row of the sweep before each was; -1 = none


class Trail(Generic[T]):
    """Sweep after sweep. From one to the next each is the nearest to the other, and not faster than anybody moves."""

    def __init__(self, same_m: float, fastest_mps: float, remembered_s: float) -> None:
        """`same_m`: so far apart two can be one, at any rate of sweeps."""
        self._same_m, self._fastest_mps, self._remembered_ns = same_m, fastest_mps, int(remembered_s * NANOSECONDS)
        self._sweeps: deque[_Sweep[T]] = deque()  # oldest first, never empty once one was added

    def add(self, stamp_ns: int, proposed: T, places_m: FloatArray) -> None:
        """The newest sweep."""
        before = np.full(len(places_m), -1, np.intp)
        if self._sweeps:
            last = self._sweeps[-1]
            reach_m = max(self._same_m, self._fastest_mps * (stamp_ns - last.stamp_ns) / NANOSECONDS)
            before = _nearest_to_each_other(places_m, last.places_m, reach_m)
        self._sweeps.append(_Sweep(stamp_ns, proposed, places_m, before))
        while self._sweeps[0].stamp_ns < stamp_ns - self._remembered_ns:
            self._sweeps.popleft()

    def at(self, stamp_ns: int) -> tuple[T, NDArray[np.intp]]:
        """What was proposed in the sweep nearest in time, and (M,) which row of it each of the newest sweep's is; -1 = none."""
        nearest = min(range(len(self._sweeps)), key=lambda index: (abs(self._sweeps[index].stamp_ns - stamp_ns), -index))
        rows = np.arange(len(self._sweeps[-1].places_m))
        for index in range(len(self._sweeps) - 1, nearest, -1):
            rows = np.append(self._sweeps[index].before, -1)[rows]  # -1 stays -1
        return self._sweeps[nearest].proposed, rows

    def were(self, stamp_ns: int) -> tuple[FloatArray, FloatArray]:
        """(M, 2) where each of the newest sweep's was, in odom, in the sweep nearest in time, or is now where that is not known.

        And (M,) how many seconds lie between that and the stamp."""
        then, now = min(self._sweeps, key=lambda sweep: abs(sweep.stamp_ns - stamp_ns)), self._sweeps[-1]
        _, rows = self.at(then.stamp_ns)
        known = rows >= 0
        places = now.places_m.copy()
        places[known] = then.places_m[rows[known]]
        return places, np.where(known, abs(then.stamp_ns - stamp_ns), abs(now.stamp_ns - stamp_ns)) / NANOSECONDS


def _nearest_to_each_other(places_m: FloatArray, others_m: FloatArray, reach_m: float) -> NDArray[np.intp]:
    """(M,) row of the other that is nearest, and to which this one is nearest; -1 where there is none within reach."""
    if not len(places_m) or not len(others_m):
        return np.full(len(places_m), -1, np.intp)
    away_m = np.hypot(*(places_m[:, None] - others_m).transpose(2, 0, 1))
    own, rows = away_m.argmin(axis=1), np.arange(len(places_m))
    mutual = (away_m.argmin(axis=0)[own] == rows) & (away_m[rows, own] <= reach_m)
    return np.where(mutual, own, -1)
