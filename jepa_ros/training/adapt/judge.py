"""What weights are worth on stored windows: latents, occupancy and how far its probabilities hold, beside persistence.

Axes: B batch, S future step, Y row, X column.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from jepa_ros.backends.scene_jepa.model import SceneJepa
from jepa_ros.training.metrics import LatentScore, OccupancyScore
from jepa_ros.training.world_model import distillation_data
from jepa_ros.training.world_model.evaluate import near_cells

BINS = 10  # of the reliability table


@dataclass(frozen=True)
class Scores:
    """By future step. NaN where the recording does not reach a step."""

    windows: int
    times_s: list[float]
    latent_error: list[float]  # normalised: 1 = no better than the mean latent
    latent_error_persistence: list[float]
    average_precision: list[float]
    average_precision_persistence: list[float]
    iou: list[float]  # at probability 0.5
    iou_persistence: list[float]
    best_threshold: list[float]
    nats: list[float]  # mean cross-entropy of occupancy over the cells that were seen
    said: list[float]  # reliability: mean probability in each tenth of the scale
    found: list[float]  # and the share of its cells that was occupied then
    cells: list[int]

    @property
    def known(self) -> list[int]:
        """The steps that the recording reaches."""
        return [k for k, value in enumerate(self.nats) if math.isfinite(value)]

    @property
    def mean_nats(self) -> float:
        """Over the steps that the recording reaches: what training descends and the held-out part is asked for. A proper score."""
        return _mean(self.nats)

    @property
    def calibration_error(self) -> float:
        """Mean distance of what is said from what is found, over the cells of 0.1 and more: most of the rest is empty street."""
        total = sum(self.cells[1:])
        return sum(abs(s - f) * n for s, f, n in zip(self.said[1:], self.found[1:], self.cells[1:], strict=True) if n) / max(total, 1)

    def summary(self) -> dict[str, float]:
        """Means over the steps."""
        names = ("latent_error", "average_precision", "iou", "nats")
        return {**{name: round(_mean(getattr(self, name)), 4) for name in names}, "calibration_error": round(self.calibration_error, 4)}

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {**vars(self), "mean": self.summary()}


def _mean(values: list[float]) -> float:
    known = [value for value in values if math.isfinite(value)]
    return sum(known) / len(known) if known else math.nan


def predict(model: SceneJepa, example: distillation_data.DistillationBatch) -> tuple[Tensor, Tensor]:
    """(B, S, D, Y, X) latents and (B, S, 2Y, 2X) logits of occupancy, as the model predicts from a stored example."""
    with model.fast():
        latents, logits = model.futures(example.history_BTDYX, example.actions_BHA, example.steps_S)
    return latents.float(), logits.float()


@torch.inference_mode()
def judge(model: SceneJepa, files: list[Path]) -> Scores:
    """Figures of these weights on examples of all steps."""
    horizon = model.spec.horizon
    latent = [LatentScore() for _ in range(horizon)]
    scores = {name: [OccupancyScore() for _ in range(horizon)] for name in ("model", "persistence")}
    nats, seen = np.zeros(horizon), np.zeros(horizon)
    bins = np.zeros((3, BINS))
    for file in files:
        example = distillation_data.read(file)
        predicted, logits = predict(model, example)
        occupied, visible = example.occupied_BSYX[:, 1:], example.visible_BSYX[:, 1:] * near_cells()
        now = example.history_BTDYX[:, -1]
        loss = F.binary_cross_entropy_with_logits(logits, occupied.float(), reduction="none") * visible
        nats += loss.sum(dim=(0, 2, 3)).numpy()
        seen += visible.sum(dim=(0, 2, 3)).numpy()
        probability = logits.sigmoid()
        for k in range(horizon):
            latent[k].add(predicted[:, k], now, example.target_BSDYX[:, k], example.weight_BSYX[:, k])
            scores["model"][k].add(probability[:, k], occupied[:, k], visible[:, k])
            scores["persistence"][k].add(example.occupied_BSYX[:, 0].float(), occupied[:, k], visible[:, k])
        bins += _reliability(probability[visible > 0], occupied[visible > 0])
    errors = [score.errors() if count else (math.nan, math.nan) for score, count in zip(latent, seen, strict=True)]
    count = np.maximum(bins[2], 1)
    return Scores(
        windows=len(files),
        times_s=[round(model.spec.dt_s * (k + 1), 3) for k in range(horizon)],
        latent_error=[error for error, _ in errors],
        latent_error_persistence=[error for _, error in errors],
        average_precision=[score.average_precision() for score in scores["model"]],
        average_precision_persistence=[score.average_precision() for score in scores["persistence"]],
        iou=[score.iou(0.5) for score in scores["model"]],
        iou_persistence=[score.iou(0.5) for score in scores["persistence"]],
        best_threshold=[score.best_threshold() for score in scores["model"]],
        nats=[float(total / cells) if cells else math.nan for total, cells in zip(nats, seen, strict=True)],
        said=[float(value) for value in bins[0] / count],
        found=[float(value) for value in bins[1] / count],
        cells=[int(value) for value in bins[2]],
    )


def _reliability(probability_N: Tensor, occupied_N: Tensor) -> np.ndarray:
    """(3, BINS) sums of what is said and of what is found, and how many cells."""
    place = (probability_N * BINS).long().clamp(max=BINS - 1).numpy()
    weights = (probability_N.numpy(), occupied_N.numpy(), None)
    return np.stack([np.bincount(place, weight, BINS) for weight in weights])
