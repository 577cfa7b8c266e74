"""Checkpoints in the published files' format, at tiny sizes, with weights and inputs given by a formula instead of a random generator.

A formula gives the same numbers on every machine and for every implementation, so that golden outputs can be compared for good.
"""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from jepa_ros.backends import random_checkpoint as published

WIDTH, DEPTH, HEADS, PATCH, IMAGE = 96, 2, 4, 16, 64
AC_WIDTH, AC_DEPTH = 128, 3
IJEPA_PATCH, IJEPA_IMAGE = 14, 56
SIZES = published.TinySizes(width=WIDTH, depth=DEPTH, image=IMAGE, patch=PATCH, ac_width=AC_WIDTH, ac_depth=AC_DEPTH)


def wave(shape: tuple[int, ...], phase: float, scale: float = 1.0) -> Tensor:
    """Deterministic values, roughly uniform on the sine's range, without a pattern that a matrix product would cancel."""
    index = torch.arange(math.prod(shape), dtype=torch.float64)
    return (scale * torch.sin(12.9898 * index + 78.233 * torch.sin(0.7 * index + phase))).reshape(shape).float()


def filled(shapes: dict[str, tuple[int, ...]]) -> dict[str, Tensor]:
    """Weights by formula; norms stay near one."""
    weights = {}
    for number, (key, shape) in enumerate(sorted(shapes.items())):
        value = wave(shape, float(number), 0.08)
        weights[key] = value + 1.0 if "norm" in key and key.endswith("weight") else value
    return weights


def ac_predictor() -> dict[str, Tensor]:
    return filled(published.ac_predictor(SIZES))


def save_vjepa2(path: Path, encoder_part: str = "target_encoder") -> Path:
    return published.save_vjepa2(path, SIZES, filled, encoder_part)


def save_vjepa2_ac(path: Path) -> Path:
    return published.save_vjepa2_ac(path, SIZES, filled)


def save_ijepa(path: Path) -> Path:
    return published.save_ijepa(path, replace(SIZES, image=IJEPA_IMAGE, patch=IJEPA_PATCH), filled)
