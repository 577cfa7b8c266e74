"""What of a motion is carried out where people are near, and what a robot touches on cells that are coarser than a door needs."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from planning_scenes import goal_at, in_anchor, make_scene

from jepa_ros.planning import Planner, PlannerConfig
from jepa_ros.planning.kinematics import Limits, Unicycle
from jepa_ros.planning.people import people_future
from jepa_ros.planning.safe_part import SafePart, safe_part
from jepa_ros.planning.scene import PlanningScene
from jepa_ros.planning.verify import Verifier
from jepa_ros.types import GridSpec, PlanStatus

RADIUS_M = 0.4
STEPS, DT_S = 24, 0.2
MOST = 0.25


def part_of(person: tuple[float, float, float, float], speed_mps: float, most_imminent: float) -> SafePart | str:
    """Of a drive straight ahead at `speed_mps`, beside or towards one person: (x, y, vx, vy) in the anchor frame."""
    scene = make_scene(people=(person,), speed_mps=speed_mps, sigma_mps=0.05)
    grid = GridSpec(64, 64, 0.4, (-12.8, -12.8))
    free_TYX = np.zeros((1, 64, 64), np.float32)
    verifier = Verifier(free_TYX, grid, np.zeros(1), people_future(PlanningScene.of(scene), RADIUS_M), RADIUS_M, 0.0)
    start_X = torch.tensor([0.0, 0.0, 0.0, speed_mps, 0.0])
    commands_LU = torch.tensor([max(speed_mps, 1.0), 0.0]).expand(STEPS, 2)
    return safe_part(commands_LU, start_X, Unicycle(Limits(), DT_S), verifier, MOST, most_imminent)


def test_close_beside_somebody_a_robot_slows_down() -> None:
    beside = (0.6, 0.83, 0.0, 0.0)  # 0.13 m from touching when passed: a little more than one standard deviation
    careless, careful = (part_of(beside, 1.0, most_imminent) for most_imminent in (1.0, 0.05))
    assert isinstance(careless, SafePart)
    assert careless.probability > 0.05
    assert not careless.why
    first_mps = float(careful.rollout.commands_SLU[0, 0, 0]) if isinstance(careful, SafePart) else 0.0
    assert first_mps < 0.6
    assert "people nearby" in (careful.why if isinstance(careful, SafePart) else careful)


def test_who_is_far_enough_to_stop_for_slows_nobody_down_yet() -> None:
    part = part_of((2.5, 0.83, 0.0, 0.0), 1.0, 0.05)
    assert isinstance(part, SafePart)
    assert float(part.rollout.commands_SLU[0, 0, 0]) == pytest.approx(1.0)


def test_for_somebody_who_walks_into_the_way_it_stands_before_they_touch() -> None:
    person = (0.9, 1.3, 0.0, -1.2)
    part = part_of(person, 1.0, 0.05)
    states_LX = part.rollout.states_SLX[0] if isinstance(part, SafePart) else None
    x_m, moving = 0.0, True
    for step in range(STEPS if states_LX is not None else 0):
        moving = float(states_LX[step, 3]) > 0.05
        x_m = float(states_LX[step, 0])
        away_m = math.dist((x_m, 0.0), (person[0], person[1] + person[3] * (step + 1) * DT_S))
        assert away_m > RADIUS_M + 0.3 or not moving


def test_who_stands_lets_pass_whom_a_moving_robot_would_not_yet_brake_for() -> None:
    crossing = (0.7, 1.9, 0.0, -1.2)
    first_mps = {}
    for speed_mps in (0.0, 0.3):
        part = part_of(crossing, speed_mps, 0.05)
        first_mps[speed_mps] = float(part.rollout.commands_SLU[0, 0, 0]) if isinstance(part, SafePart) else 0.0
    assert first_mps[0.0] < 0.05
    assert first_mps[0.3] > 0.1


def test_from_beside_somebody_it_may_drive_away() -> None:
    """They may well touch as they stand: nothing that the robot does undoes that, and to leave is right."""
    part = part_of((-0.55, 0.58, 0.0, 0.0), 0.0, 0.05)
    assert isinstance(part, SafePart)
    assert float(part.rollout.states_SLX[0, -1, 0]) > 2.0


def test_a_gap_wider_than_the_robot_is_passed_on_coarse_cells() -> None:
    walls = ((3.0, -26.0, 3.4, -0.5), (3.0, 0.5, 3.4, 26.0))  # cells of 0.4 m; free from -0.4 to 0.4 m
    scene = make_scene(walls=walls)
    plan = Planner(PlannerConfig(robot_radius_m=0.25)).plan(scene, goal_at(scene, 5.0, 0.0), 5.0)
    assert plan.status is PlanStatus.OK
    assert in_anchor(scene, plan.path)[-1, 0] > 4.0
    too_wide = Planner(PlannerConfig(robot_radius_m=0.45)).plan(scene, goal_at(scene, 5.0, 0.0), 5.0)
    assert in_anchor(scene, too_wide.path)[:, 0].max(initial=0.0) < 3.0


def test_a_probability_that_is_no_number_is_not_safe() -> None:
    """Occupancy that is not a number never reaches a verifier; if it did, the robot would brake."""
    future = people_future(PlanningScene.of(make_scene(speed_mps=1.0)), RADIUS_M)
    unknown_TYX = np.full((1, 64, 64), np.nan, np.float32)
    verifier = Verifier(unknown_TYX, GridSpec(64, 64, 0.4, (-12.8, -12.8)), np.zeros(1), future, RADIUS_M, 0.0)
    commands_LU = torch.tensor([1.0, 0.0]).expand(STEPS, 2)
    start_X = torch.tensor([0.0, 0.0, 0.0, 1.0, 0.0])
    assert isinstance(safe_part(commands_LU, start_X, Unicycle(Limits(), DT_S), verifier, MOST, 1.0), str)
