"""Imagining with a tiny world model whose future is known."""

from __future__ import annotations

import contextlib
import time

import numpy as np
import pytest
import torch
from planning_scenes import goal_at, in_anchor, make_scene

from jepa_ros.backends.bev import BEV_GRID
from jepa_ros.backends.scene_jepa.config import SceneJepaConfig
from jepa_ros.backends.scene_jepa.model import SceneJepa
from jepa_ros.planning import CostWeights, Limits, Planner, PlannerConfig
from jepa_ros.planning.imagined.giving_way import load
from jepa_ros.planning.imagined.motions import ActionConfig, imagine, plan_actions
from jepa_ros.planning.imagined.rehearsal import Rehearsal
from jepa_ros.planning.imagined.swept import SweptCells
from jepa_ros.planning.people import people_future
from jepa_ros.planning.scene import PlanningScene
from jepa_ros.protocols import ActionMeaning, ModelSpec
from jepa_ros.types import GridSpec

GRID = GridSpec(64, 64, 0.4, (-12.8, -12.8))


class ToyModel:
    """Its one-token latent is where the robot would be (for poses) or what the actions add up to; the last cell column is a wall at 4 m."""

    def __init__(self, action_dim: int = 3, actions: ActionMeaning = ActionMeaning.POSE) -> None:
        self.spec = ModelSpec("toy", "1", 0.4, 1, 12, (1, action_dim), action_dim, ("lidar",), GRID, actions=actions)

    def predict(self, history_BTND: torch.Tensor, actions_BHA: torch.Tensor) -> torch.Tensor:
        reached = actions_BHA if self.spec.actions is ActionMeaning.POSE else actions_BHA.cumsum(1)
        return history_BTND[:, -1:] + reached[:, :, None]

    def occupancy(self, latents_BND: torch.Tensor) -> torch.Tensor:
        wall = torch.zeros(len(latents_BND), GRID.rows, GRID.columns)
        wall[:, :, 42] = 0.9  # x from 4.0 to 4.4 m
        return wall


def straight(speed_mps: float, y_m: float = 0.0) -> torch.Tensor:
    x = speed_mps * 0.4 * torch.arange(1, 13)
    return torch.stack((x, torch.full_like(x, y_m), torch.zeros_like(x)), -1)


def test_imagine_sees_the_models_wall_and_the_people() -> None:
    scene = make_scene(people=((1.5, 3.0, 0.0, 0.0),), sigma_mps=0.02)
    poses = torch.stack((straight(0.0), straight(0.5), straight(1.5), straight(0.5, 3.0), straight(6.0)))
    result = imagine(
        ToyModel(),
        torch.zeros(1, 1, 3),
        poses,
        people_future(PlanningScene.of(scene), 0.4),
        0.4,
        CostWeights(),
        (2.4, 0.0, float("nan")),
        keep_latents=True,
        giving_way=load(),
    )
    assert result.most_moved_S is not None
    assert result.most_moved_S[3] == result.most_moved_S.max() > 0.1, "only the fourth comes to somebody"
    stand, near, through, person, beyond = result.collision_probability_S.tolist()
    assert stand == near == 0.0
    assert through == pytest.approx(0.9, abs=1e-3)
    assert person > 0.95
    assert beyond == 1.0, "what lies beyond the grid is unknown, not free"
    assert result.cost_S.argmin() == 1
    assert result.latents_SLND is not None
    assert torch.allclose(result.latents_SLND[:, :, 0], poses)
    with pytest.raises(TimeoutError, match="0 of 5"):
        imagine(ToyModel(), torch.zeros(1, 1, 3), poses, people_future(PlanningScene.of(scene), 0.4), 0.4, CostWeights(), deadline_s=0.0)
    with pytest.raises(ValueError, match="13 steps"):
        imagine(ToyModel(), torch.zeros(1, 1, 3), torch.zeros(1, 13, 3), people_future(PlanningScene.of(scene), 0.4), 0.4, CostWeights())


@pytest.mark.parametrize("width", [3, 7])
def test_actions_lead_to_the_goal_latent(width: int) -> None:
    model = ToyModel(width, ActionMeaning.POSE if width == 3 else ActionMeaning.OWN)
    goal = torch.zeros(1, width)
    goal[0, :2] = torch.tensor([3.0, 1.0]) if width == 3 else torch.tensor([0.2, -0.3])
    config = ActionConfig(samples=200, iterations=12)
    start = torch.tensor([0.0, 0.0, 0.0, 0.5])
    actions, solution = plan_actions(model, torch.zeros(1, 1, width), goal, 12, start, Limits(), config, 60.0)
    assert actions.shape == (12, width)
    reached = actions[-1, :2] if width == 3 else actions.sum(0)[:2]
    assert np.abs((reached - goal[0, :2]).numpy()).max() < 0.15
    assert solution.cost < 0.2


def test_a_slow_model_gets_the_candidates_it_has_time_for() -> None:
    class Slow(ToyModel):
        def predict(self, history_BTND: torch.Tensor, actions_BHA: torch.Tensor) -> torch.Tensor:
            time.sleep(0.01 * len(actions_BHA))
            return super().predict(history_BTND, actions_BHA)

    question = (Slow(), torch.zeros(1, 1, 3), torch.ones(1, 3), 12, torch.zeros(4), Limits(), ActionConfig())
    with pytest.raises(TimeoutError, match="too near"):
        plan_actions(*question, 0.02)
    started_s = time.perf_counter()
    actions, solution = plan_actions(*question, 0.8)
    assert time.perf_counter() - started_s < 0.9
    assert solution.iterations >= 1
    assert torch.isfinite(actions).all()


def test_windows_say_what_the_whole_scene_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SceneJepa, "fast", lambda self: contextlib.nullcontext())  # float32 on any processor
    torch.manual_seed(0)
    model = SceneJepa(SceneJepaConfig()).eval().requires_grad_(False)
    for parameter in model.parameters():
        parameter.normal_(std=0.05)  # what starts at zero would hide a mistake
    history = torch.randn(4, *model.spec.latent_shape)
    motions, steps = 6, 12
    # From standing to leaving the grid: windows in the middle, at the edges and in the corner of the map.
    velocity = torch.tensor([[0.0, 0.0], [0.3, -0.2], [2.0, 1.0], [5.0, 5.0], [-5.2, 0.0], [8.0, 1.0]])
    poses = torch.cat((velocity[:, None] * 0.4 * torch.arange(1, steps + 1)[:, None], torch.randn(motions, steps, 1)), dim=-1)
    way = SweptCells(torch.cat((torch.zeros(motions, 1, 3), poses), dim=1), BEV_GRID, 0.5)
    assert way.cells < 20
    windows = model.occupancy_windows(history)(poses, way.corners_SL2, way.cells)
    whole = model.occupancy(model.predict(history.expand(motions, -1, -1, -1), poses).flatten(0, 1)).unflatten(0, (motions, steps))
    for motion, step in np.ndindex(motions, steps):
        row, column = way.corners_SL2[motion, step].tolist()
        expected = whole[motion, step, row : row + way.cells, column : column + way.cells]
        assert torch.allclose(windows[motion, step], expected, rtol=0, atol=1e-5)
    assert whole.std() > 0.01
    assert torch.allclose(way.highest(windows), way.highest_on(whole), rtol=0, atol=1e-5)
    assert (way.highest(windows) == 1.0).tolist() == [False] * 5 + [True]


class Shy(ToyModel):
    """Whoever ends further to one side than half a metre will find somebody there."""

    def __init__(self, side: float) -> None:
        super().__init__()
        self.side = side

    def occupancy_windows(self, history_TND: torch.Tensor):
        def windows(actions_SHA: torch.Tensor, corners_SH2: torch.Tensor, cells: int) -> torch.Tensor:
            met_S = (self.side * actions_SHA[..., 1]).amax(dim=1) > 0.5
            return 0.95 * met_S.float()[:, None, None, None].expand(*actions_SHA.shape[:2], cells, cells)

        return windows


def test_a_motion_that_people_would_react_to_is_not_taken() -> None:
    scene = make_scene(walls=((2.0, -0.6, 2.4, 0.6),), speed_mps=0.8)
    goal = goal_at(scene, 4.5, 0.0)
    planner = Planner(PlannerConfig(rehearsed=12))

    def side(rehearsal: Rehearsal | None) -> float:
        planner.reset()
        y = in_anchor(scene, planner.plan(scene, goal, 30.0, rehearsal=rehearsal).path)[:, 1]
        return float(y[np.abs(y).argmax()])

    habit = side(None)
    assert abs(habit) > 0.5, "the scene must ask for a way around"
    rehearsal = Rehearsal(Shy(np.sign(habit)), torch.zeros(1, 1, 3), scene.anchor_pose, scene.stamp_ns)
    assert side(rehearsal) * habit < 0.0
