"""What the forecaster is trained for: a good single path, one good path among the modes, honest densities, predictable latents.

Axes: B sample, K mode, H step, C part of the future, D latent width.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from jepa_ros.config import param, validate
from jepa_ros.forecast.network import SIGMA_FLOOR_M, Mixture


@dataclass(frozen=True)
class LossConfig:
    """Weights of the parts of the loss."""

    single: float = param(0.5, "the most likely path", at_least=0.0)
    winner: float = param(1.25, "the best of the modes", at_least=0.0)
    density: float = param(0.8, "negative log-likelihood per step", at_least=0.0)
    latent: float = param(0.2, "prediction of the latents of the future", at_least=0.0)
    variance: float = param(1.0, "VICReg variance of the target latents, times `latent`", at_least=0.0)
    covariance: float = param(0.04, "VICReg covariance of the target latents, times `latent`", at_least=0.0)

    def __post_init__(self) -> None:
        validate(self)


def path_loss(error: Tensor, known: Tensor) -> Tensor:
    """(..., H) distances -> (...): mean over the known steps plus half the last known one."""
    weight = known.to(error.dtype)
    last = weight * (weight.flip(-1).cumsum(-1).flip(-1) == 1)
    return (error * weight).sum(-1) / weight.sum(-1).clamp(min=1) + 0.5 * (error * last).sum(-1)


def mixture_losses(mixture: Mixture, future: Tensor, known: Tensor, winners: float) -> dict[str, Tensor]:
    """Losses of the mixture against the future (B, H, 2) in the own frame. `winners`: how many modes learn from a sample."""
    gap = future[:, None] - mixture.means
    error = gap.square().sum(-1).add(1e-6).sqrt()
    per_mode = path_loss(error, known[:, None])
    ranked = per_mode.sort(dim=1).values
    share = (winners - torch.arange(ranked.shape[1])).clamp(0.0, 1.0)
    single, winner = per_mode[:, 0].mean(), (ranked * share).sum(1).mean() / share.sum()
    log_p = step_log_density(mixture, gap)
    density = -(log_p * known).sum() / known.sum()
    return {"single": single, "winner": winner, "density": density}


def step_log_density(mixture: Mixture, gap: Tensor) -> Tensor:
    """(B, H): log density of each step's mixture, given the gaps (B, K, H, 2) between the truth and the means."""
    raw = (2 * mixture.log_sigma).exp()
    c = mixture.rho * (raw[..., 0] * raw[..., 1]).sqrt()
    a, b = (raw + SIGMA_FLOOR_M**2).unbind(-1)
    determinant = a * b - c * c
    x, y = gap.unbind(-1)
    exponent = -0.5 * (b * x * x - 2 * c * x * y + a * y * y) / determinant
    log_norm = -0.5 * determinant.log() - math.log(2 * math.pi)
    return torch.logsumexp(exponent + log_norm + mixture.logits.log_softmax(dim=1)[..., None], dim=1)


def latent_losses(predicted: Tensor, target: Tensor) -> dict[str, Tensor]:
    """Prediction in latent space and the VICReg terms (Bardes et al. 2022) that keep the target latents (B, C, D) from collapsing."""
    centred = target - target.mean(dim=0)
    spread = (centred.var(dim=0) + 1e-4).sqrt()
    covariance = torch.einsum("bcd,bce->cde", centred, centred) / (len(target) - 1)
    off_diagonal = covariance.square().sum(dim=(1, 2)) - covariance.diagonal(dim1=1, dim2=2).square().sum(dim=1)
    return {
        "latent": (predicted - target).square().mean(),
        "variance": torch.relu(1 - spread).mean(),
        "covariance": off_diagonal.mean() / target.shape[-1],
    }
