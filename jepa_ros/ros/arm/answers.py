"""Answers of the planner's services for a model with actions of its own: results of given actions, and actions that reach a goal."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import torch

from jepa_ros.backends.actions import ActionImaginer, ActionPlan, ActionPlanner, GripPlanner
from jepa_ros.msg import PlanningStatus
from jepa_ros.ros.conversions import LATENT_DTYPE, byte_array
from jepa_ros.srv import Imagine, PlanActions
from jepa_ros.types import FloatArray

MAX_VALUES = 4096 * 16 * 16  # of candidates x steps x width


class NothingHolds(Exception):
    """No motion was found that holds the grip with the requested probability; the text gives that of the best one."""


def imagined(model: ActionImaginer, request: Imagine.Request, history_TND: torch.Tensor) -> Imagine.Response:
    """The answer but for its stamp. Raises ValueError for a request that does not fit."""
    spec, shape = model.spec, (request.candidates, request.steps, model.spec.action_dim)
    expected = int(np.prod([int(part) for part in shape], dtype=object))
    if not 0 < expected <= MAX_VALUES or len(request.actions) != expected:
        raise ValueError(
            f"actions has {len(request.actions)} values, {spec.name} takes candidates x steps x {spec.action_dim} = {expected} "
            f"(1 to {MAX_VALUES})"
        )
    actions_SLA = torch.tensor(request.actions, dtype=torch.float32).view(shape)
    if not actions_SLA.isfinite().all():
        raise ValueError("actions holds values that are not finite")
    result = model.imagine_actions(history_TND, states_of(request.state, model.state_width), actions_SLA)
    response = Imagine.Response(
        status=PlanningStatus(code=PlanningStatus.OK, message=f"imagined with {spec.name} {spec.version}"),
        hold_probability=_values(result.hold_SL),
        hold_spread=_values(result.hold_spread_SL),
    )
    if result.hold_SL is not None:
        response.cost = (1 - result.hold_SL[:, -1]).tolist()
    if request.return_latents:
        response.latent_shape = list(result.latents_SLND.shape)
        response.latents = byte_array(result.latents_SLND.cpu().numpy().astype(LATENT_DTYPE))
    return response


def planned(
    model: ActionPlanner, request: PlanActions.Request, history_TND: torch.Tensor, goal_ND: torch.Tensor, due_s: float
) -> ActionPlan:
    """By a model that plans itself, from the robot's state in the request.

    due_s: on the clock of `time.perf_counter`. Raises ValueError for a state that does not fit and for a wish that the model cannot
    grant, NothingHolds where no motion holds so surely, TimeoutError.
    """
    states_TX = states_of(request.state, model.state_width)
    least = float(request.min_hold_probability)
    if not 0 <= least <= 1:
        raise ValueError(f"min_hold_probability = {least}: give 0 to 1")
    left_s = due_s - time.perf_counter()
    if least == 0:
        return model.plan_actions(history_TND, states_TX, goal_ND, request.horizon, left_s)
    if not isinstance(model, GripPlanner):
        raise ValueError(f"min_hold_probability = {least}: the running model does not predict grips")
    plan = model.plan_holding(history_TND, states_TX, goal_ND, request.horizon, left_s, least)
    if plan.hold_L is None or plan.hold_L[-1] < least:
        best = "nothing" if plan.hold_L is None else f"{plan.hold_L[-1]:.2f}, in {len(plan.actions_LA)} steps"
        raise NothingHolds(
            f"no motion to the goal keeps the grip with a probability of {least:.2f} or more; the best: {best}. Grip again, or ask for less"
        )
    return plan


def states_of(values: Any, width: int) -> FloatArray:
    """(T, X) rows of a request's state; (1, whatever came) where it does not come out even: the model says what it wants."""
    rows = len(values) // width if len(values) and not len(values) % width else 1
    return np.array(values, dtype=np.float32).reshape(rows, -1)


def _values(numbers: FloatArray | None) -> list[float]:
    return [] if numbers is None else numbers.reshape(-1).tolist()
