"""Where no sensor has seen: no plan leads there, and no answer says that the way is free."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from planning_scenes import STAMP_NS, goal_at, in_anchor, make_scene, pose

from jepa_ros.planning import Limits, Planner, PlannerConfig
from jepa_ros.planning.guide import StandingMemory
from jepa_ros.planning.scene import PlanningScene
from jepa_ros.planning.surroundings import Surroundings
from jepa_ros.sensing.sight import Look, SightMemory
from jepa_ros.types import NANOSECONDS, PlanStatus, SceneState

RADIUS_M = PlannerConfig().robot_radius_m
LONG_S = 5.0

Seen = Callable[[np.ndarray, np.ndarray], np.ndarray]


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def keeps_to_what_was_seen(scene: SceneState, path: np.ndarray) -> bool:
    """Whether the centre of a robot at each pose is over a seen cell, or where it stood at the start."""
    places = in_anchor(scene, path)
    occupancy = scene.occupancy
    column, row = np.floor((places - occupancy.origin_m) / occupancy.resolution_m).astype(int).T
    at_start = np.linalg.norm(places - places[0], axis=1) < 0.15
    return bool((occupancy.seen[row, column] | at_start).all())


def behind(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return x < 0.0


def wedge(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return np.abs(np.arctan2(y, x)) < np.radians(35)


@pytest.mark.parametrize("kinematics", ["unicycle", "bicycle", "holonomic"])
@pytest.mark.parametrize("speed_mps", [0.0, 0.5])
def test_a_robot_that_sees_only_behind_is_told_that_nothing_is_known_ahead(kinematics: str, speed_mps: float) -> None:
    scene = make_scene(seen=behind, speed_mps=speed_mps)
    planner = Planner(PlannerConfig(kinematics=kinematics, limits=Limits(wheelbase_m=0.6)))
    for _ in range(3):
        plan = planner.plan(scene, goal_at(scene, 5.0, 0.0), LONG_S)
    assert (plan.status, plan.fallback, plan.reaches_goal) == (PlanStatus.UNSEEN, True, False), plan.message
    assert in_anchor(scene, plan.path)[:, 0].max() < 0.1, "it stands, or stops"
    assert all(word in plan.message for word in ("no sensor has seen", "turn", "goal"))


def test_the_way_that_was_seen_is_driven_and_no_further() -> None:
    scene = make_scene(seen=lambda x, y: (x < 3.0) & (np.abs(y) < 6.0))
    plan = Planner().plan(scene, goal_at(scene, 6.0, 0.0), LONG_S)
    assert (plan.status, plan.reaches_goal) == (PlanStatus.OK, False), plan.message
    assert 1.5 < in_anchor(scene, plan.path)[-1, 0] < 3.0 - RADIUS_M + 0.1
    assert 3.2 < plan.distance_to_goal_m < 4.5
    assert "no sensor has seen" in plan.message
    known = Planner().plan(make_scene(), goal_at(scene, 6.0, 0.0), LONG_S)
    assert (known.status, known.reaches_goal) == (PlanStatus.OK, True), "the scene must be a test at all"


def test_the_long_way_does_not_turn_with_what_happens_to_be_seen() -> None:
    """What is seen changes at every step; a way that depends on it leads a robot to and fro."""

    def way(seen: Seen | None) -> np.ndarray:
        scene = PlanningScene.of(make_scene(seen=seen))
        around = Surroundings(scene, np.zeros(2), 7.0, RADIUS_M, 0.5, StandingMemory())
        return around.way_to(np.array([-10.0, 2.0]), 0.5).length_m

    for seen in (behind, wedge):
        np.testing.assert_array_equal(way(seen), way(None))


def test_a_goal_that_nobody_has_seen_is_no_occupied_goal() -> None:
    scene = make_scene(seen=lambda x, y: np.hypot(x - 4.0, y) > 1.5)
    plan = Planner().plan(scene, goal_at(scene, 4.0, 0.0), LONG_S)
    assert (plan.status, plan.reaches_goal) == (PlanStatus.OK, False), plan.message
    assert keeps_to_what_was_seen(scene, plan.path)


def test_a_probability_that_is_no_number_is_not_driven_over() -> None:
    scene = make_scene()
    probability = scene.occupancy.probability.copy()
    probability[3, :, 38:42] = np.nan  # x 2.4 to 4.0 m
    scene = replace(scene, occupancy=replace(scene.occupancy, probability=probability))
    plan = Planner().plan(scene, goal_at(scene, 6.0, 0.0), LONG_S)
    assert plan.status in (PlanStatus.OK, PlanStatus.UNSEEN)
    assert not plan.reaches_goal
    assert in_anchor(scene, plan.path)[:, 0].max() < 2.4


def test_a_known_way_is_taken_rather_than_one_through_the_unseen() -> None:
    wall = ((2.0, -1.6, 2.4, 1.2),)  # round its left end it is shorter, but nobody has looked there
    scene = make_scene(walls=wall, seen=lambda x, y: ~((y > 0.8) & (x > 1.0)))
    planner, places = Planner(), []
    for _ in range(12):
        plan = planner.plan(scene, goal_at(scene, 4.5, -0.4), LONG_S)
        places.append(in_anchor(scene, plan.path[:3]))
        assert keeps_to_what_was_seen(scene, plan.path)
        scene = moved_on(scene, plan.path[2], plan.commands[1])
    assert np.concatenate(places)[:, 1].min() < -1.6
    assert plan.reaches_goal


def moved_on(scene: SceneState, at: np.ndarray, command: np.ndarray, passed_ns: int = 0) -> SceneState:
    ego = replace(
        scene.ego,
        stamp_ns=scene.ego.stamp_ns + passed_ns,
        odom_from_base=pose(*at),
        velocity_mps=np.array([command[0], 0.0]),
    )
    return replace(scene, ego=ego, stamp_ns=scene.stamp_ns + passed_ns)


def test_a_narrow_sensor_looks_round_before_the_robot_drives_back() -> None:
    """Closed loop: 70 degrees ahead are seen, the goal lies behind. What was seen once stays seen while it is remembered."""
    scene, planner = make_scene(), Planner()
    goal = goal_at(scene, -4.0, 0.0)
    grid = scene.occupancy.grid
    memory, angle = SightMemory(grid, 10.0), np.arange(360) + 0.5 - 180.0
    look = Look(np.zeros(2), np.zeros(360), np.where(np.abs(angle) < 35.0, 8.0, 0.0))
    statuses = []
    for step in range(40):
        anchor = scene.ego.odom_from_base
        seen = memory.update(STAMP_NS + step * NANOSECONDS * 2 // 5, anchor, [look])
        scene = replace(scene, anchor_pose=anchor, occupancy=replace(scene.occupancy, seen=seen))
        plan = planner.plan(scene, goal, LONG_S)
        statuses.append(plan.status)
        assert keeps_to_what_was_seen(scene, plan.path)
        if np.linalg.norm(scene.ego.odom_from_base[:2, 3] - goal[:2]) < 0.5:
            break
        scene = moved_on(scene, plan.path[2], plan.commands[1], NANOSECONDS * 2 // 5)
    assert np.linalg.norm(scene.ego.odom_from_base[:2, 3] - goal[:2]) < 0.5, statuses
    assert step > 6
