"""Measures of vertical columns of points, and how far each deviates from a person. All columns at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from jepa_ros.objects.measured_columns import Columns
from jepa_ros.objects.shape import SHAPE, Surroundings, shape_features
from jepa_ros.objects.struct_of_arrays import bounded, picked
from jepa_ros.objects.views import Views
from jepa_ros.types import FloatArray

# Each deviation is 0 for a person and grows by about 1 where people end. Body sizes: adults are 1.5-1.9 m tall and 0.4-0.55 m across
# (ISO 7250-2, 5th to 95th percentile); children and bent riders reach down to 1.1 m.
FEATURES = (
    "short",  # lower than a grown person
    "tall",  # higher than one
    "wide",  # across the line of sight
    "deep",  # along it
    "thin",  # a pole
    "flat",  # a piece of wall: its surface is straight, a body's is round
    "square",  # as wide at the top as below: no head and shoulders
    "floating",  # no legs seen
    "continues",  # goes on above the height of people: a trunk, a lamp post, a facade
    "attached",  # beside a wall or in a hedge
    "leaning",
    "sparse",  # fewer returns than a body would give
    "gaps",  # not seen from bottom to top
)
EVIDENCE = (*FEATURES, *SHAPE)  # all that a verifier reads
LARGEST_DEVIATION = 5.0
HEIGHT_BINS = 8
BIN_M = 0.25


BODY_TOP_M = 2.1
STANDING_M, BODY_M = 1.7, 1.5  # a body of 1.5 m, from its legs to the head of somebody of 1.7 m
ATTACHED_M = 0.8
SURFACE_OFFSET_M = 0.08  # the lidar sees the near side of a body: its mean return lies this far before the axis


@dataclass(frozen=True)
class Labelled:
    """N points near to each other, and the columns that they form. Numbers of columns count from 1; 0 = of none."""

    points: FloatArray  # (N, 3)
    height: FloatArray  # (N,) above the local ground
    ground_m: FloatArray  # (N,) height of that
    labels: NDArray[np.intp]  # (N,) number of the column
    blobs_m: FloatArray  # (columns + 1, 2) longer and shorter side of the whole that each column is part of


def describe(
    parts: Sequence[Labelled],
    accept: Callable[[Columns], NDArray[np.bool_]],
    views: Views,
    surroundings: Surroundings,
    density: float = 1.0,
) -> tuple[Columns, FloatArray, NDArray[np.intp]]:
    """Measure the columns of all parts, one part after the other; those that `accept` lets pass come back.

    With them their (M, F) `EVIDENCE`, and (M,) their numbers, which count on from part to part.

    `accept` is asked of one column more for each part, its number 0, which nothing is of.
    `density`: returns per solid angle of this lidar, relative to 60,000 in a sweep of 360 x 27 degrees.
    """
    count, label, tall, x, y, base = _joined(parts)
    # By `take`, and `at` of one type: rows picked by a mask, and `at` of two types, take ten times as long.
    upper = np.flatnonzero(tall > 0.6)
    label_up = label.take(upper)
    number = np.bincount(label, minlength=count)
    total = np.maximum(number, 1)

    trunk = np.maximum(np.bincount(label_up, minlength=count), 1)
    centre_x, centre_y = (np.bincount(label_up, along_axis.take(upper), count) / trunk for along_axis in (x, y))
    centre = np.stack((centre_x, centre_y), axis=1)
    away = np.maximum(np.hypot(centre_x, centre_y), 1e-6)
    ray_x, ray_y = centre_x / away, centre_y / away
    ray = np.stack((ray_x, ray_y), axis=1)
    x, y = x - centre_x.take(label), y - centre_y.take(label)
    toward_x, toward_y = ray_x.take(label), ray_y.take(label)
    along, across = x * toward_x + y * toward_y, y * toward_x - x * toward_y
    along_up, across_up = along.take(upper), across.take(upper)
    moments = [np.bincount(label_up, product, count) / trunk for product in (across_up**2, along_up**2, across_up * along_up)]
    spread = [np.sqrt(12 * moment) for moment in moments[:2]]
    mean, half = 0.5 * (moments[0] + moments[1]), 0.5 * (moments[0] - moments[1])
    thickness = np.sqrt(12 * np.maximum(mean - np.hypot(half, moments[2]), 0.0))

    top = np.zeros(count)
    bottom = np.full(count, np.inf)
    exact = tall.astype(np.float64)
    np.maximum.at(top, label, exact)
    np.minimum.at(bottom, label, exact)
    low = np.bincount(label, base, count) / total

    cut, in_view_m = views.ends(centre, top + low)
    in_view_from = np.maximum(in_view_m - low, 0.0)
    columns = Columns(centre + SURFACE_OFFSET_M * ray, top, bottom, spread[0], spread[1], thickness, number, low, cut, in_view_from)
    keep = accept(columns) & (number > 0)

    kept, many = columns.take(keep), int(keep.sum())
    above, attached = _beside(parts, keep, kept)
    own = np.flatnonzero(keep.take(label))
    row = (np.cumsum(keep) - 1).take(label.take(own))
    across, along, tall = across.take(own), along.take(own), tall.take(own)
    filled = np.zeros(many * HEIGHT_BINS)
    filled[row * HEIGHT_BINS + np.minimum(tall / BIN_M, HEIGHT_BINS - 1).astype(np.intp)] = 1
    square = _squareness(row, across, tall, kept.tops_m, kept.widths_m)
    lean_m = _lean_m(row, across, along, tall > (0.5 * (kept.tops_m + np.minimum(kept.bottoms_m, kept.tops_m))).take(row), many)
    deviations = _deviations(kept, above, attached, lean_m, filled.reshape(-1, HEIGHT_BINS), square, density)
    blobs_m = np.concatenate([part.blobs_m for part in parts])[keep]
    shape = shape_features(row, across, along, tall, kept, blobs_m, surroundings)
    return kept, np.concatenate((deviations, shape), axis=1), np.flatnonzero(keep)


def _joined(parts: Sequence[Labelled]) -> tuple[int, NDArray[np.intp], FloatArray, FloatArray, FloatArray, FloatArray]:
    """How many columns all parts have; of each return of theirs that is no higher than a body: column, height, x, y and ground."""
    first, rows = 0, []
    for part in parts:
        body = np.flatnonzero((part.labels > 0) & (part.height < BODY_TOP_M))
        fields = (part.labels + first, part.height, part.points[:, 0], part.points[:, 1], part.ground_m)
        rows.append([values.take(body) for values in fields])
        first += len(part.blobs_m)
    label, tall, x, y, base = (np.concatenate(values) for values in zip(*rows, strict=True))
    return first, label, tall, x.astype(np.float64), y.astype(np.float64), base


def _beside(parts: Sequence[Labelled], keep: NDArray[np.bool_], kept: Columns) -> tuple[NDArray[np.intp], FloatArray]:
    """(M,) returns of each kept column above the height of a body; (M,) what `_attached` says of it, within its part."""
    above, attached, first = [], [], 0
    for part in parts:
        stop = first + len(part.blobs_m)
        own, before = keep[first:stop], int(keep[:first].sum())
        above.append(np.bincount(part.labels.take(np.flatnonzero(part.height > BODY_TOP_M + 0.1)), minlength=stop - first)[own])
        others = picked(part.points, np.flatnonzero((part.height < BODY_TOP_M) & ~own.take(part.labels)))
        of_part = slice(before, before + int(own.sum()))
        attached.append(_attached(others, kept.centres_m[of_part], kept.counts[of_part]))
        first = stop
    return np.concatenate(above), np.concatenate(attached)


def _lean_m(row: NDArray[np.intp], across: FloatArray, along: FloatArray, high: NDArray[np.bool_], count: int) -> FloatArray:
    """(M,) how far the middle of the upper half of each column is from that of its lower half."""
    upper, lower = np.flatnonzero(high), np.flatnonzero(~high)
    of_upper, of_lower = row.take(upper), row.take(lower)
    some_up, some_low = (np.maximum(np.bincount(of, minlength=count), 1) for of in (of_upper, of_lower))
    shift = [
        np.bincount(of_upper, axis.take(upper), count) / some_up - np.bincount(of_lower, axis.take(lower), count) / some_low
        for axis in (across, along)
    ]
    return np.hypot(*shift)


def _attached(others: FloatArray, centres_m: FloatArray, counts: NDArray[np.intp]) -> FloatArray:
    """(M,) returns from what is no column of its own (walls, hedges) within 0.8 m of (M, 2) columns, per return of their own (M,)."""
    if not len(others) or not len(centres_m):
        return np.zeros(len(centres_m))
    # Cells as wide as the distance, row by row: what is near to a centre lies in three runs of three cells.
    low_m = centres_m.min(axis=0) - 2.01 * ATTACHED_M
    home = ((centres_m - low_m) / ATTACHED_M).astype(np.intp)
    width, rows = (int(most) + 3 for most in home.max(axis=0))
    last = (width - 1, rows - 1)
    column, row = (bounded(((others[:, axis] - low_m[axis]) * (1.0 / ATTACHED_M)).astype(np.int32), last[axis]) for axis in (0, 1))
    cell, most = row * width + column, rows * width
    order = np.argsort(cell.astype(np.uint16) if most < 1 << 16 else cell, kind="stable")  # short numbers sort ten times as fast
    before = np.concatenate(([0], np.cumsum(np.bincount(cell, minlength=most))))  # returns in the cells before each
    first = (home[:, 1, None] + np.array([-1, 0, 1])) * width + home[:, :1] - 1  # (M, 3)
    start, stop = before[first], before[first + 3]
    length = (stop - start).ravel()
    centre = np.repeat(np.repeat(np.arange(len(centres_m)), 3), length)
    pairs = np.arange(length.sum()) + np.repeat(start.ravel() - np.cumsum(length) + length, length)
    which = order.take(pairs)
    x, y = (others[:, axis].take(which) - centres_m[:, axis].take(centre) for axis in (0, 1))
    near = np.bincount(centre[x**2 + y**2 < ATTACHED_M**2], minlength=len(centres_m))
    return near / np.maximum(counts, 1)


def _squareness(label: NDArray[np.intp], across: FloatArray, tall: FloatArray, top: FloatArray, width: FloatArray) -> FloatArray:
    """(M,) width of the uppermost quarter of a metre relative to the whole; 0.5, a person's, where too few returns tell."""
    head = np.flatnonzero(tall > top.take(label) - BIN_M)
    label, across = label.take(head), across.take(head)
    number = np.bincount(label, minlength=len(top))
    middle = np.bincount(label, across, len(top)) / np.maximum(number, 1)
    variance = np.bincount(label, across**2, len(top)) / np.maximum(number, 1) - middle**2
    ratio = np.sqrt(12 * np.maximum(variance, 0.0)) / np.maximum(width, 0.1)
    return np.where(number >= 4, ratio, 0.5)


def _deviations(
    columns: Columns,
    above: NDArray[np.intp],
    attached: FloatArray,
    lean_m: FloatArray,
    bins: FloatArray,
    square: FloatArray,
    density: float,
) -> FloatArray:
    """(M, F) in the order of `FEATURES`."""
    range_m = np.hypot(*columns.centres_m.T)
    reached = np.clip((columns.tops_m / BIN_M).astype(np.intp) + 1, 2, HEIGHT_BINS)
    bin_m = BIN_M * np.arange(HEIGHT_BINS)[None]
    expected = (bin_m >= np.maximum(columns.in_view_from_m, BIN_M)[:, None]) & (np.arange(HEIGHT_BINS) < reached[:, None])
    gaps = 1.0 - (bins * expected).sum(axis=1) / np.maximum(expected.sum(axis=1), 1)
    # A body of 0.45 x 1.5 m fills 0.68 m2 / r2 of solid angle; 64 rings at 0.17 deg give 4.6 returns per m2 at 100 m.
    hits_at_10m = columns.counts * (range_m / 10.0) ** 2
    in_view = np.clip((STANDING_M - columns.in_view_from_m) / BODY_M, 0.1, 1.0)
    columns_of = {
        "short": np.where(columns.cut, 0.0, np.maximum(0.0, 1.5 - columns.tops_m) / 0.2),
        "tall": np.maximum(0.0, columns.tops_m - 2.0) / 0.1,
        "wide": np.maximum(0.0, columns.widths_m - 0.75) / 0.2,
        "deep": np.maximum(0.0, columns.depths_m - 0.8) / 0.4,
        "thin": np.maximum(0.0, 0.3 - np.maximum(columns.widths_m, columns.depths_m)) / 0.1,
        "flat": np.maximum(0.0, 0.2 - columns.thickness_m) / 0.1 * np.clip(columns.widths_m / 0.5, 0.0, 1.0),
        "square": np.where(columns.cut, 0.0, np.maximum(0.0, square - 0.6) / 0.2),
        "floating": np.maximum(0.0, columns.bottoms_m - np.maximum(columns.in_view_from_m, 0.5)) / 0.3,
        "continues": np.log1p(above),
        "attached": np.minimum(attached, 3.0) / 0.3,
        "leaning": np.maximum(0.0, lean_m - 0.2) / 0.1,
        "sparse": np.maximum(0.0, np.log(60.0 * density * in_view / np.maximum(hits_at_10m, 1.0))),
        "gaps": np.where(expected.any(axis=1), gaps, 0.0) / 0.2,
    }
    return np.minimum(np.stack([columns_of[name] for name in FEATURES], axis=1), LARGEST_DEVIATION)
