"""What moves goes on moving: clusters of stated returns are followed back through the aligned history and carried ahead.

A convolution that predicts a mean is poor at this: a person is a few cells of thousands, and where exactly it will be is spread over many.
So motion is not left to it alone.
Axes: B batch, T history step (oldest first), S future step, C stated channel, Z height band, Y row, X column of cells, V velocity.
"""

from __future__ import annotations

from dataclasses import dataclass
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
    """What moving clusters change in predicted stated channels, at token resolution."""

    keeps_BSCYX: Tensor  # share of what was predicted that stays
    arrives_BSCYX: Tensor  # what is there at least

    def onto(self, predicted_BSCYX: Tensor) -> Tensor:
        kept = predicted_BSCYX * self.keeps_BSCYX.to(predicted_BSCYX)
        arrives = self.arrives_BSCYX.to(predicted_BSCYX)
        return torch.where(arrives > 0, torch.maximum(kept, arrives), kept)


class Motion(nn.Module):
    """Carries moving clusters ahead; how far each step is to be trusted is learned with everything else."""

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
        masks = [_masks(past[-1], clusters, steps.tolist()) for past, clusters in zip(history, moving, strict=True)]
        arriving, leaving = (torch.from_numpy(np.stack(part)).to(self.arrives) for part in zip(*masks, strict=True))
        trust, gone = (weight[steps][None, :, None, None, None] for weight in (self.arrives, self.leaves))
        keeps = 1 - gone * leaving[:, None, None].expand(-1, -1, arriving.shape[2], -1, -1)
        return Carried(F.pixel_unshuffle(keeps, 2), F.pixel_unshuffle(GROUNDED_SCALE * trust * arriving, 2))


def find_clusters(body_TYX: FloatArray, dt_s: float) -> list[Cluster]:
    """What moves, of occupancy 0-1 of the last steps in one anchor frame, oldest first."""
    label, count = ndimage.label(body_TYX[-1] > 0.5, structure=np.ones((3, 3)))
    if not count or len(body_TYX) < 2:
        return []
    older = list(reversed(body_TYX[:-1]))
    found = []
    for number, where in enumerate(ndimage.find_objects(label), start=1):
        if max(s.stop - s.start for s in where) * CELL_M > LARGEST_M:
            continue
        cells = np.argwhere(label[where] == number) + [s.start for s in where]
        velocity = _velocity(cells, older, dt_s)
        if velocity is not None:
            found.append(Cluster(cells, velocity * dt_s / CELL_M))
    return found


def _velocity(cells: NDArray[np.intp], older: list[FloatArray], dt_s: float) -> FloatArray | None:
    """(2,) m/s along rows and columns; None = it stands."""
    sample = cells[:: max(1, len(cells) // SAMPLES)].astype(np.float32)
    standing = float(_found(sample, np.zeros((1, 2), np.float32), older, dt_s)[0])
    if standing >= STANDS:
        return None
    score = _found(sample, _CANDIDATES, older, dt_s) - 0.01 * _SPEEDS
    best = int(score.argmax())
    if score[best] <= standing + MARGIN:
        return None
    velocity = _refined(cells, _CANDIDATES[best], older, dt_s)
    return velocity if SLOWEST_MPS <= np.hypot(*velocity) <= max(SMALL_MPS, PER_CELL_MPS * len(cells)) else None


def _found(sample: FloatArray, velocity_V2: FloatArray, older: list[FloatArray], dt_s: float) -> FloatArray:
    """(V,) mean occupancy of the older steps where each velocity says that the cells came from."""
    found = np.zeros(len(velocity_V2))
    for lag, body in enumerate(older, start=1):
        came_from = np.rint(sample[None] - np.float32(lag * dt_s / CELL_M) * velocity_V2[:, None]).astype(np.intp)
        rows, columns = came_from[..., 0], came_from[..., 1]
        inside = (rows >= 0) & (rows < body.shape[0]) & (columns >= 0) & (columns < body.shape[1])
        found += (body[np.where(inside, rows, 0), np.where(inside, columns, 0)] * inside).mean(axis=1) / len(older)
    return found


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
            at = np.array(np.meshgrid(*(np.arange(size) for size in patch.shape), indexing="ij"))
            lags_s.append(lag * dt_s)
            shifts.append(CELL_M * (centre - low - (at * patch).sum(axis=(1, 2)) / patch.sum()))
    lag_s, shift = np.array(lags_s), np.array(shifts)
    return lag_s @ shift / (lag_s @ lag_s) if lags_s else velocity


def _masks(now_ZYX: FloatArray, clusters: list[Cluster], steps: list[int]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """((S, Z, Y, X) what arrives where at each step, (Y, X) 1 where something leaves or lately left)."""
    arriving = np.zeros((len(steps), *now_ZYX.shape), np.float32)
    leaving = np.zeros(now_ZYX.shape[1:], np.float32)
    size: NDArray[np.intp] = np.array(leaving.shape)
    for cluster in clusters:
        columns = now_ZYX[:, cluster.cells[:, 0], cluster.cells[:, 1]]
        leaving[cluster.cells[:, 0], cluster.cells[:, 1]] = 1
        for k, step in enumerate(steps):
            target = np.rint(cluster.cells + (step + 1) * cluster.velocity).astype(np.intp)
            inside = ((target >= 0) & (target < size)).all(axis=1)
            rows, cols = target[inside].T
            arriving[k, :, rows, cols] = np.maximum(arriving[k, :, rows, cols], columns[:, inside].T)
    return arriving, leaving


_AXIS = np.arange(-FASTEST_MPS, FASTEST_MPS + STEP_MPS / 2, STEP_MPS, dtype=np.float32)
_CANDIDATES = np.stack(np.meshgrid(_AXIS, _AXIS, indexing="ij"), axis=-1).reshape(-1, 2)
_SPEEDS = np.hypot(*_CANDIDATES.T)
