"""Trains the gripper's world model from scratch: predict latents, one step and many; do not collapse; keep what the actions do.

Axes: B batch, T frame, P token, D latent width, A action.
"""

from __future__ import annotations

import math
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from tqdm import tqdm

from experiments.common import linear_r2
from experiments.grip.model import GRID, GripModel, GripModelConfig, save, scaled_action
from jepa_ros.config import param, validate
from jepa_ros.sim.arm.episodes import Episodes
from jepa_ros.training import checkpoint as checkpoints
from jepa_ros.training.losses import prediction_loss
from jepa_ros.training.metrics import spread
from jepa_ros.training.world_model.pretraining_loss import ObjectiveConfig, anti_collapse_loss


@dataclass(frozen=True)
class GripTrainConfig:
    """A training run."""

    steps: int = param(1300, "optimiser steps", at_least=1)
    batch: int = param(32, "windows per step", at_least=2)
    frames: int = param(6, "frames per window", at_least=3)
    learning_rate: float = param(1e-3, "peak learning rate", at_least=0.0)
    weight_decay: float = param(0.02, "AdamW weight decay", at_least=0.0)
    warmup: int = param(100, "steps to the peak learning rate", at_least=1)
    inverse_weight: float = param(1.0, "weight of the inverse dynamics, which keep the arm in the latents", at_least=0.0)
    seed: int = param(0, "of everything random", at_least=0)
    checkpoint_every: int = param(200, "steps between checkpoints and validations", at_least=1)
    model: GripModelConfig = field(default_factory=GripModelConfig)
    objective: ObjectiveConfig = field(default_factory=ObjectiveConfig)

    def __post_init__(self) -> None:
        validate(self)


def train(episodes: Episodes, validation: Episodes, out: Path, config: GripTrainConfig) -> GripModel:
    """Train, going on from `out`/checkpoint.pt where there is one; leaves `out`/grip.safetensors."""
    out.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(config.seed)
    model = GripModel(config.model)
    optimizer = torch.optim.AdamW(model.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay, betas=(0.9, 0.98))
    begin = 0
    if (out / "checkpoint.pt").is_file():
        state = checkpoints.read(out / "checkpoint.pt")
        if state.config != asdict(config):
            raise ValueError(f"{out}/checkpoint.pt is of another configuration; name another folder, or delete it")
        model.load_state_dict(state.model)
        optimizer.load_state_dict(state.optimizer)
        begin = state.step
    bar = tqdm(range(begin, config.steps), total=config.steps, initial=begin, desc="train", unit="step", mininterval=5)
    started_s = time.process_time()
    for step in bar:
        scalars = _train_step(model, optimizer, episodes, step, config)
        bar.set_postfix({name: f"{value:.3f}" for name, value in scalars.items()}, refresh=False)
        if (step + 1) % config.checkpoint_every == 0 or step + 1 == config.steps:
            checkpoints.write(
                out / "checkpoint.pt", checkpoints.Checkpoint(step + 1, model.state_dict(), optimizer.state_dict(), asdict(config))
            )
            save(model, out / "grip.safetensors")
            seconds = time.process_time() - started_s
            tqdm.write(f"step {step + 1}, {seconds:.0f} s: {_told({**scalars, **validate_model(model, validation)})}")
    return model.eval().requires_grad_(False)


def _train_step(
    model: GripModel, optimizer: torch.optim.Optimizer, episodes: Episodes, step: int, config: GripTrainConfig
) -> dict[str, float]:
    rate = min(1.0, (step + 1) / config.warmup) * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * step / config.steps)))
    for group in optimizer.param_groups:
        group["lr"] = config.learning_rate * rate
    rng = np.random.default_rng((config.seed, step))
    images, actions = draw_windows(episodes, rng, config.batch, config.frames)
    # On a CPU the plain attention is faster than the fused one at this size.
    with torch.autocast("cpu", dtype=torch.bfloat16), sdpa_kernel(SDPBackend.MATH):
        latents = model.encode(images.flatten(0, 1)).unflatten(0, images.shape[:2])
        taught = model.teach(latents, actions)
        context = int(rng.integers(1, 3))
        rolled = model.roll(latents[:, :context], actions)
        inferred = model.infer_action(latents[:, :-1].flatten(0, 1), latents[:, 1:].flatten(0, 1))
    target = latents.detach()
    prediction = latent_error(taught, target[:, 1:]) + latent_error(rolled, target[:, context:])
    # Each place by its own mean: else a code of the place alone, perfectly predictable, would count as variance.
    tokens = (latents - latents.mean(dim=(0, 1))).flatten(0, 2)
    anti_collapse = anti_collapse_loss(tokens, config.objective, torch.Generator().manual_seed(step))
    inverse = F.mse_loss(inferred.float(), scaled_action(actions).flatten(0, 1))
    loss = prediction + config.objective.regulariser_weight * anti_collapse + config.inverse_weight * inverse
    if not torch.isfinite(loss):
        raise ValueError(f"the loss is {loss.item()} at step {step}; lower learning_rate (now {config.learning_rate})")
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    return {"prediction": prediction.item(), "anti_collapse": anti_collapse.item(), "inverse": inverse.item()}


def draw_windows(episodes: Episodes, rng: np.random.Generator, batch: int, frames: int) -> tuple[Tensor, Tensor]:
    """(B, T, Y, X, 3) uint8 images and (B, T - 1, A) actions, at random."""
    which = rng.integers(len(episodes), size=batch)[:, None]
    first = rng.integers(episodes.images.shape[1] - frames + 1, size=batch)[:, None]
    return (
        torch.from_numpy(episodes.images[which, first + np.arange(frames)]),
        torch.from_numpy(episodes.actions[which, first + np.arange(frames - 1)]),
    )


def latent_error(predicted_BTPD: Tensor, target_BTPD: Tensor) -> Tensor:
    """Mean squared error of latents."""
    predicted, target = (z.unflatten(2, (GRID, GRID)).permute(0, 1, 4, 2, 3) for z in (predicted_BTPD, target_BTPD))
    return prediction_loss(predicted, target, torch.ones_like(target[:, :, 0]))


@torch.no_grad()
def validate_model(model: GripModel, validation: Episodes) -> dict[str, float]:
    """How far the latents predict, and whether hand and box can be read off them (linear, R2 on the second half of the episodes)."""
    latents = encode_all(model, validation.images)
    actions = torch.from_numpy(validation.actions)
    rolled = model.roll(latents[:, 2:4], actions[:, 2:8])
    target = latents[:, 4:9]
    error = {step: latent_error(rolled[:, step - 1 : step], target[:, step - 1 : step]) for step in (1, 4)}
    unchanged = {step: latent_error(latents[:, 3:4], target[:, step - 1 : step]) for step in (1, 4)}
    flat = latents.flatten(2)
    half = len(validation) // 2
    truth = torch.from_numpy(np.concatenate([validation.hand_m, validation.box_m], axis=2)) * 100
    r2 = linear_r2(flat[:half].flatten(0, 1), truth[:half].flatten(0, 1), flat[half:].flatten(0, 1), truth[half:].flatten(0, 1))
    return {
        "rank": spread(flat[:, ::4].flatten(0, 1)).effective_rank,
        "step1_over_persistence": float(error[1] / unchanged[1]),
        "step4_over_persistence": float(error[4] / unchanged[4]),
        "hand_r2": float(r2[:3].mean()),
        "box_xy_r2": float(r2[3:5].mean()),
        "box_z_r2": float(r2[5]),
    }


@torch.no_grad()
def encode_all(model: GripModel, images_ETYX3: np.ndarray) -> Tensor:
    """(E, T, P, D) in small batches."""
    return torch.stack([model.encode(torch.from_numpy(images)) for images in images_ETYX3])


def _told(scalars: dict[str, float]) -> str:
    return ", ".join(f"{name} {value:.3f}" for name, value in scalars.items())
