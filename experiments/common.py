"""What several benches share: figures and how sure they are (AUROC, 95 % intervals of shares and of paired ratios, linear probes), iCEM.

Axes: S candidate, L step, U command, E elite.
"""

from __future__ import annotations

import multiprocessing
import os
import platform
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from scipy.stats import binomtest
from torch import Tensor

from jepa_ros.planning.solver import CEM, SOLVERS, SolverConfig
from jepa_ros.protocols import Dynamics, Solver
from jepa_ros.types import FloatArray

ICEM_DECAY = 0.8  # samples of an iteration as a share of the last one's (1 / 1.25 in the paper)
ICEM_KEPT = 0.3  # share of the elites that goes on into the next iteration (as in the paper)
RESAMPLES = 4000


def wilson(hits: int, count: int) -> tuple[float, float]:
    """95 % interval of a share (Wilson 1927)."""
    interval = binomtest(hits, count).proportion_ci(method="wilson")
    return float(interval.low), float(interval.high)


def ratio_of_sums(ours: FloatArray, theirs: FloatArray) -> tuple[float, float, float]:
    """sum(ours) / sum(theirs) over paired cases (N,), and its 95 % percentile bootstrap over the cases."""
    drawn = np.random.default_rng(0).integers(len(ours), size=(RESAMPLES, len(ours)))
    low, high = np.percentile(ours[drawn].sum(axis=1) / theirs[drawn].sum(axis=1), [2.5, 97.5])
    return float(ours.sum() / theirs.sum()), float(low), float(high)


@torch.inference_mode()
def convolution_s() -> float:
    """Seconds that one thread spends on a convolution of 1 GMAC: a unit of time that depends on the machine much less than seconds do."""
    layer = torch.nn.Conv2d(96, 96, 3, padding=1).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    values = torch.ones(1, 96, 32, 32).to(memory_format=torch.channels_last)
    taken = []
    for _ in range(12):
        start = time.thread_time()
        layer(values)
        taken.append(time.thread_time() - start)
    return float(np.median(taken[2:])) * 1e9 / (96 * 96 * 9 * 32 * 32)


def linear_r2(x_KD: Tensor, y_KC: Tensor, x_test: Tensor, y_test: Tensor) -> Tensor:
    """(C,) R2 on the test half of a ridge regression."""
    mean, offset = x_KD.mean(0), y_KC.mean(0)
    centred = (x_KD - mean).double()
    gram = centred.T @ centred + 0.01 * len(x_KD) * torch.eye(x_KD.shape[1], dtype=torch.float64)
    weight = torch.linalg.solve(gram, centred.T @ (y_KC - offset).double())
    error = ((x_test - mean).double() @ weight + offset - y_test).square().mean(0)
    return 1 - error / y_test.double().var(0)


class ICEM(CEM):
    """Pinneri et al. 2020: CEM that keeps a share of its elites from one iteration to the next, and draws fewer samples each time."""

    def __init__(self, config: SolverConfig | None = None, expected_iteration_s: float = 0.0) -> None:
        super().__init__(config, expected_iteration_s)
        self._kept_ELU = torch.zeros(0)

    def _candidates(self, iteration: int, means_MLU: Tensor, deviation_LU: Tensor, best_LU: Tensor, dynamics: Dynamics) -> Tensor:
        in_cycle = iteration % self.config.cycle
        count = max(2 * self._elite_count(), round(self.config.samples * ICEM_DECAY**in_cycle))
        fresh_SLU = self._drawn(count, iteration, means_MLU, deviation_LU, best_LU, dynamics)
        return fresh_SLU if iteration == 0 else torch.cat((fresh_SLU, self._kept_ELU))

    def _learn(self, cost_S: Tensor, commands_SLU: Tensor, deviation_LU: Tensor) -> tuple[Tensor, Tensor]:
        _, elites_ELU = self._elites(cost_S, commands_SLU)
        self._kept_ELU = elites_ELU[: max(1, round(ICEM_KEPT * len(elites_ELU)))]
        return elites_ELU.mean(0), torch.maximum(elites_ELU.std(0), 0.5 * self.config.cooling * deviation_LU)


COMPARED: dict[str, Callable[[SolverConfig], Solver]] = {**SOLVERS, "icem": ICEM}


def processor() -> str:
    """The name of this machine's processor and how many cores it has here."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return f"{names[0] if names else platform.processor() or platform.machine()}, {os.cpu_count()} cores"


class LinearProbe:
    """Logistic regression on standardised features."""

    def __init__(self, features_KC: Tensor, positive: NDArray[np.bool_], weight_decay: float) -> None:
        self._mean, self._scale = features_KC.mean(0), features_KC.std(0) + 1e-3
        x = self._standard(features_KC)
        y = torch.from_numpy(positive.astype(np.float32))
        self._weight = torch.zeros(x.shape[1], requires_grad=True)
        self._bias = torch.zeros((), requires_grad=True)
        optimizer = torch.optim.LBFGS([self._weight, self._bias], max_iter=100, line_search_fn="strong_wolfe")

        def closure() -> Tensor:
            optimizer.zero_grad()
            logits = x @ self._weight + self._bias
            loss = F.binary_cross_entropy_with_logits(logits, y) + 0.5 * weight_decay * self._weight.square().sum()
            loss.backward()
            return loss

        optimizer.step(closure)

    @torch.no_grad()
    def probability(self, features_KC: Tensor) -> FloatArray:
        """(K,)."""
        return (self._standard(features_KC) @ self._weight + self._bias).sigmoid().double().numpy()

    def _standard(self, features_KC: Tensor) -> Tensor:
        return (features_KC - self._mean) / self._scale


@contextmanager
def busy(processes: int) -> Iterator[None]:
    """So many processes that only count, while it lasts."""
    counting = [multiprocessing.Process(target=_count, daemon=True) for _ in range(processes)]
    for process in counting:
        process.start()
    try:
        yield
    finally:
        for process in counting:
            process.kill()  # a copy of a process with ROS in it has that one's handler of SIGTERM, which does not end it
            process.join()


def _count() -> None:
    number = 0
    while True:
        number += 1
