"""Proposes vehicles: connected returns of a vehicle's size, and the oriented box that fits each best.

The box is that of least summed distance from its nearest sides (the closeness criterion of Zhang, Xu, Dong and Dolan, Efficient L-shape
fitting for vehicle detection using laser scanners, IV 2017), all directions and all clusters at once.
Axes: N points, G clusters, A directions.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from jepa_ros.objects.struct_of_arrays import bounded, picked
from jepa_ros.objects.vehicles.boxes import LENGTH, WIDTH, YAW, vectors
from jepa_ros.types import FloatArray

CELL_M = 0.25
SLICE_M = (0.6, 1.7)  # above the local ground: kerbs and beds of plants join nothing above them, crowns and signs nothing below
LEAST_SIDE_M, LONGEST_M, WIDEST_M = 0.9, 13.0, 4.0
FEWEST = 12
SAMPLED = 160  # returns of a cluster that the box is fitted to
DIRECTIONS = 30  # of a quarter turn
CLOSEST_M, LOOSE_M = 0.05, 0.4  # distances from a side are told apart between these
CAR_M, CAR_WIDE_M = 4.3, 1.8  # as large a car is, as long as no more has been seen of it
HANGS_FROM_M, HANGS_STEP_M = 1.2, 0.25  # above the height of a bonnet, what two steps without a return part from the rest hangs,
HANGS_SHARE = 0.05  # if it is no more than this share of the returns


@dataclass(frozen=True)
class Proposals:
    """G clusters of vehicle size."""

    boxes: FloatArray  # (G, 5) what was seen, in the frame of the points
    fit_m: FloatArray  # (G,) mean distance from the nearest side
    owner: NDArray[np.intp]  # (N,) in whose cells each point lies, at whatever height, unless it hangs above; -1: in none's


def in_slice(height: FloatArray) -> NDArray[np.bool_]:
    """(N,) whether points at these heights join others to a cluster."""
    return (height > SLICE_M[0]) & (height < SLICE_M[1])


def propose(points: FloatArray, height: FloatArray, range_m: float) -> Proposals:
    """Boxes of the clusters among (N, 3) points with their heights above the local ground."""
    side = int(np.ceil(2 * range_m / CELL_M)) + 2
    column, row = (bounded(((points[:, axis] + range_m) / CELL_M).astype(np.intp) + 1, side - 1) for axis in (0, 1))
    cell, body = row * side + column, in_slice(height)
    labels, count = _clusters(cell, body, np.arange(len(points)), side, joined=True)
    kept, boxes, fit_m = _fitted(points, labels, body, count)
    wide = boxes[:, WIDTH] > WIDEST_M
    if wide.any():  # what closing joined, such as two cars side by side: once more without
        joined = np.zeros(count + 1, bool)
        joined[kept[wide]] = True
        rest = np.flatnonzero(joined.take(labels))
        parts, more = _clusters(cell, body, rest, side, joined=False)
        labels[rest] = np.where(parts > 0, parts + count, 0)
        finer = _fitted(points, np.maximum(labels - count, 0), body, more)
        kept, boxes, fit_m = (np.concatenate(both) for both in zip((kept, boxes, fit_m), (finer[0] + count, *finer[1:]), strict=True))
        count += more
    sides_m = boxes[:, LENGTH:]
    good = (sides_m[:, 0] >= LEAST_SIDE_M) & (sides_m[:, 0] <= LONGEST_M) & (sides_m[:, 1] <= WIDEST_M)
    number = np.full(count + 1, -1)
    number[kept[good]] = np.arange(good.sum())
    return Proposals(boxes[good], fit_m[good], _standing(number.take(labels), height, int(good.sum())))


def _clusters(
    cell: NDArray[np.intp], body: NDArray[np.bool_], rows: NDArray[np.intp], side: int, joined: bool
) -> tuple[NDArray[np.intp], int]:
    """(R,) number of the connected cluster in whose cells each of the points `rows` lies, at whatever height, 0 for none; how many.

    `cell`, `body` (N,): of all points; `joined`: cells with one empty cell between them are connected, too.
    """
    own = cell.take(rows)
    lowest = int(own.min(initial=side * side - 1)) // side  # often only a few rows of cells
    own -= lowest * side
    occupied = np.zeros((int(own.max(initial=0)) // side + 1, side), bool)
    occupied.ravel()[own.take(np.flatnonzero(body.take(rows)))] = True
    cells, count = ndimage.label(closed(occupied) if joined else occupied, np.ones((3, 3)))
    return cells.ravel().take(own), count


def _fitted(
    points: FloatArray, labels: NDArray[np.intp], in_body: NDArray[np.bool_], count: int
) -> tuple[NDArray[np.intp], FloatArray, FloatArray]:
    """Of the clusters that may be vehicles: their numbers, boxes and how well these fit."""
    body = np.flatnonzero((labels > 0) & in_body)
    of_body = labels.take(body)
    kept = _of_size(picked(points, body), of_body, count)
    order = body.take(np.argsort(of_body.astype(np.uint16) if count < 1 << 16 else of_body, kind="stable"))  # short numbers sort faster
    stop = np.cumsum(np.bincount(of_body, minlength=count + 1))
    sampled = [order[first : last : -(-(last - first) // SAMPLED)] for first, last in zip(stop[kept - 1], stop[kept], strict=True)]
    return kept, *fit(points[:, :2], sampled)


def _standing(owner: NDArray[np.intp], height: FloatArray, count: int) -> NDArray[np.intp]:
    """(N,) the same without what hangs above: a few returns of a wire or of leaves, with nothing between them and the vehicle below."""
    own = np.flatnonzero((owner >= 0) & (height > HANGS_FROM_M))
    of_own, step = owner.take(own), ((height.take(own) - HANGS_FROM_M) / HANGS_STEP_M).astype(np.intp)
    steps = int(step.max(initial=0)) + 1
    returns = np.bincount(of_own * steps + step, minlength=count * steps).reshape(count, steps)
    empty = np.pad(returns == 0, ((0, 0), (1, 0)))  # the step below the first is what the vehicle itself reaches
    gap = empty[:, :-1] & empty[:, 1:]
    first = np.where(gap.any(axis=1), gap.argmax(axis=1) - 1, steps)
    above = np.where(np.arange(steps) > first[:, None], returns, 0).sum(axis=1)
    whole = np.bincount(owner[owner >= 0], minlength=count)
    first[above > HANGS_SHARE * whole] = steps  # a crown, which tells a tree
    standing = owner.copy()
    standing[own[step > first.take(of_own)]] = -1
    return standing


def _of_size(points: FloatArray, labels: NDArray[np.intp], count: int) -> NDArray[np.intp]:
    """Numbers of the clusters that are neither too small nor too large nor hardly hit."""
    number, longest = np.bincount(labels, minlength=count + 1), np.zeros(count + 1)
    for axis in (0, 1):
        low, high = np.full(count + 1, np.inf), np.full(count + 1, -np.inf)
        values = points[:, axis].astype(np.float64)  # `at` of two types takes thirty times as long
        np.minimum.at(low, labels, values)
        np.maximum.at(high, labels, values)
        longest = np.where(number > 0, np.maximum(longest, high - low), 0.0)
    return np.flatnonzero((number >= FEWEST) & (longest >= 0.7 * LEAST_SIDE_M) & (longest <= LONGEST_M))


def fit(points_m: FloatArray, clusters: list[NDArray[np.intp]]) -> tuple[FloatArray, FloatArray]:
    """((G, 5) boxes whose length is the longer side, (G,) mean distance of the points from their nearest side)."""
    if not clusters:
        return np.zeros((0, 5)), np.zeros(0)
    points = points_m.take(np.concatenate(clusters), axis=0).astype(np.float32)
    sizes = np.array([len(cluster) for cluster in clusters])
    begin = np.concatenate(([0], np.cumsum(sizes)[:-1]))
    middle = np.add.reduceat(points, begin) / sizes[:, None]
    offset = points - np.repeat(middle, sizes, axis=0)
    angle = (np.arange(DIRECTIONS) * (0.5 * np.pi / DIRECTIONS)).astype(np.float32)
    direction = np.stack((np.cos(angle), np.sin(angle)))  # (2, A)
    along, beside = offset @ direction, offset @ np.stack((-direction[1], direction[0]))
    spans = []
    for part in (along, beside):  # in place from here on: each array is as large as a cache
        low, high = np.minimum.reduceat(part, begin), np.maximum.reduceat(part, begin)  # (G, A)
        spans.append((low, high))
        part -= np.repeat(0.5 * (low + high), sizes, axis=0)
        np.subtract(np.repeat(0.5 * (high - low), sizes, axis=0), np.abs(part, out=part), out=part)
    nearest = np.minimum(along, beside, out=along)
    closeness = np.add.reduceat(np.reciprocal(np.clip(nearest, CLOSEST_M, LOOSE_M, out=beside), out=beside), begin)
    best = closeness.argmax(axis=1)
    row = np.arange(len(sizes))
    (low_x, high_x), (low_y, high_y) = ((low[row, best], high[row, best]) for low, high in spans)
    yaw = angle[best]
    centre = 0.5 * np.stack((low_x + high_x, low_y + high_y), axis=1)
    placed = middle + np.stack(
        (np.cos(yaw) * centre[:, 0] - np.sin(yaw) * centre[:, 1], np.sin(yaw) * centre[:, 0] + np.cos(yaw) * centre[:, 1]), axis=1
    )
    boxes = np.column_stack((placed, yaw, high_x - low_x, high_y - low_y)).astype(np.float64)
    crosswise = boxes[:, WIDTH] > boxes[:, LENGTH]
    boxes[crosswise, YAW] += 0.5 * np.pi
    boxes[crosswise, LENGTH:] = boxes[crosswise, : LENGTH - 1 : -1]
    return boxes, np.add.reduceat(nearest, begin)[row, best] / sizes


def grown(
    boxes: FloatArray, lidar_m: FloatArray, length_m: FloatArray | float = CAR_M, width_m: FloatArray | float = CAR_WIDE_M
) -> FloatArray:
    """(G, 5) at least that long and wide, grown away from the lidar: the sides that it sees stay where they are."""
    whole = boxes.copy()
    larger = np.empty((len(whole), 2))
    np.maximum(whole[:, LENGTH], length_m, out=larger[:, 0])
    np.maximum(whole[:, WIDTH], width_m, out=larger[:, 1])
    cos, sin = np.cos(whole[:, YAW]), np.sin(whole[:, YAW])
    away = whole[:, :2] - lidar_m
    for number, way in enumerate((vectors(cos, sin), vectors(-sin, cos))):
        growth = larger[:, number] - whole[:, LENGTH + number]
        sign = np.where((away * way).sum(axis=1) >= 0, 0.5, -0.5)
        whole[:, :2] += (sign * growth)[:, None] * way
    whole[:, LENGTH:] = larger
    return whole


def closed(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Morphological closing by 3 x 3 cells, one axis at a time; `scipy.ndimage.binary_closing` takes twenty times as long."""
    return ~_grown_by_one(~_grown_by_one(mask))


def _grown_by_one(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    rows = mask.copy()
    rows[1:] |= mask[:-1]
    rows[:-1] |= mask[1:]
    both = rows.copy()
    both[:, 1:] |= rows[:, :-1]
    both[:, :-1] |= rows[:, 1:]
    return both
