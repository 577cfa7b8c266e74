"""The occupancy probe: a small head that reads observed and predicted latents alike. It never sends a gradient into the world model."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn


class OccupancyProbe(nn.Module):
    """(B, D, 64, 64) latents -> (B, 128, 128) logits that a lidar return falls into a cell."""

    def __init__(self, width: int, hidden: int = 32) -> None:
        super().__init__()
        self.direct = nn.Conv2d(width, 4, 1)
        self.layers = nn.Sequential(nn.Conv2d(width, hidden, 3, padding=1), nn.ReLU(), nn.Conv2d(hidden, 4, 1))

    def forward(self, latents_BDYX: Tensor) -> Tensor:
        return F.pixel_shuffle(self.direct(latents_BDYX) + self.layers(latents_BDYX), 2)[:, 0]
