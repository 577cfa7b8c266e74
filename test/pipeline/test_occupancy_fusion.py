"""What is published of each cell: world model, recent hits and objects read together, with what stands as a share of its own."""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from paths import RESOURCES
from planning_scenes import make_scene
from safetensors import safe_open
from safetensors.torch import save_file

from jepa_ros.movers import Bodies
from jepa_ros.objects.scene.cells import shares_of, with_movers
from jepa_ros.objects.scene.objects import objects_of
from jepa_ros.objects.scene.stands import bodies_of, cells_around, movers_among
from jepa_ros.occupancy.evidence import COMING, LEAST, PLACE, gather
from jepa_ros.occupancy.network import OccupancyFusion, load, load_fusion, save
from jepa_ros.pipeline import PipelineConfig, WorldModelPipeline
from jepa_ros.sensing import open_bag
from jepa_ros.sensing.hit_rates import LATELY_S, SHARES, HitRates
from jepa_ros.sensing.sight import centres, half_cells
from jepa_ros.training.occupancy import examples, train
from jepa_ros.types import NANOSECONDS, GridSpec, Observation

GRID = GridSpec(64, 64, 0.4, (-12.8, -12.8))
TINY = RESOURCES / "tiny_bag"


def sweeps(count: int) -> list[Observation]:
    return list(islice(open_bag(TINY), count))


def test_a_place_that_every_second_sweep_hits_is_half_hit_wherever_the_robot_goes() -> None:
    rates = HitRates(GRID)
    size = 2 * half_cells(GRID)
    for sweep in range(41):
        pose = np.eye(4)
        pose[:2, 3] = 0.08 * sweep, 0.02 * sweep
        pose[:2, :2] = [[0.0, -1.0], [1.0, 0.0]]
        places = [[5.0, 3.0, 1.0], [6.2, 3.0, 1.9]] if sweep % 2 else [[6.2, 3.0, 1.9], [7.0, 3.0, 0.1]]  # odom; the last lies too low
        points = (np.array(places) - pose[:3, 3]) @ pose[:3, :3]
        told = rates.update(sweep * NANOSECONDS // 10, pose, np.ones((size, size), bool), points, 0.0)
    shares = dict(zip(SHARES, told, strict=True))

    def at(name: str, x_m: float) -> float:
        column, row = ((np.array([x_m, 3.0]) - pose[:2, 3]) @ pose[:2, :2] + 12.8) // 0.4
        return float(shares[name][int(row), int(column)])

    assert at("hits_long", 5.0) == pytest.approx(0.5, abs=0.05)
    assert at("hits_long", 6.2) == pytest.approx(1.0, abs=1e-3)
    assert at("hits_long", 7.0) == 0.0
    assert at("looked_long", 5.0) == pytest.approx(1 - np.exp(-4.1 / LATELY_S[1]), abs=1e-3)
    rates.clear()
    again = rates.update(0, np.eye(4), np.zeros((size, size), bool), np.zeros((0, 3)), 0.0)
    assert not again.any()


def test_cells_around_bodies_are_those_whose_centres_lie_near() -> None:
    rng = np.random.default_rng(3)
    boxes = np.column_stack((rng.uniform(-14, 14, (40, 2)), rng.uniform(-3, 3, 40), rng.uniform(0, 9, 40), rng.uniform(0, 2, 40)))
    for bodies in (Bodies(boxes, rng.uniform(0, 0.5, 40)), Bodies(boxes[:1] + 100.0, np.ones(1)), Bodies(boxes[:0], np.zeros(0))):
        expected = bodies.around(*centres(GRID).T, 0.2).reshape(GRID.rows, GRID.columns)
        assert np.array_equal(cells_around(bodies, GRID), expected)
        assert len(bodies.boxes) < 40 or expected.any()


def test_before_it_learned_both_parts_count_as_they_are() -> None:
    scene = make_scene(walls=((6.0, -2.0, 7.0, 2.0),), people=((3.0, -2.0, 0.0, 1.0),))
    probability = torch.from_numpy(scene.occupancy.probability)
    objects = torch.from_numpy(shares_of(scene)).float()
    lately = torch.zeros(len(SHARES), *probability.shape[1:])
    times_s = np.asarray(scene.occupancy.times_s)[1:]
    evidence = gather(probability[1:], probability[0], objects, lately, torch.zeros_like(probability[0]), times_s, scene.occupancy.grid)
    fusion = OccupancyFusion().eval()
    stands, moves = fusion.stands(evidence).sigmoid(), fusion.comes(evidence)
    read = evidence.read_HYX
    torch.testing.assert_close(stands[read], probability[1:][read], rtol=0, atol=0.002)
    torch.testing.assert_close(moves[objects >= LEAST], objects[objects >= LEAST], rtol=0, atol=0.002)
    assert not moves[objects < LEAST].any()
    assert read.sum() < 0.3 * read.numel(), "most of a scene is empty"


@pytest.fixture(scope="module")
def states() -> list:
    pipeline = WorldModelPipeline.load("scene_jepa", device="cpu")
    return [pipeline.step(observation) for observation in sweeps(6)]


def test_the_pipeline_tells_what_stands_from_what_moves(states: list) -> None:
    occupancy = states[-1].occupancy
    assert occupancy.from_latents.shape == occupancy.probability.shape
    assert (occupancy.probability >= occupancy.from_latents - 1e-6).all()
    less_YX = occupancy.probability[0] - occupancy.from_latents[0]
    here_YX = cells_around(bodies_of(movers_among(objects_of(states[-1])), states[-1].anchor_pose), occupancy.grid)
    assert not less_YX[~here_YX].any(), "what is seen now, and is nobody, stands"
    assert less_YX[here_YX].max() > 0.5, "somebody is there"
    assert (occupancy.probability[3] > occupancy.from_latents[3] + 0.1).any(), "somebody walks there"
    assert with_movers(states[-1]) is states[-1], "nothing is joined twice"


def test_what_walks_away_does_not_stand_there(states: list) -> None:
    """The returns of a body that moves are not an obstacle in two seconds, neither where it is nor where it goes."""
    state = states[-1]
    people, occupancy = state.people, state.occupancy
    speed = np.hypot(*people.velocities_mps.T)
    turn = state.anchor_pose[:2, :2]
    here = (people.positions_m - state.anchor_pose[:2, 3]) @ turn
    inside = (np.abs(here) < 20).all(axis=1) & (speed > 0.7) & (people.existence > 0.8)
    assert inside.any()
    columns, rows = ((here[inside] + 25.6) // 0.4).astype(int).T
    now, later = occupancy.probability[0, rows, columns], occupancy.from_latents[6, rows, columns]
    assert (now > 0.5).any()
    assert later[now > 0.5].max() < 0.35


def test_cameras_alone_and_other_models_are_left_as_they_are() -> None:
    assert load_fusion("", "persistence") is None
    assert load_fusion("none", "scene_jepa") is None
    assert load_fusion("", "scene_jepa") is not None
    pipeline = WorldModelPipeline.load("scene_jepa", device="cpu", config=PipelineConfig(fusion="none"))
    state = pipeline.step(sweeps(1)[0])
    assert state.occupancy.from_latents is None
    dark = replace(sweeps(1)[0], lidar=None, local_ground_m=None)
    assert WorldModelPipeline.load("scene_jepa", device="cpu").step(dark).occupancy.from_latents is None


def test_examples_of_a_bag_are_made_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = examples.make([TINY], tmp_path / "examples", "", seed=0)
    monkeypatch.setattr(examples, "of_bag", lambda *args: pytest.fail("made twice"))
    assert examples.make([TINY], tmp_path / "examples", "", seed=0) == files
    made = examples.CellExamples.load(files)
    assert len(made.step) > 20
    assert set(made.step) == {1}, "a second shows no later step"
    assert made.place.shape == (len(made.step), len(PLACE))
    assert made.coming.shape == (len(made.step), len(COMING))
    assert 0 < made.occupied.mean() < 1


def test_it_learns_whom_to_trust_and_is_read_again(tmp_path: Path) -> None:
    """A model that says one half of everything, places that are hit as often as they were, and objects that come twice as often as said."""
    generator = torch.Generator().manual_seed(0)
    count = 20_000
    rate = torch.rand(count, generator=generator)
    comes = torch.where(torch.rand(count, generator=generator) < 0.2, 0.3, 0.0)
    place = torch.zeros(count, len(PLACE))
    place[:, PLACE.index("hits_long")] = rate
    coming = torch.zeros(count, len(COMING))
    coming[:, 0] = torch.where(comes > 0, comes.logit(), -7.0)
    truth = 1 - (1 - rate) * (1 - 2 * comes)
    occupied = (torch.rand(count, generator=generator) < truth).float()
    cells = train.Cells(torch.zeros(count), place, coming, torch.full((count,), 3), occupied)
    held = torch.arange(count) % 4 == 0
    network = train.fit(cells.take(~held), 300, seed=0)
    told = train.judge(network, cells.take(held))["3"]
    best = float(torch.nn.functional.binary_cross_entropy(truth[held], occupied[held]))
    assert told["fusion"]["nats"] < best + 0.01
    assert told["higher"]["nats"] > best + 0.1
    assert float(network.moves(coming[comes > 0][:1]).sigmoid()) == pytest.approx(0.6, abs=0.08)
    save(network, tmp_path / "fusion.safetensors", {"bags": 1})
    again = load(tmp_path / "fusion.safetensors")
    for name, tensor in network.state_dict().items():
        assert torch.equal(again.state_dict()[name], tensor)


def test_weights_that_do_not_fit_are_refused_with_what_to_do(tmp_path: Path) -> None:
    file = tmp_path / "fusion.safetensors"
    with pytest.raises(ValueError, match=r"does not exist; train it: python -m jepa_ros\.training occupancy"):
        load(file)
    file.write_bytes(b"nothing")
    with pytest.raises(ValueError, match="not a safetensors file"):
        load(file)
    save(OccupancyFusion(), file, {})
    with safe_open(str(file), framework="pt") as opened:
        metadata, tensors = opened.metadata(), {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
    save_file(tensors, str(file), metadata | {"place": json.dumps(["now"])})
    with pytest.raises(ValueError, match="reads other evidence"):
        load(file)
    save_file(tensors, str(file), {"format": "critic"})
    with pytest.raises(ValueError, match="holds 'critic'"):
        load(file)
    with pytest.raises(ValueError, match="two or more bags"):
        train.run(train_arguments(tmp_path))


def train_arguments(folder: Path) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    train.add_arguments(parser)
    return parser.parse_args([str(TINY), "--examples", str(folder), "--out", str(folder / "out.safetensors")])
