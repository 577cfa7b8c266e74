"""What is remembered of each track. Axes: P tracks, L remembered updates."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from jepa_ros.objects.struct_of_arrays import StructOfArrays
from jepa_ros.types import NANOSECONDS, FloatArray

LARGEST_LOGIT = 4.0
STAND_SHARE = 0.6  # of all that is tracked, before anything is known of one
RIDES_FROM_MPS, SURELY_RIDES_MPS = 1.5, 4.0  # nobody runs faster than the second for long


@dataclass(frozen=True)
class TrackState(StructOfArrays):
    """P tracks; every update makes a new one."""

    ids: NDArray[np.int64]  # (P,)
    mean: FloatArray  # (P, 4) x, y, vx, vy
    covariance: FloatArray  # (P, 4, 4)
    logit: FloatArray  # (P,) belief from shape and misses
    radii_m: FloatArray  # (P,)
    gathered: FloatArray  # (P,) log-odds of its detections, added up
    riding: FloatArray  # (P,) 0-1
    freed: FloatArray  # (P,) -1 what stands, cut in another way each time, to 1 what comes to free places and leaves them free
    camera: FloatArray  # (P,) log-odds that cameras add: mean of their looks, older ones weigh less
    looks: FloatArray  # (P,) the weight of all looks together, the last one's when it was made being 1
    looked_s: FloatArray  # (P,) when the last was made, -inf before
    first_s: FloatArray  # (P,) time of the first detection
    seen_s: FloatArray  # (P,) time of the last detection
    seen_m: FloatArray  # (P, 2) where that was
    path_m: FloatArray  # (P, L, 2) filtered positions at the remembered times, NaN before birth

    def __len__(self) -> int:
        return len(self.ids)


def logit_of(probability: FloatArray) -> FloatArray:
    """Log-odds, within what one detection may say."""
    clipped = np.clip(probability, 1e-6, 1 - 1e-6)
    return np.clip(np.log(clipped / (1.0 - clipped)), -LARGEST_LOGIT, LARGEST_LOGIT)


def cycling(speeds_mps: FloatArray, looks: FloatArray) -> FloatArray:
    """(P,) probability that each rides, from its speed and from how much it looks like a rider; a standing person is no rider."""
    fast = np.clip((speeds_mps - RIDES_FROM_MPS) / (SURELY_RIDES_MPS - RIDES_FROM_MPS), 0.0, 1.0)
    chance: FloatArray = looks * np.minimum(2 * fast, 1.0) + fast * fast * (1 - looks)
    return np.clip(chance, 0.0, 1.0)


def elapsed_s(stamp_ns: int, start_ns: int, times_s: FloatArray) -> tuple[float, float]:
    """Time since the start, which keeps float's precision on wall-clock stamps, and since the last of the times (0 where there is none).

    Raises ValueError where the stamp lies before it.
    """
    now_s = (stamp_ns - start_ns) / NANOSECONDS
    dt_s = now_s - float(times_s[-1]) if len(times_s) else 0.0
    if dt_s < 0:
        raise ValueError(f"stamp {stamp_ns} lies {-dt_s:.3f} s before the last update; call reset() when time jumps back")
    return now_s, dt_s


def standing(speed_mps: FloatArray, variance: FloatArray, unknown_mps: float) -> FloatArray:
    """(P,) probability that each stands, of filters that began with `unknown_mps` as the deviation of the speed: the odds of a speed of
    zero against any other, given what the filter has seen since."""
    spread = np.sqrt(variance)
    against = (1 - STAND_SHARE) * spread / unknown_mps * np.exp(np.minimum(0.5 * speed_mps**2 / variance, 50.0))
    share: FloatArray = STAND_SHARE / (STAND_SHARE + against)
    return share
