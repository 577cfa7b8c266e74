"""Checkpoints in the published files' format, at tiny sizes, with weights and inputs given by a formula instead of a random generator.

A formula gives the same numbers on every machine and for every implementation, so that golden outputs can be compared for good.
"""

from __future__ import annotations

import math
from pathlib import Path

import torch
from torch import Tensor

WIDTH, DEPTH, HEADS, PATCH, IMAGE = 96, 2, 4, 16, 64
PREDICTOR_WIDTH, MASK_TOKENS = 64, 10
AC_WIDTH, AC_DEPTH = 128, 3
IJEPA_PATCH, IJEPA_IMAGE = 14, 56


def wave(shape: tuple[int, ...], phase: float, scale: float = 1.0) -> Tensor:
    """Deterministic values, roughly uniform on the sine's range, without a pattern that a matrix product would cancel."""
    index = torch.arange(math.prod(shape), dtype=torch.float64)
    return (scale * torch.sin(12.9898 * index + 78.233 * torch.sin(0.7 * index + phase))).reshape(shape).float()


def filled(shapes: dict[str, tuple[int, ...]]) -> dict[str, Tensor]:
    """Weights by formula; norms stay near one."""
    weights = {}
    for number, (key, shape) in enumerate(sorted(shapes.items())):
        value = wave(shape, float(number), 0.08)
        weights[key] = value + 1.0 if "norm" in key and key.endswith("weight") else value
    return weights


def linear(key: str, outputs: int, inputs: int) -> dict[str, tuple[int, ...]]:
    return {f"{key}.weight": (outputs, inputs), f"{key}.bias": (outputs,)}


def norm(key: str, width: int) -> dict[str, tuple[int, ...]]:
    return {f"{key}.weight": (width,), f"{key}.bias": (width,)}


def blocks(prefix: str, depth: int, width: int) -> dict[str, tuple[int, ...]]:
    shapes: dict[str, tuple[int, ...]] = {}
    for index in range(depth):
        block = f"{prefix}.{index}"
        shapes |= norm(f"{block}.norm1", width) | linear(f"{block}.attn.qkv", 3 * width, width) | linear(f"{block}.attn.proj", width, width)
        shapes |= (
            norm(f"{block}.norm2", width) | linear(f"{block}.mlp.fc1", 4 * width, width) | linear(f"{block}.mlp.fc2", width, 4 * width)
        )
    return shapes


def vjepa2_encoder() -> dict[str, Tensor]:
    patch = {"patch_embed.proj.weight": (WIDTH, 3, 2, PATCH, PATCH), "patch_embed.proj.bias": (WIDTH,)}
    return filled(patch | blocks("blocks", DEPTH, WIDTH) | norm("norm", WIDTH))


def vjepa2_predictor() -> dict[str, Tensor]:
    shapes = linear("predictor_embed", PREDICTOR_WIDTH, WIDTH) | {f"mask_tokens.{i}": (1, 1, PREDICTOR_WIDTH) for i in range(MASK_TOKENS)}
    shapes |= blocks("predictor_blocks", DEPTH, PREDICTOR_WIDTH) | norm("predictor_norm", PREDICTOR_WIDTH)
    return filled(shapes | linear("predictor_proj", WIDTH, PREDICTOR_WIDTH))


def ac_predictor() -> dict[str, Tensor]:
    shapes = linear("predictor_embed", AC_WIDTH, WIDTH) | linear("action_encoder", AC_WIDTH, 7) | linear("state_encoder", AC_WIDTH, 7)
    shapes |= linear("extrinsics_encoder", AC_WIDTH, 6) | blocks("predictor_blocks", AC_DEPTH, AC_WIDTH)
    return filled(shapes | norm("predictor_norm", AC_WIDTH) | linear("predictor_proj", WIDTH, AC_WIDTH))


def ijepa_encoder() -> dict[str, Tensor]:
    tokens = (IJEPA_IMAGE // IJEPA_PATCH) ** 2
    shapes: dict[str, tuple[int, ...]] = {"pos_embed": (1, tokens, WIDTH)}
    shapes |= {"patch_embed.proj.weight": (WIDTH, 3, IJEPA_PATCH, IJEPA_PATCH), "patch_embed.proj.bias": (WIDTH,)}
    return filled(shapes | blocks("blocks", DEPTH, WIDTH) | norm("norm", WIDTH))


def wrapped(weights: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {prefix + key: value for key, value in weights.items()}


def save_vjepa2(path: Path, encoder_part: str = "target_encoder") -> Path:
    """As `vitl.pt` is: prefixes of two wrappers, an unused position table, counters of the training beside the weights."""
    unused = {"pos_embed": torch.zeros(1, 32 * (IMAGE // PATCH) ** 2, WIDTH)}
    encoder = wrapped(vjepa2_encoder() | unused, "module.backbone.")
    torch.save({encoder_part: encoder, "predictor": wrapped(vjepa2_predictor(), "module.backbone."), "epoch": 3, "lr": 1e-4}, path)
    return path


def save_vjepa2_ac(path: Path) -> Path:
    """As `vjepa2-ac-vitg.pt` is."""
    unused = {"pos_embed": torch.zeros(1, 32 * (IMAGE // PATCH) ** 2, WIDTH)}
    torch.save({"encoder": wrapped(vjepa2_encoder() | unused, "module."), "predictor": wrapped(ac_predictor(), "module.")}, path)
    return path


def save_ijepa(path: Path) -> Path:
    """As the I-JEPA release files are."""
    torch.save({"encoder": wrapped(ijepa_encoder(), "module."), "target_encoder": wrapped(ijepa_encoder(), "module."), "epoch": 300}, path)
    return path
