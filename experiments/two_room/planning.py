"""Plans in the latents of the two-room JEPA with the project's own solver: `LatentDynamics` x a latent objective.

Axes: N trial, S candidate, G guess, L command, U = 2 action, H environment step, D latent width.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from experiments.common import COMPARED
from experiments.two_room.environment import Images
from experiments.two_room.model import ACTION_WIDTH, TwoRoomModel
from jepa_ros.config import param, validate
from jepa_ros.planning.solver import SolverConfig
from jepa_ros.protocols import Objective, Rollout
from jepa_ros.types import FloatArray


@dataclass(frozen=True)
class TwoRoomPlanning:
    """How to search, and for what."""

    cost: str = param("distance", "what is summed along the way", choices=("distance", "l2", "l2_last"))
    solver: str = param("cem", "of planning.solver", choices=tuple(COMPARED))
    commands: int = param(5, "commands of a plan", at_least=1)
    hold: int = param(4, "environment steps that each command lasts", at_least=1)
    replan: int = param(4, "environment steps until the next plan", at_least=1)
    deadline_s: float = param(1.0, "time for a plan", at_least=0.001)
    search: SolverConfig = field(default_factory=lambda: SolverConfig(samples=256, iterations=8, elites=0.1, colour=1.0))

    def __post_init__(self) -> None:
        validate(self)


class LatentDynamics:
    """`Dynamics` whose states are latents after every environment step: (S, H = L * hold, D)."""

    dt_s = 0.1  # TwoRoom renders ten frames a second
    low_U = -torch.ones(ACTION_WIDTH)
    high_U = torch.ones(ACTION_WIDTH)

    def __init__(self, model: TwoRoomModel, hold: int) -> None:
        self._model = model
        self._hold = hold

    @torch.no_grad()
    def rollout(self, init_X: Tensor, commands_SLU: Tensor) -> Rollout:
        actions_SHU = commands_SLU.repeat_interleave(self._hold, dim=1)
        return Rollout(self._model.roll(init_X.expand(len(commands_SLU), -1), actions_SHU), commands_SLU, self.dt_s)

    def guesses(self, init_X: Tensor, steps: int) -> Tensor:
        """(9, steps, 2): stay, or keep to one of eight directions."""
        axis = torch.tensor([0.0, -1.0, 1.0])
        return torch.cartesian_prod(axis, axis)[:, None].expand(-1, steps, -1)


class DistanceObjective:
    """The learned steps to the goal, summed along the way."""

    def __init__(self, model: TwoRoomModel, goal_D: Tensor) -> None:
        self._model = model
        self._goal_D = goal_D

    @torch.no_grad()
    def __call__(self, rollout: Rollout) -> Tensor:
        latents_SHD = rollout.states_SLX
        return torch.expm1(self._model.log_steps(latents_SHD, self._goal_D.expand_as(latents_SHD))).sum(dim=1)


class LatentL2Objective:
    """Squared distance of latents from the goal's, summed along the way, or at its end alone."""

    def __init__(self, goal_D: Tensor, last_only: bool) -> None:
        self._goal_D = goal_D
        self._last_only = last_only

    def __call__(self, rollout: Rollout) -> Tensor:
        error_SH = (rollout.states_SLX - self._goal_D).square().sum(dim=-1)
        return error_SH[:, -1] if self._last_only else error_SH.sum(dim=1)


class PixelPlanner:
    """Acts on images: looks, plans, does the first command, looks again. One for each run of trials; knows nothing but pixels."""

    def __init__(self, model: TwoRoomModel, config: TwoRoomPlanning) -> None:
        self.plan_s: list[float] = []  # of every plan, encoding of both images included
        self._model = model
        self._config = config
        self._dynamics = LatentDynamics(model, config.hold)
        self._plans: dict[int, Tensor] = {}
        self._steps = 0

    def __call__(self, images_N: Images, goals_N: Images, done_N: NDArray[np.bool_]) -> FloatArray:
        """(N, 2) actions; nothing is planned for trials that are done."""
        if self._steps % self._config.replan == 0:
            for k in np.flatnonzero(~done_N).tolist():
                self._plans[k] = self._plan(k, images_N[k], goals_N[k])
        actions_NA = np.zeros((len(done_N), ACTION_WIDTH), np.float32)
        command = self._steps % self._config.replan // self._config.hold
        for k, plan_LU in self._plans.items():
            actions_NA[k] = plan_LU[command].numpy()
        self._steps += 1
        return actions_NA

    @torch.no_grad()
    def _plan(self, trial: int, image: Images, goal: Images) -> Tensor:
        begin_s = time.perf_counter()
        now_D, goal_D = self._model.encode(torch.from_numpy(np.stack((image, goal))))
        guesses_GLU = self._dynamics.guesses(now_D, self._config.commands)
        if trial in self._plans:  # the last plan, without what was done of it
            done = max(1, self._config.replan // self._config.hold)
            last_LU = self._plans[trial]
            shifted_LU = torch.cat((last_LU[done:], last_LU[-1:].expand(done, -1)))
            guesses_GLU = torch.cat((shifted_LU[None], guesses_GLU))
        solver = COMPARED[self._config.solver](self._config.search)
        solution = solver.solve(self._dynamics, self._objective(goal_D), now_D, self._config.deadline_s, guesses_GLU)
        self.plan_s.append(time.perf_counter() - begin_s)
        return solution.commands_LU

    def _objective(self, goal_D: Tensor) -> Objective:
        if self._config.cost == "distance":
            return DistanceObjective(self._model, goal_D)
        return LatentL2Objective(goal_D, self._config.cost == "l2_last")
