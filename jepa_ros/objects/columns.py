"""Measures of vertical columns of points, and how far each deviates from a person. All columns at once."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from jepa_ros.objects.measured import Columns
from jepa_ros.objects.shape import SHAPE, Surroundings, shape_features
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


def describe(
    points: FloatArray,
    height: FloatArray,
    ground_m: FloatArray,
    labels: NDArray[np.intp],
    count: int,
    accept: Callable[[Columns], NDArray[np.bool_]],
    views: Views,
    blobs_m: FloatArray,
    surroundings: Surroundings,
    density: float = 1.0,
) -> tuple[Columns, FloatArray]:
    """Measure columns 1..count of labelled points (0: none); those that `accept` lets pass come back with their (M, F) `EVIDENCE`.

    `blobs_m`: (count + 1, 2) longer and shorter side of the whole that each column is part of.
    `density`: returns per solid angle of this lidar, relative to 60,000 in a sweep of 360 x 27 degrees.
    """
    body = (labels > 0) & (height < BODY_TOP_M)
    label = labels[body]
    upper = height[body] > 0.6
    number = np.bincount(label, minlength=count + 1)
    total = np.maximum(number, 1)

    xy, tall = points[body, :2].astype(np.float64), height[body]
    trunk = np.maximum(np.bincount(label[upper], minlength=count + 1), 1)
    centre = np.stack([np.bincount(label[upper], xy[upper, i], count + 1) / trunk for i in (0, 1)], axis=1)
    ray = centre / np.maximum(np.hypot(*centre.T), 1e-6)[:, None]
    offset = xy - centre[label]
    along = (offset * ray[label]).sum(axis=1)
    across = offset[:, 1] * ray[label, 0] - offset[:, 0] * ray[label, 1]
    moments = [np.bincount(label[upper], product[upper], count + 1) / trunk for product in (across**2, along**2, across * along)]
    spread = [np.sqrt(12 * moment) for moment in moments[:2]]
    mean, half = 0.5 * (moments[0] + moments[1]), 0.5 * (moments[0] - moments[1])
    thickness = np.sqrt(12 * np.maximum(mean - np.hypot(half, moments[2]), 0.0))

    top = np.zeros(count + 1)
    bottom = np.full(count + 1, np.inf)
    np.maximum.at(top, label, tall)
    np.minimum.at(bottom, label, tall)
    low = np.bincount(label, ground_m[body], count + 1) / total

    cut, in_view_from = views.cut(centre, top + low), np.maximum(views.bottom_m(centre) - low, 0.0)
    columns = Columns(centre + SURFACE_OFFSET_M * ray, top, bottom, spread[0], spread[1], thickness, number, low, cut, in_view_from)
    keep = accept(columns) & (number > 0)
    keep[0] = False

    above = np.bincount(labels[height > BODY_TOP_M + 0.1], minlength=count + 1)
    bins = np.zeros((count + 1) * HEIGHT_BINS)
    bins[label * HEIGHT_BINS + np.minimum(tall / BIN_M, HEIGHT_BINS - 1).astype(np.intp)] = 1
    square = _squareness(label, across, tall, top, spread[0])
    high = tall > 0.5 * (top + np.minimum(bottom, top))[label]
    shift = [
        np.bincount(label[high], axis[high], count + 1) / np.maximum(np.bincount(label[high], minlength=count + 1), 1)
        - np.bincount(label[~high], axis[~high], count + 1) / np.maximum(np.bincount(label[~high], minlength=count + 1), 1)
        for axis in (across, along)
    ]
    kept = columns.take(keep)
    attached = _attached(points[(height < BODY_TOP_M) & ~keep[labels], :2], kept)
    filled = bins.reshape(-1, HEIGHT_BINS)[keep]
    deviations = _deviations(kept, above[keep], attached, np.hypot(*shift)[keep], filled, square[keep], density)
    own = keep[label]
    row = (np.cumsum(keep) - 1)[label[own]]
    shape = shape_features(row, across[own], along[own], tall[own], kept, blobs_m[keep], surroundings)
    return kept, np.concatenate((deviations, shape), axis=1)


def _attached(others: FloatArray, columns: Columns) -> FloatArray:
    """(M,) returns from what is no column of its own (walls, hedges) within 0.8 m of each column, per return of its own."""
    x, y = others[np.argsort(others[:, 0], kind="stable")].T
    start = np.searchsorted(x, columns.centres_m[:, 0] - ATTACHED_M)
    stop = np.searchsorted(x, columns.centres_m[:, 0] + ATTACHED_M)
    near = np.zeros(len(start))
    for i, (first, last, centre) in enumerate(zip(start.tolist(), stop.tolist(), columns.centres_m, strict=True)):
        near[i] = np.count_nonzero((x[first:last] - centre[0]) ** 2 + (y[first:last] - centre[1]) ** 2 < ATTACHED_M**2)
    return near / np.maximum(columns.counts, 1)


def _squareness(label: NDArray[np.intp], across: FloatArray, tall: FloatArray, top: FloatArray, width: FloatArray) -> FloatArray:
    """(C + 1,) width of the uppermost quarter of a metre relative to the whole; 0.5, a person's, where too few returns tell."""
    head = tall > top[label] - BIN_M
    number = np.bincount(label[head], minlength=len(top))
    middle = np.bincount(label[head], across[head], len(top)) / np.maximum(number, 1)
    variance = np.bincount(label[head], across[head] ** 2, len(top)) / np.maximum(number, 1) - middle**2
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
