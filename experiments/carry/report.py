"""A gripper that learns from images what its motions do.

python -m experiments.carry.report [generate|train|hold|carry|reach|all] [--out DIR]

generate: episodes of a random explorer in MuJoCo. train: an arm's world model from scratch, and its head of holding. hold: whether a grip
holds through a motion, told from imagined latents, beside probes that imagine nothing. carry: the quickest carry that holds, beside fixed
speeds. reach: an image goal for the open hand, planned anew after every action.
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

from experiments.carry.carry import FIRST_SEED, Carried, carry_all, draw_carry
from experiments.carry.data import SPLITS, generate_all, learnable, split
from experiments.carry.hold import IMAGINED, decided_by_motion, pixels_of, tell
from experiments.carry.picture import draw_grips
from experiments.carry.probes import auroc
from experiments.carry.reach import REACHED_M, reach_all
from experiments.common import ratio_of_sums, wilson
from jepa_ros.backends.arm.file import ArmFacts, load, save
from jepa_ros.backends.arm.model import ArmWorldModel
from jepa_ros.backends.arm.network import ArmModelConfig
from jepa_ros.backends.arm.plan import ArmPlanning
from jepa_ros.backends.vjepa2_ac.search import SearchConfig
from jepa_ros.sim.carry.arm import MAX_MOVE_M, MAX_TILT_RAD, VIEWS
from jepa_ros.sim.carry.episodes import MOTION_STEPS
from jepa_ros.training.arm.hold import fit_hold, grips_of
from jepa_ros.training.arm.loop import ArmTraining, health, train

PARTS = ("generate", "train", "hold", "carry", "reach")
CAMERAS = ("/camera/image_raw", "/wrist_camera/image_raw")  # as the simulated arm names them
WANTED_HOLD = (0.8, 0.9, 0.95)  # probabilities that carries are asked to hold with
# Proposals decide here: a search of its full size would change who waits for what, not what is compared.
PLANNING = ArmPlanning(search=SearchConfig(samples=24, iterations=2, elites=6))
STEPS = range(2, MOTION_STEPS + 1)  # of the carries at a fixed speed
EQUAL = 1.02  # times of these shares are equal


def main() -> None:
    """Entry point of the command line."""
    parser = argparse.ArgumentParser(prog="python -m experiments.carry.report", description=__doc__)
    parser.add_argument("part", nargs="?", choices=(*PARTS, "all"), default="all")
    parser.add_argument("--out", type=Path, default=Path("runs/carry"), help="folder for episodes, checkpoints, weights and pictures")
    parser.add_argument("--carries", type=int, default=200, help="of each kind")
    parser.add_argument("--reaches", type=int, default=50, help="image goals")
    parser.add_argument("--processes", type=int, default=1, help="that generate episodes")
    args = parser.parse_args()
    torch.set_num_threads(1)
    parts = {"generate": _generate, "train": _train, "hold": _hold, "carry": _carry, "reach": _reach}
    results: dict[str, Any] = {"machine": platform.machine()}
    for part in PARTS if args.part == "all" else (args.part,):
        begin_s = time.process_time()
        results[part] = parts[part](args)
        results[part]["processor_s"] = round(time.process_time() - begin_s, 1)
    print(json.dumps(results))


def _generate(args: argparse.Namespace) -> dict[str, Any]:
    generate_all(args.out / "data", args.processes)
    return {name: count for name, (_, count, _) in SPLITS.items()}


def _train(args: argparse.Namespace) -> dict[str, Any]:
    learned, validation = (learnable(split(args.out / "data", name)) for name in ("train", "validation"))
    config = ArmTraining(model=ArmModelConfig(views=len(VIEWS)))
    model = train(learned, args.out / "train", config)
    loss = fit_hold(model, grips_of(model, learned, learned=True), grips_of(model, validation))
    facts = ArmFacts(max_move_m=MAX_MOVE_M, max_turn_rad=MAX_TILT_RAD, horizon=MOTION_STEPS, holds=True, cameras=CAMERAS)
    save(model, facts, args.out / "arm.safetensors")
    told = {"steps": config.steps, "hold_loss": loss, **health(model, validation)}
    print(told)
    return told


def _hold(args: argparse.Namespace) -> dict[str, Any]:
    model, _ = load(args.out / "arm.safetensors")
    data = {name: split(args.out / "data", name) for name in SPLITS}
    seen = {name: learnable(one) for name, one in data.items()}
    grips = {name: grips_of(model, one, learned=name == "train") for name, one in seen.items()}
    images = {name: pixels_of(seen[name], grips[name]) for name in seen}
    told = tell(model, grips["train"], grips["validation"], grips["test"], images, data["test"].grip)
    decided = decided_by_motion(told.held, told.grip)
    count = len(np.unique(told.grip))
    print(f"{len(told.held)} motions of {count} grips, {told.held.mean():.0%} held; the motion decides {decided:.0%} of the grips")
    result: dict[str, Any] = {"cases": len(told.held), "held": float(told.held.mean()), "decided_by_motion": decided}
    for name, probability in told.by.items():
        score, (low, high) = auroc(probability, told.held), told.interval(name)
        above = "" if name == IMAGINED else "  imagined is above it by {:+.3f} to {:+.3f}".format(*told.interval(IMAGINED, name))
        print(f"{name:50} AUROC {score:.3f} ({low:.3f} - {high:.3f}){above}")
        result[name] = {"auroc": score, "interval": [low, high]}
    result["reliability"] = told.reliability()
    for said, came, count in result["reliability"]:
        print(f"said {said:.3f}, held {came:.3f} of {count}")
    draw_grips(data["test"], told, args.out / "hold.png")
    return result


def _carry(args: argparse.Namespace) -> dict[str, Any]:
    world = ArmWorldModel(*load(args.out / "arm.safetensors"), planning=PLANNING)
    carries = [draw_carry(FIRST_SEED + k) for k in range(args.carries)]
    fixed = {"fastest possible": carry_all("fastest", carries)}
    fixed |= {f"always {steps} steps": carry_all("even", carries, steps=steps) for steps in STEPS}
    planned = {f"straight, holds with {least:g}": carry_all("paced", carries, world, least) for least in WANTED_HOLD}
    planned |= {f"holds with {least:g}": carry_all("planned", carries, world, least) for least in WANTED_HOLD}
    print(f"{len(carries)} carries\n{'':26}dropped  95 % interval   arrived  no plan   mean time of those moved")
    result: dict[str, Any] = {way: _carried_row(way, done) for way, done in {**fixed, **planned}.items()}
    result["beside"] = {way: beside(done, fixed) for way, done in planned.items()}
    for way, row in result["beside"].items():
        print(way, row)
    return result


def _reach(args: argparse.Namespace) -> dict[str, Any]:
    world = ArmWorldModel(*load(args.out / "arm.safetensors"), planning=PLANNING)
    result: dict[str, Any] = {}
    for name, policy in (("plan_actions", world), ("random actions", None)):
        distance_K = reach_all(policy, args.reaches)
        reached = int((distance_K <= REACHED_M).sum())
        low, high = wilson(reached, len(distance_K))
        print(
            f"{name:26}{reached:4d} of {len(distance_K)} reached ({low:.2f} - {high:.2f}), {100 * np.median(distance_K):.1f} cm at the end"
        )
        result[name] = {"reached": reached, "wilson": [low, high], "distance_m": float(np.median(distance_K))}
    return result


def _carried_row(name: str, done: list[Carried]) -> dict[str, Any]:
    moved = [one for one in done if one.steps]
    drops, seconds = sum(one.dropped for one in moved), float(np.mean([one.seconds for one in moved])) if moved else float("nan")
    low, high = wilson(drops, max(1, len(moved)))
    arrived = sum(one.arrived for one in done)
    print(f"{name:26}{drops:4d}     {low:.2f} - {high:.2f} {arrived:12d} {len(done) - len(moved):8d} {seconds:12.2f} s")
    return {"dropped": drops, "moved": len(moved), "arrived": arrived, "seconds": seconds, "wilson": [low, high]}


def beside(done: list[Carried], fixed: dict[str, list[Carried]]) -> dict[str, Any]:
    """Over the carries that it moves: its drops, and two comparisons.

    With the quickest fixed speed that drops no more: the ratio of the times.
    With the slowest one that takes no longer: how many only one of both drops.
    """
    moved = [k for k, one in enumerate(done) if one.steps]
    drops = sum(done[k].dropped for k in moved)
    told: dict[str, Any] = {"drops": drops}
    quickest = [(name, theirs) for name, theirs in fixed.items() if sum(theirs[k].dropped for k in moved) <= drops]
    if quickest and moved:
        name, theirs = quickest[0]
        ratio = ratio_of_sums(np.array([done[k].seconds for k in moved]), np.array([theirs[k].seconds for k in moved]))
        told["equal drops"] = {"at": name, "theirs": sum(theirs[k].dropped for k in moved), "time": [round(one, 3) for one in ratio]}
    seconds = sum(done[k].seconds for k in moved)
    slowest = [(name, theirs) for name, theirs in fixed.items() if sum(theirs[k].seconds for k in moved) <= EQUAL * seconds]
    if slowest and moved:
        name, theirs = slowest[-1]
        only = [sum(one[k].dropped and not other[k].dropped for k in moved) for one, other in ((done, theirs), (theirs, done))]
        told["equal time"] = {"at": name, "theirs": sum(theirs[k].dropped for k in moved), "only ours, only theirs": only}
    return told


if __name__ == "__main__":
    main()
