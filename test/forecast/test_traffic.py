"""The learned forecaster of vehicles and cyclists, and how it is taught."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from jepa_ros.forecast.constant_turn_rate import ConstantTurnRate
from jepa_ros.forecast.loading import load_traffic_forecaster
from jepa_ros.forecast.traffic.learned import LearnedTraffic
from jepa_ros.forecast.traffic.network import TrafficConfig, TrafficNetwork, carried_on
from jepa_ros.forecast.traffic.road_users import CYCLIST, EGO, PERSON, SCALE_M, VEHICLE, Inputs, RoadUsers
from jepa_ros.movers import TrackedVehicles
from jepa_ros.protocols import ForecastsCyclists
from jepa_ros.training.__main__ import main
from jepa_ros.training.traffic.examples import examples_of, future_of
from jepa_ros.training.traffic.streams import Moment, World, bent, watch
from jepa_ros.training.traffic.train import FIRST_SEED, HELD_OUT_SEED, TrafficTraining, varied
from jepa_ros.types import EgoState, PedestrianForecast, TrackedPeople, Tracks

TIMES_S = 0.4 * np.arange(1, 13)


def vehicles(turn: float = 0.0, shift: tuple[float, float] = (0.0, 0.0)) -> TrackedVehicles:
    """Two cars, 12 m apart, the first behind the second; all turned about the origin, and moved."""
    c, s = np.cos(turn), np.sin(turn)
    states = np.array([[0.0, 0.0, 0.1, 6.0, -0.5, 0.05], [12.0, 0.5, 0.0, 2.0, 0.0, 0.0]])
    back = np.arange(7, -1, -1) * 0.4
    past = (
        states[:, None, :2] - states[:, 3, None, None] * back[:, None] * np.stack((np.cos(states[:, 2]), np.sin(states[:, 2])), -1)[:, None]
    )
    past[1, :4] = np.nan
    matrix = np.array([[c, -s], [s, c]])
    states[:, :2], states[:, 2] = states[:, :2] @ matrix.T + shift, states[:, 2] + turn
    past = past @ matrix.T + shift
    boxes = np.column_stack((states[:, :3], np.tile([4.3, 1.8], (2, 1))))
    velocity = states[:, 3, None] * np.stack((np.cos(states[:, 2]), np.sin(states[:, 2])), axis=1)
    rest = (np.ones(2), np.full(2, 1.5), states, np.tile(np.eye(6), (2, 1, 1)), past)
    return TrackedVehicles(np.array([1_000_001, 1_000_002]), boxes, velocity, states[:, 5], *rest)


def people() -> TrackedPeople:
    """Somebody on foot and somebody on a bicycle."""
    places = np.array([[5.0, 4.0], [-6.0, -2.0]])
    velocity = np.array([[0.0, -1.2], [4.0, 0.0]])
    history = places[:, None] - velocity[:, None] * (0.4 * np.arange(7, -1, -1))[:, None]
    tracks = Tracks(history, np.ones((2, 8), bool), 0.4)
    return TrackedPeople(np.array([1, 2]), places, velocity, np.ones(2), np.full(2, 0.3), tracks, np.array([0.05, 0.9]))


@pytest.fixture(scope="module")
def untaught() -> LearnedTraffic:
    torch.manual_seed(0)
    network = TrafficNetwork(TrafficConfig())
    with torch.no_grad():
        for value in network.parameters():
            value.add_(0.05 * torch.randn_like(value))
    return LearnedTraffic(network)


def test_a_forecast_turns_and_moves_with_the_world(untaught: LearnedTraffic) -> None:
    here, there = untaught.predict(vehicles()), untaught.predict(vehicles(2.0, (300.0, -40.0)))
    c, s = np.cos(2.0), np.sin(2.0)
    matrix = np.array([[c, -s], [s, c]])
    np.testing.assert_allclose(here.poses[..., :2] @ matrix.T + [300.0, -40.0], there.poses[..., :2], atol=2e-3)
    np.testing.assert_allclose(np.cos(here.poses[..., 2] + 2.0), np.cos(there.poses[..., 2]), atol=1e-3)
    np.testing.assert_allclose(matrix @ here.covariances_m2 @ matrix.T, there.covariances_m2, atol=2e-3)
    np.testing.assert_allclose(here.probabilities.sum(axis=1), 1.0)
    assert (np.linalg.eigvalsh(here.covariances_m2) > 0).all()
    np.testing.assert_allclose(here.times_s, TIMES_S)


def test_a_mirrored_scene_is_read_as_its_mirror_image() -> None:
    """The signs by which training mirrors examples are those of the world."""
    own = vehicles()
    states = own.states * np.array([1, -1, -1, 1, 1, -1])
    mirrored = replace(own, states=states, past_m=own.past_m * np.array([1, -1]))
    users, images = RoadUsers.of(own), RoadUsers.of(mirrored)
    parts, image = (list(vars(Inputs.of(one, np.arange(2))).values()) for one in (users, images))
    batch = [torch.from_numpy(part) for part in parts] + [torch.zeros(2, 12, 2), torch.ones(2, 12, dtype=torch.bool)]
    config = TrafficTraining(noise=0.0, forgets=0.0)
    for seed in range(30):
        told = varied(batch, config, torch.Generator().manual_seed(seed))
        flipped = (told[0][:, -2, 1] != batch[0][:, -2, 1]).tolist()
        for row, flip in enumerate(flipped):
            wanted = image if flip else parts
            for part, other in zip(told[:5], wanted, strict=True):
                np.testing.assert_allclose(part[row].float().numpy(), other[row].astype(np.float32), atol=1e-6)
        if any(flipped):
            return
    pytest.fail("nothing was mirrored")


def test_people_the_robot_and_the_past_are_read(untaught: LearnedTraffic) -> None:
    pose = np.eye(4)
    pose[:2, 3] = 8.0, 0.0
    ego = EgoState(0, pose, np.array([0.5, 0.0]))
    users = RoadUsers.of(vehicles(), people(), ego)
    assert users.kinds.tolist() == [VEHICLE, VEHICLE, PERSON, CYCLIST, EGO]
    assert Inputs.of(users, np.arange(2)).present.sum(axis=1).tolist() == [4, 4]
    alone = untaught.predict(vehicles()).poses
    assert np.abs(untaught.predict(vehicles(), people()).poses - alone).max() > 1e-4
    assert np.abs(untaught.predict(vehicles(), None, ego).poses - alone).max() > 1e-4
    forgetful = untaught.predict(replace(vehicles(), past_m=np.zeros((0, 8, 2))))
    assert np.abs(forgetful.poses - alone).max() > 1e-4
    assert untaught.predict(TrackedVehicles()).poses.shape == (0, 6, 12, 3)


@pytest.mark.parametrize("modes", [3, 20])
def test_who_rides_is_forecast_as_a_cyclist_and_nobody_else(untaught: LearnedTraffic, modes: int) -> None:
    before = PedestrianForecast(
        np.zeros((2, modes, 12, 2)), np.full((2, modes), 1 / modes), np.tile(np.eye(2), (2, modes, 12, 1, 1)), TIMES_S
    )
    boxes, after = untaught.predict_with_cyclists(vehicles(), people(), before)
    np.testing.assert_allclose(boxes.poses, untaught.predict(vehicles(), people()).poses, atol=1e-5)  # one run of the network for both
    np.testing.assert_array_equal(after.modes_m[0], 0.0)
    np.testing.assert_allclose(after.probabilities.sum(axis=1), 1.0)
    assert after.most_likely()[1, 0, 0] > -6.0
    assert after.modes_m.shape == before.modes_m.shape
    on_foot = replace(people(), riding=np.zeros(2))
    assert untaught.predict_with_cyclists(vehicles(), on_foot, before)[1] is before


def test_what_is_saved_is_loaded_and_names_are_known(untaught: LearnedTraffic, tmp_path) -> None:
    untaught.save(tmp_path / "own.safetensors", {"seed": 0})
    loaded = load_traffic_forecaster(tmp_path / "own.safetensors")
    np.testing.assert_array_equal(loaded.predict(vehicles()).poses, untaught.predict(vehicles()).poses)
    assert isinstance(load_traffic_forecaster(ConstantTurnRate.name), ConstantTurnRate)
    shipped = load_traffic_forecaster()
    assert isinstance(shipped, ForecastsCyclists)
    assert not isinstance(ConstantTurnRate(), ForecastsCyclists)
    before = PedestrianForecast(np.zeros((2, 6, 12, 2)), np.full((2, 6), 1 / 6), np.tile(np.eye(2), (2, 6, 12, 1, 1)), TIMES_S)
    # Where the shipped one says that a cyclist at 4 m/s and a car at 6 m/s will be in 2.4 s: near to straight on.
    ridden = shipped.predict_with_cyclists(vehicles(), people(), before)[1].most_likely()[1, 5]
    assert np.hypot(*(ridden - [-6.0 + 2.4 * 4.0, -2.0])) < 2.5
    assert np.hypot(*(shipped.predict(vehicles()).poses[0, 0, 5, :2] - [13.0, 1.0])) < 5.0
    with pytest.raises(ValueError, match="unknown forecaster of traffic 'nothing'"):
        load_traffic_forecaster("nothing")
    (tmp_path / "bad.safetensors").write_bytes(b"none")
    for name in ("bad", "missing"):
        with pytest.raises(ValueError, match=name):
            load_traffic_forecaster(tmp_path / f"{name}.safetensors")


def test_the_likeliest_way_is_half_of_what_the_filter_believes(untaught: LearnedTraffic) -> None:
    ways = []
    for trust in (0.0, 0.5, 1.0):
        network = TrafficNetwork(replace(untaught.network.config, trust=trust))
        network.load_state_dict(untaught.network.state_dict())
        ways.append(LearnedTraffic(network).predict(vehicles()).poses[..., :2])
    np.testing.assert_allclose(ways[1][:, 0], 0.5 * (ways[0][:, 0] + ways[2][:, 0]), atol=1e-4)
    np.testing.assert_allclose(ways[1][:, 1:], ways[2][:, 1:], atol=1e-5)
    rule = ConstantTurnRate().predict(vehicles()).poses[:, 0, :6, :2]
    assert np.linalg.norm(ways[0][:, 0, :6] - rule, axis=-1).max() < 1.0  # near to that of the rule
    brakes = replace(vehicles(), states=vehicles().states * np.array([1, 1, 1, 1, 0, 0]) + np.array([0, 0, 0, 0, -9.0, 0]))
    way = np.linalg.norm(np.diff(_started(brakes), axis=1), axis=-1)
    assert way[:, -1].max() < way[:, 0].max() + 1e-6


def _started(told: TrackedVehicles) -> np.ndarray:
    """(V, H, 2) what the network starts from, in metres."""
    inputs = Inputs.of(RoadUsers.of(told), np.arange(len(told)))
    return SCALE_M * carried_on(torch.from_numpy(inputs.own), torch.arange(1.0, 13.0)).numpy()


def test_a_street_that_is_bent_keeps_its_lengths() -> None:
    poses = np.column_stack((np.linspace(0, 60, 61), np.zeros(61), np.zeros(61)))
    round_ = bent(poses, 1 / 40)
    np.testing.assert_allclose(np.hypot(*np.diff(round_[:, :2], axis=0).T), 1.0, atol=1e-3)
    np.testing.assert_allclose(round_[-1, 2], 1.5)
    np.testing.assert_allclose(np.hypot(round_[:, 0], round_[:, 1] - 40), 40.0)


SHORT = World("street", 5, 5.0, density=2.0, people=2, every=2)


@pytest.fixture(scope="module")
def short() -> list[Moment]:
    return list(watch(SHORT))


def test_the_future_of_simulated_traffic_is_that_of_the_same_agent(short: list[Moment]) -> None:
    rows, places = future_of(short, 2)
    then = short[2 + 4]  # 0.8 s later
    for number, row in rows.items():
        there = np.flatnonzero(then.ids == number)
        if len(there):
            np.testing.assert_allclose(places[row, 1], then.places_m[there[0]], atol=1e-9)
        else:
            assert np.isnan(places[row, 1]).all()
    assert np.isnan(future_of(short, len(short) - 3)[1][:, -1]).all()  # beyond the end nothing is known


def test_examples_look_ahead_and_the_command_teaches_from_them(short: list[Moment], tmp_path, capsys, monkeypatch) -> None:
    monkeypatch.setattr("jepa_ros.training.traffic.examples.watch", lambda world: iter(short))
    examples = examples_of(SHORT)
    assert len(examples) > 5
    drives = (np.abs(examples.own[:, 0]) > 0.2) & examples.known[:, 2]
    assert (examples.future[drives, 2, 0] * np.sign(examples.own[drives, 0]) > 0).mean() > 0.9  # x is where they head
    cache = tmp_path / "cache"
    cache.mkdir()
    for seed in (FIRST_SEED, HELD_OUT_SEED, HELD_OUT_SEED + 1):  # made before: not simulated again
        np.savez(cache / f"world_{seed:06d}_5.npz", **(vars(examples) | {"world": np.full(len(examples), seed)}))
    options = ["traffic", "--cache", str(cache), "--worlds", "1", "--seconds", "5", "--out", str(tmp_path / "t.safetensors")]
    assert main([*options, "--steps", "12"]) == 0
    told = json.loads(capsys.readouterr().out.strip().splitlines()[-1])
    assert told["examples"] == len(examples)
    assert json.loads((tmp_path / "t.json").read_text()) == told
    assert np.isfinite(load_traffic_forecaster(tmp_path / "t.safetensors").predict(vehicles()).poses).all()
    assert main([*options, "--steps", "13", "--resume"]) == 2  # other options than those of the checkpoint
