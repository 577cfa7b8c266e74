"""A map of square cells that lies still in odom while its window follows the robot."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from jepa_ros.types import FloatArray


class OdomMap:
    """Numbers for each cell of a square around the robot, `values` (*layers, rows, columns): rows along y, columns along x of odom."""

    def __init__(self, half_cells: int, cell_m: float, unknown: float, layers: tuple[int, ...] = ()) -> None:
        """half_cells: from the robot's cell to each side. unknown: the value of a cell that comes into the window. layers: the shape of
        what is kept of each cell; () = one number."""
        self.half_cells, self.cell_m, self._unknown, self._layers = half_cells, cell_m, unknown, layers
        self.clear()

    def clear(self) -> None:
        """Forget every value and where the window was."""
        size = 2 * self.half_cells
        self.corner = np.zeros(2, int)  # index of the first column and row, in cells from odom's origin
        self.values = np.full((*self._layers, size, size), self._unknown)

    def follow(self, position_m: FloatArray) -> None:
        """Move the window so that `position_m`, (2,) in odom, lies in its middle."""
        corner = np.floor(position_m / self.cell_m).astype(int) - self.half_cells
        right, up = (corner - self.corner).tolist()
        if right == up == 0:
            return
        size = 2 * self.half_cells
        moved = np.full_like(self.values, self._unknown)
        if abs(right) < size and abs(up) < size:
            moved[..., max(-up, 0) : size - max(up, 0), max(-right, 0) : size - max(right, 0)] = self.values[
                ..., max(up, 0) : size - max(-up, 0), max(right, 0) : size - max(-right, 0)
            ]
        self.corner, self.values = corner, moved

    def centres_in(self, odom_from_frame: FloatArray) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """x and y of all cells' centres in another level frame, (rows, columns) each, m. odom_from_frame: (4, 4)."""
        axis_m = self.cell_m * (np.arange(2 * self.half_cells) + 0.5)
        from_frame = self.cell_m * self.corner - odom_from_frame[:2, 3]
        x, y = np.meshgrid((from_frame[0] + axis_m).astype(np.float32), (from_frame[1] + axis_m).astype(np.float32))
        turn = odom_from_frame[:2, :2].astype(np.float32)
        return turn[0, 0] * x + turn[1, 0] * y, turn[0, 1] * x + turn[1, 1] * y

    def cells_of(self, x: FloatArray, y: FloatArray, odom_from_frame: FloatArray) -> NDArray[np.int_]:
        """Number of the cell, row by row, in which each place of another level frame lies; not checked to lie in the window."""
        (cos, sin), (shift_x, shift_y) = odom_from_frame[:2, 0], odom_from_frame[:2, 3]
        column = np.floor((cos * x - sin * y + shift_x) / self.cell_m).astype(int) - self.corner[0]
        row = np.floor((sin * x + cos * y + shift_y) / self.cell_m).astype(int) - self.corner[1]
        return row * (2 * self.half_cells) + column

    def indices(self, points_m: FloatArray) -> tuple[NDArray[np.int_], NDArray[np.int_]]:
        """Row and column of (N, 2) points in odom; not checked to lie in the window."""
        column, row = np.floor(points_m / self.cell_m).astype(int).T - self.corner[:, None]
        return row, column
