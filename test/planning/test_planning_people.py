"""People in the way of a plan: waiting for them, passing them, and how probable a contact is."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from planning_scenes import RESOLUTION_M, goal_at, in_anchor, make_scene

from jepa_ros.planning import Planner, PlannerConfig
from jepa_ros.planning.grids import between_cells
from jepa_ros.planning.guide import StandingMemory
from jepa_ros.planning.people import PeopleFuture, contact_probability, expected_contacts
from jepa_ros.planning.scene import PlanningScene
from jepa_ros.planning.surroundings import Surroundings
from jepa_ros.types import NANOSECONDS, GridSpec, PlanStatus

RADIUS_M = PlannerConfig().robot_radius_m
LONG_S = 5.0  # a deadline that never bites


def test_yields_to_a_person_who_crosses() -> None:
    # The person reaches the straight line at x = 2.4 when a robot that ignores them does.
    person = (2.4, -2.4, 0.0, 1.2)
    scene = make_scene(people=(person,), speed_mps=1.2)
    config = PlannerConfig()
    plan = Planner(config).plan(scene, goal_at(scene, 5.0, 0.0), LONG_S)
    assert plan.status is PlanStatus.OK
    times = plan.dt_s * np.arange(len(plan.path))[:, None]
    truth = np.array(person[:2]) + times * np.array(person[2:])
    straight = np.stack((1.2 * times[:, 0], 0 * times[:, 0]), -1)
    assert np.linalg.norm(straight - truth, axis=1).min() < RADIUS_M + 0.3, "the scene must be a test at all"
    assert np.linalg.norm(in_anchor(scene, plan.path) - truth, axis=1).min() > RADIUS_M + 0.3
    assert plan.collision_probability <= config.max_collision_probability


def test_waits_behind_people_who_block_the_way() -> None:
    walls = ((-1.0, 1.2, 8.0, 1.6), (-1.0, -1.6, 8.0, -1.2))
    people = tuple((2.5, y, 0.0, 0.0) for y in (-0.8, 0.0, 0.8))
    scene = make_scene(walls=walls, people=people, sigma_mps=0.02)
    plan = Planner().plan(scene, goal_at(scene, 6.0, 0.0), LONG_S)
    assert plan.status is PlanStatus.OK
    assert in_anchor(scene, plan.path)[:, 0].max() < 2.5 - RADIUS_M - 0.3
    assert plan.commands[-1, 0] < 0.1


def test_a_crowd_in_a_door_is_no_wall() -> None:
    """Nobody tracks them: to the planner they are occupied cells, which were free a moment ago."""
    room = ((3.0, -26.0, 3.4, -1.6), (3.0, 1.6, 3.4, 26.0))
    goal = (8.0, 0.0)
    planner, crowd = Planner(), ((3.0, -1.6, 3.4, 1.6),)
    planner.plan(make_scene(walls=room), goal_at(make_scene(), *goal), LONG_S)
    scene = make_scene(walls=room + crowd)
    later = replace(scene, stamp_ns=scene.stamp_ns + NANOSECONDS, ego=replace(scene.ego, stamp_ns=scene.ego.stamp_ns + NANOSECONDS))
    waiting = planner.plan(later, goal_at(scene, *goal), LONG_S)
    assert waiting.status is PlanStatus.OK
    end_x, end_y = in_anchor(scene, waiting.path)[-1]
    assert 1.0 < end_x < 3.0 - RADIUS_M
    assert abs(end_y) < 1.6


def test_what_stands_is_read_as_it_is_told_and_whoever_moves_is_no_part_of_it() -> None:
    """A world model leaves somebody where they are, and predicts them, blurred, where they go. Planned around is the person alone."""
    scene = make_scene(walls=((4.0, 2.0, 4.4, 3.0),), people=((2.0, 0.0, 1.0, 0.0),))
    predicted, step, here_m, beside_m = scene.occupancy.probability.copy(), 4, np.array([2.0, 0.0]), np.array([3.6, 1.2])
    for at, place_m, probability in ((slice(None), here_m, 1.0), (step, np.array([3.6, 0.0]), 0.4), (step, beside_m, 0.6)):
        column, row = ((place_m - scene.occupancy.origin_m) / RESOLUTION_M).astype(int)
        predicted[at, row, column] = probability
    told = PlanningScene.of(replace(scene, occupancy=replace(scene.occupancy, probability=predicted)))
    around = Surroundings(told, np.zeros(2), 6.0, 0.4, 0.5, StandingMemory())
    assert around.inflated_TYX[0].max() == 1.0, "the wall"
    assert between_cells(around.inflated_TYX[0], around.grid, here_m) < 0.01
    assert between_cells(around.inflated_TYX[step], around.grid, np.array([3.5, -0.2])) < 0.05
    assert between_cells(around.inflated_TYX[step], around.grid, beside_m) > 0.5, "what no forecast explains is nobody who is tracked"


def test_contact_probability_is_that_of_the_forecast() -> None:
    generator = np.random.default_rng(3)
    covariance = np.array([[0.30, 0.12], [0.12, 0.20]])
    path = torch.stack((torch.linspace(0.0, 3.0, 13), torch.zeros(13)), -1)
    means = torch.stack((torch.full((13,), 1.8), torch.linspace(-2.0, 1.5, 13)), -1)
    flat = torch.tensor([covariance[0, 0], covariance[0, 1], covariance[1, 1]], dtype=torch.float32)
    future = PeopleFuture(means[None, None], flat.expand(1, 1, 13, 3), torch.full((1, 1), 0.8), torch.tensor([0.3]), torch.arange(13.0))
    draws = generator.multivariate_normal((0, 0), covariance, 100_000)
    gaps = np.linalg.norm(draws[:, None] + (means - path).numpy(), axis=-1).min(axis=1)
    truth = 0.8 * (gaps < 0.7).mean()
    assert 0.2 < truth < 0.7
    assert contact_probability(future, path[None], 0.4).item() == pytest.approx(truth, abs=0.02)
    twins = PeopleFuture(
        *(torch.cat((v, v)) for v in (future.means_PKT2, future.covariances_PKT3, future.weights_PK, future.radii_P)), future.times_s
    )
    assert contact_probability(twins, path[None], 0.4).item() == pytest.approx(1 - (1 - truth) ** 2, abs=0.03)
    # The raster that guides the search approximates the mass at one instant.
    cell = GridSpec(1, 1, 0.4, (path[6, 0].item() - 0.2, -0.2))
    offsets = np.linalg.norm(draws + (means[6] - path[6]).numpy(), axis=-1)
    raster = expected_contacts(future, cell, 0.4, 0.5, 0.0)[6].item()
    assert raster == pytest.approx(0.8 * (offsets < 0.7).mean(), abs=0.05)
