"""A robot already in contact (for real, or by the map's coarse cells) may move away or along, but not closer to any obstacle.

What it touches must not open the way into all that is near, and whatever slack a rule leaves, a robot that plans five times a second uses
up five times a second: it creeps into the wall. So the rule is about distances, which are read between the cells and leave no slack.

Axes: T time, D disc of those that stand for the robot (one, where it is a disc), Y/X grid rows and columns.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from jepa_ros.planning.grids import between_cells, cell_centres, clearance
from jepa_ros.planning.objective import GridCost, beside
from jepa_ros.types import FloatArray, GridSpec

NOT_NEARER_M = 0.01
TOUCHES = 0.1  # probability from which the start counts as touching something


@dataclass(frozen=True)
class StartContact:
    """Where a robot may be near its start although it touches something there. Anchor frame."""

    grid: GridSpec
    starts_D2: FloatArray
    near_m: float  # around each
    clearance_YX: NDArray[np.float32]  # m to the nearest cell that may be occupied now
    at_start_D: FloatArray  # m
    discs_D2: Tensor | None  # in base_link; None = base_link itself
    touching_D: NDArray[np.bool_]

    @classmethod
    def of(
        cls,
        inflated_YX: NDArray[np.float32],
        obstacle_YX: NDArray[np.bool_],
        grid: GridSpec,
        start: FloatArray,
        near_m: float,
        discs_D2: Tensor | None = None,
        touches: bool = False,
    ) -> StartContact | None:
        """None where the start touches nothing. inflated_YX: the probability now, inflated by the robot's radius, or that of its discs.
        obstacle_YX: cells that could keep the robot from driving there. start: x m, y m and, where discs stand for the robot, yaw rad.
        touches: whether the robot itself does, which its discs may miss by a corner."""
        starts_D2 = start[None, :2] if discs_D2 is None else beside(torch.as_tensor(start)[None, None], discs_D2.double())[0, 0].numpy()
        touching_D = np.array([between_cells(inflated_YX, grid, start_m) >= TOUCHES for start_m in starts_D2])
        if not (touches or touching_D.any()):
            return None
        clearance_YX = clearance(obstacle_YX, grid)
        at_start_D = np.array([between_cells(clearance_YX, grid, start_m) for start_m in starts_D2])
        touching_D[at_start_D.argmin()] = True
        return cls(grid, starts_D2, near_m, clearance_YX, at_start_D, discs_D2, touching_D)

    def forgive(self, inflated_TYX: NDArray[np.float32]) -> NDArray[np.float32]:
        """For the search: in cells nearby whose centres are as free as the start only what comes counts, not what is there."""
        x, y = cell_centres(self.grid)
        forgiven_YX = np.zeros(self.clearance_YX.shape, bool)
        for (start_x, start_y), at_start_m in zip(self.starts_D2[self.touching_D], self.at_start_D[self.touching_D], strict=True):
            near_YX = (x[None, :] - start_x) ** 2 + (y[:, None] - start_y) ** 2 <= self.near_m**2
            forgiven_YX |= near_YX & (self.clearance_YX >= at_start_m - 0.5 * self.grid.resolution_m)
        return np.where(forgiven_YX, np.maximum(inflated_TYX - inflated_TYX[:1], 0.0), inflated_TYX)

    def allows(self, states_SLX: Tensor) -> Tensor:
        """(L, S): whether a state is nearby and no nearer to anything than the start is. Of several discs each that touches something,
        while the others keep clear: what one touches opens nothing to another."""
        clearance = GridCost(torch.as_tensor(self.clearance_YX)[None].expand(states_SLX.shape[1], -1, -1), self.grid)
        at_SLD2 = states_SLX[..., None, :2] if self.discs_D2 is None else beside(states_SLX, self.discs_D2)
        allowed_LS = torch.ones(states_SLX.shape[1], len(states_SLX), dtype=torch.bool)
        for at_SL2, start_m, at_start_m, touching in zip(
            at_SLD2.unbind(2), self.starts_D2, self.at_start_D.tolist(), self.touching_D, strict=True
        ):
            near_SL = (at_SL2 - torch.as_tensor(start_m, dtype=torch.float32)).norm(dim=-1) <= self.near_m
            least_m = at_start_m if touching else min(at_start_m, self.near_m)
            allowed_LS &= (near_SL.T | (not touching)) & (clearance.read(at_SL2) >= least_m - NOT_NEARER_M)
        return allowed_LS
