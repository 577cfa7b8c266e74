"""Oriented boxes: corners, overlap, what lies within, and the box that fits what was seen of a car."""

import numpy as np
import pytest

from jepa_ros.objects.vehicles.box_measurement import measured
from jepa_ros.objects.vehicles.boxes import corners, moved, overlaps, within
from jepa_ros.objects.vehicles.laying import laid
from jepa_ros.objects.vehicles.proposals import fit, grown, propose


def car_points(box: np.ndarray, from_m: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """(N, 2) returns from the two sides of a box that are seen from a place."""
    x, y, yaw, length, width = box
    side, end = generator.uniform(-0.5, 0.5, (2, 120))
    turn = np.array([[np.cos(yaw), -np.sin(yaw)], [np.sin(yaw), np.cos(yaw)]])
    towards = turn.T @ (from_m - box[:2])
    face = np.column_stack((np.full(120, np.sign(towards[0]) * length / 2), end * width))
    flank = np.column_stack((side * length, np.full(120, np.sign(towards[1]) * width / 2)))
    return np.concatenate((face, flank)) @ turn.T + [x, y] + generator.normal(0, 0.02, (240, 2))


def test_the_overlap_of_turned_boxes_is_exact() -> None:
    unit = np.array([[0.0, 0.0, 0.0, 2.0, 2.0]])
    others = np.array(
        [
            [0.0, 0.0, 0.0, 2.0, 2.0],  # itself
            [1.0, 0.0, 0.0, 2.0, 2.0],  # half of it
            [0.0, 0.0, np.pi / 4, 2.0, 2.0],  # a regular octagon in common
            [0.0, 0.0, 0.3, 0.5, 0.5],  # within
            [5.0, 0.0, 0.2, 2.0, 2.0],  # apart
            [2.0, 0.0, 0.0, 2.0, 2.0],  # side by side
            [0.5, 0.0, 0.0, 1.0, 2.0],  # within, along three of its sides
        ]
    )
    octagon = 8 * (np.sqrt(2) - 1)
    np.testing.assert_allclose(overlaps(unit, others)[0], [1.0, 1 / 3, octagon / (8 - octagon), 1 / 16, 0.0, 0.0, 0.5], atol=1e-9)
    turned = np.column_stack((others[:, :2] + 5.2e6, others[:, 2] + 0.7, others[:, 3:]))  # itself, in UTM and at an angle
    np.testing.assert_allclose(overlaps(turned, turned).diagonal(), 1.0, atol=1e-9)
    generator = np.random.default_rng(0)
    some = np.column_stack((generator.uniform(-2, 2, (2, 20)).T, generator.uniform(-3, 3, 20), generator.uniform(1, 5, (20, 2))))
    points = generator.uniform(-6, 6, (60_000, 2))
    inside = within(some, points)
    drawn = (inside[:, None] & inside[None]).sum(axis=2) / (inside[:, None] | inside[None]).sum(axis=2)
    np.testing.assert_allclose(overlaps(some, some), drawn, atol=0.05)


def test_boxes_move_with_their_frame() -> None:
    pose = np.eye(4)
    pose[:2, :2], pose[:2, 3] = [[0.0, -1.0], [1.0, 0.0]], [3.0, -1.0]
    box = np.array([[2.0, 1.0, 0.4, 4.0, 2.0]])
    np.testing.assert_allclose(corners(moved(box, pose))[0], corners(box)[0] @ pose[:2, :2].T + pose[:2, 3], atol=1e-9)


@pytest.mark.parametrize("yaw", [0.0, 0.5, 1.2, 2.2])
def test_the_box_of_two_visible_sides_is_that_of_the_car(yaw: float) -> None:
    generator = np.random.default_rng(1)
    box = np.array([9.0, 4.0, yaw, 4.4, 1.8])
    points = car_points(box, np.zeros(2), generator)
    found, _ = fit(points, [np.arange(len(points))])
    assert overlaps(found, box[None])[0, 0] > 0.85
    assert abs(np.sin(found[0, 2] - yaw)) < np.sin(np.radians(3.5))


def test_a_car_of_which_only_the_rear_is_seen_goes_on_behind_it() -> None:
    rear = np.array([[10.0, 0.0, np.pi / 2, 1.8, 0.2]])  # 1.8 m across the view
    whole = grown(laid(rear, np.zeros(1), np.zeros(2), ()), np.zeros(2))
    np.testing.assert_allclose(whole[0], [9.9 + 4.3 / 2, 0.0, np.pi, 4.3, 1.8], atol=1e-6)


def test_a_part_of_a_tracked_car_says_where_the_whole_is() -> None:
    track = np.array([[10.0, 3.0, 0.1, 4.4, 1.8]])
    generator = np.random.default_rng(2)
    points = car_points(track[0], np.zeros(2), generator)
    near = points[((points - track[0, :2]) @ [np.cos(0.1), np.sin(0.1)]) < 0.0]  # its front half is hidden
    seen, _ = fit(near, [np.arange(len(near))])
    pose = measured(track, seen, np.zeros(2)).poses[0, 0]
    assert np.hypot(*(pose[:2] - track[0, :2])) < 0.2
    assert abs(pose[2] - 0.1) < 0.06


def test_what_is_no_bigger_than_a_post_or_longer_than_a_lorry_is_not_proposed() -> None:
    generator = np.random.default_rng(3)
    wall = np.column_stack((np.linspace(-12, 12, 900), np.full(900, 8.0)))
    post = generator.normal([5.0, -5.0], 0.05, (60, 2))
    car = car_points(np.array([8.0, 1.0, 0.3, 4.3, 1.8]), np.zeros(2), generator)
    flat = np.concatenate((wall, post, car))
    height = generator.uniform(0.3, 1.4, len(flat))
    found = propose(np.column_stack((flat, height)), height, 30.0)
    assert len(found.boxes) == 1
    assert overlaps(grown(found.boxes, np.zeros(2)), np.array([[8.0, 1.0, 0.3, 4.3, 1.8]]))[0, 0] > 0.8
    assert (found.owner[: len(wall) + len(post)] == -1).all()


@pytest.mark.parametrize("hangs_m", [(2.6,), (2.3, 2.8)])
def test_what_hangs_above_a_car_is_none_of_it(hangs_m: tuple[float, ...]) -> None:
    generator = np.random.default_rng(4)
    car = np.array([8.0, 1.0, 0.3, 4.3, 1.8])
    flat = car_points(car, np.zeros(2), generator)
    height = generator.uniform(0.3, 1.6, len(flat))
    wire = np.repeat(flat[:1], len(hangs_m), axis=0)  # a return of a wire, or of a leaf, above its corner
    mast = np.arange(1.7, 2.9, 0.2)  # what stands on it is of it
    stand, hang = (
        propose(np.column_stack((places, tall)), tall, 30.0).owner
        for places, tall in (
            (np.concatenate((flat, np.repeat(flat[:1], len(mast), axis=0))), np.concatenate((height, mast))),
            (np.concatenate((flat, wire)), np.concatenate((height, hangs_m))),
        )
    )
    assert (stand[: len(flat)] == 0).mean() > 0.9
    np.testing.assert_array_equal(hang[: len(flat)], stand[: len(flat)])
    assert (stand[len(flat) :] == 0).all()
    assert (hang[len(flat) :] == -1).all()


def test_two_cars_side_by_side_are_two() -> None:
    generator = np.random.default_rng(5)
    cars = np.array([[8.125, 1.0, 0.0, 4.3, 1.9], [8.125, 3.4, 0.0, 4.3, 1.9]])  # half a metre apart: one empty cell between them
    flat = np.concatenate([car_points(car, np.array([0.0, 2.1]), generator) for car in cars])
    height = generator.uniform(0.3, 1.5, len(flat))
    found = propose(np.column_stack((flat, height)), height, 30.0)
    assert len(found.boxes) == 2
    assert overlaps(grown(found.boxes, np.array([0.0, 2.1])), cars).max(axis=0).min() > 0.7
    own, other = (set(part.tolist()) - {-1} for part in found.owner.reshape(2, -1))
    assert {len(own), len(other)} == {1}
    assert own != other
