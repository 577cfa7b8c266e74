"""From a sweep to a plan: lidars that see only a part of what is around. The sweeps are cast by the test itself."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from jepa_ros.pipeline import WorldModelPipeline
from jepa_ros.planning import Planner
from jepa_ros.types import NANOSECONDS, EgoState, LidarSweep, Observation, PlanStatus

WALL_M = 5.0  # across the way; and walls beside it, 2 m away


def sweep(elevations_deg: np.ndarray, middle_deg: float, width_deg: float, stamp_ns: int) -> LidarSweep:
    azimuth = np.radians(middle_deg + np.linspace(-0.5, 0.5, 720, endpoint=False) * width_deg)
    azimuth, elevation = np.meshgrid(azimuth, np.radians(elevations_deg))
    ray = np.stack((np.cos(elevation) * np.cos(azimuth), np.cos(elevation) * np.sin(azimuth), np.sin(elevation)), -1).reshape(-1, 3)
    with np.errstate(divide="ignore"):
        ends = [WALL_M / ray[:, 0], 2.0 / ray[:, 1], -2.0 / ray[:, 1], -0.8 / ray[:, 2]]
    distance = np.min([np.where(end > 0, end, np.inf) for end in ends], axis=0)
    points = ray[distance < 40.0] * distance[distance < 40.0, None] + [0.0, 0.0, 0.8]
    mount = np.eye(4)
    mount[2, 3] = 0.8
    return LidarSweep(stamp_ns, points.astype(np.float32), None, None, None, mount)


RINGS, PLANE = np.linspace(-25.0, 15.0, 32), np.zeros(1)


@pytest.mark.parametrize(
    ("elevations_deg", "middle_deg", "width_deg", "goal_x_m", "reached", "status"),
    [
        (RINGS, 0.0, 360.0, 3.0, True, PlanStatus.OK),
        (RINGS, 0.0, 360.0, -3.0, True, PlanStatus.OK),
        (PLANE, 0.0, 360.0, 3.0, True, PlanStatus.OK),
        (RINGS, 180.0, 180.0, 3.0, False, PlanStatus.UNSEEN),
        (RINGS, 180.0, 180.0, -3.0, True, PlanStatus.OK),
        (RINGS, 0.0, 70.0, 3.0, False, PlanStatus.OK),  # beside a robot that has not moved yet nothing was seen: it sets out
        (RINGS, 0.0, 70.0, -3.0, False, PlanStatus.OK),  # it turns to look
    ],
)
def test_a_plan_keeps_to_what_the_lidar_shows(elevations_deg, middle_deg, width_deg, goal_x_m, reached, status) -> None:
    torch.set_num_threads(1)
    pipeline, planner = WorldModelPipeline.load("persistence", device="cpu"), Planner()
    for step in range(3):
        stamp_ns = NANOSECONDS + step * 400_000_000
        ego = EgoState(stamp_ns, np.eye(4), np.zeros(2))
        state = pipeline.step(Observation(stamp_ns, ego, sweep(elevations_deg, middle_deg, width_deg, stamp_ns)))
        plan = planner.plan(state, np.array([goal_x_m, 0.0, np.nan]), 5.0)
    assert (plan.status, plan.reaches_goal) == (status, reached), plan.message
    assert plan.path[:, 0].max() < WALL_M - 0.3
    if not reached and (goal_x_m < 0 or status is PlanStatus.UNSEEN):
        assert np.abs(plan.path[:, :2]).max() < 0.3
