"""A robot already in contact (for real, or by the map's coarse cells) may move away or along, but not closer to any obstacle.

What it touches must not open the way into all that is near, and whatever slack a rule leaves, a robot that plans five times a second uses
up five times a second: it creeps into the wall. So the rule is about distances, which are read between the cells and leave no slack.

Axes: T time, Y/X grid rows and columns.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from jepa_ros.planning.grids import between_cells, cell_centres, clearance
from jepa_ros.planning.objective import GridCost
from jepa_ros.types import FloatArray, GridSpec

NOT_NEARER_M = 0.01
TOUCHES = 0.1  # probability from which the start counts as touching something


@dataclass(frozen=True)
class Leaving:
    """Where a robot may be near its start although it touches something there. Anchor frame."""

    grid: GridSpec
    start_m: FloatArray  # (2,)
    near_m: float  # around the start
    clearance_YX: NDArray[np.float32]  # m to the nearest cell that may be occupied now
    at_start_m: float

    @classmethod
    def of(
        cls, inflated_YX: NDArray[np.float32], obstacle_YX: NDArray[np.bool_], grid: GridSpec, start_m: FloatArray, near_m: float
    ) -> Leaving | None:
        """None where the start touches nothing. inflated_YX: the probability now, inflated by the robot's radius. obstacle_YX: cells that
        could keep the robot from driving there."""
        if between_cells(inflated_YX, grid, start_m) < TOUCHES:
            return None
        clearance_YX = clearance(obstacle_YX, grid)
        return cls(grid, start_m, near_m, clearance_YX, between_cells(clearance_YX, grid, start_m))

    def forgive(self, inflated_TYX: NDArray[np.float32]) -> NDArray[np.float32]:
        """For the search: in cells nearby whose centres are as free as the start only what comes counts, not what is there."""
        x, y = cell_centres(self.grid)
        near_YX = (x[None, :] - self.start_m[0]) ** 2 + (y[:, None] - self.start_m[1]) ** 2 <= self.near_m**2
        free_YX = self.clearance_YX >= self.at_start_m - 0.5 * self.grid.resolution_m
        return np.where(near_YX & free_YX, np.maximum(inflated_TYX - inflated_TYX[:1], 0.0), inflated_TYX)

    def allows(self, states_SLX: Tensor) -> Tensor:
        """(L, S): whether a state is nearby and no nearer to anything than the start is."""
        clearance_LS = GridCost(torch.as_tensor(self.clearance_YX)[None].expand(states_SLX.shape[1], -1, -1), self.grid).read(states_SLX)
        near_SL = (states_SLX[..., :2] - torch.as_tensor(self.start_m, dtype=torch.float32)).norm(dim=-1) <= self.near_m
        return near_SL.T & (clearance_LS >= self.at_start_m - NOT_NEARER_M)
