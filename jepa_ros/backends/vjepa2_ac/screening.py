"""Finds the best of many candidates while predicting few of them.

The energy of an action is a smooth function of a handful of numbers, and a forward pass per candidate is an expensive way to read it. A
Gaussian process over all energies known so far tells for each candidate what its energy will be and how sure that is. Only candidates
that may belong to the best go through the predictor, until none is left in doubt: every energy that decides anything is the predictor's
own. Where energies are not smooth, the process is unsure of everything and everything is predicted.

Axes: S candidate, K known energy, X number that describes a candidate (4 for each planned step).
"""

from __future__ import annotations

import itertools
import math

import torch
from torch import Tensor

from jepa_ros.backends.vjepa2_ac.search import Scorer, without_rotation

DOUBT = 4.0  # standard deviations
CONTROLS = 8  # candidates of each iteration that are predicted unasked, to learn how far the process can be trusted
NEAREST = 256  # known energies that the process is conditioned on
TREND = 10.0  # prior standard deviation of the quadratic trend, in those of the energies
ROUNDING = 5e-7  # relative, of an energy in float32
LENGTHS = (0.7, 1.5, 3.0, 6.0, 12.0)  # of the process around its trend, in standard deviations of the candidates
SCALES = (0.03, 0.1, 0.3, 1.0)  # of the same, in standard deviations of the energies


class Screen:
    """A judge for `search`; it remembers what it has seen from one iteration to the next, so it serves one search only."""

    share = 0.25

    def __init__(self, score: Scorer) -> None:
        self._score = score
        self._known_KX = torch.zeros(0, 0, dtype=torch.float64)
        self._energy_K = torch.zeros(0, dtype=torch.float64)
        self._squared_error = 1.0  # of the standardised predictions so far, a running mean
        self._compared = 1

    def best(self, actions_SL7: Tensor, count: int) -> Tensor:
        """(count,) indices of the lowest energies; when time runs out, of those predicted so far. Raises TimeoutError for too few."""
        point_SX = without_rotation(actions_SL7).flatten(1).double()
        energy_S = torch.full((len(point_SX),), torch.inf, dtype=torch.float64)
        try:
            self._settle(actions_SL7, point_SX, energy_S, count)
        except TimeoutError:
            if energy_S.isfinite().sum() < 2 * count:
                raise
        return energy_S.topk(count, largest=False).indices

    def _settle(self, actions_SL7: Tensor, point_SX: Tensor, energy_S: Tensor, count: int) -> None:
        """Predict candidates until no other can belong to the best `count`; writes their energies into `energy_S`."""
        terms = (point_SX.shape[1] + 1) * (point_SX.shape[1] + 2) // 2
        first = max(CONTROLS, count, 2 * terms - len(self._energy_K))
        energy = self._predict(torch.arange(min(first, len(point_SX))), actions_SL7, point_SX, energy_S)
        alike = energy.max() - energy.min() < 4 * ROUNDING * energy.abs().max()  # more than float32 can tell apart
        if alike or first >= len(point_SX):
            return
        shape = self._fit(point_SX)
        while True:
            mean_S, sigma_S = self._process(point_SX, shape)
            worst = energy_S.topk(count, largest=False).values[-1]
            bound_S = torch.where(energy_S.isinf(), mean_S - DOUBT * self._squared_error**0.5 * sigma_S, torch.inf)
            doubtful = int((bound_S < worst - ROUNDING * worst.abs()).sum())
            if not doubtful:
                return
            chosen = bound_S.argsort()[: min(doubtful, self._score.batch)]
            self._compare(mean_S[chosen], sigma_S[chosen], self._predict(chosen, actions_SL7, point_SX, energy_S))

    def _predict(self, chosen: Tensor, actions_SL7: Tensor, point_SX: Tensor, energy_S: Tensor) -> Tensor:
        """Put the chosen candidates through the predictor and remember what comes of it."""
        energy = self._score(actions_SL7[chosen]).double()
        energy_S[chosen] = energy
        known = point_SX[chosen]
        self._known_KX = torch.cat([self._known_KX, known]) if len(self._energy_K) else known
        self._energy_K = torch.cat([self._energy_K, energy])
        return energy

    def _compare(self, mean: Tensor, sigma: Tensor, energy: Tensor) -> None:
        """Learn how far off the process was: its doubt is widened accordingly, never narrowed."""
        self._compared += len(energy)
        squares = ((energy - mean) / sigma).square().clamp(max=100.0)
        self._squared_error = max(1.0, self._squared_error + float((squares - self._squared_error).sum()) / self._compared)

    def _near(self, point_SX: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The points, the known points nearest to them and their energies; points in standard deviations of the candidates."""
        centre_X, spread_X = point_SX.mean(0), point_SX.std(0).clamp(min=1e-9)
        known_KX = (self._known_KX - centre_X) / spread_X
        nearest = known_KX.square().sum(1).argsort()[:NEAREST]
        return (point_SX - centre_X) / spread_X, known_KX[nearest], self._energy_K[nearest]

    def _fit(self, point_SX: Tensor) -> tuple[float, float]:
        """Length and scale of the process that the known energies are likeliest under."""
        _, known_KX, energy_K = self._near(point_SX)
        target_K, noise, *_ = _standardised(energy_K)
        evidence: dict[tuple[float, float], float] = {}
        for shape in itertools.product(LENGTHS, SCALES):
            factor, failed = torch.linalg.cholesky_ex(_kernel(known_KX, known_KX, *shape) + noise * torch.eye(len(target_K)).double())
            if not failed:
                whitened_K1 = torch.linalg.solve_triangular(factor, target_K[:, None], upper=False)
                evidence[shape] = float(-0.5 * whitened_K1.square().sum() - factor.diagonal().log().sum())
        return max(evidence, key=lambda shape: evidence[shape]) if evidence else (LENGTHS[0], SCALES[-1])

    def _process(self, point_SX: Tensor, shape: tuple[float, float]) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of the energy at each point."""
        at_SX, known_KX, energy_K = self._near(point_SX)
        target_K, noise, offset, unit = _standardised(energy_K)
        factor, failed = torch.linalg.cholesky_ex(_kernel(known_KX, known_KX, *shape) + noise * torch.eye(len(target_K)).double())
        if failed:
            return offset.expand(len(at_SX)), torch.full((len(at_SX),), torch.inf, dtype=torch.float64)
        cross_KS = torch.linalg.solve_triangular(factor, _kernel(known_KX, at_SX, *shape), upper=False)
        whitened_K1 = torch.linalg.solve_triangular(factor, target_K[:, None], upper=False)
        prior_S = (TREND * (1.0 + at_SX.square().mean(1))).square() + shape[1] ** 2
        sigma_S = (prior_S - cross_KS.square().sum(0)).clamp(min=1e-12).sqrt()
        return offset + unit * (cross_KS.T @ whitened_K1)[:, 0], unit * sigma_S


def _standardised(energy_K: Tensor) -> tuple[Tensor, float, Tensor, Tensor]:
    """Energies with mean 0 and deviation 1, the variance of their rounding on this scale, the mean and the deviation."""
    offset, unit = energy_K.mean(), energy_K.std().clamp(min=1e-12)
    return (energy_K - offset) / unit, float((ROUNDING * offset.abs() / unit).square()) + 1e-8, offset, unit


def _kernel(a_SX: Tensor, b_KX: Tensor, length: float, scale: float) -> Tensor:
    """Covariance of a quadratic trend and of deviations from it that are twice differentiable (Matern 5/2)."""
    trend_SK = (TREND * (1.0 + a_SX @ b_KX.T / a_SX.shape[1])).square()
    far_SK = math.sqrt(5.0) * torch.cdist(a_SX, b_KX) / length
    return trend_SK + scale**2 * (1.0 + far_SK + far_SK.square() / 3.0) * torch.exp(-far_SK)
