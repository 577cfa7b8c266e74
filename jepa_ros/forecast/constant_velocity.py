"""The constant-velocity baseline, with a calibrated spread. Axes: P people, K modes, H future steps, T history steps.

Schöller et al., "What the Constant Velocity Model Can Teach Us About Pedestrian Motion Prediction" (RA-L 2020) find that nothing more than
the last velocity, turned by angles drawn from a normal distribution of 25 degrees, is hard to beat. Here the draw is replaced by fixed
modes (five headings x four speeds, weighted by that distribution), and each mode carries a covariance that grows with time.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from jepa_ros.config import param, validate
from jepa_ros.types import FloatArray, PedestrianForecast, Tracks

# Heading: the standard normal cut at +-0.4 and +-1.2; share, mean and standard deviation of each piece, so that the modes together
# have the spread of the whole.
HEADING_WEIGHTS = np.array([0.1151, 0.2295, 0.3108, 0.2295, 0.1151])
HEADING_NODES = np.array([-1.6876, -0.7583, 0.0, 0.7583, 1.6876])
HEADING_WITHIN = np.array([0.4210, 0.2283, 0.2295, 0.2283, 0.4210])


@dataclass(frozen=True)
class ConstantVelocityConfig:
    """Horizon and spread of the baseline."""

    horizon: int = param(12, "future steps", at_least=1, at_most=1000)
    dt_s: float = param(0.4, "length of a future step", at_least=0.01, at_most=10.0)
    heading_std_rad: float = param(0.436, "spread of the heading; 25 degrees (Schoeller et al. 2020)", at_least=0.0, at_most=3.2)
    fit_s: float = param(0.5, "time constant of the velocity fit: older steps weigh less", at_least=0.01, at_most=10.0)
    position_std_m: float = param(0.05, "spread of the position now", at_least=0.001, at_most=5.0)
    speed_std_mps: float = param(0.12, "spread of the velocity within a mode", at_least=0.001, at_most=5.0)
    unseen_speed_std_mps: float = param(0.8, "spread of the velocity of a person seen only once", at_least=0.0, at_most=10.0)

    def __post_init__(self) -> None:
        validate(self)


# Speed: walks on, walks on slower or faster, or slows down to a stop. Shares are round figures; the coverage that they give is measured.
SPEED_FACTORS = np.array([1.0, 0.75, 1.2, 1.0])
STOPPING = np.array([False, False, False, True])
SPEED_WEIGHTS = np.array([0.55, 0.22, 0.15, 0.08])
STOPPING_TIME_S = 1.5  # the speed falls to 1/e in this time


class ConstantVelocity:
    """The baseline forecaster; see `jepa_ros.protocols.Forecaster`."""

    name = "constant_velocity"

    def __init__(self, config: ConstantVelocityConfig | None = None) -> None:
        self.config = config or ConstantVelocityConfig()

    def predict(self, tracks: Tracks, scene: object | None = None) -> PedestrianForecast:
        """K = 20 modes for each of P people over `horizon` steps, in the frame of the tracks; the scene is not looked at.

        A person without any valid step raises ValueError: there is nothing to start from.
        """
        if len(tracks.valid) and not tracks.valid.any(axis=1).all():
            raise ValueError(f"tracks {np.flatnonzero(~tracks.valid.any(axis=1)).tolist()} have no valid step; leave them out")
        config = self.config
        position_m, velocity_mps, velocity_variance = fit_velocity(tracks, config)
        times_s = config.dt_s * np.arange(1, config.horizon + 1)

        angle = config.heading_std_rad * HEADING_NODES
        turn = np.stack([np.stack([np.cos(angle), -np.sin(angle)], -1), np.stack([np.sin(angle), np.cos(angle)], -1)], 1)  # (5, 2, 2)
        turned = np.einsum("aij,pj->pai", turn, velocity_mps)  # (P, 5, 2)
        slowing = STOPPING_TIME_S * (1.0 - np.exp(-times_s / STOPPING_TIME_S))
        travel = SPEED_FACTORS[:, None] * np.where(STOPPING[:, None], slowing, times_s)  # (4, H) s of full speed
        steps = turned[:, :, None, None, :] * travel[None, None, :, :, None]  # (P, 5, 4, H, 2)
        people, modes = len(position_m), len(angle) * len(travel)
        means = position_m[:, None, None] + steps.reshape(people, modes, config.horizon, 2)

        weights = (HEADING_WEIGHTS[:, None] * SPEED_WEIGHTS).ravel()
        variance = config.position_std_m**2 + np.outer(velocity_variance + config.speed_std_mps**2, times_s**2)  # (P, H)
        # What remains of the heading's spread within a mode acts across its direction: the outer product of the turned step.
        sideways = np.stack([-steps[..., 1], steps[..., 0]], axis=-1) * (config.heading_std_rad * HEADING_WITHIN)[:, None, None, None]
        covariances = (sideways[..., :, None] * sideways[..., None, :]).reshape(people, modes, config.horizon, 2, 2)
        covariances += variance[:, None, :, None, None] * np.eye(2)
        probabilities = np.tile(weights / weights.sum(), (people, 1))
        return PedestrianForecast(means, probabilities, covariances, times_s)


def fit_velocity(tracks: Tracks, config: ConstantVelocityConfig) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Position now (P, 2), velocity (P, 2) and the variance of each velocity component (P,), from a weighted line through the valid steps.

    Steps off the first line by more than three position deviations weigh less in the second (Huber's weights), so that one swapped or
    jumping detection does not turn the person around.
    """
    steps = tracks.positions_m.shape[1]
    age_s = tracks.dt_s * np.arange(steps - 1, -1, -1)
    weight = np.where(tracks.valid, np.exp(-age_s / config.fit_s), 0.0)
    velocity, moment = _slope(tracks.positions_m, -age_s, weight)
    for _ in range(2):
        centre = _mean(tracks.positions_m, weight)
        line = centre[:, None] + velocity[:, None] * (-age_s + _mean(age_s[None, :, None], weight)[:, :1])[..., None]
        residual = np.hypot(*np.moveaxis(tracks.positions_m - line, -1, 0))
        robust = weight * np.minimum(1.0, 3 * config.position_std_m / np.maximum(residual, 1e-9))
        velocity, moment = _slope(tracks.positions_m, -age_s, robust)
    last = steps - 1 - tracks.valid[:, ::-1].argmax(axis=1)
    position = tracks.positions_m[np.arange(len(last)), last] + velocity * age_s[last][:, None]
    known = moment / config.position_std_m**2
    return position, velocity, 1.0 / (known + 1.0 / max(config.unseen_speed_std_mps, 1e-6) ** 2)


def _mean(values: FloatArray, weight: FloatArray) -> FloatArray:
    return (values * weight[..., None]).sum(axis=1) / np.maximum(weight.sum(axis=1), 1e-12)[:, None]


def _slope(positions: FloatArray, times_s: FloatArray, weight: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Weighted least squares: slope (P, 2), zero where there is one step only, and the second moment of time (P,)."""
    centred = times_s - _mean(times_s[None, :, None], weight)  # (P, T)
    moment = (weight * centred**2).sum(axis=1)
    slope = ((weight * centred)[..., None] * positions).sum(axis=1) / np.maximum(moment, 1e-9)[:, None]
    return np.where(moment[:, None] > 1e-6, slope, 0.0), moment
