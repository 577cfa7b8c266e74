"""What the trainings of a forecaster and of its scene adapter share: the loop with its checkpoints, the learning rate, the average."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import nn
from tqdm import tqdm

CHECKPOINT_EVERY = 250
REMEMBERED = 0.98  # of the shown losses from one step to the next


class Trainer(Protocol):
    """What `train` drives."""

    step: int
    running: dict[str, float]  # smoothed parts of the loss

    def train_step(self) -> dict[str, float]: ...
    def state(self) -> dict[str, object]: ...


def train(trainer: Trainer, steps: int, checkpoint: Path | None, title: str) -> None:
    """Train to the last step; the checkpoint is written now and then, by rename, so that it is never half a file."""
    bar = tqdm(total=steps, initial=trainer.step, desc=title, mininterval=5.0)
    while trainer.step < steps:
        parts = trainer.train_step()
        shown = {name: REMEMBERED * trainer.running.get(name, value) + (1 - REMEMBERED) * value for name, value in parts.items()}
        trainer.running = shown
        bar.update()
        if trainer.step % CHECKPOINT_EVERY == 0 or trainer.step == steps:
            bar.set_postfix({name: f"{value:.4f}" for name, value in shown.items()})
            if checkpoint is not None:
                partial = checkpoint.with_suffix(".part")
                torch.save(trainer.state(), partial)
                partial.replace(checkpoint)
    bar.close()


def set_learning_rate(optimizer: torch.optim.Optimizer, peak: float, step: int, steps: int) -> None:
    """Linear over the first twentieth of the steps, then down a cosine to a hundredth."""
    warm, progress = min(1.0, (step + 1) / max(1, steps // 20)), step / steps
    for group in optimizer.param_groups:
        group["lr"] = peak * warm * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * progress)))


@torch.no_grad()
def follow(averaged: nn.Module, trained: nn.Module, step: int, average: float) -> None:
    """Move the running average of the weights towards those after `step` steps; early on it forgets faster."""
    keep = min(average, (1 + step) / (10 + step))
    torch._foreach_lerp_(list(averaged.parameters()), list(trained.parameters()), 1 - keep)


def check_options(state: dict[str, Any], config: dict[str, Any]) -> None:
    """Raises ValueError where a checkpoint was made with another configuration."""
    if state["config"] != config:
        raise ValueError("the checkpoint was made with other options; repeat those, or choose another --out")
