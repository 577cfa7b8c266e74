"""A small action-conditioned world model: a convolutional encoder of 64 x 64 images and predictors like V-JEPA 2-AC's at a small width.

It sees images of one or more cameras, how far the gripper is closed and meant to be, and intended actions; no other state: poses are
counted from zero at the first image.
Axes: B batch, T frame, L rolled step, V view, P token (GRID x GRID), D latent width (of all views), A = 7 action, M member of the ensemble.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from jepa_ros.backends.arm.hold import HoldHead, scaled
from jepa_ros.backends.vjepa2_ac.poses import advance
from jepa_ros.backends.vjepa2_ac.predictor import ActionConditionedPredictor, PredictorConfig
from jepa_ros.backends.vjepa2_ac.rollout import normalised
from jepa_ros.config import param, validate

SIDE_PX = 64
GRID = 4
MAX_STEPS = 12  # of a sequence: context and rolled ones
PREDICTOR_SQUEEZE = 10.0  # of commanded less measured closing, for the predictor: what decides lies within a twentieth
STATE = 8  # numbers of a state: pose, closing, squeeze
SEEN_ACTION = 7  # numbers of a motion that two images tell: moves, turns, change of closing


@dataclass(frozen=True)
class ArmModelConfig:
    """Sizes."""

    views: int = param(1, "cameras; the first one sees the whole reach, and goals are images of it", at_least=1, at_most=8)
    width: int = param(64, "width of the latents of one view", at_least=8)
    channels: int = param(16, "channels of the first convolution; doubled twice", at_least=4)
    predictor_width: int = param(96, "width of a predictor", at_least=24)
    predictor_depth: int = param(2, "blocks of a predictor", at_least=1)
    predictor_heads: int = param(3, "attention heads of a predictor", at_least=1)
    members: int = param(2, "predictors: their spread shows how certain a prediction is", at_least=1)
    hold_grip: int = param(128, "directions in the latents of a grip that the head of holding reads", at_least=1)
    hold_step: int = param(48, "directions in the change of an imagined latent that it reads", at_least=1)
    hold_width: int = param(32, "its width", at_least=1)
    hold_judges: int = param(3, "heads whose mean is told", at_least=1)

    def __post_init__(self) -> None:
        validate(self)

    @property
    def latent_width(self) -> int:
        """D: the views' latents lie side by side."""
        return self.views * self.width


class Residual(nn.Module):
    """Two convolutions with a skip."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(_conv(channels, channels), nn.GELU(), _conv(channels, channels))

    def forward(self, x: Tensor) -> Tensor:
        return F.gelu(x + self.layers(x))


class Encoder(nn.Module):
    """64 x 64 -> 4 x 4 tokens; each of them sees the whole image."""

    def __init__(self, channels: int, width: int) -> None:
        """channels: of the first convolution; doubled twice."""
        super().__init__()
        c = channels
        self.layers = nn.Sequential(
            _conv(3, c, 2), nn.GELU(), _conv(c, 2 * c, 2), nn.GELU(), _conv(2 * c, 4 * c, 2), nn.GELU(), Residual(4 * c),
            _conv(4 * c, 4 * c, 2), nn.GELU(), Residual(4 * c), Residual(4 * c), nn.Conv2d(4 * c, width, 1),
        )  # fmt: skip

    def forward(self, images_BYX3: Tensor) -> Tensor:
        """(B, P, D) normalised latents of uint8 images."""
        x = (images_BYX3.permute(0, 3, 1, 2).float() / 127.5 - 1).contiguous(memory_format=torch.channels_last)
        return normalised(self.layers(x).flatten(2).transpose(1, 2).float())


class ArmModel(nn.Module):
    """Encoder, predictors, the head of holding, and the inverse dynamics, which shape the latents in training and propose motions."""

    def __init__(self, config: ArmModelConfig) -> None:
        super().__init__()
        self.config = config
        self.encoders = nn.ModuleList(Encoder(config.channels, config.width) for _ in range(config.views))
        sizes = PredictorConfig(
            encoder_width=config.latent_width, width=config.predictor_width, depth=config.predictor_depth, heads=config.predictor_heads,
            grid=GRID, max_steps=MAX_STEPS,
        )  # fmt: skip
        self.predictors = nn.ModuleList(_predictor(sizes) for _ in range(config.members))
        self.inverse = nn.Sequential(nn.Linear(2 * GRID * GRID * config.width, 256), nn.GELU(), nn.Linear(256, SEEN_ACTION))
        self.hold = HoldHead(GRID**2 * config.latent_width, config.hold_grip, config.hold_step, config.hold_width, config.hold_judges)

    def predictor(self, member: int) -> ActionConditionedPredictor:
        """One of the ensemble."""
        return cast(ActionConditionedPredictor, self.predictors[member])

    def encode(self, images_BVYX3: Tensor) -> Tensor:
        """(B, P, D)."""
        return torch.cat([encoder(image) for encoder, image in zip(self.encoders, images_BVYX3.unbind(1), strict=True)], dim=-1)

    def encode_goal(self, images_BYX3: Tensor) -> Tensor:
        """(B, P, D) of images of the first view; what the others would show is unknown, and zero."""
        seen = cast(Encoder, self.encoders[0])(images_BYX3)
        return F.pad(seen, (0, self.config.latent_width - self.config.width))

    def teach(self, latents_BTPD: Tensor, actions_BTA: Tensor, fingers_BT2: Tensor, member: int = 0) -> Tensor:
        """(B, T - 1, P, D) predicted latents of frames 1 to T - 1, each from the true ones before it. fingers: as for `roll`."""
        states, now = states_from(actions_BTA, fingers_BT2[:, :-1]), latents_BTPD[:, :-1]
        return self._changed(now, self.predictor(member)(now, actions_BTA, states))

    def roll(self, latents_BTPD: Tensor, actions_BTA: Tensor, fingers_BT2: Tensor, member: int = 0) -> Tensor:
        """(B, L, P, D) predicted latents after the T frames given, each from the predicted ones before it.

        actions_BTA: the T - 1 between the given frames, then the L to be imagined. fingers_BT2: at the T frames, how far the fingers were
        closed and how far they were meant to be. Latents of a single row are used for every row of actions; the first T - 1 actions of
        all rows are then equal.
        """
        predictor, given, shared = self.predictor(member), latents_BTPD.shape[1], len(latents_BTPD) < len(actions_BTA)
        states = states_from(actions_BTA, fingers_BT2.expand(len(actions_BTA), -1, -1))
        begin, context = 0, None
        if shared and given > 1:
            begin = given - 1
            _, seen = predictor.extend(None, latents_BTPD[:, :begin], actions_BTA[:1, :begin], states[:1, :begin])
            context = seen.expand(len(actions_BTA))
        latents_BTPD = latents_BTPD[:, begin:].expand(len(actions_BTA), -1, -1, -1)
        predicted, context = predictor.extend(context, latents_BTPD, actions_BTA[:, begin:given], states[:, begin:given])
        rolled = [self._changed(latents_BTPD[:, -1:], predicted[:, -1:])]
        for t in range(given, actions_BTA.shape[1]):
            predicted, context = predictor.extend(context, rolled[-1], actions_BTA[:, t : t + 1], states[:, t : t + 1])
            rolled.append(self._changed(rolled[-1], predicted))
        return torch.cat(rolled, dim=1)

    def infer_motion(self, before_BPD: Tensor, after_BPD: Tensor) -> Tensor:
        """(B, A) the sum of the actions that lead from one latent to another, scaled as in `scaled`. By the first view."""
        seen = torch.cat([before_BPD, after_BPD], dim=1)[..., : self.config.width]
        return self.inverse(seen.flatten(1))

    def renew(self, member: int, seed: int) -> None:
        """A predictor that has learned nothing yet: it says that nothing changes."""
        torch.manual_seed(seed)
        self.predictors[member] = _predictor(self.predictor(member).config)

    def _changed(self, latents: Tensor, change: Tensor) -> Tensor:
        """What a predictor tells is the change. Each view is normalised by itself, as its encoder does."""
        return normalised((latents + change).float().unflatten(-1, (self.config.views, self.config.width))).flatten(-2)


def states_from(actions_BTA: Tensor, fingers_BT2: Tensor) -> Tensor:
    """(B, T, STATE) the state before each action: the pose counted from zero at the first frame, the closing and the squeeze.

    fingers: closing as measured and as commanded where that is known. Later the closing changes as intended, and the squeeze stays.
    """
    state = torch.zeros_like(actions_BTA[:, 0])
    squeeze = torch.zeros_like(state[:, :1])
    states = []
    for t, action in enumerate(actions_BTA.unbind(1)):
        if t < fingers_BT2.shape[1]:
            measured, commanded = fingers_BT2[:, t, :1].to(state), fingers_BT2[:, t, 1:].to(state)
            state, squeeze = torch.cat([state[:, :6], measured], dim=1), PREDICTOR_SQUEEZE * (commanded - measured)
        states.append(torch.cat([state, squeeze], dim=1))
        state = advance(state, action)
    return torch.stack(states, dim=1)


def unscaled(numbers_A: Tensor) -> Tensor:
    """(..., A) the opposite of `scaled`."""
    return numbers_A / scaled(torch.ones_like(numbers_A))


def _predictor(sizes: PredictorConfig) -> ActionConditionedPredictor:
    predictor = ActionConditionedPredictor(sizes)
    predictor.state_encoder = nn.Linear(STATE, sizes.width)
    with torch.no_grad():
        predictor.predictor_proj.weight.zero_()
        predictor.predictor_proj.bias.zero_()
        predictor.action_encoder.weight *= scaled(torch.ones(7))
        predictor.state_encoder.weight[:, :7] *= scaled(torch.ones(7))
    return predictor


def _conv(inputs: int, outputs: int, stride: int = 1) -> nn.Module:
    return nn.Sequential(nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False), nn.GroupNorm(8, outputs))
