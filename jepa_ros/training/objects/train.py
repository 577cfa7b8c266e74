"""`python -m jepa_ros.training objects --data FOLDER --out FILE`: trains the verifier that separates people and riders from clutter.

Prints what it is worth on sweeps that it did not learn from, beside the hand-set score, and writes the same as FILE's .json.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from jepa_ros.objects.columns import EVIDENCE, FEATURES
from jepa_ros.objects.shape import SHAPE, SLICE_PARTS
from jepa_ros.objects.verifier import Verifier, by_rules
from jepa_ros.training.objects.bodies import CLASSES, PERSON, RIDER
from jepa_ros.training.objects.examples import CAST, REAL, SIMULATED, Examples, make_examples
from jepa_ros.training.objects.fit import FitConfig, fit
from jepa_ros.training.objects.recordings import sweeps
from jepa_ros.types import FloatArray

ROUNDS = {"yard": 1, "car view": 2, "": 5}  # variations of each sweep, by source
HELD_OUT_SOURCES = ("yard",)  # one scene: in the held-out figures it is left out as a whole


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Of the command."""
    parser.add_argument(
        "--data", type=Path, required=True, help="folder with logictronix_*.npz, ika_*.npz and frames/*.npz (weights/README.md)"
    )
    parser.add_argument("--bags", type=Path, nargs="*", default=[], help="simulated bags, or recordings of your own in which nobody is")
    parser.add_argument("--examples", type=Path, required=True, help="folder for the examples; finished parts are kept and not made again")
    parser.add_argument("--out", type=Path, required=True, help="the .safetensors file to write")
    parser.add_argument("--epochs", type=int, default=FitConfig.epochs)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--ablation", action="store_true", help="also fit with each kind of evidence left out")


def run(args: argparse.Namespace) -> None:
    """Make examples, judge on what is held out, fit on all, write."""
    torch.set_num_threads(1)
    start_s = time.process_time()
    paths = make_examples(sweeps(args.data, tuple(args.bags)), args.examples, ROUNDS, args.seed)
    examples, config = Examples.load(paths), FitConfig(epochs=args.epochs)
    print(json.dumps({"examples": counts(examples)}))
    report: dict[str, Any] = {"held out: the yard": held_out(examples, config, args.seed, args.ablation)}
    verifier = fit(examples, config, args.seed)
    facts = {"seed": str(args.seed), "epochs": str(args.epochs), "examples": str(len(examples.classes)), "data": args.data.name}
    facts["sources"] = json.dumps(sorted(set(examples.source.tolist())))
    facts["held_out"] = json.dumps(report)
    args.out.parent.mkdir(parents=True, exist_ok=True)
    verifier.save(args.out, facts)
    report |= {
        "examples": counts(examples),
        "config": config.__dict__,
        "seed": args.seed,
        "processor_s": round(time.process_time() - start_s),
    }
    args.out.with_suffix(".json").write_text(json.dumps(report, indent=1) + "\n")
    print(json.dumps(report))


def counts(examples: Examples) -> dict[str, dict[str, int]]:
    """Of each class in each domain."""
    table = {}
    for name, domain in (("real", REAL), ("cast", CAST), ("simulated", SIMULATED)):
        own = np.bincount(examples.classes[examples.domain == domain], minlength=len(CLASSES))
        table[name] = dict(zip(CLASSES, own.tolist(), strict=True))
    return table


def held_out(examples: Examples, config: FitConfig, seed: int, ablation: bool) -> dict[str, dict[str, float]]:
    """Average precision and the like on the real columns of sources that were left out, with and without each kind of evidence."""
    out = np.isin(examples.source, HELD_OUT_SOURCES)
    judged, learned = examples.take(out & (examples.domain == REAL)), examples.take(~out)
    if not np.isin(judged.classes, (PERSON, RIDER)).any():
        return {}
    rows = {"hand-set score": score(by_rules(judged.evidence)[0], judged)}
    for title, names in kinds().items() if ablation else (("all evidence", EVIDENCE),):
        rows[title] = score(body(fit(learned, config, seed, names), judged.evidence), judged)
    if ablation:
        for title, domain in (("without simulated sweeps", SIMULATED), ("without things cast in", CAST)):
            rows[title] = score(body(fit(learned.take(learned.domain != domain), config, seed), judged.evidence), judged)
    return rows


def kinds() -> dict[str, tuple[str, ...]]:
    """What to leave out in turn."""
    slices = tuple(name for name in SHAPE if name.rsplit("_", 1)[0] in SLICE_PARTS)
    context = tuple(name for name in SHAPE if name.startswith(("around", "above", "beside", "blob")))
    return {
        "all evidence": EVIDENCE,
        "thirteen deviations alone": FEATURES,
        "without slices": tuple(name for name in EVIDENCE if name not in slices),
        "without surroundings": tuple(name for name in EVIDENCE if name not in context),
        "without deviations": SHAPE,
    }


def body(verifier: Verifier, evidence: FloatArray) -> FloatArray:
    """(M,) that a column is a person, on foot or riding."""
    return verifier.classes(evidence)[:, [PERSON, RIDER]].sum(axis=1)


def score(scores: FloatArray, examples: Examples, wanted: tuple[int, ...] = (PERSON, RIDER)) -> dict[str, float]:
    """Average precision; recall, and false ones a sweep, of what is taken for something wanted at 0.5."""
    truth = np.isin(examples.classes, wanted)
    order = np.argsort(-scores, kind="stable")
    hits = truth[order]
    precision = np.cumsum(hits) / np.arange(1, len(hits) + 1)
    shown = scores >= 0.5
    return {
        "average_precision": round(float(precision[hits].mean()), 3),
        "recall": round(float(shown[truth].mean()), 3),
        "false_in_a_sweep": round(float((shown & ~truth).sum() / len(np.unique(examples.sweep))), 2),
    }
