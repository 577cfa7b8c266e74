"""Where bird's-eye-view cells fall in a camera image."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from jepa_ros.sensing.calibration import project
from jepa_ros.types import CameraModel, FloatArray, GridSpec

OUTSIDE = 2.0  # any value beyond 1 in normalised image coordinates
SAMPLE_HEIGHTS_M = (0.2, 1.0, 1.8)  # above the ground: feet, waist and head of a person; wheel, bonnet and roof of a car
LIFT_STRIDE = 4  # cells per sampled point, each way: 32 x 32 points


@lru_cache(maxsize=4)
def sample_points(grid: GridSpec, ground_height_m: float) -> FloatArray:
    """(Z * Y * X, 3) where image features are sampled, metres in the frame of the grid."""
    step_m = grid.resolution_m * LIFT_STRIDE
    x = grid.origin_m[0] + step_m * (np.arange(grid.columns // LIFT_STRIDE) + 0.5)
    y = grid.origin_m[1] + step_m * (np.arange(grid.rows // LIFT_STRIDE) + 0.5)
    z = ground_height_m + np.array(SAMPLE_HEIGHTS_M)
    return np.stack(np.meshgrid(z, y, x, indexing="ij")[::-1], axis=-1).reshape(-1, 3)


def cell_pixels(grid: GridSpec, ground_height_m: float, camera_from_anchor: FloatArray, model: CameraModel) -> FloatArray:
    """(Z, Y, X, 2) float32: image position of each sample point, -1 ... 1 from border to border; OUTSIDE where it is out of view."""
    points = sample_points(grid, round(ground_height_m, 1))
    pixels, visible = project(points @ camera_from_anchor[:3, :3].T + camera_from_anchor[:3, 3], model)
    normalised = (2 * pixels + 1) / (model.width, model.height) - 1
    placed = np.where(visible[:, None], normalised, OUTSIDE).astype(np.float32)
    return placed.reshape(len(SAMPLE_HEIGHTS_M), grid.rows // LIFT_STRIDE, grid.columns // LIFT_STRIDE, 2)
