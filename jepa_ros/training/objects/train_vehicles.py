"""`python -m jepa_ros.training vehicles --data FOLDER --out FILE`: trains the verifier that separates vehicles from other large objects.

Prints what it is worth on sweeps that it did not learn from, and writes the same as FILE's .json.
"""

from __future__ import annotations

import argparse
import json
import time
from typing import Any

import numpy as np
import torch

from jepa_ros.objects.vehicles.evidence import BOX_EVIDENCE
from jepa_ros.objects.vehicles.verifier import FORMAT
from jepa_ros.training.objects import train
from jepa_ros.training.objects.bodies import VEHICLE
from jepa_ros.training.objects.box_examples import boxes_of
from jepa_ros.training.objects.examples import REAL, Examples, make_examples
from jepa_ros.training.objects.fit import FitConfig, VerifierTask, fit
from jepa_ros.training.objects.recordings import ROOMS, sweeps

BOXES = VerifierTask(BOX_EVIDENCE, (VEHICLE,), FORMAT)
ROUNDS = {"yard": 1, "car view": 3, "": 3} | dict.fromkeys(ROOMS, 8)  # variations of each sweep, by source
HELD_OUT_SOURCE, HELD_OUT_FROM = "car view", 0.72  # of its sweeps, the last ones: other streets


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Of the command: those of `objects`."""
    train.add_arguments(parser)


def run(args: argparse.Namespace) -> None:
    """Make examples, judge on what is held out, fit on all, write."""
    torch.set_num_threads(1)
    start_s = time.process_time()
    paths = make_examples(sweeps(args.data, tuple(args.bags)), args.examples, ROUNDS, args.seed, boxes_of)
    examples, config = Examples.load(paths), FitConfig(epochs=args.epochs)
    report: dict[str, Any] = {"held out: the last streets of the car's view": held_out(examples, config, args.seed)}
    verifier = fit(examples, config, args.seed, task=BOXES)
    facts = {"seed": str(args.seed), "epochs": str(args.epochs), "examples": str(len(examples.classes)), "data": args.data.name}
    facts["sources"] = json.dumps(sorted(set(examples.source.tolist())))
    args.out.parent.mkdir(parents=True, exist_ok=True)
    verifier.save(args.out, facts | {"held_out": json.dumps(report)})
    report |= {"examples": train.counts(examples), "config": config.__dict__, "seed": args.seed}
    report["processor_s"] = round(time.process_time() - start_s)
    args.out.with_suffix(".json").write_text(json.dumps(report, indent=1) + "\n")
    print(json.dumps(report))


def held_out(examples: Examples, config: FitConfig, seed: int) -> dict[str, float]:
    """Average precision and the like on real boxes of sweeps that were left out whole, with every variation of them."""
    own = examples.source == HELD_OUT_SOURCE
    if not own.any():
        return {}
    numbers = np.unique(examples.sweep[own])
    out = own & (examples.sweep >= numbers[int(HELD_OUT_FROM * len(numbers))])
    judged = examples.take(out & (examples.domain == REAL))
    scores = fit(examples.take(~out), config, seed, task=BOXES).classes(judged.evidence)[:, VEHICLE]
    return train.score(scores, judged, (VEHICLE,))
