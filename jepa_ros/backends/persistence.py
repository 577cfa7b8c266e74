"""The baseline behind the same seam: everything stays where it was last seen.

Axes: B batch, T history step (oldest first), H future step, N cell (= Y * X), D = (occupied, visible), A = (x, y, yaw).
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from jepa_ros.backends.bev import BEV_GRID, half_extent_m, warp
from jepa_ros.protocols import ModelSpec
from jepa_ros.sensing.voxelize import occupancy_grid, visible_cells
from jepa_ros.types import Observation

CELLS = (BEV_GRID.rows, BEV_GRID.columns)


class Persistence:
    """The latent of a sweep is its own occupancy grid; the future is the newest one, again. A camera alone gives it nothing."""

    def __init__(self, device: str) -> None:
        self.device = device
        self.spec = ModelSpec(
            name="persistence",
            version="1",
            dt_s=0.4,
            history=1,
            horizon=12,
            latent_shape=(CELLS[0] * CELLS[1], 2),
            action_dim=3,
            inputs=("lidar",),
            grid=BEV_GRID,
            occupancy_needs=("lidar",),
        )

    def encode(self, observation: Observation) -> Tensor:
        """(1, N, 2): 1 where a cell is occupied, 1 where it was seen, in the anchor frame of the observation."""
        grids = np.zeros((2, *CELLS), np.float32)
        if observation.lidar is not None:
            grids[0] = occupancy_grid(observation.flattened_m, observation.ground_height_m, BEV_GRID)
            grids[1] = visible_cells(observation.flattened_m, observation.ground_height_m, BEV_GRID)
        return torch.from_numpy(grids).to(self.device).flatten(1).T[None]

    def align(self, latents_BND: Tensor, new_from_old: np.ndarray) -> Tensor:
        """(B, N, 2) in another anchor frame; what was outside the old grid is neither occupied nor seen."""
        maps = latents_BND.unflatten(1, CELLS).permute(0, 3, 1, 2)
        return warp(maps, new_from_old, half_extent_m(BEV_GRID)).permute(0, 2, 3, 1).flatten(1, 2)

    def predict(self, history_BTND: Tensor, actions_BHA: Tensor) -> Tensor:
        """(B, H, N, 2): the newest latent at every step, independent of the actions."""
        return history_BTND[:, -1:].expand(-1, actions_BHA.shape[1], -1, -1)

    def occupancy(self, latents_BND: Tensor) -> Tensor:
        """(B, Y, X) in [0, 1]."""
        return latents_BND[..., 0].unflatten(1, CELLS).clamp(0, 1)


def load(device: str) -> Persistence:
    """Nothing to load."""
    return Persistence(device)
