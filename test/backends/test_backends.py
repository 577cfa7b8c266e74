"""The world-model seam: registry, persistence, scene_jepa with random weights, surprise."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from jepa_ros.backends import BACKENDS, load_world_model
from jepa_ros.backends.bev import BEV_GRID, half_extent_m, warp
from jepa_ros.backends.scene_jepa.config import SceneJepaConfig
from jepa_ros.backends.scene_jepa.model import SceneJepa, load, save
from jepa_ros.backends.surprise import LEAST_SIGMA, WARM_UP, ErrorHistory, worst_error
from jepa_ros.protocols import WorldModel
from jepa_ros.types import CameraImage, CameraModel, EgoState, LidarSweep, Observation

SMALL = SceneJepaConfig(width=24, stem=8, body=8, camera=8, trunk=8, step=8)
FORWARD_CAMERA = np.array([[0, 0, 1, 0], [-1, 0, 0, 0], [0, -1, 0, 1.2], [0, 0, 0, 1.0]])  # z forward, x right, y down


def observation(lidar: bool = True, cameras: int = 1, seed: int = 0) -> Observation:
    rng = np.random.default_rng(seed)
    wall = np.stack([rng.uniform(8, 9, 500), rng.uniform(-5, 5, 500), rng.uniform(0, 2, 500)], axis=1)
    ground = np.stack([*rng.uniform(-20, 20, (2, 2000)), np.zeros(2000)], axis=1)
    points = np.concatenate([wall, ground]).astype(np.float32)
    sweep = LidarSweep(0, points, None, None, None, np.eye(4))
    model = CameraModel(64, 32, np.array([[40.0, 0, 31.5], [0, 40.0, 15.5], [0, 0, 1]]), np.empty(0))
    images = tuple(
        CameraImage(0, f"camera_{k}", rng.integers(0, 255, (32, 64, 3), np.uint8), model, FORWARD_CAMERA) for k in range(cameras)
    )
    return Observation(0, EgoState(0, np.eye(4), np.zeros(2)), sweep if lidar else None, images)


def moved(x_m: float, y_m: float, yaw_rad: float = 0.0) -> np.ndarray:
    pose = np.eye(4)
    pose[:2, :2] = [[np.cos(yaw_rad), -np.sin(yaw_rad)], [np.sin(yaw_rad), np.cos(yaw_rad)]]
    pose[:2, 3] = x_m, y_m
    return pose


@pytest.fixture(scope="module")
def model() -> SceneJepa:
    torch.manual_seed(0)
    return SceneJepa(SMALL).eval()


def test_unknown_names_list_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"no_such.*persistence.*scene_jepa"):
        load_world_model("no_such")
    with pytest.raises(ValueError, match="device='nope'"):
        load_world_model("persistence", device="nope")
    assert {"scene_jepa", "persistence"} <= set(BACKENDS)


def test_warp_moves_what_was_seen_to_where_it_is_now() -> None:
    grid = torch.zeros(1, 1, 128, 128)
    grid[0, 0, 64, 84] = 1  # a cell at x = 8.2 m, y = 0.2 m
    half_m = half_extent_m(BEV_GRID)
    ahead = warp(grid, np.linalg.inv(moved(4.0, 0.0))[None], half_m)  # the vehicle drove 4 m: the cell is 4.2 m ahead
    assert ahead[0, 0, 64, 74] == pytest.approx(1, abs=1e-4)
    turned = warp(grid, np.linalg.inv(moved(0.0, 0.0, math.pi / 2))[None], half_m)  # it turned left: the cell is on its right
    column, row = 64, 127 - 84
    assert turned[0, 0, row, column] == pytest.approx(1, abs=1e-4)
    assert warp(grid, np.eye(4)[None], half_m) is grid


@pytest.mark.parametrize("name", ["persistence", "scene_jepa"])
@pytest.mark.parametrize(("lidar", "cameras"), [(True, 0), (True, 1), (False, 2)])
def test_the_seam(name: str, lidar: bool, cameras: int, model: SceneJepa) -> None:
    world: WorldModel = model if name == "scene_jepa" else load_world_model(name, device="cpu")
    assert isinstance(world, WorldModel)
    latent = world.encode(observation(lidar, cameras))
    assert latent.shape == (1, *world.spec.latent_shape)
    assert torch.isfinite(latent).all()
    history = world.align(latent.repeat(world.spec.history, 1, 1), np.stack([moved(0.3, 0, 0.01)] * world.spec.history))[None]
    predicted = world.predict(history, torch.zeros(1, 12, 3))
    assert predicted.shape == (1, 12, *world.spec.latent_shape)
    occupancy = world.occupancy(torch.cat([latent, predicted[0]]))
    assert world.spec.grid is not None
    assert occupancy.shape == (13, world.spec.grid.rows, world.spec.grid.columns)
    assert 0 <= occupancy.min() <= occupancy.max() <= 1


def test_persistence_sees_the_wall_and_what_it_hides() -> None:
    world = load_world_model("persistence", device="cpu")
    occupied, visible = world.encode(observation())[0].T.reshape(2, 128, 128)
    assert occupied[64, 85] == 1  # 8.6 m ahead
    assert occupied[64, 75] == 0
    assert visible[64, 75] == 1
    assert visible[64, 110] == 0  # behind it


def test_the_future_starts_as_persistence_and_depends_on_the_action_once_trained(model: SceneJepa) -> None:
    latent = model.encode(observation())
    still, drive = torch.zeros(1, 12, 3), torch.zeros(1, 12, 3)
    drive[0, :, 0] = torch.arange(12)
    assert torch.allclose(model.predict(latent[:, None], still)[0], latent.expand(12, -1, -1))
    trained = SceneJepa(SMALL).eval()
    torch.nn.init.normal_(trained.predictor.step[-1].project.weight)
    futures = [trained.predict(latent[:, None], actions) for actions in (still, drive)]
    assert not torch.allclose(*futures)
    assert torch.allclose(trained.predict(latent[:, None], drive[:, :3]), futures[1][:, :3], atol=1e-5)  # direct: no step needs the next


def test_a_camera_changes_only_what_it_sees(model: SceneJepa) -> None:
    blind, seeing = model.encode(observation(cameras=0)), model.encode(observation(cameras=1))
    difference = (blind - seeing).abs().amax(dim=-1).reshape(64, 64)
    assert difference[:, 40:].max() > 1e-4  # ahead
    assert difference[:, :10].max() < 1e-6  # far behind


def test_wrong_shapes_are_named(model: SceneJepa) -> None:
    latent = model.encode(observation())
    with pytest.raises(ValueError, match="history must be"):
        model.predict(latent, torch.zeros(1, 12, 3))
    with pytest.raises(ValueError, match=r"actions must be .*\(1, 13, 3\)"):
        model.predict(latent[:, None], torch.zeros(1, 13, 3))


def test_weights_come_back_as_they_were_saved(model: SceneJepa, tmp_path) -> None:
    save(model, tmp_path / "w.safetensors", "v1", {"steps": 3})
    again = load("cpu", tmp_path / "w.safetensors")
    assert again.spec.version == "v1"
    assert torch.equal(again.encode(observation()), model.encode(observation()))
    (tmp_path / "broken.safetensors").write_bytes(b"no weights")
    with pytest.raises(ValueError, match="not a safetensors file"):
        load("cpu", tmp_path / "broken.safetensors")
    with pytest.raises(ValueError, match=r"missing.safetensors does not exist; give scene_jepa"):
        load("cpu", tmp_path / "missing.safetensors")


def test_surprise_rises_for_what_was_not_predicted() -> None:
    history, generator = ErrorHistory(LEAST_SIGMA), torch.Generator().manual_seed(0)

    def noise() -> torch.Tensor:
        return 0.3 * torch.randn(4096, 8, generator=generator)

    scene = torch.randn(4096, 8, generator=generator)
    usual = []
    for _ in range(4 * WARM_UP):
        error = worst_error(scene, scene + noise())
        usual.append(history.judge(error))
        history.add(error)
    assert all(math.isnan(value) for value in usual[:WARM_UP])
    assert 0.2 < np.mean(usual[WARM_UP:]) < 0.8
    appeared = torch.zeros(64, 64, 8)  # something small in a large scene
    appeared[20:23, 30:33] = 1.0
    assert history.judge(worst_error(scene + appeared.reshape(4096, 8), scene + noise())) > 0.99
    with pytest.raises(ValueError, match="differ in shape"):
        worst_error(scene, scene[:50])
