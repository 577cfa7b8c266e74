"""The action-conditioned predictor of V-JEPA 2-AC: a block-causal transformer over [action, state, (extrinsics), patches] of each step.

Written from the published description (Assran et al. 2025, "V-JEPA 2", section 3) and checked against the reference implementation's
numbers. Module names follow the published checkpoint, so that its keys load as they are.

Axes: B batch, T step, P patch of one frame, L token of one step (conditioning tokens, then patches), C predictor width, D encoder width,
M attention head, E head width, A = 7 action or state (x, y, z, three Euler angles, gripper), X = 6 extrinsics.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from jepa_ros.config import param, validate

ROPE_BASE = 10_000.0


@dataclass(frozen=True)
class PredictorConfig:
    """Sizes; the defaults are those of the published `vjepa2-ac-vitg.pt`."""

    encoder_width: int = param(1408, "width D of the encoder's latents", at_least=1)
    width: int = param(1024, "width C of the predictor", at_least=1)
    depth: int = param(24, "transformer blocks", at_least=1)
    heads: int = param(16, "attention heads", at_least=1)
    grid: int = param(16, "patches along each side of a frame (256 px / 16 px)", at_least=1)
    max_steps: int = param(32, "the most steps that one sequence holds (64 frames / tubelet 2)", at_least=1)
    use_extrinsics: bool = param(False, "a camera extrinsics token joins each step; its weights are in the file either way")

    def __post_init__(self) -> None:
        validate(self)
        if self.width % self.heads or (self.width // self.heads) // 3 < 2:
            raise ValueError(
                f"PredictorConfig.width = {self.width} with {self.heads} heads: heads must divide it and leave at least 6 per head"
            )

    @property
    def conditioning_tokens(self) -> int:
        return 3 if self.use_extrinsics else 2


@dataclass(frozen=True)
class Context:
    """Keys and values of the steps so far, one pair per block: (B, M, T * L, E). Block-causality makes them final once computed."""

    keys: tuple[Tensor, ...]
    values: tuple[Tensor, ...]
    steps: int

    def expand(self, batch: int) -> Context:
        """Share the context of one scene among `batch` candidates, without copying it."""
        return Context(
            tuple(key.expand(batch, -1, -1, -1) for key in self.keys),
            tuple(value.expand(batch, -1, -1, -1) for value in self.values),
            self.steps,
        )


class Attention(nn.Module):
    """Multi-head self-attention with rotary positions in three axes, named as in the published files."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(
        self, x_BNC: Tensor, rotation: tuple[Tensor, Tensor], mask: Tensor | None, past: tuple[Tensor, Tensor] | None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Returns the output (B, N, C) and all keys and values (B, M, past + N, E)."""
        query, key, value = self.qkv(x_BNC).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        query, key = rotate(query, *rotation), rotate(key, *rotation)
        if past is not None:
            key, value = torch.cat([past[0], key], dim=2), torch.cat([past[1], value], dim=2)
        mixed = F.scaled_dot_product_attention(query, key, value, attn_mask=mask)
        return self.proj(mixed.transpose(1, 2).flatten(2)), key, value


class Mlp(nn.Module):
    """Two linear layers with a GELU between them, four times as wide inside."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, 4 * width)
        self.fc2 = nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(F.gelu(self.fc1(x)))


class Block(nn.Module):
    """Attention, then MLP, each behind a norm and with a skip."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=1e-6)
        self.attn = Attention(width, heads)
        self.norm2 = nn.LayerNorm(width, eps=1e-6)
        self.mlp = Mlp(width)

    def forward(
        self, x_BNC: Tensor, rotation: tuple[Tensor, Tensor], mask: Tensor | None, past: tuple[Tensor, Tensor] | None
    ) -> tuple[Tensor, Tensor, Tensor]:
        mixed, key, value = self.attn(self.norm1(x_BNC), rotation, mask, past)
        x_BNC = x_BNC + mixed
        return x_BNC + self.mlp(self.norm2(x_BNC)), key, value


class ActionConditionedPredictor(nn.Module):
    """Latents, actions and states of T steps -> the latents one step later, for each of them."""

    def __init__(self, config: PredictorConfig) -> None:
        super().__init__()
        self.config = config
        self.predictor_embed = nn.Linear(config.encoder_width, config.width)
        self.action_encoder = nn.Linear(7, config.width)
        self.state_encoder = nn.Linear(7, config.width)
        self.extrinsics_encoder = nn.Linear(6, config.width)
        self.predictor_blocks = nn.ModuleList(Block(config.width, config.heads) for _ in range(config.depth))
        self.predictor_norm = nn.LayerNorm(config.width, eps=1e-6)
        self.predictor_proj = nn.Linear(config.width, config.encoder_width)
        self._cos: Tensor
        self._sin: Tensor
        cos, sin = rotation_tables(config)
        self.register_buffer("_cos", cos, persistent=False)
        self.register_buffer("_sin", sin, persistent=False)

    def forward(self, latents_BTPD: Tensor, actions_BTA: Tensor, states_BTA: Tensor, extrinsics_BTX: Tensor | None = None) -> Tensor:
        """(B, T, P, D): entry t predicts the latent of step t + 1. ValueError for more than `max_steps` steps or missing extrinsics."""
        return self.extend(None, latents_BTPD, actions_BTA, states_BTA, extrinsics_BTX)[0]

    def extend(
        self, context: Context | None, latents_BTPD: Tensor, actions_BTA: Tensor, states_BTA: Tensor, extrinsics_BTX: Tensor | None = None
    ) -> tuple[Tensor, Context]:
        """Like `forward` for T further steps after those in `context`, which are not computed again."""
        tokens_BTLC = self._tokens(latents_BTPD, actions_BTA, states_BTA, extrinsics_BTX)
        steps, length = tokens_BTLC.shape[1:3]
        first = context.steps if context else 0
        if first + steps > self.config.max_steps:
            raise ValueError(f"{first + steps} steps: this predictor holds at most {self.config.max_steps}")
        rotation = self._cos[first : first + steps].flatten(0, 1), self._sin[first : first + steps].flatten(0, 1)
        # A single step attends to all that there is; no mask lets the fast attention kernels run.
        mask = block_causal_mask(first, steps, length, tokens_BTLC.device) if steps > 1 else None
        x_BNC = tokens_BTLC.flatten(1, 2)
        keys, values = [], []
        for index, block in enumerate(self.predictor_blocks):
            past = (context.keys[index], context.values[index]) if context else None
            x_BNC, key, value = block(x_BNC, rotation, mask, past)
            keys.append(key)
            values.append(value)
        patches_BTPC = x_BNC.unflatten(1, (steps, length))[:, :, self.config.conditioning_tokens :]
        predicted = self.predictor_proj(self.predictor_norm(patches_BTPC))
        return predicted, Context(tuple(keys), tuple(values), first + steps)

    def _tokens(self, latents_BTPD: Tensor, actions_BTA: Tensor, states_BTA: Tensor, extrinsics_BTX: Tensor | None) -> Tensor:
        conditioning = [self.action_encoder(actions_BTA), self.state_encoder(states_BTA)]
        if self.config.use_extrinsics:
            if extrinsics_BTX is None:
                raise ValueError("this predictor was configured with use_extrinsics: pass extrinsics_BTX, or configure it without")
            conditioning.append(self.extrinsics_encoder(extrinsics_BTX))
        return torch.cat([torch.stack(conditioning, dim=2), self.predictor_embed(latents_BTPD)], dim=2)


def block_causal_mask(first: int, steps: int, length: int, device: torch.device) -> Tensor:
    """(steps * L, (first + steps) * L) True where attention is allowed: all of one's own step and of the steps before."""
    query_step = torch.arange(first, first + steps, device=device).repeat_interleave(length)
    key_step = torch.arange(first + steps, device=device).repeat_interleave(length)
    return query_step[:, None] >= key_step[None, :]


def rotation_tables(config: PredictorConfig) -> tuple[Tensor, Tensor]:
    """Cosine and sine of the rotary embedding, (max_steps, L, E) each.

    A head of width E is split in three equal even parts that rotate with time, row and column, and a rest that does not. Conditioning
    tokens rotate with time alone. The published weights were trained with each part's frequencies laid end to end (f0 f1 ... f0 f1 ...)
    rather than pairwise, and only that order reproduces them.
    """
    head = config.width // config.heads
    part = 2 * ((head // 3) // 2)
    frequency = ROPE_BASE ** -(torch.arange(part // 2, dtype=torch.float32) / (part / 2))
    frequency = frequency.repeat(2)  # (part,)
    cells = torch.arange(config.grid, dtype=torch.float32)
    row = torch.cat([torch.zeros(config.conditioning_tokens), cells.repeat_interleave(config.grid)])  # (L,)
    column = torch.cat([torch.zeros(config.conditioning_tokens), cells.repeat(config.grid)])
    time = torch.arange(config.max_steps, dtype=torch.float32)
    shape = (config.max_steps, len(row), part)
    angle = torch.cat(
        [
            (time[:, None, None] * frequency).expand(shape),
            (row[None, :, None] * frequency).expand(shape),
            (column[None, :, None] * frequency).expand(shape),
            torch.zeros(*shape[:2], head - 3 * part),
        ],
        dim=-1,
    )
    return angle.cos(), angle.sin()


def rotate(x_BMNE: Tensor, cos_NE: Tensor, sin_NE: Tensor) -> Tensor:
    """Rotate neighbouring pairs (2i, 2i + 1)."""
    even, odd = x_BMNE.unflatten(-1, (-1, 2)).unbind(-1)
    turned = torch.stack((-odd, even), dim=-1).flatten(-2)
    return x_BMNE * cos_NE.to(x_BMNE.dtype) + turned * sin_NE.to(x_BMNE.dtype)
