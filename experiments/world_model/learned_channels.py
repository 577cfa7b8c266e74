"""What the learned channels of scene_jepa are worth for occupancy: the same trainings with and without them.

    python -m experiments.world_model.learned_channels --run RUN --judged DATA... --out OUT [--steps 2600] [--seeds 2]

RUN is the folder of a `python -m jepa_ros.training distill`: all trainings begin with its fitted predictor and read the batches that it
stored, one order for each seed. *Without*, trunk and occupancy head see 0 where the latent of now holds what was learned, in training and
when judged; what the lidar observed is left. DATA are datasets of `python -m jepa_ros.training prepare` that nothing learned from.
Trainings are kept in OUT and go on where they were stopped. Prints a Markdown table, at last one JSON line.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from experiments.world_model.table import table
from jepa_ros.backends.scene_jepa.model import SceneJepa, load
from jepa_ros.backends.scene_jepa.predictor import ScenePredictor
from jepa_ros.config import load as load_config
from jepa_ros.training.world_model.distill import DistillConfig, learn
from jepa_ros.training.world_model.evaluate import evaluate
from jepa_ros.training.world_model.shard import open_shards

TIMES_S = (0.4, 1.2, 2.4, 4.8)
METRICS = ("average_precision", "iou")


class ObservedAlone(ScenePredictor):
    """Trunk and head read what the lidar observed, and nothing that was learned of it."""

    def read(self, older_BTCYX: Tensor, newest_BDYX: Tensor) -> Tensor:
        grounded = self.config.grounded
        return super().read(older_BTCYX, torch.cat([newest_BDYX[:, :grounded], torch.zeros_like(newest_BDYX[:, grounded:])], dim=1))


def observed_alone(model: SceneJepa) -> SceneJepa:
    """The same model, blind to its learned channels."""
    blind = ObservedAlone(model.config, model.half_m)
    blind.load_state_dict(model.predictor.state_dict())
    model.predictor = blind.eval().requires_grad_(False)
    return model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # missing in torch's stubs


def trained(run: Path, out: Path, config: DistillConfig, with_learned: bool) -> SceneJepa:
    """One training, from the start or from where it was stopped."""
    out.mkdir(parents=True, exist_ok=True)
    if not (out / "told").exists():
        (out / "told").symlink_to((run / "told").resolve())
    model = load("cpu", run / "begun.safetensors")
    return learn(model if with_learned else observed_alone(model), out, config).eval().requires_grad_(False)


def judge(model: SceneJepa, data: Path, every: int) -> dict[str, list[float]]:
    """AP, and IoU at probability 0.5, at those of TIMES_S that the model predicts."""
    found = evaluate(model, open_shards(data), "both", every)
    places = [1 + found.times_s.index(time_s) for time_s in TIMES_S if time_s in found.times_s]
    return {metric: [found.occupancy["model"][metric][place] for place in places] for metric in METRICS}


def compare(run: Path, judged: list[Path], out: Path, config: DistillConfig, seeds: int, every: int) -> dict[str, Any]:
    """dataset -> metric -> "with", "without": (seeds, times)."""
    found: dict[str, Any] = {data.name: {metric: {"with": [], "without": []} for metric in METRICS} for data in judged}
    for seed in range(seeds):
        for name in ("with", "without"):
            model = trained(run, out / f"{name}_{seed}", dataclasses.replace(config, seed=seed), name == "with")
            for data in judged:
                for metric, values in judge(model, data, every).items():
                    found[data.name][metric][name].append(values)
    return found


def markdown(found: dict[str, Any]) -> str:
    """Means over the seeds; how much is lost without, and by how much two seeds of a kind differ at most."""
    rows = []
    for data, metrics in found.items():
        for metric, of in metrics.items():
            with_it, without = (np.array(of[name]) for name in ("with", "without"))
            lost = with_it.mean(axis=0) - without.mean(axis=0)
            noise = np.maximum(np.ptp(with_it, axis=0), np.ptp(without, axis=0))
            for k, time_s in enumerate(TIMES_S[: len(lost)]):
                rows.append([data, metric, f"{time_s} s", with_it.mean(axis=0)[k], without.mean(axis=0)[k], lost[k], noise[k]])
    return table(("judged on", "metric", "time", "with", "without", "lost without", "between seeds"), rows)


def main() -> None:
    """Entry point of the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, required=True, help="folder of a distillation: begun.safetensors and told/")
    parser.add_argument("--config", type=Path, help="its YAML file of DistillConfig fields")
    parser.add_argument("--judged", type=Path, nargs="+", required=True, help="prepared datasets to judge on")
    parser.add_argument("--out", type=Path, required=True, help="folder for the trainings; a later call takes them up")
    parser.add_argument("--steps", type=int, default=2600, help="optimiser steps of each training (default: %(default)s)")
    parser.add_argument("--seeds", type=int, default=2, help="trainings of each kind (default: %(default)s)")
    parser.add_argument("--every", type=int, default=4, help="judge every n-th window (default: %(default)s)")
    args = parser.parse_args()
    config = dataclasses.replace(load_config(DistillConfig, args.config) if args.config else DistillConfig(), steps=args.steps)
    found = compare(args.run, args.judged, args.out, config, args.seeds, args.every)
    print(f"{args.seeds} trainings of {args.steps} steps each.\n\n{markdown(found)}\n")
    print(json.dumps({"bench": "learned_channels", "times_s": TIMES_S, "found": found}))


if __name__ == "__main__":
    main()
