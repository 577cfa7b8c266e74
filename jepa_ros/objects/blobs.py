"""Splits connected cells of a sweep into those of single people.

Axes: R row, C column, G blobs that are parted.
"""

from __future__ import annotations

from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

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
    density = ndimage.gaussian_filter(hits.astype(np.float32), smooth_m / cell_m)
    summit = (density == highest(density, odd(SUMMIT_M / cell_m))) & (cells > 0)
    low, sides = _extents(cells, count)
    blobs_m = cell_m * np.sort(sides, axis=1)[:, ::-1]
    longer_m = blobs_m[:, 0]
    group = (np.bincount(cells[summit], minlength=count + 1) >= 2) & (longer_m >= SMALLEST_GROUP_M - 1e-6)
    cells, parts = _part(cells, count, summit, density, group & (longer_m <= LARGEST_GROUP_M + 1e-6), low)
    blobs_m = np.concatenate((blobs_m, np.repeat(blobs_m, parts, axis=0)))
    large = blobs_m[:, 0] > LARGEST_GROUP_M + 1e-6
    large[count + 1 :] = False
    count += int(parts.sum())
    divisible = large.take(cells)
    piece = odd(PIECE_M / cell_m)
    whole = np.flatnonzero((divisible & (density == highest(density, piece))).ravel())
    blobs_m = np.concatenate((blobs_m, blobs_m[cells.ravel()[whole]]))
    seeds = np.zeros_like(cells)
    seeds.ravel()[whole] = count + 1 + np.arange(len(whole))
    pieces = highest(seeds, piece)
    cells = np.where(divisible & (pieces > 0), pieces, cells)
    return cells, count + len(whole), blobs_m


def _extents(cells: NDArray[np.int32], count: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """(count + 1, 2) the first row and column of each blob, and how many of them it reaches over; blob 0 is none."""
    taken = np.flatnonzero(cells)
    blob = cells.ravel().take(taken).astype(np.intp)
    low, sides = np.zeros((count + 1, 2), np.intp), np.zeros((count + 1, 2), np.intp)
    for axis, place in enumerate(np.divmod(taken, cells.shape[1])):
        first, last = np.full(count + 1, cells.size), np.full(count + 1, -1)
        np.minimum.at(first, blob, place)
        np.maximum.at(last, blob, place)
        low[1:, axis], sides[1:, axis] = first[1:], last[1:] - first[1:] + 1
    return low, sides


def _part(
    cells: NDArray[np.int32], count: int, summit: NDArray[np.bool_], density: FloatArray, group: NDArray[np.bool_], low: NDArray[np.intp]
) -> tuple[NDArray[np.int32], NDArray[np.intp]]:
    """Cells of the blobs that are a `group`, each numbered by its nearest peak: (count + 1,) how many new numbers each blob gives.

    Peaks are summits that a valley parts from all higher ones; the lowest of many are not looked at. All blobs (G) at once.
    """
    place = np.argwhere(summit & group[cells])
    blob = cells[place[:, 0], place[:, 1]]
    height = density[place[:, 0], place[:, 1]]
    order = np.lexsort((-height, blob))
    chosen, row = np.unique(blob, return_inverse=True)
    rank = np.arange(len(order)) - np.searchsorted(blob[order], blob[order])
    order, rank = order[rank < MOST_IN_GROUP], rank[rank < MOST_IN_GROUP]
    peaks, heights = np.zeros((len(chosen), MOST_IN_GROUP, 2), np.intp), np.zeros((len(chosen), MOST_IN_GROUP), density.dtype)
    peaks[row[order], rank] = place[order] - low[blob[order]]
    heights[row[order], rank] = height[order]
    along = np.linspace(0.0, 1.0, 9)[:, None]
    lines = np.rint(peaks[:, :, None, None] * (1 - along) + peaks[:, None, :, None] * along).astype(np.intp)  # (G, n, n, 9, 2)
    lines += low[chosen][:, None, None, None]
    valley = density[lines[..., 0], lines[..., 1]].min(axis=-1) < VALLEY * heights[..., None]
    kept = np.arange(MOST_IN_GROUP) < np.bincount(row[order], minlength=len(chosen))[:, None]
    for i in range(1, MOST_IN_GROUP):
        kept[:, i] &= (valley[:, i, :i] | ~kept[:, :i]).all(axis=1)
    parts = np.zeros(count + 1, np.intp)
    parts[chosen] = kept.sum(axis=1) - 1
    number = np.cumsum(kept, axis=1) - 1 + (count + np.cumsum(parts[chosen]) - parts[chosen])[:, None]
    number[:, 0] = chosen  # the highest peak keeps the number
    members = np.argwhere((parts > 0)[cells])
    of = np.searchsorted(chosen, cells[members[:, 0], members[:, 1]])
    away = (((members - low[chosen[of]])[:, None] - peaks[of]) ** 2).sum(axis=-1)
    nearest = np.where(kept[of], away, cells.size).argmin(axis=1)
    cells[members[:, 0], members[:, 1]] = number[of, nearest]
    return cells, parts


def highest(values: NDArray[Number], side: int) -> NDArray[Number]:
    """The highest of the values, none of which is negative, in a square of `side` cells around each; quicker than `scipy.ndimage`."""
    around, reached = np.pad(values, side // 2), 1
    while reached < side:
        further = min(reached, side - reached)
        around = np.maximum(around[:-further], around[further:])
        around = np.maximum(around[:, :-further], around[:, further:])
        reached += further
    return around
