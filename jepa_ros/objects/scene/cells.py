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
from torch import Tensor

from jepa_ros.lazy import replaced
from jepa_ros.objects.scene.objects import SceneObject, objects_of
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
    return replaced(state, occupancy=replace(occupancy, probability=joined, from_latents=occupancy.probability))


def shares_of(state: SceneState) -> FloatArray | None:
    """(H, Y, X) `mover_cells` of everybody and of the vehicles that surely drive, at the steps of the occupancy after now; 0 later than
    the forecasts reach. None where nothing is forecast."""
    occupancy = state.occupancy
    things = [thing for thing in objects_of(state) if thing.kind != "vehicle" or thing.surely_drives]
    times_s = np.asarray(occupancy.times_s)[1:]
    if not things or not len(times_s):
        return None
    known = times_s <= max(thing.times_s[-1] for thing in things) + AFTER_LAST_S
    if not known.any():
        return None
    shares_HYX = np.zeros_like(occupancy.probability[1:])
    shares_HYX[known] = mover_cells([thing.at(times_s[known]) for thing in things], occupancy.grid, state.anchor_pose)
    return shares_HYX


def without_movers(occupancy: OccupancyForecast) -> OccupancyForecast:
    """What the world model predicts alone, for subscribers that take tracked objects from their own forecasts."""
    alone = occupancy.from_latents
    return occupancy if alone is None else replace(occupancy, probability=alone, from_latents=None)


def mover_cells(objects: Sequence[SceneObject], grid: GridSpec, odom_from_anchor: FloatArray) -> FloatArray:
    """(H, Y, X) float32 probability that a return of one of the objects falls in each cell, at each time of their forecasts."""
    parts = [_components(thing) for thing in objects]
    means, covariances, halves, weights = (np.concatenate(column) for column in zip(*parts, strict=True))
    turn = odom_from_anchor[:2, :2]
    means_MH2 = torch.from_numpy((means - odom_from_anchor[:2, 3]) @ turn).float()
    variances_MH2 = np.stack([np.einsum("mhij,i,j->mh", covariances, axis, axis) for axis in turn.T], axis=-1)
    std_MH2 = torch.from_numpy(np.sqrt(np.maximum(variances_MH2, LEAST_STD_M**2))).float()
    halves_M, weights_M = torch.from_numpy(halves).float(), torch.from_numpy(weights).float()
    columns, rows = (
        _shares(means_MH2[..., axis], std_MH2[..., axis], halves_M, first_m, grid.resolution_m, count)
        for axis, first_m, count in ((0, grid.origin_m[0], grid.columns), (1, grid.origin_m[1], grid.rows))
    )
    total_HYX = (rows * weights_M[:, None, None]).permute(1, 2, 0) @ columns.permute(1, 0, 2)
    return total_HYX.clamp_(max=1.0).numpy()


def _shares(mean_MH: Tensor, std_MH: Tensor, half_M: Tensor, first_m: float, cell_m: float, count: int) -> Tensor:
    """(M, H, count) probability that the middle of each cell along one axis lies within a tile."""
    first_MH = torch.floor((mean_MH - first_m) / cell_m) - WINDOW
    cells_MHW = first_MH[..., None] + torch.arange(2 * WINDOW + 1)
    edges = (first_m + cell_m * (cells_MHW + 0.5) - mean_MH[..., None]) / (math.sqrt(2.0) * std_MH[..., None])
    half = (half_M[:, None] / (math.sqrt(2.0) * std_MH))[..., None]
    share = 0.5 * (torch.erf(edges + half) - torch.erf(edges - half))
    inside = (cells_MHW >= 0) & (cells_MHW < count)
    whole = torch.zeros(*mean_MH.shape, count + 1)  # the last entry takes what lies beyond the grid
    whole.scatter_(2, torch.where(inside, cells_MHW, count).long(), share)
    return whole[..., :count]


def _components(thing: SceneObject) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
    """(M, H, 2) means and (M, H, 2, 2) covariances in odom, (M,) half sides and (M,) weights of an object's tiles under its modes."""
    kept = thing.probabilities >= LEAST
    poses_KH3, covariances = thing.poses[kept], thing.covariances_m2[kept, : thing.poses.shape[1]]
    size = thing.box[3:5] + 2 * REACH_M
    pieces = np.maximum(1, np.rint(size / TILE_M)).astype(int)
    tile = size / pieces
    axes = [side * (np.arange(count) + 0.5 - count / 2) for side, count in zip(tile, pieces, strict=True)]
    along, across = (axis.ravel() for axis in np.meshgrid(*axes))
    cos, sin = np.cos(poses_KH3[:, None, :, 2]), np.sin(poses_KH3[:, None, :, 2])
    offsets = np.stack((cos * along[:, None] - sin * across[:, None], sin * along[:, None] + cos * across[:, None]), axis=-1)
    means = poses_KH3[:, None, :, :2] + offsets
    modes, count, steps = means.shape[:3]
    return (
        means.reshape(-1, steps, 2),
        np.repeat(covariances, count, axis=0),
        np.full(modes * count, 0.5 * math.sqrt(tile[0] * tile[1])),
        np.repeat(thing.probabilities[kept] * thing.existence, count),
    )
