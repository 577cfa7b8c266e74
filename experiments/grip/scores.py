"""AUROC of cases that are labelled one by one, and its bootstrap interval."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from jepa_ros.training import metrics
from jepa_ros.types import FloatArray

RESAMPLES = 2000


def auroc(score: FloatArray, positive: NDArray[np.bool_]) -> float:
    """Chance that a positive scores above a negative; ties count half. NaN where one kind is missing."""
    if positive.all() or not positive.any():
        return float("nan")
    return metrics.auroc(score[positive], score[~positive])


def auroc_interval(score: FloatArray, positive: NDArray[np.bool_], seed: int = 0) -> tuple[float, float]:
    """95 % percentile bootstrap over the cases."""
    rng = np.random.default_rng(seed)
    drawn = [rng.integers(len(score), size=len(score)) for _ in range(RESAMPLES)]
    low, high = np.nanpercentile([auroc(score[chosen], positive[chosen]) for chosen in drawn], [2.5, 97.5])
    return float(low), float(high)
