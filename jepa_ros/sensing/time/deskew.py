"""Points of a sweep, each measured at its own time while the vehicle drove, brought to one instant.

The motion within a sweep is fitted by a polynomial in time of each number of the pose matrix, of the lowest degree that keeps what the
poses say. So a sweep of 100,000 points costs a few matrix products, where a pose for each point would cost a hundred times as much.

Axes: N point, K knot, D degree.
"""

from __future__ import annotations

import re
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from jepa_ros.types import NANOSECONDS, FloatArray

KNOTS = 7
MAX_DEGREE = 4
SHIFT_M, TURN = 0.003, 1e-4  # what the fit may leave, at most: 3 mm, and 5 mm at 50 m
COMPENSATED = re.compile(r"deskew|compensat|undistort|rectified|motion_?correct|(?:^|[/_])registered")

BaseAt = Callable[[list[int]], FloatArray]  # stamps -> (K, 4, 4): base at the target's instant from base at each stamp


def is_compensated(topic: str) -> bool:
    """Whether the name of a topic says that its clouds are already deskewed."""
    return COMPENSATED.search(topic.lower()) is not None


def deskewed(points_base_m: NDArray[np.float32], offsets_s: NDArray[np.float32], stamp_ns: int, base_at: BaseAt) -> NDArray[np.float32]:
    """(N, 3) points in the base frame at one instant, from (N, 3) in the base frame as it was `offsets_s` after `stamp_ns`.

    `base_at` says where the base was at some stamps, seen from the base at that instant.
    """
    if not len(points_base_m):
        return points_base_m
    first_s, last_s = float(offsets_s.min()), float(offsets_s.max())
    middle_s, half_s = (first_s + last_s) / 2, max((last_s - first_s) / 2, 1e-9)
    knots_K = np.linspace(-1.0, 1.0, KNOTS) if last_s > first_s else np.zeros(1)
    motion_K44 = base_at([stamp_ns + round((middle_s + half_s * knot) * NANOSECONDS) for knot in knots_K])
    coefficients_D34 = _fitted(knots_K, motion_K44)
    if len(coefficients_D34) == 1 and np.allclose(coefficients_D34[0], np.eye(4)[:3], rtol=0.0, atol=1e-6):
        return points_base_m  # it stood
    points_3N = np.ascontiguousarray(points_base_m.T)  # ten times as fast as rows of three
    moved_3N = _moved(points_3N, coefficients_D34[-1])
    time_N = (offsets_s - np.float32(middle_s)) * np.float32(1 / half_s)
    for coefficients_34 in coefficients_D34[-2::-1]:  # Horner
        moved_3N *= time_N
        moved_3N += _moved(points_3N, coefficients_34)
    return np.ascontiguousarray(moved_3N.T)


def _fitted(knots_K: FloatArray, motion_K44: FloatArray) -> FloatArray:
    """(D + 1, 3, 4) coefficients of the polynomial of the lowest degree that meets the poses at the knots."""
    rows_K12 = motion_K44[:, :3].reshape(len(knots_K), 12)
    allowed = np.tile([TURN, TURN, TURN, SHIFT_M], 3)
    for degree in range(min(MAX_DEGREE, len(knots_K) - 1) + 1):
        powers_KD = np.vander(knots_K, degree + 1, increasing=True)
        coefficients_D12 = np.linalg.lstsq(powers_KD, rows_K12, rcond=None)[0]
        if (np.abs(powers_KD @ coefficients_D12 - rows_K12) <= allowed).all():
            break
    return coefficients_D12.reshape(-1, 3, 4)


def _moved(points_3N: NDArray[np.float32], rows_34: FloatArray) -> NDArray[np.float32]:
    rows = rows_34.astype(np.float32)
    moved_3N = np.ascontiguousarray(rows[:, :3]) @ points_3N
    moved_3N += rows[:, 3:]
    return moved_3N
