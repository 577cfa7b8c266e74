"""Inputs of the vehicle verifier for each proposed box: how its returns are spread, how high they reach, and what is around.

Along a box counts from its end that is nearer to the lidar, across it from the nearer side: so nothing depends on which way it was met.
Axes: N points, G boxes, E bins along, W bins across, H height slices, B height bands.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from jepa_ros.objects.shape import BANDS_M, Surroundings
from jepa_ros.objects.struct_of_arrays import bounded, picked
from jepa_ros.objects.vehicles.boxes import LENGTH, WIDTH, YAW, corners, vectors
from jepa_ros.objects.vehicles.proposals import Proposals
from jepa_ros.types import FloatArray

ENDS, SIDES = 8, 5
SLICES, SLICE_M, FLOOR_M, ROOF_M = 11, 0.25, 0.2, 1.7
LEVELS_M = (0.2, 0.8, 1.25, 1.7, 2.95)
AROUND_M = 0.6
BOX_EVIDENCE = (
    "length",
    "width",
    "top",
    "bottom",
    "returns",
    "range",
    "fit",  # mean distance from the nearest side
    "density",  # returns, relative to what sides of this length would give
    "above",
    "facing",  # 1: seen from the front or the rear, 0: from the side
    *(f"slice_{i}" for i in range(SLICES)),
    *(f"{part}_along_{i}" for part in ("share", "top", "bottom", "depth") for i in range(ENDS)),
    *(f"{part}_across_{i}" for part in ("share", "top") for i in range(SIDES)),
    *(f"{part}_level_{i}" for part in ("length", "width") for i in range(len(LEVELS_M) - 1)),
    *(f"around_{i}" for i in range(len(BANDS_M) - 1)),
)


def box_evidence(
    points: FloatArray,
    height: FloatArray,
    proposals: Proposals,
    lidar_m: FloatArray,
    surroundings: Surroundings,
    density: float,
) -> FloatArray:
    """(G, len(BOX_EVIDENCE)) of proposals among (N, 3) points with heights above the local ground (N,).

    `density`: returns per solid angle of this lidar, relative to 60,000 in a sweep of 360 x 27 degrees.
    """
    boxes, count = proposals.boxes, len(proposals.boxes)
    own = np.flatnonzero(proposals.owner >= 0)
    row, tall = proposals.owner.take(own), height.take(own).astype(np.float64)
    along, across = _in_box(boxes, picked(points, own), row, lidar_m[:2])
    total = np.bincount(row, minlength=count).astype(float)
    some = np.maximum(total, 1.0)

    def shares(index: NDArray[np.intp], bins: int) -> FloatArray:
        return np.bincount(row * bins + index, minlength=count * bins).reshape(count, bins) / some[:, None]

    end = bounded((along * (ENDS / boxes[:, LENGTH]).take(row)).astype(np.intp), ENDS - 1)
    side = bounded((across * (SIDES / np.maximum(boxes[:, WIDTH], 0.3)).take(row)).astype(np.intp), SIDES - 1)
    slices = shares(bounded(((tall - FLOOR_M) / SLICE_M).astype(np.intp), SLICES - 1), SLICES)
    top, bottom = _extremes(row, tall, count)
    end_top, end_bottom = _extremes(row * ENDS + end, tall, count * ENDS)
    side_top, _ = _extremes(row * SIDES + side, tall, count * SIDES)
    _, depth = _extremes(row * ENDS + end, across, count * ENDS)
    spans = []
    level = _above(tall, LEVELS_M)
    for value in (along, across):
        high, low = _extremes(row * (len(LEVELS_M) - 1) + level, value, count * (len(LEVELS_M) - 1))
        spans.append((high - low).reshape(count, len(LEVELS_M) - 1))
    away = boxes[:, :2] - lidar_m[:2]
    range_m = np.maximum(np.hypot(*away.T), 0.5)
    facing = np.abs((away * vectors(np.cos(boxes[:, YAW]), np.sin(boxes[:, YAW]))).sum(axis=1)) / range_m
    seen_m = boxes[:, LENGTH] * np.sqrt(1 - np.minimum(facing, 1.0) ** 2) + boxes[:, WIDTH] * facing
    single = [
        boxes[:, LENGTH] / 2.0,
        boxes[:, WIDTH],
        top,
        bottom,
        np.log(some) / 2.0,
        range_m / 10.0,
        proposals.fit_m * 5.0,
        np.log(some * (range_m / 10.0) ** 2 / (150.0 * density * np.maximum(seen_m, 0.3))),
        np.bincount(row.take(np.flatnonzero(tall > ROOF_M)), minlength=count) / some,
        facing,
    ]
    parts = [
        np.stack(single, axis=1),
        slices,
        shares(end, ENDS),
        end_top.reshape(count, ENDS),
        end_bottom.reshape(count, ENDS),
        np.clip(depth.reshape(count, ENDS), 0.0, 3.0),
        shares(side, SIDES),
        side_top.reshape(count, SIDES),
        *(np.clip(span, 0.0, 10.0) for span in spans),
        _around(boxes, row, tall, surroundings),
    ]
    return np.concatenate(parts, axis=1).astype(np.float32)


def _in_box(boxes: FloatArray, points_m: FloatArray, row: NDArray[np.intp], lidar_m: FloatArray) -> tuple[FloatArray, FloatArray]:
    """(N,) how far each point lies from the nearer end and from the nearer side of its box."""
    cos, sin = np.cos(boxes[:, YAW]), np.sin(boxes[:, YAW])
    away, found = boxes[:, :2] - lidar_m, []
    x, y = (points_m[:, place] - boxes[:, place].take(row) for place in (0, 1))
    for number, way in enumerate((vectors(cos, sin), vectors(-sin, cos))):
        way = np.where((away * way).sum(axis=1, keepdims=True) >= 0, way, -way)
        found.append(x * way[:, 0].take(row) + y * way[:, 1].take(row) + 0.5 * boxes[:, LENGTH + number].take(row))
    return found[0], found[1]


def _above(tall: FloatArray, edges_m: tuple[float, ...]) -> NDArray[np.intp]:
    """(N,) in which band each height is, between the first and the last edge; a comparison for each edge beats a search."""
    inner = np.array(edges_m[1:-1])
    return (tall > inner[:, None]).sum(axis=0)


def _extremes(slot: NDArray[np.intp], values: FloatArray, size: int) -> tuple[FloatArray, FloatArray]:
    """Highest and lowest of the values in each slot; 0 where there is none."""
    high, low = np.full(size, -np.inf), np.full(size, np.inf)
    np.maximum.at(high, slot, values)
    np.minimum.at(low, slot, values)
    return np.where(np.isfinite(high), high, 0.0), np.where(np.isfinite(low), low, 0.0)


def _around(boxes: FloatArray, row: NDArray[np.intp], tall: FloatArray, surroundings: Surroundings) -> FloatArray:
    """(G, B) returns of others around each box, for each of its own, by height."""
    count, bands = len(boxes), len(BANDS_M) - 1
    placed = corners(boxes)
    inside = surroundings.between(placed.min(axis=1) - AROUND_M, placed.max(axis=1) + AROUND_M)
    band = _above(tall, BANDS_M)
    mine = np.bincount(row * bands + band, minlength=count * bands).reshape(count, bands)
    return np.log1p(np.maximum(inside - mine, 0.0) / np.maximum(mine.sum(axis=1), 1.0)[:, None])
