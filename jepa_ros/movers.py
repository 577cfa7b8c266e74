"""Vehicles, and what other detectors see, as values that cross borders between stages; `types` holds those of people.

Axes: M detections, R regions, V vehicles, K modes, H steps.

A box is a row x m, y m, yaw rad, length m (along the yaw), width m.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from functools import partial

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating]
LOOKED_AT = 1 << 14  # cells at once: what is computed of them stays in the cache
CYCLIST_SIZE_M = (1.8, 0.6)  # length and width of a city bicycle with its rider


@dataclass(frozen=True)
class VehicleDetections:
    """Boxes that may be vehicles, seen in one sweep, in the frame of the points."""

    boxes: Floats = field(
        default_factory=partial(np.zeros, (0, 5))
    )  # (M, 5) around what was seen; the yaw is along the vehicle, as far as can be told
    scores: Floats = field(default_factory=partial(np.zeros, (0,)))  # (M,) 0-1: how much it looks like a vehicle
    heights_m: Floats = field(default_factory=partial(np.zeros, (0,)))  # (M,) top above the local ground
    ground_m: Floats = field(default_factory=partial(np.zeros, (0,)))  # (M,) height of the local ground in the frame of the points
    lidar_m: Floats = field(default_factory=partial(np.zeros, (2,)))  # (2,) where they were seen from


@dataclass(frozen=True)
class TrackedVehicles:
    """What the tracker believes at one stamp, in odom. Row i here is row i of the forecast."""

    ids: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))  # (V,) stable over time; no person has the same
    boxes: Floats = field(
        default_factory=partial(np.zeros, (0, 5))
    )  # (V, 5) of the whole vehicle, as far as it was ever seen; the yaw is where its front is, if it moved
    velocities_mps: Floats = field(default_factory=partial(np.zeros, (0, 2)))  # (V, 2)
    yaw_rates_radps: Floats = field(default_factory=partial(np.zeros, (0,)))  # (V,)
    existence: Floats = field(default_factory=partial(np.zeros, (0,)))  # (V,) probability that there is a vehicle
    heights_m: Floats = field(default_factory=partial(np.zeros, (0,)))  # (V,)
    states: Floats = field(
        default_factory=partial(np.zeros, (0, 6))
    )  # (V, 6) x, y, yaw, speed along it (m/s), acceleration along it (m/s2), yaw rate
    covariances: Floats = field(default_factory=partial(np.zeros, (0, 6, 6)))  # (V, 6, 6) of these
    past_m: Floats = field(
        default_factory=partial(np.zeros, (0, 8, 2))
    )  # (V, 8, 2) where each was every 0.4 s, the last = now, NaN where not known; no rows = not remembered

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True)
class BoxForecast:
    """A Gaussian mixture per object over future poses of its box, in odom."""

    poses: Floats = field(default_factory=partial(np.zeros, (0, 1, 0, 3)))  # (V, K, H, 3) x m, y m, yaw rad
    probabilities: Floats = field(default_factory=partial(np.zeros, (0, 1)))  # (V, K) sums to 1 over K
    covariances_m2: Floats = field(default_factory=partial(np.zeros, (0, 1, 0, 2, 2)))  # (V, K, H, 2, 2) of the position
    times_s: Floats = field(default_factory=partial(np.zeros, (0,)))  # (H,) from now


@dataclass(frozen=True)
class Bodies:
    """Present shapes of objects of any class: oriented boxes with round corners."""

    boxes: Floats  # (M, 5)
    radii_m: Floats  # (M,) of the corners, around the box; a person is a box without sides

    def around(self, x: Floats, y: Floats, margin_m: float) -> NDArray[np.bool_]:
        """Which of the places, arrays of one shape, lie in a body or within `margin_m` of it."""
        return near_boxes(x, y, self.boxes[:, :3], 0.5 * self.boxes[:, 3:], self.radii_m + margin_m)


def near_boxes(x: Floats, y: Floats, poses: Floats, halves_m: Floats, margins_m: Floats) -> NDArray[np.bool_]:
    """Which of the places lie within a margin (M,) of a box: (M, 3) x, y, yaw and (M, 2) half length and width.

    x, y: arrays of as many axes, broadcast against each other. A box without sides is a point, and what is around it a disc.
    """
    return np.asarray(near_each(x[None], y[None], poses, halves_m, margins_m).any(axis=0))


def near_each(x: Floats, y: Floats, poses: Floats, halves_m: Floats, margins_m: Floats) -> NDArray[np.bool_]:
    """The same box by box, along the first axis: x and y hold the places of each box there, or, one long, the same for all."""
    each = (-1, *(1,) * (x.ndim - 1))
    dx, dy = x - poses[:, 0].reshape(each), y - poses[:, 1].reshape(each)
    cos, sin = np.cos(poses[:, 2]).reshape(each), np.sin(poses[:, 2]).reshape(each)
    along = np.maximum(np.abs(cos * dx + sin * dy) - halves_m[:, 0].reshape(each), 0.0)
    across = np.maximum(np.abs(cos * dy - sin * dx) - halves_m[:, 1].reshape(each), 0.0)
    return np.asarray(along**2 + across**2 <= margins_m.reshape(each) ** 2)


def cells_near(
    x_X: Floats, y_Y: Floats, poses: Floats, halves_m: Floats, margins_m: Floats, layers_M: NDArray[np.intp] | None = None, layers: int = 1
) -> NDArray[np.bool_]:
    """(layers, Y, X) which places of a grid lie within a margin of a box, as `near_boxes` says. Of each box only what is around it is
    looked at. x_X, y_Y: ascending. layers_M: the layer of each box; None = all are in the first."""
    found = np.zeros((layers, len(y_Y), len(x_X)), bool)
    reach_M = np.hypot(*halves_m.T) + margins_m
    bounds = [
        (np.searchsorted(at, poses[:, k] - reach_M), np.searchsorted(at, poses[:, k] + reach_M, "right")) for k, at in enumerate((x_X, y_Y))
    ]
    (left_M, right_M), (low_M, high_M) = bounds
    side_M = np.maximum(right_M - left_M, high_M - low_M)
    order = np.argsort(side_M, kind="stable")
    order = order[((right_M > left_M) & (high_M > low_M))[order]]  # the others lie beside the grid
    while len(order):
        most = max(1, int(np.searchsorted(np.arange(1, len(order) + 1) * side_M[order] ** 2, LOOKED_AT)))
        part, order = order[:most], order[most:]
        beside = np.arange(side_M[part[-1]])
        # Windows of one size; what hangs over the grid is its last row or column once more.
        column = np.minimum(left_M[part, None] + beside, len(x_X) - 1)
        row = np.minimum(low_M[part, None] + beside, len(y_Y) - 1)
        near = near_each(x_X[column][:, None, :], y_Y[row][:, :, None], poses[part], halves_m[part], margins_m[part])
        box, up, along = np.nonzero(near)
        found[0 if layers_M is None else layers_M[part][box], row[box, up], column[box, along]] = True
    return found


class Kind(enum.IntEnum):
    """What a detector of another kind calls what it sees, as far as it matters here."""

    PERSON = 0
    RIDER = 1  # person and two-wheeler as one
    TWO_WHEELER = 2  # without its rider, whom such detectors call a person
    VEHICLE = 3


@dataclass(frozen=True)
class ImageBoxes:
    """What a detector saw in one image, and where it looked: what it did not look at says nothing."""

    stamp_ns: int  # of the image
    camera: str  # CameraImage.name; empty = of the only camera
    boxes_px: Floats  # (M, 4) left, top, right, bottom in the raw image, pixel centres at whole numbers
    scores: Floats  # (M,) 0-1
    kinds: NDArray[np.intp]  # (M,) of Kind
    regions_px: Floats  # (R, 4) where it looked, as the boxes; no rows = at the whole image
    scales: Floats  # (R,) pixels of its input per pixel of the image


@dataclass(frozen=True)
class SeenObjects:
    """People, cyclists and vehicles that another detector of 3-D boxes has seen. What it does not name may be there all the same."""

    stamp_ns: int
    boxes: Floats  # (M, 5) in odom
    heights_m: Floats  # (M,)
    scores: Floats  # (M,) 0-1
    kinds: NDArray[np.intp]  # (M,) of Kind
