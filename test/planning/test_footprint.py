"""The robot's shape: what is no shape is refused with a reason, and contact is exact, judged here by points spread over the shapes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from planning_scenes import goal_at, make_scene

from jepa_ros.planning import Planner, PlannerConfig
from jepa_ros.planning.footprint import Footprint
from jepa_ros.planning.footprint.contact import highest_under, meets_box, meets_disc
from jepa_ros.types import GridSpec, PlanStatus

CAR = "[[3.6, 0.9], [3.6, -0.9], [-0.9, -0.9], [-0.9, 0.9]]"
FORK = (
    "[[-0.5, -0.6], [1.5, -0.6], [1.5, -0.3], [0.4, -0.3], [0.4, 0.3], [1.5, 0.3], [1.5, 0.6], [-0.5, 0.6]]"  # a pallet truck, not convex
)


def spread(footprint: Footprint, spacing_m: float = 0.02) -> np.ndarray:
    """(N, 2) points all over the shape, by winding numbers: another way than that of the code."""
    corners = footprint.outline_N2
    low, high = corners.min(axis=0), corners.max(axis=0)
    points = np.stack(np.meshgrid(*(np.arange(a, b, spacing_m) for a, b in zip(low, high, strict=True))), -1).reshape(-1, 2)
    edges = np.concatenate([a + np.linspace(0, 1, 60)[:, None] * (b - a) for a, b in zip(corners, np.roll(corners, -1, 0), strict=True)])
    angle = np.unwrap(np.arctan2(*(np.append(corners, corners[:1], 0)[:, None] - points).transpose(2, 0, 1)[::-1]), axis=0)
    return np.concatenate((points[np.abs(angle[-1] - angle[0]) > 3.0], edges))


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("[[1, 1], [1, -1]]", "2 corners"),
        ("[[1, 1], [-1, -1], [1, -1], [-1, 1]]", "cross"),
        ("[[1, 1], [2, 1], [2, -1], [1, -1]]", "outside"),
        ("[[1, 1], [1, -1], [-1, -1], [-1, 0], [1, 0], [-1, 1]]", "cross or touch"),
        ("[[1, 0], [-1, 0], [1, 0.0], [0, 1]]", "cross or touch"),
        ("[[1, 1], [1, 1], [-1, -1], [-1, 1]]", "twice in a row"),
        ("[[450, 90], [450, -90], [-90, -90], [-90, 90]]", "50 m"),
        ("[[NaN, 1], [1, -1], [-1, -1]]", "finite"),
        ("[[1, 0], [-1, 0], [0, 0.001]]", "thinner"),
        ("0.4", "corners as"),
        ("[[1, 1, 0], [1, -1, 0], [-1, 0, 0]]", "corners as"),
        ("car", "corners as"),
    ],
)
def test_what_is_no_footprint_is_refused_with_the_reason(text: str, why: str) -> None:
    with pytest.raises(ValueError, match=r"footprint = .*" + why):
        PlannerConfig(footprint=text)


def test_a_footprint_larger_than_the_forecast_is_said_and_nothing_planned() -> None:
    scene = make_scene()
    plan = Planner(PlannerConfig(footprint="[[20, 5], [20, -5], [-20, -5], [-20, 5]]")).plan(scene, goal_at(scene, 3.0, 0.0), 5.0)
    assert plan.status is PlanStatus.UNSUPPORTED
    assert "41.2 m across" in plan.message
    assert "25.6 m" in plan.message


def test_without_a_footprint_the_robot_is_its_disc() -> None:
    body = PlannerConfig(robot_radius_m=0.3).body
    assert body.is_round
    assert (body.disc_radius_m, body.reach_m, body.narrow_m, body.behind_m, body.beside_m) == (0.3,) * 5
    np.testing.assert_array_equal(body.discs_D2, [[0.0, 0.0]])


def test_corners_may_go_round_in_either_direction_and_be_closed_by_hand() -> None:
    one = Footprint.parse(CAR)
    assert one == Footprint.parse("[[-0.9, 0.9], [-0.9, -0.9], [3.6, -0.9], [3.6, 0.9], [-0.9, 0.9]]") or len(one.corners) == 4
    assert one.reach_m == pytest.approx(np.hypot(3.6, 0.9))
    assert (one.behind_m, one.beside_m, one.narrow_m) == (0.9, 0.9, 0.9)


@pytest.mark.parametrize("text", [CAR, FORK])
def test_distances_are_those_to_the_nearest_point(text: str) -> None:
    footprint = Footprint.parse(text)
    inside = spread(footprint)
    at = np.random.default_rng(0).uniform([-2.0, -2.0], [4.5, 2.0], (300, 2))
    truth = np.sqrt(((at[:, None] - inside) ** 2).sum(-1).min(1))
    found = footprint.gap_squared(*torch.as_tensor(at).unbind(-1)).sqrt().numpy()
    np.testing.assert_allclose(found, truth, atol=0.03)
    assert (found[truth > 0.05] > 0.0).all()


def test_discs_of_a_search_are_exact_at_the_sides_of_a_car_and_leave_little_of_its_corners_bare() -> None:
    car = Footprint.parse(CAR)
    around = np.stack(np.meshgrid(np.arange(-2.0, 5.0, 0.04), np.arange(-2.0, 2.0, 0.04)), -1).reshape(-1, 2)
    by_discs = np.linalg.norm(around[:, None] - car.discs_D2, axis=-1).min(1) - car.disc_radius_m
    by_shape = car.gap_squared(*torch.as_tensor(around).unbind(-1)).sqrt().numpy()
    assert (by_shape[by_discs < 0.0] == 0.0).all(), "nothing sticks out"
    assert by_discs[by_shape == 0.0].max() < 0.2
    beside = np.abs(by_shape - 0.3) < 1e-3  # more than a cell away it is the same shape
    assert np.abs(by_discs - by_shape)[beside].max() < 0.2
    assert np.median((by_discs - by_shape)[beside]) < 0.08


@pytest.mark.parametrize("text", [CAR, FORK])
def test_what_is_touched_of_a_grid_is_what_lies_under_the_shape(text: str) -> None:
    footprint, rng = Footprint.parse(text), np.random.default_rng(1)
    grid = GridSpec(60, 70, 0.2, (-7.0, -6.0))
    layers = np.where(rng.random((3, 60, 70)) < 0.01, rng.uniform(0.05, 1.0, (3, 60, 70)), 0.0).astype(np.float32)
    poses = rng.uniform([-5.0, -5.0, -9.0], [5.0, 5.0, 9.0], (40, 3, 3)).astype(np.float32)
    found = highest_under(footprint, torch.as_tensor(layers), grid, torch.as_tensor(poses)).T.numpy()
    rows, columns = np.meshgrid(np.arange(60), np.arange(70), indexing="ij")
    centres = np.stack((-7.0 + 0.2 * (columns + 0.5), -6.0 + 0.2 * (rows + 0.5)), -1).reshape(-1, 2)
    for s, f in np.ndindex(40, 3):
        x, y, yaw = poses[s, f].astype(float)
        turn = np.array([[np.cos(yaw), np.sin(yaw)], [-np.sin(yaw), np.cos(yaw)]])
        gap = footprint.gap_squared(*torch.as_tensor((centres - [x, y]) @ turn.T).unbind(-1)).sqrt().numpy()
        assert found[s, f] == pytest.approx(layers[f].reshape(-1)[gap <= 0.1].max(initial=0.0))


def test_beyond_the_grid_its_border_holds() -> None:
    grid = GridSpec(20, 20, 0.2, (-2.0, -2.0))
    walled = np.pad(np.zeros((1, 18, 18), np.float32), ((0, 0), (1, 1), (1, 1)), constant_values=1.0)
    car = Footprint.parse("[[0.4, 0.3], [0.4, -0.3], [-0.4, -0.3], [-0.4, 0.3]]")
    poses = torch.tensor([[[0.0, 0.0, 0.0]], [[1.6, 0.0, 0.0]], [[9.0, 0.0, 0.0]], [[1e6, -1e6, 0.0]]])
    assert highest_under(car, torch.as_tensor(walled), grid, poses)[0].tolist() == [0.0, 1.0, 1.0, 1.0]


@pytest.mark.parametrize("text", [CAR, FORK])
def test_contact_with_people_and_boxes_is_that_of_the_shapes(text: str) -> None:
    footprint, rng, count = Footprint.parse(text), np.random.default_rng(2), 150
    body = spread(footprint, 0.05)
    offset = torch.as_tensor(rng.uniform(-3.0, 3.0, (count, 1, 2)))
    yaws, box_yaws = (torch.as_tensor(rng.uniform(-7.0, 7.0, count)) for _ in range(2))
    half = np.array([2.1, 0.9])
    met_discs = meets_disc(footprint, *offset.unbind(-1), yaws, torch.full((count,), 0.3)).numpy()[:, 0]
    none = torch.zeros(count)
    met_boxes = meets_box(footprint, *offset.unbind(-1), yaws, box_yaws, torch.as_tensor(half).expand(count, 2), none).numpy()[:, 0]
    unsure = 0
    for i in range(count):
        c, s = np.cos(yaws[i].item()), np.sin(yaws[i].item())
        placed = body @ np.array([[c, s], [-s, c]]) + offset[i, 0].numpy()
        apart = np.linalg.norm(placed, axis=1).min() - 0.3
        c, s = np.cos(box_yaws[i].item()), np.sin(box_yaws[i].item())
        outside = np.maximum(np.abs(placed @ np.array([[c, -s], [s, c]])) - half, 0.0)
        gap = np.linalg.norm(outside, axis=1).min()
        assert apart > -0.05 if not met_discs[i] else apart < 0.05
        # Points 0.05 m apart miss the corner of a box that just reaches in.
        assert gap > 0.0 if not met_boxes[i] else gap < 0.05
        unsure += abs(apart) < 0.05
    assert 10 < met_discs.sum() < count - 10
    assert 10 < met_boxes.sum() < count - 10
    assert unsure < 30


def test_a_shape_that_is_not_convex_keeps_what_it_does_not_cover() -> None:
    fork = Footprint.parse(FORK)
    assert len(fork.convex_parts) == 6
    area = sum(0.5 * abs(np.linalg.det((part[1:] - part[0]).numpy())) for part in fork.convex_parts)
    assert area == pytest.approx(0.9 * 1.2 + 2 * 1.1 * 0.3, abs=1e-4)
    between = torch.tensor([[-1.0]]), torch.tensor([[0.0]])  # base_link one metre behind a small thing, which stands between the forks
    assert not meets_disc(fork, *between, torch.zeros(1), torch.full((1,), 0.25))
    assert meets_disc(fork, *between, torch.zeros(1), torch.full((1,), 0.35))
    small = torch.full((1, 2), 0.2)
    assert not meets_box(fork, *between, torch.zeros(1), torch.zeros(1), small, torch.zeros(1))
    assert meets_box(fork, *between, torch.zeros(1), torch.zeros(1), small, torch.full((1,), 0.15))
