"""The outcome of a safe plan: whether it ends at the goal, how far is left, and its message."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from jepa_ros.planning.footprint import Footprint
from jepa_ros.planning.scene import PlanningScene
from jepa_ros.types import FloatArray, Plan, PlanStatus

MIN_DEADLINE_S = 0.001
STOPPED_MPS = 0.05  # whoever is slower stands
STAYS_M = 0.2  # a plan that gets no further than this from its start waits


@dataclass(frozen=True)
class Goal:
    """Where a plan is to end, in the frame of the planning."""

    pose: FloatArray  # (3,) x m, y m, yaw rad; a yaw of NaN is free
    tolerance_m: float
    tolerance_rad: float

    def distance_m(self, pose: FloatArray) -> float:
        return math.dist(pose[:2], self.pose[:2])

    def reached_by(self, pose: FloatArray) -> bool:
        """Whether a pose (x m, y m, yaw rad) is the goal, within the tolerances."""
        off_rad = 0.0 if math.isnan(self.pose[2]) else math.remainder(pose[2] - self.pose[2], 2.0 * math.pi)
        return self.distance_m(pose) <= self.tolerance_m and abs(off_rad) <= self.tolerance_rad


def fault_of(
    scene: PlanningScene,
    goal: FloatArray,
    deadline_s: float,
    max_speed_mps: float | None,
    goal_tolerance_m: float | None,
    footprint: Footprint,
) -> tuple[PlanStatus, str] | None:
    """Why a question cannot be answered at all: status and message; None where it can."""
    if np.shape(goal) != (3,):
        return PlanStatus.INVALID_GOAL, f"the goal must be (x, y, yaw), got shape {np.shape(goal)}"
    if not np.isfinite(goal[:2]).all() or np.isinf(goal[2]):
        return PlanStatus.INVALID_GOAL, f"the goal must be finite (a heading of NaN leaves it free), got {np.asarray(goal).tolist()}"
    if not (math.isfinite(deadline_s) and deadline_s >= MIN_DEADLINE_S):
        return PlanStatus.INVALID_REQUEST, f"deadline must be a finite number of seconds >= {MIN_DEADLINE_S}, got {deadline_s}"
    for name, value in (("max_speed", max_speed_mps), ("goal_tolerance", goal_tolerance_m)):
        if value is not None and not 0.0 < value <= 50.0:
            return PlanStatus.INVALID_REQUEST, f"{name} must lie in (0, 50], got {value}"
    if scene.occupancy.probability.size == 0:
        return PlanStatus.UNSUPPORTED, "the world model gives no occupancy forecast, and without one no path can be called safe"
    grid = scene.occupancy.grid
    across_m, size_m = 2.0 * footprint.around_m, grid.resolution_m * min(grid.rows, grid.columns)
    if across_m > size_m:
        text = f"the footprint is {across_m:.1f} m across, the occupancy forecast {size_m:.1f} m: is planner.footprint in metres?"
        return PlanStatus.UNSUPPORTED, text
    return None


def stays(path: FloatArray) -> bool:
    """Whether (L + 1, 3) poses keep to their start."""
    return bool(np.linalg.norm(path[:, :2] - path[0, :2], axis=1).max() < STAYS_M)


def described(path: FloatArray, speeds: FloatArray, goal: Goal) -> str:
    """One clause on where a path leads."""
    left_m = goal.distance_m(path[-1])
    if goal.reached_by(path[-1]):
        return "the plan reaches the goal"
    if left_m <= goal.tolerance_m:
        return "the plan ends at the goal, but not yet with its heading"
    if (np.abs(speeds) < STOPPED_MPS).all():
        return f"the plan waits, {left_m:.1f} m from the goal"
    return f"the plan ends {left_m:.1f} m from the goal"


def towards(start: FloatArray, place_m: FloatArray) -> tuple[float, float]:
    """Distance m and bearing rad (left of the heading) of a place from (3,) x m, y m, yaw rad."""
    dx, dy = place_m - start[:2]
    return math.hypot(dx, dy), math.remainder(math.atan2(dy, dx) - start[2], 2.0 * math.pi)


def refusal(status: PlanStatus, message: str, dt_s: float, planning_time_s: float = 0.0) -> Plan:
    """A plan without a path: cost, collision probability and the distance left are NaN."""
    return Plan(status, message, np.zeros((0, 3)), np.zeros((0, 2)), dt_s, math.nan, math.nan, planning_time_s)


def moved(poses: FloatArray, target_from_source: FloatArray) -> FloatArray:
    """(..., 3) x, y, yaw in another frame; a yaw of NaN stays NaN."""
    rotation, shift = target_from_source[:2, :2], target_from_source[:2, 3]
    yaw = poses[..., 2] + math.atan2(rotation[1, 0], rotation[0, 0])
    wrapped = np.arctan2(np.sin(yaw), np.cos(yaw))
    return np.concatenate((poses[..., :2] @ rotation.T + shift, wrapped[..., None]), axis=-1)


def placed(places: FloatArray, target_from_source: FloatArray) -> FloatArray:
    """(N, 2) places in another frame."""
    return places @ target_from_source[:2, :2].T + target_from_source[:2, 3]
