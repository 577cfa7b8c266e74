"""People as the planner sees them: for each person a small Gaussian mixture over (x, y) at every step, in the planning frame.

Axes: P person, K mode, T time, Y/X grid rows and columns, S path, F fine time, Q quasi-random sample.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from jepa_ros.planning.scene import PlanningScene
from jepa_ros.types import GridSpec

MAX_MODES = 6  # most likely modes used for planning; the rest of the mixture is given to them in proportion
TRACK_SIGMA_M = 0.1  # how well a person's present position is known
FORECAST_SIGMA_M = 0.05  # forecasters take tracks for exact; with this, what a 90 % region should hold at 0.4 s it holds
QUASI_SAMPLES = 128
FARTHEST_DRAW = 4.0  # no quasi-normal of that set is longer
DRAWS_AT_ONCE = 2048  # times QUASI_SAMPLES floats stay in the cache


@dataclass(frozen=True)
class PeopleFuture:
    """Mixtures at given times. A deviation from a mode's mean is one draw for the whole path, as in PedestrianForecast.sample."""

    means_PKT2: Tensor  # m
    covariances_PKT3: Tensor  # xx, xy, yy in m^2
    weights_PK: Tensor  # probability of the mode times that of the person's existence
    radii_P: Tensor  # m
    times_s: Tensor  # (T,) after the forecast's stamp

    def at(self, times_s: Tensor) -> PeopleFuture:
        """The same mixtures at other times: linear between steps, held after the last."""
        last = len(self.times_s) - 1
        after = torch.searchsorted(self.times_s, times_s).clamp(1, last)
        share = ((times_s - self.times_s[after - 1]) / (self.times_s[after] - self.times_s[after - 1])).clamp(0.0, 1.0)[:, None]
        means = torch.lerp(self.means_PKT2[:, :, after - 1], self.means_PKT2[:, :, after], share)
        covariances = torch.lerp(self.covariances_PKT3[:, :, after - 1], self.covariances_PKT3[:, :, after], share)
        return PeopleFuture(means, covariances, self.weights_PK, self.radii_P, times_s)

    def select(self, keep_P: Tensor) -> PeopleFuture:
        """Only some of the people."""
        return PeopleFuture(
            self.means_PKT2[keep_P], self.covariances_PKT3[keep_P], self.weights_PK[keep_P], self.radii_P[keep_P], self.times_s
        )


def people_future(scene: PlanningScene, robot_radius_m: float) -> PeopleFuture:
    """Everybody in the scene, moved from odom into the anchor frame, with the present as the first step.

    A "person" whose centre lies inside the robot is no person (a robot sees parts of itself) and is left out.
    """
    forecast, people, anchor_from_odom = scene.moving.forecast, scene.moving, scene.anchor_from_odom
    rotation, shift = anchor_from_odom[:2, :2], anchor_from_odom[:2, 3]
    order = np.argsort(-forecast.probabilities, axis=1)[:, :MAX_MODES]
    row = np.arange(len(order))[:, None]
    modes_PKH2 = forecast.modes_m[row, order] @ rotation.T + shift
    covariances_PKH22 = rotation @ forecast.covariances_m2[row, order] @ rotation.T
    probabilities_PK = forecast.probabilities[row, order]
    probabilities_PK = probabilities_PK / probabilities_PK.sum(axis=1, keepdims=True).clip(min=1e-9)
    now_P2 = people.positions_m.reshape(-1, 2) @ rotation.T + shift
    now_PK12 = np.broadcast_to(now_P2[:, None, None], (*order.shape, 1, 2))
    means = np.concatenate((now_PK12, modes_PKH2), axis=2)
    flat = np.stack((covariances_PKH22[..., 0, 0], covariances_PKH22[..., 0, 1], covariances_PKH22[..., 1, 1]), axis=-1)
    flat = flat + np.array([FORECAST_SIGMA_M**2, 0.0, FORECAST_SIGMA_M**2])
    now_flat = np.broadcast_to(np.array([TRACK_SIGMA_M**2, 0.0, TRACK_SIGMA_M**2]), (*order.shape, 1, 3))
    future = PeopleFuture(
        torch.as_tensor(means, dtype=torch.float32),
        torch.as_tensor(np.concatenate((now_flat, flat), axis=2), dtype=torch.float32),
        torch.as_tensor(probabilities_PK * people.existence[:, None], dtype=torch.float32),
        torch.as_tensor(people.radii_m, dtype=torch.float32),
        torch.as_tensor(np.concatenate(([0.0], forecast.times_s)), dtype=torch.float32),
    )
    ego_2 = (anchor_from_odom @ scene.ego.odom_from_base)[:2, 3]
    outside = np.linalg.norm(now_P2 - ego_2, axis=1) > robot_radius_m
    return future if outside.all() else future.select(torch.as_tensor(outside))


def expected_contacts(future: PeopleFuture, grid: GridSpec, reach_m: float, personal_space_m: float, personal_weight: float) -> Tensor:
    """(T, Y, X): the expected number of people that a disc of radius `reach_m` at a cell's centre touches, plus `personal_weight` times
    the expected number within `personal_space_m` of that.

    For speed the mass of each Gaussian within the disc is taken as that within the square of equal area, with its marginal deviations:
    a product of one factor per axis, so that all people, modes and steps become one batched matrix product. The sum over people bounds
    the probability of any contact from above. What a finished plan is judged by is `contact_probability`, which does neither.
    """
    x_X = grid.origin_m[0] + grid.resolution_m * (torch.arange(grid.columns) + 0.5)
    y_Y = grid.origin_m[1] + grid.resolution_m * (torch.arange(grid.rows) + 0.5)
    steps = future.means_PKT2.shape[2]
    centres_TG2 = future.means_PKT2.flatten(0, 1).transpose(0, 1)
    sigmas_TG2 = future.covariances_PKT3[..., [0, 2]].flatten(0, 1).transpose(0, 1).clamp(min=1e-6).sqrt()
    radii_G = (reach_m + future.radii_P)[:, None].expand_as(future.weights_PK).flatten()
    weights_G = future.weights_PK.flatten()
    total_TYX = torch.zeros(steps, grid.rows, grid.columns)
    for margin_m, weight in ((0.0, 1.0), (personal_space_m, personal_weight)):
        if weight == 0.0:
            continue
        half_side_G1 = (0.5 * math.sqrt(math.pi)) * (radii_G + margin_m)[:, None]
        along_x = _interval_mass(x_X, centres_TG2[..., 0, None], sigmas_TG2[..., 0, None], half_side_G1)
        along_y = _interval_mass(y_Y, centres_TG2[..., 1, None], sigmas_TG2[..., 1, None], half_side_G1)
        total_TYX += torch.bmm((along_y * (weight * weights_G)[:, None]).transpose(1, 2), along_x)
    return total_TYX


def _interval_mass(at: Tensor, centre: Tensor, sigma: Tensor, half_width: Tensor) -> Tensor:
    """Mass of normals within +-half_width of each point."""
    scale = 1.0 / (math.sqrt(2.0) * sigma)
    offset = at - centre
    return 0.5 * (torch.erf((offset + half_width) * scale) - torch.erf((offset - half_width) * scale))


def contact_probability(future: PeopleFuture, path_SF2: Tensor, robot_radius_m: float) -> Tensor:
    """(S,): probability that each path touches anybody; `future` is given at the F times of the paths.

    Each mode is drawn as whole paths, its deviation one standard normal for all steps (as the forecast defines its samples), on a fixed
    low-discrepancy set; a person's modes add up by their weights; people are independent. Ignores that people react to the robot.
    """
    paths, people, modes = len(path_SF2), *future.weights_PK.shape
    xx, xy, yy = future.covariances_PKT3.unbind(-1)
    reach_P = robot_radius_m + future.radii_P
    # No draw lies further out than this: all other times of all other modes need no look. N counts what is left.
    bound_PKF = reach_P[:, None, None] + FARTHEST_DRAW * (xx + yy).sqrt()
    offset_SPKF2 = path_SF2[:, None, None] - future.means_PKT2
    near_SPKF = offset_SPKF2.square().sum(-1) < bound_PKF.square()
    path_N, person_N, mode_N, time_N = near_SPKF.nonzero().unbind(-1)
    x_N, y_N = offset_SPKF2[near_SPKF].unbind(-1)
    # Cholesky factor of the 2 x 2 covariances, closed form.
    a_PKF = xx.clamp(min=1e-9).sqrt()
    b_PKF = xy / a_PKF
    c_PKF = (yy - b_PKF * b_PKF).clamp(min=0.0).sqrt()
    a_N, b_N, c_N = (factor_PKF[person_N, mode_N, time_N] for factor_PKF in (a_PKF, b_PKF, c_PKF))
    # Draws of one mode of one person along one path, M in all, share a row of hits.
    mode_ids_M, row_N = torch.unique_consecutive((path_N * people + person_N) * modes + mode_N, return_inverse=True)
    hits_MQ = path_SF2.new_zeros(len(mode_ids_M), QUASI_SAMPLES)
    normal_2Q = _quasi_normals(QUASI_SAMPLES).T.contiguous()
    reach_sq_N = reach_P[person_N].square()
    for part in torch.arange(len(path_N)).split(DRAWS_AT_ONCE):
        dx = x_N[part, None] - a_N[part, None] * normal_2Q[0]
        dy = y_N[part, None] - b_N[part, None] * normal_2Q[0] - c_N[part, None] * normal_2Q[1]
        hits_MQ.index_add_(0, row_N[part], (dx.square_() + dy.square_() < reach_sq_N[part, None]).float())
    hit_M = (hits_MQ > 0).float().mean(-1) * future.weights_PK.flatten()[mode_ids_M % (people * modes)]
    hit_SP = path_SF2.new_zeros(paths * people).index_add_(0, mode_ids_M // modes, hit_M).view(paths, people)
    return 1.0 - (1.0 - hit_SP.clamp(max=1.0)).prod(dim=1)


@lru_cache(maxsize=4)
def _quasi_normals(count: int) -> Tensor:
    """(count, 2) standard normals from the R2 sequence (Roberts 2018) by Box-Muller: evenly spread, the same in every run."""
    index = np.arange(1, count + 1)
    plastic = 1.32471795724474602596
    u = (0.5 + index / plastic) % 1.0
    v = (0.5 + index / plastic**2) % 1.0
    radius = np.sqrt(-2.0 * np.log(1.0 - u))
    return torch.as_tensor(np.stack((radius * np.cos(2 * np.pi * v), radius * np.sin(2 * np.pi * v)), -1), dtype=torch.float32)
