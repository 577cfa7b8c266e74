"""The pedestrian bench: baselines that are known, scores of forecasts whose errors are known."""

import numpy as np
import pytest

from experiments.pedestrians.baselines import GaussianBaseline, SampledAngles, constant_velocity, kalman_filter, ridge_regression
from experiments.pedestrians.metrics import COLUMNS, collides, confidence, score
from experiments.pedestrians.recordings import thinned, windows_of, with_period, with_steps
from jepa_ros.forecast import PedestrianForecast, Tracks
from jepa_ros.training.forecaster.data import Recording


def walkers(people: int = 6, instants: int = 40, bend: float = 0.0, seed: int = 0) -> Recording:
    rng = np.random.default_rng(seed)
    heading = rng.uniform(0, 2 * np.pi, people) + bend * np.arange(instants)[:, None]
    steps = 0.5 * np.stack((np.cos(heading), np.sin(heading)), axis=-1)
    return Recording(
        "made up", (rng.uniform(-9, 9, (people, 2)) + steps.cumsum(axis=0)).astype(np.float32), np.ones((instants, people), bool)
    )


class Fixed:
    """Says the same displacement for everybody: `ahead_m` (K, 12, 2) from where they are, with `sigma_m`."""

    def __init__(self, ahead_m: np.ndarray, probabilities: list[float], sigma_m: float) -> None:
        self.ahead_m, self.probabilities, self.sigma_m = ahead_m, probabilities, sigma_m

    def predict(self, tracks: Tracks, scene: object | None = None) -> PedestrianForecast:
        people, modes = len(tracks.valid), len(self.ahead_m)
        covariances = np.broadcast_to(self.sigma_m**2 * np.eye(2), (people, modes, 12, 2, 2))
        means = tracks.positions_m[:, -1, None, None] + self.ahead_m
        return PedestrianForecast(means, np.tile(self.probabilities, (people, 1)), covariances, 0.4 * np.arange(1, 13))


def test_scores_of_a_forecast_whose_errors_are_known():
    """Everybody stands still; one likely mode is 0.3 m off, an unlikely one is right."""
    recording = Recording("still", np.tile(np.array([[0.0, 0.0], [4.0, 0.0]], np.float32), (25, 1, 1)), np.ones((25, 2), bool))
    off = np.zeros((2, 12, 2))
    off[0, :, 1] = 0.3
    scores = score(Fixed(off, [0.75, 0.25], 0.1), windows_of([recording]))
    mean = scores.mean()
    assert len(scores.cluster) == 2 * 6  # 25 instants hold six windows of twenty
    assert mean["ade"] == pytest.approx(0.3, abs=1e-6) == mean["fde"]
    assert mean["mode_ade"] == mean["mode_fde"] == pytest.approx(0.0, abs=1e-6)
    assert 0.0 < mean["sample_ade"] < 0.15
    assert mean["miss"] == mean["collision"] == 0.0
    density = (0.25 + 0.75 * np.exp(-0.5 * 9)) / (2 * np.pi * 0.01)
    assert mean["nll"] == pytest.approx(-np.log(density), abs=1e-4)
    # The peak of the unlikely mode is lower than 2/3 of the likely mode's mass: just outside the 50 % region, well inside the 90 % one.
    assert mean["cover50"] < 0.35
    assert mean["cover90"] > 0.95


def test_baselines_are_right_about_straight_walks_and_ridge_learns_a_bend():
    straight, bent = windows_of([walkers()]), windows_of([walkers(bend=0.05)])
    for path in (constant_velocity, kalman_filter(straight), ridge_regression(straight)):
        assert score(GaussianBaseline(path, straight), straight, everybody=False).mean()["fde"] < 0.02
    ridge, line = (GaussianBaseline(path, bent) for path in (ridge_regression(bent, 1e-6), constant_velocity))
    assert score(ridge, bent, everybody=False).mean()["fde"] < 0.1 < score(line, bent, everybody=False).mean()["fde"]
    with pytest.raises(ValueError, match="8 seen steps"):
        line.predict(Tracks(np.zeros((1, 5, 2)), np.ones((1, 5), bool), 0.4))


def test_sampled_angles_spread_as_stated():
    table = windows_of([walkers()])
    tracks = Tracks(table.history_m[:6].astype(float), table.seen[:6], 0.4)
    forecast = SampledAngles(table).predict(tracks)
    end = forecast.modes_m[:, :, -1] - tracks.positions_m[:, -1, None]
    np.testing.assert_allclose(np.linalg.norm(end, axis=-1), 6.0, atol=1e-3)
    step = (tracks.positions_m[:, -1] - tracks.positions_m[:, -2])[:, None]
    angle = np.arctan2(step[..., 0] * end[..., 1] - step[..., 1] * end[..., 0], (step * end).sum(axis=-1))
    assert np.rad2deg(angle.std()) == pytest.approx(25.0, rel=0.15)


def test_collisions_are_between_two_at_the_same_step():
    ahead = np.arange(1, 13)[:, None] * np.array([0.5, 0.0])
    crossing = np.stack((ahead, np.array([6.5, 0.1]) - ahead, ahead + np.array([0.0, 1.0])))
    assert collides(crossing).tolist() == [0.0, 0.0, 0.0]  # they pass between two steps, 0.5 m apart at the nearest
    crossing[1, 5] = crossing[0, 5] + 0.1
    assert collides(crossing).tolist() == [1.0, 1.0, 0.0]


def test_tables_of_jitter_periods_and_short_histories():
    recording = walkers()
    clean, noisy = windows_of([recording]), windows_of([recording], 0.05)
    np.testing.assert_array_equal(clean.future_m, noisy.future_m)
    assert (noisy.history_m - clean.history_m).std() == pytest.approx(0.05, rel=0.1)
    for dt_s, count in ((0.1, 29), (0.2, 15), (0.5, 6)):
        table = with_period(clean, dt_s)
        assert table.history_m.shape[1] == count
        np.testing.assert_array_equal(table.history_m[:, -1], clean.history_m[:, -1])
        speed = np.linalg.norm(np.diff(table.history_m, axis=1), axis=-1) / dt_s
        np.testing.assert_allclose(speed, 0.5 / 0.4, rtol=1e-3)
    assert with_steps(clean, 3).seen.sum(axis=1).max() == 3
    assert 0 < thinned(clean, 5).sum() < clean.complete.sum()


def test_the_interval_holds_the_mean():
    table = windows_of([walkers(bend=0.02)], 0.05)
    scores = score(GaussianBaseline(constant_velocity, table), table, everybody=False)
    intervals = confidence([scores])
    assert intervals.keys() == COLUMNS.keys()
    for name, mean in scores.mean().items():
        assert intervals[name][0] <= mean <= intervals[name][1]
    assert intervals["fde"][0] < intervals["fde"][1]
