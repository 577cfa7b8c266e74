"""Forecasts of vehicles and cyclists: constant turn rate and acceleration, both fading, with a spread for what a driver may do.

The baseline of what is learned for them. Axes: V vehicles, K modes, H future steps, S substeps.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from jepa_ros.config import param, validate
from jepa_ros.movers import BoxForecast, TrackedVehicles
from jepa_ros.types import EgoState, FloatArray, TrackedPeople

SUBSTEP_S = 0.1
SLOW_MPS = 1.0  # up to this speed a filter's turn rate is noise, and nobody is said to turn
STRAIGHT_RADPS, TURNING_RADPS = 0.2, 0.4  # up to the one it is noise at any speed, from the other on it is believed


@dataclass(frozen=True)
class ConstantTurnRateConfig:
    """Horizon, how long a manoeuvre lasts, and the spread."""

    horizon: int = param(12, "future steps", at_least=1, at_most=1000)
    dt_s: float = param(0.4, "length of a future step", at_least=0.01, at_most=10.0)
    turning_s: float = param(2.0, "a turn rate falls to 1/e in this time", at_least=0.1, at_most=60.0)
    accelerating_s: float = param(0.4, "an acceleration falls to 1/e in this time", at_least=0.1, at_most=60.0)
    braking_mps2: float = param(2.0, "of the mode that brakes to a stop", at_least=0.1, at_most=10.0)
    braking_share: float = param(0.1, "probability of that mode", at_least=0.0, at_most=1.0)
    along_mps2: float = param(0.7, "spread of the acceleration, m/s2", at_least=0.0, at_most=10.0)
    across_mps2: float = param(0.35, "spread of the sideways acceleration, m/s2", at_least=0.0, at_most=10.0)
    spread: float = param(0.5, "factor on the standard deviations, because filters are overconfident", at_least=0.05, at_most=10.0)
    position_std_m: float = param(0.15, "spread of the position now, at least", at_least=0.01, at_most=5.0)

    def __post_init__(self) -> None:
        validate(self)


class ConstantTurnRate:
    """Two modes for each of V vehicles: it continues, or it brakes."""

    name = "constant_turn_rate"

    def __init__(self, config: ConstantTurnRateConfig | None = None) -> None:
        self.config = config or ConstantTurnRateConfig()

    def predict(self, vehicles: TrackedVehicles, people: TrackedPeople | None = None, ego: EgoState | None = None) -> BoxForecast:
        """Two modes for each vehicle over `horizon` steps, in the frame of the tracks; people and ego are not looked at."""
        config, states = self.config, vehicles.states
        times_s = config.dt_s * np.arange(1, config.horizon + 1)
        brakes = -np.minimum(config.braking_mps2, np.abs(states[:, 3]) / config.dt_s) * np.sign(states[:, 3])
        poses = self._drive(states, np.stack((states[:, 4], brakes)), fades_K=np.array([True, False]))
        share = np.array([1.0 - config.braking_share, config.braking_share])
        return BoxForecast(poses, np.tile(share, (len(states), 1)), self._spread(vehicles, poses, times_s), times_s)

    def _drive(self, states: FloatArray, acceleration_KV: FloatArray, fades_K: NDArray[np.bool_]) -> FloatArray:
        """(V, K, H, 3) poses, all modes together; nobody who brakes comes to drive backwards."""
        config = self.config
        substeps = max(1, round(config.dt_s / SUBSTEP_S))
        dt_s, (x, y, yaw, speed, _, turning) = config.dt_s / substeps, np.broadcast_to(states.T[:, None], (6, *acceleration_KV.shape))
        believed = np.clip((np.abs(turning) - STRAIGHT_RADPS) / (TURNING_RADPS - STRAIGHT_RADPS), 0.0, 1.0)
        rate = turning * believed * np.clip(np.abs(speed) / SLOW_MPS - 0.5, 0.0, 1.0)
        first, least = speed, np.maximum(np.abs(speed), 1e-6)
        poses = np.empty((len(states), len(fades_K), config.horizon, 3))
        for step in range(config.horizon * substeps):
            fade_K1 = np.where(fades_K, np.exp(-step * dt_s / config.accelerating_s), 1.0)[:, None]
            after = speed + acceleration_KV * fade_K1 * dt_s
            after = np.where(after * first < 0, 0.0, after)
            turn = rate * np.exp(-step * dt_s / config.turning_s) * dt_s
            turn = turn * np.abs(after) / least  # wheels turn nothing that stands
            way, heading = 0.5 * (speed + after) * dt_s, yaw + 0.5 * turn
            x, y, yaw, speed = x + way * np.cos(heading), y + way * np.sin(heading), yaw + turn, after
            if (step + 1) % substeps == 0:
                for entry, values in enumerate((x, y, yaw)):
                    poses[:, :, step // substeps, entry] = values.T
        return poses

    def _spread(self, vehicles: TrackedVehicles, poses: FloatArray, times_s: FloatArray) -> FloatArray:
        """(V, K, H, 2, 2): what the filter does not know, and what a driver may do meanwhile, along and across the heading."""
        config, covariance = self.config, vehicles.covariances
        speed = np.abs(vehicles.states[:, 3])
        lively = np.clip(speed / 2.0, 0.1, 1.0)  # who stands mostly goes on standing
        place = 0.5 * (covariance[:, 0, 0] + covariance[:, 1, 1])
        along = place[:, None] + np.outer(covariance[:, 3, 3], times_s**2)
        along = along + (0.5 * config.along_mps2 * lively[:, None] * times_s**2) ** 2
        heading = np.outer(np.minimum(covariance[:, 2, 2], 0.1) * speed**2, times_s**2)
        turning = np.outer(np.minimum(covariance[:, 5, 5], 0.04) * speed**2, 0.25 * times_s**4) * np.exp(-times_s / config.turning_s)
        across = place[:, None] + heading + turning + (0.5 * config.across_mps2 * lively[:, None] * times_s**2) ** 2
        least = config.position_std_m**2
        axis = np.stack((np.cos(poses[..., 2]), np.sin(poses[..., 2])), axis=-1)
        normal = np.stack((-axis[..., 1], axis[..., 0]), axis=-1)
        variances = config.spread**2 * np.stack((along, across), axis=-1)[:, None, :, None, :] + least
        turn = np.stack((axis, normal), axis=-1)
        spread: FloatArray = (turn * variances) @ turn.swapaxes(-1, -2)
        return spread
