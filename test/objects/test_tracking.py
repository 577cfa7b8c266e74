"""Ids stay with people through crossings, gaps, noise and jumps in time."""

import time

import numpy as np
import pytest

from jepa_ros.objects.sightlines import BEARINGS, SightLines
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


def sight(*, wall_x_m: float | None = None, body_m: np.ndarray | None = None) -> SightLines:
    """What a lidar at the origin sees of a wall across x, open ground behind it, and somebody 0.5 m wide before it."""
    angle = (np.arange(BEARINGS) + 0.5) / BEARINGS * 2 * np.pi - np.pi
    nearest = np.full(BEARINGS, np.inf)
    if wall_x_m is not None:
        ahead = np.abs(angle) < 1.2
        nearest[ahead] = wall_x_m / np.cos(angle[ahead])
    if body_m is not None:
        range_m, middle = np.hypot(*body_m), np.arctan2(body_m[1], body_m[0])
        nearest[np.abs(angle - middle) < 0.25 / range_m] = range_m - 0.1
    return SightLines(np.zeros(2), 0.0, nearest, np.ones(BEARINGS, bool))


def test_a_place_is_free_taken_or_hidden() -> None:
    seen = sight(wall_x_m=8.0)
    places = np.array([(5.0, 1.0), (8.1, 1.0), (12.0, 1.0), (-5.0, 0.0)])
    np.testing.assert_array_equal(seen.free(places), [1.0, -1.0, 0.0, 1.0])
    turn = np.array([[0.0, -1, 0, 3], [1, 0, 0, 4], [0, 0, 1, 0], [0, 0, 0, 1]])
    np.testing.assert_array_equal(seen.placed(turn).free(places @ turn[:2, :2].T + turn[:2, 3]), [1.0, -1.0, 0.0, 1.0])


def test_pieces_of_a_hedge_do_not_walk_and_a_person_before_it_does() -> None:
    """The hedge is cut elsewhere in each sweep as the car drives by: a steady course at 2 m/s along what was there all the time."""
    speeds = {}
    for name, path in (("hedge", lines([(8.0, -3.0)], [(0.0, 2.0)], 30)), ("person", lines([(6.0, -3.0)], [(0.0, 1.4)], 30))):
        tracker = PeopleTracker()
        for k, row in enumerate(path):
            seen = sight(wall_x_m=8.0, body_m=row[0] if name == "person" else None)
            people = tracker.update(START_NS + k * 10**8, row, np.array([0.3]), np.array([0.95]), np.zeros(1), seen)
            if k > 15:
                speeds.setdefault(name, []).extend(np.hypot(*people.velocities_mps.T).tolist())
    assert np.mean(np.array(speeds.get("hedge", [0.0])) > 0.5) < 0.15
    np.testing.assert_allclose(speeds["person"], 1.4, atol=0.4)
    assert len(speeds["person"]) == 14


def test_nobody_on_foot_is_faster_than_four_metres_a_second() -> None:
    path = lines([(-10, 5)], [(6.0, 0.0)], 20)
    for riding, shown in ((0.0, 0), (0.9, 1)):
        tracker = PeopleTracker()
        for k, row in enumerate(path):
            people = tracker.update(START_NS + k * 10**8, row, np.array([0.4]), np.array([0.95]), np.array([riding]))
        assert len(people.ids) == shown


@pytest.mark.parametrize("rate_hz", [5, 10, 20])
def test_whoever_is_in_full_view_is_reported_within_three_tenths_of_a_second(rate_hz: int) -> None:
    tracker = PeopleTracker()
    for k in range(int(0.3 * rate_hz) + 1):
        people = tracker.update(START_NS + k * 10**9 // rate_hz, np.array([[9.0, 1.0]]), np.array([0.3]), np.array([0.97]))
    assert len(people.ids) == 1
