"""Checkpoints: everything that the next step of a training depends on."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch


@dataclass(frozen=True)
class Checkpoint:
    """State after `step` optimiser steps. Random draws depend on the seed and the step alone, so no generator is stored."""

    step: int
    model: dict[str, Any]
    optimizer: dict[str, Any]
    config: dict[str, Any]
    teacher: dict[str, Any] | None = None  # the moving average of the encoder, where there is one


def write(path: Path, checkpoint: Checkpoint) -> None:
    """Write whole or not at all: a kill in the middle leaves the previous checkpoint."""
    partial = path.with_suffix(".partial")
    torch.save(vars(checkpoint), partial)
    os.replace(partial, path)


def read(path: Path) -> Checkpoint:
    """Raises ValueError where the file is no checkpoint."""
    try:
        return Checkpoint(**torch.load(path, map_location="cpu", weights_only=True))
    except (RuntimeError, TypeError, EOFError) as error:
        raise ValueError(f"{path} is not a checkpoint of this program ({error}); delete it to start anew") from error
