"""Latents of the recent past, kept so that each observation is encoded only once.

Axes: B batch, T history step (oldest first), H future step, N latent token, D latent width, A action.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from jepa_ros.protocols import WorldModel
from jepa_ros.types import NANOSECONDS, EgoState, FloatArray


@dataclass(frozen=True)
class Remembered:
    """A latent and where it holds."""

    stamp_ns: int
    odom_from_anchor: FloatArray  # (4, 4)
    latent_ND: Tensor


class LatentMemory:
    """A rolling window of latents; it gives the history from which a world model predicts."""

    def __init__(self, model: WorldModel) -> None:
        self._model = model
        self._step_ns = round(model.spec.dt_s * NANOSECONDS)
        self._entries: deque[Remembered] = deque()

    def __len__(self) -> int:
        return len(self._entries)

    def clear(self) -> None:
        self._entries.clear()

    def add(self, stamp_ns: int, odom_from_anchor: FloatArray, latent_ND: Tensor) -> None:
        """Remember a latent. Stamps must rise; a ValueError names the two that do not."""
        if self._entries and stamp_ns <= self._entries[-1].stamp_ns:
            raise ValueError(
                f"latent stamped {stamp_ns} ns follows {self._entries[-1].stamp_ns} ns: clear() the memory after a jump in time"
            )
        self._entries.append(Remembered(stamp_ns, odom_from_anchor, latent_ND))
        oldest_ns = stamp_ns - self._step_ns * self._model.spec.history
        while self._entries[0].stamp_ns < oldest_ns:
            self._entries.popleft()

    @property
    def newest_ND(self) -> Tensor:
        return self._entries[-1].latent_ND

    def history(self) -> Tensor:
        """(1, T, N, D) latents one model step apart, warped into the newest anchor frame.

        Each step takes the remembered latent nearest in time; where the past is too short the oldest one stands in, which says "nothing
        moved" and is the least that can be assumed.
        """
        now_ND, past, new_from_old = self.parts()
        if not past:
            return now_ND[None, None]
        return torch.cat([self._model.align(torch.stack(past), new_from_old), now_ND[None]])[None]

    def parts(self) -> tuple[Tensor, list[Tensor], FloatArray]:
        """Of `history` the newest latent, (N, D), and the T - 1 older ones as they are, with (T - 1, 4, 4) new_from_old."""
        now = self._entries[-1]
        wanted_ns = [now.stamp_ns - k * self._step_ns for k in reversed(range(1, self._model.spec.history))]
        past = [min(self._entries, key=lambda entry: abs(entry.stamp_ns - stamp_ns)) for stamp_ns in wanted_ns]
        if not past:
            return now.latent_ND, [], np.zeros((0, 4, 4))
        new_from_old = np.stack([np.linalg.inv(now.odom_from_anchor) @ entry.odom_from_anchor for entry in past])
        return now.latent_ND, [entry.latent_ND for entry in past], new_from_old


def steady_motion(ego: EgoState, horizon: int, dt_s: float) -> FloatArray:
    """(H, 3) x m, y m, yaw rad in the anchor frame of an ego that keeps its speed and yaw rate: assumed where nothing is intended."""
    time_s = dt_s * np.arange(1, horizon + 1)
    yaw = ego.yaw_rate_radps * time_s
    # Mean heading over the elapsed time times the chord factor sin(a) / a: the exact arc, also at yaw rate 0 (np.sinc divides by pi).
    chord_s = time_s * np.sinc(yaw / (2 * np.pi))
    vx, vy = ego.velocity_mps
    cos, sin = np.cos(yaw / 2), np.sin(yaw / 2)
    return np.stack([chord_s * (vx * cos - vy * sin), chord_s * (vx * sin + vy * cos), yaw], axis=1)
