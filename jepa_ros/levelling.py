"""The anchor frame: the base frame with its roll and pitch taken out."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def levelled(points_base_m: NDArray[np.float32], odom_from_base: NDArray[np.floating]) -> NDArray[np.float32]:
    """(N, 3) points of the base frame in its anchor frame."""
    # Same origin: only roll and pitch are taken out. Column by column: ten times as fast as a product with a 3 x 3 matrix.
    level = (gravity_aligned(odom_from_base)[:3, :3].T @ odom_from_base[:3, :3]).astype(np.float32)
    x, y, z = np.ascontiguousarray(points_base_m.T)
    points = np.empty((3, len(x)), np.float32)
    for row in range(3):
        points[row] = level[row, 0] * x + level[row, 1] * y + level[row, 2] * z
    return points.T


def gravity_aligned(pose: NDArray[np.floating]) -> NDArray[np.float64]:
    """The same position and heading with roll and pitch removed: (4, 4) -> (4, 4)."""
    yaw = np.arctan2(pose[1, 0], pose[0, 0])
    aligned = np.eye(4)
    aligned[:2, :2] = [[np.cos(yaw), -np.sin(yaw)], [np.sin(yaw), np.cos(yaw)]]
    aligned[:3, 3] = pose[:3, 3]
    return aligned
