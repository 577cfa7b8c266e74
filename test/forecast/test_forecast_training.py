"""Training the forecaster on a tiny made-up place: the command, its checkpoint, the tables that it learns from."""

import argparse
import json

import numpy as np
import pytest
import torch

from jepa_ros.forecast import Tracks, load_forecaster
from jepa_ros.forecast.learned import LearnedForecaster, read_metadata
from jepa_ros.forecast.network import NetworkConfig, TrackNetwork
from jepa_ros.objects.time_steps import HISTORY, HORIZON
from jepa_ros.training import short_loop as forecaster_loop
from jepa_ros.training.forecaster import train as command
from jepa_ros.training.forecaster.augment import AugmentConfig, TableTensors, augment
from jepa_ros.training.forecaster.calibration import calibrate
from jepa_ros.training.forecaster.calibration import main as calibrate_files
from jepa_ros.training.forecaster.data import read_recording, table_of
from jepa_ros.training.forecaster.losses import latent_losses


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder like ETH/UCY: two recordings of people who walk straight or turn."""
    folder = tmp_path_factory.mktemp("place")
    rng = np.random.default_rng(0)
    for name in ("biwi_eth", "crowds_zara03"):
        rows = []
        for person in range(12):
            start, speed, turn = rng.uniform(-5, 5, 2), rng.uniform(0.2, 0.6), rng.normal(0, 0.05)
            heading, begin = rng.uniform(0, 2 * np.pi), rng.integers(0, 15)
            for step in range(26):
                heading += turn
                start = start + speed * np.array([np.cos(heading), np.sin(heading)])
                rows.append((10 * (begin + step), person, *start))
        np.savetxt(folder / f"{name}.txt", sorted(rows), fmt="%.3f", delimiter="\t")
    files = {name: f"{name}.txt" for name in ("biwi_eth", "crowds_zara03")}
    (folder / "splits.json").write_text(json.dumps({"files": files}))
    return folder


def arguments(place, out, *options: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    return parser.parse_args(["--data", str(place), "--out", str(out), "--steps", "12", "--crowds", "1", "--threads", "1", *options])


def test_the_table_holds_each_window_and_its_neighbours(place):
    recording = read_recording(place / "biwi_eth.txt", "biwi_eth")
    table = table_of(recording)
    assert len(table) == recording.present.sum()
    row = int(np.flatnonzero(table.complete)[0])
    person, instant = table.person[row], table.instant[row]
    path = recording.positions_m[instant - HISTORY + 1 : instant + HORIZON + 1, person]
    np.testing.assert_array_equal(np.concatenate((table.history_m[row], table.future_m[row])), path)
    near = table.neighbours[row]
    near = near[near >= 0]
    assert row not in near
    assert (table.instant[near] == instant).all()
    gaps = np.linalg.norm(table.history_m[near, -1] - table.history_m[row, -1], axis=1)
    assert (np.diff(gaps) >= 0).all()


def test_watching_at_another_rate_and_backwards(place):
    recording = read_recording(place / "biwi_eth.txt", "biwi_eth")
    slower = recording.resampled(1.5)
    both = slower.present[2] & recording.present[3]
    assert both.any()
    np.testing.assert_allclose(slower.positions_m[2, both], recording.positions_m[3, both], atol=1e-6)
    np.testing.assert_array_equal(recording.reversed().positions_m[0], recording.positions_m[-1])


def test_jitter_reaches_the_past_and_never_the_future(place):
    table = table_of(read_recording(place / "biwi_eth.txt", "biwi_eth"))
    plain = TableTensors(table).batch(torch.from_numpy(np.flatnonzero(table.complete)))
    config = AugmentConfig(1.0, 0.08, 0.0, 1.0, 1.0, 0.0, 0.0, 0.0)
    noisy = augment(plain, config, torch.Generator().manual_seed(0))
    mirrored = (noisy.future[..., 1] * plain.future[..., 1]).sum(dim=1) < 0
    future = torch.where(mirrored[:, None, None], noisy.future * torch.tensor([1.0, -1.0]), noisy.future)
    torch.testing.assert_close(future, plain.future)
    assert 0.02 < float((noisy.history[..., 0] - plain.history[..., 0]).std()) < 0.08


def test_collapsed_latents_are_punished():
    spread = torch.randn(64, 3, 8, generator=torch.Generator().manual_seed(0))
    assert latent_losses(spread, spread)["latent"] == 0.0
    assert latent_losses(spread, torch.zeros(64, 3, 8))["variance"] > 0.9 > latent_losses(spread, 2 * spread)["variance"]
    copied = spread[..., :1].expand(-1, -1, 8)
    assert latent_losses(copied, copied)["covariance"] > 10 * latent_losses(spread, spread)["covariance"]


def test_training_learns_and_an_interrupted_run_ends_the_same(place, tmp_path, monkeypatch):
    monkeypatch.setattr(forecaster_loop, "CHECKPOINT_EVERY", 4)
    command.run(arguments(place, tmp_path / "whole.safetensors", "--exclude", "eth"))

    class Interrupted(Exception):
        pass

    real = command.ForecasterTrainer.train_step

    def until_eight(trainer):
        if trainer.step == 8:
            raise Interrupted
        return real(trainer)

    monkeypatch.setattr(command.ForecasterTrainer, "train_step", until_eight)
    with pytest.raises(Interrupted):
        command.run(arguments(place, tmp_path / "parts.safetensors", "--exclude", "eth"))
    monkeypatch.setattr(command.ForecasterTrainer, "train_step", real)
    command.run(arguments(place, tmp_path / "parts.safetensors", "--exclude", "eth", "--resume"))

    whole, parts = load_forecaster(tmp_path / "whole.safetensors"), load_forecaster(tmp_path / "parts.safetensors")
    for name, value in whole.network.state_dict().items():
        assert torch.equal(value, parts.network.state_dict()[name]), name
    facts = json.loads(read_metadata(tmp_path / "whole.safetensors")["training"])
    assert facts["recordings"] == ["crowds_zara03"]
    assert facts["recordings_left_out"] == ["biwi_eth"]
    forecast = whole.predict(Tracks(np.zeros((1, 8, 2)) + 0.4 * np.arange(8)[:, None], np.ones((1, 8), bool), 0.4))
    assert np.isfinite(forecast.modes_m).all()
    with pytest.raises(ValueError, match="other options"):
        command.run(arguments(place, tmp_path / "parts.safetensors", "--seed", "5", "--resume"))


def test_calibration_widens_what_is_too_sure_on_unseen_scenes(place, tmp_path):
    network = TrackNetwork(NetworkConfig(width=32, social_width=16, latent=8))
    with torch.no_grad():
        network.decoder.output.weight.mul_(0.01)
        network.decoder.output.bias.zero_()
    network.decoder.first_log_sigma.fill_(-4.0)  # 2 cm everywhere, said by a network that knows nothing
    sure = calibrate([(network, read_recording(place / "biwi_eth.txt", "biwi_eth"))])
    assert sure.sigma_scale > 3.0 or sure.sigma_m > 0.05

    everything, without_eth = tmp_path / "all.safetensors", tmp_path / "eth.safetensors"
    LearnedForecaster(network).save(everything, {"recordings": ["biwi_eth", "crowds_zara03"], "recordings_left_out": []})
    LearnedForecaster(network).save(without_eth, {"recordings": ["crowds_zara03"], "recordings_left_out": ["biwi_eth"]})
    with pytest.raises(ValueError, match=r"eth\.safetensors: no other file left out"):
        calibrate_files(["--data", str(place), str(everything), str(without_eth)])
    assert LearnedForecaster.load(everything).calibration.sigma_scale == 1.0  # nothing was written


def test_bad_options_say_the_fix(place, tmp_path):
    with pytest.raises(ValueError, match="choose of eth, hotel"):
        command.run(arguments(place, tmp_path / "x.safetensors", "--exclude", "paris"))
    with pytest.raises(ValueError, match="no checkpoint"):
        command.run(arguments(place, tmp_path / "x.safetensors", "--resume"))
    with pytest.raises(ValueError, match=r"splits\.json"):
        command.run(arguments(tmp_path, tmp_path / "x.safetensors"))
