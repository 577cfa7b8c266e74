"""`evaluate`: a table of what a scene_jepa predicts, step by step, beside its baselines on the same windows.

Persistence: the newest sweep, seen from the anchor frame of now, stays. Accumulated: the mean of the history's sweeps stays.
Flow: what moved through the history's sweeps keeps its velocity, the rest stays.
Axes: B batch, H future step, D latent width, Y row, X column.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader
from tqdm import tqdm

from jepa_ros.backends.bev import BEV_GRID
from jepa_ros.backends.scene_jepa.model import SceneJepa, load
from jepa_ros.training.metrics import LatentScore, OccupancyScore, Spread, spread
from jepa_ros.training.world_model.augment import Augmentation
from jepa_ros.training.world_model.pretraining_loss import forward, seen_tokens
from jepa_ros.training.world_model.shard import Shard, open_shards
from jepa_ros.training.world_model.windows import Window, Windows, WindowSpec, collate

METHODS = ("model", "persistence", "accumulated", "flow")
HELD = "held"  # what the model reads off its own latent of now stays: all that a camera alone has to hold on to
REACH_M = 25.0  # occupancy is scored on cells this near
SPREAD_TOKENS = 20000


@dataclass(frozen=True)
class Evaluation:
    """Figures by horizon; occupancy rows begin with "now", the encoded latent of the newest sweep itself."""

    windows: int
    times_s: list[float]
    latent_error: list[float]  # normalised: 1 = no better than the mean latent
    latent_error_persistence: list[float]
    occupancy: dict[str, dict[str, list[float]]]  # method -> metric -> value by time, first of all "now"
    threshold: float  # of the IoU; choose it on validation data
    best_threshold: list[float]  # of the model, by time, on these very windows
    latent_spread: Spread
    width: int

    def table(self) -> str:
        """As text, one line per time."""
        names = "".join(f"{name:>10}" for name in ("model", "persist.", "accum.", "flow"))
        lines = [f"{'':32}AP{names[2:]}  IoU{names[3:]}", "  time  latent error (persist.)"]
        for k, time_s in enumerate([0.0, *self.times_s]):
            latent = f"{self.latent_error[k - 1]:.3f} ({self.latent_error_persistence[k - 1]:.3f})" if k else "-"
            ap = "".join(f"{self.occupancy[m]['average_precision'][k]:10.3f}" for m in METHODS)
            iou = "".join(f"{self.occupancy[m]['iou'][k]:10.3f}" for m in METHODS)
            lines.append(f"{time_s:5.1f}s  {latent:>23}  {ap}  {iou}")
        best = ", ".join(f"{threshold:.2f}" for threshold in self.best_threshold)
        lines.append(f"IoU at probability {self.threshold}; highest for the model at {best}")
        s = self.latent_spread
        lines.append(
            f"{self.windows} windows; effective rank {s.effective_rank:.1f} of {self.width}, least variance {s.least_variance:.3f}"
        )
        return "\n".join(lines)

    def as_dict(self) -> dict[str, Any]:
        return {**vars(self), "latent_spread": vars(self.latent_spread)}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of this command."""
    parser.add_argument("--data", type=Path, required=True, help="dataset written by `prepare`")
    parser.add_argument("--weights", type=Path, help="default: the shipped ones")
    parser.add_argument("--sensors", choices=("both", "lidar", "camera"), default="both", help="what the model may see")
    parser.add_argument("--part", type=float, nargs=2, default=(0.0, 1.0), help="share of each bag, such as 0.5 1 for the second half")
    parser.add_argument("--threshold", type=float, default=0.5, help="probability from which on a cell counts as occupied in the IoU")
    parser.add_argument("--every", type=int, default=5, help="take every n-th window")


def run(args: argparse.Namespace) -> None:
    """Runs the command with these options."""
    result = evaluate(load("cpu", args.weights), open_shards(args.data, tuple(args.part)), args.sensors, args.every, args.threshold)
    print(result.table())
    print(json.dumps(result.as_dict()))


Watch = Callable[[Shard, int, Window, dict[str, Tensor]], None]


@torch.inference_mode()
def evaluate(
    model: SceneJepa,
    shards: list[Shard],
    sensors: str = "both",
    every: int = 5,
    threshold: float = 0.5,
    watch: Watch | None = None,
) -> Evaluation:
    """Score a model on every n-th window of prepared bags. Steps that a recording does not reach are left out.

    watch: is shown each window too: shard, index of its newest frame, the window as a batch of one, (1 + H, Y, X) occupancy by method,
    HELD among them.
    """
    horizon = model.spec.horizon
    spec = WindowSpec(model.spec.history, horizon, model.spec.dt_s, horizon, cameras=max(len(shard.cameras) for shard in shards))
    seen = Augmentation(use_lidar=sensors != "camera", use_camera=sensors != "lidar")
    windows = Windows(shards, spec, seed=0, batch=1, fixed=seen)
    loader = DataLoader(windows, 1, sampler=range(0, len(windows), every), collate_fn=collate)
    latent = [LatentScore() for _ in range(horizon)]
    occupancy = {name: [OccupancyScore() for _ in range(horizon + 1)] for name in METHODS}
    tokens: list[Tensor] = []
    for number, batch in enumerate(tqdm(loader, desc="evaluate", unit="window", mininterval=5)):
        predicted = _score(model, batch, latent, occupancy, tokens)
        if watch is not None:
            shard, now = windows.anchors[number * every]
            watch(shards[shard], now, batch, predicted)
    errors = [score.errors() for score in latent]
    return Evaluation(
        windows=len(loader),
        times_s=[round(model.spec.dt_s * (k + 1), 3) for k in range(horizon)],
        latent_error=[error for error, _ in errors],
        latent_error_persistence=[error for _, error in errors],
        occupancy={
            name: {"average_precision": [s.average_precision() for s in scores], "iou": [s.iou(threshold) for s in scores]}
            for name, scores in occupancy.items()
        },
        threshold=threshold,
        best_threshold=[score.best_threshold() for score in occupancy["model"]],
        latent_spread=spread(torch.cat(tokens)),
        width=model.config.width,
    )


def _score(
    model: SceneJepa, batch: Window, latent: list[LatentScore], occupancy: dict[str, list[OccupancyScore]], tokens: list[Tensor]
) -> dict[str, Tensor]:
    """Adds a window to the scores; returns (1 + H, Y, X) occupancy by method."""
    out = forward(model, batch)
    visible = batch.visible[0] * near_cells()
    logits = torch.cat([model.occupancy_probe(out.now_BDYX), out.logits_BSYX[0]])
    times = len(logits)
    predicted = {
        "model": logits.sigmoid(),
        "persistence": batch.occupied[0, :1].float().expand(times, -1, -1),
        "accumulated": batch.accumulated.expand(times, -1, -1),
        "flow": batch.flow[0].float(),
    }
    predicted[HELD] = predicted["model"][:1].expand(times, -1, -1)
    for method, scores in occupancy.items():
        for k, score in enumerate(scores):
            score.add(predicted[method][k], batch.occupied[0, k], visible[k])
    for k, latent_score in enumerate(latent):
        latent_score.add(out.predicted_BSDYX[:, k], out.now_BDYX, out.target_BSDYX[:, k], out.valid_BSYX[:, k])
    seen = out.now_BDYX.permute(0, 2, 3, 1)[seen_tokens(batch.visible[:, :1])[:, 0] > 0]
    tokens.append(seen[:: max(1, len(seen) * 50 // SPREAD_TOKENS)])
    return predicted


def near_cells() -> Tensor:
    """(Y, X) 1 within REACH_M of the anchor."""
    centre = BEV_GRID.origin_m[0] + (np.arange(BEV_GRID.rows) + 0.5) * BEV_GRID.resolution_m
    return torch.from_numpy((np.hypot(centre[:, None], centre[None]) <= REACH_M).astype(np.uint8))
