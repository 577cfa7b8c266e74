"""Tracks at any rate -> the fixed history that the learned forecaster reads, and who is near whom. Numpy.

Axes: P person, T history step (oldest first, last = now), M neighbour.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from jepa_ros.objects.time_steps import HISTORY, STEP_S
from jepa_ros.types import FloatArray, Tracks

NEIGHBOURS = 10
NEIGHBOUR_RANGE_M = 10.0
SAME_TIME_S = 0.05  # a lone sample this near in time stands for a step


def nearest_neighbours(positions_m: FloatArray, count: int) -> NDArray[np.int64]:
    """(P, count) the nearest others within NEIGHBOUR_RANGE_M of each of (P, 2), nearest first, -1 where there are fewer."""
    people = len(positions_m)
    gap = positions_m[:, None] - positions_m[None]
    squared = np.square(gap[..., 0]) + np.square(gap[..., 1])
    np.fill_diagonal(squared, np.inf)
    taken = min(count, people)
    order = np.argpartition(squared, taken - 1, axis=1)[:, :taken] if taken < people else np.tile(np.arange(people), (people, 1))
    nearest = np.take_along_axis(squared, order, axis=1)
    rank = np.argsort(nearest, axis=1, kind="stable")
    within = np.take_along_axis(nearest, rank, axis=1) <= NEIGHBOUR_RANGE_M**2
    near = np.full((people, count), -1, np.int64)
    near[:, :taken] = np.where(within, np.take_along_axis(order, rank, axis=1), -1)
    return near


def resample(tracks: Tracks) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """History every STEP_S, ending now: positions (P, HISTORY, 2), seen (P, HISTORY). Unseen steps are zero.

    Tracks of any source arrive here, at their own period and with jitter: this smooths, `objects.time_steps.positions_at` interpolates.

    Each step is a line fitted to the valid samples around it, nearer ones counting more: at 0.4 s that is the sample itself, at longer
    periods the interpolation, at shorter ones a smoothing of jitter. Who was seen twice within less than one step gets the step before by
    extrapolation, since two positions make a velocity.
    """
    steps = tracks.valid.shape[1]
    times = (np.arange(steps) - (steps - 1)) * tracks.dt_s
    wanted = (np.arange(HISTORY) - (HISTORY - 1)) * STEP_S
    lag = times - wanted[:, None]  # (HISTORY, T)
    valid = tracks.valid[:, None, :]
    weight = valid * np.clip(1 - np.abs(lag) / max(STEP_S, tracks.dt_s), 0, None)  # (P, HISTORY, T)
    path, slope = _fit_lines(weight, lag, np.where(tracks.valid[..., None], tracks.positions_m, 0.0))
    nearest = np.where(valid, np.abs(lag), np.inf).min(axis=-1)
    samples = (weight > 1e-9).sum(axis=-1)
    seen = np.where(samples >= 2, nearest <= STEP_S / 2 + 1e-9, nearest <= SAME_TIME_S)
    brief = (seen.sum(axis=1) == 1) & seen[:, -1] & (samples[:, -1] >= 2)
    path[brief, -2] = path[brief, -1] - slope[brief, -1] * STEP_S
    seen[brief, -2] = True
    return np.where(seen[..., None], path, 0.0), seen


def _fit_lines(weight: FloatArray, lag: FloatArray, positions: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Weighted least squares: value at lag 0 and slope, (P, J, 2) each, for weights (P, J, T), lags (J, T), positions (P, T, 2)."""
    total = np.maximum(weight.sum(axis=-1), 1e-12)
    mean_lag = (weight * lag).sum(axis=-1) / total
    mean = weight @ positions / total[..., None]
    centred = weight * (lag - mean_lag[..., None])
    spread = (centred * lag).sum(axis=-1)
    slope = centred @ positions / np.maximum(spread, 1e-12)[..., None]
    slope = np.where(spread[..., None] > 1e-9, slope, 0.0)
    return mean - slope * mean_lag[..., None], slope
