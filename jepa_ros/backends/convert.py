"""Converts the published `.pt` files to what the back-ends load: a Hugging Face directory, and for V-JEPA 2-AC a pair of safetensors files.

    python -m jepa_ros.backends.convert vjepa2 vitl.pt OUT_DIR
    python -m jepa_ros.backends.convert vjepa2_ac vjepa2-ac-vitg.pt OUT_DIR
    python -m jepa_ros.backends.convert ijepa IN1K-vit.h.14-300e.pth.tar OUT_DIR

Sizes are read off the tensors. What no tensor tells, the number of attention heads and the image size, comes from the published models'
table and can be overridden.
"""

from __future__ import annotations

import argparse
import json
import math
import re
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor
from transformers import IJepaConfig, IJepaModel, VJEPA2Config, VJEPA2Model
from transformers.models.vjepa2.modeling_vjepa2 import VJEPA2Encoder

from jepa_ros.backends.checkpoints import Weights, load_strictly, part_of, read_checkpoint
from jepa_ros.backends.vjepa2_ac.model import ENCODER_FILE, PREDICTOR_FILE
from jepa_ros.backends.vjepa2_ac.predictor import ActionConditionedPredictor, PredictorConfig

# Encoder parts by preference: the exponential average that the papers evaluate, under its older and its newer name.
ENCODER_PARTS = ("target_encoder", "ema_encoder", "encoder")
VJEPA2_HEADS = {1024: 16, 1280: 16, 1408: 22}  # by width: L, H, g
IJEPA_HEADS = {1280: 16, 1408: 16}  # H, g
HEAD_WIDTH, MASK_PREDICTOR_HEAD_WIDTH = 64, 32  # of all published predictors, and the guess for other encoders
FRAMES = 64  # per clip, in all published V-JEPA 2 files

# (pattern, replacement), the first match counts; "qkv" in the result is split into query, key and value.
VJEPA2_ENCODER = [
    (r"patch_embed\.", "embeddings.patch_embeddings."),
    (r"blocks\.(\d+)\.attn\.", r"layer.\1.attention."),
    (r"blocks\.", "layer."),
    (r"norm\.", "layernorm."),
]
VJEPA2_PREDICTOR = [
    (r"predictor_embed\.", "embeddings.predictor_embeddings."),
    (r"predictor_blocks\.(\d+)\.attn\.", r"layer.\1.attention."),
    (r"predictor_blocks\.", "layer."),
    (r"predictor_norm\.", "layernorm."),
    (r"predictor_proj\.", "proj."),
]
IJEPA_ENCODER = [
    (r"pos_embed$", "embeddings.position_embeddings"),
    (r"patch_embed\.proj\.", "embeddings.patch_embeddings.projection."),
    (r"blocks\.(\d+)\.norm1\.", r"layers.\1.layernorm_before."),
    (r"blocks\.(\d+)\.norm2\.", r"layers.\1.layernorm_after."),
    (r"blocks\.(\d+)\.attn\.proj\.", r"layers.\1.attention.o_proj."),
    (r"blocks\.(\d+)\.attn\.", r"layers.\1.attention."),
    (r"blocks\.", "layers."),
    (r"norm\.", "layernorm."),
]


def convert_vjepa2(source: Path, out: Path, heads: int | None = None, image_size: int | None = None) -> None:
    """Encoder and mask predictor of a V-JEPA 2 file -> Hugging Face directory `out`. Raises ValueError where anything does not fit."""
    parts = read_checkpoint(source)
    encoder = part_of(parts, ENCODER_PARTS, source)
    if any(key.startswith("norms_block.") for key in encoder):
        raise ValueError(f"{source}: a V-JEPA 2.1 encoder, which is normalised at several depths; only V-JEPA 2 can be converted")
    predictor = part_of(parts, ["predictor"], source)
    config = _vjepa2_config(encoder, heads, image_size)
    config.pred_hidden_size = width = _tensor(predictor, "predictor_embed.weight", source).shape[0]
    config.pred_num_hidden_layers = _depth(predictor, "predictor_blocks")
    config.pred_num_attention_heads = max(1, width // MASK_PREDICTOR_HEAD_WIDTH)
    config.pred_num_mask_tokens = sum(key.startswith("mask_tokens.") for key in predictor)
    config.pred_mlp_ratio = predictor["predictor_blocks.0.mlp.fc1.weight"].shape[0] / width
    masks = [predictor.pop(f"mask_tokens.{index}") for index in range(config.pred_num_mask_tokens)]
    weights = {f"encoder.{key}": value for key, value in _renamed(encoder, VJEPA2_ENCODER, ("query", "key", "value")).items()}
    weights |= {f"predictor.{key}": value for key, value in _renamed(predictor, VJEPA2_PREDICTOR, ("query", "key", "value")).items()}
    weights["predictor.embeddings.mask_tokens"] = torch.stack(masks)
    with torch.device("meta"):
        model = VJEPA2Model(config)
    # Both position tables are left from an ancestor; the model rotates queries and keys instead.
    load_strictly(model, weights, str(source), unused=["encoder.pos_embed", "predictor.predictor_pos_embed"])
    model.save_pretrained(out)


def convert_vjepa2_ac(source: Path, out: Path, heads: int | None = None, image_size: int | None = None) -> None:
    """Encoder and action-conditioned predictor of a V-JEPA 2-AC file -> `out`. Raises ValueError where anything does not fit."""
    parts = read_checkpoint(source)
    encoder, predictor = part_of(parts, ["encoder"], source), part_of(parts, ["predictor"], source)
    config = _vjepa2_config(encoder, heads, image_size)
    width, encoder_width = _tensor(predictor, "predictor_embed.weight", source).shape
    sizes = PredictorConfig(
        encoder_width=encoder_width,
        width=width,
        depth=_depth(predictor, "predictor_blocks"),
        heads=max(1, width // HEAD_WIDTH),
        grid=config.crop_size // config.patch_size,
    )
    with torch.device("meta"):
        backbone, module = VJEPA2Encoder(config), ActionConditionedPredictor(sizes)
    load_strictly(backbone, _renamed(encoder, VJEPA2_ENCODER, ("query", "key", "value")), str(source), unused=["pos_embed"])
    load_strictly(module, predictor, str(source))
    config.save_pretrained(out)
    save_file(backbone.state_dict(), out / ENCODER_FILE)
    save_file(module.state_dict(), out / PREDICTOR_FILE, metadata={"config": json.dumps(asdict(sizes))})


def convert_ijepa(source: Path, out: Path, heads: int | None = None, image_size: int | None = None) -> None:
    """Encoder of an I-JEPA file -> Hugging Face directory `out`. Raises ValueError where anything does not fit."""
    weights = part_of(read_checkpoint(source), ENCODER_PARTS, source)
    width, _, patch, _ = _tensor(weights, "patch_embed.proj.weight", source).shape
    config = IJepaConfig(
        hidden_size=width,
        num_hidden_layers=_depth(weights, "blocks"),
        num_attention_heads=heads or IJEPA_HEADS.get(width, max(1, width // HEAD_WIDTH)),
        intermediate_size=_tensor(weights, "blocks.0.mlp.fc1.weight", source).shape[0],
        patch_size=patch,
        image_size=image_size or patch * math.isqrt(_tensor(weights, "pos_embed", source).shape[1]),
        layer_norm_eps=1e-6,
    )
    with torch.device("meta"):
        model = IJepaModel(config, add_pooling_layer=False)
    load_strictly(model, _renamed(weights, IJEPA_ENCODER, ("q_proj", "k_proj", "v_proj")), str(source))
    model.save_pretrained(out)


CONVERTERS: dict[str, Callable[..., None]] = {"vjepa2": convert_vjepa2, "vjepa2_ac": convert_vjepa2_ac, "ijepa": convert_ijepa}


def _vjepa2_config(encoder: Weights, heads: int | None, image_size: int | None) -> VJEPA2Config:
    width, _, tubelet, patch, _ = _tensor(encoder, "patch_embed.proj.weight", "the encoder").shape
    if image_size is None:
        # The position table goes unused, but its length still tells the image size.
        tokens = encoder["pos_embed"].shape[1] if "pos_embed" in encoder else (256 // patch) ** 2 * FRAMES // tubelet
        image_size = patch * math.isqrt(tokens * tubelet // FRAMES)
    return VJEPA2Config(
        patch_size=patch,
        crop_size=image_size,
        frames_per_clip=FRAMES,
        tubelet_size=tubelet,
        hidden_size=width,
        num_attention_heads=heads or VJEPA2_HEADS.get(width, max(1, width // HEAD_WIDTH)),
        num_hidden_layers=_depth(encoder, "blocks"),
        mlp_ratio=_tensor(encoder, "blocks.0.mlp.fc1.weight", "the encoder").shape[0] / width,
    )


def _tensor(weights: Weights, key: str, where: str | Path) -> Tensor:
    if key not in weights:
        raise ValueError(f"{where}: missing {key}; is this file of another model? Its first keys: {sorted(weights)[:4]}")
    return weights[key]


def _depth(weights: Weights, blocks: str) -> int:
    return 1 + max((int(key.split(".")[1]) for key in weights if key.startswith(f"{blocks}.")), default=-1)


def _renamed(weights: Weights, rules: list[tuple[str, str]], qkv: tuple[str, str, str]) -> Weights:
    """The same tensors under other names. Keys that no rule knows stay as they are, so that strict loading can name them."""
    renamed: Weights = {}
    for key, value in weights.items():
        pattern, replacement = next(((p, r) for p, r in rules if re.match(p, key)), ("", ""))
        new = re.sub(f"^{pattern}", replacement, key)
        if ".qkv." in new:
            renamed.update({new.replace("qkv", name): part.clone() for name, part in zip(qkv, value.chunk(3), strict=True)})
        else:
            renamed[new] = value
    return renamed


def main(argv: list[str] | None = None) -> int:
    """Entry point of the command line."""
    parser = argparse.ArgumentParser(prog="python -m jepa_ros.backends.convert", description="Convert a published JEPA checkpoint.")
    parser.add_argument("model", choices=CONVERTERS)
    parser.add_argument("source", type=Path, help="the downloaded .pt, .pth or .pth.tar file")
    parser.add_argument("out", type=Path, help="directory to write")
    parser.add_argument("--heads", type=int, help="attention heads of the encoder (default: those of the published model of this width)")
    parser.add_argument("--image-size", type=int, help="side of the images in pixels (default: read off the file)")
    arguments = parser.parse_args(argv)
    arguments.out.mkdir(parents=True, exist_ok=True)
    try:
        CONVERTERS[arguments.model](arguments.source, arguments.out, arguments.heads, arguments.image_size)
    except ValueError as error:
        print(error, file=sys.stderr)
        return 1
    print(f"{arguments.out}: load it with model:={arguments.model} and weights:={arguments.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
