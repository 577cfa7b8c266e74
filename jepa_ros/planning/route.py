"""A global path given to the planner: where the robot is along it, what comes next, and whether it makes progress.

Poses are (x m, y m, yaw rad); a yaw of NaN is free.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch

from jepa_ros.planning.grids import cell_centres
from jepa_ros.planning.objective import GridCost
from jepa_ros.types import FloatArray, GridSpec

SEARCH_M = 5.0  # so far ahead of the last place the nearest one is looked for: a path that comes back to itself is driven in its order
SPACING_M = 0.2
FARTHEST_OFF_M = 2.0  # further off the path costs no more: a way around a crowd stays open
AIM_SPARE_M = 1.0  # the place on the path that is planned to lies so much beyond what one plan reaches: nobody slows down for it
AIM_TOLERANCE_M = 1.5  # it need not be reached: somebody may stand there


@dataclass(frozen=True)
class Along:
    """Where a robot is along a route."""

    segment: int
    done_m: float
    left_m: float  # length of what lies ahead
    off_m: float  # from the path, positive to the left of it
    heading_off_rad: float  # from the robot's heading to the path's


class Route:
    """A polyline in one frame."""

    def __init__(self, poses: FloatArray) -> None:
        """(N, 3). Raises ValueError where it is no path."""
        poses = np.asarray(poses, dtype=np.float64)
        if poses.ndim != 2 or poses.shape[1] != 3 or len(poses) == 0:
            raise ValueError("the path holds no pose")
        if not np.isfinite(poses[:, :2]).all():
            raise ValueError(f"pose {int(np.argmin(np.isfinite(poses[:, :2]).all(axis=1)))} of the path is not finite")
        self.poses = poses
        self._steps = np.diff(poses[:, :2], axis=0)
        self._lengths = np.linalg.norm(self._steps, axis=1)
        self._starts = np.concatenate(([0.0], np.cumsum(self._lengths)))

    @property
    def length_m(self) -> float:
        return float(self._starts[-1])

    @property
    def end(self) -> FloatArray:
        return self.poses[-1]

    def along(self, pose: FloatArray, from_m: float = 0.0) -> Along:
        """The place nearest to a pose, `from_m` of the path or up to SEARCH_M after."""
        if self.length_m == 0.0:
            return Along(0, 0.0, 0.0, math.dist(pose[:2], self.end[:2]), 0.0)
        first = int(np.searchsorted(self._starts, from_m, side="right")) - 1
        last = int(np.searchsorted(self._starts, from_m + SEARCH_M, side="right"))
        first, last = min(first, len(self._steps) - 1), min(max(last, first + 1), len(self._steps))
        starts, steps, lengths = self.poses[first:last, :2], self._steps[first:last], self._lengths[first:last]
        offset = pose[:2] - starts
        share = ((offset * steps).sum(axis=1) / np.maximum(lengths, 1e-9) ** 2).clip(0.0, 1.0)
        apart = np.linalg.norm(offset - share[:, None] * steps, axis=1)
        apart[lengths == 0.0] = np.inf
        best = int(apart.argmin())
        if not np.isfinite(apart[best]):  # nothing but poses on one spot
            best = 0
        done_m = max(from_m, float(self._starts[first + best] + share[best] * lengths[best]))
        left = steps[best][0] * offset[best][1] - steps[best][1] * offset[best][0] >= 0.0
        off_m = float(np.linalg.norm(offset[best] - share[best] * steps[best]))
        turn = math.remainder(math.atan2(steps[best][1], steps[best][0]) - pose[2], 2.0 * math.pi)
        return Along(first + best, done_m, max(0.0, self.length_m - done_m), off_m if left else -off_m, turn)

    def at(self, at_m: float) -> FloatArray:
        """(3,) the pose after so much of the path: before its end with a free heading."""
        if at_m >= self.length_m:
            return self.end
        x, y = (np.interp(at_m, self._starts, self.poses[:, axis]) for axis in (0, 1))
        return np.array([x, y, np.nan])

    def between(self, from_m: float, to_m: float) -> FloatArray:
        """(N, 2) places of it, at most SPACING_M apart."""
        to_m = min(to_m, self.length_m)
        at = np.linspace(min(from_m, to_m), to_m, max(2, math.ceil((to_m - from_m) / SPACING_M) + 1))
        return np.stack([np.interp(at, self._starts, self.poses[:, axis]) for axis in (0, 1)], axis=-1)


@dataclass(frozen=True)
class Aim:
    """What to plan to in order to follow a route from here."""

    goal: FloatArray  # (3,) the end of the route, or a place on it with a free heading
    tolerance_m: float
    places_m: FloatArray  # (N, 2) of the route until there

    @classmethod
    def of(cls, route: Route, along: Along, reach_m: float, tolerance_m: float) -> Aim:
        """tolerance_m: of the route's end."""
        to_m = along.done_m + reach_m + AIM_SPARE_M
        goal = route.at(to_m)
        return cls(goal, tolerance_m if to_m >= route.length_m else AIM_TOLERANCE_M, route.between(along.done_m, to_m))


class Progress:
    """Whether a robot gets anywhere: `radius_m` away from where it was, at least once in `allowance_s`."""

    def __init__(self, radius_m: float, allowance_s: float) -> None:
        self.radius_m = radius_m
        self.allowance_s = allowance_s
        self._since: tuple[FloatArray, float] | None = None

    def made(self, position_m: FloatArray, now_s: float) -> bool:
        """False once the time is up. A clock that jumps back restarts it."""
        if self._since is None or now_s < self._since[1] or math.dist(position_m, self._since[0]) > self.radius_m:
            self._since = (np.array(position_m), now_s)
        return now_s - self._since[1] <= self.allowance_s


def limited_speed(most_mps: float, limit: float, percentage: bool) -> float | None:
    """The highest speed under a limit in m/s or percent of `most_mps`; None = no limit, which 0 says. Raises ValueError."""
    if not (math.isfinite(limit) and limit >= 0.0):
        raise ValueError(f"speed_limit = {limit}: give a number >= 0 (0 = no limit)")
    if limit == 0.0:
        return None
    return min(most_mps, most_mps * limit / 100.0 if percentage else limit)


def route_cost(places_m: FloatArray, grid: GridSpec, steps: int, dt_s: float, weight: float) -> GridCost:
    """`weight` for each metre off the path and second. places_m: (N, 2) in the grid's frame, close together."""
    x_X, y_Y = cell_centres(grid)
    squared_NYX = (y_Y - places_m[:, 1:])[:, :, None] ** 2 + (x_X - places_m[:, :1])[:, None, :] ** 2
    off_YX = np.sqrt(squared_NYX.min(axis=0)).clip(max=FARTHEST_OFF_M)
    return GridCost(torch.as_tensor(weight * dt_s * off_YX, dtype=torch.float32).expand(steps, -1, -1), grid)
