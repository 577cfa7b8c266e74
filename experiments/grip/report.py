"""A gripper that learns from images what its actions do: python -m experiments.grip.report [generate|train|reach|hold|all] [--out DIR]

generate: episodes of a random explorer in MuJoCo. train: a small action-conditioned world model from scratch. reach: 50 image goals by
`plan_actions`, beside a random policy. hold: whether a grip will hold, told from what the model imagines, beside probes that imagine
nothing.
Every part goes on where it was stopped. Prints tables, then one JSON line.
"""

from __future__ import annotations

import argparse
import json
import platform
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from experiments.common import wilson
from experiments.grip.hold import judge_grips
from experiments.grip.model import load
from experiments.grip.picture import draw_grips, draw_reach
from experiments.grip.reach import REACHED_M, reach_all
from experiments.grip.scores import auroc, auroc_interval
from experiments.grip.train import GripTrainConfig, train
from experiments.grip.world_model import GripWorldModel
from jepa_ros.sim.arm.episodes import generate, load_episodes

SPLITS = {"train": (0, 2000), "validation": (10_000, 200), "test": (20_000, 600)}  # name -> first seed, episodes
PARTS = ("generate", "train", "reach", "hold")


def main() -> None:
    """Entry point of the command line."""
    parser = argparse.ArgumentParser(prog="python -m experiments.grip.report", description=__doc__)
    parser.add_argument("part", nargs="?", choices=(*PARTS, "all"), default="all")
    parser.add_argument("--out", type=Path, default=Path("runs/grip"), help="folder for episodes, checkpoint, weights and pictures")
    parser.add_argument("--trials", type=int, default=50, help="image goals")
    parser.add_argument("--processes", type=int, default=1, help="that generate episodes")
    args = parser.parse_args()
    torch.set_num_threads(1)
    results: dict[str, Any] = {"machine": platform.machine()}
    for part in PARTS if args.part == "all" else (args.part,):
        begin_s = time.process_time()
        results[part] = _run(part, args)
        results[part]["processor_s"] = round(time.process_time() - begin_s, 1)
    print(json.dumps(results))


def _run(part: str, args: argparse.Namespace) -> dict[str, Any]:
    data = args.out / "data"
    if part == "generate":
        for name, (first, count) in SPLITS.items():
            generate(data / name, first, count, args.processes)
        return {name: count for name, (_, count) in SPLITS.items()}
    if part == "train":
        config = GripTrainConfig()
        train(load_episodes(data / "train"), load_episodes(data / "validation"), args.out, config)
        return {"steps": config.steps}
    return _reach(args) if part == "reach" else _hold(args)


def _reach(args: argparse.Namespace) -> dict[str, Any]:
    world = GripWorldModel(load(args.out / "grip.safetensors"))
    result: dict[str, Any] = {"trials": args.trials, "reached_m": REACHED_M}
    print(f"{'policy':16}{'reached':>9}  95 % interval   last distance (median)")
    for name, used in (("plan_actions", world), ("random policy", None)):
        trials = reach_all(used, args.trials)
        successes = sum(trial.success for trial in trials)
        low, high = wilson(successes, len(trials))
        last_cm = 100 * float(np.median([trial.distance_m[-1] for trial in trials]))
        print(f"{name:16}{successes:4d}/{len(trials):<4d}  {low:.2f} - {high:.2f}      {last_cm:.1f} cm")
        result[name] = {
            "reached": successes,
            "wilson": [low, high],
            "last_distances_m": [round(float(t.distance_m[-1]), 4) for t in trials],
        }
        if used is world:
            draw_reach(trials, args.out / "reach.png")
    return result


def _hold(args: argparse.Namespace) -> dict[str, Any]:
    model = load(args.out / "grip.safetensors")
    sets = {name: load_episodes(args.out / "data" / name) for name in SPLITS}
    told, held = judge_grips(model, sets["train"], sets["validation"], sets["test"])
    print(f"{len(held)} grips, {held.mean():.0%} of them held")
    result: dict[str, Any] = {"grips": len(held), "held": int(held.sum())}
    for name, probability in told.items():
        score, (low, high) = auroc(probability, held), auroc_interval(probability, held)
        print(f"{name:32} AUROC {score:.3f} ({low:.3f} - {high:.3f})")
        result[name] = {"auroc": score, "interval": [low, high]}
    draw_grips(sets["test"], told["imagined latent"], args.out / "hold.png")
    return result


if __name__ == "__main__":
    main()
