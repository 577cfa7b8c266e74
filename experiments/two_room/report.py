"""Latent planning on a public benchmark: python -m experiments.two_room.report [--out DIR] [--seeds N]

stable-worldmodel's TwoRoom from pixels alone: collect noisy expert episodes, train a JEPA for each seed, plan with `planning.solver` to an
image from 25 steps later in an episode that no training saw, within 50 steps. Judged by the package's own `World.evaluate`, beside its
random policy and beside plain latent distances as cost.
Every part goes on where it was stopped; finished seeds stay in DIR. Prints a table, then one JSON line.
"""

from __future__ import annotations

import argparse
import json
import platform
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch

from experiments.common import wilson
from experiments.two_room.data import Frames, generate
from experiments.two_room.environment import GOAL_OFFSET, Outcome, Trials, collect, draw_trials, judge
from experiments.two_room.model import TwoRoomModel
from experiments.two_room.picture import draw
from experiments.two_room.planning import PixelPlanner, TwoRoomPlanning
from experiments.two_room.train import TwoRoomTraining, health, train

# Seeds of the rooms; what is tuned is tuned on the validation episodes, which nothing here reads otherwise.
TRAIN, VALIDATION, JUDGED = 1_000_000, 2_000_000, 3_000_000
JUDGED_APART = 10_000  # between the judged episodes of two training seeds
EPISODES = {"train": 600, "validation": 150, "judged": 150}
BEST, PLAIN = "learned distance, summed", "latent L2, summed"
METHODS = {
    BEST: TwoRoomPlanning(),
    PLAIN: TwoRoomPlanning(cost="l2"),
    "latent L2, end of plan": TwoRoomPlanning(cost="l2_last"),
    "latent L2, end, whole plans": TwoRoomPlanning(cost="l2_last", hold=5, replan=25),  # how LeWM plans
    "random policy": None,
}


def main() -> None:
    """Entry point of the command line."""
    parser = argparse.ArgumentParser(prog="python -m experiments.two_room.report", description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("runs/two_room"), help="folder for frames, checkpoints, results and picture")
    parser.add_argument("--seeds", type=int, default=3, help="trainings, each judged on episodes of its own")
    parser.add_argument("--trials", type=int, default=50, help="judged episodes of each seed")
    args = parser.parse_args()
    torch.set_num_threads(1)
    begin_s = time.process_time()
    frames = generate(args.out / "data" / "train", EPISODES["train"], TRAIN, collect)
    results = [_seed(args.out, seed, frames, args.trials) for seed in range(args.seeds)]
    summary = {"machine": platform.machine(), "processor_s": round(time.process_time() - begin_s), **summarise(results)}
    _print(summary)
    print(json.dumps(summary))


def _seed(out: Path, seed: int, frames: Frames, count: int) -> dict[str, Any]:
    """What one training and its judged episodes came to; read back where it is finished."""
    folder = out / f"seed_{seed}"
    config = TwoRoomTraining(seed=seed)
    planning = {name: asdict(method) for name, method in METHODS.items() if method is not None}
    identity = {"training": asdict(config), "planning": planning, "trials": count}
    path = folder / "result.json"
    if path.is_file() and (known := json.loads(path.read_text()))["identity"] == identity:
        return known
    model, processor_s = train(frames, folder, config)
    judged = generate(out / "data" / f"judged_{seed}", EPISODES["judged"], JUDGED + seed * JUDGED_APART, collect)
    trials = draw_trials(judged.episodes(), count, seed)
    result: dict[str, Any] = {
        "identity": identity,
        "seed": seed,
        "train_processor_s": round(processor_s, 1),
        "health": health(model, judged),
    }
    outcomes = {}
    for name, method in METHODS.items():
        outcomes[name], result[name] = _judge(model, trials, method, seed)
        print(f"seed {seed}, {name}: {result[name]['reached']} of {count}", flush=True)
    if seed == 0:
        draw(model, judged, trials, outcomes[BEST], outcomes[PLAIN], out / "two_room.png")
    path.write_text(json.dumps(result, indent=1))
    return result


def _judge(model: TwoRoomModel, trials: Trials, method: TwoRoomPlanning | None, seed: int) -> tuple[Outcome, dict[str, Any]]:
    planner = None if method is None else PixelPlanner(model, method)
    outcome = judge(trials, planner, seed)
    told = {"reached": int(outcome.success.sum()), "failed": np.flatnonzero(~outcome.success).tolist()}
    return outcome, told if planner is None else {**told, "plan_s": planner.plan_s}


def summarise(results: list[dict[str, Any]]) -> dict[str, Any]:
    """Over seeds: successes of each method with the interval of all trials, how long plans took, what training cost."""
    count = results[0]["identity"]["trials"]
    summary: dict[str, Any] = {"seeds": len(results), "trials": count, "goal_offset": GOAL_OFFSET}
    for name, method in METHODS.items():
        reached = [result[name]["reached"] for result in results]
        told = {
            "reached": reached,
            "percent": 100 * sum(reached) / (count * len(reached)),
            "wilson": wilson(sum(reached), count * len(reached)),
        }
        if method is not None:
            plan_s = np.concatenate([result[name]["plan_s"] for result in results])
            told |= {"plan_median_s": float(np.median(plan_s)), "plan_p95_s": float(np.quantile(plan_s, 0.95)), "plans": len(plan_s)}
        summary[name] = told
    summary["train_processor_s"] = [result["train_processor_s"] for result in results]
    summary["health"] = [result["health"] for result in results]
    return summary


def _print(summary: dict[str, Any]) -> None:
    print(f"{'':28}{'reached, by seed':>20}{'mean':>8}   95 % interval      a plan (median)")
    for name in METHODS:
        told = summary[name]
        low, high = told["wilson"]
        plan = f"{1000 * told['plan_median_s']:6.0f} ms" if "plan_median_s" in told else ""
        print(
            f"{name:28}{', '.join(map(str, told['reached'])):>20}{told['percent']:7.1f}%   {100 * low:5.1f} - {100 * high:5.1f}%   {plan}"
        )


if __name__ == "__main__":
    main()
