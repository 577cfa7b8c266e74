"""Surprise: what appears, what repeats itself, what runs backwards; and that usual things do none of it."""

from __future__ import annotations

import logging
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from jepa_ros.backends.liveness import ReplayDetector
from jepa_ros.backends.scene_jepa.config import BODY, GROUNDED_SCALE, SceneJepaConfig
from jepa_ros.backends.scene_jepa.critic import CriticConfig, CriticNetwork, SceneCritic, load_critic, observed, save_critic, visible
from jepa_ros.backends.scene_jepa.model import SceneJepa
from jepa_ros.backends.surprise import WARM_UP, SurpriseWatch, encode
from jepa_ros.prediction import WholePrediction
from jepa_ros.protocols import Encoded, SensorSample
from jepa_ros.training.world_model.surprise import Sample, fit
from jepa_ros.types import CameraImage, CameraModel, EgoState, LidarSweep, Observation

STEP_NS = 400_000_000
STILL = np.eye(4)
SMALL = SceneJepaConfig(width=24, stem=8, body=8, camera=8, trunk=16, step=8)


def latent(*places: tuple[int, int], noise: np.random.Generator) -> torch.Tensor:
    """(N, D) of a place with ground, a wall, and a body of 2 x 2 cells at each (row, column); one return in fifty is lost."""
    cells = torch.zeros(5, 128, 128)
    cells[0] = 1.0
    cells[:, 110:112] = 1.0
    for row, column in places:
        cells[:4, row : row + 2, column : column + 2] = 1.0
    cells *= torch.from_numpy(noise.random(cells.shape) > 0.02)
    tokens = torch.nn.functional.pixel_unshuffle(GROUNDED_SCALE * cells[None], 2)
    return torch.cat([tokens[0].flatten(1).T, torch.zeros(64 * 64, 4)], dim=1)


def test_who_appears_in_the_open_is_strange_and_who_stays_is_not() -> None:
    rng = np.random.default_rng(0)
    critic, samples = SceneCritic(CriticNetwork(CriticConfig()), 0.4), []
    for _ in range(12):
        critic.reset()
        places = [(int(row), int(column)) for row, column in rng.integers(20, 100, (4, 2))]
        for step in range(3):
            now, then = latent(*places, noise=rng), observed(latent(*places, noise=rng))
            seen = critic.seen(step * STEP_NS, STILL, now, now)
            samples.append(Sample((255 * seen).byte(), STILL, then[BODY] > 0.5, visible(then) > 0))
    network = fit(samples, CriticConfig(width=8, dilations=(1,)), 40, rng)
    critic = SceneCritic(network, 0.4)
    for step in range(3):
        now = latent((40, 80), noise=rng)
        expected = critic.expect(step * STEP_NS, STILL, now, now)
    usual = [critic.strangeness(expected, STILL, latent((40, 80), noise=rng)) for _ in range(5)]
    appeared = critic.strangeness(expected, STILL, latent((40, 80), (70, 75), noise=rng))
    teleported = critic.strangeness(expected, STILL, latent((48, 72), noise=rng))
    assert min(appeared, teleported) > 1.5 * max(usual)


def test_a_copy_surprises_a_slow_or_still_sensor_does_not_and_time_runs_forwards() -> None:
    rng, detector = np.random.default_rng(0), ReplayDetector(0.4)
    scene = rng.random((8, 1, 64, 64)) < 0.2  # what the sensor passes, one row a step

    def sample(step: int, row: int, stamp: int | None = None) -> dict[str, SensorSample]:
        returns = torch.from_numpy(scene[row] ^ (rng.random((1, 64, 64)) < 0.02))
        return {"lidar": SensorSample((step if stamp is None else stamp) * STEP_NS, returns, 12.8)}

    judged = []
    for step in range(16):
        now = sample(step, step // 2)  # every second step nothing but noise changes
        judged.append(detector.judge(step * STEP_NS, STILL, now))
        detector.take(step * STEP_NS, STILL, now)
    assert max(judged) < 0.98
    copy = {"lidar": replace(now["lidar"], stamp_ns=16 * STEP_NS)}
    assert detector.judge(16 * STEP_NS, STILL, copy) > 0.999
    assert detector.judge(16 * STEP_NS, STILL, now) < 0.98  # the same measurement, used again
    detector.take(16 * STEP_NS, STILL, sample(16, 0))
    assert detector.judge(17 * STEP_NS, STILL, sample(17, 7)) > 0.98  # back where it was two steps ago
    assert detector.judge(17 * STEP_NS, STILL, sample(17, 1)) < 0.98
    noise_free = ReplayDetector(0.4)
    for step in range(40):  # a perfect simulated sensor: repeats are usual once one of them has come to its end
        noise_free.take(step * STEP_NS, STILL, {"lidar": SensorSample(step * STEP_NS, torch.from_numpy(scene[step // 20]))})
    assert noise_free.judge(40 * STEP_NS, STILL, {"lidar": SensorSample(40 * STEP_NS, torch.from_numpy(scene[1]))}) < 0.98


def test_a_sweep_that_stays_while_the_robot_moves_surprises_though_it_is_no_copy() -> None:
    rng, detector = np.random.default_rng(0), ReplayDetector(0.4)
    scene = rng.random((1, 64, 100)) < 0.2

    def seen_from(step: int, column: int) -> tuple[int, np.ndarray, dict[str, SensorSample]]:
        pose = np.eye(4)
        pose[0, 3] = 0.8 * step  # two cells of 0.4 m
        returns = scene[:, :, column : column + 64] ^ (rng.random((1, 64, 64)) < 0.05)
        return step * STEP_NS, pose, {"lidar": SensorSample(step * STEP_NS, torch.from_numpy(returns), 12.8)}

    for step in range(10):
        now = seen_from(step, 2 * step)
        assert detector.judge(*now) < 0.98
        detector.take(*now)
    assert detector.judge(*seen_from(10, 20)) < 0.98
    assert detector.judge(*seen_from(10, 18)) > 0.999


def observation(step: int, rng: np.random.Generator, image: np.ndarray) -> Observation:
    ground = np.column_stack([rng.uniform(-20, 20, (6000, 2)), np.zeros(6000)])
    wall = np.column_stack([rng.uniform(-20, 20, 2000), np.full(2000, 10.0), rng.uniform(0, 2, 2000)])
    stamp_ns = (1 + step) * STEP_NS
    lidar = LidarSweep(stamp_ns, np.concatenate([ground, wall]).astype(np.float32), None, None, None, np.eye(4))
    looks_ahead = np.array([[0.0, 0, 1, 1], [-1, 0, 0, 0], [0, -1, 0, 1.5], [0, 0, 0, 1]])
    camera = CameraImage(
        stamp_ns, "camera", image, CameraModel(64, 48, np.array([[40.0, 0, 32], [0, 40, 24], [0, 0, 1]]), np.zeros(5)), looks_ahead
    )
    return Observation(stamp_ns, EgoState(stamp_ns, np.eye(4), np.zeros(2)), lidar, (camera,))


def test_a_frozen_camera_surprises_while_the_lidar_goes_on() -> None:
    torch.manual_seed(0)
    model, rng = SceneJepa(SMALL).eval(), np.random.default_rng(0)
    watch, usual = SurpriseWatch(model, None), []
    for step in range(WARM_UP + 6):
        image = np.clip(100.0 + rng.normal(0, 3, (48, 64, 3)), 0, 255).astype(np.uint8)
        seen = observation(step, rng, image)
        encoded = encode(model, seen)
        judgement = watch.judge(seen.stamp_ns, seen.odom_from_anchor, encoded)
        watch.take(seen.stamp_ns, seen.odom_from_anchor, encoded, judgement, WholePrediction(model, encoded.latent_ND[None]))
        usual.append(judgement.surprise)
    assert all(math.isnan(value) for value in usual[: WARM_UP + 1])
    assert all(0 <= value <= 1 for value in usual[WARM_UP + 1 :])
    frozen = observation(WARM_UP + 6, rng, image)
    assert watch.judge(frozen.stamp_ns, frozen.odom_from_anchor, encode(model, frozen)).surprise > 0.999
    fresh = observation(WARM_UP + 6, rng, np.clip(image + rng.normal(0, 3, image.shape), 0, 255).astype(np.uint8))
    assert watch.judge(fresh.stamp_ns, fresh.odom_from_anchor, encode(model, fresh)).surprise < 0.999


class _Counting:
    """A critic whose strangeness is how far the latent lies from the one that it expects to stay."""

    channels = None

    def __init__(self) -> None:
        self.asked_ns: list[int] = []

    def expect(self, stamp_ns: int, odom_from_anchor: np.ndarray, latent_ND: torch.Tensor, predicted_ND: torch.Tensor) -> torch.Tensor:
        self.asked_ns.append(stamp_ns)
        return latent_ND

    def strangeness(self, expected: torch.Tensor, new_from_old: np.ndarray, latent_ND: torch.Tensor) -> float:
        return float((latent_ND - expected).abs().max())

    def reset(self) -> None:
        self.asked_ns.clear()


@pytest.mark.parametrize(
    ("every_ns", "most"), [(50_000_000, 0.2), (100_000_000, 0.2), (143_000_000, 0.29), (333_000_000, 0.34), (400_000_000, 0.4)]
)
def test_the_scene_is_judged_half_a_step_apart_against_one_step_before_at_any_rate(every_ns: int, most: float) -> None:
    rng, critic = np.random.default_rng(0), _Counting()
    model = SceneJepa(SMALL).eval()
    watch, judged_ns, before = SurpriseWatch(model, critic), [], math.nan
    for frame in range(80):
        stamp_ns = frame * every_ns
        event = frame == 79
        values = torch.from_numpy(rng.normal(0, 1, (4, 4))) + (1000.0 if event else 0.0)
        encoded = Encoded(values, {"lidar": SensorSample(stamp_ns, torch.from_numpy(rng.random(64)))})
        judgement = watch.judge(stamp_ns, STILL, encoded)
        if judgement.error is not None:
            judged_ns.append(stamp_ns)
            assert abs(stamp_ns - critic.asked_ns[-1] - STEP_NS) <= STEP_NS // 4
            assert not event or judgement.surprise > 0.98
        else:
            assert judgement.scene == before or math.isnan(judgement.scene)
        watch.take(stamp_ns, STILL, encoded, judgement, WholePrediction(model, values[None]))
        before = judgement.scene
    apart_s = np.diff(judged_ns) / 1e9
    assert 0.15 <= apart_s.min() <= apart_s.max() <= most + 1e-6
    assert len(critic.asked_ns) == len(judged_ns)


def _metadata(path: Path) -> dict[str, str]:
    with safe_open(str(path), framework="pt") as file:
        return file.metadata()


def test_a_critic_of_other_weights_is_not_used_and_that_is_said(tmp_path, caplog: pytest.LogCaptureFixture) -> None:
    torch.manual_seed(0)
    mine, other = SceneJepa(SMALL).eval(), SceneJepa(SMALL).eval()
    save_critic(CriticNetwork(CriticConfig()), mine, tmp_path / "critic.safetensors", {})
    assert isinstance(load_critic(mine, tmp_path / "critic.safetensors", 0.4), SceneCritic)
    with caplog.at_level(logging.WARNING):
        assert load_critic(other, tmp_path / "critic.safetensors", 0.4) is None
        assert load_critic(mine, tmp_path / "missing.safetensors", 0.4) is None
        save_file({"layers.0.bias": torch.zeros(16)}, tmp_path / "old.safetensors", _metadata(tmp_path / "critic.safetensors"))
        assert load_critic(mine, tmp_path / "old.safetensors", 0.4) is None
    assert "another kind of network" in caplog.text
    assert "fitted to other" in caplog.text
    assert "training surprise" in caplog.text
