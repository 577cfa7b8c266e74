"""A small network that classifies each column as clutter, person, rider or part of a vehicle.

It learned from real sweeps (`jepa_ros/training/objects`). In numpy, as a hundred columns are too few to pay for more.
Axes: M columns, F evidence, C classes, E networks whose answers are averaged.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

from jepa_ros.objects.columns import EVIDENCE, FEATURES
from jepa_ros.types import FloatArray
from jepa_ros.weights import find_weights, read_weights

SHIPPED = "person_verifier.safetensors"
CLASSES = ("clutter", "person", "rider", "vehicle")
FORMAT = "person_verifier 1"
# The score before there was a verifier, and the baseline beside it: log-odds lost per unit of each deviation in `columns.FEATURES`, and
# the log-odds of a column that deviates in nothing. Logistic regression on eight simulated bags (16 to 64 rings, 9,300 columns, of
# which 3,200 are people); "short", "thin", "square", "leaning" and "sparse" stand at or above a floor set by hand.
BIAS = 3.8
WEIGHTS = {
    "short": 1.0,
    "tall": 4.0,
    "wide": 3.3,
    "deep": 3.3,
    "thin": 1.4,
    "flat": 1.2,
    "square": 0.7,
    "floating": 0.7,
    "continues": 2.6,
    "attached": 0.5,
    "leaning": 3.1,
    "sparse": 0.7,
    "gaps": 0.5,
}


@dataclass(frozen=True)
class Verifier:
    """Layers of each network: (in, out) weights and (out,) biases; the first reads standardised evidence."""

    names: tuple[str, ...]  # of the evidence that it reads, in order
    mean: FloatArray  # (F,)
    scale: FloatArray  # (F,)
    layers: tuple[tuple[FloatArray, FloatArray], ...]  # (E, in, out), (E, 1, out)
    format: str = FORMAT  # what it is a verifier of

    @classmethod
    def load(cls, path: Path, kind: str = FORMAT) -> Verifier:
        """Raises ValueError where the file is no verifier of that kind."""
        metadata, read = read_weights(path, kind, "train one: python -m jepa_ros.training objects, or vehicles")
        tensors = {name: tensor.numpy().astype(np.float32) for name, tensor in read.items()}
        depth = len([name for name in tensors if name.startswith("weight_")])
        layers = tuple((tensors[f"weight_{i}"], tensors[f"bias_{i}"]) for i in range(depth))
        return cls(tuple(json.loads(metadata["evidence"])), tensors["mean"], tensors["scale"], layers, kind)

    def save(self, path: Path, facts: dict[str, str]) -> None:
        """Written whole or not at all; `facts` go into the metadata."""
        tensors = {"mean": self.mean, "scale": self.scale}
        for i, (weight, bias) in enumerate(self.layers):
            tensors |= {f"weight_{i}": weight, f"bias_{i}": bias}
        partial = path.with_suffix(".partial")
        tensors = {name: np.ascontiguousarray(tensor, np.float32) for name, tensor in tensors.items()}
        save_file(tensors, str(partial), {**facts, "format": self.format, "evidence": json.dumps(self.names)})
        partial.chmod(0o644)
        partial.replace(path)

    def classes(self, evidence: FloatArray) -> FloatArray:
        """(M, C) probabilities of columns with (M, F) evidence."""
        values = np.clip((evidence.astype(np.float32) - self.mean) / self.scale, -5.0, 5.0)[None]
        for i, (weight, bias) in enumerate(self.layers):
            values = values @ weight + bias
            if i < len(self.layers) - 1:
                values = np.maximum(values, 0.0)
        values = values - values.max(axis=-1, keepdims=True)
        odds = np.exp(values)
        return (odds / odds.sum(axis=-1, keepdims=True)).mean(axis=0)


def load_verifier(name: str) -> Callable[[FloatArray], tuple[FloatArray, FloatArray]]:
    """From (M, F) evidence to (M,) that it is a person, on foot or riding, and (M,) that such a one rides.

    `name`: empty = the shipped weights, "rules" = the hand-set score, or a file. Raises ValueError where that does not fit this evidence.
    """
    if name == "rules":
        return by_rules
    verifier = Verifier.load(Path(name) if name else find_weights(SHIPPED))
    if verifier.names != EVIDENCE:
        fix = "train it anew: python -m jepa_ros.training objects"
        raise ValueError(f"{name or SHIPPED} reads other evidence than this version measures; {fix}")

    def learned(evidence: FloatArray) -> tuple[FloatArray, FloatArray]:
        classes = verifier.classes(evidence).astype(np.float64)
        body = classes[:, 1] + classes[:, 2]
        return body, classes[:, 2] / np.maximum(body, 1e-6)

    return learned


def by_rules(evidence: FloatArray) -> tuple[FloatArray, FloatArray]:
    """The hand-set score; it does not recognise riders."""
    logit = BIAS - evidence[:, : len(FEATURES)] @ np.array([WEIGHTS[name] for name in FEATURES])
    return 1.0 / (1.0 + np.exp(-logit)), np.full(len(evidence), 0.5)
