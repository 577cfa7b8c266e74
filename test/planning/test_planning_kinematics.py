"""What each kind of robot can drive: its limits, and plans that keep to them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from planning_scenes import goal_at, in_anchor, make_scene

from jepa_ros.planning import Limits, Planner, PlannerConfig
from jepa_ros.planning.kinematics import Bicycle, Holonomic, Unicycle
from jepa_ros.types import PlanStatus

LONG_S = 5.0  # a deadline that never bites


@pytest.mark.parametrize("kinematics", ["bicycle", "holonomic"])
def test_other_robots_reach_it_too(kinematics: str) -> None:
    scene = make_scene()
    config = PlannerConfig(kinematics=kinematics, limits=Limits(wheelbase_m=0.6))
    plan = Planner(config).plan(scene, goal_at(scene, 3.5, 1.0), LONG_S)
    assert plan.status is PlanStatus.OK
    assert np.hypot(*(in_anchor(scene, plan.path)[-1] - (3.5, 1.0))) < 0.3
    assert plan.commands.shape == (len(plan.path) - 1, 3 if kinematics == "holonomic" else 2)


@pytest.mark.parametrize("kind", [Unicycle, Bicycle, Holonomic])
def test_limits_hold_for_any_command(kind: type) -> None:
    limits = Limits(max_speed_mps=2.0, max_acceleration_mps2=1.0, max_deceleration_mps2=2.0, max_lateral_acceleration_mps2=0.8)
    dynamics = kind(limits, 0.2)
    wild = torch.randn(200, 24, len(dynamics.low_U), generator=torch.Generator().manual_seed(0)) * 20.0
    rollout = dynamics.rollout(torch.tensor([0.0, 0.0, 0.3, 1.0]), wild)
    speed, yaw_rate = rollout.states_SLX[..., 3], rollout.commands_SLU[..., -1]
    assert speed.max() <= 2.0 + 1e-4
    change = torch.cat((torch.ones(200, 1), speed), 1).diff(dim=1) / 0.2
    assert change.max() <= 1.0 + 1e-3
    assert change.min() >= -2.0 - 1e-3
    assert yaw_rate.abs().max() <= limits.max_yaw_rate_radps + 1e-5
    steps = torch.cat((torch.zeros(200, 1, 2), rollout.states_SLX[..., :2]), 1).diff(dim=1).norm(dim=-1)
    before = torch.cat((torch.ones(200, 1), speed[:, :-1]), 1)
    assert (steps <= 0.2 * torch.maximum(before, speed) + 1e-4).all(), "the path is no longer than the speed allows"
    if kind is not Holonomic:
        assert (speed * yaw_rate.abs()).max() <= 0.8 + 1e-4


@pytest.mark.parametrize("start_mps", [0.0, 1.5])
def test_a_car_can_drive_what_is_planned_for_it(start_mps: float) -> None:
    """A car of its own, with its steering wheel at what each command asks for and no further than its lock, ends where the plan says."""
    limits = Limits(wheelbase_m=2.7, max_steering_rad=0.55)
    generator = torch.Generator().manual_seed(1)
    wild = torch.rand(40, 24, 2, generator=generator) * torch.tensor([1.5, 12.0]) - torch.tensor([0.0, 6.0])
    wild[0] = torch.tensor([1.5, 6.0])  # off at full lock
    rollout = Bicycle(limits, 0.2).rollout(torch.tensor([0.0, 0.0, 0.0, start_mps]), wild)
    for planned, commands in zip(rollout.states_SLX.numpy(), rollout.commands_SLU.numpy(), strict=True):
        x, y, yaw, before = 0.0, 0.0, 0.0, start_mps
        for state, (speed, yaw_rate) in zip(planned, commands, strict=True):
            for share in (np.arange(50) + 0.5) / 50:
                now = before + share * (speed - before)
                steering = np.clip(np.arctan2(yaw_rate * 2.7, now), -0.55, 0.55) if yaw_rate else 0.0
                yaw += now * np.tan(steering) / 2.7 * 0.2 / 50
                x, y = x + now * np.cos(yaw) * 0.2 / 50, y + now * np.sin(yaw) * 0.2 / 50
            before = speed
            assert np.hypot(x - state[0], y - state[1]) < 0.02
            assert abs(yaw - state[2]) < 0.02
    driven = rollout.states_SLX[0, 4:, :2].double().numpy()
    a, b, c = driven[:-2], driven[1:-1], driven[2:]
    sides = [np.linalg.norm(p - q, axis=1) for p, q in ((a, b), (b, c), (c, a))]
    twice_area = np.abs((b - a)[:, 0] * (c - a)[:, 1] - (b - a)[:, 1] * (c - a)[:, 0])
    curvature = 2.0 * twice_area / np.prod(sides, axis=0)  # of the circle through three places
    assert 0.2 < curvature.max() < 0.23, "full lock is 0.227 1/m"
