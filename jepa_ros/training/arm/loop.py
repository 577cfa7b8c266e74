"""Trains encoder and predictors of an arm's world model: predict latents, one step and many; do not collapse; keep what motions do.

First the encoders, with the first predictor and the inverse dynamics, on short windows; then the inverse dynamics between frames that are
far apart and every member of the ensemble on long windows, on latents that no longer change: what is encoded once is much cheaper to learn
from. Axes: B batch, T frame, P token, D latent width, A action.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from jepa_ros.backends.arm.hold import scaled
from jepa_ros.backends.arm.network import GRID, ArmModel, ArmModelConfig
from jepa_ros.config import param, validate
from jepa_ros.training import short_loop
from jepa_ros.training.arm.episodes import ArmEpisodes
from jepa_ros.training.losses import prediction_loss
from jepa_ros.training.metrics import spread
from jepa_ros.training.world_model.pretraining_loss import ObjectiveConfig, anti_collapse_loss

ENCODE_BATCH = 64
MOST_CONTEXT = 3  # frames that a rollout begins from in training


@dataclass(frozen=True)
class ArmTraining:
    """A training run."""

    steps: int = param(2000, "optimiser steps of the encoders", at_least=1)
    member_steps: int = param(1000, "optimiser steps of each predictor, after the encoders", at_least=1)
    inverse_steps: int = param(2500, "optimiser steps of the inverse dynamics, after the encoders", at_least=1)
    batch: int = param(32, "windows per step of the encoders", at_least=2)
    member_batch: int = param(32, "windows per step of a predictor", at_least=2)
    inverse_batch: int = param(256, "pairs of frames per step of the inverse dynamics", at_least=2)
    latent_frames: int = param(3, "frames per window of the encoders", at_least=3, at_most=12)
    frames: int = param(8, "frames per window of a predictor", at_least=3, at_most=12)
    learning_rate: float = param(1e-3, "peak learning rate", at_least=0.0)
    weight_decay: float = param(0.02, "AdamW weight decay", at_least=0.0)
    inverse_weight: float = param(1.0, "weight of the inverse dynamics, which keep the arm in the latents", at_least=0.0)
    seed: int = param(0, "of everything random", at_least=0)
    model: ArmModelConfig = field(default_factory=ArmModelConfig)
    objective: ObjectiveConfig = field(default_factory=ObjectiveConfig)

    def __post_init__(self) -> None:
        validate(self)


class LatentTrainer(short_loop.Trainer):
    """Encoders, inverse dynamics, and a first predictor, which shapes the latents."""

    def __init__(self, model: ArmModel, episodes: ArmEpisodes, config: ArmTraining) -> None:
        self._parameters = [*model.encoders.parameters(), *model.predictors[0].parameters(), *model.inverse.parameters()]
        optimizer = _adamw(self._parameters, config)
        super().__init__(config, {"model": model}, optimizer, torch.Generator().manual_seed(config.seed))
        self._model, self._episodes = model, episodes

    def train_step(self) -> dict[str, float]:
        config, model = self.config, self._model
        images, actions, fingers = self._episodes.windows(self.generator, config.batch, config.latent_frames)
        with torch.autocast("cpu", dtype=torch.bfloat16), sdpa_kernel(SDPBackend.MATH):
            latents = model.encode(images.flatten(0, 1)).unflatten(0, images.shape[:2])
            prediction = prediction_error(model, latents, latents.detach(), actions, fingers, self.generator, member=0)
            begin, end = _pair(config.latent_frames, self.generator)
            inferred = model.infer_motion(latents[:, begin], latents[:, end])
        # Each place by its own mean: else a code of the place alone, perfectly predictable, would count as variance.
        tokens = (latents - latents.mean(dim=(0, 1))).flatten(0, 2)
        anti_collapse = anti_collapse_loss(tokens, config.objective, self.generator)
        inverse = F.mse_loss(inferred.float(), scaled(actions[:, begin:end].sum(1)))
        loss = prediction + config.objective.regulariser_weight * anti_collapse + config.inverse_weight * inverse
        if not torch.isfinite(loss):
            raise ValueError(f"the loss is {loss.item()} at step {self.step}; lower learning_rate (now {config.learning_rate})")
        self.descend(loss, self._parameters)
        return {"prediction": prediction.item(), "anti_collapse": anti_collapse.item(), "inverse": inverse.item()}


class InverseTrainer(short_loop.Trainer):
    """Inverse dynamics on frozen latents (E, T, P, D): what leads from any frame to any later one. On a robot the goal may be far."""

    def __init__(self, model: ArmModel, episodes: ArmEpisodes, latents_ETPD: Tensor, config: ArmTraining) -> None:
        self._parameters = list(model.inverse.parameters())
        inverse = replace(config, steps=config.inverse_steps, batch=config.inverse_batch)
        super().__init__(inverse, {"inverse": model.inverse}, _adamw(self._parameters, config), torch.Generator().manual_seed(config.seed))
        self._model, self._latents = model, latents_ETPD
        way = scaled(torch.from_numpy(episodes.actions)).cumsum(1)
        self._way_ETA = F.pad(way, (0, 0, 1, 0))  # from the first frame

    def train_step(self) -> dict[str, float]:
        which = torch.randint(len(self._latents), (self.config.batch,), generator=self.generator)
        frames = self._latents.shape[1]
        begin = torch.randint(frames - 1, (self.config.batch,), generator=self.generator)
        ahead = torch.rand(self.config.batch, generator=self.generator) * (frames - 1 - begin)
        end = begin + 1 + ahead.long()
        inferred = self._model.infer_motion(self._latents[which, begin].float(), self._latents[which, end].float())
        loss = F.mse_loss(inferred, self._way_ETA[which, end] - self._way_ETA[which, begin])
        self.descend(loss, self._parameters)
        return {"inverse": loss.item()}


class MemberTrainer(short_loop.Trainer):
    """One predictor, on frozen latents (E, T, P, D) of the stretches that it does not leave out."""

    def __init__(self, model: ArmModel, member: int, episodes: ArmEpisodes, latents_ETPD: Tensor, config: ArmTraining) -> None:
        self._parameters = list(model.predictors[member].parameters())
        super().__init__(
            _as_member(config), {"predictor": model.predictors[member]}, _adamw(self._parameters, config),
            torch.Generator().manual_seed(config.seed * 101 + member),
        )  # fmt: skip
        self._model, self._member, self._episodes, self._latents = model, member, episodes, latents_ETPD
        self._known = torch.from_numpy(np.flatnonzero(left_out(len(episodes), config.model.members) != member))

    def train_step(self) -> dict[str, float]:
        which = self._known[torch.randint(len(self._known), (self.config.batch,), generator=self.generator)]
        frames = self.config.frames
        first = int(torch.randint(self._episodes.frames - frames + 1, (), generator=self.generator))
        latents = self._latents[which, first : first + frames].float()
        actions = torch.from_numpy(self._episodes.actions[which.numpy(), first : first + frames - 1])
        fingers = torch.from_numpy(self._episodes.fingers[which.numpy(), first : first + frames])
        with torch.autocast("cpu", dtype=torch.bfloat16), sdpa_kernel(SDPBackend.MATH):
            loss = prediction_error(self._model, latents, latents, actions, fingers, self.generator, self._member)
        self.descend(loss, self._parameters)
        return {"prediction": loss.item()}


def train(episodes: ArmEpisodes, out: Path, config: ArmTraining) -> ArmModel:
    """The model, its hold head still untrained; every stage goes on from its checkpoint in `out` where there is one.

    Raises ValueError where a checkpoint is of another configuration, or the stretches are shorter than a window.
    """
    if episodes.views != config.model.views:
        raise ValueError(f"model.views = {config.model.views}: the episodes have {episodes.views} cameras")
    if episodes.frames < max(config.frames, config.latent_frames):
        raise ValueError(f"frames = {config.frames}, latent_frames = {config.latent_frames}: the episodes have {episodes.frames}")
    torch.manual_seed(config.seed)
    model = ArmModel(config.model)
    _finish(LatentTrainer(model, episodes, config), out / "latents.pt", "latents")
    latents = encode_all(model, episodes)
    _finish(InverseTrainer(model, episodes, latents, config), out / "inverse.pt", "inverse dynamics")
    for member in range(config.model.members):
        model.renew(member, config.seed * 101 + member)
        _finish(MemberTrainer(model, member, episodes, latents, config), out / f"member{member}.pt", f"member {member}")
    return model.eval().requires_grad_(False)


def left_out(count: int, members: int) -> NDArray[np.int64]:
    """(count,) the member that does not learn from each stretch, in blocks: neighbours may show the same grip.

    A single one learns from all of them: -1. Of several there is always one that imagines a stretch without having seen it, as it will on
    the robot.
    """
    return np.arange(count) * members // max(1, count) if members > 1 else np.full(count, -1)


def prediction_error(
    model: ArmModel, latents: Tensor, target: Tensor, actions: Tensor, fingers: Tensor, generator: torch.Generator, member: int
) -> Tensor:
    """Of one step from true latents, and of many from predicted ones after one to three frames of context."""
    context = int(torch.randint(1, min(MOST_CONTEXT, latents.shape[1] - 1) + 1, (), generator=generator))
    taught = model.teach(latents, actions, fingers, member)
    rolled = model.roll(latents[:, :context], actions, fingers[:, :context], member)
    return latent_error(taught, target[:, 1:]) + latent_error(rolled, target[:, context:])


def latent_error(predicted_BTPD: Tensor, target_BTPD: Tensor) -> Tensor:
    """Mean squared error of latents."""
    predicted, target = (z.unflatten(2, (GRID, GRID)).permute(0, 1, 4, 2, 3) for z in (predicted_BTPD, target_BTPD))
    return prediction_loss(predicted, target, torch.ones_like(target[:, :, 0]))


@torch.no_grad()
def encode_all(model: ArmModel, episodes: ArmEpisodes) -> Tensor:
    """(E, T, P, D) float16."""
    flat = episodes.images.reshape(-1, *episodes.images.shape[2:])
    parts = [model.encode(torch.from_numpy(flat[k : k + ENCODE_BATCH])).half() for k in range(0, len(flat), ENCODE_BATCH)]
    return torch.cat(parts).unflatten(0, episodes.closing.shape)


@torch.no_grad()
def health(model: ArmModel, episodes: ArmEpisodes) -> dict[str, float]:
    """How far latents are predicted (error over that of no change), and whether they use their dimensions, on held-out stretches."""
    latents = encode_all(model, episodes).float()
    actions, fingers = torch.from_numpy(episodes.actions), torch.from_numpy(episodes.fingers)
    rolled = model.roll(latents[:, 1:3], actions[:, 1:], fingers[:, 1:3])
    told = {"rank": spread(latents.flatten(2)[:, ::4].flatten(0, 1)).effective_rank}
    for step in (1, rolled.shape[1]):
        target = latents[:, 2 + step : 3 + step]
        unchanged = latent_error(latents[:, 2:3], target)
        told[f"step{step}_over_persistence"] = float(latent_error(rolled[:, step - 1 : step], target) / unchanged)
    return told


def _finish(trainer: short_loop.Trainer, checkpoint: Path, title: str) -> None:
    short_loop.prepare_out(trainer, checkpoint, resume=checkpoint.is_file())
    short_loop.train(trainer, trainer.config.steps, checkpoint, title)


def _adamw(parameters: list[torch.nn.Parameter], config: ArmTraining) -> torch.optim.AdamW:
    return torch.optim.AdamW(parameters, lr=config.learning_rate, weight_decay=config.weight_decay, betas=(0.9, 0.98))


def _as_member(config: ArmTraining) -> ArmTraining:
    return replace(config, steps=config.member_steps, batch=config.member_batch)


def _pair(frames: int, generator: torch.Generator) -> tuple[int, int]:
    """Two frames, near ones more often: what one action does is the finer lesson."""
    begin = int(torch.randint(frames - 1, (), generator=generator))
    far = int(torch.randint(1, frames - begin, (), generator=generator)) if float(torch.rand((), generator=generator)) < 0.5 else 1
    return begin, begin + far
