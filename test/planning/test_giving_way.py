"""How people give way: the same whichever way the world is turned, nothing of who is far, more for who is driven at."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from jepa_ros.planning.example_scene import crowd_scene
from jepa_ros.planning.imagined.giving_way import FAR_M, FORMAT, GivingWay, clearances, load, most_moved, moved, save
from jepa_ros.planning.people import PeopleFuture, people_future

STEPS_S = 0.4 * torch.arange(1, 13)
ROBOT_M = 0.4


def someone(*walkers: tuple[float, float, float, float], exists: float = 1.0) -> PeopleFuture:
    """x m, y m, velocity m/s of each."""
    people_P4 = torch.tensor(walkers)
    times_s = torch.cat((torch.zeros(1), STEPS_S))
    means = people_P4[:, None, None, :2] + people_P4[:, None, None, 2:] * times_s[:, None]
    covariances = torch.tensor([0.01, 0.0, 0.01]).expand(*means.shape[:3], 3)
    return PeopleFuture(means, covariances, torch.full((len(walkers), 1), exists), torch.full((len(walkers),), 0.25), times_s)


def straight(speed_mps: float, yaw_rad: float = 0.0) -> torch.Tensor:
    """(1, 12, 3)"""
    way = speed_mps * STEPS_S
    return torch.stack((way * math.cos(yaw_rad), way * math.sin(yaw_rad), torch.full_like(way, yaw_rad)), dim=-1)[None]


@pytest.fixture(scope="module")
def shipped() -> GivingWay:
    return load()


def test_a_turned_world_is_the_same_world(shipped: GivingWay) -> None:
    people = torch.tensor([[3.0, 0.4, -1.2, 0.1], [1.5, -1.0, 0.0, 0.0]])
    robot = torch.cat((torch.zeros(1, 1, 3), straight(1.0)), dim=1).expand(2, -1, -1)
    size = torch.tensor([[0.4, 0.3]]).expand(2, 2)
    angle = 2.1
    turn = torch.tensor([[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]])
    turned_people = torch.cat((people[:, :2] @ turn, people[:, 2:] @ turn), dim=1)
    turned_robot = torch.cat((robot[..., :2] @ turn, robot[..., 2:] + angle), dim=-1)
    before, after = shipped(people, robot, size), shipped(turned_people, turned_robot, size)
    assert before.max() > 0.05
    torch.testing.assert_close(before, after, atol=1e-4, rtol=1e-4)


def test_who_meets_a_robot_gives_way_and_who_is_left_behind_does_not(shipped: GivingWay) -> None:
    people = someone((3.0, 0.2, -1.2, 0.0))
    towards, stands, away = (float(most_moved(shipped, people, straight(speed), ROBOT_M)) for speed in (1.2, 0.0, -1.2))
    assert min(towards, stands) > 0.3 > away  # one must walk around a robot that stands in the way, too


def test_a_robot_that_stays_far_moves_nobody(shipped: GivingWay) -> None:
    people = someone((FAR_M + 2.0, 0.0, 1.0, 0.0), (-FAR_M - 2.0, 0.0, -1.0, 0.0))
    assert moved(shipped, people, straight(0.5), ROBOT_M).max() == 0.0


def test_a_short_motion_ends_standing(shipped: GivingWay) -> None:
    people, whole = someone((2.5, 0.3, -1.0, 0.0)), straight(1.0)
    stays = torch.cat((whole[:, :3], whole[:, 2:3].expand(-1, 9, -1)), dim=1)
    torch.testing.assert_close(moved(shipped, people, whole[:, :3], ROBOT_M), moved(shipped, people, stays, ROBOT_M)[:, :, :3])


def test_a_motion_of_other_steps_is_the_same_motion(shipped: GivingWay) -> None:
    people, whole = someone((2.5, 0.3, -1.0, 0.0)), straight(1.0)
    way_m = torch.arange(1, 33) * 0.2  # 6.4 s, longer than forecasts are
    finer = torch.stack((way_m, torch.zeros(32), torch.zeros(32)), dim=-1)[None]
    torch.testing.assert_close(moved(shipped, people, finer, ROBOT_M, dt_s=0.2), moved(shipped, people, whole, ROBOT_M), atol=1e-4, rtol=0)
    assert moved(shipped, people, finer[:, :3], ROBOT_M, dt_s=0.2).shape == (1, 1, 2), "0.6 s end within the second step"


def test_tracks_that_are_nobody_and_vehicles_are_left_out(shipped: GivingWay) -> None:
    assert most_moved(shipped, someone((2.0, 0.0, -1.0, 0.0), exists=0.3), straight(1.0), ROBOT_M) == 0.0
    people = someone((2.0, 0.1, -1.0, 0.0), (2.0, 0.1, -1.0, 0.0))
    halves = torch.tensor([[0.0, 0.0], [2.0, 0.9]])
    people = replace(people, halves_P2=halves, yaws_PKT=torch.zeros(2, 1, 13), vehicles_P=halves[:, 0] > 0)
    distance_P = moved(shipped, people, straight(1.0), ROBOT_M).amax(dim=-1)[0]
    assert distance_P[0] > 0.1
    assert distance_P[1] == 0.0


def test_nobody_about_moves_nobody(shipped: GivingWay) -> None:
    people = people_future(crowd_scene(), 0.5)
    nobody = people.select(torch.zeros(len(people.radii_P), dtype=torch.bool))
    assert most_moved(shipped, nobody, straight(1.0), ROBOT_M).tolist() == [0.0]


def test_the_gap_is_to_the_side_of_a_long_robot() -> None:
    person = torch.tensor([[1.0, 2.0, 0.0, 0.0]])
    car = torch.tensor([[0.9, 1.3]])
    gap = clearances(person, torch.zeros(1, 13, 3), car)
    assert gap[0].numpy() == pytest.approx(np.full(13, 2.0 - 0.9 - 0.25))


def test_a_file_that_is_none_is_named_with_the_fix(tmp_path) -> None:
    with pytest.raises(ValueError, match=r"none.safetensors does not exist; train it: python -m jepa_ros.training giving_way"):
        load(tmp_path / "none.safetensors")
    other = tmp_path / "other.safetensors"
    save_file({"x": torch.zeros(1)}, other, {"format": FORMAT})
    with pytest.raises(ValueError, match=r"other.safetensors does not fit this version"):
        load(other)


def test_what_is_saved_is_loaded(tmp_path) -> None:
    network = GivingWay()
    torch.nn.init.normal_(network.layers[-1].weight)
    save(network, tmp_path / "some.safetensors", {"seed": 0})
    people = someone((2.0, 0.3, -1.0, 0.0))
    torch.testing.assert_close(
        moved(network, people, straight(1.0), 0.4), moved(load(tmp_path / "some.safetensors"), people, straight(1.0), 0.4)
    )
