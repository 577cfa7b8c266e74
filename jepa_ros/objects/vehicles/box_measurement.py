"""Relates a detected box to a tracked vehicle: which side is the front, and where the whole is if only a part was seen.

Axes: P tracks, M detections.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from jepa_ros.objects.vehicles.boxes import LENGTH, WIDTH, YAW, vectors, wrapped
from jepa_ros.types import FloatArray

LONG_M, ASPECT = 2.6, 1.5  # a box at least so long and so much longer than wide shows which way the vehicle lies
ALONG_M, ACROSS_M = 0.2, 0.15  # deviations of a measured place along and across the vehicle, where it was seen whole,
UNSEEN = 0.15  # and this share of the length and width that was not
SURPRISING = 3.0  # deviations
YAW_LONG_RAD, YAW_SHORT_RAD = 0.08, 0.4


@dataclass(frozen=True)
class Measured:
    """Of each pair."""

    poses: FloatArray  # (P, M, 3) x, y, yaw of the whole
    noise: FloatArray  # (P, M, 3, 3)
    size_m: FloatArray  # (P, M, 2) of what was seen, along and across the vehicle
    ends_m: FloatArray  # (P, M, 2, 2) front and rear end of what was seen

    def take(self, track: NDArray[np.intp], detection: NDArray[np.intp]) -> Measured:
        """(N, ...) of some pairs."""
        return Measured(*(part[track, detection] for part in (self.poses, self.noise, self.size_m, self.ends_m)))


def measured(tracks: FloatArray, seen: FloatArray, lidar_m: FloatArray, spread_m: FloatArray | None = None) -> Measured:
    """Of (P, 5) tracked and (M, 5) seen boxes. The sides that the lidar sees stay where they are; what is missing lies behind them.

    `spread_m`: (P,) deviation of each tracked place. Where the whole would then be where it cannot have come, something before it hides its
    nearer end: the whole is as near to where it was expected as it can be and hold what was seen.
    """
    yaw_P1, count = tracks[:, YAW, None], (len(tracks), len(seen))
    quarter = np.rint((yaw_P1 - seen[:, YAW]) / (0.5 * np.pi)).astype(np.intp)
    half = 2 * np.rint((yaw_P1 - seen[:, YAW]) / np.pi).astype(np.intp)
    plain = (seen[:, LENGTH] >= LONG_M) & (seen[:, LENGTH] >= ASPECT * seen[:, WIDTH])
    turns = np.where(plain, half, quarter)
    yaw = wrapped(seen[:, YAW] + 0.5 * np.pi * turns)
    sides = np.broadcast_to(seen[:, LENGTH:], (*count, 2))
    size = np.where((turns % 2 == 1)[..., None], sides[..., ::-1], sides)
    cos, sin = np.cos(yaw), np.sin(yaw)
    axis, normal = vectors(cos, sin), vectors(-sin, cos)
    centre = np.broadcast_to(seen[:, :2], (*count, 2)).copy()
    ends = np.stack((centre + 0.5 * size[..., :1] * axis, centre - 0.5 * size[..., :1] * axis), axis=-2)
    missing = np.maximum(tracks[:, None, LENGTH:] - size, 0.0)
    away, part = centre - lidar_m, centre.copy()
    hidden = np.zeros(count)
    for number, way in enumerate((axis, normal)):
        sign = np.where((away * way).sum(axis=-1) >= 0, 0.5, -0.5)
        shift = sign * missing[..., number]
        if spread_m is not None:
            expected = ((tracks[:, None, :2] - part) * way).sum(axis=-1)
            far = np.abs(shift - expected) > SURPRISING * np.hypot(spread_m[:, None], ALONG_M)
            hidden += far * missing[..., number]
            shift = np.where(far, np.clip(expected, -0.5 * missing[..., number], 0.5 * missing[..., number]), shift)
        centre += shift[..., None] * way
    spread = UNSEEN * missing + (ALONG_M, ACROSS_M)
    # What reaches beyond the track on either side may be something that stands beside it.
    spread += 0.3 * np.maximum(size - tracks[:, None, LENGTH:], 0.0)
    spread += 0.5 * hidden[..., None]
    noise = np.zeros((*count, 3, 3))
    turn = np.stack((axis, normal), axis=-1)
    noise[..., :2, :2] = turn * (spread**2)[..., None, :] @ turn.swapaxes(-1, -2)
    noise[..., 2, 2] = np.where(plain, YAW_LONG_RAD, YAW_SHORT_RAD) ** 2
    return Measured(np.concatenate((centre, yaw[..., None]), axis=-1), noise, size, ends)
