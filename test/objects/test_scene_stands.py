"""What stands, told from what moves: nothing is counted twice, and nothing that nobody plans around is lost."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from planning_scenes import make_scene

from jepa_ros.movers import BoxForecast, TrackedVehicles
from jepa_ros.objects.scene.cells import standing_beside, with_movers, without_movers
from jepa_ros.objects.scene.objects import SceneObject, objects_of
from jepa_ros.objects.scene.stands import unexplained
from jepa_ros.types import OccupancyForecast, SceneState


def at(occupancy: OccupancyForecast, step: int, x_m: float, y_m: float) -> float:
    column, row = int((x_m + 12.8) / 0.4), int((y_m + 12.8) / 0.4)
    return float(occupancy.probability[step, row, column])


def seen(scene: SceneState, places: tuple[tuple[float, float], ...]) -> SceneState:
    """The scene whose model says of these places, now and always, that they are occupied: it knows nobody who moves."""
    probability = scene.occupancy.probability.copy()
    for x_m, y_m in places:
        probability[:, int((y_m + 12.8) / 0.4), int((x_m + 12.8) / 0.4)] = 0.98
    return replace(scene, occupancy=replace(scene.occupancy, probability=probability))


def test_the_two_shares_make_what_was_said() -> None:
    said, moves = torch.rand(2, 4000, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    stands = unexplained(said, moves)
    both = 1.0 - (1.0 - stands) * (1.0 - moves)
    torch.testing.assert_close(both, torch.maximum(said, moves))
    assert (stands <= said).all()
    assert torch.equal(stands == 0.0, said <= moves)


def test_a_wall_in_the_way_stays_and_certain_numbers_stay_numbers() -> None:
    said, moves = torch.tensor([0.95, 1.0, 1.0, 0.3, 0.0]), torch.tensor([0.5, 0.9, 1.0, 1.0, 0.0])
    assert unexplained(said, moves).tolist() == pytest.approx([0.9, 1.0, 0.0, 0.0, 0.0])


def test_a_walker_is_no_part_of_what_stands_and_the_wall_in_the_way_is() -> None:
    scene = seen(make_scene(walls=((2.8, 0.4, 3.2, 0.8),), people=((3.0, -2.0, 0.0, 1.0),)), ((3.0, -2.0), (-3.0, 2.0)))
    alone = without_movers(with_movers(scene).occupancy)
    for step in (0, 1, 6, 12):
        assert at(alone, step, 3.0, -2.0) == 0.0, "a model that knows nobody leaves them where they are"
        assert at(alone, step, 3.0, 0.6) == 1.0, "in 2.6 s they would walk into the wall"
        assert at(alone, step, -3.0, 2.0) == pytest.approx(0.98), "somebody whom nobody tracks"


@pytest.mark.parametrize(("speed_mps", "existence", "moves"), [(3.0, 0.9, True), (3.0, 0.7, False), (0.0, 0.9, False)])
def test_a_vehicle_that_nobody_plans_around_stands(speed_mps: float, existence: float, moves: bool) -> None:
    poses = np.broadcast_to([100.0, -50.0, 0.0], (1, 1, 12, 3)) + speed_mps * 0.4 * np.arange(1, 13)[:, None] * [1.0, 0.0, 0.0]
    vehicles = TrackedVehicles(
        ids=np.array([7]),
        boxes=np.array([[100.0, -50.0, 0.0, 4.0, 1.8]]),
        velocities_mps=np.array([[speed_mps, 0.0]]),
        yaw_rates_radps=np.zeros(1),
        existence=np.array([existence]),
        heights_m=np.array([1.5]),
    )
    forecast = BoxForecast(poses, np.ones((1, 1)), np.tile(0.01 * np.eye(2), (1, 1, 12, 1, 1)), 0.4 * np.arange(1, 13))
    anchor = np.eye(4)
    anchor[:2, 3] = 100.0, -50.0
    scene = seen(make_scene(anchor=anchor), ((0.2, 0.2), (1.4, 0.2), (-6.0, 0.2)))
    alone = without_movers(with_movers(replace(scene, vehicles=vehicles, vehicle_forecast=forecast)).occupancy)
    for x_m in (0.2, 1.4):
        assert at(alone, 0, x_m, 0.2) == (0.0 if moves else pytest.approx(0.98))
    assert at(alone, 0, -6.0, 0.2) == pytest.approx(0.98)


def test_beside_the_objects_of_another_tracker_only_theirs_are_left_out() -> None:
    """Whoever is no object to a planner stays an obstacle to it: the whole occupancy is read, not what stands beside our own objects."""
    places = ((3.0, -2.0), (-3.0, 2.0))
    scene = with_movers(seen(make_scene(people=((3.0, -2.0, 0.0, 0.0), (-3.0, 2.0, 0.0, 0.0))), places))
    everyone: list[SceneObject] = objects_of(scene)
    alone = standing_beside(scene.occupancy, everyone[1:], scene.anchor_pose)
    assert at(alone, 0, *places[0]) == pytest.approx(0.98), "they have not seen this one"
    assert at(alone, 0, *places[1]) == 0.0
    nobody = standing_beside(scene.occupancy, [], scene.anchor_pose)
    assert np.array_equal(nobody.probability, scene.occupancy.probability)
    assert nobody.from_latents is None
