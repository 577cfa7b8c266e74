"""Figures of several benches, and how sure they are: AUROC, 95 % intervals of shares and of paired ratios, linear probes."""

from __future__ import annotations

import numpy as np
import torch
from scipy.stats import binomtest, rankdata
from torch import Tensor

from jepa_ros.types import FloatArray

RESAMPLES = 4000


def auroc(events: FloatArray, usual: FloatArray) -> float:
    """Chance that an event scores above what is usual; ties count half."""
    ranks = rankdata(np.concatenate([events, usual]))[: len(events)]
    return float((ranks.mean() - (len(events) + 1) / 2) / len(usual))


def wilson(hits: int, count: int) -> tuple[float, float]:
    """95 % interval of a share (Wilson 1927)."""
    interval = binomtest(hits, count).proportion_ci(method="wilson")
    return float(interval.low), float(interval.high)


def ratio_of_sums(ours: FloatArray, theirs: FloatArray) -> tuple[float, float, float]:
    """sum(ours) / sum(theirs) over paired cases (N,), and its 95 % percentile bootstrap over the cases."""
    drawn = np.random.default_rng(0).integers(len(ours), size=(RESAMPLES, len(ours)))
    low, high = np.percentile(ours[drawn].sum(axis=1) / theirs[drawn].sum(axis=1), [2.5, 97.5])
    return float(ours.sum() / theirs.sum()), float(low), float(high)


def linear_r2(x_KD: Tensor, y_KC: Tensor, x_test: Tensor, y_test: Tensor) -> Tensor:
    """(C,) R2 on the test half of a ridge regression."""
    mean, offset = x_KD.mean(0), y_KC.mean(0)
    centred = (x_KD - mean).double()
    gram = centred.T @ centred + 0.01 * len(x_KD) * torch.eye(x_KD.shape[1], dtype=torch.float64)
    weight = torch.linalg.solve(gram, centred.T @ (y_KC - offset).double())
    error = ((x_test - mean).double() @ weight + offset - y_test).square().mean(0)
    return 1 - error / y_test.double().var(0)
