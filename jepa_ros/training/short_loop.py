"""What the trainings of a forecaster and of its scene adapter share: the loop with its checkpoints, the learning rate, the average."""

from __future__ import annotations

import dataclasses
import math
from abc import ABC, abstractmethod
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from tqdm import tqdm

CHECKPOINT_EVERY = 250
REMEMBERED = 0.98  # of the shown losses from one step to the next


class Trainable(Protocol):
    """What `train` drives."""

    step: int
    running: dict[str, float]  # smoothed parts of the loss

    def train_step(self) -> dict[str, float]: ...
    def state(self) -> dict[str, object]: ...


class Trainer(ABC):
    """One training whose state is small. Everything random comes from one generator, so that a resumed run equals an uninterrupted one."""

    def __init__(self, config: Any, modules: dict[str, nn.Module], optimizer: torch.optim.Optimizer, generator: torch.Generator) -> None:
        """config: a dataclass with `steps`, `batch` and `learning_rate`. modules: all that a checkpoint keeps, by name."""
        self.config = config
        self.modules = modules
        self.optimizer = optimizer
        self.generator = generator
        self.step = 0
        self.running: dict[str, float] = {}  # smoothed parts of the loss

    @abstractmethod
    def train_step(self) -> dict[str, float]:
        """One optimiser step; returns the parts of the loss."""

    def descend(self, loss: Tensor, parameters: Iterable[nn.Parameter]) -> None:
        """Follow the gradient once; it is clipped to length 1."""
        set_learning_rate(self.optimizer, self.config.learning_rate, self.step, self.config.steps)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        self.optimizer.step()
        self.step += 1

    def state(self) -> dict[str, object]:
        """Everything that a resumed run needs."""
        modules = {name: module.state_dict() for name, module in self.modules.items()}
        return {
            "config": dataclasses.asdict(self.config),
            "step": self.step,
            "running": self.running,
            **modules,
            "optimizer": self.optimizer.state_dict(),
            "generator": self.generator.get_state(),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from `state()`. Raises ValueError where it was made with another configuration."""
        check_options(state, dataclasses.asdict(self.config))
        self.step, self.running = state["step"], state["running"]
        for name, module in self.modules.items():
            module.load_state_dict(state[name])
        self.optimizer.load_state_dict(state["optimizer"])
        self.generator.set_state(state["generator"])


def prepare_out(trainer: Trainer, checkpoint: Path, resume: bool) -> None:
    """Makes the folder of a training; goes on from its checkpoint where that is wanted. Raises ValueError where there is none."""
    checkpoint.parent.mkdir(parents=True, exist_ok=True)
    if resume:
        if not checkpoint.is_file():
            raise ValueError(f"--resume: no checkpoint {checkpoint}; start without --resume, or give the --out of the interrupted run")
        trainer.restore(torch.load(checkpoint, weights_only=True))


def train(trainer: Trainable, steps: int, checkpoint: Path | None, title: str) -> None:
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
