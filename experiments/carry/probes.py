"""Probes that imagine nothing: from what is known when the fingers have closed straight to the outcome. Linear or with a hidden layer.

Axes: K case, C feature.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from experiments.common import LinearProbe
from jepa_ros.training import metrics
from jepa_ros.types import FloatArray

WEIGHT_DECAYS = (1e-3, 1e-2, 1e-1, 1.0)  # of the linear probe
HIDDEN, EPOCHS, LEAST_STEPS, BATCH = 64, 15, 600, 128
MLP_DECAYS = (0.03, 0.3, 1.0)


def auroc(score: FloatArray, positive: NDArray[np.bool_]) -> float:
    """Chance that a case that held scores above one that did not. NaN where one kind is missing."""
    return metrics.auroc(score[positive], score[~positive]) if 0 < positive.sum() < len(positive) else float("nan")


Cases = tuple[Tensor, NDArray[np.bool_]]  # (K, C) features and (K,) whether it held


class DeepProbe:
    """One hidden layer, as wide as the one of the model's own head: what depends on two features together can be told."""

    def __init__(self, features_KC: Tensor, positive: NDArray[np.bool_], weight_decay: float) -> None:
        self._mean, self._scale = features_KC.mean(0), features_KC.std(0) + 1e-3
        torch.manual_seed(0)
        self._layers = nn.Sequential(nn.Linear(features_KC.shape[1], HIDDEN), nn.GELU(), nn.Dropout(0.2), nn.Linear(HIDDEN, 1))
        x, y = (features_KC - self._mean) / self._scale, torch.from_numpy(positive.astype(np.float32))
        optimizer = torch.optim.AdamW(self._layers.parameters(), lr=1e-3, weight_decay=weight_decay)
        steps = max(LEAST_STEPS, EPOCHS * -(-len(y) // BATCH))
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
        for _ in range(steps):
            chosen = torch.randint(len(y), (min(BATCH, len(y)),))
            loss = F.binary_cross_entropy_with_logits(self._layers(x[chosen])[:, 0], y[chosen])
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            schedule.step()
        self._layers.eval()

    @torch.no_grad()
    def probability(self, features_KC: Tensor) -> FloatArray:
        """(K,)."""
        return self._layers((features_KC - self._mean) / self._scale)[:, 0].sigmoid().double().numpy()


def best_probe(train: Cases, validation: Cases) -> LinearProbe | DeepProbe:
    """Of both kinds and several weight decays the one of the highest AUROC on validation cases."""
    probes: list[LinearProbe | DeepProbe] = [LinearProbe(*train, decay) for decay in WEIGHT_DECAYS]
    probes += [DeepProbe(*train, decay) for decay in MLP_DECAYS]
    return max(probes, key=lambda probe: auroc(probe.probability(validation[0]), validation[1]))
