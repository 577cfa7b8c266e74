"""Figures of several benches, and how sure they are: AUROC, 95 % intervals of shares and of paired ratios."""

from __future__ import annotations

import numpy as np
from scipy.stats import binomtest, rankdata

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
