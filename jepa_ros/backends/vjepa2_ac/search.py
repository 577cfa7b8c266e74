"""The cross-entropy method as V-JEPA 2-AC was published with.

It is not the package's own CEM (`jepa_ros.planning.solver`): momentum, a fixed number of elites, the mean as the answer and a gripper that
moves only when it means to are part of the published setting, and only with them do energies and actions compare with the paper's.

Axes: S candidate, L planned step, E elite, 4 free components of an action (x, y, z, gripper), 7 all of them (rotations stay 0).
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from jepa_ros.config import param, validate

Energy = Callable[[Tensor], Tensor]  # (B, L, 7) -> (B,), lower is better


@dataclass(frozen=True)
class SearchConfig:
    """The published setting."""

    samples: int = param(800, "candidates per iteration", at_least=4, at_most=100_000)
    iterations: int = param(10, "iterations at most; the deadline may come first", at_least=1, at_most=1000)
    elites: int = param(10, "candidates that guide the next iteration", at_least=2, at_most=10_000)
    steps: int = param(1, "actions that are planned where the caller names no number", at_least=1, at_most=31)
    momentum: float = param(0.15, "share of the old mean and deviation that is kept", at_least=0.0, at_most=0.99)
    max_step_m: float = param(0.05, "largest motion along each axis in one action, m", at_least=1e-6, at_most=1.0)
    max_grip: float = param(0.75, "largest change of the gripper in one action", at_least=0.0, at_most=1.0)
    dead_grip: float = param(0.25, "smaller changes of the gripper are not made", at_least=0.0, at_most=1.0)
    seed: int = param(0, "of the noise", at_least=0)

    def __post_init__(self) -> None:
        validate(self)
        if self.samples < 2 * self.elites:
            raise ValueError(f"SearchConfig.samples = {self.samples}: must be at least twice the {self.elites} elites")


@dataclass(frozen=True)
class Found:
    """What came of a search."""

    actions_L7: Tensor
    energy: float  # of these very actions
    iterations: int  # finished before the deadline
    predicted: int  # candidates that went through the predictor


class Judge(Protocol):
    """Finds the best candidates."""

    share: float  # of the candidates that it predicts, as a rule

    def best(self, actions_SL7: Tensor, count: int) -> Tensor:
        """(count,) indices of those of the lowest energy. Raises TimeoutError."""
        ...


class Scorer:
    """Energies in batches, counted, with a look at the clock between two batches."""

    def __init__(self, energy: Energy, batch: int, deadline_s: float = math.inf) -> None:
        """deadline_s: from now."""
        self.predicted = 0
        self.batch = batch
        self._energy = energy
        self._until_s = time.perf_counter() + deadline_s
        self._slowest_s = 0.0

    def __call__(self, actions_SL7: Tensor) -> Tensor:
        """(S,) on the CPU. Raises TimeoutError where the next batch would not be through in time."""
        return torch.cat([self._score(actions_BL7) for actions_BL7 in actions_SL7.split(self.batch)])

    def afford(self, per: int) -> int:
        """How many candidates there is time for in each of `per` rounds, to judge by the slowest batch so far."""
        left_s = self._until_s - time.perf_counter()
        return int(min(left_s / max(self._slowest_s, 1e-9) / per * self.batch, 1e9))

    def once(self, actions_L7: Tensor) -> float:
        """The energy of one candidate, even after the deadline."""
        self.predicted += 1
        return float(self._energy(actions_L7[None]))

    def _score(self, actions_BL7: Tensor) -> Tensor:
        started_s = time.perf_counter()
        if started_s + self._slowest_s > self._until_s:
            raise TimeoutError(
                f"the deadline is too near: {self.predicted} candidates were predicted, up to {self.batch} in {self._slowest_s:.2f} s"
            )
        energy_B = self._energy(actions_BL7).float().cpu()
        self.predicted += len(actions_BL7)
        self._slowest_s = max(self._slowest_s, time.perf_counter() - started_s)
        return energy_B


class ScoreAll:
    """Predicts every candidate."""

    share = 1.0

    def __init__(self, score: Scorer) -> None:
        self._score = score

    def best(self, actions_SL7: Tensor, count: int) -> Tensor:
        return self._score(actions_SL7).topk(count, largest=False).indices


def search(score: Scorer, judge: Judge, steps: int, config: SearchConfig, deadline_s: float = math.inf) -> Found:
    """The actions of the lowest energy that were found before the scorer's deadline.

    With a finite deadline as many candidates are drawn as can be predicted in all iterations. The noise is drawn on the CPU, so that a plan
    is the same on every device. Raises TimeoutError where the time is not enough for a first iteration.
    """
    generator = torch.Generator().manual_seed(config.seed)
    mean_L4 = torch.zeros(steps, 4)
    deviation_L4 = torch.tensor([config.max_step_m] * 3 + [1.0]).repeat(steps, 1)
    samples = config.samples
    if deadline_s < math.inf:
        score(with_rotation(mean_L4).expand(score.batch, -1, -1))
        samples = min(samples, max(2 * config.elites, int(score.afford(config.iterations + 1) / judge.share)))
    finished = 0
    for _ in range(config.iterations):
        actions_SL7 = draw(mean_L4, deviation_L4, samples, config, generator)
        try:
            elites_EL4 = without_rotation(actions_SL7[judge.best(actions_SL7, config.elites)])
        except TimeoutError:
            if not finished:
                raise
            break
        mean_L4 = torch.lerp(elites_EL4.mean(0), mean_L4, config.momentum)
        deviation_L4 = torch.lerp(elites_EL4.std(0), deviation_L4, config.momentum)
        finished += 1
    grip_L = mean_L4[:, 3]
    answer_L4 = torch.cat([mean_L4[:, :3], torch.where(grip_L.abs() < config.dead_grip, 0.0, grip_L)[:, None]], dim=1)
    answer_L7 = with_rotation(answer_L4)
    return Found(answer_L7, score.once(answer_L7), finished, score.predicted)


def draw(mean_L4: Tensor, deviation_L4: Tensor, samples: int, config: SearchConfig, generator: torch.Generator) -> Tensor:
    """(S, L, 7) candidates, within the limits of an action."""
    noise_SL4 = torch.stack([torch.randn(samples, 4, generator=generator) for _ in range(len(mean_L4))], dim=1)
    limit_4 = torch.tensor([config.max_step_m] * 3 + [config.max_grip])
    return with_rotation((noise_SL4 * deviation_L4 + mean_L4).clamp(-limit_4, limit_4))


def with_rotation(free: Tensor) -> Tensor:
    """(..., 4) -> (..., 7)."""
    return torch.cat([free[..., :3], torch.zeros_like(free[..., :3]), free[..., 3:]], dim=-1)


def without_rotation(actions: Tensor) -> Tensor:
    """(..., 7) -> (..., 4)."""
    return torch.cat([actions[..., :3], actions[..., 6:]], dim=-1)
