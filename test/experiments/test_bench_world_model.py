"""The world-model bench: what counts as moving, where thresholds come from, and the baseline that moves."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from experiments.world_model import headline
from experiments.world_model.occupancy.cells import CellCounts, at_false_positive_rate, best_f1, cells_of
from experiments.world_model.occupancy.movers import moving_share
from experiments.world_model.people_section import AveragePrecision
from experiments.world_model.probes import r_squared
from experiments.world_model.rollout import RolledOut
from experiments.world_model.surprise import auroc
from experiments.world_model.table import Section
from experiments.world_model.worlds import Boxes
from jepa_ros.backends.bev import BEV_GRID
from jepa_ros.backends.scene_jepa.config import SceneJepaConfig
from jepa_ros.backends.scene_jepa.model import SceneJepa
from jepa_ros.training.world_model.flow import extrapolate

SHAPE = (BEV_GRID.rows, BEV_GRID.columns)


def cell(x_m: float, y_m: float) -> tuple[int, int]:
    """(row, column)."""
    return int((y_m + 25.6) / 0.4), int((x_m + 25.6) / 0.4)


def occupied(*places: tuple[float, float]) -> np.ndarray:
    grid = np.zeros(SHAPE, bool)
    for place in places:
        grid[cell(*place)] = True
    return grid


def test_cells_are_entered_and_left_by_what_moves_and_only_where_the_sweep_says_so() -> None:
    def boxes(walker_x_m: float) -> Boxes:
        centres = np.array([[walker_x_m, 2.2], [5.0, -3.0]])  # somebody who walks and a car that stands
        return Boxes((("person", 1), ("car", 1)), centres, np.zeros(2), np.array([[0.5, 0.5], [4.3, 1.8]]))

    now, then = occupied((2.2, 2.2), (5.0, -3.0)), occupied((4.2, 2.2), (5.0, -3.0), (9.0, 9.0))
    cells = cells_of((boxes(2.2), np.eye(4)), boxes(4.2), now, then, np.ones(SHAPE, bool))
    assert np.argwhere(cells["entered"]).tolist() == [list(cell(4.2, 2.2))]
    assert np.argwhere(cells["left"]).tolist() == [list(cell(2.2, 2.2))]
    unseen = cells_of((boxes(2.2), np.eye(4)), boxes(4.2), now, then, np.zeros(SHAPE, bool))
    assert not unseen["entered"].any()
    taken = cells_of((boxes(2.2), np.eye(4)), boxes(4.2), now | then, then, np.ones(SHAPE, bool))
    assert not taken["entered"].any()  # something else is there already: persistence would be right for a wrong reason
    turned = np.eye(4)
    turned[:2, :2] = [[0, 1], [-1, 0]]  # the anchor faces left: y of odom is ahead
    assert boxes(2.2).cells(turned)[0][cell(2.2, -2.2)]


def test_thresholds_for_a_world_come_from_the_other_worlds() -> None:
    counts = CellCounts(1)
    everything = np.ones((2, 2), bool)

    def add(world: str, true: float, false: float) -> None:
        maps = torch.tensor([[true, false], [false, false]])
        positive = np.array([[True, False], [False, False]])
        counts.add(world, 0, maps, {"occupied": positive, "free": everything & ~positive, "entered": positive, "left": ~positive})

    add("a", true=0.9, false=0.1)
    add("b", true=0.3, false=0.2)
    recall = counts.moving_recall(0, best_f1)  # of "a" at b's 0.3: found; of "b" at a's 0.9: missed
    assert recall == {"entered": 0.5, "left": 1.0, "both": 7 / 8, "false_positive_rate": 0.0, "cells": 8}
    assert counts.moving_recall(0, at_false_positive_rate(1.0))["false_positive_rate"] == 1.0
    assert counts.iou(0) == 0.5
    assert counts.pooled(0).average_precision() == 1.0


def test_entered_cells_are_recalled_at_the_false_positives_that_flow_has_in_the_same_world() -> None:
    positive = np.array([[True, False], [False, False]])
    cells = {"occupied": positive, "free": ~positive, "entered": positive, "left": ~positive}
    counts, careful, careless = CellCounts(1), CellCounts(1), CellCounts(1)
    for world, of_true, of_free in (("a", 0.9, 0.1), ("b", 0.3, 0.8)):
        counts.add(world, 0, torch.tensor([[of_true, of_free], [0.0, 0.0]]), cells)
        careful.add(world, 0, torch.from_numpy(positive.astype(np.float32)), cells)
        careless.add(world, 0, torch.tensor([[1.0, 1.0], [0.0, 0.0]]), cells)
    assert counts.entered_beside(0, careful) == 0.5  # of "b" the entered cell comes after a free one
    assert counts.entered_beside(0, careless) == 1.0  # which flow calls occupied, too


def person_at(x_m: float) -> np.ndarray:
    """(N, 3) returns of a person and of a wall."""
    rng = np.random.default_rng(round(100 * x_m))
    body = np.stack([x_m + rng.uniform(-0.25, 0.25, 40), 3 + rng.uniform(-0.25, 0.25, 40), rng.uniform(0.4, 1.7, 40)], axis=1)
    wall = np.stack([np.linspace(-9, 9, 200), np.full(200, -4.0), np.ones(200)], axis=1)
    return np.concatenate([body, wall])


def test_flow_keeps_walls_and_moves_people() -> None:
    sweeps = [person_at(1.5 * 0.4 * step) for step in range(4)]  # 1.5 m/s; now at 1.8 m
    now, later = extrapolate(sweeps, 0.0, 0.4, np.array([0.0, 2.4]), BEV_GRID)
    assert now[cell(1.8, 3.0)]
    assert later[cell(1.8 + 3.6, 3.0)]
    assert not later[cell(1.8, 3.0)]
    assert (now == later)[: cell(0, 0)[0]].all()  # the side of the wall


def test_average_precision_of_people_by_hand() -> None:
    score = AveragePrecision()
    truth = np.array([[5.0, 0.0], [8.0, 0.0], [12.0, 0.0]])
    found = np.array([[5.1, 0.0], [30.0, 0.0], [8.0, 0.6], [12.0, 0.1]])  # right, invented, too far, somebody nobody asked for
    score.add(truth, np.array([True, True, False]), found, np.array([0.7, 0.9, 0.5, 0.95]))
    assert score.value() == pytest.approx(0.5 * 0.5)
    assert score.people == 2


def test_probe_and_auroc_tell_signal_from_noise() -> None:
    rng = np.random.default_rng(0)
    groups, target = np.repeat(np.arange(4), 20), rng.normal(size=80)
    told = np.column_stack([target + 0.1 * rng.normal(size=80), rng.normal(size=(80, 30))])
    assert r_squared(told, target, groups) > 0.8
    assert r_squared(rng.normal(size=(80, 31)), target, groups) < 0.2
    assert auroc(np.array([2.0, 3.0]), np.array([1.0, 2.0])) == pytest.approx(0.875)


def test_a_rollout_of_one_step_predictions_goes_from_anchor_frame_to_anchor_frame() -> None:
    class Keeps(torch.nn.Module):
        """What is newest stays where it is in the anchor frame of now, and every motion is of 1.6 m ahead."""

        def forward(self, history_BTDYX: torch.Tensor, actions_BHA: torch.Tensor) -> torch.Tensor:
            assert torch.allclose(actions_BHA, torch.tensor([1.6, 0.0, 0.0]), atol=1e-5)
            return history_BTDYX[:, -1:]

    model = SceneJepa(SceneJepaConfig(horizon=1))
    rolled = RolledOut(Keeps(), model.align_map)  # type: ignore[arg-type]
    history = torch.zeros(1, 4, 40, 64, 64)
    history[0, -1, :, 40, 40] = 4.0
    actions = 1.6 * torch.arange(1, 4)[None, :, None] * torch.tensor([1.0, 0.0, 0.0])  # two tokens a step
    predicted = rolled(history, actions, torch.tensor([0, 2]))
    assert predicted.shape == (1, 2, 40, 64, 64)
    assert torch.allclose(predicted, history[:, -1:].expand_as(predicted), atol=1e-4)


def test_the_moving_share_is_what_the_fusion_added() -> None:
    stands, moves = np.array([0.0, 0.2, 0.9, 1.0]), np.array([0.7, 0.5, 0.0, 0.3])
    share = moving_share(1 - (1 - stands) * (1 - moves), stands)
    assert share == pytest.approx([0.7, 0.5, 0.0, 0.0])  # beside what surely stands nothing can be told


def test_the_headline_takes_what_was_measured_and_says_what_was_not() -> None:
    shares = {"fusion": 0.4, "its moving share": 0.6, "flow": 0.5, "persistence": 0.0}
    by_method = {method: {"entered": share, "AP": float("nan")} for method, share in shares.items()}
    figures = {"simulated": {time_s: by_method for time_s in ("0.4", "1.2", "2.4", "4.8")}}
    told = json.loads(headline.as_json(headline.headline([Section(headline.PUBLISHED, figures=figures)])))
    assert told["moving"]["1.2"] == {"model": 0.4, "moving_share": 0.6, "flow": 0.5, "persistence": 0.0}
    assert told["occupancy"]["simulated"]["2.4"]["fusion"]["AP"] is None  # not NaN, which is no JSON
    assert told["interaction_auroc"] is told["learned_vs_stated"] is told["camera_vs_lidar"] is None
