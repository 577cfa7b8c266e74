"""Classifies proposed boxes as vehicles or not: the networks of `objects.verifier` on the evidence of boxes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from jepa_ros.objects.vehicles.evidence import BOX_EVIDENCE
from jepa_ros.objects.verifier import CLASSES, Verifier
from jepa_ros.types import FloatArray
from jepa_ros.weights import find_weights

SHIPPED = "vehicle_verifier.safetensors"
FORMAT = "vehicle_verifier 1"
VEHICLE = CLASSES.index("vehicle")


def load_box_verifier(name: str) -> Callable[[FloatArray], FloatArray]:
    """From (G, F) evidence to (G,) that it is a vehicle. `name`: empty = the shipped weights, or a file.

    Raises ValueError where that does not fit this evidence.
    """
    verifier = Verifier.load(Path(name) if name else find_weights(SHIPPED), FORMAT)
    if verifier.names != BOX_EVIDENCE:
        fix = "train it anew: python -m jepa_ros.training vehicles"
        raise ValueError(f"{name or SHIPPED} reads other evidence than this version measures; {fix}")

    def learned(evidence: FloatArray) -> FloatArray:
        return verifier.classes(evidence)[:, VEHICLE].astype(np.float64)

    return learned
