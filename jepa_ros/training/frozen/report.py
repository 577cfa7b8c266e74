"""What a predictor on frozen latents predicts, step by step, compared with the frozen start on the same windows.

The start: the newest latent stays, seen from the anchor frame of now. Axes: B batch, S future step, N token, D latent width.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from jepa_ros.backends.frozen.network import FrozenNetwork
from jepa_ros.protocols import ActionMeaning, WorldModel
from jepa_ros.training.frozen.windows import Batch, FrozenWindows
from jepa_ros.training.metrics import OccupancyScore
from jepa_ros.training.world_model.evaluate import near_cells

WINDOWS = 60
LABELS = ("occupancy", "people")


def latent_error(network: FrozenNetwork, predicted_BSND: Tensor, target_BSND: Tensor, valid_BSN: Tensor) -> Tensor:
    """Mean squared error in units of the channels' variance, over the tokens whose future is known."""
    error_BSN = ((predicted_BSND - target_BSND) / network.scale).square().mean(dim=-1)
    return (error_BSN * valid_BSN).sum() / valid_BSN.sum().clamp(min=1)


@dataclass(frozen=True)
class FrozenReport:
    """Figures by step, NaN where no recording reaches so far; average precision begins with now, the observed latent."""

    windows: int
    times_s: list[float]
    latent_error: dict[str, list[float]]  # way of predicting -> by step
    average_precision: dict[str, dict[str, list[float]]]  # occupancy, people -> way -> now, then by step; empty without a lidar

    def table(self) -> str:
        """As text, one line per time."""
        ways = list(self.latent_error)
        columns = [f"latent {way}" for way in ways] + [f"AP {what} {way}" for what in self.average_precision for way in ways]
        lines = ["   time  " + "  ".join(columns)]
        for k, time_s in enumerate([0.0, *self.times_s]):
            values = [self.latent_error[way][k - 1] if k else float("nan") for way in ways]
            values += [scores[way][k] for scores in self.average_precision.values() for way in ways]
            lines.append(f"{time_s:5.1f} s  " + "  ".join(f"{value:{len(name)}.3f}" for value, name in zip(values, columns, strict=True)))
        return "\n".join([*lines, f"{self.windows} validation windows"])

    def as_dict(self) -> dict[str, Any]:
        return vars(self)


@torch.no_grad()
def evaluate(base: WorldModel, network: FrozenNetwork, windows: FrozenWindows) -> FrozenReport:
    """Score the trained network, the start, and the base's own prediction where it takes the same actions."""
    config = network.config
    chosen = [windows.anchors[k] for k in np.linspace(0, len(windows.anchors) - 1, min(WINDOWS, len(windows.anchors))).astype(int)]
    steps = np.arange(config.horizon)
    ways = ["trained", "start"]
    if base.spec.actions is ActionMeaning.POSE and base.spec.horizon >= config.horizon and base.spec.history <= config.history:
        ways.append(f"{base.spec.name}'s own")
    sums = {way: torch.zeros(2, config.horizon) for way in ways}
    scores = {what: {way: _scores(config.horizon) for way in ways} for what in LABELS}
    for anchor in tqdm(chosen, desc="evaluate", unit="window", mininterval=5):
        batch = windows.batch([anchor], steps)
        newest = batch.history_BTND[:, -1:]
        predicted = {"trained": network.predict(batch.history_BTND, batch.actions_BHA), "start": newest.expand_as(batch.target_BSND)}
        if len(ways) > 2:
            predicted[ways[2]] = base.predict(batch.history_BTND[:, -base.spec.history :], batch.actions_BHA)
        for way, latents in predicted.items():
            error_SN = ((latents - batch.target_BSND) / network.scale).square().mean(dim=-1)[0] * batch.valid_BSN[0]
            sums[way] += torch.stack([error_SN.sum(1), batch.valid_BSN[0].sum(1)])
            if config.probes:
                _score(network, torch.cat([newest, latents], dim=1), batch, {what: scores[what][way] for what in LABELS})
    precision: dict[str, dict[str, list[float]]] = {}
    if config.probes:
        precision = {what: {way: _precisions(row) for way, row in by_way.items()} for what, by_way in scores.items()}
    return FrozenReport(
        windows=len(chosen),
        times_s=[round(config.dt_s * (k + 1), 3) for k in range(config.horizon)],
        latent_error={way: (total[0] / total[1]).tolist() for way, total in sums.items()},
        average_precision=precision,
    )


def _scores(horizon: int) -> list[OccupancyScore]:
    """One for now and one for each step to come."""
    return [OccupancyScore() for _ in range(horizon + 1)]


def _precisions(scores: list[OccupancyScore]) -> list[float]:
    return [score.average_precision() for score in scores]


def _score(network: FrozenNetwork, latents_BSND: Tensor, batch: Batch, scores: dict[str, list[OccupancyScore]]) -> None:
    probability = network.read(latents_BSND[0]).sigmoid()
    visible = batch.visible_BSYX[0] * near_cells()
    for channel, rows in enumerate(scores.values()):
        for k, score in enumerate(rows):
            score.add(probability[k, channel], batch.labels_BSCYX[0, k, channel], visible[k])
