"""The training: stored windows in, the weights that are best on the held-out part out. What a step does depends on the seed and its number
alone, so that a run that was interrupted goes on as if it had not been."""

from __future__ import annotations

import copy
import dataclasses
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from jepa_ros.backends.scene_jepa.model import SceneJepa
from jepa_ros.training import checkpoint as checkpoints
from jepa_ros.training.adapt.config import AdaptConfig, learned_parameters
from jepa_ros.training.adapt.judge import judge
from jepa_ros.training.world_model.distill import loss_of
from jepa_ros.training.world_model.distillation_data import Stored
from jepa_ros.training.world_model.loop import warmed_cosine

State = dict[str, Tensor]
FORGET = ("average_precision", "iou")


@dataclass
class Course:
    """How a training went so far."""

    step: int  # optimiser steps done
    looks: list[tuple[int, float]]  # (step, nats of the held-out part), that of the weights begun with first
    best: State

    @property
    def best_step(self) -> int:
        return min(self.looks, key=lambda look: look[1])[0]

    def is_over(self, config: AdaptConfig) -> bool:
        """All steps are done, or the last looks were all no better than an earlier one."""
        since = [step for step, _ in self.looks].index(self.best_step)
        return self.step >= config.steps or len(self.looks) - 1 - since >= config.patience


def learn(model: SceneJepa, stored: Path, held: list[Path], checkpoint: Path, config: AdaptConfig) -> Course:
    """Changes the model; goes on from `checkpoint` where that exists. stored: folder of examples to learn from; held: files of those to
    judge on. Raises ValueError where the checkpoint is of another configuration or the loss is not a number."""
    learned = learned_parameters(model, config.learns)
    for parameter in learned:
        parameter.requires_grad_(True)
    optimizer = torch.optim.AdamW(learned, config.learning_rate, weight_decay=config.weight_decay, betas=(0.9, 0.98))
    course = _resume(model, optimizer, checkpoint, config) or Course(0, [(0, judge(model, held).mean_nats)], _state(model))
    batches = Stored(stored, config.seed)
    bar = tqdm(initial=course.step, total=config.steps, desc="adapt", unit="step", mininterval=1)
    bar.set_postfix(held_out=f"{course.looks[-1][1]:.4f}", best=f"{min(nats for _, nats in course.looks):.4f}")
    while not course.is_over(config):
        for group in optimizer.param_groups:
            group["lr"] = config.learning_rate * warmed_cosine(course.step, config.steps, config.warmup)
        with model.fast():
            loss, _ = loss_of(model, batches[course.step], config.objective)
        if not torch.isfinite(loss):
            raise ValueError(f"the loss is {loss.item()} at step {course.step}; choose a lower learning_rate (now {config.learning_rate})")
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(learned, 1.0)
        optimizer.step()
        course.step += 1
        bar.update()
        if course.step % config.judge_every == 0 or course.step == config.steps:
            _look(model, optimizer, held, course, checkpoint, config)
            bar.set_postfix(held_out=f"{course.looks[-1][1]:.4f}", best=f"{min(nats for _, nats in course.looks):.4f}")
    bar.close()
    model.requires_grad_(False)
    return course


def _look(
    model: SceneJepa, optimizer: torch.optim.Optimizer, held: list[Path], course: Course, checkpoint: Path, config: AdaptConfig
) -> None:
    """Judge on the held-out part, keep the weights if they are the best so far, and write it all down."""
    nats = judge(model, held).mean_nats
    if nats < min(earlier for _, earlier in course.looks):
        course.best = _state(model)
    course.looks.append((course.step, nats if math.isfinite(nats) else math.inf))
    about: dict[str, Any] = {"adapt": dataclasses.asdict(config), "looks": course.looks}
    checkpoints.write(
        checkpoint, checkpoints.Checkpoint(course.step, model.state_dict(), optimizer.state_dict(), about, teacher=course.best)
    )


def _resume(model: SceneJepa, optimizer: torch.optim.Optimizer, checkpoint: Path, config: AdaptConfig) -> Course | None:
    if not checkpoint.is_file():
        return None
    state = checkpoints.read(checkpoint)
    if state.config["adapt"] != dataclasses.asdict(config):
        raise ValueError(f"{checkpoint} was made with other options; repeat those, or choose another --out")
    assert state.teacher is not None
    model.load_state_dict(state.model)
    optimizer.load_state_dict(state.optimizer)
    return Course(state.step, [(step, nats) for step, nats in state.config["looks"]], state.teacher)


def _state(model: SceneJepa) -> State:
    return copy.deepcopy(model.state_dict())


def mixed(parent: State, learned: State, share: float) -> State:
    """Weights on the line from the parent's (share 0) to those learned (1): Wortsman et al., "Robust fine-tuning of zero-shot models"
    (2022). Between two ends in one valley they are often better than either on new data, and nearer to the parent elsewhere."""
    return {name: torch.lerp(tensor, learned[name], share) if tensor.is_floating_point() else tensor for name, tensor in parent.items()}


@dataclass(frozen=True)
class WeightMixture:
    """One share of what was learned: figures on the held-out part, and what it costs elsewhere."""

    nats: float
    forgotten: float  # the larger fall of average precision and IoU in other worlds; 0 where there are none


def best_mixture(
    model: SceneJepa, parent: State, course: Course, held: list[Path], others: list[Path], config: AdaptConfig
) -> tuple[float, dict[float, WeightMixture]]:
    """Leaves the model with the share of what was learned that is best on the held-out part, of those that forget little elsewhere.
    Returns it, and all that were tried, that of the parent first."""
    model.load_state_dict(parent)
    before = judge(model, others).summary() if others else {}
    tried = {0.0: WeightMixture(course.looks[0][1], 0.0)}
    for share in config.shares if course.best_step else ():
        model.load_state_dict(mixed(parent, course.best, share))
        after = judge(model, others).summary() if others else {}
        tried[share] = WeightMixture(judge(model, held).mean_nats, max((before[n] - after[n] for n in FORGET if before), default=0.0))
    allowed = {share: mixture.nats for share, mixture in tried.items() if mixture.forgotten <= config.forgotten}
    chosen = min(allowed, key=lambda share: allowed[share])
    model.load_state_dict(mixed(parent, course.best, chosen))
    return chosen, tried
