"""Sampling-based search over command sequences: MPPI and CEM, batched, anytime, the same result for the same seed.

MPPI: Williams et al. 2017, "Information-theoretic MPC". Coloured noise, which both use: Pinneri et al. 2020, "iCEM"; its shifted elites are
the planner's last plan among the guesses. Both start wide around many guesses, since the ways around people and walls are many, and do so
again where time is left: a search that has narrowed finds nothing new.

Axes: S candidate, M mean, G guess, L step, U command, E elite. Noise is drawn once per shape and used again: what a plan is depends on the
question only, not on how many were asked before, and a plan spends no time on drawing.

Threads: operations here are small; one intra-op thread is mostly fastest. `torch.set_num_threads` is process-wide: the caller sets it.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from jepa_ros.config import param, validate
from jepa_ros.protocols import Dynamics, Objective, Rollout, Solution, Solver

WORST = 1e9
NOISES = 24  # draws that are used in turn
PER_GUESS = 16  # samples that a wide iteration spends around each guess at least; the better guesses first
FINALISTS = 4  # handed out of the guesses and of each wide iteration, besides what the search ended on


@dataclass(frozen=True)
class SolverConfig:
    """How hard to search."""

    samples: int = param(512, "Candidates per iteration", at_least=8, at_most=100_000)
    iterations: int = param(12, "Iterations at most; the deadline may come first", at_least=1, at_most=100)
    noise: float = param(1.0, "Standard deviation of the first iteration, as a share of half the command range", at_least=0.01, at_most=2.0)
    cooling: float = param(0.8, "Factor on the standard deviation from one iteration to the next", at_least=0.1, at_most=1.0)
    colour: float = param(2.0, "Exponent of the noise's 1/f spectrum: 0 = white, 2 = smooth", at_least=0.0, at_most=4.0)
    elites: float = param(0.03, "Share of the candidates that guides the next iteration", at_least=0.001, at_most=1.0)
    cycle: int = param(12, "Iterations after which the search starts wide again; the best found stays", at_least=2, at_most=1000)
    seed: int = param(0, "Seed of the noise", at_least=0)

    def __post_init__(self) -> None:
        validate(self)


class SamplingSolver:
    """The loop that all share; they differ in what they draw and how they learn. `solve` has the signature of `protocols.Solver`."""

    def __init__(self, config: SolverConfig | None = None, expected_iteration_s: float = 0.0) -> None:
        self.config = config or SolverConfig()
        self._iteration_s = expected_iteration_s  # how long an iteration takes at worst, of late

    def solve(
        self,
        dynamics: Dynamics,
        objective: Objective,
        init_X: Tensor,
        deadline_s: float,
        guesses_GLU: Tensor | None = None,
        steps: int = 24,
    ) -> Solution:
        """The best commands found within `deadline_s` seconds of the call.

        `guesses_GLU`: motions to start from, the last plan among them (warm start); None = the dynamics' own, for `steps` steps. They are
        always scored, however near the deadline: there is always an answer.
        """
        started_s = time.perf_counter()
        if guesses_GLU is None:
            guesses_GLU = dynamics.guesses(init_X, steps)
        rollout = dynamics.rollout(init_X, guesses_GLU)
        cost_S = _ranked(objective(rollout))
        best_cost, best_LU = _best(cost_S, guesses_GLU)
        mean_LU = best_LU
        deviation_LU = (self.config.noise * 0.5 * (dynamics.high_U - dynamics.low_U)).expand_as(mean_LU)
        wide_LU = deviation_LU
        tried_GLU = guesses_GLU[cost_S.argsort()[: max(1, self.config.samples // PER_GUESS)]]
        finalists = [tried_GLU[:FINALISTS]]
        iteration, timed_out = 0, False
        while iteration < self.config.iterations:
            now_s = time.perf_counter()
            if now_s - started_s + self._iteration_s >= deadline_s:
                timed_out = True
                self._iteration_s *= 0.8  # a single slow one must not end the search for good
                break
            wide = iteration % self.config.cycle == 0
            if wide:
                deviation_LU = wide_LU
            means_MLU = tried_GLU if wide else mean_LU[None]
            commands_SLU = self._candidates(iteration, means_MLU, deviation_LU, best_LU, dynamics)
            rollout = dynamics.rollout(init_X, commands_SLU)
            cost_S = _ranked(objective(rollout))
            cost, candidate_LU = _best(cost_S, commands_SLU)
            if cost < best_cost:
                best_cost, best_LU = cost, candidate_LU
            if wide:
                finalists.append(commands_SLU[cost_S.topk(FINALISTS, largest=False).indices])
            mean_LU, deviation_LU = self._learn(cost_S, commands_SLU, deviation_LU)
            iteration += 1
            self._iteration_s = max(self._iteration_s, time.perf_counter() - now_s)
        last_SLU = torch.stack((best_LU, mean_LU))
        cost, one = _better(last_SLU, dynamics, objective, init_X)
        return Solution(one.commands_SLU[0], one, cost, iteration, timed_out, torch.cat((*finalists, last_SLU)))

    def _candidates(self, iteration: int, means_MLU: Tensor, deviation_LU: Tensor, best_LU: Tensor, dynamics: Dynamics) -> Tensor:
        return self._drawn(self.config.samples, iteration, means_MLU, deviation_LU, best_LU, dynamics)

    def _drawn(self, count: int, iteration: int, means_MLU: Tensor, deviation_LU: Tensor, best_LU: Tensor, dynamics: Dynamics) -> Tensor:
        """(count, L, U): the best so far, one of the means, and noise around the means in turn."""
        steps, width = best_LU.shape
        noise_ULS = _noise_bank(width, steps, count, self.config.colour, self.config.seed, iteration % NOISES)
        means_SLU = means_MLU if len(means_MLU) == 1 else means_MLU[torch.arange(count) % len(means_MLU)]
        commands_ULS = torch.addcmul(means_SLU.permute(2, 1, 0), deviation_LU.T[..., None], noise_ULS)
        commands_ULS[..., 0] = best_LU.T
        commands_ULS[..., 1] = means_MLU[0].T
        commands_ULS = commands_ULS.clamp_(dynamics.low_U[:, None, None], dynamics.high_U[:, None, None])
        return commands_ULS.permute(2, 1, 0)

    def _elites(self, cost_S: Tensor, commands_SLU: Tensor) -> tuple[Tensor, Tensor]:
        cost_E, index_E = cost_S.topk(min(self._elite_count(), len(cost_S)), largest=False)
        return cost_E, commands_SLU[index_E]

    def _elite_count(self) -> int:
        return max(2, round(self.config.elites * self.config.samples))

    def _learn(self, cost_S: Tensor, commands_SLU: Tensor, deviation_LU: Tensor) -> tuple[Tensor, Tensor]:
        raise NotImplementedError


class MPPI(SamplingSolver):
    """Mean of the elites, weighed by exp(-cost / temperature). The temperature follows the elites' spread, so that no scale of the
    objective has to be known."""

    def _learn(self, cost_S: Tensor, commands_SLU: Tensor, deviation_LU: Tensor) -> tuple[Tensor, Tensor]:
        cost_E, elites_ELU = self._elites(cost_S, commands_SLU)
        temperature = (cost_E.mean() - cost_E[0]).clamp(min=1e-6)
        weights_E = torch.softmax((cost_E[0] - cost_E) / temperature, dim=0)
        return torch.tensordot(weights_E, elites_ELU, 1), deviation_LU * self.config.cooling


class CEM(SamplingSolver):
    """Mean and standard deviation of the elites; the best candidate so far stays in the pool."""

    def _learn(self, cost_S: Tensor, commands_SLU: Tensor, deviation_LU: Tensor) -> tuple[Tensor, Tensor]:
        _, elites_ELU = self._elites(cost_S, commands_SLU)
        mean_LU = elites_ELU.mean(0)
        spread_LU = elites_ELU.std(0)
        # A floor that cools like MPPI's deviation keeps a lucky first draw from ending the search.
        return mean_LU, torch.maximum(spread_LU, 0.5 * self.config.cooling * deviation_LU)


SOLVERS: dict[str, Callable[[SolverConfig], Solver]] = {"mppi": MPPI, "cem": CEM}


def _ranked(cost_S: Tensor) -> Tensor:
    """A candidate whose cost is not a number is the worst."""
    return torch.nan_to_num(cost_S, nan=WORST, posinf=WORST, neginf=WORST)


def _better(commands_SLU: Tensor, dynamics: Dynamics, objective: Objective, init_X: Tensor) -> tuple[float, Rollout]:
    """Of a few candidates the one of least cost, driven: its cost, and the rollout of it alone."""
    rollout = dynamics.rollout(init_X, commands_SLU)
    cost_S = _ranked(objective(rollout))
    chosen = int(cost_S.argmin())
    alone = slice(chosen, chosen + 1)
    return float(cost_S[chosen]), Rollout(rollout.states_SLX[alone], rollout.commands_SLU[alone], rollout.dt_s)


def _best(cost_S: Tensor, commands_SLU: Tensor) -> tuple[float, Tensor]:
    index = int(cost_S.argmin())
    return float(cost_S[index]), commands_SLU[index].clone()


@lru_cache(maxsize=4 * NOISES)
def _noise_bank(width: int, steps: int, samples: int, colour: float, seed: int, iteration: int) -> Tensor:
    """(U, L, S) noise of unit variance with a 1/f^colour spectrum along the steps, each draw with its mirror image."""
    generator = torch.Generator().manual_seed(seed * 1009 + iteration)
    half = samples - samples // 2
    frequency = torch.fft.rfftfreq(2 * steps)  # twice as long as needed: the ends of a plan must not be tied together
    frequency[0] = frequency[1]
    scale = frequency.pow(-0.5 * colour)
    spectrum = torch.randn(width, half, len(scale), 2, generator=generator)
    wave = torch.fft.irfft(torch.view_as_complex(spectrum) * scale, n=2 * steps)[..., :steps]
    wave = wave / wave.square().mean().sqrt()
    return torch.cat((wave, -wave), dim=1)[:, :samples].permute(0, 2, 1).contiguous()
