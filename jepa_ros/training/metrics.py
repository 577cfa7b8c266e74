"""Metrics of world models, accumulated batch by batch in bounded memory.

Axes: B batch, H future step, Y row, X column, K token, D latent width.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from scipy.stats import rankdata
from torch import Tensor

from jepa_ros.types import FloatArray

BINS = 1024  # resolution of the probability axis of a precision-recall curve


class OccupancyScore:
    """Average precision and intersection over union of predicted occupancy, over the cells that the future sweep could see."""

    def __init__(self) -> None:
        self._positive = np.zeros(BINS)
        self._negative = np.zeros(BINS)

    def add(self, probability: Tensor, occupied: Tensor, visible: Tensor) -> None:
        """Any shape, all three the same; occupied and visible are 0 or 1."""
        bins = (probability.float() * (BINS - 1)).round().long()
        for histogram, chosen in ((self._positive, occupied > 0), (self._negative, occupied == 0)):
            histogram += np.bincount(bins[chosen & (visible > 0)].cpu().numpy(), minlength=BINS)

    def average_precision(self) -> float:
        """Area under the precision-recall curve, as a step function; ties share one threshold. NaN without occupied cells."""
        true_positives, false_positives = self._sums()
        total = true_positives[-1]
        if total == 0:
            return float("nan")
        precision = true_positives / np.maximum(true_positives + false_positives, 1)
        recall_steps = np.diff(true_positives, prepend=0) / total
        return float((precision * recall_steps).sum())

    def iou(self, threshold: float | None = None) -> float:
        """Intersection over union of the occupied class at a threshold; None: at the best one."""
        true_positives, false_positives = self._sums()
        total = true_positives[-1]
        if total == 0:
            return float("nan")
        curve = true_positives / (total + false_positives)
        return float(curve.max() if threshold is None else curve[BINS - 1 - round(threshold * (BINS - 1))])

    def best_threshold(self) -> float:
        """The threshold of the highest IoU: to be chosen on validation data and then kept."""
        true_positives, false_positives = self._sums()
        return float(1 - np.argmax(true_positives / np.maximum(true_positives[-1] + false_positives, 1)) / (BINS - 1))

    def _sums(self) -> tuple[np.ndarray, np.ndarray]:
        """Counts of true and false positives when everything at or above a threshold counts, from the highest threshold down."""
        return np.cumsum(self._positive[::-1]), np.cumsum(self._negative[::-1])


class LatentScore:
    """Mean squared error of predicted latents over the variance of the targets: 1 = no better than their mean."""

    def __init__(self) -> None:
        self._error = self._baseline = self._count = 0.0
        self._sum_D: Tensor | float = 0.0
        self._square = 0.0

    def add(self, predicted_BDYX: Tensor, persistence_BDYX: Tensor, target_BDYX: Tensor, valid_BYX: Tensor) -> None:
        target = target_BDYX.permute(0, 2, 3, 1)[valid_BYX > 0]
        self._error += float((predicted_BDYX.permute(0, 2, 3, 1)[valid_BYX > 0] - target).square().sum())
        self._baseline += float((persistence_BDYX.permute(0, 2, 3, 1)[valid_BYX > 0] - target).square().sum())
        self._sum_D = self._sum_D + target.sum(dim=0).double()
        self._square += float(target.square().sum())
        self._count += len(target)

    def errors(self) -> tuple[float, float]:
        """Normalised error of (the prediction, persistence)."""
        mean_D = torch.as_tensor(self._sum_D) / max(self._count, 1)
        variance = self._square - self._count * float(mean_D.square().sum())
        return self._error / max(variance, 1e-12), self._baseline / max(variance, 1e-12)


@dataclass(frozen=True)
class Spread:
    """Whether the latents use their dimensions."""

    effective_rank: float  # of D
    least_variance: float  # of the weakest dimension
    mean_variance: float


def spread(tokens_KD: Tensor) -> Spread:
    """Effective rank: exponential of the entropy of the covariance's eigenvalues (Roy & Vetterli 2007)."""
    centred = tokens_KD.double() - tokens_KD.double().mean(dim=0)
    covariance = centred.T @ centred / max(len(centred) - 1, 1)
    shares = torch.linalg.eigvalsh(covariance).clamp(min=0)
    shares = shares / shares.sum().clamp(min=1e-12)
    entropy = -(shares * (shares + 1e-12).log()).sum()
    variance = covariance.diagonal()
    return Spread(float(entropy.exp()), float(variance.min()), float(variance.mean()))


def auroc(events: FloatArray, usual: FloatArray) -> float:
    """Chance that an event scores above what is usual; ties count half."""
    ranks = rankdata(np.concatenate([events, usual]))[: len(events)]
    return float((ranks.mean() - (len(events) + 1) / 2) / len(usual))
