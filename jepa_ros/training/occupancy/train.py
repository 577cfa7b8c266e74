"""`occupancy`: fits what reads cells from world model, recent hits and objects. Bags of your own teach it your streets, without labels.

Judged on bags that it did not learn from, beside the higher of the two probabilities, which it takes the place of.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from tqdm import tqdm

from jepa_ros.occupancy.evidence import COMING, LEAST, SURE
from jepa_ros.occupancy.network import OccupancyFusion, save, stands
from jepa_ros.training.metrics import OccupancyScore
from jepa_ros.training.occupancy.examples import CellExamples, make
from jepa_ros.training.world_model.loop import warmed_cosine

BATCH, STEPS, LEARNING_RATE, WARM_UP = 8192, 4000, 3e-3, 100
HELD_OUT = 5  # every so many-th bag, at least one
JUDGED_STEPS = (1, 3, 6, 12)
LEAST_LOGIT = math.log(LEAST / (1.0 - LEAST))  # of objects: below it nothing is expected
NOTHING = -12.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Of the command."""
    parser.add_argument("bags", nargs="+", type=Path, help="bags with a lidar, two or more")
    parser.add_argument("--examples", type=Path, required=True, help="folder where what was seen is kept; a stopped run goes on there")
    parser.add_argument("--out", type=Path, required=True, help="weights to write, .safetensors")
    parser.add_argument("--weights", default="", help="of the world model; default: the shipped ones")
    parser.add_argument("--steps", type=int, default=STEPS, help="optimiser steps (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of everything random (default: %(default)s)")


def run(args: argparse.Namespace) -> None:
    """Make examples, judge on what is held out, fit on all, write weights and report."""
    if len(args.bags) < 2 or len({bag.name for bag in args.bags}) < len(args.bags):
        raise ValueError("give two or more bags with different names: one is held out to judge on")
    start_s = time.process_time()
    files = make(args.bags, args.examples, args.weights, args.seed)
    held = files[HELD_OUT - 1 :: HELD_OUT] or files[-1:]
    learned = [file for file in files if file not in held]
    report: dict[str, Any] = {"bags": len(files), "held_out": [file.stem for file in held]}
    report["figures"] = judge(fit(Cells.of(CellExamples.load(learned)), args.steps, args.seed), Cells.of(CellExamples.load(held)))
    print(json.dumps(report["figures"]))
    everything = Cells.of(CellExamples.load(files))
    network = fit(everything, args.steps, args.seed)
    report |= {"cells": len(everything.step), "steps": args.steps, "seed": args.seed, "processor_s": round(time.process_time() - start_s)}
    args.out.parent.mkdir(parents=True, exist_ok=True)
    save(network, args.out, report)
    args.out.with_suffix(".json").write_text(json.dumps(report, indent=1) + "\n")


@dataclass(frozen=True)
class Cells:
    """Examples as tensors. Axes as there."""

    model: Tensor
    place_NP: Tensor
    coming_NM: Tensor
    step: Tensor
    occupied: Tensor

    @classmethod
    def of(cls, examples: CellExamples) -> Cells:
        model, place, coming = (torch.from_numpy(values).float() for values in (examples.model, examples.place, examples.coming))
        return cls(model, place, coming, torch.from_numpy(examples.step), torch.from_numpy(examples.occupied).float())

    def take(self, chosen: Tensor) -> Cells:
        return Cells(*(getattr(self, name)[chosen] for name in Cells.__dataclass_fields__))

    def logits(self, network: OccupancyFusion) -> tuple[Tensor, Tensor]:
        """(N,) that something stands there, and that something moves there."""
        log_time = self.coming_NM[:, COMING.index("time")]
        expected = self.coming_NM[:, 0] >= LEAST_LOGIT
        moves = torch.where(expected, network.moves(self.coming_NM), NOTHING)
        return stands(self.model, network.coefficients(self.place_NP.T), log_time), moves


def fit(examples: Cells, steps: int, seed: int) -> OccupancyFusion:
    """Both shares together, by the cross-entropy of what they say of each cell."""
    torch.manual_seed(seed)
    network = OccupancyFusion()
    network.place_mean.copy_(examples.place_NP.mean(dim=0))
    network.place_scale.copy_(examples.place_NP.std(dim=0) + 1e-3)
    optimizer = torch.optim.Adam(network.parameters())
    for step in tqdm(range(steps), desc="fit", unit="step", mininterval=2):
        for group in optimizer.param_groups:
            group["lr"] = LEARNING_RATE * warmed_cosine(step, steps, WARM_UP)
        batch = examples.take(torch.randint(len(examples.occupied), (BATCH,)))
        loss = nats(*batch.logits(network), batch.occupied).mean()
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
    return network.eval().requires_grad_(False)


def log_free(stands_N: Tensor, moves_N: Tensor) -> Tensor:
    """(N,) logarithm of the probability that a cell is free, of both logits."""
    return -F.softplus(stands_N) - F.softplus(moves_N)


def nats(stands_N: Tensor, moves_N: Tensor, occupied_N: Tensor) -> Tensor:
    """(N,) cross-entropy."""
    free = log_free(stands_N, moves_N)
    occupied = torch.log(-torch.expm1(free.clamp(max=-1e-6)))
    return -(occupied_N * occupied + (1.0 - occupied_N) * free)


def judge(network: OccupancyFusion, examples: Cells) -> dict[str, dict[str, dict[str, float]]]:
    """Step -> method -> figures, over the cells that are read: "fusion", "stands" alone, and "higher" of world model and objects."""
    found = {}
    for step in JUDGED_STEPS:
        cells = examples.take(examples.step == step)
        if not len(cells.step):
            continue
        standing, moving = cells.logits(network)
        said = {
            "fusion": -torch.expm1(log_free(standing, moving)),
            "stands": standing.sigmoid(),
            "higher": torch.maximum(cells.model, cells.coming_NM[:, 0]).sigmoid(),
        }
        found[str(step)] = {method: _figures(probability, cells.occupied) for method, probability in said.items()}
    return found


def _figures(probability: Tensor, occupied: Tensor) -> dict[str, float]:
    score = OccupancyScore()
    score.add(probability, occupied, torch.ones_like(occupied))
    entropy = F.binary_cross_entropy(probability.clamp(SURE, 1.0 - SURE), occupied)
    figures = {"AP": score.average_precision(), "IoU": score.iou(0.5), "nats": float(entropy)}
    return {name: round(value, 4) for name, value in figures.items()}
