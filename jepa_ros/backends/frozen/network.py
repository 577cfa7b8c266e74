"""What is trained on frozen latents: a predictor under the intended motion, and a probe of occupancy and people.

Axes: B batch, T history step (oldest first), H future step, S the future steps asked for, N token, D latent width, G group of tokens,
C width of the network, Y row, X column of BEV_GRID, A = (x, y, yaw). Latents are standardised here, on the way in and back on the way out.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from jepa_ros.backends.bev import BEV_GRID
from jepa_ros.config import param, validate

MOST_GROUPS = 16  # along a side: 64 x 64 tokens are taken 4 x 4 at a time
REGIONS = 16  # along a side of the probe's grid
CELLS = BEV_GRID.rows // REGIONS  # along a side of a region
FAR_M = 10.0


@dataclass(frozen=True)
class FrozenConfig:
    """Sizes, and which encoder the latents are of."""

    model: str = param("", "back-end whose latents these are")
    weights: str = param("", "what that back-end was loaded with")
    version: str = param("", "of that back-end: other weights have other latents")
    tokens: int = param(256, "N", at_least=1)
    latent_width: int = param(1024, "D", at_least=1)
    on_grid: bool = param(False, "the tokens lie on the bird's-eye-view grid, row by row")
    dt_s: float = param(0.4, "time between steps", at_least=1e-3)
    history: int = param(4, "steps that the predictor sees", at_least=1)
    horizon: int = param(12, "steps that it predicts", at_least=1)
    width: int = param(128, "C", at_least=8)
    depth: int = param(3, "blocks of the predictor", at_least=1)
    heads: int = param(4, "attention heads", at_least=1)
    probes: bool = param(True, "occupancy and people were learned too")

    def __post_init__(self) -> None:
        validate(self)
        if math.isqrt(self.tokens) ** 2 != self.tokens:
            raise ValueError(
                f"FrozenConfig.tokens = {self.tokens}: the tokens must form a square map, such as the patches of a square image"
            )
        if self.width % self.heads:
            raise ValueError(f"FrozenConfig.width = {self.width}: must be a multiple of heads = {self.heads}")

    @property
    def group_side(self) -> int:
        """Tokens along a side of a group."""
        side = math.isqrt(self.tokens)
        return next(k for k in range(1, side + 1) if side % k == 0 and side // k <= MOST_GROUPS)

    @property
    def groups(self) -> int:
        return self.tokens // self.group_side**2

    @property
    def group_width(self) -> int:
        return self.group_side**2 * self.latent_width


class FrozenNetwork(nn.Module):
    """Everything that is saved."""

    def __init__(self, config: FrozenConfig) -> None:
        super().__init__()
        self.config = config
        self.mean: Tensor
        self.scale: Tensor
        self.register_buffer("mean", torch.zeros(config.latent_width))
        self.register_buffer("scale", torch.ones(config.latent_width))
        self.predictor = Predictor(config)
        self.probe = Probe(config) if config.probes else None

    def predict(self, history_BTND: Tensor, actions_BHA: Tensor, steps_S: Tensor | None = None) -> Tensor:
        """(B, S, N, D); steps: indices into H (default: all). Before training it is the newest latent at every step."""
        if steps_S is None:
            steps_S = torch.arange(actions_BHA.shape[1], device=actions_BHA.device)
        predicted = self.predictor(self._standard(history_BTND), actions_BHA[:, steps_S], steps_S)
        return predicted * self.scale + self.mean

    def read(self, latents_BND: Tensor) -> Tensor:
        """(B, 2, Y, X) logits: a lidar return falls in the cell; a person is there."""
        assert self.probe is not None
        return self.probe(self._standard(latents_BND))

    def _standard(self, latents: Tensor) -> Tensor:
        return (latents - self.mean) / self.scale


class Predictor(nn.Module):
    """A transformer over groups of tokens and one token of intended motion, once per future step; it adds a change to the newest latent."""

    def __init__(self, config: FrozenConfig) -> None:
        super().__init__()
        self.config = config
        self.embed = nn.Linear(config.history * config.group_width, config.width)
        self.place = nn.Parameter(0.02 * torch.randn(config.groups, config.width))
        self.motion = nn.Sequential(nn.Linear(6, config.width), nn.GELU(), nn.Linear(config.width, config.width))
        self.blocks = nn.ModuleList(block(config) for _ in range(config.depth))
        self.norm = nn.LayerNorm(config.width)
        self.change = nn.Linear(config.width, config.group_width)
        nn.init.zeros_(self.change.weight)
        nn.init.zeros_(self.change.bias)

    def forward(self, history_BTND: Tensor, poses_BSA: Tensor, steps_S: Tensor) -> Tensor:
        """(B, S, N, D) of standardised latents."""
        batch, count = poses_BSA.shape[:2]
        grouped = to_groups(history_BTND.flatten(0, 1), self.config).unflatten(0, history_BTND.shape[:2])
        scene_BGC = self.embed(grouped.transpose(1, 2).flatten(2)) + self.place
        time_S1 = (steps_S + 1).to(scene_BGC.dtype)[:, None]
        when_BS2 = torch.cat([time_S1 / self.config.horizon, 1 / time_S1], dim=-1).expand(batch, -1, -1)
        pose_BSA = poses_BSA.to(scene_BGC.dtype)
        motion = torch.cat([pose_BSA[..., :2] / FAR_M, pose_BSA[..., 2:].sin(), pose_BSA[..., 2:].cos() - 1, when_BS2], dim=-1)
        motion_BS1C = self.motion(motion)[:, :, None]
        x = torch.cat([motion_BS1C, scene_BGC[:, None] + motion_BS1C], dim=2).flatten(0, 1)
        for layer in self.blocks:
            x = layer(x)
        change = from_groups(self.change(self.norm(x[:, 1:])), self.config)
        return history_BTND[:, -1:] + change.unflatten(0, (batch, count))


class Probe(nn.Module):
    """Regions of the ground ask the tokens, wherever these lie: patches of an image as well as places on the ground."""

    def __init__(self, config: FrozenConfig) -> None:
        super().__init__()
        self.config = config
        self.embed = nn.Linear(config.group_width, config.width)
        self.place = nn.Parameter(0.02 * torch.randn(config.groups, config.width))
        self.regions = nn.Parameter(0.02 * torch.randn(REGIONS**2, config.width))
        self.asks = nn.ModuleList(nn.TransformerDecoderLayer(**layer_options(config)) for _ in range(2))
        self.answer = nn.Linear(config.width, 2 * CELLS**2)
        # Tokens that lie on the grid also answer for their own region, cell by cell.
        self.own = nn.Linear(config.group_width, 2 * CELLS**2) if config.on_grid and config.groups == REGIONS**2 else None
        nn.init.constant_(self.answer.bias, -3.0)  # most cells are free

    def forward(self, latents_BND: Tensor) -> Tensor:
        """(B, 2, Y, X) of standardised latents."""
        grouped = to_groups(latents_BND, self.config)
        tokens = self.embed(grouped) + self.place
        asked = self.regions.expand(len(tokens), -1, -1)
        for layer in self.asks:
            asked = layer(asked, tokens)
        answer = self.answer(asked)
        if self.own is not None:
            answer = answer + self.own(grouped)
        maps = answer.transpose(1, 2).unflatten(2, (REGIONS, REGIONS))
        return F.pixel_shuffle(maps, CELLS)


def block(config: FrozenConfig) -> nn.Module:
    """One transformer layer of the configured size."""
    return nn.TransformerEncoderLayer(**layer_options(config))


def layer_options(config: FrozenConfig) -> dict:
    """Pre-norm, no dropout: latents are many and the networks small."""
    return {
        "d_model": config.width, "nhead": config.heads, "dim_feedforward": 4 * config.width, "dropout": 0.0, "activation": "gelu",
        "batch_first": True, "norm_first": True,
    }  # fmt: skip


def to_groups(latents_BND: Tensor, config: FrozenConfig) -> Tensor:
    """(B, G, group width)."""
    side = math.isqrt(config.tokens)
    maps = latents_BND.transpose(1, 2).unflatten(2, (side, side))
    return F.pixel_unshuffle(maps, config.group_side).flatten(2).transpose(1, 2)


def from_groups(groups_BGE: Tensor, config: FrozenConfig) -> Tensor:
    """(B, N, D), the inverse of `to_groups`."""
    side = math.isqrt(config.tokens) // config.group_side
    maps = F.pixel_shuffle(groups_BGE.transpose(1, 2).unflatten(2, (side, side)), config.group_side)
    return maps.flatten(2).transpose(1, 2)
