"""Extended Kalman filters of vehicles, all at once: constant turn rate and acceleration.

State: x, y, yaw, speed along the yaw (negative: backwards), acceleration along it, yaw rate. Model: Schubert, Richter and Wanielik,
Comparison and evaluation of advanced motion models for vehicle tracking (FUSION 2008), with the heading of the middle of each step.
Axes: P tracks.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from jepa_ros.objects.vehicles.boxes import wrapped
from jepa_ros.types import FloatArray

X, Y, YAW, SPEED, ACCELERATION, YAW_RATE = range(6)
JERK_MPS3, YAW_ACCELERATION = 2.5, 0.5  # random, acting over one second, standard deviations
SIDEWAYS_MPS = 0.15  # of the place itself: no vehicle is a point that follows its heading exactly
ACCELERATION_TIME_S, TURN_TIME_S = 1.5, 3.0  # both fade: nobody brakes, or turns, for long
LONGEST_STEP_S = 0.2


def predict(mean: FloatArray, covariance: FloatArray, dt_s: float) -> tuple[FloatArray, FloatArray]:
    """(P, 6) means and (P, 6, 6) covariances after `dt_s`, in steps short enough for the linear covariance."""
    steps = max(1, int(np.ceil(dt_s / LONGEST_STEP_S)))
    for _ in range(steps):
        mean, covariance = _step(mean, covariance, dt_s / steps)
    return mean, covariance


def _step(mean: FloatArray, covariance: FloatArray, dt_s: float) -> tuple[FloatArray, FloatArray]:
    speed, acceleration, rate = mean[:, SPEED], mean[:, ACCELERATION], mean[:, YAW_RATE]
    heading = mean[:, YAW] + 0.5 * rate * dt_s
    cos, sin = np.cos(heading), np.sin(heading)
    way = speed * dt_s + 0.5 * acceleration * dt_s**2
    fade, straighten = np.exp(-dt_s / ACCELERATION_TIME_S), np.exp(-dt_s / TURN_TIME_S)
    after = mean.copy()
    after[:, X] += way * cos
    after[:, Y] += way * sin
    after[:, YAW] = wrapped(mean[:, YAW] + rate * dt_s)
    after[:, SPEED] += acceleration * dt_s
    after[:, ACCELERATION] *= fade
    after[:, YAW_RATE] *= straighten
    jacobian = np.tile(np.eye(6), (len(mean), 1, 1))
    jacobian[:, X, YAW], jacobian[:, Y, YAW] = -way * sin, way * cos
    jacobian[:, X, SPEED], jacobian[:, Y, SPEED] = dt_s * cos, dt_s * sin
    jacobian[:, X, ACCELERATION], jacobian[:, Y, ACCELERATION] = 0.5 * dt_s**2 * cos, 0.5 * dt_s**2 * sin
    jacobian[:, X, YAW_RATE], jacobian[:, Y, YAW_RATE] = -0.5 * dt_s * way * sin, 0.5 * dt_s * way * cos
    jacobian[:, YAW, YAW_RATE] = jacobian[:, SPEED, ACCELERATION] = dt_s
    jacobian[:, ACCELERATION, ACCELERATION], jacobian[:, YAW_RATE, YAW_RATE] = fade, straighten
    noise = np.diag(
        [
            SIDEWAYS_MPS**2 * dt_s,
            SIDEWAYS_MPS**2 * dt_s,
            YAW_ACCELERATION**2 * dt_s**3 / 3,
            JERK_MPS3**2 * dt_s**3 / 3,
            JERK_MPS3**2 * dt_s,
            YAW_ACCELERATION**2 * dt_s,
        ]
    )
    return after, jacobian @ covariance @ jacobian.transpose(0, 2, 1) + noise


def correct(
    mean: FloatArray, covariance: FloatArray, poses: FloatArray, noise: FloatArray, wanted: NDArray[np.intp] | None = None
) -> tuple[FloatArray, FloatArray]:
    """Take in one measurement each: (P, K) with (P, K, K) noise of the state's entries `wanted`, None = the first K; the yaw may be any
    that means the same."""
    index = np.arange(poses.shape[1]) if wanted is None else wanted
    innovation = poses - mean[:, index]
    innovation[:, index == YAW] = wrapped(innovation[:, index == YAW])
    spread = covariance[:, index[:, None], index] + noise
    gain = covariance[:, :, index] @ np.linalg.inv(spread)
    corrected = covariance - gain @ covariance[:, index, :]
    after = mean + (gain @ innovation[..., None])[..., 0]
    after[:, YAW] = wrapped(after[:, YAW])
    return after, 0.5 * (corrected + corrected.transpose(0, 2, 1))


def turned_round(mean: FloatArray, covariance: FloatArray, which: NDArray[np.bool_]) -> tuple[FloatArray, FloatArray]:
    """Those with their front where their rear was: the same motion under another name."""
    mean, covariance = mean.copy(), covariance.copy()
    mean[which, YAW] = wrapped(mean[which, YAW] + np.pi)
    mean[which, SPEED] *= -1
    mean[which, ACCELERATION] *= -1
    sign = np.array([1.0, 1.0, 1.0, -1.0, -1.0, 1.0])
    covariance[which] = covariance[which] * sign[:, None] * sign
    return mean, covariance
