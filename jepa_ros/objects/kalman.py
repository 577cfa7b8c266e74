"""Constant-velocity Kalman filters in the plane, all tracks at once. State: x, y, vx, vy. Axes: P tracks, M detections.

The random acceleration is white noise (Bar-Shalom, Li and Kirubarajan, Estimation with Applications to Tracking and Navigation, 2001, 6.3.2
in its discrete form), so that one long gap and many short ones of the same length give nearly the same spread.
"""

from __future__ import annotations

import numpy as np

from jepa_ros.types import FloatArray


def predict(mean: FloatArray, covariance: FloatArray, dt_s: float, acceleration_mps2: float) -> tuple[FloatArray, FloatArray]:
    """(P, 4) means and (P, 4, 4) covariances after `dt_s`; the acceleration is that which acts over one second."""
    step = np.eye(4)
    step[0, 2] = step[1, 3] = dt_s
    power = acceleration_mps2**2
    noise = np.zeros((4, 4))
    noise[[0, 1], [0, 1]] = power * dt_s**3 / 3
    noise[[0, 1, 2, 3], [2, 3, 0, 1]] = power * dt_s**2 / 2
    noise[[2, 3], [2, 3]] = power * dt_s
    return mean @ step.T, step @ covariance @ step.T + noise


def distances(mean: FloatArray, covariance: FloatArray, positions_m: FloatArray, noise_m: float) -> tuple[FloatArray, FloatArray]:
    """(P, M) squared Mahalanobis distances of (M, 2) positions, and (P,) log-determinants of the innovation covariance."""
    spread = covariance[:, :2, :2] + noise_m**2 * np.eye(2)
    innovation = positions_m[None] - mean[:, None, :2]
    weighted = innovation @ np.linalg.inv(spread)
    return (weighted * innovation).sum(axis=-1), np.linalg.slogdet(spread)[1]


def correct(mean: FloatArray, covariance: FloatArray, positions_m: FloatArray, noise_m: float) -> tuple[FloatArray, FloatArray]:
    """Take in one (P, 2) position each."""
    spread = covariance[:, :2, :2] + noise_m**2 * np.eye(2)
    gain = covariance[:, :, :2] @ np.linalg.inv(spread)  # (P, 4, 2)
    corrected = covariance - gain @ covariance[:, :2, :]
    innovation = positions_m - mean[:, :2]
    return mean + (gain @ innovation[..., None])[..., 0], 0.5 * (corrected + corrected.transpose(0, 2, 1))


def slow(mean: FloatArray, covariance: FloatArray, deviation_mps: float) -> tuple[FloatArray, FloatArray]:
    """Take in that each stands, as far as that is certain."""
    spread = covariance[:, 2:, 2:] + deviation_mps**2 * np.eye(2)
    gain = covariance[:, :, 2:] @ np.linalg.inv(spread)  # (P, 4, 2)
    corrected = covariance - gain @ covariance[:, 2:, :]
    return mean - (gain @ mean[:, 2:, None])[..., 0], 0.5 * (corrected + corrected.transpose(0, 2, 1))
