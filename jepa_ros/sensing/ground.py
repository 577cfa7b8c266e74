"""Height of the ground below the vehicle, for any rig: base_link may be on the ground or two metres above it."""

from __future__ import annotations

import numpy as np

from jepa_ros.types import FloatArray

BIN_M = 0.1
NEAR_M, FAR_M = 3.0, 20.0  # ring around the vehicle in which the ground is looked for
LOWEST_M, HIGHEST_M = -4.0, 1.0  # of the ground relative to base_link
CELL_M = 1.0
MIN_CELLS = 10
ENOUGH_POINTS = 20_000  # more tell nothing new of some hundred squares
FIT_BAND_M, FIT_ROUNDS = 0.2, 4
MAX_SLOPE = 0.15  # relative to gravity; a steeper plane is a wall or a hedge
# What is no evidence of ground: squares in which something stands, and what one beam alone draws into the air.
FLAT_M, ABOVE_M = 0.25, 1.0  # a flat square has nothing this far above its lowest return; what hangs higher is a roof or a tree
SPREAD = np.radians(1.5)  # between the elevations of the beams that show one plane; a single beam circles on its own cone
BELOW_LIDAR_M = 0.1  # the ground is lower than the lidar
# A cloud in base_link says nothing of where the lidar is. What lies this far behind other points of the plane was met from above.
COLUMNS, BEHIND_M, MIN_SHARE = 360, 1.0, 0.5
ASSUMED_BELOW_M = 0.5  # where nothing shows the ground: so far below the lidar that what a level beam meets counts as an obstacle


class GroundEstimator:
    """Keeps a smoothed height of the ground in the anchor frame.

    One sweep votes with the lowest return of each square metre around the vehicle: most squares show the road, so the commonest height is
    near it even where walls and cars give the rest; a plane fitted there gives the height below the vehicle. Smoothing carries over
    sweeps that see little ground. Until a sweep has shown it (`seen`), the height is an assumption that makes no obstacle vanish.
    """

    def __init__(self, initial_m: float = 0.0, smoothing: float = 0.2) -> None:
        """`smoothing`: weight of a new sweep, 0-1; the first is taken as it is."""
        self.height_m = initial_m
        self.seen = False  # whether any sweep has shown it,
        self.shown = False  # and whether the last one did
        self._initial_m = initial_m
        self._smoothing = smoothing

    def update(self, points_anchor_m: FloatArray, lidar_anchor_m: FloatArray | None = None) -> float:
        """Height of the ground (z in the anchor frame, m) after one more sweep of (N, 3) points.

        `lidar_anchor_m`: (3,) where the lidar is; without it, any plane passes for ground.
        """
        height = ground_height(points_anchor_m, lidar_anchor_m)
        self.shown = height is not None
        if height is not None:
            self.height_m += (self._smoothing if self.seen else 1.0) * (height - self.height_m)
            self.seen = True
        elif not self.seen and lidar_anchor_m is not None:
            self.height_m = min(self._initial_m, float(lidar_anchor_m[2]) - ASSUMED_BELOW_M)
        return self.height_m


def ground_height(points_anchor_m: FloatArray, lidar_anchor_m: FloatArray | None = None) -> float | None:
    """Height (z, m) of the ground below the vehicle from one sweep of (N, 3) points, or None where too little ground is in view."""
    lowest, flat = _lowest_per_cell(points_anchor_m)
    if len(lowest) < MIN_CELLS:
        return None
    z = lowest[:, 2]
    counts, edges = np.histogram(z, bins=round((HIGHEST_M - LOWEST_M) / BIN_M), range=(LOWEST_M, HIGHEST_M))
    # Three bins wide, so that a ground on a bin's edge does not lose half its votes.
    commonest = int(np.convolve(counts, (1, 1, 1), "same").argmax())
    plane = _plane_below(lowest, (edges[commonest] + edges[commonest + 1]) / 2)
    if lidar_anchor_m is None:
        return float(plane[2])
    is_shown = (
        _is_shown(plane, lowest[flat], lidar_anchor_m)
        if is_above(lidar_anchor_m, plane[2])
        else _is_seen_from_above(plane, points_anchor_m)
    )
    return float(plane[2]) if is_shown else None


def is_above(lidar_anchor_m: FloatArray, ground_height_m: float) -> bool:
    """Whether a lidar can look down on the ground. Where it cannot, its cloud came in another frame than its own."""
    return bool(lidar_anchor_m[2] - ground_height_m >= BELOW_LIDAR_M)


def _lowest_per_cell(points: FloatArray) -> tuple[FloatArray, FloatArray]:
    """(M, 3): centre of each square metre around the vehicle, and the lowest height in it; (M,) whether nothing stands there."""
    x, y, z = points[:: max(len(points) // ENOUGH_POINTS, 1)].T
    distance = np.hypot(x, y)
    use = (distance > NEAR_M) & (distance < FAR_M) & (z > LOWEST_M) & (z < HIGHEST_M)
    side = int(np.ceil(2 * FAR_M / CELL_M))
    column, row = ((x[use] + FAR_M) / CELL_M).astype(np.intp), ((y[use] + FAR_M) / CELL_M).astype(np.intp)
    cell, z = row * side + column, z[use].astype(np.float64)  # `at` of two types takes thirty times as long
    lowest = np.full(side * side, np.inf)
    np.minimum.at(lowest, cell, z)
    above = z - lowest[cell]
    standing = np.bincount(cell[(above > FLAT_M) & (above < ABOVE_M)], minlength=side * side)
    seen = np.flatnonzero(np.isfinite(lowest))
    centres = np.column_stack(((seen % side + 0.5) * CELL_M - FAR_M, (seen // side + 0.5) * CELL_M - FAR_M, lowest[seen]))
    return centres, standing[seen] == 0


def _plane_below(lowest: FloatArray, start_m: float) -> FloatArray:
    """(3,) slopes along x and y, and height at the origin, of a plane fitted to what lies near it, beginning level at `start_m`."""
    design = np.column_stack((lowest[:, :2], np.ones(len(lowest))))
    level = np.array([0.0, 0.0, start_m])
    plane = level
    for _ in range(FIT_ROUNDS):
        near = np.abs(lowest[:, 2] - design @ plane) < FIT_BAND_M
        if near.sum() < MIN_CELLS:
            return level
        plane = np.linalg.lstsq(design[near].T @ design[near], design[near].T @ lowest[near, 2], rcond=None)[0]
    return plane if np.hypot(*plane[:2]) < MAX_SLOPE else level


def _is_shown(plane: FloatArray, flat: FloatArray, lidar_m: FloatArray) -> bool:
    """Whether flat squares on a plane below the lidar were met by beams of several elevations."""
    on_plane = flat[np.abs(flat[:, 2] - flat[:, :2] @ plane[:2] - plane[2]) < FIT_BAND_M]
    if len(on_plane) < MIN_CELLS:
        return False
    away = on_plane - lidar_m
    elevation = np.arctan2(away[:, 2], np.hypot(away[:, 0], away[:, 1]))
    return bool(np.ptp(np.quantile(elevation, (0.1, 0.9))) > SPREAD)


def _is_seen_from_above(plane: FloatArray, points: FloatArray) -> bool:
    """Whether most directions that meet a plane meet it at several distances: a level beam ends at the first thing that it meets."""
    x, y, z = points.T
    distance = np.hypot(x, y)
    on_plane = (distance > NEAR_M) & (distance < FAR_M) & (np.abs(z - plane[0] * x - plane[1] * y - plane[2]) < FIT_BAND_M)
    distance, column = distance[on_plane], ((np.arctan2(y, x)[on_plane] / (2 * np.pi) + 0.5) * COLUMNS).astype(np.intp) % COLUMNS
    nearest, farthest = np.full(COLUMNS, np.inf), np.zeros(COLUMNS)
    np.minimum.at(nearest, column, distance)
    np.maximum.at(farthest, column, distance)
    met = farthest > 0
    return int(met.sum()) >= MIN_CELLS and float(np.mean(farthest[met] - nearest[met] > BEHIND_M)) > MIN_SHARE
