"""How far a lidar saw in each direction at the height of a body, so that a place can be called free, taken or hidden in a past sweep.

A mover enters a place that was free and leaves one that is free now. A standing object may be cut into changing pieces that seem to move,
but the places of its pieces were taken before and are taken still.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from jepa_ros.types import FloatArray

BEARINGS = 720  # half a degree, as fine as a coarse lidar
BODY_FROM_M, BODY_TO_M = 0.5, 2.0
TAKEN_M, FREE_M = 0.35, 0.45  # a return so near to a place is of what stands there; a beam that went so far beyond it met nothing there
HALF_BODY_M = 0.15
SOME_POINTS = 15_000  # tell which directions were looked at


@dataclass(frozen=True)
class SightLines:
    """One sweep's view from `origin_m`, in whatever frame that is given in; bearings count from `yaw` of that frame."""

    origin_m: FloatArray  # (2,)
    yaw: float
    nearest_m: FloatArray  # (BEARINGS,) infinite where nothing of that height was met
    looked: NDArray[np.bool_]  # (BEARINGS,)

    @classmethod
    def of(cls, points: FloatArray, height: FloatArray, whole: FloatArray, origin_m: FloatArray) -> SightLines:
        """From returns (N, 3) with their heights above the ground, and the whole sweep, which tells where beams went at all."""
        body = np.flatnonzero((height > BODY_FROM_M) & (height < BODY_TO_M))
        x, y = (points[:, axis].take(body) - origin_m[axis] for axis in (0, 1))
        nearest = np.full(BEARINGS, np.inf)
        np.minimum.at(nearest, bearing(x, y), np.sqrt(x * x + y * y).astype(np.float64))  # one type: thirty times as fast
        looked = np.zeros(BEARINGS, bool)
        step = len(whole) // SOME_POINTS + 1
        looked[bearing(*(whole[::step, axis] - origin_m[axis] for axis in (0, 1)))] = True
        return cls(np.asarray(origin_m, float), 0.0, nearest, looked)

    def placed(self, pose: FloatArray) -> SightLines:
        """The same in the frame into which `pose` (4, 4) leads."""
        return replace(self, origin_m=pose[:2, :2] @ self.origin_m + pose[:2, 3], yaw=self.yaw + float(np.arctan2(pose[1, 0], pose[0, 0])))

    def free(self, places_m: FloatArray) -> FloatArray:
        """(P,) of places (P, 2): 1 where it was free, -1 where something was, 0 where it was hidden or not looked at."""
        offset = places_m - self.origin_m
        range_m = np.maximum(np.hypot(offset[:, 0], offset[:, 1]), 0.5)
        angle = (
            np.arctan2(offset[:, 1], offset[:, 0])[:, None]
            - self.yaw
            + np.arctan(HALF_BODY_M / range_m)[:, None] * np.array([-1.0, 0, 1.0])
        )
        index = slot(angle)
        beyond = self.nearest_m[index] - range_m[:, None]
        taken = (np.abs(beyond) < TAKEN_M).any(axis=1)
        free = (beyond > FREE_M).all(axis=1) & self.looked[index].all(axis=1)
        return np.where(taken, -1.0, np.where(free, 1.0, 0.0))


@dataclass(frozen=True)
class SeveralSights:
    """Those of several lidars: what one of them saw counts, and that something was there more than that nothing was."""

    each: tuple[SightLines, ...]

    def placed(self, pose: FloatArray) -> SeveralSights:
        """The same in the frame into which `pose` (4, 4) leads."""
        return SeveralSights(tuple(sight.placed(pose) for sight in self.each))

    def free(self, places_m: FloatArray) -> FloatArray:
        """(P,) as `SightLines.free`."""
        seen_LP = np.array([sight.free(places_m) for sight in self.each])
        return np.where((seen_LP < 0).any(axis=0), -1.0, seen_LP.max(axis=0, initial=0.0))


def slot(angle: FloatArray) -> NDArray[np.intp]:
    """Number of the bearing that an angle falls in."""
    return np.floor((angle / (2 * np.pi) + 0.5) * BEARINGS).astype(np.intp) % BEARINGS


def bearing(x_m: FloatArray, y_m: FloatArray) -> NDArray[np.intp]:
    """The same of (N,) offsets along both axes."""
    return slot(np.arctan2(y_m, x_m))
