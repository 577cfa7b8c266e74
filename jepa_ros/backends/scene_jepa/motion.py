"""What moves goes on moving: clusters of stated returns are followed back through the aligned history and carried ahead.

A convolution that predicts a mean is poor at this: a person is a few cells of thousands, and where exactly it will be is spread over many.
So motion is not left to it alone.
Axes: B batch, T history step (oldest first), S future step, C stated channel, Z height band, Y row, X column of cells, V velocity.
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
# about .2 of the cells were occupied. From 1.6 s on it is set higher, so that somebody who comes is foretold rather than lost in the mean.
ARRIVES = (0.74, 0.62, 0.5, 0.45, 0.42, 0.4, 0.35, 0.32, 0.3, 0.28, 0.26, 0.25)
LEAVES = (0.7, *[0.85] * 11)  # how sure it is to be gone from where it was, as far as the predictor has not said so already


@dataclass(frozen=True)
class Cluster:
    """Something that moves."""

    cells: NDArray[np.intp]  # (N, 2) row, column now
    velocity: FloatArray  # (2,) cells per step, rows and columns


@dataclass(frozen=True)
class Carried:
    """What moving clusters change in predicted latents: a few entries of many. Index arrays of equal length; channels are stated ones."""

    leaving: tuple[Tensor, Tensor, Tensor, Tensor]  # b, channel, row, column of the tokens' entries that something leaves or lately left
    keeps_S: Tensor  # share of what was predicted there that stays
    arriving: tuple[Tensor, Tensor, Tensor, Tensor, Tensor]  # b, step, channel, row, column
    arrives: Tensor  # what is there at least

    def onto_(self, predicted_BSDYX: Tensor, trust_BSYX: Tensor | None = None) -> Tensor:
        """Changes the predicted latents themselves, for a copy would cost more than all else here; only stated channels are touched.

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


def trust(said: Tensor) -> Tensor:
    """What the network says -> the factor on what is carried, 0 ... 2; nothing said is 1."""
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
        """Stated channels of the aligned history, oldest first -> what the asked steps change; None where nothing moves."""
        history = F.pixel_shuffle(history_BTCYX.detach().float(), 2).cpu().numpy() / GROUNDED_SCALE  # (B, T, Z, Y, X)
        moving = [find_clusters(past[:, BODY].max(axis=1), self.dt_s) for past in history]
        if not any(moving):
            return None
        leaving, arriving, values = [], [], []
        for batch, (past, clusters) in enumerate(zip(history, moving, strict=True)):
            left, came, value = _changes(past[-1], clusters, steps.tolist())
            leaving.append(np.insert(left, 0, batch, axis=0))
            arriving.append(np.insert(came, 0, batch, axis=0))
            values.append(value)
        device = self.arrives.device
        b, step, *place = torch.from_numpy(np.concatenate(arriving, axis=1)).to(device)
        least = GROUNDED_SCALE * self.arrives[steps][step] * torch.from_numpy(np.concatenate(values)).to(self.arrives)
        left_index = torch.from_numpy(np.concatenate(leaving, axis=1)).to(device)
        return Carried(tuple(left_index), 1 - self.leaves[steps], (b, step, *place), least)


def find_clusters(body_TYX: FloatArray, dt_s: float) -> list[Cluster]:
    """What moves, of occupancy 0-1 of the last steps in one anchor frame, oldest first."""
    now = body_TYX[-1] > 0.5
    label, count = ndimage.label(now, structure=np.ones((3, 3)))
    if not count or len(body_TYX) < 2:
        return []
    older = [_Padded(body, lag * dt_s) for lag, body in enumerate(reversed(body_TYX[:-1]), start=1)]
    # Most clusters stand, and that is told of all of them at once.
    stood = ndimage.mean(body_TYX[:-1].mean(axis=0), label, np.arange(1, count + 1))
    found = []
    for number, where in enumerate(ndimage.find_objects(label), start=1):
        if stood[number - 1] >= STANDS or max(s.stop - s.start for s in where) * CELL_M > LARGEST_M:
            continue
        cells = np.argwhere(label[where] == number) + [s.start for s in where]
        velocity = _velocity(cells, float(stood[number - 1]), older, dt_s)
        if velocity is not None:
            found.append(Cluster(cells, velocity * dt_s / CELL_M))
    return found


class _Padded:
    """An older step, with room around it for wherever a candidate velocity comes from, and by how many entries each one shifts."""

    def __init__(self, body_YX: FloatArray, ago_s: float) -> None:
        pad = int(np.ceil(FASTEST_MPS * ago_s / CELL_M)) + 1
        self.body = body_YX
        self._pad = pad
        self._flat = np.pad(body_YX, pad).ravel()
        self._width = body_YX.shape[1] + 2 * pad
        self._shift_V = _shifts(ago_s, self._width)

    def came_from(self, cells: NDArray[np.intp]) -> FloatArray:
        """(V,) mean occupancy where each candidate velocity says that the cells came from."""
        here = (cells[:, 0] + self._pad) * self._width + cells[:, 1] + self._pad
        sums: FloatArray = self._flat.take(here[:, None] - self._shift_V, mode="clip").sum(axis=0)  # all lie within the padding
        return sums / len(cells)


@lru_cache(maxsize=16)
def _shifts(ago_s: float, width: int) -> NDArray[np.intp]:
    """(V,) by how many entries of a grid of this width each candidate velocity moves in `ago_s`."""
    shift = np.rint(_CANDIDATES * np.float32(ago_s / CELL_M)).astype(np.intp)
    return shift[:, 0] * width + shift[:, 1]


def _velocity(cells: NDArray[np.intp], standing: float, older: list[_Padded], dt_s: float) -> FloatArray | None:
    """(2,) m/s along rows and columns; None = it stands. `standing`: how well that explains where it was, 0-1."""
    sample = cells[:: max(1, len(cells) // SAMPLES)]
    score = sum(step.came_from(sample) for step in older) / len(older) - 0.01 * _SPEEDS
    best = int(score.argmax())
    if score[best] <= standing + MARGIN:
        return None
    velocity = _refined(cells, _CANDIDATES[best], [step.body for step in older], dt_s)
    return velocity if SLOWEST_MPS <= np.hypot(*velocity) <= max(SMALL_MPS, PER_CELL_MPS * len(cells)) else None


def _refined(cells: NDArray[np.intp], velocity: FloatArray, older: list[FloatArray], dt_s: float) -> FloatArray:
    """(2,) m/s from the centres that the cluster had in the older steps."""
    centre, reach = cells.mean(axis=0), 0.5 * np.ptp(cells, axis=0) + REFINED_M / CELL_M
    lags_s, shifts = [], []
    for lag, body in enumerate(older, start=1):
        there = centre - lag * dt_s / CELL_M * velocity
        low = np.maximum(np.ceil(there - reach).astype(int), 0)
        high = np.floor(there + reach).astype(int) + 1
        patch = body[low[0] : max(high[0], 0), low[1] : max(high[1], 0)]
        if patch.sum() > 0.5:
            middle = np.array([patch.sum(axis=1 - axis) @ np.arange(patch.shape[axis]) for axis in (0, 1)]) / patch.sum()
            lags_s.append(lag * dt_s)
            shifts.append(CELL_M * (centre - low - middle))
    lag_s, shift = np.array(lags_s), np.array(shifts)
    return lag_s @ shift / (lag_s @ lag_s) if lags_s else velocity


def _changes(
    now_ZYX: FloatArray, clusters: list[Cluster], steps: list[int]
) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.float32]]:
    """((3, L) channel, row, column that something leaves, (4, A) step, channel, row, column where something arrives, (A,) how much)."""
    bands, size = range(len(now_ZYX)), np.array(now_ZYX.shape[1:])
    left = [np.zeros((0, 2), np.intp), *(cluster.cells for cluster in clusters)]
    leaving = np.concatenate([_entry(band, np.concatenate(left)) for band in bands], axis=1)
    # Where two clusters arrive in one place, the surer return counts.
    most: NDArray[np.float32] = np.zeros((len(steps), *now_ZYX.shape), np.float32)
    touched = np.zeros((len(steps), *now_ZYX.shape[1:]), bool)
    ahead = np.array(steps)[:, None, None] + 1
    for cluster in clusters:
        target = np.rint(cluster.cells + ahead * cluster.velocity).astype(np.intp)  # (S, N, 2)
        inside = ((target >= 0) & (target < size)).all(axis=2)
        k, cell = np.nonzero(inside)
        rows, cols = target[inside].T
        returns = now_ZYX[:, cluster.cells[cell, 0], cluster.cells[cell, 1]].T
        most[k, :, rows, cols] = np.maximum(most[k, :, rows, cols], returns)
        touched[k, rows, cols] = True
    step_index, rows, cols = np.nonzero(touched)
    arriving = [np.insert(_entry(band, np.stack([rows, cols], axis=1)), 0, step_index, axis=0) for band in bands]
    values = np.concatenate([most[step_index, band, rows, cols] for band in bands])
    some = values > 0
    return leaving, np.concatenate(arriving, axis=1)[:, some], values[some]


def _entry(band: int, cells: NDArray[np.intp]) -> NDArray[np.intp]:
    """(3, N) channel, row and column in the latents of a height band of (N, 2) cells, as pixel_unshuffle puts it."""
    rows, columns = cells.T
    return np.stack([4 * band + 2 * (rows % 2) + columns % 2, rows // 2, columns // 2])
