"""A predictor and probes on frozen latents: cached once, trained with a warning, loaded as a back-end of their own."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from paths import RESOURCES
from torch import Tensor

from jepa_ros.backends import load_world_model
from jepa_ros.backends.bev import BEV_GRID
from jepa_ros.backends.frozen.model import FrozenWorldModel, load
from jepa_ros.backends.frozen.network import FrozenConfig, FrozenNetwork, from_groups, to_groups
from jepa_ros.protocols import ActionMeaning, ModelSpec, WorldModel
from jepa_ros.sensing import open_bag
from jepa_ros.training.__main__ import main
from jepa_ros.training.frozen import cache as frozen_cache
from jepa_ros.training.frozen.cache import CachedPart, cache_bags
from jepa_ros.training.frozen.report import evaluate
from jepa_ros.training.frozen.train import FrozenTraining, Trainer, split
from jepa_ros.training.frozen.windows import FrozenWindows
from jepa_ros.types import NANOSECONDS, Observation

BAG = RESOURCES / "tiny_bag"
SIDE, WIDTH = 4, 6
SMALL = FrozenTraining(
    steps=120, batch=8, targets=2, learning_rate=3e-3, warmup=10, history=2, horizon=2, width=32, depth=1, validate_every=40
)


class Toy:
    """A world whose latent is a fixed code of the vehicle's place: what comes next follows from the intended motion."""

    def __init__(self) -> None:
        self.encoded = 0
        self.spec = ModelSpec("toy", "1", 0.4, 1, 2, (SIDE**2, WIDTH), 0, ("camera", "lidar"), actions=ActionMeaning.NONE)

    def encode(self, observation: Observation) -> Tensor:
        self.encoded += 1
        return code(observation.odom_from_anchor[0, 3])[None]

    def align(self, latents_BND: Tensor, new_from_old: np.ndarray) -> Tensor:
        return latents_BND

    def predict(self, history_BTND: Tensor, actions_BHA: Tensor) -> Tensor:
        return history_BTND[:, -1:].expand(-1, actions_BHA.shape[1], -1, -1)


def code(x_m: float) -> Tensor:
    pattern = torch.sin(torch.linspace(0, 2, SIDE**2)[:, None] + torch.linspace(0, 3, WIDTH))
    return pattern * (1 + x_m)


def write_drives(folder: Path, drives: int = 6, frames: int = 12, stand: bool = False) -> list[list[CachedPart]]:
    """Cached drives at random speeds that change; without a lidar."""
    rng = np.random.default_rng(3)
    parts = []
    for drive in range(drives):
        x_m = np.cumsum(0.0 * rng.random(frames) if stand else rng.uniform(-1.5, 1.5, frames))
        rows = []
        for k in range(frames):
            pose = np.eye(4)
            pose[0, 3] = x_m[k]
            nothing = {"people": np.zeros((0, 2)), "points": np.zeros((0, 3), np.int16), "lidar_origin_m": np.zeros(3)}
            where = {"stamp_ns": np.int64(k * 0.4 * NANOSECONDS), "odom_from_anchor": pose, "ground_height_m": np.float32(0)}
            rows.append({**where, **nothing, "latent": code(x_m[k]).half().numpy()})
        frozen_cache._write(folder / f"drive_{drive:03}", rows)
        parts.append([CachedPart(folder / f"drive_{drive:03}")])
    return parts


@pytest.mark.parametrize(("tokens", "width"), [(16, 6), (64 * 64, 3), (14 * 14, 2), (24 * 24, 2)])
def test_groups_come_apart_again(tokens, width):
    config = FrozenConfig(tokens=tokens, latent_width=width)
    assert config.groups <= 256
    latents = torch.randn(2, tokens, width)
    torch.testing.assert_close(from_groups(to_groups(latents, config), config), latents)


def test_before_training_nothing_changes():
    config = FrozenConfig(tokens=16, latent_width=6, history=2, horizon=3, width=16, depth=1)
    network = FrozenNetwork(config)
    network.scale.fill_(2.0)
    history = torch.randn(2, 2, 16, 6)
    torch.testing.assert_close(network.predict(history, torch.randn(2, 3, 3)), history[:, -1:].expand(-1, 3, -1, -1))
    with pytest.raises(ValueError, match="square map"):
        FrozenConfig(tokens=15)


def test_it_learns_what_the_motion_does_and_resumes(tmp_path, capsys):
    toy, parts = Toy(), write_drives(tmp_path / "latents")
    unbroken = Trainer(toy, "toy", "", parts, SMALL)
    (tmp_path / "a").mkdir()
    network = unbroken.train(tmp_path / "a")
    assert unbroken.best < 0.5
    assert "WARNING" not in capsys.readouterr().out
    report = evaluate(toy, network, unbroken.validation)
    assert report.latent_error["trained"][0] < 0.5 * report.latent_error["start"][0]
    assert not report.average_precision  # no lidar, no labels

    class Stop(Exception):
        pass

    broken = Trainer(toy, "toy", "", parts, SMALL)
    draw = broken.windows.batch
    broken.windows.batch = lambda chosen, steps: draw(chosen, steps) if len(chosen) != 8 or next(left) else stop()
    left = iter([True] * 60 + [False])

    def stop():
        raise Stop

    (tmp_path / "b").mkdir()
    with pytest.raises(Stop):
        broken.train(tmp_path / "b")
    resumed = Trainer(toy, "toy", "", parts, SMALL).train(tmp_path / "b")
    torch.testing.assert_close(resumed.state_dict(), network.state_dict(), rtol=1e-3, atol=1e-4)
    with pytest.raises(ValueError, match="other bags or another configuration"):
        Trainer(toy, "toy", "", parts[1:], SMALL).train(tmp_path / "b")


def test_worse_than_the_frozen_start_is_said_and_not_kept(tmp_path, capsys):
    toy, parts = Toy(), write_drives(tmp_path, stand=True)
    trainer = Trainer(toy, "toy", "", parts, dataclasses.replace(SMALL, steps=4, learning_rate=0.5, warmup=1, validate_every=2))
    network = trainer.train(tmp_path)
    assert "WARNING: at step 2 the predictor predicts worse than the frozen start" in capsys.readouterr().out
    history = torch.stack([code(0.0), code(3.0)])[None]
    torch.testing.assert_close(network.predict(history, torch.zeros(1, 2, 3))[0, 1], code(3.0))


def test_a_single_bag_is_validated_at_its_end(tmp_path):
    bag = write_drives(tmp_path, drives=2, frames=10)
    train, validation = split([[*bag[0], *bag[1]]], 0.25)
    assert [len(part) for part in train] == [10, 5]
    assert [len(part) for part in validation] == [0, 5]
    np.testing.assert_array_equal(validation[1].latents([0]), bag[1][0].latents([5]))
    assert validation[1].stamps_ns[0] == bag[1][0].stamps_ns[5]


def test_labels_are_seen_from_the_anchor_frame_of_now(tmp_path):
    (parts,) = cache_bags(Toy(), [BAG], tmp_path, max_rate_hz=10.0)
    part = parts[0]
    config = FrozenConfig(tokens=SIDE**2, latent_width=WIDTH, history=2, horizon=2)
    batch = FrozenWindows(Toy(), config, [part]).batch([(0, 1)], np.array([0, 1]))
    assert batch.labels_BSCYX.shape == (1, 3, 2, BEV_GRID.rows, BEV_GRID.columns)
    assert batch.visible_BSYX[0].sum(dim=(1, 2)).min() > 100
    now = FrozenWindows(Toy(), config, [part]).batch([(0, 3)], np.array([0, 1]))
    # The frame 0.4 s later, once predicted and once as now: the corridor's walls are the same up to the vehicle's motion of some cells.
    assert batch.labels_BSCYX[0, 1, 0].sum() == pytest.approx(float(now.labels_BSCYX[0, 0, 0].sum()), rel=0.2)
    assert now.valid_BSN[0, 1].sum() == 0  # the recording ends before
    assert now.visible_BSYX[0, 2].sum() == 0


def test_frames_are_encoded_once(tmp_path):
    toy = Toy()
    cache_bags(toy, [BAG], tmp_path, max_rate_hz=10.0)
    encoded = toy.encoded
    assert encoded == 6
    cache_bags(toy, [BAG], tmp_path, max_rate_hz=10.0)
    assert toy.encoded == encoded
    other = Toy()
    other.spec = dataclasses.replace(other.spec, version="2")
    with pytest.raises(ValueError, match="holds latents of"):
        cache_bags(other, [BAG], tmp_path, max_rate_hz=10.0)


@pytest.mark.parametrize("name", ["ijepa", "vjepa2"])
def test_from_a_bag_to_a_back_end(name, tmp_path, capsys):
    pytest.importorskip("transformers")
    import checkpoint_maker as maker

    from jepa_ros.backends import convert

    if name == "ijepa":
        convert.convert_ijepa(maker.save_ijepa(tmp_path / "i.pt"), tmp_path / "hf", heads=maker.HEADS)
    else:
        convert.convert_vjepa2(maker.save_vjepa2(tmp_path / "v.pt"), tmp_path / "hf", heads=maker.HEADS)
    (tmp_path / "small.yaml").write_text("{steps: 3, batch: 2, width: 16, depth: 1, horizon: 4, history: 2, max_rate_hz: 10.0}")
    arguments = ["frozen", "--model", name, "--weights", str(tmp_path / "hf"), "--out", str(tmp_path / "out"), "--device", "cpu"]
    assert main([*arguments, "--config", str(tmp_path / "small.yaml"), str(BAG), str(BAG)]) == 0
    report = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert set(report["average_precision"]) == {"occupancy", "people"}

    model = load_world_model("frozen", device="cpu", weights=str(tmp_path / "out"))
    assert isinstance(model, WorldModel)
    observation = next(iter(open_bag(BAG)))
    latent = model.encode(observation)
    predicted = model.predict(latent[None], torch.zeros(1, model.spec.horizon, 3))
    assert predicted.shape == (1, 4, *model.spec.latent_shape)
    grid = model.occupancy(predicted[0])
    assert grid.shape == (4, BEV_GRID.rows, BEV_GRID.columns)
    assert 0 <= float(grid.min()) <= float(grid.max()) <= 1
    assert model.spec.occupancy_needs == ("camera",)


def test_another_encoder_is_refused(tmp_path):
    config = FrozenConfig(model="toy", version="0", tokens=SIDE**2, latent_width=WIDTH, width=16, depth=1)
    with pytest.raises(ValueError, match="trained on latents of toy '0'"):
        FrozenWorldModel(Toy(), FrozenNetwork(config), "cpu")
    with pytest.raises(ValueError, match="training frozen --model"):
        load("cpu", tmp_path)
    (tmp_path / "frozen.safetensors").write_bytes(b"cut short")
    with pytest.raises(ValueError, match=r"frozen.safetensors is not a safetensors file"):
        load("cpu", tmp_path)
