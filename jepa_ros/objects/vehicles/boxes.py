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


def corners(boxes_N5: FloatArray) -> FloatArray:
    """(N, 4, 2) counter-clockwise, the front left one first."""
    local_NC2 = boxes_N5[:, None, LENGTH:] * _SIGNS
    cos, sin = np.cos(boxes_N5[:, None, YAW]), np.sin(boxes_N5[:, None, YAW])
    x_NC, y_NC = local_NC2[..., 0], local_NC2[..., 1]
    return np.stack((cos * x_NC - sin * y_NC, sin * x_NC + cos * y_NC), axis=-1) + boxes_N5[:, None, :2]


def within(boxes_N5: FloatArray, points_m: FloatArray, margin_m: float = 0.0) -> NDArray[np.bool_]:
    """(N, P) whether points (P, 2) lie in each box, grown by a margin to every side."""
    local_NP2 = to_boxes(boxes_N5, points_m)
    return np.all(np.abs(local_NP2) <= 0.5 * boxes_N5[:, None, LENGTH:] + margin_m, axis=-1)


def to_boxes(boxes_N5: FloatArray, points_m: FloatArray) -> FloatArray:
    """(N, P, 2) points (P, 2) in the frame of each box: along it, to its left."""
    offset = points_m[None] - boxes_N5[:, None, :2]
    cos, sin = np.cos(boxes_N5[:, None, YAW]), np.sin(boxes_N5[:, None, YAW])
    return np.stack((cos * offset[..., 0] + sin * offset[..., 1], cos * offset[..., 1] - sin * offset[..., 0]), axis=-1)


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
    """(N, M) area of the intersection over that of the union, exact. Pairs too far apart to touch cost nothing.

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
    """(N,) of pairs. The intersection is convex: its corners are those of either box within the other, and where edges cross."""
    one_NC2, other_NC2 = corners(first_N5), corners(second_N5)
    edges_NC2, others_NC2 = np.roll(one_NC2, -1, axis=1) - one_NC2, np.roll(other_NC2, -1, axis=1) - other_NC2
    start = other_NC2[:, None] - one_NC2[:, :, None]  # (N, 4, 4, 2)
    cross = _cross(edges_NC2[:, :, None], others_NC2[:, None])
    with np.errstate(divide="ignore", invalid="ignore"):
        along, beside = _cross(start, others_NC2[:, None]) / cross, _cross(start, edges_NC2[:, :, None]) / cross
    meet = (np.abs(cross) > _NEARLY) & (along >= 0) & (along <= 1) & (beside >= 0) & (beside <= 1)
    crossing = one_NC2[:, :, None] + np.where(meet, along, 0.0)[..., None] * edges_NC2[:, :, None]
    points = np.concatenate((one_NC2, other_NC2, crossing.reshape(len(first_N5), 16, 2)), axis=1)  # (N, 24, 2)
    counts = np.concatenate((_inside(second_N5, one_NC2), _inside(first_N5, other_NC2), meet.reshape(-1, 16)), axis=1)
    number = np.maximum(counts.sum(axis=1), 1)
    middle = (points * counts[..., None]).sum(axis=1) / number[:, None]
    offset = np.where(counts[..., None], points - middle[:, None], 0.0)
    angle = np.where(counts, np.arctan2(offset[..., 1], offset[..., 0]), np.inf)  # those that do not count come last
    order = np.argsort(angle, axis=1)
    ring = np.take_along_axis(offset, order[..., None], axis=1)
    last = np.arange(24) >= number[:, None]
    ring = np.where(last[..., None], ring[:, :1], ring)  # closes the polygon and adds nothing
    return 0.5 * np.abs(_cross(ring, np.roll(ring, -1, axis=1)).sum(axis=1))


def _inside(boxes_N5: FloatArray, points_NC2: FloatArray) -> NDArray[np.bool_]:
    """(N, C) whether each box holds its own points."""
    offset = points_NC2 - boxes_N5[:, None, :2]
    cos, sin = np.cos(boxes_N5[:, None, YAW]), np.sin(boxes_N5[:, None, YAW])
    along, beside = cos * offset[..., 0] + sin * offset[..., 1], cos * offset[..., 1] - sin * offset[..., 0]
    slack = 1e-9
    return (np.abs(along) <= 0.5 * boxes_N5[:, None, LENGTH] + slack) & (np.abs(beside) <= 0.5 * boxes_N5[:, None, WIDTH] + slack)


def _cross(a: FloatArray, b: FloatArray) -> FloatArray:
    return a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0]
