"""Vehicles and cyclists are boxes to a planner: exact distances, and contacts of whole paths."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from planning_scenes import goal_at, in_anchor, make_scene, pose

from jepa_ros.movers import BoxForecast, TrackedVehicles, cells_near, near_boxes
from jepa_ros.planning.grids import cell_centres
from jepa_ros.planning.people import PeopleFuture, contact_probability, expected_contacts, outside_box, people_future
from jepa_ros.planning.planner import Planner, PlannerConfig
from jepa_ros.planning.scene import PlanningScene
from jepa_ros.planning.verify import Verifier
from jepa_ros.types import GridSpec, PlanStatus, SceneState

TIMES_S = 0.4 * np.arange(1, 13)
FROM_THE_RIGHT = (4.0, -6.0, np.pi / 2)


def box_at(x: float, y: float, yaw: float, sigma_m: float = 1e-3, times: int = 13) -> PeopleFuture:
    """A car of 4.4 x 1.8 m that stands for the whole horizon."""
    means = torch.tensor([x, y], dtype=torch.float32).expand(1, 1, times, 2)
    spread = torch.tensor([sigma_m**2, 0.0, sigma_m**2]).expand(1, 1, times, 3)
    return PeopleFuture(
        means,
        spread,
        torch.ones(1, 1),
        torch.zeros(1),
        0.4 * torch.arange(float(times)),
        torch.tensor([[2.2, 0.9]]),
        torch.full((1, 1, times), yaw),
        torch.ones(1, dtype=torch.bool),
    )


def test_the_distance_from_a_box_is_exact_beside_it_and_at_its_corners() -> None:
    half = torch.tensor([[2.2, 0.9]]).expand(5, 2)
    points = torch.tensor([[0.0, 0.0], [3.2, 0.0], [0.0, -1.4], [3.0, 1.5], [2.1, 0.85]])
    expected = torch.tensor([0.0, 1.0, 0.5, 1.0, 0.0])
    for yaw in (0.0, 0.7, -2.0):
        turn = torch.polar(torch.tensor(1.0), torch.tensor(yaw)).expand(5, 1)
        c, s = np.cos(yaw), np.sin(yaw)
        turned = points @ torch.tensor([[c, s], [-s, c]], dtype=torch.float32)
        along, across = outside_box(turned[:, :1], turned[:, 1:], turn, half)
        torch.testing.assert_close(torch.hypot(along, across)[:, 0], expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("yaw", [0.0, 0.5, np.pi / 2])
def test_a_path_touches_a_turned_car_where_it_reaches_and_not_beside_it(yaw: float) -> None:
    """A robot of 0.4 m drives past at 1.25 m from the middle of the car: it touches a flank only where there is one."""
    future = box_at(5.0, 0.0, yaw)
    normal = np.array([-np.sin(yaw), np.cos(yaw)])
    axis = np.array([np.cos(yaw), np.sin(yaw)])
    for beside_m, touches in ((1.25, True), (1.35, False)):
        path = np.array([5.0, 0.0]) + beside_m * normal + np.linspace(-4, 4, 13)[:, None] * axis
        probability = float(contact_probability(future, torch.tensor(path[None], dtype=torch.float32), 0.4))
        assert probability == pytest.approx(float(touches), abs=0.01)
    before = np.array([5.0, 0.0]) + 2.65 * axis + np.linspace(-4, 4, 13)[:, None] * normal  # 5 cm before the bumper
    assert float(contact_probability(future, torch.tensor(before[None], dtype=torch.float32), 0.4)) < 0.01


def test_a_disc_told_as_a_box_without_sides_touches_as_the_disc() -> None:
    generator = torch.Generator().manual_seed(0)
    paths = torch.rand(20, 13, 2, generator=generator) * 4 - 2
    means, spread = torch.zeros(1, 1, 13, 2), torch.tensor([0.2, 0.05, 0.1]).expand(1, 1, 13, 3)
    disc = PeopleFuture(means, spread, torch.ones(1, 1), torch.tensor([0.3]), torch.arange(13.0))
    same = replace(disc, halves_P2=torch.zeros(1, 2), yaws_PKT=torch.full((1, 1, 13), 0.9))
    torch.testing.assert_close(contact_probability(disc, paths, 0.4), contact_probability(same, paths, 0.4))


def test_expected_contacts_lie_under_the_grown_box() -> None:
    grid = GridSpec(60, 60, 0.2, (-1.0, -6.0))
    cost_TYX = expected_contacts(box_at(5.0, 0.0, 0.6, 0.02, times=2), grid, 0.4, 0.5, 0.0)
    x, y = -1.0 + 0.2 * (np.arange(60) + 0.5), -6.0 + 0.2 * (np.arange(60) + 0.5)
    dx, dy = x[None] - 5.0, y[:, None]
    along, across = np.cos(0.6) * dx + np.sin(0.6) * dy, np.cos(0.6) * dy - np.sin(0.6) * dx
    inside = (np.abs(along) < 2.5) & (np.abs(across) < 1.2)
    outside = (np.abs(along) > 2.7) | (np.abs(across) > 1.4)
    assert cost_TYX[0][torch.tensor(inside)].min() > 0.95
    assert cost_TYX[0][torch.tensor(outside)].max() < 0.05


def test_cells_near_boxes_of_any_size_are_found_in_the_layer_of_each() -> None:
    """Windows hold all that a look at the whole grid finds, whether a box is a point or its margin covers the grid, on it or beside it."""
    rng, grid = np.random.default_rng(2), GridSpec(30, 47, 0.4, (-3.1, -8.0))
    x, y = cell_centres(grid)
    count = 300
    poses = np.column_stack((rng.uniform(-15, 25, (count, 2)), rng.uniform(-4, 4, count)))
    halves = np.where(rng.random((count, 1)) < 0.5, 0.0, rng.uniform(0, 4, (count, 2)))
    margins, layers = rng.choice([0.0, 0.3, 2.0, 30.0], count, p=[0.3, 0.4, 0.29, 0.01]), rng.integers(0, 3, count)
    found = cells_near(x, y, poses, halves, margins, layers, 3)
    for layer in range(3):
        mine = layers == layer
        np.testing.assert_array_equal(found[layer], near_boxes(x[None], y[:, None], poses[mine], halves[mine], margins[mine]))
    assert not cells_near(x, y, poses[:0], halves[:0], margins[:0]).any()


def with_car(scene: SceneState, start: tuple[float, float, float], speed_mps: float) -> SceneState:
    """The scene with a car that drives straight on from x, y, yaw in the anchor frame, told in odom as the pipeline does."""
    now = np.array(start)
    way = speed_mps * TIMES_S
    ahead = now + np.column_stack((way * np.cos(now[2]), way * np.sin(now[2]), np.zeros(12)))
    turn = float(np.arctan2(scene.anchor_pose[1, 0], scene.anchor_pose[0, 0]))
    rotation, shift = scene.anchor_pose[:2, :2], scene.anchor_pose[:2, 3]

    def placed(poses: np.ndarray) -> np.ndarray:
        return np.column_stack((poses[:, :2] @ rotation.T + shift, poses[:, 2] + turn))

    box = np.array([*placed(now[None])[0], 4.4, 1.8])
    velocity = rotation @ (speed_mps * np.array([np.cos(now[2]), np.sin(now[2])]))
    vehicles = TrackedVehicles(np.array([1_000_001]), box[None], velocity[None], np.zeros(1), np.ones(1), np.full(1, 1.5))
    spread = np.tile(0.01 * np.eye(2), (1, 1, 12, 1, 1))
    return replace(scene, vehicles=vehicles, vehicle_forecast=BoxForecast(placed(ahead)[None, None], np.ones((1, 1)), spread, TIMES_S))


def test_a_vehicle_that_drives_is_in_the_scene_as_a_box_and_one_that_stands_is_left_to_the_occupancy() -> None:
    scene = with_car(make_scene(people=((3.0, 5.0, 0.0, 0.2),)), FROM_THE_RIGHT, 3.0)
    future = people_future(PlanningScene.of(scene), 0.4)
    assert future.boxed_P.tolist() == [False, True]
    assert future.halves_P2 is not None
    torch.testing.assert_close(future.halves_P2[1], torch.tensor([2.2, 0.9]))
    assert future.yaws_PKT is not None
    assert float(future.yaws_PKT[1, 0, 0]) == pytest.approx(np.pi / 2, abs=1e-5)
    np.testing.assert_allclose(future.means_PKT2[1, 0, -1].numpy(), [4.0, -6.0 + 3.0 * 4.8], atol=1e-4)
    stands = with_car(make_scene(), FROM_THE_RIGHT, 0.0)
    assert len(people_future(PlanningScene.of(stands), 0.4).radii_P) == 0
    doubtful = with_car(make_scene(), FROM_THE_RIGHT, 3.0)
    doubtful = replace(doubtful, vehicles=replace(doubtful.vehicles, existence=np.array([0.6])))
    assert len(people_future(PlanningScene.of(doubtful), 0.4).radii_P) == 0


def test_the_planner_lets_a_car_pass_that_its_middle_alone_would_not_have_touched() -> None:
    """At the time when the robot would cross, the middle of the car is past, and its rear is not."""
    scene = with_car(make_scene(speed_mps=1.0, anchor=pose(10.0, -5.0, 0.7)), FROM_THE_RIGHT, 1.7)
    plan = Planner(PlannerConfig()).plan(PlanningScene.of(scene), goal_at(scene, 9.0, 0.0), deadline_s=30.0)
    path = in_anchor(scene, plan.path)
    times = plan.dt_s * np.arange(len(path))
    cars = np.column_stack((np.full(len(times), 4.0), -6.0 + 1.7 * times))
    offset = path - cars
    gap = np.hypot(np.maximum(np.abs(offset[:, 1]) - 2.2, 0.0), np.maximum(np.abs(offset[:, 0]) - 0.9, 0.0))
    moved = np.linalg.norm(path - path[0], axis=1) > 0.3
    assert gap[moved].min() > 0.35
    assert plan.collision_probability < 0.25


@pytest.mark.parametrize(
    ("start", "follows"),
    [
        ((-8.0, 0.8, -0.2), True),
        ((-8.0, 3.0, 0.0), False),  # in the next lane
        ((-8.0, 0.0, np.pi / 2), False),  # crosses behind
        ((-8.0, 0.0, np.pi), False),  # drives away
        ((8.0, 0.0, 0.0), False),  # ahead
        ((-2.0, 0.0, 0.0), False),  # touches the robot already
    ],
)
def test_who_drives_behind_in_the_same_lane_and_direction_follows(start: tuple[float, float, float], follows: bool) -> None:
    scene = with_car(make_scene(speed_mps=1.0, anchor=pose(10.0, -5.0, 0.7)), start, 5.0)
    future = people_future(PlanningScene.of(scene), 0.4)
    assert future.follows_P is not None
    assert future.follows_P.tolist() == [follows]


def test_a_car_that_follows_does_not_stop_the_robot_but_nobody_drives_back_into_it() -> None:
    """Its forecast does not react: it goes on at 5 m/s through a robot of at most 1.5 m/s."""
    scene = with_car(make_scene(speed_mps=1.0, anchor=pose(10.0, -5.0, 0.7)), (-6.0, 0.3, 0.0), 5.0)
    plan = Planner(PlannerConfig()).plan(PlanningScene.of(scene), goal_at(scene, 9.0, 0.0), deadline_s=30.0)
    assert plan.status == PlanStatus.OK
    assert in_anchor(scene, plan.path)[-1, 0] > 4.0
    behind = with_car(make_scene(speed_mps=1.0), (-6.0, 0.3, 0.0), 1.0)
    future = people_future(PlanningScene.of(behind), 0.4)
    grid = GridSpec(60, 60, 0.2, (-6.0, -6.0))
    verifier = Verifier(np.zeros((1, 60, 60), np.float32), grid, np.zeros(1), future, 0.4, 0.0)
    times = torch.arange(13.0)[:, None]
    back, on = (torch.cat((speed * 0.2 * times, torch.zeros(13, 2)), dim=1)[None] for speed in (-1.0, 0.2))
    assert float(verifier.collision_probability(back, 0.2)[0]) > 0.9
    assert float(verifier.collision_probability(on, 0.2)[0]) < 0.01
