"""The limits hold on what is handed out, measured on positions and times alone: on published plans and on commands as they are sent."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from planning_scenes import goal_at, make_scene, pose

from jepa_ros.planning import Limits, Planner, PlannerConfig
from jepa_ros.planning.kinematics import limited
from jepa_ros.types import EgoState

LIMITS = Limits(max_speed_mps=3.0, max_acceleration_mps2=1.2, max_deceleration_mps2=2.0, max_lateral_acceleration_mps2=1.0, wheelbase_m=1.2)
WALLS = ((4.0, -12.0, 5.0, 1.0), (8.0, -2.0, 9.0, 12.0))  # a slalom: to the left of one, to the right of the other
GOALS = ((10.0, 0.0, 0.0), (3.0, 8.0, math.pi / 2), (-4.0, 4.0, math.pi), (11.0, -8.0, -1.5))
MEASURED = 1.05  # chords are a little shorter than arcs, and two steps share one circle


def bends(path: np.ndarray) -> np.ndarray:
    """Curvature of the circle through each three places in a row, 1/m; 0 where the robot hardly moves."""
    a, b, c = path[:-2, :2], path[1:-1, :2], path[2:, :2]
    sides = [np.linalg.norm(q - p, axis=1) for p, q in ((a, b), (b, c), (a, c))]
    u, v = b - a, c - b
    area = np.abs(u[:, 0] * v[:, 1] - u[:, 1] * v[:, 0])
    ahead = (u * v).sum(axis=1) > 0.0
    return np.where(ahead & (sides[0] > 0.03) & (sides[1] > 0.03), 2.0 * area / np.prod(sides, axis=0).clip(1e-9), 0.0)


@pytest.mark.parametrize("kinematics", ["unicycle", "bicycle", "holonomic"])
@pytest.mark.parametrize("speed_mps", [0.0, 2.8])
def test_published_plans_keep_the_limits(kinematics: str, speed_mps: float) -> None:
    config = PlannerConfig(kinematics=kinematics, limits=LIMITS, robot_radius_m=0.3)
    scene = make_scene(walls=WALLS, speed_mps=speed_mps)
    most_lateral = most_faster = most_slower = 0.0
    for goal in GOALS:
        plan = Planner(config).plan(scene, goal_at(scene, *goal), 10.0)
        steps = np.diff(plan.path[:, :2], axis=0)
        speeds = np.append(speed_mps, np.linalg.norm(steps, axis=1) / plan.dt_s)  # the first: as odometry says
        along = np.diff(speeds[1:]) / plan.dt_s
        most_faster, most_slower = max(most_faster, along.max()), max(most_slower, -along.min())
        pairs = 0.5 * (speeds[1:-1] + speeds[2:])
        lateral = bends(plan.path) * pairs**2
        if kinematics == "holonomic":  # it also pushes itself aside, by its acceleration
            lateral = np.clip(lateral - LIMITS.max_deceleration_mps2, 0.0, None)
        most_lateral = max(most_lateral, lateral.max())
    assert most_lateral <= MEASURED * LIMITS.max_lateral_acceleration_mps2
    assert most_faster <= MEASURED * LIMITS.max_acceleration_mps2 + 0.02
    assert most_slower <= MEASURED * LIMITS.max_deceleration_mps2 + 0.02
    if kinematics != "holonomic":
        assert most_lateral > 0.5 * LIMITS.max_lateral_acceleration_mps2, "or nothing was tried"


def test_a_lower_limit_of_lateral_acceleration_makes_slower_bends() -> None:
    scene = make_scene(speed_mps=2.0)
    most = []
    for limit in (2.0, 0.4):
        config = PlannerConfig(limits=replace(LIMITS, max_lateral_acceleration_mps2=limit))
        path = Planner(config).plan(scene, goal_at(scene, 2.0, 6.0), 10.0).path
        speeds = np.linalg.norm(np.diff(path[:, :2], axis=0), axis=1) / config.dt_s
        most.append((bends(path) * (0.5 * (speeds[1:] + speeds[:-1])) ** 2).max())
    assert most[1] <= MEASURED * 0.4 < 0.5 < most[0]


@pytest.mark.parametrize("kinematics", ["unicycle", "bicycle", "holonomic"])
def test_commands_change_no_faster_than_the_robot_can(kinematics: str) -> None:
    rng, width = np.random.default_rng(0), 3 if kinematics == "holonomic" else 2
    limits = replace(LIMITS, max_reverse_mps=1.0)
    last, wanted, sent, times = np.zeros(width), np.full(width, 2.0), [np.zeros(width)], [0.0]
    for _ in range(300):
        wanted = rng.uniform(-4.0, 4.0, width) if rng.random() < 0.3 else wanted
        dt_s = float(rng.uniform(0.01, 0.12))
        last = limited(kinematics, limits, last, wanted, dt_s)
        sent.append(last)
        times.append(times[-1] + dt_s)
    commands, passed = np.array(sent), np.diff(times)
    speed = np.linalg.norm(commands[:, :-1], axis=1)
    assert speed.max() <= limits.max_speed_mps + 1e-5
    change = np.linalg.norm(np.diff(commands[:, :-1], axis=0), axis=1) / passed
    if kinematics != "holonomic":
        same_way = commands[1:, 0] * commands[:-1, 0] >= 0.0  # through zero it brakes first
        assert change[same_way & (speed[1:] > speed[:-1])].max() <= limits.max_acceleration_mps2 + 1e-3
    assert change.max() <= limits.max_deceleration_mps2 + 1e-3
    assert (speed * np.abs(commands[:, -1])).max() <= limits.max_lateral_acceleration_mps2 + 1e-4
    assert speed.max() > 1.0


def test_a_car_keeps_to_its_curve_while_it_speeds_up() -> None:
    command = limited("bicycle", LIMITS, np.array([1.0, 0.1]), np.array([1.5, 0.3]), 0.05)
    assert command[0] == pytest.approx(1.06)
    assert command[1] / command[0] == pytest.approx(0.2, rel=1e-3), "a radius of 5 m, as wanted"
    assert limited("bicycle", LIMITS, np.zeros(2), np.array([0.0, 0.5]), 0.05)[1] == 0.0, "who stands does not turn"


def test_a_plan_begins_from_what_odometry_says() -> None:
    scene = make_scene()
    ego = EgoState(scene.stamp_ns, pose(100.0, -50.0, 0.7), np.array([1.0, 0.0]))
    plan = Planner(PlannerConfig(limits=LIMITS)).plan(replace(scene, ego=ego), goal_at(scene, 8.0, 0.0), 10.0)
    assert abs(plan.commands[0, 0] - 1.0) <= 0.2 * LIMITS.max_acceleration_mps2 + 1e-5
