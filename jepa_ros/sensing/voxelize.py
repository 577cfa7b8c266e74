"""Points in the anchor frame -> grids over the ground plane. Index [row, column] = [y, x]; see types.GridSpec.

Axes: N point, C channel, Y row, X column.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from jepa_ros.types import FloatArray, GridSpec, Observation

DEFAULT_GRID = GridSpec(rows=128, columns=128, resolution_m=0.4, origin_m=(-25.6, -25.6))
OCCUPIED_M = (0.3, 2.0)  # heights above the ground whose returns make a cell occupied
HEIGHT_BANDS_M = (-0.3, 0.3, 0.8, 1.3, 2.0, 3.5)  # edges of the height bands of pillars()


def anchor_points(observation: Observation) -> NDArray[np.float32]:
    """(N, 3) points of the sweep in the gravity-aligned anchor frame; (0, 3) without lidar."""
    return observation.levelled_m


def anchor_lidar(observation: Observation) -> FloatArray | None:
    """(3,) m, where the lidar is in the anchor frame; None without lidar."""
    if observation.lidar is None:
        return None
    level = observation.odom_from_anchor[:3, :3].T @ observation.ego.odom_from_base[:3, :3]
    return level @ observation.lidar.base_from_lidar[:3, 3]


def lidar_parts(observation: Observation) -> list[tuple[slice, FloatArray]]:
    """Of each lidar that is merged in the sweep, which points are its own and where it is, (3,) m, anchor frame; none of a single lidar."""
    if observation.lidar is None:
        return []
    level = observation.odom_from_anchor[:3, :3].T @ observation.ego.odom_from_base[:3, :3]
    return [(slice(part.first, part.first + part.count), level @ part.base_from_lidar[:3, 3]) for part in observation.lidar.parts]


def cell_indices(points_m: FloatArray, grid: GridSpec) -> tuple[NDArray[np.intp], NDArray[np.bool_]]:
    """Flat cell index (M,) of the points inside the grid, and which of the (N, 2 or more) points those are (N,)."""
    scale = np.float32(1.0 / grid.resolution_m)
    column = (points_m[:, 0] - np.float32(grid.origin_m[0])) * scale
    row = (points_m[:, 1] - np.float32(grid.origin_m[1])) * scale
    inside = (column >= 0) & (column < grid.columns) & (row >= 0) & (row < grid.rows)
    return row[inside].astype(np.intp) * grid.columns + column[inside].astype(np.intp), inside


def occupancy_grid(points_anchor_m: FloatArray, ground_z_m: float, grid: GridSpec = DEFAULT_GRID) -> NDArray[np.bool_]:
    """(Y, X) True where a return lies 0.3-2.0 m above the ground; `ground_z_m`: height of the ground in the anchor frame."""
    height = points_anchor_m[:, 2] - np.float32(ground_z_m)
    cells, _ = cell_indices(points_anchor_m[(height >= OCCUPIED_M[0]) & (height <= OCCUPIED_M[1])], grid)
    occupied = np.zeros(grid.rows * grid.columns, bool)
    occupied[cells] = True
    return occupied.reshape(grid.rows, grid.columns)


def visible_cells(
    points_anchor_m: FloatArray,
    ground_z_m: float,
    grid: GridSpec = DEFAULT_GRID,
    sensor_xy_m: tuple[float, float] = (0.0, 0.0),
    azimuth_bins: int = 360,
) -> NDArray[np.bool_]:
    """(Y, X) True where the sweep shows whether a cell is free or occupied, for a sensor at `sensor_xy_m` in the anchor frame.

    A direction is seen up to its first occupied return (0.3-2.0 m above the ground), or as far as any return of it shows the way to be
    open; every cell with an occupied return is seen too. A direction without returns is not seen.
    """
    height = points_anchor_m[:, 2] - np.float32(ground_z_m)
    x, y = points_anchor_m[:, 0] - np.float32(sensor_xy_m[0]), points_anchor_m[:, 1] - np.float32(sensor_xy_m[1])
    distance = np.hypot(x, y)
    bins = _azimuth_bin(x, y, azimuth_bins)
    blocking = (height >= OCCUPIED_M[0]) & (height <= OCCUPIED_M[1])
    first = np.full(azimuth_bins, np.inf, np.float32)
    np.minimum.at(first, bins[blocking], distance[blocking])
    # Returns above head height pass over what is on the ground behind nothing: they say nothing about the cells below.
    low = height <= OCCUPIED_M[1]
    farthest = np.zeros(azimuth_bins, np.float32)
    np.maximum.at(farthest, bins[low], distance[low])
    reach = np.minimum(first, farthest)

    cell_x, cell_y = _cell_centres(grid)
    cell_x, cell_y = cell_x - sensor_xy_m[0], cell_y - sensor_xy_m[1]
    half = grid.resolution_m / 2
    seen = np.hypot(cell_x, cell_y) <= reach[_azimuth_bin(cell_x, cell_y, azimuth_bins)] + half
    return seen | occupancy_grid(points_anchor_m, ground_z_m, grid)


def pillars(
    points_anchor_m: FloatArray,
    ground_z_m: float,
    grid: GridSpec = DEFAULT_GRID,
    bands_m: tuple[float, ...] = HEIGHT_BANDS_M,
    intensity: FloatArray | None = None,
) -> NDArray[np.float32]:
    """(C, Y, X) features of the points over each cell; heights are above the ground, in m.

    Channels: log(1 + count) / 4; mean height / 2; highest / 2; mean intensity, 0-1 (0 without); then, for each band between two
    edges of `bands_m`, log(1 + count in the band) / 4. Points below the lowest or above the highest edge are left out, so that
    tree tops and bridges do not cover what is below them.
    """
    height = points_anchor_m[:, 2] - np.float32(ground_z_m)
    scale = np.float32(1.0 / grid.resolution_m)
    column = (points_anchor_m[:, 0] - np.float32(grid.origin_m[0])) * scale
    row = (points_anchor_m[:, 1] - np.float32(grid.origin_m[1])) * scale
    near = np.flatnonzero(
        (height >= bands_m[0]) & (height < bands_m[-1]) & (column >= 0) & (column < grid.columns) & (row >= 0) & (row < grid.rows)
    )
    cells = row.take(near).astype(np.int32) * grid.columns + column.take(near).astype(np.int32)
    height = height.take(near)
    size, count_bands = grid.rows * grid.columns, len(bands_m) - 1

    band = np.zeros(len(height), np.int32)
    for edge in bands_m[1:-1]:
        band += height >= np.float32(edge)
    per_band = np.bincount(band * size + cells, minlength=count_bands * size).reshape(count_bands, size)
    count = per_band.sum(axis=0)
    divisor = np.maximum(count, 1)
    features = np.zeros((4 + count_bands, size), np.float32)
    # Most cells hold few points, and a logarithm takes long.
    log_of = (np.log1p(np.arange(count.max(initial=0) + 1)) / 4).astype(np.float32)
    features[0] = log_of.take(count)
    features[1] = np.bincount(cells, height, size) / divisor / 2
    highest = np.full(size, -np.inf, np.float32)
    np.maximum.at(highest, cells, height)
    features[2] = np.where(count > 0, highest / 2, 0)
    if intensity is not None and len(cells):
        features[3] = np.bincount(cells, _unit_intensity(intensity)[near], size) / divisor
    features[4:] = log_of.take(per_band)
    return features.reshape(-1, grid.rows, grid.columns)


def pillar_channels(bands_m: tuple[float, ...] = HEIGHT_BANDS_M) -> int:
    """C of pillars()."""
    return 4 + len(bands_m) - 1


def _unit_intensity(intensity: FloatArray) -> FloatArray:
    """Sensors count to 1, 255 or 65535; which one shows in the largest value."""
    largest = float(intensity.max(initial=0.0))
    full_scale = next((scale for scale in (1.0, 255.0, 65535.0) if largest <= scale), max(largest, 1.0))
    return np.clip(intensity, 0, None) / np.float32(full_scale)


def _azimuth_bin(x: FloatArray, y: FloatArray, bins: int) -> NDArray[np.intp]:
    return ((np.arctan2(y, x) + np.pi) * (bins / (2 * np.pi))).astype(np.intp) % bins


def _cell_centres(grid: GridSpec) -> tuple[FloatArray, FloatArray]:
    x = grid.origin_m[0] + (np.arange(grid.columns) + 0.5) * grid.resolution_m
    y = grid.origin_m[1] + (np.arange(grid.rows) + 0.5) * grid.resolution_m
    grid_x, grid_y = np.meshgrid(x, y)
    return grid_x, grid_y
