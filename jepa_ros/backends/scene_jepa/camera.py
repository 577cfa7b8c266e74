"""What a lidar would observe of the cells in view, read from images alone.

A column of pixels looks along one direction over the ground; what is where in it says at which distance something stands. So each image
column is turned into distances by itself, its neighbours looked at, and every cell of the bird's-eye view reads the column and the distance
where it lies (after Saha et al., Translating Images into Maps, 2022, with convolutions in place of attention). Sampling image features at
the cells, as `CameraLift` does, leaves it to the network to find out where in a column something begins, which it does not learn.

Axes: B batch, K camera, C channel, Z height band, R distance, Y row, X column of cells.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from jepa_ros.backends.scene_jepa.blocks import ChannelNorm, ResBlock, down

STRIDE = 8  # pixels of a feature, each way
CHANNELS = 48
HIDDEN = 128
DISTANCES = 64
RARE = -3.0  # log-odds of a return to begin with: most cells are free
UNSEEN = -20.0  # of a camera that does not look there


class CameraColumns(nn.Module):
    """Images and where the cells lie in them -> how likely a return is in each height band of each cell in view."""

    def __init__(self, bands: int, image_rows: int) -> None:
        super().__init__()
        c = CHANNELS
        self.bands = bands
        self.image = nn.Sequential(
            down(3, c // 2), nn.ReLU(), down(c // 2, c), nn.ReLU(), down(c, c), nn.ReLU(), ResBlock(c), ChannelNorm(c)
        )
        self.enter = nn.Conv1d(c * (image_rows // STRIDE) + 1, HIDDEN, 1)
        self.beside = nn.ModuleList(nn.Conv1d(HIDDEN, HIDDEN, 5, padding=2) for _ in range(2))
        self.leave = nn.Conv1d(HIDDEN, bands * DISTANCES, 1)
        nn.init.zeros_(self.leave.weight)
        assert self.leave.bias is not None
        nn.init.constant_(self.leave.bias, RARE)

    def forward(self, images_BKCHW: Tensor, places_BKYX3: Tensor) -> tuple[Tensor, Tensor]:
        """(B, Z, Y, X) logits and (B, 1, Y, X) whether a camera looks there; places: from `projection.cell_columns`."""
        batch, cameras = images_BKCHW.shape[:2]
        features = self.image((images_BKCHW.flatten(0, 1) - 0.45) / 0.25)
        columns = features.flatten(1, 2)  # each column of the image with all its rows
        mount = places_BKYX3[..., 2].flatten(0, 1).amax(dim=(1, 2)).to(columns.dtype)  # the same for all cells
        columns = F.relu(self.enter(torch.cat([columns, mount[:, None, None].expand(-1, 1, columns.shape[-1])], dim=1)))
        for layer in self.beside:
            columns = columns + F.relu(layer(columns))
        polar = self.leave(columns).unflatten(1, (self.bands, DISTANCES)).float()
        where = places_BKYX3[..., :2].flatten(0, 1)
        seen = (where.abs() <= 1).all(dim=-1)[:, None]
        read = F.grid_sample(polar, where.float(), padding_mode="border", align_corners=False)
        # Of several cameras the one that is surest of something counts.
        logits = torch.where(seen, read, torch.full_like(read, UNSEEN)).unflatten(0, (batch, cameras)).amax(dim=1)
        return logits, seen.unflatten(0, (batch, cameras)).any(dim=1)
