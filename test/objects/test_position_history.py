"""Recent positions of tracked vehicles: every 0.4 s, interpolated, unknown where nothing was reported."""

import numpy as np

from jepa_ros.movers import VehicleDetections
from jepa_ros.objects.time_steps import HISTORY, STEP_S
from jepa_ros.objects.vehicles.position_history import PositionHistory
from jepa_ros.objects.vehicles.tracking import VehicleTracker
from jepa_ros.types import NANOSECONDS


def test_places_are_interpolated_between_reports_and_unknown_before_the_first() -> None:
    past = PositionHistory()
    for tick in range(20):  # every 0.25 s, 4 m/s along x; another comes later
        ids = np.array([5, 2]) if tick >= 18 else np.array([5])
        told = past.add(0.25 * tick, ids, np.array([[tick * 1.0, 0.0], [0.0, tick * 1.0]])[: len(ids)])
    assert told.shape == (2, HISTORY, 2)
    wanted_s = 4.75 - STEP_S * np.arange(HISTORY - 1, -1, -1)
    np.testing.assert_allclose(told[0, :, 0], 4.0 * wanted_s)
    assert np.isfinite(told[1, :, 0]).tolist() == [False] * (HISTORY - 1) + [True]


def test_what_was_not_reported_for_a_while_has_a_gap() -> None:
    past = PositionHistory()
    for tick in range(10):
        there = not 3 <= tick <= 5
        told = past.add(0.4 * tick, np.array([7] if there else [], np.int64), np.full((int(there), 2), float(tick)))
    assert np.isnan(told[0, :, 0]).sum() == 3
    assert told[0, -1, 0] == 9.0


def test_the_tracker_tells_the_way_of_its_vehicles_and_forgets_it_on_reset() -> None:
    tracker = VehicleTracker()
    for tick in range(40):
        box = np.array([[5.0 * 0.1 * tick, 0.0, 0.0, 4.3, 1.8]])
        seen = VehicleDetections(box, np.array([0.95]), np.array([1.5]), np.zeros(1), np.array([-10.0, 0.0]))
        told = tracker.update(NANOSECONDS + tick * NANOSECONDS // 10, seen)
    np.testing.assert_allclose(np.diff(told.past_m[0, :, 0]), 5.0 * STEP_S, atol=0.1)
    np.testing.assert_allclose(told.past_m[0, -1], told.boxes[0, :2])
    tracker.reset()
    for tick in range(6):
        told = tracker.update(NANOSECONDS + tick * NANOSECONDS // 10, seen)
    assert np.isnan(told.past_m[0, 0]).all()
