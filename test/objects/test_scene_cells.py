"""Forecasts of tracked objects on the grid: judged by throwing dice, and by what planners and readers get of them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from planning_scenes import goal_at, make_scene

from jepa_ros.movers import BoxForecast, TrackedVehicles
from jepa_ros.objects.scene.cells import REACH_M, mover_cells, with_movers, without_movers
from jepa_ros.objects.scene.objects import SceneObject
from jepa_ros.planning import Planner
from jepa_ros.types import GridSpec

GRID = GridSpec(64, 64, 0.4, (-12.8, -12.8))
THROWS = 20_000


def thing(poses: np.ndarray, std_m: tuple[float, float], size_m: tuple[float, float], weights: tuple[float, ...] = (1.0,)) -> SceneObject:
    """One object that will be at (K, 3) poses, in one step."""
    covariance = np.diag(np.square(std_m))
    return SceneObject(
        id=1,
        chances=(1.0, 0.0, 0.0),
        box=np.array([*poses[0], *size_m]),
        height_m=1.7,
        velocity_mps=np.zeros(2),
        yaw_rate_radps=0.0,
        existence=0.9,
        poses=poses[:, None],
        probabilities=np.array(weights),
        covariances_m2=np.broadcast_to(covariance, (len(poses), 1, 2, 2)),
        times_s=np.array([0.4]),
    )


def thrown(one: SceneObject, x_m: float, y_m: float) -> float:
    """Share of throws in which the middle of a cell lies in the object."""
    rng = np.random.default_rng(0)
    mode = rng.choice(len(one.probabilities), THROWS, p=one.probabilities)
    middle = one.poses[mode, 0, :2] + rng.normal(size=(THROWS, 2)) * np.sqrt(np.diag(one.covariances_m2[0, 0]))
    off, yaw = np.array([x_m, y_m]) - middle, one.poses[mode, 0, 2]
    along, across = off[:, 0] * np.cos(yaw) + off[:, 1] * np.sin(yaw), off[:, 1] * np.cos(yaw) - off[:, 0] * np.sin(yaw)
    half = 0.5 * one.box[3:] + REACH_M
    return float(one.existence * ((np.abs(along) <= half[0]) & (np.abs(across) <= half[1])).mean())


@pytest.mark.parametrize(
    "one",
    [
        thing(np.array([[3.1, -2.2, 0.0]]), (0.3, 0.6), (0.5, 0.5)),
        thing(np.array([[3.1, -2.2, 0.0], [5.0, 1.0, 0.0]]), (0.2, 0.2), (0.5, 0.5), (0.7, 0.3)),
        thing(np.array([[-4.0, 3.0, 0.6]]), (0.5, 0.5), (4.5, 1.8)),
        thing(np.array([[12.7, 0.0, 0.0]]), (0.4, 0.4), (0.5, 0.5)),
    ],
    ids=["walker", "two ways", "turned car", "at the edge"],
)
def test_cells_get_the_share_of_throws_that_hit_them(one: SceneObject) -> None:
    (cells_YX,) = mover_cells([one], GRID, np.eye(4))
    likely = np.argwhere(cells_YX > 0.02)
    assert len(likely) >= 5
    for row, column in likely[:: max(1, len(likely) // 40)]:
        x_m, y_m = GRID.origin_m[0] + (column + 0.5) * 0.4, GRID.origin_m[1] + (row + 0.5) * 0.4
        assert cells_YX[row, column] == pytest.approx(thrown(one, x_m, y_m), abs=0.06)


def test_the_frame_of_the_grid_is_heeded() -> None:
    one = thing(np.array([[103.1, 47.8, 0.3]]), (0.3, 0.3), (0.5, 0.5))
    anchor = np.eye(4)
    anchor[:2, :2], anchor[:2, 3] = [[0.0, -1.0], [1.0, 0.0]], (100.0, 50.0)
    (cells_YX,) = mover_cells([one], GRID, anchor)
    row, column = np.unravel_index(cells_YX.argmax(), cells_YX.shape)
    assert (GRID.origin_m[0] + (column + 0.5) * 0.4, GRID.origin_m[1] + (row + 0.5) * 0.4) == pytest.approx((-2.2, -3.1), abs=0.4)


def test_what_is_published_holds_both_and_each_can_be_told_apart() -> None:
    scene = make_scene(walls=((6.0, -2.0, 7.0, 2.0),), people=((3.0, -2.0, 0.0, 1.0),))
    joined = with_movers(scene).occupancy
    row, column = int((0.4 + 12.8) / 0.4), int((3.0 + 12.8) / 0.4)  # there in 2.4 s
    assert scene.occupancy.probability[6, row, column] == 0.0
    assert joined.probability[6, row, column] > 0.2
    assert (joined.probability >= scene.occupancy.probability).all()
    assert np.array_equal(joined.probability[0], scene.occupancy.probability[0]), "what is seen now is seen"
    assert np.array_equal(without_movers(joined).probability, scene.occupancy.probability)
    again = with_movers(with_movers(scene)).occupancy
    assert np.array_equal(again.probability, joined.probability)


def test_a_plan_counts_nobody_twice() -> None:
    scene = make_scene(walls=((6.0, -2.0, 7.0, 2.0),), people=((3.0, -1.0, 0.0, 0.5),), speed_mps=0.5)
    goal = goal_at(scene, 5.0, 3.0)
    plain, joined = (Planner().plan(each, goal, 5.0) for each in (scene, with_movers(scene)))
    assert np.array_equal(plain.commands, joined.commands)


def test_a_parked_car_is_left_to_the_occupancy() -> None:
    poses = np.tile([[[[103.0, -50.0, 0.0]]]], (1, 1, 12, 1))
    forecast = BoxForecast(poses, np.ones((1, 1)), np.tile(0.01 * np.eye(2), (1, 1, 12, 1, 1)), 0.4 * np.arange(1, 13))
    for speed_mps, changed in ((0.0, False), (3.0, True)):
        vehicles = TrackedVehicles(
            ids=np.array([7]),
            boxes=np.array([[103.0, -50.0, 0.0, 4.0, 1.8]]),
            velocities_mps=np.array([[speed_mps, 0.0]]),
            yaw_rates_radps=np.zeros(1),
            existence=np.array([0.9]),
            heights_m=np.array([1.5]),
        )
        scene = replace(make_scene(), vehicles=vehicles, vehicle_forecast=forecast)
        assert (with_movers(scene).occupancy.probability != scene.occupancy.probability).any() == changed


@pytest.mark.parametrize("dt_s", [0.25, 0.5])
def test_people_are_where_they_are_expected_at_the_times_of_the_occupancy(dt_s: float) -> None:
    """World models have steps of their own."""
    scene = make_scene(people=((0.0, -6.0, 0.0, 1.5),))
    steps = int(4.8 / dt_s)
    probability = np.zeros((steps + 3, 64, 64), np.float32)
    occupancy = replace(scene.occupancy, probability=probability, times_s=dt_s * np.arange(steps + 3))
    joined = with_movers(replace(scene, occupancy=occupancy)).occupancy
    for step in (2, steps // 2, steps):
        row, column = np.unravel_index(joined.probability[step].argmax(), (64, 64))
        y_m = joined.origin_m[1] + 0.4 * (row + 0.5)
        assert y_m == pytest.approx(-6.0 + 1.5 * dt_s * step, abs=0.45)
        assert joined.origin_m[0] + 0.4 * (column + 0.5) == pytest.approx(0.0, abs=0.45)
    assert not joined.probability[steps + 1 :].any(), "later than the forecast nothing is known of anybody"


def test_an_occupancy_later_than_every_forecast_stays_as_it_is() -> None:
    scene = make_scene(people=((0.0, -6.0, 0.0, 1.5),))
    later = replace(scene.occupancy, probability=scene.occupancy.probability[:2], times_s=np.array([0.0, 10.0]))
    joined = with_movers(replace(scene, occupancy=later)).occupancy
    assert np.array_equal(joined.probability, later.probability)


def test_joining_computes_no_predicted_latents() -> None:
    """They are computed when somebody reads them: half of a step of the world model, in the thread that publishes."""

    def refuse() -> np.ndarray:
        raise AssertionError("read")

    joined = with_movers(replace(make_scene(people=((3.0, -2.0, 0.0, 1.0),)), predicted=refuse))
    assert joined.occupancy.from_latents is not None
    with pytest.raises(AssertionError, match="read"):
        joined.predicted  # noqa: B018
