"""Forecasts of tracked objects on the grid of the occupancy, and both together: the occupancy that is published.

A world model predicts the whole scene at once, so a person, a few cells of thousands, is spread over many. Trackers and forecasters know
better where each one will be. Here their forecasts become a probability for each cell. `jepa_ros.occupancy` learns how to read both;
where it cannot be used, the higher of the two counts (`with_movers`): both speak of the same body.

Axes: M component (one tile of one object under one mode), H time, Y/X grid rows and columns.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from jepa_ros.lazy import replaced
from jepa_ros.objects.scene.objects import Movers, SceneObject, objects_of
from jepa_ros.objects.scene.stands import bodies_of, cells_around, movers_among, unexplained
from jepa_ros.types import FloatArray, GridSpec, OccupancyForecast, SceneState

REACH_M = 0.1  # returns of a body fall so far outside its box: limbs, and boxes that are too small
TILE_M = 0.7  # an object is a grid of squares of about this side
LEAST = 0.02  # modes of less probability are left out
LEAST_STD_M = 0.05
AFTER_LAST_S = 1e-3  # rounding; further than that after the last forecast nothing is known of anybody
WINDOW = 12  # cells to each side of a component's middle; the rest of its distribution is left out


def with_movers(state: SceneState) -> SceneState:
    """The same state, its occupancy joined with the forecasts of everybody and of the vehicles that surely drive.

    The occupancy of now stays as it was seen.
    """
    occupancy = state.occupancy
    if occupancy.probability.size == 0 or occupancy.from_latents is not None:
        return state
    shares_HYX = shares_of(state)
    if shares_HYX is None:
        return state
    joined = occupancy.probability.copy()
    joined[1:] = np.maximum(joined[1:], shares_HYX)
    stands = _beside(occupancy, movers_among(objects_of(state)), shares_HYX, state.anchor_pose)
    return replaced(state, occupancy=replace(occupancy, probability=joined, from_latents=stands))


def standing_beside(occupancy: OccupancyForecast, things: Sequence[SceneObject], odom_from_anchor: FloatArray) -> OccupancyForecast:
    """What stands beside these objects, which need not be those that the occupancy was made with: a tracker of somebody else's, or a
    sweep earlier or later."""
    movers, times_s, alone = movers_among(things), np.asarray(occupancy.times_s)[1:], occupancy.probability
    shares_HYX = _shares_at(movers, times_s, occupancy.grid, odom_from_anchor) if alone.size else None
    if shares_HYX is not None:
        alone = _beside(occupancy, movers, shares_HYX, odom_from_anchor)
    return replace(occupancy, probability=alone, from_latents=None)


def _beside(
    occupancy: OccupancyForecast, movers: Sequence[SceneObject], shares_HYX: FloatArray, odom_from_anchor: FloatArray
) -> NDArray[np.float32]:
    """(H + 1, Y, X) what the movers do not explain; nothing where they are now, since a model that knows nobody leaves them there."""
    stands = occupancy.probability.copy()
    stands[1:] = unexplained(torch.from_numpy(stands[1:]), torch.from_numpy(shares_HYX)).numpy()
    stands[:, cells_around(bodies_of(movers, odom_from_anchor), occupancy.grid)] = 0.0
    return stands


def shares_of(state: SceneState) -> FloatArray | None:
    """`forecast_shares` on the grid and at the steps of a state's occupancy."""
    occupancy = state.occupancy
    return forecast_shares(state, np.asarray(occupancy.times_s)[1:], occupancy.grid, state.anchor_pose)


def forecast_shares(movers: Movers | SceneState, times_s: FloatArray, grid: GridSpec, odom_from_anchor: FloatArray) -> FloatArray | None:
    """(H, Y, X) float32 `mover_cells` of everybody and of the vehicles that surely drive, at times after now, (H,); 0 later than the
    forecasts reach. None where nothing is forecast."""
    return _shares_at(movers_among(objects_of(movers)), times_s, grid, odom_from_anchor)


def _shares_at(things: Sequence[SceneObject], times_s: FloatArray, grid: GridSpec, odom_from_anchor: FloatArray) -> FloatArray | None:
    if not things or not len(times_s):
        return None
    known = times_s <= max(thing.times_s[-1] for thing in things) + AFTER_LAST_S
    if not known.any():
        return None
    shares_HYX = np.zeros((len(times_s), grid.rows, grid.columns), np.float32)
    shares_HYX[known] = mover_cells([thing.at(times_s[known]) for thing in things], grid, odom_from_anchor)
    return shares_HYX


def without_movers(occupancy: OccupancyForecast) -> OccupancyForecast:
    """What stands, for those who take what moves from the objects of the same stamp."""
    alone = occupancy.from_latents
    return occupancy if alone is None else replace(occupancy, probability=alone, from_latents=None)


def mover_cells(objects: Sequence[SceneObject], grid: GridSpec, odom_from_anchor: FloatArray) -> FloatArray:
    """(H, Y, X) float32 probability that a return of one of the objects falls in each cell, at each time of their forecasts."""
    means_HM, stds_HM, halves_M, weights_M = _components(objects, odom_from_anchor)
    columns_HMX, rows_HMY = (
        _shares(means_HM[axis], stds_HM[axis], halves_M, grid.origin_m[axis], grid.resolution_m, count)
        for axis, count in enumerate((grid.columns, grid.rows))
    )
    total_HYX = (rows_HMY * weights_M[:, None]).transpose(1, 2) @ columns_HMX
    return total_HYX.clamp_(max=1.0).numpy()


def _shares(mean_HM: Tensor, std_HM: Tensor, half_M: Tensor, first_m: float, cell_m: float, count: int) -> Tensor:
    """(H, M, count) probability that the middle of each cell along one axis lies within a tile."""
    width = 2 * WINDOW + 1
    scale_HM = 1.0 / (math.sqrt(2.0) * std_HM)
    middle_HM = torch.floor((mean_HM - first_m) / cell_m)
    offset_HM = (first_m + cell_m * (middle_HM + 0.5) - mean_HM) * scale_HM
    offset_HMW = torch.addcmul(offset_HM[..., None], (cell_m * scale_HM)[..., None], torch.arange(width) - WINDOW)
    half_HM1 = (half_M * scale_HM)[..., None]
    share_HMW = 0.5 * (torch.erf(offset_HMW + half_HM1) - torch.erf(offset_HMW - half_HM1))
    # A window's width more to both sides, which takes what lies beyond the grid.
    whole_HMC = torch.zeros(*mean_HM.shape, count + 2 * width)
    first_HM = (middle_HM + (width - WINDOW)).clamp_(0, count + width).nan_to_num_(nan=0.0).long()
    whole_HMC.scatter_(2, first_HM[..., None] + torch.arange(width), share_HMW)
    return whole_HMC[..., width : width + count]


def _components(objects: Sequence[SceneObject], odom_from_anchor: FloatArray) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The tiles of all objects under all their modes K, in the anchor frame: (2, H, M) means and standard deviations along x and y,
    (M,) half sides and (M,) weights."""
    turn, steps = odom_from_anchor[:2, :2], objects[0].poses.shape[1]
    kept = [thing.probabilities >= LEAST for thing in objects]
    each = list(zip(objects, kept, strict=True))
    poses_KH3 = np.concatenate([thing.poses[modes] for thing, modes in each])
    covariances = np.concatenate([thing.covariances_m2[modes, :steps] for thing, modes in each])
    weights_K = np.concatenate([thing.probabilities[modes] * thing.existence for thing, modes in each])
    sizes = np.stack([thing.box[3:5] for thing in objects]) + 2 * REACH_M
    pieces = np.maximum(1, np.rint(sizes / TILE_M)).astype(int)
    sides = sizes / pieces
    owner_K = np.repeat(np.arange(len(objects)), [modes.sum() for modes in kept])
    count_K = pieces.prod(axis=1)[owner_K]
    mode_M = np.repeat(np.arange(len(owner_K)), count_K)
    owner_M, number_M = owner_K[mode_M], np.arange(len(mode_M)) - np.repeat(np.cumsum(count_K) - count_K, count_K)
    tile_M2 = np.stack((number_M % pieces[owner_M, 0], number_M // pieces[owner_M, 0]), axis=1)  # along the box, across it
    along, across = (sides[owner_M] * (tile_M2 + 0.5 - 0.5 * pieces[owner_M])).T
    x, y = np.moveaxis((poses_KH3[..., :2] - odom_from_anchor[:2, 3]) @ turn, -1, 0)
    cos, sin = np.moveaxis(np.stack((np.cos(poses_KH3[..., 2]), np.sin(poses_KH3[..., 2])), axis=-1) @ turn, -1, 0)
    x, y, cos, sin = (values.T[:, mode_M] for values in (x, y, cos, sin))
    means = np.stack((x + along * cos - across * sin, y + along * sin + across * cos))
    variances_K = [np.einsum("khij,i,j->hk", covariances, axis, axis) for axis in turn.T]
    stds = np.sqrt(np.maximum(variances_K, LEAST_STD_M**2))[..., mode_M]
    halves_M = 0.5 * np.sqrt(sides.prod(axis=1))[owner_M]
    return _tensor(means), _tensor(stds), _tensor(halves_M), _tensor(weights_K[mode_M])


def _tensor(values: FloatArray) -> Tensor:
    return torch.from_numpy(values).float()
