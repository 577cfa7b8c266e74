"""Writes a tiny checkpoint of random weights as the published files are, and converts it, to try a back-end before the real download.

    python -m jepa_ros.backends.random_checkpoint vjepa2 OUT_DIR

It has learned nothing; it shows that topics, services and loading work. Keys, prefixes and unused tensors are those of the published files.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from jepa_ros.backends.checkpoints import Weights
from jepa_ros.backends.convert import CONVERTERS, FRAMES

Shapes = dict[str, tuple[int, ...]]
Fill = Callable[[Shapes], Weights]
SEED = 0


@dataclass(frozen=True)
class TinySizes:
    """Small enough for any machine; heads are 64 wide, as published."""

    width: int = 128
    depth: int = 2
    image: int = 64
    patch: int = 16
    predictor_width: int = 64  # mask predictor
    mask_tokens: int = 10
    ac_width: int = 128  # action-conditioned predictor
    ac_depth: int = 2

    @property
    def patches(self) -> int:
        return (self.image // self.patch) ** 2


def vjepa2_encoder(sizes: TinySizes) -> Shapes:
    """Names and shapes of a V-JEPA 2 encoder's tensors, as published."""
    patch = {"patch_embed.proj.weight": (sizes.width, 3, 2, sizes.patch, sizes.patch), "patch_embed.proj.bias": (sizes.width,)}
    return patch | _blocks("blocks", sizes.depth, sizes.width) | _norm("norm", sizes.width)


def vjepa2_predictor(sizes: TinySizes) -> Shapes:
    """Names and shapes of a V-JEPA 2 mask predictor's tensors, as published."""
    width = sizes.predictor_width
    masks: Shapes = {f"mask_tokens.{index}": (1, 1, width) for index in range(sizes.mask_tokens)}
    blocks = _blocks("predictor_blocks", sizes.depth, width) | _norm("predictor_norm", width)
    return _linear("predictor_embed", width, sizes.width) | masks | blocks | _linear("predictor_proj", sizes.width, width)


def ac_predictor(sizes: TinySizes) -> Shapes:
    """Names and shapes of a V-JEPA 2-AC predictor's tensors, as published."""
    width = sizes.ac_width
    shapes = _linear("predictor_embed", width, sizes.width) | _linear("action_encoder", width, 7) | _linear("state_encoder", width, 7)
    shapes |= _linear("extrinsics_encoder", width, 6) | _blocks("predictor_blocks", sizes.ac_depth, width)
    return shapes | _norm("predictor_norm", width) | _linear("predictor_proj", sizes.width, width)


def ijepa_encoder(sizes: TinySizes) -> Shapes:
    """Names and shapes of an I-JEPA encoder's tensors, as published."""
    shapes: Shapes = {"pos_embed": (1, sizes.patches, sizes.width), "patch_embed.proj.bias": (sizes.width,)}
    shapes["patch_embed.proj.weight"] = (sizes.width, 3, sizes.patch, sizes.patch)
    return shapes | _blocks("blocks", sizes.depth, sizes.width) | _norm("norm", sizes.width)


def save_vjepa2(path: Path, sizes: TinySizes, fill: Fill, encoder_part: str = "target_encoder") -> Path:
    """As `vitl.pt` is: prefixes of two wrappers, an unused position table, counters of the training beside the weights."""
    encoder = _wrapped(fill(vjepa2_encoder(sizes)) | _unused_positions(sizes), "module.backbone.")
    predictor = _wrapped(fill(vjepa2_predictor(sizes)), "module.backbone.")
    torch.save({encoder_part: encoder, "predictor": predictor, "epoch": 3, "lr": 1e-4}, path)
    return path


def save_vjepa2_ac(path: Path, sizes: TinySizes, fill: Fill) -> Path:
    """As `vjepa2-ac-vitg.pt` is."""
    encoder = _wrapped(fill(vjepa2_encoder(sizes)) | _unused_positions(sizes), "module.")
    torch.save({"encoder": encoder, "predictor": _wrapped(fill(ac_predictor(sizes)), "module.")}, path)
    return path


def save_ijepa(path: Path, sizes: TinySizes, fill: Fill) -> Path:
    """As the I-JEPA release files are."""
    encoder = _wrapped(fill(ijepa_encoder(sizes)), "module.")
    torch.save({"encoder": encoder, "target_encoder": encoder, "epoch": 300}, path)
    return path


SAVERS: dict[str, Callable[[Path, TinySizes, Fill], Path]] = {"vjepa2": save_vjepa2, "vjepa2_ac": save_vjepa2_ac, "ijepa": save_ijepa}


def random_checkpoint(model: str, folder: Path) -> Path:
    """Write `folder/published.pt` with random weights and convert it: `folder` can be named as the back-end's weights."""
    generator = torch.Generator().manual_seed(SEED)

    def fill(shapes: Shapes) -> Weights:
        return {key: _random(key, shape, generator) for key, shape in shapes.items()}

    folder.mkdir(parents=True, exist_ok=True)
    CONVERTERS[model](SAVERS[model](folder / "published.pt", TinySizes(), fill), folder)
    return folder


def _random(key: str, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """Norms keep what they are given; matrices keep its size."""
    if "norm" in key:
        return torch.ones(shape) if key.endswith("weight") else torch.zeros(shape)
    return torch.randn(shape, generator=generator) / math.sqrt(math.prod(shape[1:]))


def _unused_positions(sizes: TinySizes) -> Weights:
    return {"pos_embed": torch.zeros(1, FRAMES // 2 * sizes.patches, sizes.width)}


def _linear(key: str, outputs: int, inputs: int) -> Shapes:
    return {f"{key}.weight": (outputs, inputs), f"{key}.bias": (outputs,)}


def _norm(key: str, width: int) -> Shapes:
    return {f"{key}.weight": (width,), f"{key}.bias": (width,)}


def _blocks(prefix: str, depth: int, width: int) -> Shapes:
    shapes: Shapes = {}
    for index in range(depth):
        block = f"{prefix}.{index}"
        shapes |= _norm(f"{block}.norm1", width) | _linear(f"{block}.attn.qkv", 3 * width, width)
        shapes |= _linear(f"{block}.attn.proj", width, width) | _norm(f"{block}.norm2", width)
        shapes |= _linear(f"{block}.mlp.fc1", 4 * width, width) | _linear(f"{block}.mlp.fc2", width, 4 * width)
    return shapes


def _wrapped(weights: Weights, prefix: str) -> Weights:
    return {prefix + key: value for key, value in weights.items()}


def main(argv: list[str] | None = None) -> int:
    """Entry point of the command line."""
    parser = argparse.ArgumentParser(prog="python -m jepa_ros.backends.random_checkpoint", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("model", choices=SAVERS)
    parser.add_argument("out", type=Path, help="directory to write")
    arguments = parser.parse_args(argv)
    folder = random_checkpoint(arguments.model, arguments.out)
    print(
        f"{folder}: random weights for model:={arguments.model} weights:={folder}; {folder / 'published.pt'} is the file before conversion"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
