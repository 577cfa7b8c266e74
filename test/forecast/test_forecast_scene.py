"""Scene latents in the forecaster: laid where people are, without effect where nothing stands, learned from and kept."""

import dataclasses

import numpy as np
import pytest
import torch

from experiments.pedestrians.plots import draw_scenes
from experiments.pedestrians.scene import scene_rows, telling_instants, through_cells, through_obstacles
from jepa_ros.backends import load_world_model
from jepa_ros.forecast import Tracks, load_forecaster
from jepa_ros.forecast.learned import LearnedForecaster
from jepa_ros.forecast.network import NetworkConfig, TrackNetwork
from jepa_ros.forecast.scene import BANDS, CROP, MODEL, SceneAdapter, latents_of, returns_map, sample, split_people, walk_around
from jepa_ros.objects.time_steps import HORIZON
from jepa_ros.protocols import SceneLatents
from jepa_ros.sim.places.worlds import make_layout
from jepa_ros.training.forecaster import worlds as forecaster_worlds
from jepa_ros.training.forecaster.data import joined
from jepa_ros.training.forecaster.scene import SceneTrainConfig, SceneTrainer, Surroundings
from jepa_ros.types import EgoState, LidarSweep, Observation

CONFIG = NetworkConfig(width=32, social_width=16, latent=8)
EMPTY = torch.zeros(128, 128, BANDS)


@pytest.fixture
def forecaster() -> LearnedForecaster:
    torch.manual_seed(4)
    adapter = SceneAdapter(CONFIG)
    torch.nn.init.normal_(adapter.output.weight)
    return LearnedForecaster(TrackNetwork(CONFIG), None, adapter)


@pytest.fixture(scope="module")
def corridor():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(forecaster_worlds, "FRAMES", 24)
        return forecaster_worlds.simulated_world("corridor", 8, load_world_model(MODEL, device="cpu"))


def pose(x: float, y: float, yaw: float) -> np.ndarray:
    matrix = np.eye(4)
    matrix[:2, :2] = [[np.cos(yaw), -np.sin(yaw)], [np.sin(yaw), np.cos(yaw)]]
    matrix[:2, 3] = x, y
    return matrix


def walkers(people: int = 5, seed: int = 0) -> Tracks:
    rng = np.random.default_rng(seed)
    steps = 0.5 * np.stack((np.cos(angle := rng.uniform(0, 6, people)), np.sin(angle)), axis=-1)
    return Tracks(rng.uniform(-5, 5, (people, 1, 2)) + np.arange(-7, 1)[:, None] * steps[:, None], np.ones((people, 8), bool), 0.4)


def clutter(seed: int = 1) -> torch.Tensor:
    return (torch.rand(128, 128, BANDS, generator=torch.Generator().manual_seed(seed)) < 0.1).float()


def test_without_anything_around_the_forecast_is_that_of_the_tracks(forecaster):
    tracks, here = walkers(), pose(1.0, -2.0, 0.3)
    alone = forecaster.predict(tracks)
    full = SceneLatents(latents_of(clutter()), here, MODEL)
    for scene in (
        SceneLatents(latents_of(EMPTY), here, MODEL),
        dataclasses.replace(full, model="persistence"),
        SceneLatents(latents_of(clutter()), pose(500.0, 0.0, 0.0), MODEL),
        SceneLatents(torch.randn(49, 1024), here, MODEL),
    ):
        forecast = forecaster.predict(tracks, scene)
        np.testing.assert_array_equal(forecast.modes_m, alone.modes_m)
        np.testing.assert_array_equal(forecast.covariances_m2, alone.covariances_m2)
    assert np.abs(forecaster.predict(tracks, full).modes_m - alone.modes_m).max() > 0.1


def test_the_forecast_turns_and_moves_with_the_world_and_its_scene(forecaster):
    tracks, here, move = walkers(), pose(1.0, -2.0, 0.3), pose(4.0e3, -7.0e3, 2.2)
    there = Tracks(tracks.positions_m @ move[:2, :2].T + move[:2, 3], tracks.valid, tracks.dt_s)
    one = forecaster.predict(tracks, SceneLatents(latents_of(clutter()), here, MODEL))
    other = forecaster.predict(there, SceneLatents(latents_of(clutter()), move @ here, MODEL))
    np.testing.assert_allclose(other.modes_m, one.modes_m @ move[:2, :2].T + move[:2, 3], atol=2e-3)
    np.testing.assert_allclose(other.probabilities, one.probabilities, atol=1e-3)


def test_a_crop_shows_what_stands_ahead(forecaster):
    """Somebody at (3, -2) walks along +y; something stands 4 m ahead and 1 m to the right."""
    here = pose(2.0, 1.0, 0.7)
    place = np.linalg.inv(here) @ np.array([4.0, 2.0, 0.0, 1.0])
    returns = EMPTY.clone()
    column, row = np.floor((place[:2] + 25.6) / 0.4).astype(int)
    returns[row, column] = 1.0
    walk = np.array([3.0, -2.0]) + np.arange(-7, 1)[:, None] * np.array([0.0, 0.5])
    encoded = forecaster._encode(torch.from_numpy(walk[None]).float(), torch.ones(1, 8, dtype=torch.bool))
    points = (forecaster.adapter.points_of(encoded.frames) - torch.tensor([2.0, 1.0])) @ torch.tensor(here[:2, :2]).float()
    crop = sample(returns, points)[0, 0]
    seen = (crop[..., None] * forecaster.adapter.points.view(*CROP, 2)).sum(dim=(0, 1)) / crop.sum()
    np.testing.assert_allclose(seen, [4.0, -1.0], atol=0.3)


def test_the_map_is_what_the_world_model_states():
    points = np.array([[3.1, 0.1, 0.5], [3.1, 0.1, 1.0], [-7.9, 4.1, 2.5], [6.0, 6.0, 0.0]], np.float32)
    sweep = LidarSweep(0, points, None, None, None, np.eye(4))
    latents = load_world_model(MODEL, device="cpu").encode(Observation(0, EgoState(0, np.eye(4), np.zeros(2)), lidar=sweep))[0]
    returns = returns_map(SceneLatents(latents, np.eye(4), MODEL))
    assert sorted(tuple(cell) for cell in returns.nonzero().tolist()) == [(64, 71, 0), (64, 71, 1), (74, 44, 3)]
    torch.testing.assert_close(returns_map(SceneLatents(latents_of(clutter()), np.eye(4), MODEL)), clutter())
    split = split_people(returns, np.array([[3.1, 0.1], [-7.9, 4.1], [60.0, 0.0]]))
    assert split.nonzero().tolist() == [[64, 71, BANDS], [74, 44, 3]]  # nobody is taller than 2 m


def test_nobody_is_led_through_a_wall_who_can_walk_around():
    wall = torch.zeros(128, 128, BANDS + 1)
    wall[60:68, 74, :3] = 1.0  # across the way, 4.0 to 4.4 m ahead
    ahead = np.linspace(0.5, 6.0, HORIZON)
    through, around, short = (np.stack((ahead * x, ahead * y), axis=-1) for x, y in ((1.0, 0.0), (0.6, 0.8), (0.5, 0.0)))
    modes = np.stack((through, around, short))[None].repeat(2, axis=0)
    probability = np.array([[0.6, 0.1, 0.3], [0.2, 0.7, 0.1]])
    start = np.zeros((2, 2))
    assert walk_around(probability, modes, wall, start).tolist() == [[0.3, 0.1, 0.6], [0.2, 0.7, 0.1]]
    everywhere = torch.ones_like(wall)
    assert walk_around(probability, modes, everywhere, start).tolist() == probability.tolist(), "no way out: as it was"


def test_the_likeliest_paths_are_moved_apart_also_where_a_wall_made_another_mode_the_likeliest(forecaster, monkeypatch):
    def another_is_likeliest(probability, *_):
        return np.roll(probability, 3, axis=1)

    monkeypatch.setattr("jepa_ros.forecast.learned.walk_around", another_is_likeliest)
    ahead = np.arange(-7, 1)[:, None] * np.array([0.5, 0.0])
    abreast = Tracks(np.stack((ahead, ahead + np.array([0.0, 0.1]))), np.ones((2, 8), bool), 0.4)
    forecast = forecaster.predict(abreast, SceneLatents(latents_of(EMPTY), np.eye(4), MODEL))
    assert (forecast.probabilities.argmax(axis=1) != forecaster.predict(abreast).probabilities.argmax(axis=1)).all()
    one, other = forecast.most_likely()
    assert np.linalg.norm(one - other, axis=-1).min() > 0.24


def test_an_adapter_is_saved_with_its_forecaster(forecaster, tmp_path):
    forecaster.save(tmp_path / "with.safetensors", {})
    LearnedForecaster(forecaster.network).save(tmp_path / "without.safetensors", {})
    scene = SceneLatents(latents_of(clutter()), np.eye(4), MODEL)
    loaded, plain = load_forecaster(tmp_path / "with.safetensors"), load_forecaster(tmp_path / "without.safetensors")
    np.testing.assert_array_equal(loaded.predict(walkers(), scene).modes_m, forecaster.predict(walkers(), scene).modes_m)
    np.testing.assert_array_equal(plain.predict(walkers(), scene).modes_m, forecaster.predict(walkers()).modes_m)


def test_the_shipped_adapter_changes_nothing_of_the_default_without_a_scene():
    default, scene = load_forecaster(), load_forecaster("scene")
    np.testing.assert_array_equal(scene.predict(walkers()).modes_m, default.predict(walkers()).modes_m)
    assert default.adapter is None
    latents = SceneLatents(latents_of(clutter()), np.eye(4), MODEL)
    assert np.abs(scene.predict(walkers(), latents).modes_m - default.predict(walkers(), latents).modes_m).max() > 0.05


def test_obstacles_are_walls_and_what_lies_behind():
    layout = make_layout("hall", 3)
    distance_cm, origin = forecaster_worlds.obstacle_map(layout, layout.walk.nodes_m)
    world = forecaster_worlds.World("", None, None, None, None, distance_cm, origin)
    corner = layout.obstacles.segments_m.reshape(-1, 2).max(axis=0)
    assert world.distance_m(corner + 5.0) > 1.0  # beyond the map nothing is known
    assert world.distance_m(layout.obstacles.discs_m[0, :2]) <= 0
    node = layout.walk.nodes_m[0]
    assert world.distance_m(node) > 0
    out = node + np.arange(1, HORIZON + 1)[:, None] * np.sign(node)[None]
    paths = np.stack((out, np.tile(node, (HORIZON, 1)))), np.stack((node, node))
    assert through_cells(world, paths[1], paths[0]).tolist() == [1.0, 0.0]
    assert through_obstacles(layout.obstacles, paths[1], paths[0]).tolist() == [1.0, 0.0]
    x, y, radius = layout.obstacles.discs_m[0]
    past = np.array([[[x + 5, y + offset]] for offset in (0.9 * radius, 1.1 * radius)])
    start = past[:, 0] - [10.0, 0.0]
    poles = dataclasses.replace(layout.obstacles, segments_m=layout.obstacles.segments_m[:0], discs_m=layout.obstacles.discs_m[:1])
    assert through_obstacles(poles, start, past).tolist() == [1.0, 0.0]


def test_a_simulated_place_is_consistent(corridor):
    table = corridor.table(0)
    assert table.seen[:, -1].all()
    assert 0.2 < corridor.visible[corridor.recording.present].mean() < 1.0
    assert (corridor.distance_m(corridor.recording.positions_m[corridor.recording.present]) > 0.05).all()
    # What the lidar met is where the simulator's map has obstacles or people, give or take a cell.
    frame = 12
    row, column = np.nonzero(corridor.maps()[frame, ..., :2].any(axis=-1))
    place = corridor.poses[frame]
    cells = (np.stack((column, row), axis=-1) + 0.5) * 0.4 - 25.6
    cells = cells @ place[:2, :2].T + place[:2, 3]
    people = corridor.recording.positions_m[frame, corridor.recording.present[frame]]
    free = (corridor.distance_m(cells) > 0.5) & (np.linalg.norm(cells[:, None] - people, axis=-1).min(axis=1) > 0.8)
    assert len(cells) > 30
    assert free.mean() < 0.1


def test_surroundings_read_maps_and_distances_of_the_right_world(corridor):
    empty = dataclasses.replace(corridor, returns=np.zeros_like(corridor.returns), distance_cm=np.zeros((0, 0), np.int8))
    surroundings = Surroundings([empty, corridor])
    places = torch.from_numpy(corridor.recording.positions_m[5][None].astype(np.float64))
    distance = surroundings.distance_m(torch.tensor([0, 1]), places.expand(2, -1, -1))
    assert (distance[0] > 1.2).all()
    np.testing.assert_allclose(distance[1], corridor.distance_m(places[0].numpy()), atol=0.25)
    around = torch.from_numpy(corridor.poses[5, :2, 3] + np.random.default_rng(0).uniform(-6, 6, (1, CROP[0] * CROP[1], 2)))
    crops = surroundings.crops(torch.tensor([0, 1]), torch.tensor([5, 5]), around.expand(2, -1, -1))
    assert crops[0].sum() == 0
    assert crops[1].sum() > 5


def test_training_keeps_paths_out_of_walls_and_resumes(corridor):
    torch.manual_seed(0)
    base = LearnedForecaster(TrackNetwork(CONFIG))
    before = {name: value.clone() for name, value in base.network.state_dict().items()}
    config = SceneTrainConfig(steps=30, batch=64, learning_rate=5e-3, obstacles=20.0)
    whole, first = SceneTrainer(config, base, [corridor]), SceneTrainer(config, base, [corridor])
    costs = [whole.train_step()["obstacles"] for _ in range(30)]
    assert np.mean(costs[-5:]) < 0.8 * np.mean(costs[:5])
    for _ in range(10):
        first.train_step()
    second = SceneTrainer(config, base, [corridor])
    second.restore(first.state())
    for _ in range(20):
        second.train_step()
    for name, value in whole.averaged.state_dict().items():
        torch.testing.assert_close(second.averaged.state_dict()[name], value)
    for name, value in base.network.state_dict().items():
        assert torch.equal(value, before[name]), name
    with pytest.raises(ValueError, match="other options"):
        SceneTrainer(dataclasses.replace(config, seed=1), base, [corridor]).restore(first.state())


def test_the_bench_tells_tracks_alone_from_scene_latents(corridor, forecaster, tmp_path):
    rows, facts = scene_rows([corridor, corridor], forecaster)
    assert facts["truth_through"] == 0.0
    gain = rows["learned, tracks alone"]["fde"] - rows["learned, scene latents"]["fde"]
    assert gain != 0.0
    # One place twice: no scatter.
    assert facts["fde_gain_low"] == pytest.approx(gain, abs=1e-3) == facts["fde_gain_high"]
    draw_scenes(telling_instants([corridor], forecaster, 1), forecaster, tmp_path / "scenes.png")
    assert (tmp_path / "scenes.png").stat().st_size > 10_000


def test_worlds_join_with_their_sources(corridor):
    table = joined([corridor.table(0), corridor.table(1)])
    assert set(np.unique(table.source)) == {0, 1}
    near = table.neighbours[table.neighbours >= 0]
    assert near.max() < len(table)
