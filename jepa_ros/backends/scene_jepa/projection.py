"""Where bird's-eye-view cells fall in a camera image."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from jepa_ros.sensing.decode.camera_info import project
from jepa_ros.types import CameraModel, FloatArray, GridSpec

OUTSIDE = 2.0  # any value beyond 1 in normalised image coordinates
SAMPLE_HEIGHTS_M = (0.2, 1.0, 1.8)  # above the ground: feet, waist and head of a person; wheel, bonnet and roof of a car
FARTHEST_M = 26.0  # from a camera, over the ground, to the farthest cell that is read off its image
LIFT_STRIDE = 4  # cells per sampled point, each way: 32 x 32 points


@lru_cache(maxsize=4)
def sample_points(grid: GridSpec, ground_height_m: float) -> FloatArray:
    """(Z * Y * X, 3) where image features are sampled, metres in the frame of the grid."""
    step_m = grid.resolution_m * LIFT_STRIDE
    x = grid.origin_m[0] + step_m * (np.arange(grid.columns // LIFT_STRIDE) + 0.5)
    y = grid.origin_m[1] + step_m * (np.arange(grid.rows // LIFT_STRIDE) + 0.5)
    z = ground_height_m + np.array(SAMPLE_HEIGHTS_M)
    return np.stack(np.meshgrid(z, y, x, indexing="ij")[::-1], axis=-1).reshape(-1, 3)


def cell_columns(grid: GridSpec, ground_height_m: float, camera_from_anchor: FloatArray, model: CameraModel) -> FloatArray:
    """(Y, X, 3) float32 of each cell: the image column that it is seen in, -1 ... 1 from border to border (OUTSIDE: out of view), its
    distance from the camera over the ground, -1 ... 1 from 0 to FARTHEST_M, and the camera's height above the ground in m."""
    x = grid.origin_m[0] + grid.resolution_m * (np.arange(grid.columns) + 0.5)
    y = grid.origin_m[1] + grid.resolution_m * (np.arange(grid.rows) + 0.5)
    z = ground_height_m + np.array(SAMPLE_HEIGHTS_M)
    points = np.stack(np.meshgrid(z, y, x, indexing="ij")[::-1], axis=-1)
    rotation, shift = camera_from_anchor[:3, :3], camera_from_anchor[:3, 3]
    pixels, visible = project(points.reshape(-1, 3) @ rotation.T + shift, model)
    seen = visible.reshape(points.shape[:3])
    # In a level camera a body's column does not depend on the height; the middle of the heights that are seen is taken.
    column = np.where(seen, (2 * pixels[:, 0].reshape(seen.shape) + 1) / model.width - 1, 0.0).sum(axis=0) / np.maximum(seen.sum(axis=0), 1)
    camera_m = -rotation.T @ shift
    away = np.hypot(points[0, ..., 0] - camera_m[0], points[0, ..., 1] - camera_m[1])
    places = np.stack([column, 2 * away / FARTHEST_M - 1, np.full_like(away, camera_m[2] - ground_height_m)], axis=-1)
    places[~seen.any(axis=0), 0] = OUTSIDE
    return places.astype(np.float32)


def cell_pixels(grid: GridSpec, ground_height_m: float, camera_from_anchor: FloatArray, model: CameraModel) -> FloatArray:
    """(Z, Y, X, 2) float32: image position of each sample point, -1 ... 1 from border to border; OUTSIDE where it is out of view."""
    points = sample_points(grid, round(ground_height_m, 1))
    pixels, visible = project(points @ camera_from_anchor[:3, :3].T + camera_from_anchor[:3, 3], model)
    normalised = (2 * pixels + 1) / (model.width, model.height) - 1
    placed = np.where(visible[:, None], normalised, OUTSIDE).astype(np.float32)
    return placed.reshape(len(SAMPLE_HEIGHTS_M), grid.rows // LIFT_STRIDE, grid.columns // LIFT_STRIDE, 2)
