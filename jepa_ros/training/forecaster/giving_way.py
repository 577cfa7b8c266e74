"""`giving_way`: teaches how people give way to a robot, from simulated crowds continued with different motions of a robot, and with none.

Judged on places that it did not learn from: how far off the ways are, beside "nobody gives way", and how well it tells who is moved by one
motion rather than another, beside how near the robot comes.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from jepa_ros.planning.imagined.giving_way import FAR_M, GivingWay, clearances, save
from jepa_ros.training.forecaster.branches import Branches, place_branches
from jepa_ros.training.metrics import auroc
from jepa_ros.training.world_model.loop import warmed_cosine

FIRST_SEED = 7000
PLACES, STEPS = 160, 6000
BATCH, LEARNING_RATE, WARM_UP = 512, 2e-3, 100
VELOCITY_NOISE_MPS, PLACE_NOISE_M = 0.1, 0.05  # of tracked people
HELD_OUT = 5  # every so many-th place
REACTS_M, SAME_M = 0.3, 0.05  # how far apart somebody ends under two motions


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Of the command."""
    parser.add_argument("--examples", type=Path, required=True, help="folder where simulated crowds are kept; a stopped run goes on there")
    parser.add_argument("--out", type=Path, required=True, help="weights to write, .safetensors")
    parser.add_argument("--places", type=int, default=PLACES, help="simulated places, two or more (default: %(default)s)")
    parser.add_argument("--steps", type=int, default=STEPS, help="optimiser steps (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of the training (default: %(default)s)")


def run(args: argparse.Namespace) -> None:
    """Simulate, judge on what is held out, fit on all, write weights and report."""
    if args.places < 2:
        raise ValueError(f"--places {args.places}: give two or more, one is held out to judge on")
    start_s = time.process_time()
    files = make(args.places, args.examples)
    held = files[HELD_OUT - 1 :: HELD_OUT] or files[-1:]
    learned = [file for file in files if file not in held]
    report: dict[str, Any] = {"places": len(files), "first_seed": FIRST_SEED, "steps": args.steps, "seed": args.seed}
    report["held_out"] = judge(fit(Branches.load(learned), args.steps, args.seed), Branches.load(held))
    print(json.dumps(report["held_out"]))
    everything = Branches.load(files)
    network = fit(everything, args.steps, args.seed)
    report |= {"pairs": len(everything.people), "processor_s": round(time.process_time() - start_s)}
    args.out.parent.mkdir(parents=True, exist_ok=True)
    save(network, args.out, report)
    args.out.with_suffix(".json").write_text(json.dumps(report, indent=1) + "\n")


def make(places: int, folder: Path) -> list[Path]:
    """One file for each place, as far as `folder` does not hold it."""
    folder.mkdir(parents=True, exist_ok=True)
    files = [folder / f"place_{FIRST_SEED + number}.npz" for number in range(places)]
    for number, file in enumerate(tqdm(files, desc="crowds", unit="place")):
        if not file.is_file():
            place_branches(number, FIRST_SEED).save(file)
    return files


def fit(branches: Branches, steps: int, seed: int) -> GivingWay:
    """By how far each person was moved, with the errors of tracked people added."""
    torch.manual_seed(seed)
    network = GivingWay()
    optimizer = torch.optim.AdamW(network.parameters(), weight_decay=0.01)
    distance = np.linalg.norm(branches.moved, axis=2)
    people, robot, size, moved = (torch.from_numpy(part) for part in (branches.people, branches.robot, branches.size, distance))
    near = torch.from_numpy(np.flatnonzero(clearances(people, robot, size).amin(dim=1) < FAR_M))
    noise = torch.tensor([PLACE_NOISE_M, PLACE_NOISE_M, VELOCITY_NOISE_MPS, VELOCITY_NOISE_MPS])
    for step in tqdm(range(steps), desc="fit", unit="step", mininterval=2):
        for group in optimizer.param_groups:
            group["lr"] = LEARNING_RATE * warmed_cosine(step, steps, WARM_UP)
        rows = near[torch.randint(len(near), (BATCH,))]
        said = network(people[rows] + noise * torch.randn(BATCH, 4), robot[rows], size[rows])
        loss = torch.nn.functional.smooth_l1_loss(said, moved[rows])
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
    return network.eval().requires_grad_(False)


def judge(network: GivingWay, branches: Branches) -> dict[str, float]:
    """AUROC of who ends apart under two motions from one instant, and how far people end aside, m."""
    people, robot, size = (torch.from_numpy(part) for part in (branches.people, branches.robot, branches.size))
    with torch.inference_mode():
        said_m = network(people, robot, size).numpy()
    nearest = clearances(people, robot, size).amin(dim=1).numpy()
    one, other = _pairs(branches.group)
    apart_m = np.hypot(*(branches.moved[one, -1] - branches.moved[other, -1]).T)
    reacts, same = apart_m > REACTS_M, apart_m < SAME_M
    changes = np.abs(said_m[one] - said_m[other]).mean(axis=1)
    comes_nearer = np.abs(np.exp(-nearest[one]) - np.exp(-nearest[other]))
    found_m = np.hypot(*branches.moved[:, -1].T)
    moves = found_m > REACTS_M
    figures = {
        "auroc": auroc(changes[reacts], changes[same]),
        "auroc_by_nearness": auroc(comes_nearer[reacts], comes_nearer[same]),
        "moved_m": found_m[moves].mean(),
        "error_m_of_moved": np.abs(said_m[moves, -1] - found_m[moves]).mean(),
        "others_m": found_m[~moves].mean(),
        "error_m_of_others": np.abs(said_m[~moves, -1] - found_m[~moves]).mean(),
    }
    return {"react": int(reacts.sum()), "do_not": int(same.sum())} | {name: round(float(value), 3) for name, value in figures.items()}


def _pairs(group_B: NDArray[np.int32]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Indices of all two motions that meet the same person at the same instant."""
    order = np.argsort(group_B, kind="stable")
    first, second = [], []
    for apart in range(1, np.bincount(group_B).max(initial=1)):
        same = group_B[order[apart:]] == group_B[order[:-apart]]
        first.append(order[:-apart][same])
        second.append(order[apart:][same])
    return np.concatenate(first), np.concatenate(second)
