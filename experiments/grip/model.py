"""A small action-conditioned world model: a convolutional encoder of 64 x 64 images and the predictor of V-JEPA 2-AC at a small width.

It sees images and intended actions only: states begin at zero with the first image and are advanced by the actions.
Axes: B batch, T frame, P token (GRID x GRID), D latent width, A action.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from jepa_ros.backends.arm.network import GRID, Encoder
from jepa_ros.backends.checkpoints import load_strictly
from jepa_ros.backends.vjepa2_ac.poses import advance
from jepa_ros.backends.vjepa2_ac.predictor import ActionConditionedPredictor, PredictorConfig
from jepa_ros.backends.vjepa2_ac.rollout import normalised
from jepa_ros.config import param, validate

ACTION_SCALE = 20.0  # 5 cm -> 1: the first guess of the predictor's weights is made for inputs of that size


@dataclass(frozen=True)
class GripModelConfig:
    """Sizes."""

    width: int = param(64, "width D of the latents", at_least=8)
    channels: int = param(32, "channels of the first convolution; doubled twice", at_least=4)
    predictor_width: int = param(144, "width of the predictor", at_least=24)
    predictor_depth: int = param(3, "blocks of the predictor", at_least=1)
    predictor_heads: int = param(3, "attention heads of the predictor", at_least=1)

    def __post_init__(self) -> None:
        validate(self)


class GripModel(nn.Module):
    """Encoder, predictor and the inverse-dynamics head that only training needs."""

    def __init__(self, config: GripModelConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = Encoder(config.channels, config.width)
        sizes = PredictorConfig(
            encoder_width=config.width, width=config.predictor_width, depth=config.predictor_depth, heads=config.predictor_heads,
            grid=GRID, max_steps=8,
        )  # fmt: skip
        self.predictor = ActionConditionedPredictor(sizes)
        with torch.no_grad():
            for layer in (self.predictor.action_encoder, self.predictor.state_encoder):
                layer.weight[:, :3] *= ACTION_SCALE
        self.inverse = nn.Sequential(
            nn.Linear(2 * GRID * GRID * config.width, 256), nn.GELU(), nn.Linear(256, 4)
        )  # (dx, dy, dz, change of closing), scaled

    def encode(self, images_BYX3: Tensor) -> Tensor:
        """(B, P, D)."""
        return self.encoder(images_BYX3)

    def teach(self, latents_BTPD: Tensor, actions_BTA: Tensor) -> Tensor:
        """(B, T - 1, P, D) predicted latents of frames 1 to T - 1, each from the true ones before it."""
        return normalised(self.predictor(latents_BTPD[:, :-1], actions_BTA, states_from(actions_BTA)).float())

    def roll(self, latents_BTPD: Tensor, actions_BTA: Tensor) -> Tensor:
        """(B, L, P, D) predicted latents after the T frames given, each from the predicted ones before it; actions: all T - 1 + L."""
        context_steps = latents_BTPD.shape[1]
        states = states_from(actions_BTA)
        predicted, context = self.predictor.extend(None, latents_BTPD, actions_BTA[:, :context_steps], states[:, :context_steps])
        rolled = [normalised(predicted[:, -1:].float())]
        for t in range(context_steps, actions_BTA.shape[1]):
            predicted, context = self.predictor.extend(context, rolled[-1], actions_BTA[:, t : t + 1], states[:, t : t + 1])
            rolled.append(normalised(predicted.float()))
        return torch.cat(rolled, dim=1)

    def infer_action(self, before_BPD: Tensor, after_BPD: Tensor) -> Tensor:
        """(B, 4) of `scaled_action`."""
        return self.inverse(torch.cat([before_BPD, after_BPD], dim=1).flatten(1))


def states_from(actions_BTA: Tensor) -> Tensor:
    """(B, T, A) the state before each action, counted from zero at the first frame."""
    states = [torch.zeros_like(actions_BTA[:, 0])]
    for action in actions_BTA[:, :-1].unbind(1):
        states.append(advance(states[-1], action))
    return torch.stack(states, dim=1)


def scaled_action(actions_A: Tensor) -> Tensor:
    """(..., A) -> (..., 4): what can be inferred from two images, in numbers around 1."""
    return torch.cat([ACTION_SCALE * actions_A[..., :3], actions_A[..., 6:]], dim=-1)


def save(model: GripModel, path: Path) -> None:
    """Weights and sizes in one safetensors file."""
    save_file(
        {key: value.contiguous() for key, value in model.state_dict().items()},
        path,
        {key: str(value) for key, value in asdict(model.config).items()},
    )


def load(path: Path) -> GripModel:
    """Ready for inference. Raises ValueError where the file is missing or does not fit."""
    from safetensors import safe_open

    if not path.is_file():
        raise ValueError(f"{path}: no such file; run: python -m experiments.grip.report train")
    with safe_open(path, "pt") as file:
        sizes = {key: int(value) for key, value in (file.metadata() or {}).items()}
    model = GripModel(GripModelConfig(**sizes))
    load_strictly(model, load_file(path), str(path))
    return model.eval().requires_grad_(False)
