"""The score of the people bench: what counts as found, missed, invented and swapped. Whom the speed bench forecasts."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from experiments.vehicles.speed import crowd, queue
from jepa_ros.movers import TrackedVehicles
from jepa_ros.training.detection_score import Score, Truth, returns_on, truth_from_table
from jepa_ros.types import TrackedPeople, Tracks

TRUTH = Truth(np.array([1, 2]), np.array([[5.0, 0.0], [10.0, 2.0]]), ("person", "cyclist"))
ALL = np.array([True, True])


def test_found_missed_invented_and_swapped() -> None:
    score = Score(detect_ms=[1.0], track_ms=[1.0])
    seen = np.array([[5.1, 0.0], [30.0, 0.0]])
    score.add(TRUTH, ALL, seen, np.array([[5.1, 0.0], [10.0, 2.1]]), np.array([7, 8]))
    score.add(TRUTH, ALL, seen, np.array([[5.0, 0.1], [10.0, 2.0], [20.0, 0.0]]), np.array([8, 7, 9]))
    result = score.result()
    assert result["detection_recall"] == 0.5
    assert result["tracking_recall"] == 1.0
    assert result["tracking_precision"] == 0.8
    assert result["id_switches"] == 2
    assert result["unmatched_ids"] == 1
    assert result["position_error_median_m"] == pytest.approx(0.1, abs=0.01)


def test_a_hidden_person_is_no_miss_but_may_be_found() -> None:
    score = Score(detect_ms=[1.0], track_ms=[1.0])
    score.add(TRUTH, np.array([True, False]), TRUTH.positions_m, TRUTH.positions_m, TRUTH.ids)
    assert (score.true, score.detected, score.tracked, score.unmatched_tracks) == (1, 1, 1, 0)


def test_returns_are_counted_in_the_anchor_frame() -> None:
    pose = np.eye(4)
    pose[:2, :2] = [[0, -1], [1, 0]]  # facing left
    pose[:2, 3] = (5.0, -4.0)
    points = np.array([[4.0, 0.0, 1.0], [4.1, 0.1, 0.1], [4.0, 1.0, 1.0]])
    assert returns_on(TRUTH.positions_m[:1], points, pose, ground_m=0.0).tolist() == [1]


def test_tables_hold_people_only_and_say_what_they_lack(tmp_path: Path) -> None:
    table = tmp_path / "labels.csv"
    table.write_text("stamp_ns,track_id,class,odom_x,odom_y\n10,1,Van,0,0\n10,2,Pedestrian,1,2\n20,1,Van,0,0\n")
    truths = truth_from_table(table)
    assert truths[10].ids.tolist() == [2]
    assert truths[20].positions_m.shape == (0, 2)
    table.write_text("stamp_ns,track_id\n10,1\n")
    with pytest.raises(ValueError, match="no column class, odom_x, odom_y"):
        truth_from_table(table)


def test_the_speed_bench_forecasts_twenty_objects_that_are_apart() -> None:
    """Copies of those who are tracked; nobody where nobody is."""
    places, past = np.array([[4.0, 1.0], [9.0, -2.0]]), np.arange(32.0).reshape(2, 8, 2)
    people = TrackedPeople(np.array([3, 5]), places, np.ones((2, 2)), np.ones(2), np.full(2, 0.3), Tracks(past, np.ones((2, 8), bool), 0.4))
    many = crowd(people)
    assert len(set(many.ids.tolist())) == 12
    assert len(np.unique(many.positions_m, axis=0)) == 12
    np.testing.assert_allclose(many.history.positions_m[3] - past[1], np.tile([3.0, 0.0], (8, 1)))
    assert len(crowd(replace(people, ids=people.ids[:0])).ids) == 0
    boxes = np.array([[8.0, 3.0, 0.1, 4.4, 1.8]])
    one = TrackedVehicles(
        np.array([7]),
        boxes,
        np.ones((1, 2)),
        np.zeros(1),
        np.ones(1),
        np.ones(1),
        np.zeros((1, 6)),
        np.zeros((1, 6, 6)),
        np.zeros((1, 8, 2)),
    )
    several = queue(one)
    assert len(several) == 8
    np.testing.assert_allclose(np.diff(several.boxes[:, 0]), 6.0)
    np.testing.assert_allclose(several.past_m[2, 0] - several.past_m[1, 0], [6.0, 0.0])
    assert len(queue(TrackedVehicles())) == 0
