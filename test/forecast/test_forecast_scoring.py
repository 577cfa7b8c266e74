"""Online scoring against tracks whose future is known."""

import numpy as np
import pytest

from jepa_ros.forecast.scoring import OnlineScore
from jepa_ros.types import PedestrianForecast, TrackedPeople, Tracks

SECOND = 1_000_000_000
TIMES_S = 0.4 * np.arange(1, 13)


def people_at(positions: dict[int, tuple[float, float]], velocity: tuple[float, float], seen: bool = True) -> TrackedPeople:
    ids, places = np.array(list(positions), np.int64), np.array(list(positions.values()), float).reshape(-1, 2)
    count = len(ids)
    history = Tracks(places[:, None], np.full((count, 1), seen), 0.1)
    return TrackedPeople(ids, places, np.tile(velocity, (count, 1)), np.ones(count), np.full(count, 0.3), history)


def straight(people: TrackedPeople, offset_m: float, sigma_m: float) -> PedestrianForecast:
    """Two modes: the truth moved sideways by `offset_m` (likely), and by twice that the other way."""
    truth = people.positions_m[:, None] + people.velocities_mps[:, None] * TIMES_S[:, None]
    sideways = np.array([0.0, offset_m])
    modes = np.stack((truth + sideways, truth - 2 * sideways), axis=1)
    count = len(people.ids)
    covariance = np.broadcast_to(sigma_m**2 * np.eye(2), (count, 2, 12, 2, 2)).copy()
    return PedestrianForecast(modes, np.tile([0.9, 0.1], (count, 1)), covariance, TIMES_S)


def walk(
    score: OnlineScore, seconds: float, offset_m: float, sigma_m: float, start_ns: int = 0, drop: tuple[float, float] = (0, 0)
) -> None:
    for step in range(int(seconds * 10) + 1):
        time_s = 0.1 * step
        people = people_at({7: (1.2 * time_s, 0.0)}, (1.2, 0.0), seen=not drop[0] <= time_s < drop[1])
        score.update(start_ns + step * SECOND // 10, people, straight(people, offset_m, sigma_m))


def test_errors_of_a_known_walk():
    score = OnlineScore()
    walk(score, 8.0, offset_m=0.3, sigma_m=0.3)
    summary = score.summary()
    # Due after 4.8 s, plus the 0.6 s within which a later sighting may still fill a gap.
    assert score.scored == summary["scored"] == 27
    for name in ("minADE_m", "minFDE_m", "ADE_m", "FDE_m"):
        assert summary[name] == pytest.approx(0.3, abs=1e-6)
    assert summary["constant_velocity_FDE_m"] == pytest.approx(0.0, abs=1e-6)
    # One sigma off in one of two dimensions: outside the 30 %, inside the 50 % region of a Gaussian (39 % + the far mode's share).
    assert summary["coverage_50"] > 0.95  # estimated from draws
    assert summary["coverage_90"] == 1.0


def test_a_forecast_that_is_too_sure_is_found_out():
    score = OnlineScore()
    walk(score, 8.0, offset_m=0.3, sigma_m=0.05)
    assert score.summary()["coverage_90"] == 0.0


def test_what_was_not_seen_is_not_scored():
    score = OnlineScore()
    walk(score, 8.0, 0.3, 0.3, drop=(5.0, 6.5))
    # Of the 27 that have come due, those whose last step falls in the gap of 1.5 s (made from 0.2 to 1.6 s) do not count.
    assert score.scored == 27 - 15
    assert score.summary()["ADE_m"] == pytest.approx(0.3, abs=1e-6)


def test_memory_is_bounded_and_time_may_jump_back():
    score = OnlineScore()
    walk(score, 30.0, 0.3, 0.3)
    assert score.summary()["waiting"] <= 55
    assert len(score._sightings[7]) <= 56
    before = score.scored
    walk(score, 2.0, 0.3, 0.3, start_ns=0)
    assert score.scored == before
    assert score.summary()["waiting"] == 21


def test_nobody_and_rows_that_do_not_match():
    score = OnlineScore()
    nobody = people_at({}, (0.0, 0.0))
    score.update(0, nobody, straight(nobody, 0.1, 0.1))
    assert score.summary() == {"scored": 0.0, "waiting": 0.0}
    with pytest.raises(ValueError, match="1 forecasts for 0 people"):
        score.update(1, nobody, straight(people_at({1: (0.0, 0.0)}, (0.0, 0.0)), 0.1, 0.1))
