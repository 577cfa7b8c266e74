"""Two people who stand so close that their returns are one column: it is no person as a whole, but either half of it is one.

Axes: N points of those columns, M columns, K columns that are halved.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from jepa_ros.objects.columns import Labelled
from jepa_ros.objects.measured_columns import Columns
from jepa_ros.objects.struct_of_arrays import picked
from jepa_ros.types import FloatArray

PERSON = 0.5  # score from which a column is taken for a person
SOMEWHAT = 0.02  # what looks less like a body is not two of them either
WIDE_M = 1.0  # across, whichever way: two bodies that touch
ROUNDS = 6  # of two-means; nearly all have settled by then


def may_be_two(columns: Columns, scores: FloatArray) -> NDArray[np.intp]:
    """(K,) numbers of the columns that are no person as a whole, but look somewhat like one and are wide enough for two."""
    wide = np.maximum(columns.widths_m, columns.depths_m) > WIDE_M
    return np.flatnonzero(wide & (scores < PERSON) & (scores > SOMEWHAT))


def halved(looked: Sequence[Labelled], numbers: NDArray[np.intp]) -> Labelled:
    """The halves of K columns, whose `numbers` count on from part to part as in `columns.describe`: 2k + 1 and 2k + 2 of the k-th."""
    parts, first = [], 0
    order = np.full(sum(len(part.blobs_m) for part in looked), -1)
    order[numbers] = np.arange(len(numbers))
    for part in looked:
        stop = first + len(part.blobs_m)
        column = order[first:stop].take(part.labels)
        own = np.flatnonzero((column >= 0) & (part.labels > 0))
        parts.append((picked(part.points, own), part.height.take(own), part.ground_m.take(own), column.take(own)))
        first = stop
    points, height, ground_m, column = (np.concatenate(values) for values in zip(*parts, strict=True))
    blobs_m = np.concatenate([part.blobs_m for part in looked])[numbers]
    labels = 2 * column + 1 + _further_half(points[:, :2].astype(np.float64), column, len(numbers))
    return Labelled(points, height, ground_m, labels, np.concatenate((np.zeros((1, 2)), np.repeat(blobs_m, 2, axis=0))))


def _further_half(places_m: FloatArray, column: NDArray[np.intp], count: int) -> NDArray[np.intp]:
    """(N,) 1 for the points of one half, 0 for the other: two-means along the line on which a column is longest."""
    number = np.maximum(np.bincount(column, minlength=count), 1)

    def mean(values: FloatArray) -> FloatArray:
        return np.bincount(column, values, count) / number

    x, y = (places_m[:, axis] - mean(places_m[:, axis]).take(column) for axis in (0, 1))
    angle = 0.5 * np.arctan2(2 * mean(x * y), mean(x * x) - mean(y * y))
    along = x * np.cos(angle).take(column) + y * np.sin(angle).take(column)
    border = np.zeros(count)
    for _ in range(ROUNDS):
        further = along > border.take(column)
        side = 2 * column + further
        middles = np.bincount(side, along, 2 * count) / np.maximum(np.bincount(side, minlength=2 * count), 1)
        border = middles.reshape(count, 2).mean(axis=1)
    return (along > border.take(column)).astype(np.intp)
