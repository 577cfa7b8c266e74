"""The cells of a grid that a robot's footprint sweeps on its way.

Axes: S path, L step, F piece of a step, M cell of the footprint, Y/X grid rows and columns.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from jepa_ros.planning.footprint import Footprint
from jepa_ros.planning.verify import turned
from jepa_ros.types import GridSpec

MIN_PIECES = 4  # a step is looked at in at least so many places
MAX_PIECES = 200  # a step across all of a grid, and no more: what leaves the grid is lost anyway


class SweptCells:
    """For each step of each path the window that holds all touched cells, and the highest value that is met in it."""

    def __init__(self, paths_SLX: Tensor, grid: GridSpec, robot: Footprint | float) -> None:
        """paths_SLX: (S, L + 1, 2 or more) x m, y m and, where the robot is no disc, yaw rad in the grid's frame, now first. robot: a
        number is the radius of a disc, m.

        Cells under the robot at the origin, where it is now, are the robot and are not counted.
        """
        footprint = Footprint.of(robot)
        radius_m = footprint.reach_m
        start_SL2, end_SL2 = paths_SLX[:, :-1, None, :2], paths_SLX[:, 1:, None, :2]
        longest_m = float((end_SL2 - start_SL2).norm(dim=-1).max())
        pieces = min(max(MIN_PIECES, math.ceil(min(longest_m / grid.resolution_m, MAX_PIECES))), MAX_PIECES)
        share = (torch.arange(pieces) + 1.0)[:, None] / pieces
        centres_SLF2 = torch.lerp(start_SL2, end_SL2, share)
        reach = math.ceil(radius_m / grid.resolution_m)
        offset = torch.arange(-reach, reach + 1)
        offsets_M2 = torch.cartesian_prod(offset, offset)
        origin_2, size_2 = torch.tensor(grid.origin_m), torch.tensor([grid.columns, grid.rows])
        # Far beyond the grid is as good as just beyond it, and does not overflow.
        cell_SLF2 = ((centres_SLF2 - origin_2) / grid.resolution_m).floor().clamp(-reach - 1, float(size_2.max()) + reach).long()
        cells_SLFM2 = cell_SLF2[..., None, :] + offsets_M2
        middles_SLFM2 = origin_2 + grid.resolution_m * (cells_SLFM2 + 0.5)
        offset_SLFM2 = middles_SLFM2 - centres_SLF2[..., None, :]
        if footprint.is_round:
            near = offset_SLFM2.norm(dim=-1) <= radius_m + 0.5 * grid.resolution_m
        else:
            near = _gap(footprint, offset_SLFM2, _yaws(paths_SLX, share[:, 0])[..., None]) <= 0.5 * grid.resolution_m
        known = ((cells_SLFM2 >= 0) & (cells_SLFM2 < size_2)).all(dim=-1)
        if footprint.is_round:
            own = middles_SLFM2.norm(dim=-1) <= radius_m + grid.resolution_m
        else:
            own = _gap(footprint, middles_SLFM2, torch.zeros(())) <= grid.resolution_m
        outside = (cell_SLF2 < 0).any(dim=-1) | (cell_SLF2 >= size_2).any(dim=-1)
        self.leaves_S = ((near & ~known & ~own).any(dim=-1) | outside).flatten(1).any(dim=1)
        self._touched_SLP = (near & known & ~own).flatten(2)
        column_SLP, row_SLP = torch.minimum(cells_SLFM2.clamp(min=0), size_2 - 1).flatten(2, 3).unbind(-1)
        self._places_SLP2 = torch.stack((row_SLP, column_SLP), dim=-1)
        low_SL2, high_SL2 = self._places_SLP2.amin(dim=2), self._places_SLP2.amax(dim=2)
        self.cells = int((high_SL2 - low_SL2).max()) + 1  # along each side of a window
        most_2 = torch.tensor([grid.rows, grid.columns]) - self.cells
        self.corners_SL2 = torch.minimum(low_SL2, most_2)  # row and column of each window's first cell

    def highest(self, windows_SLYX: Tensor) -> Tensor:
        """(S,) highest value that the robot meets, from windows at `corners_SL2`; each step's holds for the way to that step.

        Beyond the grid nothing is known, which counts as 1.
        """
        return self._highest(windows_SLYX, self._places_SLP2 - self.corners_SL2[:, :, None])

    def highest_on(self, grids_SLYX: Tensor) -> Tensor:
        """The same from whole grids."""
        return self._highest(grids_SLYX, self._places_SLP2)

    def _highest(self, values_SLYX: Tensor, places_SLP2: Tensor) -> Tensor:
        flat_SLP = places_SLP2[..., 0] * values_SLYX.shape[-1] + places_SLP2[..., 1]
        met_SLP = torch.where(self._touched_SLP, values_SLYX.flatten(2).gather(2, flat_SLP), 0.0)
        return torch.where(self.leaves_S, 1.0, met_SLP.flatten(1).amax(dim=1))


def _yaws(paths_SLX: Tensor, share_F: Tensor) -> Tensor:
    """(S, L, F) between the states, the shorter way round."""
    before_SL1 = paths_SLX[:, :-1, 2:3]
    return before_SL1 + share_F * turned(paths_SLX[..., 2:3].diff(dim=1))


def _gap(footprint: Footprint, offset: Tensor, yaw: Tensor) -> Tensor:
    """Distance, m, from the shape at a yaw to points (..., 2) relative to base_link."""
    x, y = offset.unbind(-1)
    return footprint.gap_squared(yaw.cos() * x + yaw.sin() * y, yaw.cos() * y - yaw.sin() * x).sqrt()
