"""The self-supervised objective: predict latents, and keep them from collapsing.

Axes: B batch, S future step, D latent width, Y row, X column, K token (a sample of all tokens of a batch).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

SIGREG_KNOTS = 17
SIGREG_REACH = 5.0  # the characteristic function is compared on [-5, 5]; beyond, the normal's is zero


def prediction_loss(predicted_BSDYX: Tensor, target_BSDYX: Tensor, weight_BSYX: Tensor) -> Tensor:
    """Weighted mean of the squared error. Tokens that the future sweep could not see weigh 0."""
    error_BSYX = (predicted_BSDYX.float() - target_BSDYX.float()).square().mean(dim=2)
    return (error_BSYX * weight_BSYX).sum() / weight_BSYX.sum().clamp(min=1)


def sigreg_loss(tokens_KD: Tensor, generator: torch.Generator, projections: int = 128) -> Tensor:
    """Distance of the latents from an isotropic standard normal: the Epps-Pulley statistic over random 1-D projections.

    Balestriero & LeCun, "LeJEPA" (2025). Divided by K, so that the value does not depend on how many tokens were drawn.
    """
    directions = F.normalize(torch.randn(tokens_KD.shape[1], projections, generator=generator).to(tokens_KD), dim=0)
    projected_KP = tokens_KD.float() @ directions.float()
    knots = torch.linspace(-SIGREG_REACH, SIGREG_REACH, SIGREG_KNOTS, device=tokens_KD.device)
    phase = projected_KP[:, :, None] * knots  # (K, P, knot)
    normal = torch.exp(-knots.square() / 2)  # characteristic function of N(0, 1), and the weight of the statistic
    error = (phase.cos().mean(dim=0) - normal).square() + phase.sin().mean(dim=0).square()
    return torch.trapezoid(error * normal, knots, dim=-1).mean()


def vicreg_loss(tokens_KD: Tensor) -> tuple[Tensor, Tensor]:
    """(variance, covariance) terms of Bardes, Ponce & LeCun, "VICReg" (2022): no dimension below unit deviation, none a copy of another."""
    centred = tokens_KD.float() - tokens_KD.float().mean(dim=0)
    covariance_DD = centred.T @ centred / (len(centred) - 1)
    deviation_D = (covariance_DD.diagonal() + 1e-4).sqrt()
    off_diagonal = covariance_DD - torch.diag(covariance_DD.diagonal())
    return F.relu(1 - deviation_D).mean(), off_diagonal.square().sum() / tokens_KD.shape[1]


def occupancy_loss(logits_BYX: Tensor, occupied_BYX: Tensor, visible_BYX: Tensor) -> Tensor:
    """Binary cross-entropy over the cells that the sweep could see."""
    loss_BYX = F.binary_cross_entropy_with_logits(logits_BYX.float(), occupied_BYX.float(), reduction="none")
    return (loss_BYX * visible_BYX).sum() / visible_BYX.sum().clamp(min=1)


def draw_tokens(latents_BDYX: Tensor, seen_BYX: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """(K, D): K <= count tokens drawn at random from those where the sensors saw something; empty space would swamp the statistics."""
    tokens = latents_BDYX.permute(0, 2, 3, 1)[seen_BYX > 0]
    chosen = torch.randperm(len(tokens), generator=generator)[:count]
    return tokens[chosen.to(tokens.device)]
