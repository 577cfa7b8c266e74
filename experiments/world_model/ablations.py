"""What each choice in training scene_jepa is worth: short trainings of one budget, one choice changed at a time.

    python -m experiments.world_model.ablations --out OUT [--steps 120]

All start from the same seed, see the same simulated worlds in the same order and are judged on the same held-out ones. Runs, one folder
each, are kept in OUT: a later call goes on where this one stopped. Prints a Markdown table beside the baselines, at last one JSON line.
The trainings are far from converged: what differs here need not differ after a long one, and one seed says nothing of differences of .01.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from experiments.world_model.occupancy.cells import at_false_positive_rate, best_f1
from experiments.world_model.prediction import BASELINES, CellScores, measure
from experiments.world_model.rollout import RolledOut, WithoutActions
from experiments.world_model.table import table
from experiments.world_model.worlds import simulated_bags
from jepa_ros.backends.scene_jepa.config import SceneJepaConfig
from jepa_ros.backends.scene_jepa.model import SceneJepa
from jepa_ros.training.world_model.dataset import prepare
from jepa_ros.training.world_model.loop import TrainingConfig, pretrain
from jepa_ros.training.world_model.pretraining_loss import ObjectiveConfig
from jepa_ros.training.world_model.shard import Shard, open_shards

TRAIN_SEED = 8000  # of the first world to learn from; the shipped weights have not seen these
TIMES_S = (0.4, 1.2, 2.4, 4.8)
MOVING_S = 1.2
ONE_STEP = SceneJepaConfig(horizon=1)
Make = Callable[[], SceneJepa]


@dataclass(frozen=True)
class Variant:
    """A way to train, by what it does otherwise than the first one."""

    name: str
    training: dict[str, Any] = field(default_factory=dict)  # fields of TrainingConfig
    objective: dict[str, Any] = field(default_factory=dict)  # fields of ObjectiveConfig
    make: Make = lambda: SceneJepa(SceneJepaConfig())
    rolled_out: bool = False  # judged by predicting step after step, each from the one before
    judged: tuple[str, ...] = ("both",)  # sensors


def _without_actions() -> SceneJepa:
    model = SceneJepa(SceneJepaConfig())
    model.predictor = WithoutActions(model.config, model.half_m)
    return model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def _rolled_out() -> SceneJepa:
    return RolledOut.model(SceneJepa(ONE_STEP), 3)


VARIANTS = (
    Variant("as shipped: VICReg, direct multi-step, actions, all sensors", judged=("both", "lidar", "camera")),
    Variant("SIGReg", objective={"regulariser": "sigreg", "regulariser_weight": 20.0}),
    Variant("EMA targets, with VICReg", objective={"targets": "ema", "ema_decay": 0.98}),
    Variant("EMA targets alone", objective={"targets": "ema", "ema_decay": 0.98, "regulariser_weight": 0.0}),
    Variant("nothing against collapse", objective={"regulariser_weight": 0.0}),
    Variant("without actions", make=_without_actions),
    Variant("one-step loss, rolled out", {"targets": 1, "model": ONE_STEP}, make=lambda: SceneJepa(ONE_STEP), rolled_out=True),
    Variant("loss over a rollout of 3", {"model": dataclasses.replace(ONE_STEP, horizon=3)}, make=_rolled_out, rolled_out=True),
    Variant("lidar alone", {"sensors": (1.0, 0.0, 0.0)}, judged=("lidar",)),
    Variant("camera alone", {"sensors": (0.0, 0.0, 1.0)}, judged=("camera",)),
    Variant("moving tokens weigh as others", objective={"moving_weight": 0.0}),
    Variant("camera latents learn from the future alone", objective={"recall_weight": 0.0}, judged=("both", "camera")),
)


def train(variant: Variant, data: Path, out: Path, steps: int, seed: int) -> tuple[SceneJepa, float]:
    """The trained model, and the processor seconds that it took."""
    torch.manual_seed(seed)
    model = variant.make()
    settings: dict[str, Any] = {"batch": 2, "warmup": 20, "learning_rate": 1.5e-3, "checkpoint_every": steps, "model": model.config}
    objective = ObjectiveConfig(**variant.objective)
    config = TrainingConfig(
        str(data), str(out), steps, **{**settings, **variant.training}, objective=objective, bf16=True, workers=0, device="cpu", seed=seed
    )
    start_s = time.process_time()
    trained = pretrain(config, model=model).eval().requires_grad_(False)
    return trained, time.process_time() - start_s


def judge(model: SceneJepa, shards: list[Shard], sensors: str, every: int) -> dict[str, Any]:
    """The figures of one model with some sensors, and those of the baselines."""
    result, seen = measure(model, shards, sensors, every)
    spread = result.latent_spread
    return {
        "latent_error": dict(zip(map(str, result.times_s), result.latent_error, strict=True)),
        "latent_persistence": dict(zip(map(str, result.times_s), result.latent_error_persistence, strict=True)),
        "effective_rank": spread.effective_rank,
        "least_variance": spread.least_variance,
        "windows": result.windows,
        "by_method": {method: _occupancy(seen, method) for method in ("model", *BASELINES)},
    }


def _occupancy(seen: CellScores, method: str) -> dict[str, Any]:
    time = seen.time(MOVING_S)
    allowed = seen.counts["persistence"].moving_recall(time, best_f1)["false_positive_rate"]
    entered = seen.counts[method].moving_recall(time, at_false_positive_rate(allowed))["entered"]
    return {"ap": {str(time_s): seen.curve(method, time_s).average_precision() for time_s in TIMES_S}, "entered": entered}


def run(variant: Variant, data: Path, judged_on: list[Shard], out: Path, args: argparse.Namespace) -> dict[str, Any]:
    """Train and judge, or read what an earlier call found."""
    folder = out / variant.name.replace(" ", "_").replace(",", "").replace(":", "")
    run_name = f"{args.steps}_steps" + (f"_seed_{args.seed}" if args.seed else "")
    done = folder / f"result_{run_name}_{args.every}.json"
    if done.is_file():
        return dict(json.loads(done.read_text()))
    model, cpu_s = train(variant, data, folder / run_name, args.steps, args.seed)
    if variant.rolled_out:
        model = RolledOut.model(model, SceneJepaConfig().horizon)
    found = {sensors: judge(model, judged_on, sensors, args.every) for sensors in variant.judged}
    result = {"name": variant.name, "steps": args.steps, "training_cpu_s": round(cpu_s, 1), "judged": found}
    done.write_text(json.dumps(result))
    return result


def markdown(results: list[dict[str, Any]]) -> str:
    """One table: a row per training and the sensors that it was judged with, baselines last.

    Entered cells: recall where, on the other worlds, a method calls as many free cells occupied as persistence does.
    """
    header = (
        "training",
        "judged with",
        "latent error / persistence, 1.2 s",
        "4.8 s",
        *(f"AP {t} s" for t in TIMES_S),
        "entered cells, 1.2 s",
    )
    rows = []
    for result in results:
        for sensors, found in result["judged"].items():
            ratio = [found["latent_error"][t] / max(found["latent_persistence"][t], 1e-9) for t in ("1.2", "4.8")]
            model = found["by_method"]["model"]
            health = (f"{found['effective_rank']:.1f}", found["least_variance"])
            rows.append([result["name"], sensors, *ratio, *model["ap"].values(), model["entered"], *health])
    of_baselines = results[0]["judged"]["both"]["by_method"]
    rows += [
        [name, "lidar", "-", "-", *of["ap"].values(), of["entered"], "-", "-"] for name, of in of_baselines.items() if name in BASELINES
    ]
    return table((*header, "effective rank of 40", "least variance"), rows)


def training_bags(folder: Path, count: int) -> list[Path]:
    """Worlds to learn from; those that are there are kept."""
    return simulated_bags(folder, count, TRAIN_SEED)


def main() -> None:
    """Entry point of the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder for bags, data and runs; a later call takes them up")
    parser.add_argument("--steps", type=int, default=120, help="optimiser steps of 2 windows, of each training (default: %(default)s)")
    parser.add_argument("--worlds", type=int, default=16, help="simulated worlds to learn from (default: %(default)s)")
    parser.add_argument("--judged", type=int, default=8, help="held-out worlds to be judged on (default: %(default)s)")
    parser.add_argument("--every", type=int, default=16, help="judge every n-th window (default: %(default)s)")
    parser.add_argument(
        "--seed", type=int, default=0, help="of weights and order; another one shows what chance does (default: %(default)s)"
    )
    args = parser.parse_args()
    data, held_out = args.out / f"train{args.worlds}", args.out / f"held_out{args.judged}"
    bags = training_bags(args.out / "bags", args.worlds)
    if not bags:
        return
    prepare(bags, data)
    prepare(simulated_bags(args.out / "bags", args.judged), held_out)
    results = [run(variant, data, open_shards(held_out), args.out, args) for variant in VARIANTS]
    windows = results[0]["judged"]["both"]["windows"]
    trained = f"Seed {args.seed}, {args.steps} steps of 2 windows from {args.worlds} worlds"
    print(f"{trained}, judged on {windows} windows of {args.judged} held-out worlds.\n")
    print(markdown(results))
    print(json.dumps({"bench": "world_model_ablations", "results": results}))


if __name__ == "__main__":
    main()
