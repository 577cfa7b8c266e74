"""The published baselines of pedestrian forecasting, as forecasters: what a learned one has to beat.

Each reads tracks of 8 steps of 0.4 s and takes its spreads from the training table of the fold; none sees the test scene.

Axes: P person, T history step, H future step, K mode.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from jepa_ros.objects.time_steps import HISTORY, HORIZON, STEP_S
from jepa_ros.training.forecaster.data import TrackTable
from jepa_ros.types import FloatArray, PedestrianForecast, Tracks

SAMPLED_ANGLE_RAD = np.deg2rad(25.0)
AHEAD = np.arange(1, HORIZON + 1)
VARIANCE_FLOOR_M2 = 0.02**2


class GaussianBaseline:
    """One path with a Gaussian at each step, whose variances along and across the heading are those of the training errors."""

    def __init__(self, path_of: Callable[[FloatArray], FloatArray], table: TrackTable) -> None:
        self._path_of = path_of
        history, future = complete_windows(table)
        error = _rotate(future - path_of(history), heading(history), inverse=True)
        self._variance = np.square(error).mean(axis=0) + VARIANCE_FLOOR_M2  # (H, 2)

    def predict(self, tracks: Tracks, scene: object | None = None) -> PedestrianForecast:
        """K = 1. Raises ValueError unless every track is eight seen steps of 0.4 s."""
        history = full_history(tracks)
        turn = heading(history)
        covariance = np.einsum("pij,hj,pkj->phik", turn, self._variance, turn)
        return PedestrianForecast(self._path_of(history)[:, None], np.ones((len(history), 1)), covariance[:, None], STEP_S * AHEAD)


class SampledAngles:
    """Twenty constant-velocity paths, each turned by an angle drawn from a normal distribution of 25 degrees (Schöller et al. 2020)."""

    def __init__(self, table: TrackTable, seed: int = 0) -> None:
        self._straight = GaussianBaseline(constant_velocity, table)
        self._generator = np.random.default_rng(seed)

    def predict(self, tracks: Tracks, scene: object | None = None) -> PedestrianForecast:
        """K = 20 equally probable draws; all share the covariance of the training errors divided by four."""
        straight = self._straight.predict(tracks)
        angle = self._generator.normal(0.0, SAMPLED_ANGLE_RAD, (len(tracks.valid), 20))
        turn = np.stack([np.stack([np.cos(angle), -np.sin(angle)], -1), np.stack([np.sin(angle), np.cos(angle)], -1)], -2)
        origin = tracks.positions_m[:, -1][:, None, None]
        modes = np.einsum("pkij,phj->pkhi", turn, straight.modes_m[:, 0] - origin[:, 0]) + origin
        covariances = np.repeat(straight.covariances_m2 / 4, 20, axis=1)
        return PedestrianForecast(modes, np.full(angle.shape, 0.05), covariances, straight.times_s)


def full_history(tracks: Tracks) -> FloatArray:
    """(P, 8, 2) of tracks that are eight seen steps of 0.4 s; ValueError for others."""
    if tracks.valid.shape[1] != HISTORY or not tracks.valid.all() or abs(tracks.dt_s - STEP_S) > 1e-9:
        raise ValueError(f"this baseline needs {HISTORY} seen steps of {STEP_S} s, got {tracks.valid.shape[1]} of {tracks.dt_s} s")
    return np.asarray(tracks.positions_m, np.float64)


def complete_windows(table: TrackTable) -> tuple[FloatArray, FloatArray]:
    """Histories (N, T, 2) and futures (N, H, 2) of the complete rows."""
    rows = table.complete
    return table.history_m[rows].astype(np.float64), table.future_m[rows].astype(np.float64)


def heading(history: FloatArray) -> FloatArray:
    """(P, 2, 2) rotations, world = rotation @ own, whose x axis is the displacement over the history (world x for who stands)."""
    move = history[:, -1] - history[:, 0]
    length = np.hypot(move[:, 0], move[:, 1])
    x = np.where(length[:, None] > 1e-3, move / np.maximum(length, 1e-3)[:, None], [1.0, 0.0])
    return np.stack((x, np.stack((-x[:, 1], x[:, 0]), axis=-1)), axis=-1)


def _rotate(points: FloatArray, turn: FloatArray, inverse: bool = False) -> FloatArray:
    return np.einsum("pji,phj->phi" if inverse else "pij,phj->phi", turn, points)


def constant_velocity(history: FloatArray) -> FloatArray:
    """(P, H, 2): the last displacement, again and again."""
    return history[:, -1, None] + (history[:, -1] - history[:, -2])[:, None] * AHEAD[:, None]


def ridge_regression(table: TrackTable, penalty: float = 1.0) -> Callable[[FloatArray], FloatArray]:
    """Linear map, in the frame of the heading, from the seven displacements of the past to the residual to constant velocity."""

    def inputs(history: FloatArray) -> FloatArray:
        own = _rotate(np.diff(history, axis=1), heading(history), inverse=True)
        return np.concatenate((own.reshape(len(own), -1), np.ones((len(own), 1))), axis=1)

    history, future = complete_windows(table)
    residual = _rotate(future - constant_velocity(history), heading(history), inverse=True).reshape(len(history), -1)
    x = inputs(history)
    weights = np.linalg.solve(x.T @ x + penalty * np.eye(x.shape[1]), x.T @ residual)

    def path(history: FloatArray) -> FloatArray:
        own = (inputs(history) @ weights).reshape(len(history), HORIZON, 2)
        return constant_velocity(history) + _rotate(own, heading(history))

    return path


def kalman_filter(table: TrackTable) -> Callable[[FloatArray], FloatArray]:
    """Constant-velocity Kalman filter; the ratio of process to measurement noise is the one with the least error on the training table."""
    history, future = complete_windows(table)
    rows = np.random.default_rng(0).permutation(len(history))[:4000]
    ratios = np.geomspace(0.01, 100.0, 13)
    errors = [np.linalg.norm(_filtered(history[rows], ratio) - future[rows], axis=-1).mean() for ratio in ratios]
    best = ratios[int(np.argmin(errors))]
    return lambda history: _filtered(history, best)


def _filtered(history: FloatArray, ratio: float) -> FloatArray:
    """Filter with unit measurement variance and white acceleration of spectral density `ratio` per step; then go straight on."""
    transition = np.array([[1.0, 1.0], [0.0, 1.0]])
    process = ratio * np.array([[1 / 3, 1 / 2], [1 / 2, 1.0]])
    state = np.stack((history[:, 0], np.zeros_like(history[:, 0])), axis=1)  # (P, [position, velocity], 2)
    covariance = np.diag([1.0, 100.0])
    for step in range(1, history.shape[1]):
        state = transition @ state
        covariance = transition @ covariance @ transition.T + process
        gain = covariance[:, 0] / (covariance[0, 0] + 1.0)
        state = state + gain[:, None] * (history[:, step] - state[:, 0])[:, None]
        covariance = covariance - np.outer(gain, covariance[0])
    return state[:, 0][:, None] + state[:, 1][:, None] * AHEAD[:, None]
