"""The quickest motion to a goal image that holds: proposed by inverse dynamics, verified by imagination, searched for where that fails.

The inverse dynamics say how far it is from here to the goal; that way is cut into few actions or many, bent or straight, and all of these
are imagined in one batch: imagination says which of them hold. Axes: S candidate, L step, 7 action.
"""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from jepa_ros.backends.actions import ActionPlan, ImaginedActions
from jepa_ros.backends.arm.file import ArmFacts
from jepa_ros.backends.arm.network import unscaled
from jepa_ros.backends.vjepa2_ac.search import ScoreAll, Scorer, SearchConfig, search
from jepa_ros.config import param, validate

Imagine = Callable[[Tensor], ImaginedActions]
PACES = ("even", "early", "late")  # how an axis spreads its way over the steps
SEARCH_BATCH = 64


@dataclass(frozen=True)
class ArmPlanning:
    """How a motion is found."""

    propose: bool = param(True, "begin with proposals; false = search at once")
    dead_grip: float = param(0.25, "smaller changes of the closing are not made", at_least=0.0, at_most=1.0)
    search: SearchConfig = field(default_factory=lambda: SearchConfig(samples=200, iterations=5, elites=10, steps=3))

    def __post_init__(self) -> None:
        validate(self)


@dataclass(frozen=True)
class Candidates:
    """Motions of several lengths, each filled up with rest."""

    actions_SL7: Tensor
    steps_S: Tensor  # how many of its actions move


class Quickest:
    """One question."""

    def __init__(self, imagine: Imagine, goal_PD: Tensor, facts: ArmFacts, horizon: int, config: ArmPlanning) -> None:
        self._imagine = imagine
        self._goal_PD = goal_PD
        self._facts = facts
        self._horizon = horizon
        self._config = config

    def plan(self, motion_7: Tensor, steps: int, deadline_s: float, min_hold: float) -> ActionPlan:
        """motion_7: from here to the goal as the inverse dynamics tell it, scaled. Others: as `ArmWorldModel.plan_holding`."""
        started_s = time.perf_counter()
        best: ActionPlan | None = None
        if self._config.propose:
            candidates = proposals(unscaled(motion_7), steps, self._horizon, self._facts, self._config.dead_grip)
            best, holds = self._verified(candidates, min_hold)
            if holds:
                return best
        rest = self._imagine(torch.zeros(1, self._horizon, motion_7.shape[-1]))
        staying = float(self._distance(rest.latents_SLND[:, 0]))
        left_s = deadline_s - (time.perf_counter() - started_s)
        try:
            found = self._searched(steps or (best.actions_LA.shape[0] if best else self._config.search.steps), left_s, staying, min_hold)
        except TimeoutError:
            if best is None:
                raise
            return best
        return found if best is None or _better(found, best, min_hold) else best

    def _verified(self, candidates: Candidates, min_hold: float) -> tuple[ActionPlan, bool]:
        """The candidate of the fewest steps that holds, and whether there is one; else the one that holds best.

        All make the same motion in the end, so where they lead is for the inverse dynamics to say. Imagined latents would say it worse:
        their error is larger than what the last centimetres change.
        """
        imagined = self._imagine(candidates.actions_SL7)
        last = candidates.steps_S - 1
        distance_S = self._distance(imagined.latents_SLND[torch.arange(len(last)), last])
        hold_S = None if imagined.hold_SL is None else imagined.hold_SL[np.arange(len(last)), last.numpy()]
        holds = np.ones(len(last), bool) if hold_S is None else hold_S >= min_hold
        # Of equally quick ones the one that holds best, or the nearest where no holding is wanted.
        worth = -distance_S.double().numpy() if hold_S is None or min_hold <= 0 else hold_S
        chosen = int(np.lexsort((-worth, last.numpy(), ~holds))[0]) if holds.any() else int(np.argmax(worth))
        count = int(candidates.steps_S[chosen])
        message = f"{len(last)} proposals of the inverse dynamics, imagined"
        return self._told(imagined, chosen, candidates.actions_SL7[chosen, :count], float(distance_S[chosen]), message), bool(holds.any())

    def _searched(self, steps: int, deadline_s: float, staying: float, min_hold: float) -> ActionPlan:
        """By the cross-entropy method. The cost: the share of the way that is left, and the share of the wanted holding that lacks."""

        def energy(actions_BL7: Tensor) -> Tensor:
            imagined = self._imagine(actions_BL7)
            cost_B = self._distance(imagined.latents_SLND[:, -1]) / staying if staying > 0 else torch.zeros(len(actions_BL7))
            if min_hold <= 0 or imagined.hold_SL is None:
                return cost_B
            lack_B = torch.from_numpy(np.maximum(min_hold - imagined.hold_SL[:, -1], 0)).to(cost_B)
            return cost_B + lack_B / min_hold

        score = Scorer(energy, SEARCH_BATCH, deadline_s)
        config = self._config.search
        limited = SearchConfig(**{**vars(config), "max_step_m": min(self._facts.max_move_m, 1.0)})
        found = search(score, ScoreAll(score), steps, limited, deadline_s)
        imagined = self._imagine(found.actions_L7[None])
        message = f"{found.iterations} iterations of CEM, {found.predicted} motions imagined"
        return self._told(imagined, 0, found.actions_L7, float(self._distance(imagined.latents_SLND[:, -1])), message)

    def _distance(self, latents_SPD: Tensor) -> Tensor:
        """(S,) mean absolute difference from the goal, in the view that it shows."""
        return (latents_SPD[..., : self._goal_PD.shape[-1]] - self._goal_PD).abs().mean(dim=(1, 2)).cpu()

    def _told(self, imagined: ImaginedActions, which: int, actions_L7: Tensor, energy: float, message: str) -> ActionPlan:
        count = len(actions_L7)
        if imagined.hold_SL is None or imagined.hold_spread_SL is None:
            return ActionPlan(actions_L7.numpy(), energy, message)
        return ActionPlan(actions_L7.numpy(), energy, message, imagined.hold_SL[which, :count], imagined.hold_spread_SL[which, :count])


def proposals(motion_7: Tensor, steps: int, horizon: int, facts: ArmFacts, dead_grip: float) -> Candidates:
    """A whole way (in metres, radians, closing) as motions of `steps` actions (0 = of every number up to the horizon) within the limits.

    The way sideways and the way up each go evenly, early or late. One that no number of actions can hold is made shorter.
    """
    way = motion_7.clone()
    way[6] = 0.0 if abs(float(way[6])) < dead_grip else way[6]
    moves = float(way[:3].abs().max())
    least = max(1, math.ceil(moves / facts.max_move_m - 1e-6))
    if least > (steps or horizon):
        way[:6] *= (steps or horizon) * facts.max_move_m / moves
        least = steps or horizon
    actions, lengths = [], []
    for count in (steps,) if steps else range(least, horizon + 1):
        for across, up in itertools.product(PACES, PACES) if count > 1 else (("even", "even"),):
            paces = torch.stack([_pace(across, count)] * 2 + [_pace(up, count)] + [_pace("even", count)] * 4, dim=1)
            motion = paces * way
            if (across, up) != ("even", "even") and float(motion[:, :3].abs().max()) > facts.max_move_m:
                continue
            actions.append(torch.cat([motion, torch.zeros(horizon - count, 7)]))
            lengths.append(count)
    return Candidates(torch.stack(actions).float(), torch.tensor(lengths))


def _pace(name: str, count: int) -> Tensor:
    """(count,) shares of a way, which sum to 1."""
    ramp = torch.arange(1, count + 1, dtype=torch.float32)
    weights = {"even": torch.ones(count), "late": ramp, "early": ramp.flip(0)}[name]
    return weights / weights.sum()


def _better(one: ActionPlan, other: ActionPlan, min_hold: float) -> bool:
    """Whether a plan lacks less of the wanted holding, or as little of it and ends nearer to the goal."""
    return (_lack(one, min_hold), one.energy) < (_lack(other, min_hold), other.energy)


def _lack(plan: ActionPlan, min_hold: float) -> float:
    return 0.0 if plan.hold_L is None else max(0.0, min_hold - float(plan.hold_L[-1]))
