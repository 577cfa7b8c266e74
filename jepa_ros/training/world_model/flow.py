"""Constant-velocity flow, a baseline: static cells stay, cells that moved through the last sweeps continue at constant velocity.

Clusters of returns in the newest sweep are followed back through the older ones by matching shapes; no map, no learning, no labels.
All sweeps are in the anchor frame of now, so a thing that stands is matched at velocity zero. Axes: N point, V velocity, Y row, X column.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from jepa_ros.sensing.voxelize import OCCUPIED_M, cell_indices
from jepa_ros.types import FloatArray, GridSpec

MATCH = GridSpec(rows=400, columns=400, resolution_m=0.2, origin_m=(-40.0, -40.0))  # where older returns lie, fine enough for a slow walk
CLUSTER_M = 0.4  # returns in touching cells of this size belong together
LARGEST_M = 6.0  # a longer cluster is a wall or a hedge: it stands
FEWEST_RETURNS = 6
SAMPLES = 60  # returns of a cluster that are matched
STANDS = 0.7  # a cluster stands where this share of its returns is found in the same place in the older sweeps
MARGIN = 0.15  # and is said to move only where a velocity explains this much more than standing does
FASTEST_MPS = 12.0
STEP_MPS = 0.5
REFINED_M = 0.5  # returns of an older sweep this near to where the best velocity says that the cluster was make it more exact


def extrapolate(sweeps_m: Sequence[FloatArray], ground_m: float, dt_s: float, times_s: FloatArray, grid: GridSpec) -> NDArray[np.uint8]:
    """(len(times_s), Y, X) occupancy 0 or 1 at each time after the newest sweep.

    sweeps_m: (N, 3) returns of the last sweeps, oldest first, `dt_s` apart, in the anchor frame of the newest; ground_m: height of the
    ground there.
    """
    bodies = [_body(sweep, ground_m) for sweep in sweeps_m]
    velocity = velocities(bodies, dt_s)
    maps = np.zeros((len(times_s), grid.rows * grid.columns), np.uint8)
    for time_s, occupied in zip(times_s, maps, strict=True):
        cells, _ = cell_indices(bodies[-1] + np.float32(time_s) * velocity, grid)
        occupied[cells] = 1
    return maps.reshape(-1, grid.rows, grid.columns)


def velocities(bodies_m: Sequence[FloatArray], dt_s: float) -> NDArray[np.float32]:
    """(N, 2) m/s of each return (N, 2) of the newest of the sweeps."""
    newest, before = bodies_m[-1], list(reversed(bodies_m[:-1]))
    older = [_fine_map(body) for body in before]
    velocity = np.zeros((len(newest), 2), np.float32)
    label = _clusters(newest)
    order = np.argsort(label, kind="stable")
    borders = np.flatnonzero(np.diff(label[order])) + 1
    for members in np.split(order, borders):
        points = newest[members]
        if len(points) >= FEWEST_RETURNS and np.ptp(points, axis=0).max() <= LARGEST_M:
            moved = _velocity(points[:: max(1, len(points) // SAMPLES)], older, dt_s)
            velocity[members] = _refined(points, moved, before, dt_s) if moved.any() else 0.0
    return velocity


def _refined(points: FloatArray, velocity: FloatArray, before: list[NDArray[np.float32]], dt_s: float) -> FloatArray:
    """(2,) the velocity that the centre of the cluster had, from where its returns were in the older sweeps."""
    centre = 0.5 * (points.min(axis=0) + points.max(axis=0))
    half = 0.5 * np.ptp(points, axis=0) + REFINED_M
    lags_s, shifts = [], []
    for lag, body in enumerate(before, start=1):
        there = body[(np.abs(body - (centre - np.float32(lag * dt_s) * velocity)) <= half).all(axis=1)]
        if len(there):
            lags_s.append(lag * dt_s)
            shifts.append(centre - 0.5 * (there.min(axis=0) + there.max(axis=0)))
    if not lags_s:
        return velocity
    lag_s, shift = np.array(lags_s), np.array(shifts)
    return (lag_s @ shift / (lag_s @ lag_s)).astype(np.float32)


def _velocity(points: FloatArray, older: list[NDArray[np.bool_]], dt_s: float) -> FloatArray:
    """(2,) the velocity that finds the points again in the older sweeps, newest first; zero where standing explains them as well."""
    standing = float(_found(points, np.zeros((1, 2), np.float32), older, dt_s)[0])
    if standing >= STANDS:
        return np.zeros(2, np.float32)
    axis = np.arange(-FASTEST_MPS, FASTEST_MPS + STEP_MPS / 2, STEP_MPS, dtype=np.float32)
    candidates = np.stack(np.meshgrid(axis, axis), axis=-1).reshape(-1, 2)
    # Of equal matches the slowest: walls and rows of cars match themselves at many velocities.
    score = _found(points, candidates, older, dt_s) - 0.01 * np.hypot(*candidates.T)
    best = int(score.argmax())
    return candidates[best] if score[best] > standing + MARGIN else np.zeros(2, np.float32)


def _found(points: FloatArray, velocity_V2: FloatArray, older: list[NDArray[np.bool_]], dt_s: float) -> FloatArray:
    """(V,) mean share of the points that lie on returns of the older sweeps where each velocity says that they came from."""
    found = np.zeros(len(velocity_V2))
    for lag, occupied in enumerate(older, start=1):
        came_from = points[None] - np.float32(lag * dt_s) * velocity_V2[:, None]
        index = ((came_from - np.float32(MATCH.origin_m[0])) / np.float32(MATCH.resolution_m)).astype(np.int32)
        inside = ((index >= 0) & (index < MATCH.rows)).all(axis=-1)
        index = np.where(inside[..., None], index, 0)
        found += (occupied[index[..., 1], index[..., 0]] & inside).mean(axis=1) / len(older)
    return found


def _fine_map(body: FloatArray) -> NDArray[np.bool_]:
    """(Y, X) of MATCH: where the sweep had returns, and the cells beside those: the next sweep hits the same thing elsewhere."""
    occupied = np.zeros(MATCH.rows * MATCH.columns, bool)
    occupied[cell_indices(body, MATCH)[0]] = True
    return ndimage.binary_dilation(occupied.reshape(MATCH.rows, MATCH.columns))


def _clusters(body: FloatArray) -> NDArray[np.intp]:
    """(N,) number of the cluster of each return."""
    index = np.floor(body / CLUSTER_M).astype(np.int32)
    index -= index.min(axis=0, initial=0)
    occupied = np.zeros(index.max(axis=0, initial=0) + 1, bool)
    occupied[index[:, 0], index[:, 1]] = True
    label, _ = ndimage.label(occupied, structure=np.ones((3, 3)))
    return label[index[:, 0], index[:, 1]]


def _body(sweep_m: FloatArray, ground_m: float) -> NDArray[np.float32]:
    """(M, 2) the returns that make a cell occupied."""
    height = sweep_m[:, 2] - np.float32(ground_m)
    return np.asarray(sweep_m[(height >= OCCUPIED_M[0]) & (height <= OCCUPIED_M[1]), :2], np.float32)
