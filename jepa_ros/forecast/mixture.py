"""Densities, highest-density regions and path errors of Gaussian mixtures. Torch, in any one frame.

Axes: P person, K mode, H step, S sample.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor


def log_density(points: Tensor, means: Tensor, covariances: Tensor, log_probabilities: Tensor) -> Tensor:
    """(P, S, H): log density in 1/m^2 of each step's mixture at points (P, S, H, 2).

    means (P, K, H, 2), covariances (P, K, H, 2, 2), log_probabilities (P, K).
    """
    inverse, log_norm = _gaussian_terms(covariances)
    gap = points[:, :, None] - means[:, None]  # (P, S, K, H, 2)
    x, y = gap.unbind(-1)
    xx, xy, yy = (term[:, None] for term in inverse)
    exponent = -0.5 * (xx * x * x + 2 * xy * x * y + yy * y * y)
    return torch.logsumexp(exponent + (log_norm + log_probabilities[..., None])[:, None], dim=2)


def _gaussian_terms(covariances: Tensor) -> tuple[tuple[Tensor, Tensor, Tensor], Tensor]:
    a, b, d = covariances[..., 0, 0], covariances[..., 0, 1], covariances[..., 1, 1]
    determinant = a * d - b * b
    return (d / determinant, -b / determinant, a / determinant), -0.5 * torch.log(determinant) - math.log(2 * math.pi)


def density_rank(
    truth: Tensor, means: Tensor, covariances: Tensor, log_probabilities: Tensor, samples: int, generator: torch.Generator
) -> Tensor:
    """(P, H) in [0, 1]: the mass of the smallest highest-density region of each step's mixture that holds the truth (P, H, 2).

    A truth lies in the 90 % region where its rank is at most 0.9. Estimated from `samples` draws of each step (Hyndman 1996).
    """
    people, _, steps, _ = means.shape
    mode = torch.multinomial(log_probabilities.exp(), samples, replacement=True, generator=generator)  # (P, S)
    row = torch.arange(people)[:, None]
    factor = torch.linalg.cholesky_ex(covariances).L[row, mode]
    noise = torch.randn(people, samples, steps, 2, 1, generator=generator, dtype=means.dtype)
    drawn = means[row, mode] + (factor @ noise)[..., 0]
    at_truth = log_density(truth[:, None], means, covariances, log_probabilities)
    return (log_density(drawn, means, covariances, log_probabilities) > at_truth).to(means.dtype).mean(dim=1)


def path_errors(paths: Tensor, truth: Tensor) -> Tensor:
    """(P, S, H) distance in m of each step of the paths (P, S, H, 2) from the truth (P, H, 2)."""
    return torch.linalg.vector_norm(paths - truth[:, None], dim=-1)
