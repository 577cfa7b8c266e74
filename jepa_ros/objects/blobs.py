"""Splits connected cells of a sweep into those of single people.

Axes: R row, C column, G blobs that are parted.
"""

from __future__ import annotations

from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from jepa_ros.objects.struct_of_arrays import bounded
from jepa_ros.types import FloatArray

Number = TypeVar("Number", bound=np.generic)
# What may be people who stand together, by its longer side: about four abreast at most; a longer blob is a car or a wall.
SMALLEST_GROUP_M, LARGEST_GROUP_M = 0.8, 2.2
MOST_IN_GROUP = 8
# Out of what is larger than a group, pieces are cut around summits: whoever leans on a wall or stands in a crowd is one of them.
PIECE_M = 0.4
SUMMIT_M = 0.2  # a summit of the density is the highest so far around
VALLEY = 0.6  # two people are two where the density between them falls below this share of the lesser


def odd(reach_cells: float) -> int:
    """Side of a window that reaches so many cells to each side."""
    return 2 * round(reach_cells) + 1


def parted(
    cells: NDArray[np.int32], count: int, hits: NDArray[np.intp], cell_m: float, smooth_m: float
) -> tuple[NDArray[np.int32], int, FloatArray]:
    """Blobs of people who stand together, parted at the valleys of their return density; cars and walls have none and stay whole.

    `cells`: (R, C) number of the blob of each cell, 0 for none; `hits`: returns in each. Gives the same with more numbers, how many
    these are, and (count + 1, 2) the longer and shorter side, in m, of the blob that each was part of.
    """
    density = smoothed(hits, smooth_m / cell_m)
    taken = np.flatnonzero(cells > 0)
    blob, place = cells.ravel().take(taken).astype(np.intp), np.stack(np.divmod(taken, cells.shape[1]), axis=1)
    dense, near, piece = density.ravel().take(taken), odd(SUMMIT_M / cell_m), odd(PIECE_M / cell_m)
    around = highest(density, near)
    summit = dense == around.ravel().take(taken)
    low, sides = _extents(blob, place, count)
    blobs_m = cell_m * np.sort(sides, axis=1)[:, ::-1]
    longer_m = blobs_m[:, 0]
    group = (np.bincount(blob[summit], minlength=count + 1) >= 2) & (longer_m >= SMALLEST_GROUP_M - 1e-6)
    wanted = np.flatnonzero((group & (longer_m <= LARGEST_GROUP_M + 1e-6)).take(blob))
    number, parts = _part(blob.take(wanted), place.take(wanted, axis=0), summit.take(wanted), density, low)
    blob[wanted] = number
    blobs_m = np.concatenate((blobs_m, np.repeat(blobs_m, parts, axis=0)))
    large = blobs_m[:, 0] > LARGEST_GROUP_M + 1e-6
    large[count + 1 :] = False
    count += int(parts.sum())
    divisible = large.take(blob)
    highest_of_piece = highest(around, piece - near + 1)  # a square of squares is a larger square
    whole = np.flatnonzero(divisible & (dense == highest_of_piece.ravel().take(taken)))
    blobs_m = np.concatenate((blobs_m, blobs_m[blob[whole]]))
    cells.ravel()[taken] = blob
    beside = np.arange(piece) - piece // 2  # the pieces around them; where two meet, the later one
    row, column = (bounded(place[whole, axis, None] + beside, cells.shape[axis] - 1) for axis in (0, 1))
    into = (row[:, :, None] * cells.shape[1] + column[:, None, :]).reshape(-1)
    number = np.repeat(count + 1 + np.arange(len(whole)), piece * piece)
    inside = np.zeros(cells.size, bool)
    inside[taken] = divisible
    kept = inside.take(into)
    cells.ravel()[into[kept]] = number[kept]
    return cells, count + len(whole), blobs_m


def smoothed(hits: NDArray[np.intp], sigma_cells: float) -> NDArray[np.float32]:
    """(R, C) returns spread by a Gaussian, cut off where `scipy.ndimage` does, with nothing beyond the edge; in a third of its time."""
    reach = int(4.0 * sigma_cells + 0.5)
    weight = np.exp(-0.5 * (np.arange(reach + 1) / sigma_cells) ** 2)
    weight = (weight / (2 * weight.sum() - weight[0])).astype(np.float32)
    spread = np.pad(hits.astype(np.float32), reach)
    for axis in (0, 1):
        spread = _mixed(spread, weight, reach, axis)
    return spread


def _mixed(values: NDArray[np.float32], weight: NDArray[np.float32], reach: int, axis: int) -> NDArray[np.float32]:
    """Without `reach` rows, or columns, at either end; both sides are added first, so that what is symmetric stays so to the last bit."""
    length = values.shape[axis] - 2 * reach

    def part(start: int) -> NDArray[np.float32]:
        return values[start : start + length] if axis == 0 else values[:, start : start + length]

    mixed = part(reach) * weight[0]
    for away in range(1, reach + 1):
        both = part(reach - away) + part(reach + away)
        both *= weight[away]
        mixed += both
    return mixed


def _extents(blob: NDArray[np.intp], place: NDArray[np.intp], count: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """(count + 1, 2) the first row and column of each blob, and how many of them it reaches over; blob 0 is none."""
    low, sides = np.zeros((count + 1, 2), np.intp), np.zeros((count + 1, 2), np.intp)
    for axis in (0, 1):
        first, last = np.full(count + 1, np.iinfo(np.intp).max), np.full(count + 1, -1)
        np.minimum.at(first, blob, place[:, axis])
        np.maximum.at(last, blob, place[:, axis])
        low[1:, axis], sides[1:, axis] = first[1:], last[1:] - first[1:] + 1
    return low, sides


def _part(
    blob: NDArray[np.intp], place: NDArray[np.intp], summit: NDArray[np.bool_], density: FloatArray, low: NDArray[np.intp]
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """(L,) new numbers of cells at (L, 2) that are of a `blob`, each by its nearest peak; (count + 1,) how many new ones each blob gives.

    Peaks are summits that a valley parts from all higher ones; the lowest of many are not looked at. All blobs at once.
    """
    parts = np.zeros(len(low), np.intp)
    if not len(blob):  # nothing near the lidar is a group, most of the time
        return blob, parts
    own = np.flatnonzero(summit)
    peak, of = place.take(own, axis=0), blob.take(own)
    height = density[peak[:, 0], peak[:, 1]]
    order = np.lexsort((-height, of))
    rank = np.arange(len(order)) - np.searchsorted(of[order], of[order])
    order, rank = order[rank < MOST_IN_GROUP], rank[rank < MOST_IN_GROUP]
    peak, of, height = peak[order], of[order], height[order]
    # Each peak with all higher ones of its blob.
    lower = np.repeat(np.arange(len(rank)), rank)
    higher = np.arange(len(lower)) - np.repeat(np.cumsum(rank) - rank, rank) + np.repeat(np.arange(len(rank)) - rank, rank)
    along, start = np.linspace(0.0, 1.0, 9)[:, None], low[of[lower], None]
    lines = np.rint((peak[lower, None] - start) * (1 - along) + (peak[higher, None] - start) * along).astype(np.intp) + start
    valley = density[lines[..., 0], lines[..., 1]].min(axis=-1) < VALLEY * height[lower]
    kept = rank == 0
    for level in range(1, int(rank.max(initial=0)) + 1):
        asked = rank[lower] == level
        kept[np.flatnonzero(rank == level)] = True
        kept[lower[asked & ~valley & kept[higher]]] = False
    peak, of = peak[kept], of[kept]
    np.add.at(parts, of, 1)
    parts[of] -= 1
    first = np.searchsorted(of, np.arange(len(low)))  # of each blob's peaks
    later = np.arange(len(of)) - first[of]
    number = np.where(later == 0, of, len(low) - 1 + (np.cumsum(parts) - parts)[of] + later)  # the highest peak keeps the number
    cell = np.repeat(np.arange(len(blob)), parts[blob] + 1)
    candidate = np.arange(len(cell)) - np.repeat(np.cumsum(parts[blob] + 1) - parts[blob] - 1, parts[blob] + 1) + first[blob[cell]]
    away = ((place[cell] - peak[candidate]) ** 2).sum(axis=1)
    least = np.minimum.reduceat(away, np.searchsorted(cell, np.arange(len(blob))))
    nearest = np.flatnonzero(away == least.take(cell))[::-1]  # of two that are as near the first is written last
    numbers = np.zeros(len(blob), np.intp)
    numbers[cell[nearest]] = number[candidate[nearest]]
    return numbers, parts


def highest(values: NDArray[Number], side: int) -> NDArray[Number]:
    """The highest of the values, none of which is negative, in a square of `side` cells around each; quicker than `scipy.ndimage`."""
    beside, reached = side // 2, 1
    around = np.zeros((values.shape[0] + 2 * beside, values.shape[1] + 2 * beside), values.dtype)
    around[beside : beside + values.shape[0], beside : beside + values.shape[1]] = values
    while reached < side:
        further = min(reached, side - reached)
        around = np.maximum(around[:-further], around[further:])
        around = np.maximum(around[:, :-further], around[:, further:])
        reached += further
    return around
