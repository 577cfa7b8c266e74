"""A path that is followed: where the robot is along it, what is planned to next, when it is stuck; and that a plan keeps to it."""

import math

import numpy as np
import pytest
from planning_scenes import goal_at, in_anchor, make_scene

from jepa_ros.planning import Planner, PlannerConfig
from jepa_ros.planning.outcome import placed
from jepa_ros.planning.route import Progress, Route, limited_speed

NAN = math.nan


def route(*places: tuple[float, float], yaw: float = NAN) -> Route:
    return Route(np.array([(x, y, NAN) for x, y in places[:-1]] + [(*places[-1], yaw)]))


def test_where_a_robot_is_along_a_path() -> None:
    corner = route((0, 0), (4, 0), (4, 3))
    along = corner.along(np.array([1.0, 0.5, 0.2]))
    assert (along.segment, along.done_m, along.left_m) == (0, 1.0, 6.0)
    assert along.off_m == pytest.approx(0.5), "left of the path is positive"
    assert along.heading_off_rad == pytest.approx(-0.2)
    assert corner.along(np.array([4.5, 1.0, 0.0])).off_m == pytest.approx(-0.5)
    assert corner.along(np.array([0.0, 0.0, 0.0]), from_m=2.0).done_m == 2.0, "what is done stays done"


def test_a_path_that_comes_back_is_driven_in_its_order() -> None:
    there_and_back = route((0, 0), (8, 0), (8, 0.2), (0, 0.2))
    assert there_and_back.along(np.array([1.0, 0.2, 0.0])).done_m == pytest.approx(1.0)
    assert there_and_back.along(np.array([1.0, 0.0, math.pi]), from_m=14.0).done_m == pytest.approx(15.2)


def test_places_ahead_have_a_free_heading_and_the_end_its_own() -> None:
    corner = route((0, 0), (4, 0), (4, 3), yaw=1.0)
    assert corner.at(5.0)[:2].tolist() == [4.0, 1.0]
    assert math.isnan(corner.at(5.0)[2])
    assert corner.at(50.0).tolist() == [4.0, 3.0, 1.0]
    places = corner.between(3.0, 6.0)
    assert np.linalg.norm(np.diff(places, axis=0), axis=1).max() <= 0.2001
    assert places[0].tolist() == [3.0, 0.0]
    assert places[-1].tolist() == [4.0, 2.0]


@pytest.mark.parametrize("poses", [np.zeros((0, 3)), np.array([[0.0, 0.0, 0.0], [np.inf, 0.0, 0.0]]), np.zeros(3)])
def test_what_is_no_path_is_refused(poses: np.ndarray) -> None:
    with pytest.raises(ValueError, match="path"):
        Route(poses)


@pytest.mark.parametrize("places", [[(2.0, 1.0)], [(2.0, 1.0), (2.0, 1.0)]])
def test_a_path_of_one_place_is_its_end(places: list) -> None:
    along = route(*places).along(np.array([0.0, 1.0, 0.0]))
    assert (along.done_m, along.left_m, along.off_m) == (0.0, 0.0, 2.0)


def test_progress_is_a_distance_in_a_time_and_a_new_clock_begins_anew() -> None:
    progress = Progress(radius_m=0.5, allowance_s=10.0)
    assert progress.made(np.zeros(2), 100.0)
    assert progress.made(np.array([0.4, 0.0]), 110.0)
    assert not progress.made(np.array([0.4, 0.0]), 110.1)
    assert progress.made(np.array([0.6, 0.0]), 110.2)
    assert progress.made(np.array([0.6, 0.0]), 120.0)
    assert progress.made(np.array([0.6, 0.0]), 5.0)


def test_speed_limits_are_read_as_nav2_means_them() -> None:
    assert limited_speed(1.5, 0.0, False) is None
    assert limited_speed(1.5, 0.5, False) == 0.5
    assert limited_speed(1.5, 50.0, True) == 0.75
    assert limited_speed(1.5, 3.0, False) == 1.5, "never above the robot's own"
    for bad in (-1.0, math.nan, math.inf):
        with pytest.raises(ValueError, match="speed_limit"):
            limited_speed(1.5, bad, False)


def test_a_plan_keeps_to_the_path_where_the_straight_way_is_free_too() -> None:
    scene = make_scene()
    bow = route((0, 0), (1, 1.2), (2.5, 1.6), (4, 1.2), (5, 0))
    places = placed(bow.between(0.0, 50.0), scene.anchor_pose)
    goal = goal_at(scene, 5.0, 0.0)

    def farthest_left_m(**route_m: np.ndarray) -> float:
        plan = Planner(PlannerConfig()).plan(scene, goal, 1.0, **route_m)
        return float(in_anchor(scene, plan.path[:, :2])[:, 1].max())

    assert farthest_left_m() < 0.3
    assert farthest_left_m(route_m=places) > 0.6
