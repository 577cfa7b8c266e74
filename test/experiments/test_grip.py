"""The gripper's world model: training that resumes, imagination that is the planner's, probes and figures."""

import dataclasses

import numpy as np
import pytest
import torch

pytest.importorskip("mujoco")
pytest.importorskip("transformers")

from experiments.grip.hold import LinearProbe
from experiments.grip.model import GripModel, GripModelConfig, load, save
from experiments.grip.scores import auroc, auroc_interval
from experiments.grip.train import GripTrainConfig, train
from experiments.grip.world_model import GripWorldModel
from jepa_ros.backends.vjepa2_ac.poses import advance
from jepa_ros.backends.vjepa2_ac.rollout import Imagination
from jepa_ros.sim.arm.episodes import Episodes

TINY = GripModelConfig(width=16, channels=8, predictor_width=24, predictor_depth=1, predictor_heads=2)


@pytest.fixture(autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def model() -> GripModel:
    torch.manual_seed(0)
    return GripModel(TINY).eval().requires_grad_(False)


def noise_episodes(count: int) -> Episodes:
    rng = np.random.default_rng(0)
    frames = 13
    actions = rng.uniform(-0.05, 0.05, (count, frames - 1, 7)).astype(np.float32)
    truth = rng.normal(0, 0.1, (count, frames, 3)).astype(np.float32)
    images = rng.integers(0, 255, (count, frames, 64, 64, 3), np.uint8)
    return Episodes(images, actions, np.arange(count), truth, truth, np.full(count, 3), rng.random(count) < 0.5)


def test_a_resumed_training_is_an_unbroken_one(tmp_path):
    config = GripTrainConfig(steps=4, batch=2, frames=4, checkpoint_every=2, model=TINY)
    data = noise_episodes(4)
    unbroken = train(data, data, tmp_path / "a", config)

    class Stop(Exception):
        pass

    class Broken(Episodes):
        drawn = 0

        def __len__(self) -> int:
            Broken.drawn += 1
            if Broken.drawn > 2:
                raise Stop
            return super().__len__()

    with pytest.raises(Stop):
        train(Broken(**vars(data)), data, tmp_path / "b", config)
    resumed = train(data, data, tmp_path / "b", config)
    for key, value in unbroken.state_dict().items():
        torch.testing.assert_close(resumed.state_dict()[key], value, rtol=1e-4, atol=1e-5)
    with pytest.raises(ValueError, match="another configuration"):
        train(data, data, tmp_path / "b", dataclasses.replace(config, learning_rate=1.0))
    saved = load(tmp_path / "a" / "grip.safetensors")
    torch.testing.assert_close(saved.state_dict(), unbroken.state_dict())


def test_weights_that_do_not_fit_are_refused(tmp_path, model):
    save(model, tmp_path / "grip.safetensors")
    assert load(tmp_path / "grip.safetensors").config == TINY
    del model.predictor.predictor_proj
    save(model, tmp_path / "short.safetensors")
    with pytest.raises(ValueError, match=r"missing predictor\.predictor_proj"):
        load(tmp_path / "short.safetensors")
    with pytest.raises(ValueError, match="no such file"):
        load(tmp_path / "none.safetensors")


def test_training_rolls_as_the_planner_does(model):
    generator = torch.Generator().manual_seed(1)
    latents = torch.nn.functional.layer_norm(torch.randn(1, 2, 16, 16, generator=generator), (16,))
    actions = torch.rand(1, 4, 7, generator=generator) * 0.05
    actions[..., 6] = torch.tensor([0.7, -0.5, 0.9, 0.1])  # the closing stays within 0-1
    states = torch.stack([torch.zeros(7), advance(torch.zeros(7), actions[0, 0])])
    imagined = Imagination(model.predictor, latents[0], states).rollout(actions[:, 1:])
    torch.testing.assert_close(model.roll(latents, actions), imagined, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(
        model.teach(latents, actions[:, :1])[:, 0], model.roll(latents[:, :1], actions[:, :1])[:, 0], rtol=1e-4, atol=1e-5
    )


def test_a_plan_is_better_than_standing_still(model):
    world = GripWorldModel(model)
    rng = np.random.default_rng(2)
    now, goal = (world.encode_image(rng.integers(0, 255, (64, 64, 3), np.uint8)) for _ in range(2))
    plan = world.plan_actions(now, np.zeros((1, 7)), goal[0], steps=3)
    assert plan.actions_LA.shape == (3, 7)
    still = Imagination(model.predictor, now, torch.zeros(1, 7)).energy(torch.zeros(1, 3, 7), goal[0])
    assert plan.energy < float(still)


def test_a_probe_finds_the_feature_that_decides():
    features = torch.randn(400, 30, generator=torch.Generator().manual_seed(0))
    positive = (features[:, 7] > 0.3).numpy()
    probe = LinearProbe(features[:300], positive[:300], 1e-3)
    assert auroc(probe.probability(features[300:]), positive[300:]) > 0.97


def test_figures():
    assert auroc(np.array([0.1, 0.4, 0.35, 0.8]), np.array([False, False, True, True])) == 0.75
    assert auroc(np.ones(4), np.array([False, True, False, True])) == 0.5
    assert np.isnan(auroc(np.ones(2), np.array([True, True])))
    score, positive = np.arange(100.0), np.arange(100) % 3 == 0
    low, high = auroc_interval(score, positive)
    assert low < auroc(score, positive) < high
