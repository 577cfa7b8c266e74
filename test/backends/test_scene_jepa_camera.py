"""Images without a lidar, read column by column."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from jepa_ros.backends.bev import BEV_GRID
from jepa_ros.backends.scene_jepa.camera import CameraColumns
from jepa_ros.backends.scene_jepa.config import BODY, SceneJepaConfig
from jepa_ros.backends.scene_jepa.critic import fingerprint
from jepa_ros.backends.scene_jepa.model import SceneJepa
from jepa_ros.backends.scene_jepa.projection import FARTHEST_M, OUTSIDE, cell_columns
from jepa_ros.training import __main__ as training
from jepa_ros.training.world_model.camera import Sample, _loss, with_columns
from jepa_ros.types import CameraImage, CameraModel, EgoState, LidarSweep, Observation

SMALL = SceneJepaConfig(width=24, stem=8, body=8, camera=8, trunk=8, step=8)
AHEAD = np.array([[0, 0, 1, 0.5], [-1, 0, 0, 0], [0, -1, 0, 1.2], [0, 0, 0, 1.0]])  # base from camera: z forward, x right, y down
MODEL = CameraModel(64, 32, np.array([[40.0, 0, 31.5], [0, 40.0, 15.5], [0, 0, 1]]), np.empty(0))


def cell(x_m: float, y_m: float) -> tuple[int, int]:
    """Row and column."""
    return int(y_m // 0.4) + BEV_GRID.rows // 2, int(x_m // 0.4) + BEV_GRID.columns // 2


def test_where_cells_lie_in_the_columns_of_an_image() -> None:
    places = cell_columns(BEV_GRID, 0.0, np.linalg.inv(AHEAD), MODEL)
    column, away, mount = places[cell(10.1, 0.1)]
    assert abs(column) < 0.05
    assert (away + 1) / 2 * FARTHEST_M == pytest.approx(9.7, abs=0.05)  # the camera is half a metre ahead of the base
    assert mount == pytest.approx(1.2)
    left, right = places[cell(10.1, 3.1)][0], places[cell(10.1, -3.0)][0]
    assert left == pytest.approx(-right, abs=0.02)
    assert left == pytest.approx(-3.0 / 9.7 * 40 / 32, abs=0.05)  # what is on the left is in the left half of the image
    assert places[cell(-5.0, 0.0)][0] == OUTSIDE
    assert places[cell(2.0, 8.0)][0] == OUTSIDE


def pole_at(x_m: float, y_m: float) -> Sample:
    """A bright pole in a dark image, and the returns that it gives."""
    image = torch.zeros(3, 32, 64)
    depth_m = x_m - 0.5
    middle, foot = 31.5 - 40 * y_m / depth_m, 15.5 + 40 * 1.2 / depth_m
    image[:, : int(min(foot, 31)) + 1, int(middle - 1) : int(middle + 2)] = 1.0
    returns = torch.zeros(5, BEV_GRID.rows, BEV_GRID.columns)
    row, column = cell(x_m, y_m)
    returns[BODY, row, column] = 1.0
    places = torch.from_numpy(cell_columns(BEV_GRID, 0.0, np.linalg.inv(AHEAD), MODEL))
    return Sample(image, places, returns, (places[..., :2].abs() <= 1).all(-1).float())


def test_it_learns_where_things_stand_from_where_their_feet_are() -> None:
    torch.manual_seed(0)
    columns = CameraColumns(5, 32)
    samples = [pole_at(x_m, y_m) for x_m in (4.1, 6.1, 9.1, 13.1) for y_m in (-1.1, 0.1, 1.3)]
    samples += [sample.mirrored() for sample in samples]
    optimiser = torch.optim.Adam(columns.parameters(), lr=3e-3)
    for _ in range(60):
        optimiser.zero_grad()
        _loss(columns, samples).backward()
        optimiser.step()
    unseen = pole_at(6.1, -0.7)
    with torch.no_grad():
        logits, seen = columns(unseen.image_CHW[None, None], unseen.places_YX3[None, None])
    standing = logits[0, BODY].amax(dim=0).masked_fill(~seen[0, 0], -99.0)
    row, column = divmod(int(standing.argmax()), BEV_GRID.columns)
    assert np.hypot(row - cell(6.1, -0.7)[0], column - cell(6.1, -0.7)[1]) <= 3
    assert (logits[0, :, ~seen[0, 0]] < -10).all(), "of what no camera sees nothing is said"


def observation(lidar: bool) -> Observation:
    rng = np.random.default_rng(0)
    points = np.concatenate([rng.uniform((8, -5, 0), (9, 5, 2), (500, 3)), rng.uniform((-20, -20, 0), (20, 20, 0.05), (2000, 3))])
    sweep = LidarSweep(0, points.astype(np.float32), None, None, None, np.eye(4))
    image = CameraImage(0, "camera", rng.integers(0, 255, (32, 64, 3), np.uint8), MODEL, AHEAD)
    return Observation(0, EgoState(0, np.eye(4), np.zeros(2)), sweep if lidar else None, (image,))


def test_with_a_lidar_nothing_changes_without_one_what_is_in_view() -> None:
    torch.manual_seed(0)
    before = SceneJepa(SMALL).eval()
    after = with_columns(before)
    assert fingerprint(after) == fingerprint(before), "a critic that was fitted to the one serves the other"
    assert torch.equal(after.encode(observation(lidar=True)), before.encode(observation(lidar=True)))
    changed = (after.encode(observation(lidar=False)) != before.encode(observation(lidar=False)))[0].reshape(64, 64, -1)
    assert changed[32, 45, : SMALL.grounded].all(), "ahead"
    assert not changed[32, 10].any(), "behind"
    assert not changed[..., SMALL.grounded :].any(), "what is learned"


def test_too_few_bags_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert training.main(["camera", "--data", str(tmp_path), "--out", str(tmp_path / "w.safetensors")]) == 2
    assert "prepare BAG" in capsys.readouterr().err


def test_another_light_leaves_the_scene_as_it_is() -> None:
    sample = pole_at(6.1, 0.1)
    lit = sample.in_another_light(np.random.default_rng(1))
    assert not torch.equal(lit.image_CHW, sample.image_CHW)
    assert replace(lit, image_CHW=sample.image_CHW) == sample
