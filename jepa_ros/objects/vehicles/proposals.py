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

from jepa_ros.objects.struct_of_arrays import picked, within
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
SIDE_FROM_M = 2.5  # a face longer than this is a side


@dataclass(frozen=True)
class Proposals:
    """G clusters of vehicle size."""

    boxes: FloatArray  # (G, 5) what was seen, in the frame of the points
    fit_m: FloatArray  # (G,) mean distance from the nearest side
    owner: NDArray[np.intp]  # (N,) in whose cells each point lies, at whatever height; -1: in none's


def cluster(points: FloatArray, height: FloatArray, range_m: float) -> tuple[NDArray[np.intp], int]:
    """(N,) number of the connected cluster in whose cells each point lies, at whatever height, 0 for none; how many there are."""
    side = int(np.ceil(2 * range_m / CELL_M)) + 2
    column, row = (within(((points[:, axis] + range_m) / CELL_M).astype(np.intp) + 1, side - 1) for axis in (0, 1))
    flat = row * side + column
    occupied = np.zeros((side, side), bool)
    occupied.ravel()[flat.take(np.flatnonzero(in_slice(height)))] = True
    cells, count = ndimage.label(closed(occupied), np.ones((3, 3)))
    return cells.ravel().take(flat), count


def in_slice(height: FloatArray) -> NDArray[np.bool_]:
    """(N,) whether points at these heights join others to a cluster."""
    return (height > SLICE_M[0]) & (height < SLICE_M[1])


def propose(points: FloatArray, height: FloatArray, lidar_m: FloatArray, range_m: float) -> Proposals:
    """Boxes of the clusters among (N, 3) points with their heights above the local ground."""
    labels, count = cluster(points, height, range_m)
    body = np.flatnonzero((labels > 0) & in_slice(height))
    of_body = labels.take(body)
    kept = _of_size(picked(points, body), of_body, count)
    order = body.take(np.argsort(of_body.astype(np.uint16) if count < 1 << 16 else of_body, kind="stable"))  # short numbers sort faster
    stop = np.cumsum(np.bincount(of_body, minlength=count + 1))
    sampled = [order[first : last : -(-(last - first) // SAMPLED)] for first, last in zip(stop[kept - 1], stop[kept], strict=True)]
    boxes, fit_m = fit(points[:, :2], sampled)
    sides_m = boxes[:, LENGTH:]
    good = (sides_m[:, 0] >= LEAST_SIDE_M) & (sides_m[:, 0] <= LONGEST_M) & (sides_m[:, 1] <= WIDEST_M)
    number = np.full(count + 1, -1)
    number[kept[good]] = np.arange(good.sum())
    return Proposals(boxes[good], fit_m[good], number.take(labels))


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
    """(G, 5) at least that long and wide, grown away from the lidar: the sides that it sees stay where they are.

    A face shorter than SIDE_FROM_M is the front or the rear, and the vehicle goes on behind it.
    """
    whole = boxes.copy()
    face = boxes[:, LENGTH] < SIDE_FROM_M
    whole[face, YAW] += 0.5 * np.pi
    whole[face, LENGTH:] = boxes[face, : LENGTH - 1 : -1]
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
