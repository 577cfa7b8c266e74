"""Back-ends with an action space of their own, such as an arm's: what they offer beyond `protocols.WorldModel`, and their answers.

Axes: T history step, N token, D latent width, X state, S candidate, L step, A action.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from jepa_ros.protocols import ModelSpec
from jepa_ros.types import FloatArray


@dataclass(frozen=True)
class ActionPlan:
    """Actions in a model's own space."""

    actions_LA: FloatArray
    energy: float  # distance between the predicted last latent and the goal; lower is better
    message: str  # what was searched, for people
    hold_L: FloatArray | None = None  # probability that the grip holds up to each step; None = the model knows nothing of grips
    hold_spread_L: FloatArray | None = None  # standard deviation of it over the model's several predictions


@dataclass(frozen=True)
class ImaginedActions:
    """What candidate actions lead to."""

    latents_SLND: Tensor
    hold_SL: FloatArray | None  # probability that the grip holds up to each step; None = the model knows nothing of grips
    hold_spread_SL: FloatArray | None  # standard deviation of it over the model's several predictions


@runtime_checkable
class ActionPlanner(Protocol):
    """What a world model offers besides `WorldModel` where it plans in its own action space from a robot state that no latent holds."""

    state_width: int  # X, numbers of one state

    def plan_actions(self, history_TND: Tensor, states_TX: FloatArray, goal_ND: Tensor, steps: int, deadline_s: float) -> ActionPlan:
        """The best found within `deadline_s` seconds of the call; states_TX: of the robot at each step of the history; steps: 0 = its own.

        Raises ValueError for states that do not fit, TimeoutError where the time is not enough for a search.
        """
        ...


@runtime_checkable
class GoalEncoder(Protocol):
    """What an `ActionPlanner` offers besides where a goal image shows less than its cameras see."""

    def encode_goal(self, rgb_YX3: NDArray[np.uint8]) -> Tensor:
        """(1, N, D)."""
        ...


@runtime_checkable
class ActionImaginer(Protocol):
    """What an `ActionPlanner` offers besides where it can say what comes of given actions."""

    spec: ModelSpec
    state_width: int

    def imagine_actions(self, history_TND: Tensor, states_TX: FloatArray, actions_SLA: Tensor) -> ImaginedActions:
        """Raises ValueError for states or actions that do not fit."""
        ...


@runtime_checkable
class GripPlanner(Protocol):
    """What an `ActionPlanner` offers besides where it knows which motions a grip holds."""

    def plan_holding(
        self, history_TND: Tensor, states_TX: FloatArray, goal_ND: Tensor, steps: int, deadline_s: float, min_hold: float
    ) -> ActionPlan:
        """As `ActionPlanner.plan_actions`; the quickest whose grip holds with at least this probability, else the one that holds best."""
        ...
