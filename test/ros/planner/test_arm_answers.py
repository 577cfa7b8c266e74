"""What the planner's services say of an arm's motions: requests and answers, without nodes."""

from __future__ import annotations

import time

import numpy as np
import pytest
import torch

pytest.importorskip("rclpy", reason="needs ROS 2: run `make build`, then tests through scripts/env.sh")
pytest.importorskip("jepa_ros.msg", reason="needs the built interfaces: run `make build`, then tests through scripts/env.sh")

from jepa_ros.backends.arm.file import ArmFacts
from jepa_ros.backends.arm.model import ArmWorldModel
from jepa_ros.backends.arm.network import ArmModel, ArmModelConfig
from jepa_ros.ros.arm.answers import NothingHolds, imagined, planned, states_of
from jepa_ros.srv import Imagine, PlanActions
from jepa_ros.types import PlanStatus

TINY = ArmModelConfig(width=8, channels=8, predictor_width=24, predictor_depth=1, predictor_heads=2, members=2, hold_width=8)
OPEN = [0.0, 0.0, 0.1, 0.0, 0.0, 0.0, 0.0, 0.0]
CLOSED = [0.0, 0.0, 0.05, 0.0, 0.0, 0.0, 0.55, 0.65]


@pytest.fixture(scope="module")
def world() -> ArmWorldModel:
    torch.manual_seed(0)
    model = ArmModel(TINY)
    for predictor in model.predictors:  # an untrained one says that nothing changes
        torch.nn.init.normal_(predictor.predictor_proj.weight, std=0.3)
    torch.nn.init.normal_(model.hold.step_axes.axes)  # an unfitted head sees no change
    return ArmWorldModel(model, ArmFacts(max_move_m=0.06, holds=True))


@pytest.fixture(scope="module")
def history(world) -> torch.Tensor:
    rng = np.random.default_rng(0)
    return torch.cat([world.encode_images(rng.integers(0, 255, (1, 64, 64, 3), np.uint8)) for _ in range(2)])


def test_each_candidate_and_step_has_a_probability_and_its_spread(world, history):
    actions = np.zeros((2, 4, 7))
    actions[0, :, 2], actions[1, :, 2] = 0.01, 0.05
    request = Imagine.Request(candidates=2, steps=4, actions=actions.flatten().tolist(), state=OPEN + CLOSED, return_latents=True)
    answer = imagined(world, request, history)
    assert answer.status.code == PlanStatus.OK
    hold = np.array(answer.hold_probability).reshape(2, 4)
    assert ((hold > 0) & (hold < 1)).all()
    np.testing.assert_allclose(answer.cost, 1 - hold[:, -1], atol=1e-6)
    assert len(answer.hold_spread) == 8
    assert max(answer.hold_spread) > 0, "two predictors agree in everything"
    assert list(answer.latent_shape) == [2, 4, 16, 8]
    assert len(answer.latents) == 2 * 2 * 4 * 16 * 8


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"actions": [0.0]}, "candidates x steps x 7 = 7"),
        ({"actions": [float("nan")] * 7}, "not finite"),
        ({"candidates": 2**32 - 1, "steps": 2**32 - 1}, "actions has 7 values"),
        ({"steps": 9, "actions": [0.0] * 63}, "1 to 6 steps"),
        ({"state": [0.0] * 7}, "1 or 2 x 8 finite values"),
        ({"state": []}, "1 or 2 x 8 finite values"),
    ],
    ids=["few", "nan", "huge", "long", "short state", "no state"],
)
def test_what_does_not_fit_is_refused_with_the_reason(world, history, changes, text):
    fields = {"candidates": 1, "steps": 1, "actions": [0.0] * 7, "state": CLOSED, **changes}
    with pytest.raises(ValueError, match=text):
        imagined(world, Imagine.Request(**fields), history)


def test_a_plan_holds_as_surely_as_asked_or_is_none(world, history):
    goal = world.encode_goal(np.full((64, 64, 3), 90, np.uint8))[0]

    def ask(least: float, horizon: int = 2):
        request = PlanActions.Request(state=OPEN + CLOSED, horizon=horizon, min_hold_probability=least)
        return planned(world, request, history, goal, time.perf_counter() + 5.0)

    plan = ask(0.0)
    assert plan.actions_LA.shape == (2, 7)
    assert plan.hold_L.shape == plan.hold_spread_L.shape == (2,)
    with pytest.raises(NothingHolds, match="no motion to the goal keeps the grip"):
        ask(0.9999)
    with pytest.raises(ValueError, match="give 0 to 1"):
        ask(1.5)
    assert states_of(OPEN + CLOSED, 8).shape == (2, 8)


def test_weights_without_outcomes_say_nothing_of_grips(history):
    blind = ArmWorldModel(ArmModel(TINY), ArmFacts(holds=False))
    answer = imagined(blind, Imagine.Request(candidates=1, steps=1, actions=[0.0] * 7, state=CLOSED), history)
    assert not answer.hold_probability
    assert not answer.cost
    with pytest.raises(ValueError, match="without the outcome of grips"):
        blind.plan_holding(history, np.array([CLOSED]), history[0], min_hold=0.5)
