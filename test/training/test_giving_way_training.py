"""Crowds continued with robots and without: what the training of `giving_way` learns from, and its command."""

import json

import numpy as np
import pytest
import torch

from jepa_ros.planning.imagined.giving_way import clearances, load
from jepa_ros.training.__main__ import main
from jepa_ros.training.forecaster import branches as branches_module
from jepa_ros.training.forecaster import giving_way as training
from jepa_ros.training.forecaster.branches import Branches, place_branches


@pytest.fixture(scope="module")
def place() -> Branches:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(branches_module, "INSTANTS", 2)
        return place_branches(2, 7000)


def test_robots_move_those_whom_they_come_near_and_few_others(place: Branches) -> None:
    nearest = clearances(*(torch.from_numpy(part) for part in (place.people, place.robot, place.size))).amin(dim=1).numpy()
    away = np.linalg.norm(place.moved, axis=2).max(axis=1)
    assert away[nearest < 0.1].mean() > 0.3
    assert np.median(away[nearest > 4.0]) < 0.02


def test_the_motions_of_an_instant_begin_alike_and_differ(place: Branches) -> None:
    one, other = training._pairs(place.group)
    np.testing.assert_array_equal(place.people[one], place.people[other])
    np.testing.assert_array_equal(place.robot[one, 0], place.robot[other, 0])
    assert (np.abs(place.robot[one] - place.robot[other]).max(axis=(1, 2)) > 0.01).mean() > 0.9


def test_pairs_are_all_two_of_a_group() -> None:
    one, other = training._pairs(np.array([5, 1, 5, 5, 2], np.int32))
    assert {frozenset(pair) for pair in zip(one.tolist(), other.tolist(), strict=True)} == {
        frozenset({0, 2}),
        frozenset({0, 3}),
        frozenset({2, 3}),
    }


def test_the_command_learns_and_goes_on_where_it_was(tmp_path, place: Branches, monkeypatch) -> None:
    folder = tmp_path / "examples"
    folder.mkdir()
    for number in range(2):
        place.save(folder / f"place_{training.FIRST_SEED + number}.npz")
    monkeypatch.setattr(training, "place_branches", lambda *_: pytest.fail("what is there is not made again"))
    arguments = ["giving_way", "--examples", str(folder), "--out", str(tmp_path / "w.safetensors"), "--places", "2", "--steps", "200"]
    assert main(arguments) == 0
    report = json.loads((tmp_path / "w.json").read_text())
    assert report["pairs"] == 2 * len(place.people)
    assert report["held_out"]["error_m_of_moved"] < 0.7 * report["held_out"]["moved_m"]  # the same place: it can be known by heart
    assert load(tmp_path / "w.safetensors").layers[-1].weight.abs().max() > 0


def test_one_place_is_refused(tmp_path, capsys) -> None:
    assert main(["giving_way", "--examples", str(tmp_path), "--out", str(tmp_path / "w.safetensors"), "--places", "1"]) == 2
    assert "--places 1: give two or more" in capsys.readouterr().err
