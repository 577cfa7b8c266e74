"""Training on tiny made-up recordings: the dataset, the losses, resuming, the figures."""

from __future__ import annotations

import dataclasses
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from jepa_ros.backends.scene_jepa.config import IMAGE_SIZE, SceneJepaConfig
from jepa_ros.training import losses
from jepa_ros.training.__main__ import main
from jepa_ros.training.metrics import OccupancyScore, spread
from jepa_ros.training.world_model import dataset
from jepa_ros.training.world_model.augment import Augmentation
from jepa_ros.training.world_model.evaluate import evaluate
from jepa_ros.training.world_model.loop import TrainingConfig, pretrain
from jepa_ros.training.world_model.shard import NO_RING, Shard, open_shards, write_shard
from jepa_ros.training.world_model.windows import Windows, WindowSpec
from jepa_ros.types import NANOSECONDS, CameraModel, EgoState, LidarSweep, Observation

TINY = SceneJepaConfig(history=2, horizon=3, width=24, stem=4, body=4, camera=4, trunk=4, step=4, head=4)
SPEC = WindowSpec(history=2, horizon=3, dt_s=0.4, targets=3, cameras=1)
SPEED_MPS = 2.0


def write_drive(folder: Path, frames: int = 8) -> None:
    """A vehicle that drives straight at 2 m/s past a post that stands at (8.2, 3.0) m in odom."""
    rng = np.random.default_rng(0)
    post = np.stack([np.full(50, 8.2), np.full(50, 3.0), np.linspace(0.1, 1.9, 50)], axis=1)
    ground = np.stack([*rng.uniform(-20, 20, (2, 1000)), np.zeros(1000)], axis=1)
    stored = []
    for k in range(frames):
        pose = np.eye(4)
        pose[0, 3] = SPEED_MPS * 0.4 * k
        points = np.concatenate([post - pose[:3, 3], ground])
        stored.append(
            {
                "stamp_ns": np.int64(0.4 * k * NANOSECONDS),
                "odom_from_anchor": pose,
                "ground_height_m": np.float32(0),
                "points": (points * 100).round().astype(np.int16),
                "ring": np.full(len(points), NO_RING, np.uint8),
                "lidar_origin_m": np.array([0.0, 0.0, 1.8]),
                "images": np.zeros((1, *IMAGE_SIZE, 3), np.uint8),
                "camera_from_anchor": np.eye(4)[None],
            }
        )
    camera = CameraModel(64, 32, np.array([[40.0, 0, 31.5], [0, 40.0, 15.5], [0, 0, 1]]), np.empty(0))
    write_shard(folder, "made up", [camera], stored)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("data")
    write_drive(root / "drive")
    return root


def post_cells(occupied: torch.Tensor) -> list[tuple[int, int]]:
    return [(int(row), int(column)) for row, column in torch.nonzero(occupied)]


def test_what_stands_still_stays_where_it_is_in_the_anchor_frame_of_now(data: Path) -> None:
    window = Windows(open_shards(data), SPEC, 0, 1, fixed=Augmentation())[1]  # the vehicle is at x = 0.8 m: the post 7.4 m ahead
    assert [post_cells(grid) for grid in window.occupied] == [[(71, 82)]] * 4
    assert window.accumulated[71, 82] == 1
    assert torch.allclose(window.actions[:, 0], torch.tensor([0.8, 1.6, 2.4]))
    assert window.now_from_history[0, 0, 3] == pytest.approx(-0.8)


def test_augmentation_turns_world_and_motion_alike(data: Path) -> None:
    turn = np.eye(4)
    turn[:2, :2] = [[0, -1], [1, 0]]  # a quarter to the left: ahead becomes left
    window = Windows(open_shards(data), SPEC, 0, 1, fixed=Augmentation(turn=turn))[1]
    (cell,) = set(post_cells(window.occupied[2]))
    assert cell == (82, 56)  # x = -3.0 m, y = 7.4 m
    assert torch.allclose(window.actions[:, 1], torch.tensor([0.8, 1.6, 2.4]))


def test_steps_beyond_the_recording_are_not_scored(data: Path) -> None:
    windows = Windows(open_shards(data), SPEC, 0, 1, fixed=Augmentation())
    last = windows[len(windows) - 1]
    assert last.visible[1].any()
    assert not last.visible[2:].any()
    assert len(Shard(data / "drive", part=(0.5, 1.0))) == 4


def config(data: Path, out: Path, steps: int) -> TrainingConfig:
    return TrainingConfig(str(data), str(out), steps, batch=2, targets=2, warmup=1, workers=0, device="cpu", checkpoint_every=2, model=TINY)


def test_a_resumed_training_repeats_an_unbroken_one(data: Path, tmp_path: Path) -> None:
    unbroken: dict[int, float] = {}
    pretrain(config(data, tmp_path / "a", 4), log=lambda step, s: unbroken.update({step: s["loss/total"]}))

    class Killed(Exception):
        pass

    def kill_in_step_3(step: int, scalars: dict[str, float]) -> None:
        if step == 3:
            raise Killed

    with pytest.raises(Killed):
        pretrain(config(data, tmp_path / "b", 4), log=kill_in_step_3)
    resumed: dict[int, float] = {}
    pretrain(config(data, tmp_path / "b", 4), log=lambda step, s: resumed.update({step: s["loss/total"]}))
    assert list(resumed) == [2, 3]
    assert all(resumed[step] == pytest.approx(unbroken[step], rel=1e-5) for step in resumed)


def train_one_rank(rank: int, data: Path, out: Path, port: int) -> None:
    os.environ |= {"RANK": str(rank), "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    torch.set_num_threads(1)
    model = pretrain(dataclasses.replace(config(data, out, 3), batch=1))
    torch.save(model.state_dict(), out / f"rank{rank}.pt")


@pytest.mark.slow
def test_two_processes_train_as_one_with_their_batches_joined(data: Path, tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    torch.multiprocessing.spawn(train_one_rank, (data, tmp_path, port), nprocs=2)
    ranks = [torch.load(tmp_path / f"rank{rank}.pt") for rank in range(2)]
    assert all(torch.equal(ranks[0][name], ranks[1][name]) for name in ranks[0])


def test_the_probe_sends_no_gradient_into_the_world_model(data: Path) -> None:
    from jepa_ros.backends.scene_jepa.model import SceneJepa
    from jepa_ros.training.world_model.pretraining_loss import ObjectiveConfig, total_loss
    from jepa_ros.training.world_model.windows import collate

    model = SceneJepa(TINY)
    windows = Windows(open_shards(data), SPEC, 0, 2)
    batch = collate([windows[0], windows[1]])
    loss, _ = total_loss(model, batch, ObjectiveConfig(regulariser_weight=0.0), torch.Generator().manual_seed(0))
    loss.backward()
    with_probe = model.encoder.head[-1].weight.grad.clone()  # type: ignore[union-attr, operator]
    model.zero_grad()
    torch.nn.init.zeros_(model.occupancy_probe.layers[-1].weight)  # type: ignore[arg-type]
    loss, _ = total_loss(model, batch, ObjectiveConfig(regulariser_weight=0.0), torch.Generator().manual_seed(0))
    loss.backward()
    assert torch.equal(with_probe, model.encoder.head[-1].weight.grad)  # type: ignore[arg-type]


def test_collapse_costs_and_a_normal_distribution_does_not() -> None:
    generator = torch.Generator().manual_seed(0)
    healthy = torch.randn(4000, 16, generator=generator)
    one_dimensional = healthy[:, :1].repeat(1, 16)
    constant = torch.zeros_like(healthy)
    sigreg = [losses.sigreg_loss(tokens, torch.Generator().manual_seed(1)) for tokens in (healthy, one_dimensional, constant)]
    assert sigreg[0] < 0.01 < 0.1 < sigreg[2]
    assert sigreg[1] > 10 * sigreg[0]
    assert losses.vicreg_loss(constant)[0] > 0.9 > 0.1 > losses.vicreg_loss(healthy)[0]
    assert losses.vicreg_loss(one_dimensional)[1] > 5 > 0.1 > losses.vicreg_loss(healthy)[1]
    assert spread(healthy).effective_rank > 15
    assert spread(one_dimensional).effective_rank == pytest.approx(1, abs=1e-3)


def test_average_precision_and_iou_by_hand() -> None:
    score = OccupancyScore()
    probability = torch.tensor([0.9, 0.8, 0.7, 0.6, 0.99])
    occupied = torch.tensor([1, 0, 1, 0, 0])
    visible = torch.tensor([1, 1, 1, 1, 0])  # the worst mistake could not be seen
    score.add(probability, occupied, visible)
    assert score.average_precision() == pytest.approx((1 + 2 / 3) / 2)
    assert score.iou(0.75) == pytest.approx(1 / 3)
    assert score.iou() == pytest.approx(2 / 3)


def test_an_untrained_model_is_persistence_in_latents(data: Path) -> None:
    from jepa_ros.backends.scene_jepa.model import SceneJepa

    torch.manual_seed(0)
    result = evaluate(SceneJepa(TINY).eval(), open_shards(data), every=2)
    assert result.latent_error == pytest.approx(result.latent_error_persistence)
    assert result.occupancy["persistence"]["iou"][0] == 1.0
    assert "effective rank" in result.table()


def test_prepare_splits_long_bags_and_goes_on_where_it_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def made_up_bag(path: Path) -> Iterator[Observation]:
        opened.append(path.name)
        points = np.random.default_rng(0).uniform(-10, 10, (500, 3)).astype(np.float32)
        for k in range(5):
            sweep = LidarSweep(k, points if k != 2 else points[:10], None, None, None, np.eye(4))
            yield Observation(int(k * 0.4 * NANOSECONDS), EgoState(k, np.eye(4), np.zeros(2)), sweep)
        if path.name == "broken":
            raise ValueError("truncated")

    opened: list[str] = []
    monkeypatch.setattr(dataset, "open_bag", made_up_bag)
    monkeypatch.setattr(dataset, "SHARD_FRAMES", 3)
    bags = [tmp_path / "whole", tmp_path / "broken"]
    report = dataset.prepare(bags, tmp_path / "out")
    assert report["frames"] == {"kept": 8, "too_few_points": 2, "unreadable: truncated": 1}
    assert sorted(len(shard) for shard in open_shards(tmp_path / "out")) == [1, 1, 3, 3]
    assert dataset.prepare(bags, tmp_path / "out") == {**report, "already_there": 2}
    assert opened == ["whole", "broken"]


@pytest.mark.slow
def test_a_ray_cluster_prepares_the_same_as_processes_do(tmp_path: Path) -> None:
    pytest.importorskip("ray", reason="Ray is not installed: pip install 'jepa_ros[ray]'")
    pytest.importorskip("mujoco", reason="MuJoCo is not installed: pip install 'jepa_ros[sim]'")
    from jepa_ros.sim.bag import BagSpec, write_bag

    specs = [BagSpec(seed, "corridor", duration_s=1.2, rate_hz=2.5, lidar_rings=16, cameras=0) for seed in (1, 2)]
    bags = [write_bag(tmp_path / f"bag{spec.seed}", spec) for spec in specs] + [tmp_path / "missing"]
    reports = {engine: dataset.prepare(bags, tmp_path / engine, workers=2, engine=engine) for engine in dataset.ENGINES}
    assert reports["ray"] == reports["processes"]
    assert reports["ray"]["frames"]["kept"] == 6
    written = [
        {path.relative_to(tmp_path / engine): path.read_bytes() for path in (tmp_path / engine).rglob("*.np?")} for engine in reports
    ]
    assert written[0] == written[1]
    assert len(written[0]) == 8


def test_bad_input_is_one_line_and_exit_code_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", "--data", str(tmp_path), "--weights", str(tmp_path / "none.safetensors")]) == 2
    assert "none.safetensors does not exist; give scene_jepa" in capsys.readouterr().err
    assert main(["prepare", str(tmp_path / "no_bag"), "--out", str(tmp_path / "out")]) == 0  # reported, not fatal
    assert "unreadable" in capsys.readouterr().out
    with pytest.raises(ValueError, match="at least 1"):
        dataclasses.replace(TrainingConfig(), steps=0)
