"""Further inputs of the verifier for each column: its slices, its surroundings, and what borders it on either side.

Slices follow Kidono et al., Pedestrian recognition using high-definition LIDAR (IV 2011).
Axes: M columns, S slices, B height bands, R rings around.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from jepa_ros.objects.measured_columns import Columns
from jepa_ros.objects.sightlines import SightLines, slot
from jepa_ros.objects.struct_of_arrays import bounded
from jepa_ros.types import FloatArray

SLICES, SLICE_M = 9, 0.25
BANDS_M = (0.2, 0.8, 1.5, 2.1, 2.9)  # above the local ground: legs, trunk, head, above people
RINGS_M = (0.5, 1.0, 2.0)  # half sides of squares around a column
ROW_M, ROWS = 0.1, 22
CELL_M = 0.2
BESIDE_M, AROUND_M = 0.45, 2.0
SLICE_PARTS = ("share", "width", "depth", "aside", "behind")
SHAPE = (
    *(f"{part}_{number}" for part in SLICE_PARTS for number in range(SLICES)),
    "top",
    "bottom",
    "width",
    "depth",
    "thickness",
    "range",
    "returns",
    "rows",  # share of the rows of 10 cm between bottom and top that hold returns
    "cut",
    "in_view_from",
    "blob_long",  # the whole that this column is part of
    "blob_short",
    *(f"around_{band}_{ring}" for ring in range(len(RINGS_M) - 1) for band in range(len(BANDS_M) - 1)),
    "above",
    "beside_less",  # how much nearer (negative) or further the nearest thing is beside it, on the side where that is less
    "beside_more",
)


@dataclass(frozen=True)
class Surroundings:
    """All that stands in a sweep, so that each column can be asked for what is around it."""

    sums: NDArray[np.int32]  # (side + 1, B, side + 1) integral images of returns, each row of all bands together
    sight: SightLines
    half_side_m: float

    @classmethod
    def of(cls, points: FloatArray, height: FloatArray, range_m: float, sight: SightLines) -> Surroundings:
        side = int(np.ceil(2 * range_m / CELL_M)) + 1
        column, row = (bounded(((points[:, axis] + range_m) / CELL_M).astype(np.int32), side - 1) for axis in (0, 1))
        band, bands = sum((height > height.dtype.type(edge_m)).astype(np.int32) for edge_m in BANDS_M[1:-1]), len(BANDS_M) - 1
        cell = (((row + 1) * bands + band) * (side + 1) + column + 1).astype(np.intp)
        counts = np.zeros((side + 1, bands, side + 1), np.int32)
        np.add.at(counts.reshape(-1), cell, np.int32(1))  # of the same type: a plain 1 takes 25 times as long
        return cls(_integral(counts), sight, range_m)

    def around(self, centres_m: FloatArray) -> FloatArray:
        """(M, R, B) returns within each square around each centre."""
        half_m = np.array(RINGS_M)[:, None]
        low_m, high_m = ((centres_m[:, None] + sign * half_m).reshape(-1, 2) for sign in (-1, 1))
        return self.between(low_m, high_m).reshape(len(centres_m), len(RINGS_M), len(BANDS_M) - 1)

    def between(self, low_m: FloatArray, high_m: FloatArray) -> FloatArray:
        """(M, B) returns within rectangles along x and y, from their (M, 2) lower to their upper corners."""
        rows, bands, width = self.sums.shape
        cells = [bounded(np.rint((corner_m + self.half_side_m) / CELL_M).astype(np.intp), rows - 1) for corner_m in (low_m, high_m)]
        right, row = np.array([cell[:, 0] for cell in cells]), np.array([cell[:, 1] for cell in cells])
        corners = row[:, None] * (bands * width) + right[None]  # (2, 2, M): row of lower and upper corner, column of both
        sums = self.sums.reshape(-1).take(corners[..., None] + width * np.arange(bands))
        return (sums[1, 1] - sums[0, 1]) - (sums[1, 0] - sums[0, 0])

    def beside_m(self, centres_m: FloatArray, right_m: FloatArray, left_m: FloatArray) -> FloatArray:
        """(M, 2) by how much what is nearest just beside each column is further away; `right_m` <= 0 <= `left_m` are its edges."""
        offset_m = centres_m - self.sight.origin_m
        range_m = np.maximum(np.hypot(*offset_m.T), 0.5)
        middle = np.arctan2(offset_m[:, 1], offset_m[:, 0])
        outward_m = np.array([[-1.0], [1.0]]) * np.concatenate(([0.0], np.linspace(0.1, BESIDE_M, 5)))
        edges_m = np.stack((right_m, left_m), axis=1)[..., None] + outward_m  # (M, 2, 6)
        index = slot(middle[:, None, None] + np.arctan(edges_m / range_m[:, None, None]))
        own, index = index[..., :1], index[..., 1:]  # the bearing that the column itself ends in says nothing
        seen = np.where(index == own, np.inf, self.sight.nearest_m[index])
        return np.clip(seen.min(axis=-1) - range_m[:, None], -AROUND_M, AROUND_M)


def _integral(counts: NDArray[np.int32]) -> NDArray[np.int32]:
    """Sums over all cells before of (side + 1, B, side + 1) counts whose first row and column are empty, in their place."""
    np.cumsum(counts, axis=2, out=counts)
    for row, following in pairwise(counts):
        following += row
    return counts


def shape_features(
    row: NDArray[np.intp],
    across: FloatArray,
    along: FloatArray,
    tall: FloatArray,
    columns: Columns,
    blobs_m: FloatArray,
    surroundings: Surroundings,
) -> FloatArray:
    """(M, len(SHAPE)) of M columns; the first four say of each of their returns to which column it belongs and where in it it lies."""
    count, total = len(columns.tops_m), np.maximum(columns.counts, 1)
    slices = _slices(row, across, along, tall, count)
    share = slices[0] / total[:, None]
    right, left = np.zeros(count), np.zeros(count)
    np.minimum.at(right, row, across)
    np.maximum.at(left, row, across)
    rows = np.zeros(count * ROWS, bool)
    rows[row * ROWS + np.minimum(tall / ROW_M, ROWS - 1).astype(np.intp)] = True
    span = np.maximum((columns.tops_m - columns.bottoms_m) / ROW_M, 1.0)
    around = surroundings.around(columns.centres_m)
    rings = np.diff(around, axis=1).reshape(count, (len(RINGS_M) - 1) * (len(BANDS_M) - 1))  # ring by ring, band by band
    above = around[:, 1, -1]
    beside = np.sort(surroundings.beside_m(columns.centres_m, right, left), axis=1)
    single = [
        columns.tops_m,
        columns.bottoms_m,
        columns.widths_m,
        columns.depths_m,
        columns.thickness_m,
        np.hypot(*columns.centres_m.T) / 10.0,
        np.log(total) / 2.0,
        rows.reshape(count, ROWS).sum(axis=1) / span,
        columns.cut.astype(float),
        np.minimum(columns.in_view_from_m, 2.0),
        np.minimum(blobs_m[:, 0], 10.0) / 3.0,
        np.minimum(blobs_m[:, 1], 10.0) / 3.0,
        *np.log1p(rings / total[:, None]).T,
        np.log1p(above / total),
        *beside.T,
    ]
    parts = [share, *(np.clip(part, -1.5, 1.5) for part in slices[1:]), np.stack(single, axis=1)]
    return np.concatenate(parts, axis=1).astype(np.float32)


def _slices(row: NDArray[np.intp], across: FloatArray, along: FloatArray, tall: FloatArray, count: int) -> list[FloatArray]:
    """Returns, width, depth, and the middle across and along, of each slice, (M, S) each."""
    slot = row * SLICES + np.minimum(tall / SLICE_M, SLICES - 1).astype(np.intp)
    size = count * SLICES

    def total(values: FloatArray | None = None) -> FloatArray:
        return np.bincount(slot, values, size).reshape(count, SLICES).astype(float)

    number = total()
    some = np.maximum(number, 1)
    aside, behind = total(across) / some, total(along) / some
    width = np.sqrt(12 * np.maximum(total(across**2) / some - aside**2, 0.0))
    depth = np.sqrt(12 * np.maximum(total(along**2) / some - behind**2, 0.0))
    return [number.astype(float), width, depth, aside, behind]
