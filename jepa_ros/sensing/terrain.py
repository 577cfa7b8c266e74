"""Height of the local ground: slopes, ramps, kerbs, crowned roads.

The ground is taken from 0.5 m squares that are empty, no rougher than a street, and connected by small steps to the ground near the
vehicle. Below standing objects, and where plants hide it, the height of the nearest such square counts. Each sweep is taken alone: wheel
odometry has no pitch, so ground remembered from the foot of a ramp would become a hole or a wall.

Axes: N point, R row, C column (of squares, from the lower right corner of the map).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from jepa_ros.types import FloatArray

RANGE_M = 28.0  # how far from the vehicle, in x and y: a little further than the grids of the back-ends
CELL_M = 0.5
FLAT_M, ABOVE_M = 0.15, 1.0  # a flat square has nothing this far above its lowest return; what hangs higher is a roof or a tree
PATCH, ROUGH_M = 7, 0.07  # squares, and how far their heights may be off a plane; a street with its kerb stays below, a bed of plants above
STEEPEST = 0.25  # rise per metre from the vehicle on: what lies beyond is no ground of a street
STEP_M, SLOPE, LARGEST_STEP_M = (
    0.05,
    0.18,
    0.3,
)  # between squares: noise, 10 degrees, and what no two rings of a sweep differ by on a street
JOINED_OVER = 6  # squares, which no beam met: between the rings of a sweep lie metres of ground
LEVEL_M = 0.2  # a flat square that is so little off the nearest ground is no obstacle, and so is ground
SEED_M, SEED_BELOW_M = 10.0, 0.25  # squares that are the ground around the vehicle: so near, and so near to its height
FEWEST_SEEDS = 6
ENOUGH_POINTS = 20_000  # of a dense sweep some show its beams as well as all
SLOPE_FROM_M = 0.5  # from a lidar; nearer, the noise of a return is as good as a beam
WAYS = ((0, 1), (1, 0), (1, 1), (1, -1))  # rows, columns to the next square; the other four are these from the other end


@dataclass(frozen=True)
class Terrain:
    """Ground height on a square grid around the origin."""

    height_m: FloatArray  # (rows, columns) at the corners of fine cells
    cell_m: float
    half_side_m: float

    @classmethod
    def fit(cls, points: FloatArray, ground_height_m: float, lidar_m: FloatArray | None = None) -> Terrain:
        """From (N, 3) points in a gravity-aligned frame with its origin at the vehicle.

        `ground_height_m`: the height below the vehicle, and everywhere if no square shows the ground. `lidar_m`: (3,) where the lidar is:
        close by, where it sees no ground, all returns are of what stands there, and in a crowd that may be wider than any one object.
        """
        x, y, z = points.T
        reach = np.maximum(np.abs(x), np.abs(y))
        near = np.flatnonzero((reach < RANGE_M) & (np.abs(z - np.float32(ground_height_m)) < 0.5 + STEEPEST * reach))
        lowest_RC, flat_RC = _squares(x[near], y[near], z[near])
        axis = (np.arange(len(lowest_RC)) + 0.5) * CELL_M - RANGE_M
        slopes = beam_slopes(points, lidar_m)
        if lidar_m is not None and len(slopes) and slopes.min() < 0.0:
            blind_m = (lidar_m[2] - ground_height_m) / -float(slopes.min())
            blind = np.hypot(axis[None, :] - lidar_m[0], axis[:, None] - lidar_m[1]) + 0.5 * CELL_M < blind_m
            lowest_RC[blind], flat_RC[blind] = ground_height_m, True
        smooth_RC = flat_RC & (_roughness_m(lowest_RC, flat_RC, axis) < ROUGH_M)
        seeds_RC = smooth_RC & (np.hypot(axis[None, :], axis[:, None]) < SEED_M) & (np.abs(lowest_RC - ground_height_m) < SEED_BELOW_M)
        ground_RC = _joined(lowest_RC, smooth_RC, seeds_RC)
        if not ground_RC.any():
            return cls(np.full((2, 2), ground_height_m), 2 * RANGE_M, RANGE_M)
        nearest = _nearest(ground_RC)
        ground_RC |= flat_RC & (np.abs(lowest_RC - lowest_RC[nearest]) < LEVEL_M)  # a pavement behind parked cars
        nearest = _nearest(ground_RC)
        filled_RC = _median(lowest_RC[nearest])  # a reflection lies below the ground
        return cls(_refine(ndimage.uniform_filter(filled_RC, size=3)), CELL_M / 2, RANGE_M)

    def at(self, positions_m: FloatArray) -> FloatArray:
        """(N,) ground height under (N, 2 or more) positions."""
        scale, last = np.float32(1.0 / self.cell_m), len(self.height_m) - 1
        column = np.clip((positions_m[:, 0] + self.half_side_m) * scale, 0, last).astype(np.intp)
        row = np.clip((positions_m[:, 1] + self.half_side_m) * scale, 0, last).astype(np.intp)
        return self.height_m.ravel().take(row * len(self.height_m) + column)


def _squares(x: FloatArray, y: FloatArray, z: FloatArray) -> tuple[FloatArray, NDArray[np.bool_]]:
    """(R, C) the lowest point of each square, infinite where there is none; and whether there is one, and nothing stands on it."""
    side = round(2 * RANGE_M / CELL_M)
    row, column = (np.minimum((along + RANGE_M) * np.float32(1 / CELL_M), side - 1).astype(np.int32) for along in (y, x))
    cell = row * side + column
    lowest = np.full(side * side, np.inf, np.float32)
    np.minimum.at(lowest, cell, z.astype(np.float32))
    above = z - lowest[cell]
    standing = np.bincount(cell[(above > FLAT_M) & (above < ABOVE_M)], minlength=side * side)
    flat = np.isfinite(lowest) & (standing == 0)
    return lowest.reshape(side, side), flat.reshape(side, side)


def beam_slopes(points: FloatArray, lidar_m: FloatArray | None) -> FloatArray:
    """(M,) rise per metre of distance of some of the beams that met (N, 3) points; none where it is not known where the lidar is."""
    if lidar_m is None or not len(points):
        return np.zeros(0)
    some = points[:: len(points) // ENOUGH_POINTS + 1]
    x, y, z = (some[:, axis] - points.dtype.type(lidar_m[axis]) for axis in (0, 1, 2))
    away_m = np.sqrt(x * x + y * y)
    far = np.flatnonzero(away_m > SLOPE_FROM_M)
    return z.take(far) / away_m.take(far)


def _roughness_m(lowest_RC: FloatArray, flat_RC: NDArray[np.bool_], axis_m: FloatArray) -> FloatArray:
    """(R, C) standard deviation of the heights of flat squares around each square from the plane that fits them best."""
    weight = flat_RC.astype(float)
    height = np.where(flat_RC, lowest_RC, 0.0)
    x, y = axis_m[None, :] * weight, axis_m[:, None] * weight
    terms = (weight, x, y, height, x * x, x * y, y * y, x * height, y * height, height * height)
    share, x, y, height, xx, xy, yy, xh, yh, hh = (ndimage.uniform_filter(term, size=PATCH) for term in terms)
    share = np.maximum(share, 1e-9)
    x, y, height = x / share, y / share, height / share
    xx, xy, yy = xx / share - x * x + 1e-6, xy / share - x * y, yy / share - y * y + 1e-6
    xh, yh, hh = xh / share - x * height, yh / share - y * height, hh / share - height * height
    explained = (yy * xh * xh - 2 * xy * xh * yh + xx * yh * yh) / np.maximum(xx * yy - xy * xy, 1e-9)
    return np.sqrt(np.maximum(hh - explained, 0.0))


def _joined(lowest_RC: FloatArray, flat_RC: NDArray[np.bool_], seeds_RC: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """(R, C) flat squares that gentle steps join to the ground around the vehicle. No step leads over what stands, or is rough."""
    rows, columns = flat_RC.shape
    number_RC, stands_RC = np.arange(rows * columns).reshape(rows, columns), np.isfinite(lowest_RC) & ~flat_RC
    starts, ends = [], []
    for way in WAYS:
        open_RC = flat_RC
        for count in range(1, JOINED_OVER + 1):
            down, right = count * way[0], count * way[1]
            here = (slice(0, rows - down), slice(max(-right, 0), columns - max(right, 0)))
            there = (slice(down, rows), slice(max(right, 0), columns - max(-right, 0)))
            open_RC = open_RC[: rows - down, slice(None, -1) if way[1] > 0 else slice(1, None) if way[1] < 0 else slice(None)]
            allowed = min(STEP_M + SLOPE * CELL_M * float(np.hypot(down, right)), LARGEST_STEP_M)
            found = np.flatnonzero(open_RC & flat_RC[there])
            start, end = number_RC[here].ravel()[found], number_RC[there].ravel()[found]
            gentle = np.abs(lowest_RC.ravel()[start] - lowest_RC.ravel()[end]) < allowed
            starts.append(start[gentle])
            ends.append(end[gentle])
            open_RC = open_RC & ~stands_RC[there]
    start, end = np.concatenate(starts), np.concatenate(ends)
    joins = coo_array((np.ones(len(start), bool), (start, end)), shape=(number_RC.size, number_RC.size))
    _, part = connected_components(joins, directed=False)
    part_RC = part.reshape(rows, columns)
    seeds = np.bincount(part_RC[seeds_RC], minlength=part.max() + 1)
    return flat_RC & (seeds >= FEWEST_SEEDS)[part_RC]


def _median(values_RC: FloatArray) -> FloatArray:
    """(R, C) the median of each 3 x 3 squares, at the edge of those that are there mirrored; five times as quick as `scipy.ndimage`.

    Of three sorted columns the median is that of the largest lowest, the middle middle and the smallest highest.
    """
    padded = np.pad(values_RC, 1, mode="symmetric")
    above, here, below = padded[:-2], padded[1:-1], padded[2:]
    low, high = np.minimum(above, here), np.maximum(above, here)
    lowest, middle, highest = np.minimum(low, below), np.maximum(low, np.minimum(high, below)), np.maximum(high, below)
    largest = np.maximum(np.maximum(lowest[:, :-2], lowest[:, 1:-1]), lowest[:, 2:])
    smallest = np.minimum(np.minimum(highest[:, :-2], highest[:, 1:-1]), highest[:, 2:])
    return _middle(largest, _middle(middle[:, :-2], middle[:, 1:-1], middle[:, 2:]), smallest)


def _middle(a: FloatArray, b: FloatArray, c: FloatArray) -> FloatArray:
    middle: FloatArray = np.maximum(np.minimum(a, b), np.minimum(np.maximum(a, b), c))
    return middle


def _nearest(where_RC: NDArray[np.bool_]) -> tuple[NDArray[np.int32], ...]:
    """Row and column, (R, C) each, of the nearest square that is marked."""
    return tuple(ndimage.distance_transform_edt(~where_RC, return_distances=False, return_indices=True))


def _refine(coarse: FloatArray) -> FloatArray:
    """Bilinear values at half the cell size, so that a slope is no staircase."""
    padded = np.pad(coarse, 1, mode="edge")
    rows = np.stack([0.75 * padded[1:-1] + 0.25 * padded[:-2], 0.75 * padded[1:-1] + 0.25 * padded[2:]], axis=1)
    rows = rows.reshape(-1, padded.shape[1])
    both = np.stack([0.75 * rows[:, 1:-1] + 0.25 * rows[:, :-2], 0.75 * rows[:, 1:-1] + 0.25 * rows[:, 2:]], axis=2)
    return both.reshape(rows.shape[0], -1)
