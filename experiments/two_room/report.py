"""Latent planning on a public benchmark: python -m experiments.two_room.report [--out DIR] [--seeds N]

stable-worldmodel's TwoRoom from pixels alone: collect noisy expert episodes, train a JEPA for each seed, plan with `planning.solver` to an
image from 25 steps later in an episode that no training saw, within 50 steps. Judged by the package's own `World.evaluate`, beside its
random policy and beside plain latent distances as cost; then once more by the strict rule (see `strict`), on goals of the other room alone.
Every part goes on where it was stopped; finished seeds stay in DIR. Prints two tables, then one JSON line.
"""

from __future__ import annotations

import argparse
import json
import platform
import time
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from experiments.common import wilson
from experiments.two_room.data import Frames, generate
from experiments.two_room.environment import GOAL_OFFSET, REACHED_PX, SWEPT, Outcome, Trials, collect, draw_trials, judge
from experiments.two_room.model import TwoRoomModel
from experiments.two_room.picture import draw
from experiments.two_room.planning import PixelPlanner, TwoRoomPlanning
from experiments.two_room.strict import counts
from experiments.two_room.train import TwoRoomTraining, health, train

# Seeds of the rooms; what is tuned is tuned on the validation episodes, which nothing here reads otherwise.
TRAIN, VALIDATION, JUDGED, JUDGED_STRICTLY = 1_000_000, 2_000_000, 3_000_000, 4_000_000
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
Result = dict[str, Any]


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


def _seed(out: Path, seed: int, frames: Frames, count: int) -> Result:
    """What one training and its judged episodes came to; read back where it is finished."""
    folder = out / f"seed_{seed}"
    config = TwoRoomTraining(seed=seed)
    planning = {name: asdict(method) for name, method in METHODS.items() if method is not None}
    identity = {"training": asdict(config), "planning": planning, "trials": count}
    path = folder / "result.json"
    if path.is_file() and (known := json.loads(path.read_text()))["identity"] == identity:
        return known
    model, processor_s = train(frames, folder, config)
    judged, judged_strictly = _judged(out / "data", seed)
    trials = draw_trials(judged.episodes(), count, seed)
    strict_trials = draw_trials(judged_strictly.episodes(), count, seed, counts)
    result: Result = {"identity": identity, "seed": seed, "train_processor_s": round(processor_s, 1), "health": health(model, judged)}
    outcomes, result["plain"] = _judge(model, trials, seed)
    _, result["strict"] = _judge(model, strict_trials, seed, strictly=True)
    if seed == 0:
        draw(model, judged, trials, outcomes[BEST], outcomes[PLAIN], out / "two_room.png")
    path.write_text(json.dumps(result, indent=1))
    return result


def _judged(data: Path, seed: int) -> tuple[Frames, Frames]:
    """Episodes that this training is judged on: of the package's rooms, and of those where the whole disc has to pass."""
    apart = seed * JUDGED_APART
    return (
        generate(data / f"judged_{seed}", EPISODES["judged"], JUDGED + apart, collect),
        generate(data / f"strict_{seed}", EPISODES["judged"], JUDGED_STRICTLY + apart, partial(collect, environment=SWEPT)),
    )


def _judge(model: TwoRoomModel, trials: Trials, seed: int, strictly: bool = False) -> tuple[dict[str, Outcome], dict[str, Result]]:
    """Each method on the same trials. `near`: how many were within the package's 16 px at any step."""
    outcomes, told = {}, {}
    for name, method in METHODS.items():
        planner = None if method is None else PixelPlanner(model, method)
        outcome = outcomes[name] = judge(trials, planner, seed, strictly)
        told[name] = {
            "reached": int(outcome.success.sum()),
            "near": int((outcome.nearest_px < REACHED_PX).sum()),
            "failed": np.flatnonzero(~outcome.success).tolist(),
            "plan_s": [] if planner is None else planner.plan_s,
        }
        print(f"seed {seed}, {'strictly, ' * strictly}{name}: {told[name]['reached']} of {len(trials)}", flush=True)
    return outcomes, told


def summarise(results: list[Result]) -> Result:
    """Over seeds: successes of each method by either rule with the interval of all trials, how long plans took, what training cost."""
    count = results[0]["identity"]["trials"]
    summary: Result = {"seeds": len(results), "trials": count, "goal_offset": GOAL_OFFSET}
    for rule in ("plain", "strict"):
        summary[rule] = {name: _over_seeds([result[rule][name] for result in results], count) for name in results[0][rule]}
    summary["train_processor_s"] = [result["train_processor_s"] for result in results]
    summary["health"] = [result["health"] for result in results]
    return summary


def _over_seeds(seeds: list[Result], count: int) -> Result:
    reached = [one["reached"] for one in seeds]
    plan_s = np.concatenate([one["plan_s"] for one in seeds])
    told = {
        "reached": reached,
        "percent": 100 * sum(reached) / (count * len(reached)),
        "wilson": wilson(sum(reached), count * len(reached)),
        "near": [one["near"] for one in seeds],
    }
    if len(plan_s):
        told |= {"plan_median_s": float(np.median(plan_s)), "plan_p95_s": float(np.quantile(plan_s, 0.95)), "plans": len(plan_s)}
    return told


def _print(summary: Result) -> None:
    for rule, title in (("plain", "within 16 px once"), ("strict", "other room, whole disc, 8 px, held")):
        print(f"{title:36}{'reached, by seed':>20}{'mean':>8}   95 % interval      a plan (median)   within 16 px once")
        for name, told in summary[rule].items():
            low, high = told["wilson"]
            plan = f"{1000 * told['plan_median_s']:6.0f} ms" if "plan_median_s" in told else " " * 9
            interval = f"{100 * low:5.1f} - {100 * high:5.1f}%"
            reached, near = (", ".join(map(str, told[count])) for count in ("reached", "near"))
            print(f"{name:36}{reached:>20}{told['percent']:7.1f}%   {interval}   {plan}{near:>22}")


if __name__ == "__main__":
    main()
