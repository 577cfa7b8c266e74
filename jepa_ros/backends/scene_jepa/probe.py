"""The occupancy probe: a small head that reads observed and predicted latents alike. It never sends a gradient into the world model."""

from __future__ import annotations

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from jepa_ros.backends.scene_jepa.config import GROUNDED_SCALE
from jepa_ros.sensing.voxelize import HEIGHT_BANDS_M, OCCUPIED_M


class OccupancyProbe(nn.Module):
    """(B, D, 64, 64) latents -> (B, 128, 128) logits that a lidar return falls into a cell.

    It reads the first `width` channels, those that hold what a lidar returned: on recordings unlike the training data the learned channels
    mislead it, while observed ones mean the same everywhere.
    """

    def __init__(self, width: int, hidden: int = 32) -> None:
        super().__init__()
        self.width = width
        self.direct = nn.Conv2d(width, 4, 1)
        self.layers = nn.Sequential(nn.Conv2d(width, hidden, 3, padding=1), nn.ReLU(), nn.Conv2d(hidden, 4, 1))
        self._start_from_the_definition()

    def forward(self, latents_BDYX: Tensor) -> Tensor:
        observed = latents_BDYX[:, : self.width]
        return F.pixel_shuffle(self.direct(observed) + self.layers(observed), 2)[:, 0]

    @torch.no_grad()
    def _start_from_the_definition(self) -> None:
        """Before training a cell counts as occupied where a band within OCCUPIED_M holds a return: logit 5 for a return, -3 for none."""
        nn.init.zeros_(self.direct.weight)
        assert self.direct.bias is not None
        nn.init.constant_(self.direct.bias, -3.0)
        for band, (low_m, high_m) in enumerate(pairwise(HEIGHT_BANDS_M)):
            if low_m >= OCCUPIED_M[0] and high_m <= OCCUPIED_M[1]:
                for cell in range(4):
                    self.direct.weight[cell, 4 * band + cell] = 8.0 / GROUNDED_SCALE
