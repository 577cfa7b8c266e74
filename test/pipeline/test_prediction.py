"""What nobody reads is not computed, and what is read is the same."""

import contextlib
import threading
from dataclasses import dataclass

import numpy as np
import pytest
import torch

from jepa_ros.backends.scene_jepa.config import GROUNDED_SCALE, SceneJepaConfig
from jepa_ros.backends.scene_jepa.latents import to_map
from jepa_ros.backends.scene_jepa.model import SceneJepa
from jepa_ros.forecast.constant_velocity import ConstantVelocity
from jepa_ros.lazy import Lazy
from jepa_ros.memory import LatentMemory
from jepa_ros.pipeline import WorldModelPipeline
from jepa_ros.prediction import predict_in_parts
from jepa_ros.types import NANOSECONDS, EgoState, LidarSweep, Observation

CONFIGS = {
    "wide": SceneJepaConfig(),
    "narrow": SceneJepaConfig(narrow=2, recall=False, step=32, probe=16, blocks=(0, 2, 1)),
    "without a head": SceneJepaConfig(narrow=2, recall=False, step=32, probe=16, head=0),
}


@pytest.fixture(params=CONFIGS)
def model(request, monkeypatch) -> SceneJepa:
    monkeypatch.setattr(SceneJepa, "fast", lambda self: contextlib.nullcontext())  # float32 on any processor
    torch.manual_seed(0)
    model = SceneJepa(CONFIGS[request.param]).eval().requires_grad_(False)
    for parameter in model.parameters():
        parameter.normal_(std=0.05)  # what starts at zero would hide a mistake
    return model


def walk(model: SceneJepa, steps: int) -> LatentMemory:
    """A robot that turns while somebody crosses."""
    memory = LatentMemory(model)
    for step in range(steps):
        latent = 0.3 * torch.randn(*model.spec.latent_shape)
        observed = latent[:, : model.config.grounded].zero_().view(64, 64, -1)
        observed[20, 25:40, 4:16] = GROUNDED_SCALE  # a wall
        observed[30:32, 20 + step, 4:16] = GROUNDED_SCALE  # somebody, one token of 0.8 m a step
        pose = np.eye(4)
        pose[:2, 3] = 0.1 * step, 0.02 * step
        memory.add(round(step * 0.4 * NANOSECONDS), pose, latent)
    return memory


@pytest.mark.parametrize("steps", [1, 2, 4])
def test_occupancy_and_latents_are_those_of_the_whole_prediction(model, steps):
    memory = walk(model, steps)
    actions = torch.randn(12, 3)
    whole = model.predict(memory.history(), actions[None])[0]
    prediction = predict_in_parts(model, memory, actions)
    _, logits = model.futures(to_map(memory.history()), actions[None], torch.arange(12))
    torch.testing.assert_close(prediction.occupancy(), logits[0].sigmoid(), rtol=0, atol=2e-5)
    if model.occupancy_head is None:
        torch.testing.assert_close(prediction.occupancy(), model.occupancy(whole), rtol=0, atol=2e-5)
    torch.testing.assert_close(prediction.next_ND(20), whole[0, :, :20], rtol=0, atol=1e-4)
    torch.testing.assert_close(prediction.latents(), whole, rtol=0, atol=1e-4)
    assert prediction.occupancy().std() > 0.01


def test_an_untrained_head_says_that_what_all_sweeps_hit_stays() -> None:
    model = SceneJepa(CONFIGS["narrow"]).eval().requires_grad_(False)
    said = predict_in_parts(model, walk(model, 4), torch.zeros(12, 3)).occupancy()
    wall, floor = said[:, 40, 60:70], said[:, 90, 60:70]  # cells: two of them to a token
    assert (wall > 0.9).all()
    assert (floor < 0.1).all()


def test_a_short_motion_has_as_many_steps() -> None:
    model = SceneJepa(CONFIGS["narrow"]).eval().requires_grad_(False)
    prediction = predict_in_parts(model, walk(model, 4), torch.zeros(5, 3))
    assert (prediction.occupancy().shape, len(prediction.latents())) == ((5, 128, 128), 5)


def observation(stamp_s: float) -> Observation:
    rng = np.random.default_rng(round(10 * stamp_s))
    ground = np.column_stack([rng.uniform(-20, 20, (5000, 2)), rng.normal(0, 0.01, 5000)])
    wall = np.column_stack([rng.uniform(-20, 20, 2000), np.full(2000, 10.0), rng.uniform(0, 3, 2000)])
    points = np.concatenate([ground, wall]).astype(np.float32)
    stamp_ns = round(stamp_s * NANOSECONDS)
    return Observation(stamp_ns, EgoState(stamp_ns, np.eye(4), np.zeros(2)), LidarSweep(stamp_ns, points, None, None, None, np.eye(4)))


def test_the_pipeline_predicts_learned_channels_only_for_who_reads_them(monkeypatch):
    model = SceneJepa(CONFIGS["wide"]).eval().requires_grad_(False)
    calls = []
    predict = SceneJepa.predict
    monkeypatch.setattr(SceneJepa, "predict", lambda self, *args: calls.append(1) or predict(self, *args))
    pipeline = WorldModelPipeline(model, ConstantVelocity())
    state = [pipeline.step(observation(0.1 * step)) for step in range(3)][-1]
    assert not calls
    assert state.predicted.shape == (12, *model.spec.latent_shape)
    assert state.predicted is state.predicted
    assert len(calls) == 1


def test_a_sweep_is_levelled_once():
    seen = observation(0.0)
    assert seen.levelled_m is seen.levelled_m
    tilted = np.eye(4)
    tilted[:3, :3] = [[1, 0, 0], [0, np.cos(0.1), -np.sin(0.1)], [0, np.sin(0.1), np.cos(0.1)]]  # a roll
    rolled = Observation(0, EgoState(0, tilted, np.zeros(2)), seen.lidar)
    np.testing.assert_allclose(rolled.levelled_m, seen.lidar.points_m @ tilted[:3, :3].T, atol=1e-5)


@dataclass(frozen=True)
class Holder:
    value: Lazy[int] = Lazy()  # noqa: RUF009
    other: int = 0


def test_a_lazy_field_is_made_once_whoever_asks():
    assert Holder(3).value == 3
    made = []

    def make() -> int:
        made.append(1)
        if len(made) == 1:
            raise RuntimeError("not yet")
        return 7

    holder = Holder(make)
    with pytest.raises(RuntimeError, match="not yet"):
        _ = holder.value
    threads = [threading.Thread(target=lambda: holder.value) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (holder.value, len(made)) == (7, 2)
    with pytest.raises(TypeError):
        Holder()  # it has no default
