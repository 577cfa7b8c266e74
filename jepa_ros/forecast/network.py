"""The joint-embedding predictive network over tracks.

A context encoder reads a person's own past and the people around; a predictor turns the context into the latents of the future; a
decoder turns both into a mixture of paths. In training, the targets of the predictor are the latents of the true future, from
`FutureEncoder`. Everything is computed in the person's own frame (origin = where they are now, x = where they are heading), so that
the result turns and moves with the world.

Axes: B person, T history step (8, oldest first), H future step (12), M neighbour, K mode, D latent width, C part of the future.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from jepa_ros.config import param, validate
from jepa_ros.objects.time_steps import HISTORY, HORIZON

SIGMA_FLOOR_M = 0.02
POSITION_SCALE_M = 2.0
HEADING_STEPS = 4  # the heading is the displacement over up to this many steps
STANDING_M = 1e-3  # below this displacement there is no heading
COVARIANCE_TERMS = 4
PATH_TERMS = 6
TERMS = 2 * PATH_TERMS + 2 * COVARIANCE_TERMS + 2 + 1  # of each mode: path, two standard deviations, correlation, logit
PARTS = 3  # the future is encoded in this many parts of four steps


@dataclass(frozen=True)
class NetworkConfig:
    """Sizes of the network."""

    width: int = param(192, "width of the context", at_least=16)
    social_width: int = param(64, "width of the embedding of a neighbour", at_least=8)
    blocks: int = param(2, "residual blocks of the context encoder", at_least=1)
    latent: int = param(64, "width of the latent of each part of the future", at_least=8)
    modes: int = param(20, "paths of the mixture", at_least=2)

    def __post_init__(self) -> None:
        validate(self)


@dataclass
class PersonFrames:
    """Where each person is and heads: origin (B, 2), rotation (B, 2, 2) with world = own @ rotation + origin."""

    origin: Tensor
    rotation: Tensor
    has_heading: Tensor  # (B,) bool

    def to_own(self, points: Tensor) -> Tensor:
        """(B, ..., 2) world points -> own frame."""
        x, y = (points - self.origin.view(self._shape(points, 2))).unbind(-1)
        cos, sin = self._direction(points)
        return torch.stack((cos * x + sin * y, cos * y - sin * x), dim=-1)

    def to_world(self, points: Tensor) -> Tensor:
        """(B, ..., 2) own frame -> world."""
        x, y = points.unbind(-1)
        cos, sin = self._direction(points)
        return torch.stack((cos * x - sin * y, sin * x + cos * y), dim=-1) + self.origin.view(self._shape(points, 2))

    def _direction(self, points: Tensor) -> tuple[Tensor, Tensor]:
        shape = self._shape(points, 1)[:-1]
        return self.rotation[:, 0, 0].view(shape), self.rotation[:, 0, 1].view(shape)

    @staticmethod
    def _shape(points: Tensor, last: int) -> tuple[int, ...]:
        return (len(points),) + (1,) * (points.dim() - 2) + (last,)


@dataclass
class Mixture:
    """Per person, in the own frame: means (B, K, H, 2) m, log_sigma (B, K, H, 2) of the two axes, rho (B, K, H), logits (B, K)."""

    means: Tensor
    log_sigma: Tensor
    rho: Tensor
    logits: Tensor


@dataclass
class Encoded:
    """What is known before anything is decoded."""

    own: Tensor  # (B, T, 2) the past in the own frame
    context: Tensor  # (B, width)
    predicted: Tensor  # (B, C, D) latents of the future, as predicted
    frames: PersonFrames


@dataclass
class Output:
    """What one pass of the network gives."""

    mixture: Mixture
    context: Tensor  # (B, width)
    predicted: Tensor  # (B, C, D) latents of the future, as predicted
    frames: PersonFrames


def fill(history: Tensor, seen: Tensor) -> Tensor:
    """Unseen steps take the position of the nearest seen step before them, or after them where there is none before."""
    steps = torch.arange(HISTORY)
    before = torch.where(seen, steps, -1).cummax(dim=-1).values
    after = torch.where(seen, steps, HISTORY).flip(-1).cummin(dim=-1).values.flip(-1).clamp(max=HISTORY - 1)
    index = torch.where(before >= 0, before, after)
    return history.gather(-2, index[..., None].expand(*index.shape, 2))


def frames_of(history: Tensor, neighbours: Tensor, has_neighbour: Tensor) -> PersonFrames:
    """PersonFrames of filled histories (B, T, 2). A standing person faces the nearest neighbour; alone, there is no heading."""
    origin = history[:, -1]
    move = origin - history[:, -1 - HEADING_STEPS]
    longer = origin - history[:, 0]
    move = torch.where((move.norm(dim=-1) < STANDING_M)[:, None], longer, move)
    towards = torch.where(has_neighbour[:, :1], neighbours[:, 0, -1] - origin, torch.zeros_like(origin))
    move = torch.where((move.norm(dim=-1) < STANDING_M)[:, None], towards, move)
    length = move.norm(dim=-1, keepdim=True)
    has_heading = length[:, 0] >= STANDING_M
    x = torch.where(has_heading[:, None], move / length.clamp(min=STANDING_M), torch.tensor([1.0, 0.0]))
    rotation = torch.stack((x, torch.stack((-x[:, 1], x[:, 0]), dim=-1)), dim=1)
    return PersonFrames(origin, rotation, has_heading)


def cosine_basis(terms: int, steps: int) -> Tensor:
    """(terms, steps) the first cosines over the steps, each of root mean square about 1."""
    t = (torch.arange(steps) + 0.5) / steps
    return torch.cos(math.pi * torch.arange(terms)[:, None] * t) * torch.tensor([1.0] + [math.sqrt(2)] * (terms - 1))[:, None]


class Block(nn.Module):
    """A residual MLP behind a norm."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, width), nn.GELU(), nn.Linear(width, width))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.layers(x)


class ContextEncoder(nn.Module):
    """Own past and neighbours (attention, four heads) -> context (B, width)."""

    heads = 4

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        width, social = config.width, config.social_width
        self.own = nn.Sequential(nn.Linear(5 * HISTORY, width), nn.GELU(), nn.Linear(width, width))
        self.neighbour = nn.Sequential(nn.Linear(5 * HISTORY + 5, social), nn.GELU(), nn.Linear(social, 2 * social))
        self.query = nn.Linear(width, social)
        self.nobody = nn.Parameter(torch.zeros(2 * social))
        self.social = nn.Linear(social, width)
        self.blocks = nn.ModuleList(Block(width) for _ in range(config.blocks))
        self.norm = nn.LayerNorm(width)

    def forward(self, own: Tensor, seen: Tensor, near: Tensor, near_seen: Tensor, has_neighbour: Tensor) -> Tensor:
        """own (B, T, 2), near (B, M, T, 2) in the own frame."""
        x = self.own(_past_features(own, seen))
        features = torch.cat((_past_features(near, near_seen), _encounter(own, near)), dim=-1)
        keys_values = self.neighbour(features)
        nobody = self.nobody.expand(len(own), 1, -1)
        keys, values = torch.cat((nobody, keys_values), dim=1).chunk(2, dim=-1)
        keep = torch.cat((torch.ones_like(has_neighbour[:, :1]), has_neighbour), dim=1)
        # Written out as products and sums: batches of tiny matrix products are slower on a CPU.
        split = (len(own), keys.shape[1], self.heads, -1)
        query = self.query(x).view(len(own), 1, self.heads, -1)
        score = (query * keys.reshape(split)).sum(dim=-1) / math.sqrt(query.shape[-1])  # (B, M + 1, heads)
        weight = score.masked_fill(~keep[..., None], -1e4).softmax(dim=1)
        x = x + self.social((weight[..., None] * values.reshape(split)).sum(dim=1).flatten(1))
        for block in self.blocks:
            x = block(x)
        return self.norm(x)


def _past_features(past: Tensor, seen: Tensor) -> Tensor:
    """(..., T, 2) own frame -> (..., 5 T): positions, velocities, seen."""
    keep = seen.to(past.dtype)
    velocity = torch.nn.functional.pad(past[..., 1:, :] - past[..., :-1, :], (0, 0, 1, 0))
    moving = torch.nn.functional.pad(keep[..., 1:] * keep[..., :-1], (1, 0))
    position = past * keep[..., None] / POSITION_SCALE_M
    velocity = velocity * moving[..., None] * 2.0
    return torch.cat((position.flatten(-2), velocity.flatten(-2), keep), dim=-1)


def _encounter(own: Tensor, near: Tensor) -> Tensor:
    """(B, M, 5): distance now, and when and where the two come closest at constant velocity."""
    gap = near[:, :, -1] - own[:, None, -1]
    drift = 0.5 * ((near[:, :, -1] - near[:, :, -3]) - (own[:, -1] - own[:, -3])[:, None])
    when = (-(gap * drift).sum(-1) / (drift.square().sum(-1) + 1e-3)).clamp(0.0, HORIZON)
    closest = gap + drift * when[..., None]
    distance = gap.square().sum(-1).add(1e-6).sqrt()
    passing = closest.square().sum(-1).add(1e-6).sqrt()
    return torch.stack((distance / 4, when / HORIZON, closest[..., 0] / 2, closest[..., 1] / 2, torch.exp(-passing)), dim=-1)


class Decoder(nn.Module):
    """Context and predicted latents -> mixture, as a residual to constant velocity on a smooth basis."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        width = config.width
        self.modes = config.modes
        self.terms = TERMS
        self.hidden = nn.Sequential(nn.Linear(width + PARTS * config.latent, width), nn.GELU())
        self.output = nn.Linear(width, self.modes * self.terms)
        self.linear = nn.Linear(2 * HISTORY, 2 * PATH_TERMS, bias=False)
        self.path_basis: Tensor
        self.sigma_basis: Tensor
        self.steps: Tensor
        self.first_log_sigma: Tensor
        steps = torch.arange(1.0, HORIZON + 1)[:, None]
        self.register_buffer("steps", steps, persistent=False)
        self.register_buffer("first_log_sigma", torch.log(0.05 * steps), persistent=False)
        self.register_buffer("path_basis", cosine_basis(PATH_TERMS, HORIZON).cumsum(dim=-1), persistent=False)
        self.register_buffer("sigma_basis", cosine_basis(COVARIANCE_TERMS, HORIZON), persistent=False)
        nn.init.zeros_(self.linear.weight)
        with torch.no_grad():
            self.output.weight.mul_(0.3)

    def forward(self, encoded: Encoded, correction: Tensor | None = None) -> Mixture:
        """`correction` (B, K, TERMS), if any, is added to the terms of the modes."""
        own = encoded.own
        hidden = self.hidden(torch.cat((encoded.context, encoded.predicted.flatten(1)), dim=-1))
        terms = self.output(hidden).view(len(own), self.modes, self.terms)
        if correction is not None:
            terms = terms + correction
        path, sigma, rho, logits = terms.split((2 * PATH_TERMS, 2 * COVARIANCE_TERMS, 2, 1), dim=-1)
        path = path * 0.1 + self.linear(own.flatten(1))[:, None] * 0.1
        velocity = (own[:, -1] - own[:, -3]) / 2
        straight = velocity[:, None] * self.steps
        means = straight[:, None] + _on_basis(path.unflatten(-1, (2, PATH_TERMS)), self.path_basis).mT
        log_sigma = _on_basis(sigma.unflatten(-1, (2, COVARIANCE_TERMS)), self.sigma_basis).mT + self.first_log_sigma
        rho = 0.95 * torch.tanh(_on_basis(rho, self.sigma_basis[:2]))
        # Mode 0 is the single best path: it is trained as such, and by construction no other mode is more probable.
        others = logits[:, 1:, 0]
        best = others.max(dim=-1, keepdim=True).values + torch.nn.functional.softplus(logits[:, 0])
        return Mixture(means, log_sigma.clamp(min=-6.0, max=3.0), rho, torch.cat((best, others), dim=-1))


def _on_basis(terms: Tensor, basis: Tensor) -> Tensor:
    """(..., terms) @ (terms, H) as one matrix product."""
    return (terms.reshape(-1, terms.shape[-1]) @ basis).view(*terms.shape[:-1], -1)


class TrackNetwork(nn.Module):
    """World-frame histories in, mixture in the own frame out."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = ContextEncoder(config)
        width = config.width
        self.predictor = nn.Sequential(nn.Linear(width, width), nn.GELU(), nn.Linear(width, PARTS * config.latent))
        self.decoder = Decoder(config)

    def forward(self, history: Tensor, seen: Tensor, near: Tensor, near_seen: Tensor) -> Output:
        """See `encode` for the arguments."""
        return self.decode(self.encode(history, seen, near, near_seen))

    def encode(self, history: Tensor, seen: Tensor, near: Tensor, near_seen: Tensor) -> Encoded:
        """history (B, T, 2) and near (B, M, T, 2) without holes, see `fill`; seen (B, T), near_seen (B, M, T); never seen = nobody."""
        has_neighbour = near_seen.any(dim=-1)
        frames = frames_of(history, near, has_neighbour)
        own, near = frames.to_own(history), frames.to_own(near)
        context = self.encoder(own, seen, near, near_seen, has_neighbour)
        return Encoded(own, context, self.predictor(context).view(len(context), PARTS, self.config.latent), frames)

    def decode(self, encoded: Encoded, correction: Tensor | None = None) -> Output:
        """`correction` (B, K, TERMS): what the surroundings change, see `jepa_ros.forecast.scene`; None = tracks alone."""
        return Output(self.decoder(encoded, correction), encoded.context, encoded.predicted, encoded.frames)


class FutureEncoder(nn.Module):
    """The true future in the own frame -> one latent per part of it (B, C, D): the targets of the predictor, in training only."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        width = config.width // 2
        self.part = nn.Parameter(torch.zeros(PARTS, width))
        self.input = nn.Linear(4 * (HORIZON // PARTS), width)
        self.layers = nn.Sequential(nn.GELU(), nn.LayerNorm(width), nn.Linear(width, width), nn.GELU(), nn.Linear(width, config.latent))

    def forward(self, future: Tensor) -> Tensor:
        """future (B, H, 2)."""
        velocity = torch.diff(future, dim=1, prepend=torch.zeros_like(future[:, :1]))
        steps = torch.cat((future / 4, velocity * 2), dim=-1).view(len(future), PARTS, -1)
        return self.layers(self.input(steps) + self.part)
