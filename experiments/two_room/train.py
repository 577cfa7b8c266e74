"""Trains the two-room JEPA: first latents and their prediction, then, on latents that no longer change, how far apart they are in time.

Axes: B batch, T frame, K token, D latent width, A action.
"""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from experiments.common import linear_r2
from experiments.two_room.data import Frames
from experiments.two_room.model import TwoRoomModel, TwoRoomModelConfig
from jepa_ros.config import param, validate
from jepa_ros.training import short_loop as loop
from jepa_ros.training.metrics import spread
from jepa_ros.training.world_model.pretraining_loss import ObjectiveConfig, anti_collapse_loss

AHEAD = (1, 5, 20)  # steps that `health` looks ahead


@dataclass(frozen=True)
class TwoRoomTraining:
    """Both stages."""

    steps: int = param(2000, "optimiser steps of the latents", at_least=1)
    batch: int = param(32, "windows per step", at_least=2)
    frames: int = param(8, "frames per window: the first is encoded, the others predicted", at_least=3)
    learning_rate: float = param(1e-3, "peak learning rate", at_least=0.0)
    weight_decay: float = param(1e-4, "AdamW weight decay", at_least=0.0)
    inverse_weight: float = param(1.0, "weight of the inverse dynamics", at_least=0.0)
    similarity_weight: float = param(1.0, "weight of the distance between neighbours in time", at_least=0.0)
    distance_steps: int = param(4000, "optimiser steps of the distance head", at_least=1)
    distance_batch: int = param(1024, "pairs per step", at_least=2)
    farthest: int = param(200, "steps between the two of a pair at most", at_least=1)
    quantile: float = param(
        0.2, "of the steps that episodes took between two latents: lower = the quicker ones count", at_least=0.01, at_most=0.99
    )
    seed: int = param(0, "of everything random", at_least=0)
    model: TwoRoomModelConfig = field(default_factory=TwoRoomModelConfig)
    objective: ObjectiveConfig = field(default_factory=ObjectiveConfig)

    def __post_init__(self) -> None:
        validate(self)


def train(frames: Frames, out: Path, config: TwoRoomTraining) -> tuple[TwoRoomModel, float]:
    """The model, and the processor time in seconds that it took; each stage goes on from its checkpoint in `out` where there is one.

    Raises ValueError where a checkpoint is of another configuration.
    """
    out.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(config.seed)
    model = TwoRoomModel(config.model)
    latents_s = LatentTrainer(model, frames, config).finish(out / "latents.pt", "latents")
    model.requires_grad_(False)
    model.distance_head.requires_grad_(True)
    distance_s = DistanceTrainer(model, frames, config).finish(out / "distance.pt", "distance")
    return model.eval().requires_grad_(False), latents_s + distance_s


class StageTrainer:
    """What both stages share. A step depends on the seed and its number alone, so a resumed run repeats an unbroken one."""

    def __init__(self, model: TwoRoomModel, config: TwoRoomTraining, steps: int) -> None:
        self.step = 0
        self.running: dict[str, float] = {}
        self.model, self.config = model, config
        self._steps = steps
        trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
        self._optimizer = torch.optim.AdamW(trained, config.learning_rate, weight_decay=config.weight_decay)
        self._spent_s = -time.process_time()  # with the clock added: what this stage took, all its runs together

    def finish(self, checkpoint: Path, title: str) -> float:
        """Train to the last step; returns the processor time spent, earlier runs' included."""
        if checkpoint.is_file():
            self.resume(torch.load(checkpoint, weights_only=True))
        if self.step < self._steps:
            loop.train(self, self._steps, checkpoint, title)
        return self._spent_s + time.process_time()

    def losses(self, rng: np.random.Generator) -> tuple[Tensor, dict[str, float]]:
        raise NotImplementedError

    def train_step(self) -> dict[str, float]:
        loop.set_learning_rate(self._optimizer, self.config.learning_rate, self.step, self._steps)
        loss, parts = self.losses(np.random.default_rng((self.config.seed, self.step)))
        if not torch.isfinite(loss):
            raise ValueError(f"the loss is {loss.item()} at step {self.step}; lower learning_rate (now {self.config.learning_rate})")
        self._optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self._optimizer.step()
        self.step += 1
        return parts

    def state(self) -> dict[str, object]:
        return {
            "step": self.step,
            "running": self.running,
            "spent_s": self._spent_s + time.process_time(),
            "model": self.model.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "config": asdict(self.config),
        }

    def resume(self, state: dict[str, Any]) -> None:
        """Raises ValueError where the checkpoint is of another configuration."""
        loop.check_options(state, asdict(self.config))
        self.step, self.running = state["step"], state["running"]
        self._spent_s = state["spent_s"] - time.process_time()
        self.model.load_state_dict(state["model"])
        self._optimizer.load_state_dict(state["optimizer"])


class LatentTrainer(StageTrainer):
    """Predict latents many steps ahead; do not collapse; keep what actions do; neighbours in time are neighbours."""

    def __init__(self, model: TwoRoomModel, frames: Frames, config: TwoRoomTraining) -> None:
        super().__init__(model, config, config.steps)
        self._frames = frames

    def losses(self, rng: np.random.Generator) -> tuple[Tensor, dict[str, float]]:
        images, actions_BTA = self._frames.windows(rng, self.config.batch, self.config.frames)
        latents_BTD = self.model.encode(images.flatten(0, 1)).unflatten(0, images.shape[:2])
        return latent_losses(self.model, latents_BTD, actions_BTA, self.config, self.step)


def latent_losses(
    model: TwoRoomModel, latents_BTD: Tensor, actions_BTA: Tensor, config: TwoRoomTraining, step: int
) -> tuple[Tensor, dict[str, float]]:
    """The whole loss of the first stage, and its parts."""
    target_BTD = latents_BTD[:, 1:]
    prediction = F.mse_loss(model.roll(latents_BTD[:, 0], actions_BTA), target_BTD.detach())
    anti_collapse = anti_collapse_loss(latents_BTD.flatten(0, 1), config.objective, torch.Generator().manual_seed(step))
    inverse = F.mse_loss(model.infer_action(latents_BTD[:, :-1], target_BTD), actions_BTA)
    similarity = F.mse_loss(latents_BTD[:, :-1], target_BTD)
    loss = (
        prediction
        + config.objective.regulariser_weight * anti_collapse
        + config.inverse_weight * inverse
        + config.similarity_weight * similarity
    )
    parts = {"prediction": prediction, "anti_collapse": anti_collapse, "inverse": inverse, "similarity": similarity}
    return loss, {name: float(part.detach()) for name, part in parts.items()}


class DistanceTrainer(StageTrainer):
    """How many steps lie between two latents of an episode, at a low quantile: what an expert who is not thrown about would need.

    Half of the pairs begin at a latent that was predicted: planning asks about those.
    """

    def __init__(self, model: TwoRoomModel, frames: Frames, config: TwoRoomTraining) -> None:
        super().__init__(model, config, config.distance_steps)
        self._latents = encode_all(model, frames)
        self._actions = torch.from_numpy(frames.actions)
        self._last = frames.last

    def losses(self, rng: np.random.Generator) -> tuple[Tensor, dict[str, float]]:
        config, model = self.config, self.model
        rolled = config.frames - 1
        start = rng.integers(len(self._last), size=config.distance_batch)
        here = np.minimum(start + rolled, self._last[start])
        goal = np.minimum(here + rng.integers(config.farthest + 1, size=len(here)), self._last[start])
        steps = torch.from_numpy(goal - here).float()
        latents = self._latents[here].clone()
        predicted = np.flatnonzero(here[: len(here) // 2] - start[: len(here) // 2] == rolled)
        latents[predicted] = model.roll(self._latents[start[predicted]], self._actions[start[predicted, None] + np.arange(rolled)])[:, -1]
        error = torch.log1p(steps) - model.log_steps(latents, self._latents[goal])
        loss = torch.maximum(config.quantile * error, (config.quantile - 1) * error).mean()
        return loss, {"distance": float(loss.detach())}


@torch.no_grad()
def encode_all(model: TwoRoomModel, frames: Frames, chunk: int = 512) -> Tensor:
    """(all F, D)."""
    parts = [part[k : k + chunk] for part in frames.images for k in range(0, len(part), chunk)]
    return torch.cat([model.encode(torch.from_numpy(np.array(part))) for part in parts])


@torch.no_grad()
def health(model: TwoRoomModel, frames: Frames) -> dict[str, float]:
    """On episodes that were not learned from: whether latents collapsed, hold where the dot is, and are predicted.

    `position_r2`: of a linear probe, trained on the first half of the frames. `over_persistence_k`: error of k predicted steps over that of
    the unchanged latent.
    """
    latents = encode_all(model, frames)
    positions = torch.from_numpy(frames.positions_px)
    half = len(latents) // 2
    told = {
        "effective_rank": spread(latents).effective_rank,
        "position_r2": float(linear_r2(latents[:half], positions[:half], latents[half:], positions[half:]).mean()),
    }
    starts = np.flatnonzero(np.arange(len(latents)) + max(AHEAD) <= frames.last)
    actions = torch.from_numpy(frames.actions[starts[:, None] + np.arange(max(AHEAD))])
    rolled = model.roll(latents[starts], actions)
    for steps in AHEAD:
        target = latents[starts + steps]
        told[f"over_persistence_{steps}"] = float(F.mse_loss(rolled[:, steps - 1], target) / F.mse_loss(latents[starts], target))
    return told
