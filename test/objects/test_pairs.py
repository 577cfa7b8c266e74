"""Two people who touch are one column: no person as a whole, but two."""

import numpy as np
import test_detection
from test_detection import ground, person

from jepa_ros.objects import detection
from jepa_ros.objects.columns import Labelled
from jepa_ros.objects.detection import PersonDetector
from jepa_ros.objects.pairs import halved


def test_a_column_is_halved_across_its_longer_side() -> None:
    generator = np.random.default_rng(0)
    bodies = generator.normal(0.0, 0.08, (4, 40, 2)) + np.array([[5.0, 5.0], [5.5, 5.4], [-3.0, 2.0], [-3.0, 2.7]])[:, None]
    points = np.concatenate((bodies.reshape(-1, 2), np.zeros((10, 2))))
    labels = np.repeat([2, 2, 3, 3, 0], [40, 40, 40, 40, 10])
    height = np.linspace(0.2, 1.7, len(points))
    looked = [
        Labelled(np.zeros((5, 3)), np.zeros(5), np.zeros(5), np.array([0, 1, 1, 2, 2]), np.zeros((3, 2))),  # numbers 0 to 2
        Labelled(np.column_stack((points, height)), height, 0.0 * height, labels, np.array([[0, 0], [1, 1], [2, 1], [3, 1]])),  # from 3
    ]
    halves = halved(looked, np.array([5, 6]))
    assert len(halves.points) == 160
    for pair in (0, 1):
        first, second = (halves.points[halves.labels == 2 * pair + side, :2].mean(axis=0) for side in (1, 2))
        expected = bodies[2 * pair : 2 * pair + 2].mean(axis=1)
        assert min(np.abs(np.stack((first, second)) - expected[order]).max() for order in ([0, 1], [1, 0])) < 1e-9
    np.testing.assert_array_equal(halves.blobs_m, [[0, 0], [2, 1], [2, 1], [3, 1], [3, 1]])


def test_two_people_shoulder_to_shoulder_are_two(monkeypatch) -> None:
    found, as_one = [], []
    for trial in range(6):
        monkeypatch.setattr(test_detection, "GENERATOR", np.random.default_rng(trial))
        cloud = np.concatenate((ground(), person(14.0, 1.0), person(14.0, 1.6))).astype(np.float32)
        found.append(PersonDetector().detect(cloud))
        with monkeypatch.context() as whole:
            whole.setattr(detection, "may_be_two", lambda columns, scores: np.zeros(0, np.intp))
            as_one.append(PersonDetector().detect(cloud))
    two = sum((seen.scores > 0.5).sum() == 2 for seen in found)
    assert two >= 5
    assert two > sum((seen.scores > 0.5).sum() == 2 for seen in as_one)
    for seen in found:
        sure = seen.positions_m[seen.scores > 0.5]
        assert (np.abs(sure[:, None] - np.array([[14.0, 1.0], [14.0, 1.6]])).max(axis=2).min(axis=1) < 0.25).all()


def test_somebody_alone_stays_one() -> None:
    for place in (person(9.0, 2.0), person(20.0, -3.0)):
        seen = PersonDetector().detect(np.concatenate((ground(), place)).astype(np.float32))
        assert (seen.scores > 0.5).sum() == 1
