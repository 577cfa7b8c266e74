"""The baseline goes straight on, says how sure it is, and holds that promise on walks whose law is known."""

import numpy as np
import pytest

from jepa_ros.forecast.constant_velocity import ConstantVelocity, ConstantVelocityConfig
from jepa_ros.types import Tracks

HERE = np.array([3.0, 4.0])


def walk(velocity: tuple[float, float], steps: int = 8, people: int = 1, dt_s: float = 0.4) -> Tracks:
    time_s = dt_s * np.arange(1 - steps, 1)
    positions = np.tile(np.outer(time_s, velocity) + HERE, (people, 1, 1))
    return Tracks(positions, np.ones(positions.shape[:2], bool), dt_s)


def test_most_likely_goes_straight_on() -> None:
    forecast = ConstantVelocity().predict(walk((1.2, -0.4)))
    assert forecast.modes_m.shape == (1, 20, 12, 2)
    assert forecast.covariances_m2.shape == (1, 20, 12, 2, 2)
    np.testing.assert_allclose(forecast.probabilities.sum(axis=1), 1.0)
    np.testing.assert_allclose(forecast.times_s, 0.4 * np.arange(1, 13))
    np.testing.assert_allclose(forecast.most_likely()[0], np.outer(forecast.times_s, (1.2, -0.4)) + HERE, atol=1e-6)


@pytest.mark.parametrize("steps", range(1, 9))
def test_every_length_of_history_and_growing_doubt(steps: int) -> None:
    tracks = walk((1.0, 0.0))
    valid = tracks.valid.copy()
    valid[:, : 8 - steps] = False
    spoiled = np.where(valid[..., None], tracks.positions_m, 1e6)  # invalid rows may hold anything
    forecast = ConstantVelocity().predict(Tracks(spoiled, valid, 0.4))
    variance = forecast.covariances_m2[0, 0, :, 0, 0]
    assert (np.diff(variance) > 0).all()
    expected = 3.0 + (4.8 if steps > 1 else 0.0)
    np.testing.assert_allclose(forecast.most_likely()[0, -1], (expected, 4.0), atol=1e-6)
    full = ConstantVelocity().predict(tracks).covariances_m2[0, 0, -1, 0, 0]
    assert variance[-1] > full or steps == 8


def test_a_person_unseen_for_two_steps_has_walked_on() -> None:
    tracks = walk((1.0, 0.0))
    valid = tracks.valid.copy()
    valid[:, -2:] = False
    forecast = ConstantVelocity().predict(Tracks(tracks.positions_m, valid, 0.4))
    np.testing.assert_allclose(forecast.most_likely()[0, 0], (3.4, 4.0), atol=1e-6)


def test_one_jumping_detection_does_not_turn_the_person_around() -> None:
    tracks = walk((1.0, 0.0))
    jumped = tracks.positions_m.copy()
    jumped[0, 5] += (0.0, 1.5)
    end = ConstantVelocity().predict(Tracks(jumped, tracks.valid, 0.4)).most_likely()[0, -1]
    assert np.hypot(*(end - (7.8, 4.0))) < 1.0


def test_coverage_on_walkers_who_turn_by_the_stated_spread() -> None:
    generator = np.random.default_rng(0)
    people = 400
    heading = generator.normal(0.0, np.radians(25), people)
    history = walk((1.3, 0.0), people=people)
    noisy = Tracks(history.positions_m + generator.normal(0, 0.03, history.positions_m.shape), history.valid, 0.4)
    forecast = ConstantVelocity().predict(noisy)
    step = np.stack([np.cos(heading), np.sin(heading)], axis=1) * generator.normal(1.3, 0.15, people)[:, None]
    truth = HERE + step * 4.8
    inside = _density_rank(forecast, truth)
    assert 0.40 < (inside < 0.5).mean() < 0.85
    assert (inside < 0.9).mean() > 0.85


def _density_rank(forecast, truth: np.ndarray) -> np.ndarray:
    """Share of the forecast's own samples that lie in denser places than the truth, at the last step (highest-density regions)."""

    def density(points: np.ndarray) -> np.ndarray:
        offset = points[:, :, None] - forecast.modes_m[:, None, :, -1]
        covariance = forecast.covariances_m2[:, :, -1]
        distance = np.einsum("pski,pkij,pskj->psk", offset, np.linalg.inv(covariance), offset)
        weight = forecast.probabilities / np.sqrt(np.linalg.det(covariance))
        return (weight[:, None] * np.exp(-0.5 * distance)).sum(-1)

    return (density(forecast.sample(100, seed=1)[:, :, -1]) > density(truth[:, None])).mean(axis=1)


def test_crowds_and_empty_squares_and_other_horizons() -> None:
    model = ConstantVelocity(ConstantVelocityConfig(horizon=5, dt_s=0.2))
    assert model.predict(walk((1, 0), people=200)).modes_m.shape == (200, 20, 5, 2)
    nobody = model.predict(Tracks(np.zeros((0, 8, 2)), np.zeros((0, 8), bool), 0.4))
    assert nobody.modes_m.shape == (0, 20, 5, 2)
    assert nobody.sample(3, seed=0).shape == (0, 3, 5, 2)


def test_a_track_without_any_step_is_refused() -> None:
    tracks = walk((1, 0))
    with pytest.raises(ValueError, match=r"\[0\] have no valid step"):
        ConstantVelocity().predict(Tracks(tracks.positions_m, np.zeros_like(tracks.valid), 0.4))
