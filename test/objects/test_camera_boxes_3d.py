"""Boxes of detectors in space beside what the lidar proposes: in time, late, and with low scores."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from camera_scenes import PERIOD_NS, columns, near, observation, run

from jepa_ros.movers import Kind, SeenObjects, VehicleDetections
from jepa_ros.objects.camera.vote import CameraVote


def test_three_dimensional_boxes_raise_add_and_never_lower() -> None:
    found = replace(
        columns((8.0, 0.0, 0.3), (9.0, 5.0, 0.8)),
        vehicles=VehicleDetections(np.array([[15.0, 0, 0, 4, 2]]), np.array([0.3]), np.array([1.5]), np.zeros(1)),
    )
    boxes = np.array([[8.1, 0.1, 0, 0.5, 0.5], [-6.0, 2.0, 0, 0.5, 0.5], [15.3, 0.2, 0, 4.2, 1.8], [20.0, 8.0, 0, 4.2, 1.8]])
    kinds = np.array([Kind.PERSON, Kind.RIDER, Kind.VEHICLE, Kind.VEHICLE])
    seen = SeenObjects(0, boxes, np.array([1.7, 1.7, 1.5, 1.5]), np.array([0.8, 0.8, 0.8, 0.8]), kinds)
    said = CameraVote(None).judge(observation(0, detected=(seen,)), found)
    assert len(said.scores) == 3  # the rider behind, whom no column proposed
    assert said.camera[0] > 2
    assert np.isnan(said.camera[1])
    assert said.riding[2] > 0.5
    np.testing.assert_allclose(said.positions_m[2], [-6.0, 2.0])
    assert said.vehicles.scores[0] > 0.8
    assert len(said.vehicles.scores) == 2
    people = run(CameraVote(None), columns(), detected=(seen,))[-1]
    assert near(people, -6, 2)


@pytest.mark.parametrize("score", [0.0, 0.1])
def test_a_low_score_of_a_three_dimensional_box_denies_nobody(score: float) -> None:
    found = replace(
        columns((8.0, 0.0, 0.8)),
        vehicles=VehicleDetections(np.array([[15.0, 0, 0, 4, 2]]), np.array([0.8]), np.array([1.5]), np.zeros(1)),
    )
    boxes = np.array([[8.1, 0.1, 0, 0.5, 0.5], [15.3, 0.2, 0, 4.2, 1.8], [-5.0, 0, 0, 0.5, 0.5]])
    kinds = np.array([Kind.PERSON, Kind.VEHICLE, Kind.PERSON])
    said = CameraVote(None).judge(observation(0, detected=(SeenObjects(0, boxes, np.full(3, 1.7), np.full(3, score), kinds),)), found)
    assert np.isnan(said.camera).tolist() == [True]
    assert said.vehicles.scores == pytest.approx([0.8])


@pytest.mark.parametrize(("kind", "mps"), [(Kind.RIDER, 6.0), (Kind.PERSON, 1.5)])
def test_late_boxes_in_space_add_nobody_twice(kind: Kind, mps: float) -> None:
    """0.2 s late, also while it is not known where somebody was then."""
    vote, late, raised = CameraVote(None), 2, 0
    for step in range(10):
        x_m = [4.0 + 0.1 * mps * at for at in (step, step - late)]
        box = np.array([[x_m[1], 1.0, 0.0, 0.5, 0.5]])
        seen = SeenObjects((step - late) * PERIOD_NS, box, np.array([1.7]), np.array([0.8]), np.array([kind]))
        said = vote.judge(observation(step * PERIOD_NS, detected=(seen,)), columns((x_m[0], 1.0, 0.5), (x_m[0] - 12.0, 1.0, 0.5)))
        assert len(said.scores) == 2, step
        raised += said.camera[0] > 2
        assert np.isnan(said.camera[1])
    assert raised >= 8


def test_a_late_box_in_space_raises_who_was_there_then() -> None:
    """Two who meet have changed places since."""
    vote = CameraVote(None)
    for step in range(7):
        seen = SeenObjects(0, np.array([[5.0, -1.0, 0.0, 0.5, 0.5]]), np.array([1.7]), np.array([0.8]), np.array([Kind.PERSON]))
        detected = (seen,) if step == 6 else ()
        y_m = -1.0 + 0.3 * step
        said = vote.judge(observation(step * PERIOD_NS, detected=detected), columns((5.0, y_m, 0.5), (6.5, -y_m, 0.5)))
    assert said.camera[0] > 2
    assert np.isnan(said.camera[1])
    assert len(said.scores) == 2
