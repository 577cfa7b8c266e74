"""Vehicles over time: what drives is followed with speed and heading, what stands stands however it is seen."""

import numpy as np
import pytest

from jepa_ros.movers import TrackedVehicles, VehicleDetections
from jepa_ros.objects.vehicles.boxes import overlaps
from jepa_ros.objects.vehicles.laying import laid
from jepa_ros.objects.vehicles.people_filter import outside
from jepa_ros.objects.vehicles.tracking import FIRST_ID, VehicleTracker
from jepa_ros.types import Detections

DT_S = 0.1


def seen(*boxes: list[float], score: float = 0.95, lidar_m: tuple[float, float] = (0.0, 0.0)) -> VehicleDetections:
    count = len(boxes)
    placed = np.array(boxes, float).reshape(-1, 5)
    return VehicleDetections(placed, np.full(count, score), np.full(count, 1.5), np.zeros(count), np.array(lidar_m))


def test_a_car_that_turns_is_followed_with_its_speed_and_turn_rate() -> None:
    tracker, generator = VehicleTracker(), np.random.default_rng(0)
    x, y, yaw, told = 12.0, -4.0, 0.3, TrackedVehicles()
    for step in range(30):
        yaw += 0.3 * DT_S
        x, y = x + 6.0 * DT_S * np.cos(yaw), y + 6.0 * DT_S * np.sin(yaw)
        noisy = generator.normal([x, y, yaw % np.pi, 4.3, 1.8], [0.05, 0.05, 0.02, 0.05, 0.05])
        told = tracker.update(int(step * DT_S * 1e9), seen(noisy.tolist()))
    assert told.ids.tolist() == [FIRST_ID]
    assert overlaps(told.boxes, np.array([[x, y, yaw, 4.3, 1.8]]))[0, 0] > 0.8
    np.testing.assert_allclose(told.velocities_mps[0], 6.0 * np.array([np.cos(yaw), np.sin(yaw)]), atol=0.5)
    assert told.yaw_rates_radps[0] == pytest.approx(0.3, abs=0.12)
    assert abs(told.boxes[0, 2] - yaw) < 0.1  # and its front is where it drives to, though boxes have none


def test_a_parked_car_of_which_more_is_seen_from_sweep_to_sweep_stands() -> None:
    """The ego drives by at 12 m/s: at first only the rear is seen, then more and more of the side."""
    tracker, fastest = VehicleTracker(), 0.0
    for step in range(25):
        ego_m = -20.0 + 12.0 * DT_S * step
        visible = float(np.clip(0.4 + 0.25 * step, 0.4, 4.4))
        box = [-2.2 + visible / 2, 4.0, 0.0, visible, 1.8] if visible > 1.8 else [-2.2 + visible / 2, 4.0, np.pi / 2, 1.8, visible]
        found = laid(np.array([box]), np.zeros(1), np.array([ego_m, 0.0]), [])[0]  # as the detector does
        told = tracker.update(int(step * DT_S * 1e9), seen(found.tolist(), lidar_m=(ego_m, 0.0)))
        if step > 8:
            assert len(told) == 1
            fastest = max(fastest, float(np.hypot(*told.velocities_mps[0])))
    assert fastest < 0.5
    assert overlaps(told.boxes, np.array([[0.0, 4.0, 0.0, 4.4, 1.8]]))[0, 0] > 0.85


def test_a_car_is_reported_after_a_third_of_a_second_and_kept_for_a_while_when_hidden() -> None:
    tracker, box = VehicleTracker(), [10.0, 2.0, 0.0, 4.3, 1.8]
    counts = [len(tracker.update(int(step * DT_S * 1e9), seen(box))) for step in range(4)]
    assert counts[0] == 0
    assert counts[3] == 1
    hidden = [len(tracker.update(int((4 + step) * DT_S * 1e9), seen())) for step in range(16)]
    assert hidden[2] == 1
    assert hidden[-1] == 0


def test_two_cars_side_by_side_stay_two_and_what_looks_like_none_is_none() -> None:
    tracker = VehicleTracker()
    for step in range(6):
        told = tracker.update(int(step * DT_S * 1e9), seen([10.0, 2.0, 0.0, 4.3, 1.8], [10.0, 4.3, 0.0, 4.3, 1.8]))
    assert len(told) == 2
    tracker.reset()
    for step in range(6):
        told = tracker.update(int(step * DT_S * 1e9), seen([10.0, 2.0, 0.0, 4.3, 1.8], score=0.2))
    assert len(told) == 0


def test_time_that_runs_back_is_refused() -> None:
    tracker = VehicleTracker()
    tracker.update(1_000_000_000, seen())
    with pytest.raises(ValueError, match="reset"):
        tracker.update(0, seen())


def test_a_head_behind_the_glass_is_nobody_and_who_stands_beside_the_door_is() -> None:
    vehicles = TrackedVehicles(
        np.array([FIRST_ID]), np.array([[10.0, 0.0, 0.0, 4.3, 1.8]]), np.zeros((1, 2)), np.zeros(1), np.array([0.95]), np.ones(1)
    )
    people = Detections(
        np.array([[10.5, 0.3], [10.0, 1.2]]), np.full(2, 0.25), np.array([0.9, 0.9]), np.full(2, 1.5), np.zeros(2), np.zeros(2)
    )
    np.testing.assert_allclose(outside(people, vehicles, np.eye(4)).scores, [0.9 * 0.05, 0.9])
