"""A JEPA of one latent vector per image: convolutional encoder, residual predictor, and two heads.

Axes: B batch, T frame, S candidate, D latent width, A action (2).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from jepa_ros.config import param, validate

ACTION_WIDTH = 2


@dataclass(frozen=True)
class TwoRoomModelConfig:
    """Sizes."""

    width: int = param(32, "width D of the latent", at_least=2)
    channels: int = param(16, "channels of the first convolution; doubled once", at_least=4)
    hidden: int = param(256, "width of predictor and heads", at_least=8)

    def __post_init__(self) -> None:
        validate(self)


class TwoRoomModel(nn.Module):
    """`encode` and `step` are the world model, `inverse` only shapes it in training, `distance_head` tells how far apart latents are."""

    def __init__(self, config: TwoRoomModelConfig) -> None:
        super().__init__()
        self.config = config
        c, width, hidden = config.channels, config.width, config.hidden
        self.encoder = nn.Sequential(
            nn.Conv2d(3, c, 3, 2, 1), nn.ReLU(), nn.Conv2d(c, 2 * c, 3, 2, 1), nn.ReLU(), nn.Conv2d(2 * c, 2 * c, 3, 2, 1), nn.ReLU(),
            nn.Flatten(), nn.Linear(2 * c * 8 * 8, hidden), nn.ReLU(), nn.Linear(hidden, width),
        )  # fmt: skip
        self.predictor = _mlp(width + ACTION_WIDTH, hidden, width)
        self.inverse = _mlp(2 * width, hidden, ACTION_WIDTH)
        self.distance_head = _mlp(2 * width, hidden, 1)

    def encode(self, images_BYX3: Tensor) -> Tensor:
        """(B, D) of uint8 images at 64 x 64."""
        # White is 0: what is left are walls and dot.
        return self.encoder((1 - images_BYX3.permute(0, 3, 1, 2).float() / 255).contiguous(memory_format=torch.channels_last))

    def step(self, latents_BD: Tensor, actions_BA: Tensor) -> Tensor:
        """(B, D) one environment step later."""
        return latents_BD + self.predictor(torch.cat((latents_BD, actions_BA), dim=-1))

    def roll(self, latents_BD: Tensor, actions_BTA: Tensor) -> Tensor:
        """(B, T, D) after each of the actions, each from the predicted latent before it."""
        rolled = [latents_BD]
        for actions_BA in actions_BTA.unbind(1):
            rolled.append(self.step(rolled[-1], actions_BA))
        return torch.stack(rolled[1:], dim=1)

    def infer_action(self, before_BD: Tensor, after_BD: Tensor) -> Tensor:
        """(B, A) the action that led from one latent to the next."""
        return self.inverse(torch.cat((before_BD, after_BD), dim=-1))

    def log_steps(self, from_BD: Tensor, to_BD: Tensor) -> Tensor:
        """(B,) log(1 + steps) that a quick episode needs from one latent to the other."""
        return self.distance_head(torch.cat((from_BD, to_BD), dim=-1))[..., 0]


def _mlp(inputs: int, hidden: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(inputs, hidden), nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU(), nn.Linear(hidden, outputs))
