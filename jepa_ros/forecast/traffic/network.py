"""The joint-embedding predictive network of `forecast.network` for traffic: smaller, and it starts from what a filter believes.

Axes: B road user, T history step, H future step, M neighbour, K mode, C part of the future, D latent width.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from jepa_ros.config import param, validate
from jepa_ros.forecast.network import COVARIANCE_TERMS, PARTS, PATH_TERMS, TERMS, Block, Mixture, cosine_basis
from jepa_ros.forecast.traffic.road_users import ACCELERATION_MPS2, NEAR_MIRROR, OWN_MIRROR, SCALE_M, SPEED_MPS, TURN_RADPS
from jepa_ros.objects.time_steps import HISTORY, HORIZON, STEP_S

HEADS = 4
FADES_S = (0.6, 2.0)  # an acceleration, and a turn rate, falls to 1/e in this time
NOISY_RADPS, SLOW_MPS = 0.1, 1.0  # turn rates of this size are half noise, and of who is slower they mean nothing
NEVER = -1e4  # logit of a neighbour that is not there


@dataclass(frozen=True)
class TrafficConfig:
    """Sizes of the network."""

    width: int = param(64, "width of the context", at_least=16)
    social_width: int = param(32, "width of the embedding of a neighbour", at_least=8)
    latent: int = param(16, "width of the latent of each part of the future", at_least=8)
    modes: int = param(6, "paths of the mixture", at_least=2)
    trust: float = param(
        0.5, "weight of the learned part in the likeliest path; the rest is the filter's prediction", at_least=0.0, at_most=1.0
    )

    def __post_init__(self) -> None:
        validate(self)


def carried_on(own: Tensor, steps: Tensor) -> Tensor:
    """(B, H, 2) where each is if the acceleration and the turn rate that its filter believes fade: what the network starts from."""
    time_s = STEP_S * torch.cat((torch.zeros(1), steps))
    speed, acceleration, rate = own[:, :1] * SPEED_MPS, own[:, 1:2] * ACCELERATION_MPS2, own[:, 2:3] * TURN_RADPS
    rate = rate * (rate.abs() / (rate.abs() + NOISY_RADPS)) * torch.tanh(speed.abs() / SLOW_MPS)
    gained = acceleration * FADES_S[0] * (1 - torch.exp(-time_s / FADES_S[0]))
    way = (speed + gained) * torch.sign(speed)
    pace = way.clamp(min=0.0) * torch.sign(speed)  # nobody who brakes comes to drive backwards
    angle = rate * FADES_S[1] * (1 - torch.exp(-time_s / FADES_S[1]))
    motion = pace[..., None] * torch.stack((torch.cos(angle), torch.sin(angle)), dim=-1)
    return (0.5 * STEP_S / SCALE_M * (motion[:, 1:] + motion[:, :-1])).cumsum(dim=1)


def shrunk(mixture: Mixture, start: Tensor, trust: float) -> Mixture:
    """The likeliest way, mode 0, as the mean of what was learned (weight `trust`) and of `carried_on`; the other modes as they are.

    What drivers of the simulator do more often than real ones pulls the learned way aside, what a filter believes pulls the other one;
    between the two both errors are smaller.
    """
    first = trust * mixture.means[:, :1] + (1.0 - trust) * start[:, None]
    return replace(mixture, means=torch.cat((first, mixture.means[:, 1:]), dim=1))


class TrafficNetwork(nn.Module):
    """`Inputs` as tensors in; mixture in the own frame, in SCALE_M, and predicted latents of the future out."""

    def __init__(self, config: TrafficConfig) -> None:
        super().__init__()
        self.config = config
        width, social = config.width, config.social_width
        self.own = nn.Sequential(nn.Linear(5 * HISTORY + len(OWN_MIRROR), width), nn.GELU(), nn.Linear(width, width))
        self.neighbour = nn.Sequential(nn.Linear(len(NEAR_MIRROR), social), nn.GELU(), nn.Linear(social, 2 * social))
        self.query = nn.Linear(width, social)
        self.nobody = nn.Parameter(torch.zeros(2 * social))
        self.social = nn.Linear(social, width)
        self.block, self.norm = Block(width), nn.LayerNorm(width)
        self.predictor = nn.Sequential(nn.Linear(width, width), nn.GELU(), nn.Linear(width, PARTS * config.latent))
        self.hidden = nn.Sequential(nn.Linear(width + PARTS * config.latent, width), nn.GELU())
        self.output = nn.Linear(width, config.modes * TERMS)
        self.linear = nn.Linear(2 * HISTORY + 2, 2 * PATH_TERMS, bias=False)
        steps = torch.arange(1.0, HORIZON + 1)
        self.steps: Tensor
        self.path_basis: Tensor
        self.sigma_basis: Tensor
        self.register_buffer("steps", steps, persistent=False)
        self.register_buffer("path_basis", cosine_basis(PATH_TERMS, HORIZON).cumsum(dim=-1), persistent=False)
        self.register_buffer("sigma_basis", cosine_basis(COVARIANCE_TERMS, HORIZON), persistent=False)
        nn.init.zeros_(self.linear.weight)
        with torch.no_grad():
            self.output.weight.mul_(0.3)

    def forward(
        self, past: Tensor, seen: Tensor, own: Tensor, near: Tensor, present: Tensor, start: Tensor | None = None
    ) -> tuple[Mixture, Tensor]:
        """past (B, T, 2), seen (B, T), own (B, F), near (B, M, G), present (B, M); see `road_users.Inputs`. `start`: `carried_on`."""
        start = carried_on(own, self.steps) if start is None else start
        keep = seen.to(past.dtype)
        moved = (past[:, 1:] - past[:, :-1]) * (keep[:, 1:] * keep[:, :-1])[..., None]
        context = self.own(torch.cat((past.flatten(1), 4.0 * nn.functional.pad(moved, (0, 0, 1, 0)).flatten(1), keep, own), dim=1))
        context = context + self._social(context, near, present)
        context = self.norm(self.block(context))
        predicted = self.predictor(context).view(len(context), PARTS, self.config.latent)
        terms = self.output(self.hidden(torch.cat((context, predicted.flatten(1)), dim=1))).view(len(own), self.config.modes, TERMS)
        path, sigma, rho, logits = terms.split((2 * PATH_TERMS, 2 * COVARIANCE_TERMS, 2, 1), dim=-1)
        path = 0.1 * path + 0.1 * self.linear(torch.cat((past.flatten(1), own[:, :2]), dim=1))[:, None]
        means = (path.unflatten(-1, (2, PATH_TERMS)) @ self.path_basis).mT + start[:, None]
        log_sigma = (sigma.unflatten(-1, (2, COVARIANCE_TERMS)) @ self.sigma_basis).mT + torch.log(0.05 * self.steps)[:, None]
        # As for people: mode 0 is the single best path, and by construction no other mode is more probable.
        others = logits[:, 1:, 0]
        best = others.max(dim=-1, keepdim=True).values + nn.functional.softplus(logits[:, 0])
        correlation = 0.95 * torch.tanh(rho @ self.sigma_basis[:2])
        return Mixture(means, log_sigma.clamp(min=-6.0, max=3.0), correlation, torch.cat((best, others), dim=-1)), predicted

    def _social(self, context: Tensor, near: Tensor, present: Tensor) -> Tensor:
        """(B, width) what the neighbours change: attention with a place for nobody."""
        keys, values = torch.cat((self.nobody.expand(len(near), 1, -1), self.neighbour(near)), dim=1).chunk(2, dim=-1)
        there = nn.functional.pad(present, (1, 0), value=True)
        split = (*keys.shape[:2], HEADS, -1)
        query = self.query(context).view(len(context), 1, HEADS, -1)
        score = (query * keys.reshape(split)).sum(dim=-1) / math.sqrt(query.shape[-1])
        weight = score.masked_fill(~there[..., None], NEVER).softmax(dim=1)
        return self.social((weight[..., None] * values.reshape(split)).sum(dim=1).flatten(1))
