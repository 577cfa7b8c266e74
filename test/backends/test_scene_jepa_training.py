"""What a scene_jepa learns motion and consequences from: weights of the loss, branches of one world; windows beside the whole map."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from jepa_ros.backends.bev import BEV_GRID
from jepa_ros.backends.scene_jepa.config import GROUNDED_SCALE, SceneJepaConfig
from jepa_ros.backends.scene_jepa.model import SceneJepa, load, save
from jepa_ros.planning.imagined.swept import SweptCells
from jepa_ros.training.world_model.pretraining_loss import ObjectiveConfig, moving_tokens, total_loss
from jepa_ros.training.world_model.shard import open_shards
from jepa_ros.training.world_model.windows import Windows, WindowSpec, collate


def test_only_what_enters_or_leaves_counts_as_moving() -> None:
    occupied = torch.zeros(1, 2, 16, 16)
    occupied[0, :, 2, 2] = 1  # stands
    occupied[0, 0, 2, 8], occupied[0, 1, 2, 9] = 1, 1  # hit in the next cell: flickers
    occupied[0, 0, 8, 8], occupied[0, 1, 8, 12] = 1, 1  # walks
    occupied[0, 1, 14, 2] = 1  # was hidden before
    visible = torch.ones(1, 2, 16, 16)
    visible[0, 0, 14, 2] = 0
    assert torch.nonzero(moving_tokens(occupied, visible)[0, 0]).tolist() == [[4, 4], [4, 6]]


def walker_history() -> torch.Tensor:
    """(4, N, D) latents of a box of 2 x 2 cells that walks a cell per step."""
    model = SceneJepa(SceneJepaConfig())
    cells = torch.zeros(4, 5, 128, 128)
    for step in range(4):
        cells[step, 1:4, 60:62, 70 + step : 72 + step] = GROUNDED_SCALE
    observed = torch.nn.functional.pixel_unshuffle(cells, 2).flatten(2).transpose(1, 2)
    return torch.cat([observed, torch.randn(4, observed.shape[1], model.config.width - observed.shape[2])], dim=2)


def test_windows_say_what_the_whole_map_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SceneJepa, "fast", lambda self: contextlib.nullcontext())  # float32 on any processor
    torch.manual_seed(0)
    model = SceneJepa(SceneJepaConfig()).eval().requires_grad_(False)
    history = walker_history()
    poses = 0.4 * torch.arange(1, 13)[None, :, None] * torch.tensor([[[0.0, 0.0, 0.0]], [[2.0, -0.5, 0.0]], [[1.0, 0.0, 0.0]]])
    for parameter in model.predictor.step.parameters():
        parameter.normal_(std=0.05)
    way = SweptCells(torch.cat((torch.zeros(3, 1, 3), poses), dim=1), BEV_GRID, 2.0)
    windows = model.occupancy_windows(history)(poses, way.corners_SL2, way.cells)
    whole = model.occupancy(model.predict(history.expand(3, -1, -1, -1), poses).flatten(0, 1)).unflatten(0, (3, 12))
    for motion, step in np.ndindex(3, 12):
        row, column = way.corners_SL2[motion, step].tolist()
        expected = whole[motion, step, row : row + way.cells, column : column + way.cells]
        assert torch.allclose(windows[motion, step], expected, rtol=0, atol=1e-5)
    assert any(((y <= 60) & (y + way.cells > 60)) and ((x <= 76) & (x + way.cells > 76)) for y, x in way.corners_SL2.flatten(0, 1).tolist())


def test_branches_share_their_past_and_are_drawn_together(tmp_path: Path) -> None:
    pytest.importorskip("mujoco", reason="MuJoCo is not installed: pip install 'jepa_ros[sim]'")
    from jepa_ros.sim.bag import BagSpec, Branch, write_bag
    from jepa_ros.training.world_model.dataset import prepare

    bags = [
        write_bag(
            tmp_path / name,
            BagSpec(3, "corridor", 2.4, 2.5, lidar_rings=16, lidar_azimuths=180, cameras=1, camera_size=(32, 16), branch=Branch(2.0, name)),
        )
        for name in ("on", "stand")
    ]
    prepare(bags, tmp_path / "data")
    shards = open_shards(tmp_path / "data")
    assert np.array_equal(shards[0][3].points_m, shards[1][3].points_m)
    ahead = [shard[5].odom_from_anchor[:2, 3] - shard[3].odom_from_anchor[:2, 3] for shard in shards]
    assert abs(np.hypot(*ahead[0]) - np.hypot(*ahead[1])) > 0.1
    spec = WindowSpec(history=4, horizon=2, dt_s=0.4, targets=2, cameras=1, sensors=(0.0, 0.0, 1.0))
    windows = Windows(shards, spec, 0, 2)
    pairs = [(windows[number], windows[number + 1]) for number in range(0, 24, 2)]
    told = [not torch.equal(a.actions, b.actions) for a, b in pairs if torch.equal(a.history.images_BKCHW, b.history.images_BKCHW)]
    assert sum(told) > len(pairs) // 3  # a pair with one past and two futures; frames after the branching have none
    # Without a lidar, what all sensors say of now is learned too.
    assert pairs[0][0].targets.pillars_BCYX.shape[0] == 3
    model = SceneJepa(SceneJepaConfig(history=4, horizon=2, width=24, stem=4, body=4, camera=4, trunk=4, step=4))
    _, scalars = total_loss(model, collate(list(pairs[0])), ObjectiveConfig(), torch.Generator().manual_seed(0))
    assert scalars["loss/recall"] > 0.01


def test_weights_that_carried_clusters_are_read_without_that(tmp_path: Path) -> None:
    model = SceneJepa(SceneJepaConfig(stem=8, body=8, camera=4, trunk=8, step=8))
    save(model, tmp_path / "new.safetensors", "new", {})
    with safe_open(str(tmp_path / "new.safetensors"), framework="pt") as file:
        sizes = json.loads(file.metadata()["config"]) | {"trust": True}
    tensors = dict(model.state_dict()) | {"predictor.moving.arrives": torch.ones(12), "predictor.moving.leaves": torch.ones(12)}
    for name in ("predictor.step.2.project.weight", "predictor.step.2.project.bias"):
        tensors[name] = torch.cat((tensors[name], torch.full_like(tensors[name][:4], 7.0)))
    old = {name: tensor.contiguous() for name, tensor in tensors.items()}
    save_file(old, str(tmp_path / "old.safetensors"), {"config": json.dumps(sizes), "version": "0.5.0"})
    read = load("cpu", tmp_path / "old.safetensors")
    assert read.spec.version == "0.5.0"
    for name, tensor in model.state_dict().items():
        assert torch.equal(read.state_dict()[name], tensor)
