"""Moves occupied clusters ahead: they are followed back through the aligned history, and continue at constant velocity.

A convolution that predicts a mean is poor at this: a person is a few cells of thousands, and where exactly it will be is spread over many.
So motion is not left to it alone.
Axes: B batch, T history step (oldest first), S future step, C observed channel, Z height band, Y row, X column of cells, V velocity.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor, nn

from jepa_ros.backends.scene_jepa.config import GROUNDED_SCALE
from jepa_ros.sensing.voxelize import DEFAULT_GRID, HEIGHT_BANDS_M, OCCUPIED_M
from jepa_ros.types import FloatArray

BODY = [z for z, (low, high) in enumerate(pairwise(HEIGHT_BANDS_M)) if low >= OCCUPIED_M[0] and high <= OCCUPIED_M[1]]
CELL_M = DEFAULT_GRID.resolution_m
LARGEST_M = 6.0  # a longer cluster is a wall or a hedge: it stands
SAMPLES = 12  # cells of a cluster that are matched
BLOCK = 32  # of which so many at once, so that what they are matched with stays in the cache
STANDS = 0.6  # a cluster stands where this share of its cells was occupied in the older sweeps
MARGIN = 0.2  # and is said to move only where a velocity explains this much more than standing does
FASTEST_MPS = 12.0
SMALL_MPS, PER_CELL_MPS = 2.2, 0.5  # the fastest that a cluster of few cells may be: small and fast is a wall that matches itself
STEP_MPS = 0.8
REFINED_M = 0.6  # older returns this near to where the best velocity says that the cluster was make it more exact
SLOWEST_MPS = 0.3
_AXIS = np.arange(-FASTEST_MPS, FASTEST_MPS + STEP_MPS / 2, STEP_MPS, dtype=np.float32)
_CANDIDATES = np.stack(np.meshgrid(_AXIS, _AXIS, indexing="ij"), axis=-1).reshape(-1, 2)
_SPEEDS = np.hypot(*_CANDIDATES.T)

# How sure a cluster is to be where its velocity takes it after 0.4, 0.8 ... 4.8 s: on training worlds .74 .62 .50 .38 .33 .28 .24 and then
# about .2 of the cells were occupied. From 1.6 s on it is set higher, so that somebody who comes is predicted rather than lost in the mean.
ARRIVES = (0.74, 0.62, 0.5, 0.45, 0.42, 0.4, 0.35, 0.32, 0.3, 0.28, 0.26, 0.25)
LEAVES = (0.7, *[0.85] * 11)  # how sure it is to be gone from where it was, as far as the predictor has not said so already


@dataclass(frozen=True)
class Clusters:
    """What moves: G clusters of together L cells."""

    cells: NDArray[np.intp]  # (L, 2) row, column now, cluster by cluster
    cluster: NDArray[np.intp]  # (L,) which one each belongs to
    velocity: FloatArray  # (G, 2) cells per step, rows and columns

    def __len__(self) -> int:
        return len(self.velocity)


@dataclass(frozen=True)
class Carried:
    """What moving clusters change in predicted latents: a few entries of many. Index arrays of equal length; channels are observed ones."""

    leaving: tuple[Tensor, Tensor, Tensor, Tensor]  # b, channel, row, column of the tokens' entries that something leaves or lately left
    keeps_S: Tensor  # share of what was predicted there that stays
    arriving: tuple[Tensor, Tensor, Tensor, Tensor, Tensor]  # b, step, channel, row, column
    arrives: Tensor  # what is there at least

    def onto_(self, predicted_BSDYX: Tensor, trust_BSYX: Tensor | None = None) -> Tensor:
        """Changes the predicted latents themselves, for a copy would cost more than all else here; only observed channels are touched.

        trust_BSYX: factor on what arrives in each token; None = 1.
        """
        b, channel, row, column = self.leaving
        keeps_S = self.keeps_S.to(predicted_BSDYX)
        predicted_BSDYX[b, :, channel, row, column] = predicted_BSDYX[b, :, channel, row, column] * keeps_S
        arrives = self.arrives.to(predicted_BSDYX)
        if trust_BSYX is not None:
            b, step, _, row, column = self.arriving
            arrives = arrives * trust_BSYX[b, step, row, column]
        predicted_BSDYX[self.arriving] = torch.maximum(predicted_BSDYX[self.arriving], arrives)
        return predicted_BSDYX


class StepByStep:
    """`Carried.onto_` of one scene, one step after the other, in latents that are channels-last in memory: places are looked up once."""

    def __init__(self, carried: Carried, channels: int, columns: int) -> None:
        """channels, columns: of the latents."""
        _, channel, row, column = carried.leaving
        self._left, self._keeps_S = (row * columns + column) * channels + channel, carried.keeps_S
        _, step, channel, row, column = carried.arriving
        order = torch.argsort(step, stable=True)
        sizes = torch.bincount(step, minlength=len(carried.keeps_S)).tolist()
        token = (row * columns + column)[order]
        self._tokens = token.split(sizes)
        self._came = (token * channels + channel[order]).split(sizes)
        self._arrives = carried.arrives[order].split(sizes)

    def onto_(self, step: int, latents_1CYX: Tensor, said_1YX: Tensor | None) -> None:
        """said_1YX: for `trust`; None = all is trusted."""
        flat, came, arrives = latents_1CYX.permute(0, 2, 3, 1).view(-1), self._came[step], self._arrives[step].to(latents_1CYX)
        flat.index_copy_(0, self._left, flat.index_select(0, self._left) * self._keeps_S[step].to(flat))
        if said_1YX is not None:
            arrives = arrives * trust(said_1YX.reshape(-1).index_select(0, self._tokens[step]))
        flat.index_copy_(0, came, torch.maximum(flat.index_select(0, came), arrives))


def trust(said: Tensor) -> Tensor:
    """Output of the network -> factor on what is carried, 0 ... 2; an output of 0 is 1."""
    return 2 * said.sigmoid()


class Motion(nn.Module):
    """Carries moving clusters ahead. How far each step is to be trusted are parameters that a training may change; the shipped ones are
    ARRIVES and LEAVES, set on training worlds."""

    def __init__(self, horizon: int, dt_s: float) -> None:
        super().__init__()
        self.dt_s = dt_s
        step = np.minimum(np.arange(horizon), len(ARRIVES) - 1)
        self.arrives = nn.Parameter(torch.tensor(ARRIVES)[step])
        self.leaves = nn.Parameter(torch.tensor(LEAVES)[step])

    def forward(self, history_BTCYX: Tensor, steps: Tensor) -> Carried | None:
        """Observed channels of the aligned history, oldest first -> what the asked steps change; None where nothing moves."""
        observed = history_BTCYX.detach().float().cpu()
        highest = observed[:, :, 4 * BODY[0] : 4 * BODY[-1] + 4].unflatten(2, (-1, 4)).amax(dim=2)
        body = F.pixel_shuffle(highest, 2)[:, :, 0].numpy() / GROUNDED_SCALE  # (B, T, Y, X)
        moving = [find_clusters(past, self.dt_s) for past in body]
        if not any(map(len, moving)):
            return None
        now = F.pixel_shuffle(observed[:, -1], 2).numpy() / GROUNDED_SCALE  # (B, Z, Y, X)
        leaving, arriving, values = [], [], []
        for batch, (returns, clusters) in enumerate(zip(now, moving, strict=True)):
            left, came, value = _changes(returns, clusters, steps.numpy(force=True))
            leaving.append(np.insert(left, 0, batch, axis=0))
            arriving.append(np.insert(came, 0, batch, axis=0))
            values.append(value)
        device = self.arrives.device
        b, step, *place = torch.from_numpy(np.concatenate(arriving, axis=1)).to(device)
        least = GROUNDED_SCALE * self.arrives[steps][step] * torch.from_numpy(np.concatenate(values)).to(self.arrives)
        left_index = torch.from_numpy(np.concatenate(leaving, axis=1)).to(device)
        return Carried(tuple(left_index), 1 - self.leaves[steps], (b, step, *place), least)


def find_clusters(body_TYX: FloatArray, dt_s: float) -> Clusters:
    """What moves, of occupancy 0-1 of the last steps in one anchor frame, oldest first. All clusters are looked at together."""
    label, count = ndimage.label(body_TYX[-1] > 0.5, structure=np.ones((3, 3)))
    if not count or len(body_TYX) < 2:
        return Clusters(np.zeros((0, 2), np.intp), np.zeros(0, np.intp), np.zeros((0, 2)))
    cells = np.argwhere(label)
    cluster = label[cells[:, 0], cells[:, 1]].astype(np.intp) - 1
    # Most clusters stand, and that costs least to see; walls are long.
    past = body_TYX[:-1].mean(axis=0)
    stood = np.bincount(cluster, past[cells[:, 0], cells[:, 1]]) / np.bincount(cluster)
    long = np.array([max(s.stop - s.start for s in box) * CELL_M > LARGEST_M for box in ndimage.find_objects(label)])
    cells, cluster, kept = _only(cells, cluster, (stood < STANDS) & ~long)
    velocity = _best_candidates(cells, cluster, stood[kept], body_TYX[:-1], dt_s)
    cells, cluster, kept = _only(cells, cluster, np.isfinite(velocity[:, 0]))
    velocity = _refined(cells, cluster, velocity[kept], body_TYX[:-1], dt_s)
    speed = np.hypot(*velocity.T)
    fastest = np.maximum(SMALL_MPS, PER_CELL_MPS * np.bincount(cluster, minlength=len(velocity)))
    cells, cluster, kept = _only(cells, cluster, (speed >= SLOWEST_MPS) & (speed <= fastest))
    return Clusters(cells, cluster, velocity[kept] * dt_s / CELL_M)


def _only(
    cells: NDArray[np.intp], cluster: NDArray[np.intp], wanted: NDArray[np.bool_]
) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.intp]]:
    """The cells of the clusters that are wanted, cluster by cluster, their clusters numbered anew, and which those were."""
    kept = np.flatnonzero(wanted)
    here = wanted[cluster]
    cells, cluster = cells[here], np.searchsorted(kept, cluster[here])
    order = np.argsort(cluster, kind="stable")
    return cells[order], cluster[order], kept


def _best_candidates(
    cells: NDArray[np.intp], cluster: NDArray[np.intp], standing: FloatArray, older_TYX: FloatArray, dt_s: float
) -> FloatArray:
    """(G, 2) m/s along rows and columns; NaN = it stands. `standing`: how well that explains where each cluster was, 0-1."""
    size = np.bincount(cluster, minlength=len(standing))
    first = np.concatenate([[0], np.cumsum(size)])[:-1]
    sampled = (np.arange(len(cells)) - first[cluster]) % np.maximum(1, size // SAMPLES)[cluster] == 0
    rows, columns = cells[sampled].T
    samples = np.bincount(cluster[sampled], minlength=len(standing))
    if not len(samples):
        return np.zeros((0, 2))
    match = np.zeros((len(rows), len(_CANDIDATES)), np.float32)  # of each sample under each candidate velocity
    came_from = np.empty((BLOCK, len(_CANDIDATES)), np.intp)
    there = np.empty((BLOCK, len(_CANDIDATES)), np.float32)
    for lag, body_YX in enumerate(reversed(older_TYX), start=1):
        pad = int(np.ceil(FASTEST_MPS * lag * dt_s / CELL_M)) + 1  # wherever a candidate velocity comes from
        width = body_YX.shape[1] + 2 * pad
        here, shifts, flat = (rows + pad) * width + columns + pad, _shifts(lag * dt_s, width), np.pad(body_YX, pad).ravel()
        for begin in range(0, len(rows), BLOCK):
            some = slice(begin, min(begin + BLOCK, len(rows)))
            count = some.stop - begin
            np.subtract(here[some, None], shifts, out=came_from[:count])
            match[some] += flat.take(came_from[:count], out=there[:count], mode="clip")  # all lie within the padding
    total = np.add.reduceat(match, np.concatenate([[0], np.cumsum(samples)])[:-1], axis=0)
    score = total / (samples * len(older_TYX))[:, None] - 0.01 * _SPEEDS
    best = score.argmax(axis=1)
    moves = score[np.arange(len(best)), best] > standing + MARGIN
    velocity: FloatArray = np.where(moves[:, None], _CANDIDATES[best], np.nan)
    return velocity


@lru_cache(maxsize=16)
def _shifts(ago_s: float, width: int) -> NDArray[np.intp]:
    """(V,) by how many entries of a grid of this width each candidate velocity moves in `ago_s`."""
    shift = np.rint(_CANDIDATES * np.float32(ago_s / CELL_M)).astype(np.intp)
    return shift[:, 0] * width + shift[:, 1]


def _refined(cells: NDArray[np.intp], cluster: NDArray[np.intp], velocity: FloatArray, older_TYX: FloatArray, dt_s: float) -> FloatArray:
    """(G, 2) m/s from the centres that the clusters had in the older steps: of all returns near to where the velocity says they were."""
    if not len(velocity):
        return velocity
    begin = np.flatnonzero(np.diff(cluster, prepend=-1))
    centre = np.add.reduceat(cells, begin, axis=0) / np.bincount(cluster)[:, None]
    spread = np.maximum.reduceat(cells, begin, axis=0) - np.minimum.reduceat(cells, begin, axis=0)
    reach = 0.5 * spread + REFINED_M / CELL_M
    size = np.array(older_TYX.shape[1:])
    weighted, squared = np.zeros_like(velocity), np.zeros((len(velocity), 1))
    for lag, tables in enumerate(_tables(older_TYX)[::-1], start=1):
        there = centre - lag * dt_s / CELL_M * velocity
        low = np.clip(np.ceil(there - reach).astype(np.intp), 0, size)
        high = np.maximum(np.clip(np.floor(there + reach).astype(np.intp) + 1, 0, size), low)
        total, *moments = (_box_sums(table, low, high) for table in tables)
        found = total > 0.5
        middle = np.stack(moments, axis=1) / np.maximum(total, 0.5)[:, None]
        lag_s = lag * dt_s * found[:, None]
        weighted += lag_s * CELL_M * (centre - middle)
        squared += lag_s**2
    refined: FloatArray = np.where(squared > 0, weighted / np.maximum(squared, 1e-9), velocity)
    return refined


def _tables(body_TYX: FloatArray) -> FloatArray:
    """(T, 3, Y + 1, X + 1) sums over all cells before, of occupancy, and of it times row and column. numpy takes three times as long."""
    exact = torch.from_numpy(body_TYX).double()
    steps, rows, columns = exact.shape
    row, column = torch.arange(rows).double()[:, None], torch.arange(columns).double()
    sums = exact.new_zeros(steps, 3, rows + 1, columns + 1)
    sums[:, :, 1:, 1:] = torch.stack([exact, exact * row, exact * column], dim=1).cumsum(2).cumsum(3)
    return sums.numpy()


def _box_sums(table: FloatArray, low: NDArray[np.intp], high: NDArray[np.intp]) -> FloatArray:
    """(G,) sums over the boxes from (G, 2) low to high."""
    sums: FloatArray = (
        table[high[:, 0], high[:, 1]] - table[low[:, 0], high[:, 1]] - table[high[:, 0], low[:, 1]] + table[low[:, 0], low[:, 1]]
    )
    return sums


def _changes(
    now_ZYX: FloatArray, clusters: Clusters, steps: NDArray[np.int64]
) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.float32]]:
    """((3, L) channel, row, column that something leaves, (4, A) step, channel, row, column where something arrives, (A,) how much)."""
    bands, rows, columns = now_ZYX.shape
    leaving = np.concatenate([_entry(band, clusters.cells) for band in range(bands)], axis=1)
    ahead = steps[:, None, None] + 1
    target = np.rint(clusters.cells + ahead * clusters.velocity[clusters.cluster]).astype(np.intp)  # (S, L, 2)
    step, cell = np.nonzero(((target >= 0) & (target < (rows, columns))).all(axis=2))
    row, column = target[step, cell].T
    returns = now_ZYX[:, clusters.cells[cell, 0], clusters.cells[cell, 1]]  # (Z, A)
    # Where two clusters arrive in one place, the surer return counts.
    place, inverse = np.unique((step * rows + row) * columns + column, return_inverse=True)
    most = np.zeros((bands, len(place)), np.float32)
    for band in range(bands):
        np.maximum.at(most[band], inverse, returns[band])
    step_index, flat = np.divmod(place, rows * columns)
    arrived = np.stack(np.divmod(flat, columns), axis=1)
    arriving = np.concatenate([np.insert(_entry(band, arrived), 0, step_index, axis=0) for band in range(bands)], axis=1)
    some = most.ravel() > 0
    return leaving, arriving[:, some], most.ravel()[some]


def _entry(band: int, cells: NDArray[np.intp]) -> NDArray[np.intp]:
    """(3, N) channel, row and column in the latents of a height band of (N, 2) cells, as pixel_unshuffle puts it."""
    rows, columns = cells.T
    return np.stack([4 * band + 2 * (rows % 2) + columns % 2, rows // 2, columns // 2])
