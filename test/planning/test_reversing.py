"""Vehicles that reverse: limits hold in both directions, a car backs out of a dead end and turns round in a road in several strokes."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from planning_scenes import goal_at, in_anchor, make_scene, pose

from jepa_ros.planning import Limits, Planner, PlannerConfig
from jepa_ros.planning.kinematics import Bicycle, Unicycle
from jepa_ros.types import EgoState, PlanStatus, SceneState

CAR = Limits(wheelbase_m=0.6, max_steering_rad=0.55, max_speed_mps=1.0, max_reverse_mps=0.7)
LONG_S = 5.0
DEAD_END = ((1.0, -2.0, 1.5, 2.0), (-3.0, 1.0, 1.5, 1.5), (-3.0, -1.5, 1.5, -1.0))  # open to the back


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def drive(scene: SceneState, goal: tuple, seconds: float, planner: Planner) -> tuple[np.ndarray, list[float], PlanStatus]:
    """Follows the first two steps of each plan: poses in the anchor frame, speeds, the last status."""
    target, state, poses, speeds, now = goal_at(scene, *goal), scene, [], [], scene.anchor_pose
    speed = 0.0
    for _ in range(round(seconds / 0.4)):
        stamp_ns = scene.stamp_ns + round(1e9 * 0.4 * (len(poses)))
        state = replace(state, stamp_ns=stamp_ns, ego=EgoState(stamp_ns, now, np.array([speed, 0.0])))
        plan = planner.plan(state, target, LONG_S)
        if len(plan.path) > 2:
            now, speed = pose(*plan.path[2]), float(plan.commands[1, 0])
        x, y = in_anchor(scene, np.array([[now[0, 3], now[1, 3], 0.0]]))[0]
        heading = np.arctan2(now[1, 0], now[0, 0]) - np.arctan2(scene.anchor_pose[1, 0], scene.anchor_pose[0, 0])
        poses.append((x, y, np.arctan2(np.sin(heading), np.cos(heading))))
        speeds.append(speed)
        if plan.reaches_goal and abs(speed) < 0.05 and np.hypot(x - goal[0], y - goal[1]) < 0.5:
            break
    return np.array(poses), speeds, plan.status


@pytest.mark.parametrize("kind", [Unicycle, Bicycle])
@pytest.mark.parametrize("start_mps", [0.0, 0.9, -0.6])
def test_limits_hold_in_both_directions(kind: type, start_mps: float) -> None:
    limits = replace(CAR, max_acceleration_mps2=1.0, max_deceleration_mps2=2.0)
    wild = torch.randn(300, 24, 2, generator=torch.Generator().manual_seed(0)) * 4.0
    rollout = kind(limits, 0.2).rollout(torch.tensor([0.0, 0.0, 0.3, start_mps]), wild)
    speed, yaw_rate = rollout.states_SLX[..., 3].double(), rollout.commands_SLU[..., 1].double()
    before = torch.cat((torch.full((300, 1), start_mps, dtype=torch.float64), speed[:, :-1]), 1)
    assert -0.7 - 1e-6 <= speed.min() < -0.6
    assert 0.9 < speed.max() <= 1.0 + 1e-6
    same = before * speed >= 0.0
    faster, slower = same & (speed.abs() > before.abs()), same & (speed.abs() < before.abs())
    assert (speed.abs() - before.abs())[faster].max() <= 0.2 + 1e-5, "1 m/s^2 for 0.2 s, backwards as well"
    assert (before.abs() - speed.abs())[slower].max() <= 0.4 + 1e-5
    over = ~same
    assert over.any()
    assert (before.abs() / 2.0 + speed.abs() / 1.0)[over].max() <= 0.2 + 1e-5, "time to stop and time to get going fit into the step"
    assert kind is Unicycle or (yaw_rate[over] == 0.0).all(), "a car that stands for a moment does not turn in it"


def test_a_car_that_reverses_can_drive_what_is_planned_for_it() -> None:
    """A car of its own, with its steering wheel at what each command asks for and no further than its lock, ends where the plan says."""
    wild = torch.rand(40, 24, 2, generator=torch.Generator().manual_seed(1)) * torch.tensor([1.7, 12.0]) - torch.tensor([0.7, 6.0])
    rollout = Bicycle(CAR, 0.2).rollout(torch.zeros(4), wild)
    for planned, commands in zip(rollout.states_SLX.numpy(), rollout.commands_SLU.numpy(), strict=True):
        x, y, yaw, before = 0.0, 0.0, 0.0, 0.0
        for state, (speed, yaw_rate) in zip(planned, commands, strict=True):
            for share in (np.arange(50) + 0.5) / 50:
                now = before + share * (speed - before)
                steering = np.clip(np.arctan(yaw_rate * 0.6 / now), -0.55, 0.55) if yaw_rate else 0.0
                yaw += now * np.tan(steering) / 0.6 * 0.2 / 50
                x, y = x + now * np.cos(yaw) * 0.2 / 50, y + now * np.sin(yaw) * 0.2 / 50
            before = speed
            assert np.hypot(x - state[0], y - state[1]) < 0.02
            assert abs(yaw - state[2]) < 0.02


def test_a_robot_that_may_not_reverse_plans_as_before() -> None:
    limits = replace(CAR, max_reverse_mps=0.0)
    assert len(Bicycle(limits, 0.2).guesses(torch.zeros(4), 24)) < len(Bicycle(CAR, 0.2).guesses(torch.zeros(4), 24))
    scene = make_scene()
    plan = Planner(PlannerConfig(kinematics="bicycle", limits=limits)).plan(scene, goal_at(scene, -3.0, 0.0), LONG_S)
    assert plan.commands[:, 0].min() >= 0.0


def test_a_car_backs_out_of_a_dead_end() -> None:
    scene = make_scene(walls=DEAD_END)
    config = PlannerConfig(kinematics="bicycle", limits=CAR)
    poses, speeds, status = drive(scene, (-5.0, 0.0), 20.0, Planner(config))
    assert status is PlanStatus.OK
    assert np.hypot(*(poses[-1, :2] - (-5.0, 0.0))) < 0.5
    assert min(speeds) < -0.3
    stuck, _, _ = drive(scene, (-5.0, 0.0), 6.0, Planner(replace(config, limits=replace(CAR, max_reverse_mps=0.0))))
    assert stuck[-1, 0] > -0.5, "a car that may not reverse stays"


def test_a_car_turns_round_in_a_road_that_is_too_narrow_for_a_circle() -> None:
    """Radius of the circle at full lock 0.98 m, and 0.4 m of robot: it needs 2.8 m; the road has 2.4 m."""
    walls = ((-6.0, 1.2, 6.0, 1.8), (-6.0, -1.8, 6.0, -1.2))
    scene = make_scene(walls=walls)
    config = PlannerConfig(kinematics="bicycle", limits=CAR, goal_tolerance_rad=0.6)
    poses, speeds, _ = drive(scene, (0.0, 0.0, np.pi), 40.0, Planner(config))
    signs = np.sign([speed for speed in speeds if abs(speed) > 0.1])
    assert abs(abs(poses[-1, 2]) - np.pi) < 0.6
    assert np.abs(np.diff(signs)).sum() / 2 >= 1, "in two strokes at least"
    assert np.abs(poses[:, 1]).max() < 0.9, "between the walls"
