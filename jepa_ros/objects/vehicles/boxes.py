"""Oriented boxes on the ground, many at once: corners, what lies within, overlap.

A box is a row x m, y m, yaw rad, length m (along the yaw), width m. Axes: N boxes or pairs, C corners (4), P points.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from jepa_ros.types import FloatArray

X, Y, YAW, LENGTH, WIDTH = range(5)
_SIGNS = np.array([[1, 1], [-1, 1], [-1, -1], [1, -1]]) * 0.5  # counter-clockwise from the front left
_NEARLY = 1e-9
_HAIR = 1e-10  # share of a side; far above what rounding can move an edge by, near the origin


def vectors(x: FloatArray, y: FloatArray) -> FloatArray:
    """(..., 2) of the two coordinates, arrays of one shape: `np.stack` for many short arrays, in a quarter of its time."""
    both = np.empty((*x.shape, 2))
    both[..., 0], both[..., 1] = x, y
    return both


def corners(boxes_N5: FloatArray) -> FloatArray:
    """(N, 4, 2) counter-clockwise, the front left one first."""
    local_NC2 = boxes_N5[:, None, LENGTH:] * _SIGNS
    cos, sin = np.cos(boxes_N5[:, None, YAW]), np.sin(boxes_N5[:, None, YAW])
    x_NC, y_NC = local_NC2[..., 0], local_NC2[..., 1]
    return vectors(cos * x_NC - sin * y_NC, sin * x_NC + cos * y_NC) + boxes_N5[:, None, :2]


def within(boxes_N5: FloatArray, points_m: FloatArray, margin_m: float = 0.0) -> NDArray[np.bool_]:
    """(N, P) whether points (P, 2) lie in each box, grown by a margin to every side."""
    local_NP2 = to_boxes(boxes_N5, points_m)
    return np.all(np.abs(local_NP2) <= 0.5 * boxes_N5[:, None, LENGTH:] + margin_m, axis=-1)


def to_boxes(boxes_N5: FloatArray, points_m: FloatArray) -> FloatArray:
    """(N, P, 2) points (P, 2) in the frame of each box: along it, to its left."""
    return _seen_from(boxes_N5, points_m[None])


def moved(boxes_N5: FloatArray, pose: FloatArray) -> FloatArray:
    """The same boxes in the frame into which `pose` (4, 4), a turn about z and a shift, leads."""
    turned = boxes_N5.copy()
    turned[:, :2] = boxes_N5[:, :2] @ pose[:2, :2].T + pose[:2, 3]
    turned[:, YAW] = wrapped(boxes_N5[:, YAW] + np.arctan2(pose[1, 0], pose[0, 0]))
    return turned


def wrapped(angle: FloatArray) -> FloatArray:
    """In [-pi, pi)."""
    return np.remainder(angle + np.pi, 2 * np.pi) - np.pi


def overlaps(first_N5: FloatArray, second_M5: FloatArray, asked_NM: NDArray[np.bool_] | None = None) -> FloatArray:
    """(N, M) area of the intersection over that of the union, to 1e-9. Pairs too far apart to touch cost nothing.

    `asked_NM`: the pairs that matter, None = all; the others are told to share nothing.
    """
    found = np.zeros((len(first_N5), len(second_M5)))
    reach = 0.5 * (np.hypot(*first_N5[:, LENGTH:].T)[:, None] + np.hypot(*second_M5[:, LENGTH:].T))
    near = np.hypot(*(first_N5[:, None, :2] - second_M5[None, :, :2]).transpose(2, 0, 1)) < reach
    row, column = np.nonzero(near if asked_NM is None else near & asked_NM)
    if len(row):
        common = _common_area(first_N5[row], second_M5[column])
        areas = first_N5[row, LENGTH] * first_N5[row, WIDTH] + second_M5[column, LENGTH] * second_M5[column, WIDTH]
        found[row, column] = common / np.maximum(areas - common, _NEARLY)
    return found


def _common_area(first_N5: FloatArray, second_N5: FloatArray) -> FloatArray:
    """(N,) of pairs, by Green's theorem: the integral of x dy along the boundary of the intersection, in the frame of the first box.

    That boundary is what of the second's edges lies in the first box, and what of the first's edges lies in the second. Of edges that
    coincide one must count: the second box is smaller by a hair.
    """
    half_N2 = 0.5 * first_N5[:, LENGTH:]
    first_N5, second_N5 = first_N5.copy(), second_N5.copy()
    second_N5[:, :2] -= first_N5[:, :2]  # in a map of UTM, corners would be rounded by more than a hair
    first_N5[:, :2] = 0.0
    second_N5[:, LENGTH:] *= 1.0 - _HAIR
    turn_N = second_N5[:, YAW] - first_N5[:, YAW]
    at_NC2 = _seen_from(first_N5, corners(second_N5))
    step_NC2 = at_NC2[:, [1, 2, 3, 0]] - at_NC2
    begin, end = _stretch(at_NC2, step_NC2, half_N2[:, None])  # (N, 4) of each edge of the second box, from 0 to 1
    x, y = step_NC2[..., 0], step_NC2[..., 1]
    area_N = (np.maximum(end - begin, 0.0) * y * (at_NC2[..., 0] + 0.5 * (begin + end) * x)).sum(axis=1)
    # Along the front and rear edge of the first box x is constant, and along its sides y is.
    edge_N22 = half_N2[:, None] * np.array([[1.0, -1.0], [-1.0, 1.0]])  # where the front edge begins, upwards, and the rear one, downwards
    way_N22 = half_N2[:, None] * np.array([[0.0, 2.0], [0.0, -2.0]])
    cos, sin = np.cos(turn_N)[:, None], np.sin(turn_N)[:, None]
    middle = at_NC2.mean(axis=1)[:, None]

    def turned(way: FloatArray) -> FloatArray:
        return vectors(cos * way[..., 0] + sin * way[..., 1], cos * way[..., 1] - sin * way[..., 0])

    begin, end = _stretch(turned(edge_N22 - middle), turned(way_N22), 0.5 * second_N5[:, None, LENGTH:])
    return area_N + (np.maximum(end - begin, 0.0) * edge_N22[..., 0] * way_N22[..., 1]).sum(axis=1)


def _stretch(start: FloatArray, step: FloatArray, half: FloatArray) -> tuple[FloatArray, FloatArray]:
    """From where to where, in shares of the step from `start` (..., 2), it leads through a box of twice `half` around the origin."""
    with np.errstate(divide="ignore", invalid="ignore"):
        one, other = (-half - start) / step, (half - start) / step
    # A step along a side that lies outside leads through nothing: both ends are the same infinity.
    begin, end = np.fmin(one, other), np.fmax(one, other)
    return begin.max(axis=-1).clip(0.0, 1.0), end.min(axis=-1).clip(0.0, 1.0)


def _seen_from(boxes_N5: FloatArray, points_NC2: FloatArray) -> FloatArray:
    """(N, C, 2) each box's own points in its frame."""
    offset = points_NC2 - boxes_N5[:, None, :2]
    cos, sin = np.cos(boxes_N5[:, None, YAW]), np.sin(boxes_N5[:, None, YAW])
    return vectors(cos * offset[..., 0] + sin * offset[..., 1], cos * offset[..., 1] - sin * offset[..., 0])
