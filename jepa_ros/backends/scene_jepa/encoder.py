"""Lidar pillars and camera images -> one latent map.

Axes: B batch, K camera, C channel, Y row, X column, Z sampling height, D latent width. BEV maps are in the anchor frame, 128 x 128 cells
in, 64 x 64 tokens out.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from jepa_ros.backends.scene_jepa.blocks import ChannelNorm, ResBlock, Up, down
from jepa_ros.backends.scene_jepa.camera import CameraColumns
from jepa_ros.backends.scene_jepa.config import FIRST_BAND, GROUNDED_SCALE, IMAGE_SIZE, SceneJepaConfig


@dataclass(frozen=True)
class SceneInput:
    """What the encoder sees. A batch may mix scenes with and without a lidar; unused camera slots are masked."""

    pillars_BCYX: Tensor  # zeros where there is no lidar
    has_lidar_B: Tensor  # 1 or 0
    images_BKCHW: Tensor  # RGB, 0-1; K may be 0
    pixels_BKZYX2: Tensor  # where each BEV cell at each height falls in each image, -1 ... 1; beyond that: not seen
    columns_BKYX3: Tensor  # from `projection.cell_columns`; K = 0 where there is a lidar, which knows better

    def to(self, device: str | torch.device) -> SceneInput:
        return SceneInput(*(getattr(self, name).to(device) for name in self.__dataclass_fields__))


class CameraLift(nn.Module):
    """Image features sampled where the calibration says that each BEV cell appears, at several heights; masked mean over the cameras."""

    def __init__(self, config: SceneJepaConfig, heights: int) -> None:
        super().__init__()
        c = config.camera
        self.image = nn.Sequential(
            down(3, c // 2), nn.ReLU(), down(c // 2, c), nn.ReLU(), down(c, c), nn.ReLU(), ResBlock(c), ChannelNorm(c)
        )  # stride 8
        self.fuse = nn.Conv2d(heights * c + heights, config.body, 1)

    def features(self, images_BKCHW: Tensor) -> Tensor:
        """(B, K, camera, H / 8, W / 8) of the images alone, wherever the cameras look."""
        features: Tensor = self.image((images_BKCHW.flatten(0, 1) - 0.45) / 0.25)
        return features.unflatten(0, images_BKCHW.shape[:2])

    def forward(self, features_BKCHW: Tensor, pixels_BKZYX2: Tensor) -> Tensor:
        """(B, body, Y, X); exactly 0 where no camera looks."""
        batch, cameras, heights = pixels_BKZYX2.shape[:3]
        where = pixels_BKZYX2.to(features_BKCHW.dtype)
        seen = (where.abs() <= 1).all(dim=-1)  # (B, K, Z, Y, X)
        count = seen.sum(dim=1).to(where.dtype)  # (B, Z, Y, X)
        # Fused before they are sampled: an image has fewer places than the map has, and sampling is linear.
        of_features, of_seen = self.fuse.weight.flatten(1).split([self.fuse.in_channels - heights, heights], dim=1)
        by_height = of_features.unflatten(1, (-1, heights)).permute(2, 0, 1).flatten(0, 1)  # (Z body, camera)
        fused = F.conv2d(features_BKCHW.flatten(0, 1), by_height[..., None, None]).unflatten(1, (heights, -1)).flatten(0, 1)
        sampled = F.grid_sample(fused.contiguous(), where.flatten(0, 2), align_corners=False).unflatten(0, (batch, cameras, heights))
        share = seen / count[:, None].clamp(min=1)  # of each camera in the mean
        assert self.fuse.bias is not None
        looked_at = torch.einsum("cz,bzyx->bcyx", of_seen, (count > 0).to(where.dtype))
        bias = self.fuse.bias[:, None, None] * (count > 0).any(dim=1, keepdim=True)
        return ((sampled * share[:, :, :, None]).sum(dim=(1, 2)) + looked_at + bias).to(fused.dtype)


class SceneEncoder(nn.Module):
    """A small U-Net over the bird's-eye view; the cameras join at its coarse level."""

    def __init__(self, config: SceneJepaConfig, pillar_channels: int, heights: int) -> None:
        super().__init__()
        # One extra channel says whether there was a lidar at all: "no returns" and "no sensor" are different news.
        self.stem = nn.Sequential(down(pillar_channels + 1, config.stem), nn.ReLU(), ResBlock(config.stem, config.narrow))
        self.down = down(config.stem, config.body)
        self.camera = CameraLift(config, heights)
        self.columns = CameraColumns(config.grounded // 4, IMAGE_SIZE[0]) if config.columns else None
        self.body = nn.Sequential(*(ResBlock(config.body, config.narrow) for _ in range(3)))
        self.up = Up(config.body, config.stem)
        self.head = nn.Sequential(ResBlock(config.stem, config.narrow), ChannelNorm(config.stem), nn.Conv2d(config.stem, config.width, 1))
        self.grounded = config.grounded

    def forward(self, scene: SceneInput, features_BKCHW: Tensor | None = None) -> Tensor:
        """(B, D, 64, 64). features: `camera.features` of the images, where they are known already."""
        flag = scene.has_lidar_B[:, None, None, None].expand(-1, 1, *scene.pillars_BCYX.shape[2:])
        fine = self.stem(torch.cat([scene.pillars_BCYX, flag], dim=1).contiguous(memory_format=torch.channels_last))
        coarse = self.down(fine)
        if scene.images_BKCHW.shape[1]:
            features = self.camera.features(scene.images_BKCHW) if features_BKCHW is None else features_BKCHW
            coarse = coarse + self.camera(features, scene.pixels_BKZYX2)
        learned = self.head(fine + self.up(self.body(coarse)))
        return self._grounded(scene, learned)

    def _grounded(self, scene: SceneInput, learned: Tensor) -> Tensor:
        """Put what the lidar observed of each cell in front of what was learned.

        Purely learned latents keep what is easily predicted and, at the size of our trainings, forget where exactly a return was. Without a
        lidar these channels are guessed.
        """
        returns = (scene.pillars_BCYX[:, FIRST_BAND:] > 0).to(learned.dtype)
        observed = GROUNDED_SCALE * F.pixel_unshuffle(returns, 2)
        has_lidar = scene.has_lidar_B[:, None, None, None] > 0
        return torch.cat([torch.where(has_lidar, observed, self._guessed(scene, learned)), learned[:, self.grounded :]], dim=1)

    def _guessed(self, scene: SceneInput, learned: Tensor) -> Tensor:
        """What a lidar would have observed: of what a camera looks at, what its image tells; elsewhere, what was learned with the rest."""
        guess = learned[:, : self.grounded]
        if self.columns is None or not scene.columns_BKYX3.shape[1]:
            return guess
        logits_BZYX, seen_B1YX = self.columns(scene.images_BKCHW, scene.columns_BKYX3)
        likely = GROUNDED_SCALE * F.pixel_unshuffle(logits_BZYX.sigmoid(), 2)
        seen = F.pixel_unshuffle(seen_B1YX.expand_as(logits_BZYX).to(likely.dtype), 2) > 0
        return torch.where(seen, likely.to(guess.dtype), guess)
