"""The head that tells whether a grip holds: how strong it is, less what the hardest step of the motion so far asks of it.

It reads latents and never shapes them. Judges take the few directions in which grips differ most, since a handful of grips whose outcome
is known cannot tell which of thousands matter; a line through all numbers, held back as much as held-out grips ask for, adds what these
few leave out.
Axes: S motion, L step, H latent of the grip (before the fingers closed, and after), P token, D latent width, A = 7 action, F feature.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

MOVE_SCALE, TURN_SCALE = 20.0, 5.0  # 5 cm and 0.2 rad -> 1: the first guess of weights is made for inputs of that size
SQUEEZE_SCALE = 5.0  # commanded less measured closing: a fifth is a firm squeeze
LEAST_SQUEEZE = 0.02  # of the scaled squeeze: below it its logarithm would say more than the gripper measures
MOTION_FEATURES, SQUEEZE_FEATURES = 17, 4
GRIP_LATENTS = 2  # before the fingers closed, and after
DESCRIBED = 16  # numbers by which a grip is known to what judges the steps
DEMAND_WIDTH = 64
DROPPED = 0.4  # of what is known of a grip, while learning; half of it of a step
EPSILON = 1e-3


class Axes(nn.Module):
    """The directions in which numbers differ most, each with spread one. Fitted once, never learned by gradient."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(inputs))
        self.register_buffer("axes", torch.zeros(inputs, outputs))
        self.mean: Tensor
        self.axes: Tensor

    def forward(self, x_SF: Tensor) -> Tensor:
        """(..., outputs)."""
        return (x_SF - self.mean) @ self.axes

    def fit(self, x_SF: Tensor) -> None:
        """Principal components of these rows; directions that nothing spreads along stay zero."""
        self.mean.copy_(x_SF.mean(0))
        self.axes.zero_()
        count = min(self.axes.shape[1], *x_SF.shape)
        _, singular, directions = torch.pca_lowrank(x_SF - self.mean, q=count, center=False, niter=3)
        spread = singular / len(x_SF) ** 0.5
        used = spread > EPSILON * spread[0].clamp(min=EPSILON)
        self.axes[:, :count] = torch.where(used, directions / spread.clamp(min=1e-9), 0.0)


class Judge(nn.Module):
    """One of those whose mean is told."""

    def __init__(self, grip: int, step: int, width: int) -> None:
        """grip, step: numbers that tell of a grip, and of a step."""
        super().__init__()
        self.grip = nn.Sequential(nn.Linear(grip, width), nn.GELU(), nn.Dropout(DROPPED), nn.Linear(width, DESCRIBED))
        self.strength = nn.Linear(DESCRIBED, 1)
        self.demand = nn.Sequential(
            nn.Linear(step + DESCRIBED, DEMAND_WIDTH), nn.GELU(), nn.Dropout(DROPPED / 2), nn.Linear(DEMAND_WIDTH, 1)
        )

    def forward(self, grip_SF: Tensor, steps_SLF: Tensor) -> Tensor:
        """(S, L) logits: what the hardest step so far asks for counts."""
        described = self.grip(grip_SF)
        beside = described[:, None].expand(-1, steps_SLF.shape[1], -1)
        return self.strength(described) - self.demand(torch.cat([steps_SLF, beside], dim=-1))[..., 0].cummax(dim=1).values


class Line(nn.Module):
    """A logit that is linear in all numbers of a grip and in the hardest step so far."""

    def __init__(self, grip: int) -> None:
        """grip: numbers of its latents and the squeeze."""
        super().__init__()
        for name, size in (("grip", grip), ("motion", MOTION_FEATURES)):
            self.register_buffer(f"{name}_mean", torch.zeros(size))
            self.register_buffer(f"{name}_weight", torch.zeros(size))
        self.register_buffer("bias", torch.zeros(()))
        self.grip_mean: Tensor
        self.grip_weight: Tensor
        self.motion_mean: Tensor
        self.motion_weight: Tensor
        self.bias: Tensor

    def forward(self, grip_SF: Tensor, hardest_SLF: Tensor) -> Tensor:
        """(S, L)"""
        of_grip = (grip_SF - self.grip_mean) @ self.grip_weight
        return of_grip[:, None] + (hardest_SLF - self.motion_mean) @ self.motion_weight + self.bias


class HoldHead(nn.Module):
    """Whether a grip holds up to each step of a motion, read from its latents, imagined ones of the motion, the squeeze and the actions."""

    def __init__(self, latent: int, grip_axes: int, step_axes: int, width: int, judges: int) -> None:
        """latent: numbers of one latent. grip_axes, step_axes: directions read of a grip, and of a step. judges: their mean is told."""
        super().__init__()
        self.grip_axes, self.step_axes = Axes(GRIP_LATENTS * latent, grip_axes), Axes(latent, step_axes)
        self.squeeze_axes, self.motion_axes = Axes(SQUEEZE_FEATURES, SQUEEZE_FEATURES), Axes(MOTION_FEATURES, MOTION_FEATURES)
        self.judges = nn.ModuleList(Judge(grip_axes + SQUEEZE_FEATURES, step_axes + MOTION_FEATURES, width) for _ in range(judges))
        self.line = Line(GRIP_LATENTS * latent + SQUEEZE_FEATURES)
        # Of the judges' logit and of the line's, fitted on validation data: what is told is a probability.
        self.register_buffer("scale", torch.tensor([1.0, 0.0]))
        self.register_buffer("shift", torch.zeros(()))
        self.scale: Tensor
        self.shift: Tensor

    def forward(self, latents_SLPD: Tensor, grip_SHPD: Tensor, actions_SLA: Tensor, squeeze_S2: Tensor) -> Tensor:
        """(S, L) logits, which never rise: a grip that is lost does not come back. squeeze: the closing as measured and as commanded."""
        seen = self.read(latents_SLPD, grip_SHPD, actions_SLA, squeeze_S2)
        judged = torch.stack([judge(*seen) for judge in self.judges]).mean(0)
        lined = self.line(*whole(grip_SHPD, actions_SLA, squeeze_S2))
        return (self.scale[0] * judged + self.scale[1] * lined + self.shift).cummin(dim=1).values

    def read(self, latents_SLPD: Tensor, grip_SHPD: Tensor, actions_SLA: Tensor, squeeze_S2: Tensor) -> tuple[Tensor, Tensor]:
        """(S, F) of the grips and (S, L, F) of the steps, as the judges see them."""
        grip = torch.cat([self.grip_axes(grip_SHPD.flatten(1)), self.squeeze_axes(squeeze_features(squeeze_S2))], dim=1)
        changes = (latents_SLPD - grip_SHPD[:, -1:]).flatten(2)
        return grip, torch.cat([self.step_axes(changes), self.motion_axes(motion_features(actions_SLA))], dim=-1)

    def fit_axes(self, latents_SLPD: Tensor, grip_SHPD: Tensor, actions_SLA: Tensor, squeeze_S2: Tensor) -> None:
        """Along what grips, changes, squeezes and motions differ most. Comes before anything is learned."""
        self.grip_axes.fit(grip_SHPD.flatten(1))
        self.step_axes.fit((latents_SLPD - grip_SHPD[:, -1:]).flatten(2).flatten(0, 1))
        self.squeeze_axes.fit(squeeze_features(squeeze_S2))
        self.motion_axes.fit(motion_features(actions_SLA).flatten(0, 1))

    def judge(self, which: int) -> Judge:
        """One of them."""
        return cast(Judge, self.judges[which])


def whole(grip_SHPD: Tensor, actions_SLA: Tensor, squeeze_S2: Tensor) -> tuple[Tensor, Tensor]:
    """(S, F) all numbers of each grip and (S, L, MOTION_FEATURES) of the hardest step up to each, as the line reads them."""
    return torch.cat([grip_SHPD.flatten(1), squeeze_features(squeeze_S2)], dim=1), motion_features(actions_SLA).cummax(dim=1).values


def motion_features(actions_SLA: Tensor) -> Tensor:
    """(S, L, MOTION_FEATURES) of each step: its move and tilt with sign and without, its length, the step before, and the way so far."""
    steps = scaled(actions_SLA)[..., [0, 1, 2, 4]]
    before = torch.nn.functional.pad(steps[:, :-1], (0, 0, 1, 0))
    length = steps[..., :3].norm(dim=-1, keepdim=True)
    return torch.cat([steps, steps.abs(), length, before, steps.cumsum(dim=1)], dim=-1)


def squeeze_features(squeeze_S2: Tensor) -> Tensor:
    """(S, SQUEEZE_FEATURES): closing as measured and commanded, their difference, and its logarithm: squeezes differ by factors."""
    squeeze = SQUEEZE_SCALE * (squeeze_S2[:, 1:] - squeeze_S2[:, :1])
    return torch.cat([squeeze_S2, squeeze, squeeze.clamp(min=LEAST_SQUEEZE).log()], dim=1)


def scaled(actions_A: Tensor) -> Tensor:
    """(..., A) in numbers around 1."""
    return actions_A * actions_A.new_tensor([MOVE_SCALE] * 3 + [TURN_SCALE] * 3 + [1.0])
