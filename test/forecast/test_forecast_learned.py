"""The learned forecaster as its users meet it: invariance, short and gappy histories, any period, 1 to 200 people, strict files."""

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from jepa_ros.forecast import PedestrianForecast, Tracks, load_forecaster
from jepa_ros.forecast.history import resample
from jepa_ros.forecast.learned import LearnedForecaster
from jepa_ros.forecast.mixture import density_rank, log_density
from jepa_ros.forecast.network import SIGMA_FLOOR_M, NetworkConfig, TrackNetwork
from jepa_ros.forecast.separation import separate
from jepa_ros.objects.time_steps import HISTORY


@pytest.fixture(scope="module")
def forecaster() -> LearnedForecaster:
    torch.manual_seed(3)
    return LearnedForecaster(TrackNetwork(NetworkConfig(width=32, social_width=16, latent=8)))


def crowd(people: int = 7, steps: int = HISTORY, dt_s: float = 0.4, seed: int = 0) -> Tracks:
    rng = np.random.default_rng(seed)
    velocity = rng.normal(0.0, 1.0, (people, 1, 2))
    path = rng.uniform(-6, 6, (people, 1, 2)) + velocity * dt_s * np.arange(steps)[:, None]
    return Tracks(path + rng.normal(0, 0.02, path.shape), np.ones((people, steps), bool), dt_s)


def turned(tracks: Tracks, angle: float, shift: np.ndarray) -> Tracks:
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return Tracks(tracks.positions_m @ turn.T + shift, tracks.valid, tracks.dt_s)


@pytest.mark.parametrize("case", ["walking", "gaps", "standing", "one sample", "alone and still"])
def test_the_forecast_turns_and_moves_with_the_world(forecaster, case):
    tracks = crowd()
    positions, valid = tracks.positions_m.copy(), tracks.valid.copy()
    if case == "gaps":
        valid[0, 2:5] = valid[1, -1] = valid[2, :5] = False
    if case == "standing":
        positions[3] = positions[3, -1]
    if case == "one sample":
        valid[4, :-1] = False
    if case == "alone and still":
        positions, valid = np.repeat(positions[:1, :1], HISTORY, axis=1), valid[:1]
    tracks = Tracks(positions, valid, 0.4)
    angle, shift = 2.1, np.array([4.0e5, -5.3e6])  # as far out as UTM coordinates
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    here, there = forecaster.predict(tracks), forecaster.predict(turned(tracks, angle, shift))
    np.testing.assert_allclose(there.modes_m, here.modes_m @ turn.T + shift, atol=2e-4)
    np.testing.assert_allclose(there.covariances_m2, turn @ here.covariances_m2 @ turn.T, atol=2e-4)
    np.testing.assert_allclose(there.probabilities, here.probabilities, atol=1e-5)


def test_a_forecast_is_a_proper_mixture():
    torch.manual_seed(1)
    network = TrackNetwork(NetworkConfig(width=32, social_width=16, latent=8))
    with torch.no_grad():
        network.decoder.output.weight.mul_(8.0)  # extreme outputs: tiny deviations, strong correlations
    forecast = LearnedForecaster(network).predict(crowd(200))
    assert forecast.modes_m.shape == (200, 20, 12, 2)
    np.testing.assert_allclose(forecast.times_s, 0.4 * np.arange(1, 13))
    np.testing.assert_allclose(forecast.probabilities.sum(axis=1), 1.0, atol=1e-9)
    assert np.linalg.eigvalsh(forecast.covariances_m2).min() >= 0.99 * SIGMA_FLOOR_M**2
    np.testing.assert_array_equal(forecast.most_likely(), forecast.modes_m[:, 0])


def test_people_do_not_depend_on_the_order_of_rows(forecaster):
    tracks, order = crowd(9), np.random.default_rng(1).permutation(9)
    shuffled = forecaster.predict(Tracks(tracks.positions_m[order], tracks.valid[order], tracks.dt_s))
    np.testing.assert_allclose(shuffled.modes_m, forecaster.predict(tracks).modes_m[order], atol=1e-4)


def test_paths_that_meet_are_moved_apart_and_no_others():
    ahead = np.arange(1, 13)[:, None] * np.array([0.5, 0.0])
    meeting = np.stack((ahead, np.array([6.5, 0.05]) - ahead, ahead + np.array([0.0, 3.0])))
    apart = separate(meeting)
    gaps = np.linalg.norm(apart[:, None] - apart[None], axis=-1)[~np.eye(3, dtype=bool)]
    assert gaps.min() > 0.24
    np.testing.assert_array_equal(apart[2], meeting[2])
    np.testing.assert_array_equal(apart[:, :5], meeting[:, :5])
    assert np.abs(apart - meeting).max() < 0.13


def test_nobody_and_bad_tracks(forecaster):
    assert forecaster.predict(Tracks(np.zeros((0, 8, 2)), np.zeros((0, 8), bool), 0.4)).modes_m.shape == (0, 20, 12, 2)
    tracks = crowd(3)
    unseen = tracks.valid.copy()
    unseen[1] = False
    with pytest.raises(ValueError, match="row 1 has no valid sample"):
        forecaster.predict(Tracks(tracks.positions_m, unseen, 0.4))
    tracks.positions_m[2, 3] = np.nan
    with pytest.raises(ValueError, match="not finite"):
        forecaster.predict(tracks)
    seen = tracks.valid.copy()
    seen[2, 3] = False  # what is marked invalid may hold anything
    assert np.isfinite(forecaster.predict(Tracks(tracks.positions_m, seen, 0.4)).modes_m).all()


@pytest.mark.filterwarnings("error")
def test_who_was_seen_long_ago_may_be_anywhere_near(forecaster):
    tracks = crowd(4, steps=20)
    valid = tracks.valid.copy()
    valid[:2, 5:] = False  # last seen 5.6 s ago
    forecast = forecaster.predict(Tracks(tracks.positions_m, valid, 0.4))
    np.testing.assert_allclose(forecast.most_likely()[0], np.tile(tracks.positions_m[0, 4], (12, 1)), atol=0.3)
    alone = forecaster.predict(Tracks(tracks.positions_m[2:], tracks.valid[2:], 0.4))
    np.testing.assert_allclose(forecast.modes_m[2:], alone.modes_m, atol=1e-4)


@pytest.mark.parametrize("dt_s", [0.1, 0.2, 0.3, 0.4, 0.5])
def test_a_straight_walk_reads_the_same_at_every_period(forecaster, dt_s):
    steps = round(4.0 / dt_s) + 1
    times = (np.arange(steps) - (steps - 1)) * dt_s
    walk = np.array([[1.0, 2.0]]) + times[:, None] * np.array([[1.2, -0.4]])
    history, seen = resample(Tracks(walk[None], np.ones((1, steps), bool), dt_s))
    assert seen.all()
    expected = np.array([1.0, 2.0]) + 0.4 * (np.arange(HISTORY) - 7)[:, None] * np.array([1.2, -0.4])
    np.testing.assert_allclose(history[0], expected, atol=1e-9)


def test_resampling_keeps_what_was_seen_and_no_more():
    tracks = crowd(1)
    valid = tracks.valid.copy()
    valid[0, [0, 1, 4]] = False
    history, seen = resample(Tracks(tracks.positions_m, valid, 0.4))
    np.testing.assert_array_equal(seen, valid)
    np.testing.assert_allclose(history[valid], tracks.positions_m[valid], atol=1e-12)
    # Two sightings 0.1 s apart make a velocity, hence a step; one sighting makes none.
    brief = Tracks(np.array([[[0.0, 0.0], [0.1, 0.0]], [[5.0, 5.0], [5.0, 5.0]]]), np.array([[True, True], [False, True]]), 0.1)
    history, seen = resample(brief)
    assert seen.sum(axis=1).tolist() == [2, 1]
    np.testing.assert_allclose(history[0, -2:], [[-0.3, 0.0], [0.1, 0.0]], atol=1e-9)


def test_samples_have_the_stated_marginals(forecaster):
    forecast = forecaster.predict(crowd(1))
    draws = forecast.sample(40_000, seed=5)[0]
    mean = np.einsum("k,khx->hx", forecast.probabilities[0], forecast.modes_m[0])
    second = forecast.covariances_m2[0] + np.einsum("khx,khy->khxy", forecast.modes_m[0] - mean, forecast.modes_m[0] - mean)
    covariance = np.einsum("k,khxy->hxy", forecast.probabilities[0], second)
    spread = np.sqrt(np.trace(covariance, axis1=1, axis2=2))
    assert (np.linalg.norm(draws.mean(axis=0) - mean, axis=1) < 0.02 * spread).all()
    sampled = np.stack([np.cov(draws[:, step].T) for step in range(12)])
    assert (np.abs(sampled - covariance).max(axis=(1, 2)) < 0.04 * spread**2).all()


def test_densities_and_regions_agree_with_a_gaussian():
    sigma, distance = 0.5, torch.tensor([0.1, 0.5, 1.0])
    truth = torch.stack((distance, torch.zeros(3)), dim=-1).view(3, 1, 2)
    means, covariances = torch.zeros(3, 1, 1, 2), (sigma**2 * torch.eye(2)).expand(3, 1, 1, 2, 2)
    density = log_density(truth[:, None], means, covariances, torch.zeros(3, 1))[:, 0, 0]
    torch.testing.assert_close(density, -(distance**2) / (2 * sigma**2) - np.log(2 * np.pi * sigma**2))
    rank = density_rank(truth, means, covariances, torch.zeros(3, 1), 20_000, torch.Generator().manual_seed(0))[:, 0]
    torch.testing.assert_close(rank, 1 - torch.exp(-(distance**2) / (2 * sigma**2)), atol=0.015, rtol=0)


def test_what_is_saved_is_what_is_loaded(forecaster, tmp_path):
    path = tmp_path / "one.safetensors"
    forecaster.save(path, {"seed": 3})
    before, after = forecaster.predict(crowd()), load_forecaster(path).predict(crowd())
    assert isinstance(after, PedestrianForecast)
    np.testing.assert_array_equal(after.modes_m, before.modes_m)
    np.testing.assert_array_equal(after.covariances_m2, before.covariances_m2)


def test_loading_says_what_is_wrong(tmp_path):
    with pytest.raises(ValueError, match="unknown forecaster 'constant-velocity'"):
        load_forecaster("constant-velocity")
    with pytest.raises(ValueError, match=r"absent.safetensors does not exist; train one"):
        load_forecaster(tmp_path / "absent.safetensors")
    (tmp_path / "text.safetensors").write_text("hello")
    with pytest.raises(ValueError, match="not a safetensors file"):
        load_forecaster(tmp_path / "text.safetensors")
    save_file({"a": torch.zeros(1)}, tmp_path / "other.safetensors", {"format": "something else"})
    with pytest.raises(ValueError, match="holds 'something else', not 'jepa_ros pedestrian forecaster"):
        load_forecaster(tmp_path / "other.safetensors")
