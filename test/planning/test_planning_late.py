"""Plans on a machine that takes the processor away: what was slow once is forgiven, and a plan that is still safe goes on."""

from __future__ import annotations

import numpy as np
from planning_scenes import goal_at, make_scene

from jepa_ros.planning import Planner, PlannerConfig, SolverConfig
from jepa_ros.types import PlanStatus

LONG_S = 30.0


def test_what_was_slow_once_does_not_end_planning_for_good() -> None:
    """A processor that was taken away for ten seconds while a plan was verified."""
    scene = make_scene()
    planner = Planner(PlannerConfig(search=SolverConfig(samples=64, iterations=2)))
    planner._verify_s = 10.0
    statuses = [planner.plan(scene, goal_at(scene, 5.0, 0.0), 0.5).status for _ in range(60)]
    assert statuses[0] is PlanStatus.TIMEOUT
    assert PlanStatus.OK in statuses


def test_without_time_to_search_the_rest_of_the_last_plan_answers_where_it_is_safe() -> None:
    scene = make_scene()
    goal = goal_at(scene, 5.0, 0.0)
    planner = Planner(PlannerConfig(search=SolverConfig(samples=64, iterations=2)))

    def unhurried(scene, goal):
        planner._verify_s = 0.003
        return planner.plan(scene, goal, LONG_S)

    def hurried(scene, goal):
        planner._verify_s = 70.0  # less than the deadline, but twice that is more
        return planner.plan(scene, goal, 100.0)

    assert hurried(scene, goal).status is PlanStatus.TIMEOUT, "there is none yet"
    first = unhurried(scene, goal)
    again = hurried(scene, goal)
    assert (again.status, again.message[:30]) == (PlanStatus.OK, "the rest of the last plan, sti")
    np.testing.assert_allclose(again.path, first.path, atol=1e-3)
    assert hurried(scene, goal_at(scene, 0.0, 5.0)).status is PlanStatus.TIMEOUT, "it was for another goal"
    unhurried(scene, goal)
    walled = make_scene(walls=((1.5, -3.0, 1.9, 3.0),))
    shorter = hurried(walled, goal)
    assert shorter.status is PlanStatus.OK, shorter.message
    assert length_m(shorter.path) < 1.5 < length_m(first.path), "it stops before the wall"


def length_m(path: np.ndarray) -> float:
    return float(np.linalg.norm(path[-1, :2] - path[0, :2]))
