"""Where a described goal is: geometry of relations and regions, and the distance that is kept in every check of a plan."""

import math
from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="needs ROS 2: run `make build`, then tests through scripts/env.sh")
pytest.importorskip("jepa_ros.action", reason="needs the built interfaces: run `make build`, then tests through scripts/env.sh")

from planning_scenes import make_scene, pose

from jepa_ros.forecast.constant_turn_rate import ConstantTurnRate
from jepa_ros.planning import Planner
from jepa_ros.planning.scene import PlanningScene
from jepa_ros.ros.planner.pursue.goal_description import GoalDescription, Refusal, inside, nearest_inside, place_near
from jepa_ros.types import PlanStatus, TrackedVehicles

NOWHERE = np.zeros((0, 2))
SQUARE = np.array([[2.0, 1.0], [5.0, 1.0], [5.0, 4.0], [2.0, 4.0]])


def described(who: str = "person", relation: str = "", distance_m: float = 1.5, keep: tuple[str, ...] = (), keep_m: float = 0.0):
    return GoalDescription.of(who, relation, distance_m, 0.0, keep, keep_m)


def scene_with(*people: tuple[float, float, float, float], walls: tuple = ()) -> PlanningScene:
    return PlanningScene.of(make_scene(walls=walls, people=people, anchor=pose(0.0, 0.0, 0.0)))


@pytest.mark.parametrize(("relation", "where"), [("near", (2.5, 0)), ("left_of", (4, 1.5)), ("right_of", (4, -1.5)), ("behind", (5.5, 0))])
def test_relations_are_as_seen_from_the_robot(relation, where) -> None:
    place = place_near(described(relation=relation), scene_with((4.0, 0.0, 0.0, 0.0)), NOWHERE, 0.4, 0.5, None)
    assert place.pose[:2] == pytest.approx(where, abs=1e-6)


def test_who_was_chosen_stays_chosen_and_left_stays_left() -> None:
    first = place_near(described(relation="left_of"), scene_with((4.0, 0.0, 0.0, 0.0), (9.0, 0.0, 0.0, 0.0)), NOWHERE, 0.4, 0.5, None)
    later = place_near(described(relation="left_of"), scene_with((4.0, 3.0, 0.0, 0.0), (1.0, 0.0, 0.0, 0.0)), NOWHERE, 0.4, 0.5, first)
    assert (first.beside.name, later.beside.name) == ("person 0", "person 0")
    assert later.pose[:2] == pytest.approx((4.0, 4.5), abs=1e-6)


def test_a_region_says_who_is_meant() -> None:
    people = scene_with((1.0, 0.0, 0.0, 0.0), (4.0, 3.0, 0.0, 0.0))
    assert place_near(described(), people, SQUARE, 0.4, 0.5, None).beside.name == "person 1"
    with pytest.raises(Refusal) as refused:
        place_near(described("person 0"), people, SQUARE, 0.4, 0.5, None)
    assert "person 1" in refused.value.would_work


def test_regions() -> None:
    assert inside(SQUARE, np.array([3.0, 2.0]))
    assert not inside(SQUARE, np.array([0.0, 2.0]))
    assert nearest_inside(SQUARE, np.array([3.0, 2.0])) == pytest.approx([3.0, 2.0])
    border = nearest_inside(SQUARE, np.array([0.0, 2.0]))
    assert inside(SQUARE, border)
    assert border == pytest.approx([2.05, 2.0], abs=0.03)


def test_a_kept_distance_is_part_of_every_check_and_clears_no_wall() -> None:
    """As if the person were larger, for contacts; a wall beside them is no part of them."""
    wall = (2.2, -3.0, 2.6, -0.6)
    scene = scene_with((2.4, 0.0, 0.0, 0.0), walls=(wall,))
    kept = described(keep=("person 0",), keep_m=1.5).guarded(scene)
    goal = np.array([5.0, 0.0, math.nan])
    near = Planner().plan(scene, goal, 5.0).path[:, :2]
    far = Planner().plan(kept, goal, 5.0)
    assert far.status is PlanStatus.OK
    distance = lambda path: np.linalg.norm(path - (2.4, 0.0), axis=1).min()  # noqa: E731
    assert distance(near) < 1.7
    assert distance(far.path[:, :2]) > 2.0
    assert far.path[:, 1].min() > -0.6, "not through the wall"


def test_nobody_is_watched_without_a_wish() -> None:
    scene = scene_with((2.4, 0.0, 0.0, 0.0))
    assert described().guarded(scene) is scene


def with_vehicle(speed_mps: float) -> PlanningScene:
    """Person 0 four metres ahead, and vehicle 0, which points ahead too, on the left of them."""
    state = make_scene(people=((4.0, 0.0, 0.0, 0.0),), anchor=pose(0.0, 0.0, 0.0))
    driven = np.array([[3.0, 3.0, 0.0, speed_mps, 0.0, 0.0]])
    one = np.ones(1)
    vehicles = TrackedVehicles(
        np.array([0]),
        np.array([[3.0, 3.0, 0.0, 4.2, 1.8]]),
        driven[:, 3:5],
        0 * one,
        one,
        1.5 * one,
        driven,
        np.tile(0.1 * np.eye(6), (1, 1, 1)),
    )
    return PlanningScene.of(replace(state, vehicles=vehicles, vehicle_forecast=ConstantTurnRate().predict(vehicles)))


def test_people_and_vehicles_with_the_same_number_are_told_apart() -> None:
    """Where boxes are planned with, too, people are found by their ids, and a distance is kept from them alone."""
    scene = with_vehicle(5.0)
    assert scene.moving.ids.tolist() == [0, -1], "the vehicle's own number is 0 as well"
    assert place_near(described("person 0"), scene, NOWHERE, 0.4, 0.5, None).pose[:2] == pytest.approx((2.5, 0.0), abs=1e-6)
    kept = described(keep=("people",), keep_m=1.5).guarded(scene)
    assert kept.moving.kept_m is not None
    assert kept.moving.kept_m.tolist() == [1.5, 0.0]
    assert Planner().plan(kept, np.array([0.0, -4.0, math.nan]), 5.0).status is PlanStatus.OK


def test_a_vehicle_that_stands_is_a_goal_too_as_near_as_its_corners_allow() -> None:
    place = place_near(described("vehicle", "behind", distance_m=0.0), with_vehicle(0.0), NOWHERE, 0.4, 0.5, None)
    assert place.beside.name == "vehicle 0"
    away_m = math.hypot(3.0, 3.0) + 0.4 + 0.5 * math.hypot(4.2, 1.8) + 0.5
    assert place.pose[:2] == pytest.approx(np.full(2, away_m / math.sqrt(2)), abs=1e-3)
    with pytest.raises(Refusal) as refused:
        place_near(described("vehicle 0", distance_m=1.0), with_vehicle(0.0), NOWHERE, 0.4, 0.5, None)
    assert "a distance of 2.8 m or more" in refused.value.would_work


def test_a_vehicle_that_drives_is_met_where_it_will_be() -> None:
    """It is 4.2 m away and drives 2 m/s: at the robot's 1 m/s, 0.4 m on the way are 0.4 s and 0.9 m of its way."""
    place = place_near(described("vehicle 0", distance_m=3.8), with_vehicle(2.0), NOWHERE, 0.4, 0.5, None)
    assert place.pose[1] == pytest.approx(3.0 - 3.8 * math.sin(math.pi / 4), abs=0.01)
    ahead_m = 3.0 + 2.0 * (math.hypot(3.0, 3.0) - 3.8)
    assert place.pose[0] == pytest.approx(ahead_m - 3.8 * math.cos(math.pi / 4), abs=0.05)


@pytest.mark.parametrize("name", ["cyclist", "vehicle 7", "cyclist 7"])
def test_what_is_not_there_is_said_with_what_is(name: str) -> None:
    with pytest.raises(Refusal) as refused:
        place_near(described(name), with_vehicle(0.0), NOWHERE, 0.4, 0.5, None)
    assert "person 0, vehicle 0" in refused.value.would_work


@pytest.mark.parametrize("name", ["door", "vehicle x", "person 1 2", "vehicle " + 30 * "1"])
def test_what_has_no_such_name_is_refused(name: str) -> None:
    with pytest.raises(Refusal, match="nothing is called so"):
        described(name)
    with pytest.raises(Refusal, match="only people and cyclists"):
        described(keep=("vehicle 1",), keep_m=1.0)
