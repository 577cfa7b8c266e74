"""Ids stay with people through crossings, gaps, noise and jumps in time."""

import time

import numpy as np
import pytest

from jepa_ros.objects.tracking import PeopleTracker, TrackingConfig
from jepa_ros.types import TrackedPeople

START_NS = 1_700_000_000_000_000_000  # wall-clock stamps: float32 or naive float seconds would lose the step


def follow(tracker: PeopleTracker, positions: np.ndarray, dt_s: float = 0.1, score: float = 0.9, start: int = 0) -> list[TrackedPeople]:
    """Feed (steps, M, 2) positions; NaN = not seen."""
    reports = []
    for k, row in enumerate(positions):
        seen = row[np.isfinite(row[:, 0])]
        ones = np.ones(len(seen))
        reports.append(tracker.update(START_NS + round((start + k) * dt_s * 1e9), seen, 0.3 * ones, score * ones))
    return reports


def lines(starts: list, velocities: list, steps: int, dt_s: float = 0.1, noise_m: float = 0.05, seed: int = 0) -> np.ndarray:
    time_s = dt_s * np.arange(steps)[:, None, None]
    exact = np.array(starts, float)[None] + time_s * np.array(velocities, float)[None]
    return exact + np.random.default_rng(seed).normal(0, noise_m, exact.shape)


def test_crossing_people_keep_their_ids() -> None:
    paths = lines([(0, -3), (0, 3), (6, 0)], [(1.0, 1.0), (1.0, -1.0), (-1.2, 0.2)], 60)
    reports = follow(PeopleTracker(), paths)
    truth = {}
    for k, people in enumerate(reports[10:], start=10):
        assert len(people.ids) == 3
        for person in range(3):
            apart = np.hypot(*(paths[k] - paths[k, person]).T)
            if np.sort(apart)[1] < 0.5:
                continue  # two in one place: either answer is right
            nearest = np.hypot(*(people.positions_m - paths[k, person]).T).argmin()
            assert truth.setdefault(person, people.ids[nearest]) == people.ids[nearest]
    order = np.argsort(reports[-1].ids)
    want = np.array([(1.0, 1.0), (1.0, -1.0), (-1.2, 0.2)])
    got = reports[-1].velocities_mps[order][np.argsort([truth[0], truth[1], truth[2]]).argsort()]
    np.testing.assert_allclose(got, want, atol=0.3)


def test_hidden_for_a_second_is_the_same_person_and_gone_for_long_is_not() -> None:
    path = lines([(0, 0)], [(1.4, 0)], 60)
    path[25:35] = np.nan
    reports = follow(PeopleTracker(), path)
    assert len(reports[34].ids) == 1  # still predicted
    assert abs(reports[34].positions_m[0, 0] - 1.4 * 3.4) < 0.5
    assert reports[34].existence[0] < reports[24].existence[0]
    assert reports[-1].ids[0] == reports[20].ids[0]
    path[25:45] = np.nan
    reports = follow(PeopleTracker(), path)
    assert len(reports[44].ids) == 0
    assert reports[-1].ids[0] != reports[20].ids[0]


def test_a_cyclist_is_followed_through_dropped_frames() -> None:
    path = lines([(-10, 0)], [(5.0, 0.5)], 45)
    drop = np.random.default_rng(3).random(45) < 0.4
    drop[:4] = False
    tracker, ids = PeopleTracker(), set()
    for k in np.flatnonzero(~drop):  # the worker skipped whole sweeps: irregular steps, not misses
        people = tracker.update(START_NS + round(k * 1e8), path[k], np.array([0.4]), np.array([0.9]))
        ids.update(people.ids.tolist())
    assert len(ids) == 1
    np.testing.assert_allclose(people.velocities_mps[0], (5.0, 0.5), atol=0.5)


def test_flickering_clutter_is_not_reported_and_what_stands_needs_a_good_shape() -> None:
    generator = np.random.default_rng(1)
    tracker = PeopleTracker()
    shown = 0
    for k in range(60):
        clutter = generator.uniform(-20, 20, (6, 2))
        seen = np.concatenate([clutter, [[4.0, 4.0]], [[8.0, 1.0]]])
        scores = np.array([0.9] * 6 + [0.6, 0.95])
        people = tracker.update(START_NS + k * 10**8, seen, np.full(8, 0.3), scores)
        distance = np.hypot(*(people.positions_m - (8.0, 1.0)).T)
        shown += int((distance > 0.5).sum()) if k > 20 else 0
    assert distance.min() < 0.3  # the standing person stays
    assert shown <= 4  # the post of middling shape does not, nor does the noise


def test_history_is_resampled_and_says_what_is_unknown() -> None:
    path = lines([(2, 1)], [(1.5, -0.5)], 18, noise_m=0.0)  # 1.7 s: steps at 0, 0.4, ... 1.6 s ago exist
    people = follow(PeopleTracker(), path)[-1]
    history = people.history
    assert history.positions_m.shape == (1, 8, 2)
    assert history.valid[0].tolist() == [False] * 3 + [True] * 5
    want = np.array([[2 + 1.5 * t, 1 - 0.5 * t] for t in (0.9, 1.3, 1.7)])
    np.testing.assert_allclose(history.positions_m[0, -3:], want, atol=0.12)
    np.testing.assert_allclose(history.positions_m[0, -1], people.positions_m[0], atol=1e-9)


def test_time_that_jumps_back_is_refused_until_reset_and_ids_are_never_reused() -> None:
    tracker = PeopleTracker()
    first = follow(tracker, lines([(0, 0)], [(1, 0)], 10))[-1]
    with pytest.raises(ValueError, match="call reset"):
        follow(tracker, lines([(0, 0)], [(1, 0)], 1))
    tracker.reset()
    second = follow(tracker, lines([(0, 0)], [(1, 0)], 10))[-1]
    assert second.ids[0] > first.ids[0]


def test_no_detections_at_all() -> None:
    people = follow(PeopleTracker(), np.full((3, 1, 2), np.nan))[-1]
    assert people.ids.shape == (0,)
    assert people.history.positions_m.shape == (0, 8, 2)


def test_one_length_for_all_inputs() -> None:
    with pytest.raises(ValueError, match="one length, got 2, 1, 2"):
        PeopleTracker().update(0, np.zeros((2, 2)), np.ones(1), np.ones(2))
    with pytest.raises(ValueError, match="coast_s = -1"):
        TrackingConfig(coast_s=-1.0)


def test_a_crowd_of_two_hundred_is_cheap() -> None:
    generator = np.random.default_rng(2)
    starts, velocities = generator.uniform(-25, 25, (200, 2)), generator.normal(0, 1, (200, 2))
    paths = lines(list(starts), list(velocities), 30)
    tracker = PeopleTracker()
    follow(tracker, paths[:29])
    start = time.process_time()
    people = follow(tracker, paths[29:], start=29)[-1]
    assert time.process_time() - start < 0.05  # some four milliseconds on an idle core
    assert len(people.ids) > 180
