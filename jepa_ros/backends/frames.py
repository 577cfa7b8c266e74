"""Observation -> the square, normalised image that the pretrained vision encoders expect."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from jepa_ros.types import Observation

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def square_image(observation: Observation, side_px: int, model_name: str) -> Tensor:
    """(3, side, side) of the first camera: shorter side resized, centre cropped, ImageNet-normalised.

    Raises ValueError where the observation holds no image.
    """
    if not observation.cameras:
        raise ValueError(f"{model_name} sees through cameras only, and the observation at {observation.stamp_s:.3f} s has none")
    rgb = torch.from_numpy(observation.cameras[0].rgb.copy()).permute(2, 0, 1)[None].float() / 255
    rows, columns = rgb.shape[-2:]
    scale = side_px / min(rows, columns)
    size = (max(side_px, round(rows * scale)), max(side_px, round(columns * scale)))
    resized = F.interpolate(rgb, size=size, mode="bilinear", antialias=True, align_corners=False)[0]
    top, left = (size[0] - side_px) // 2, (size[1] - side_px) // 2
    crop = resized[:, top : top + side_px, left : left + side_px]
    mean, std = torch.tensor(IMAGENET_MEAN)[:, None, None], torch.tensor(IMAGENET_STD)[:, None, None]
    return (crop - mean) / std
