"""People and vehicles as the planner sees them: for each a small Gaussian mixture over (x, y) at every step, in the planning frame.

People are discs; cyclists and vehicles are boxes, turned as they drive. A robot that is a disc touches a box where its centre comes nearer
to the box than its radius; one that is a polygon where the two overlap, at its own heading. Both are exact, corners and all.

Axes: P person (or cyclist, or vehicle), K mode, T time, Y/X grid rows and columns, S path, F fine time, Q quasi-random sample.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from jepa_ros.planning.footprint import Footprint
from jepa_ros.planning.footprint.contact import meets_box, meets_disc
from jepa_ros.planning.scene import Moving, PlanningScene
from jepa_ros.types import FloatArray, GridSpec

MAX_MODES = 6  # most likely modes used for planning; the rest of the mixture is given to them in proportion
TRACK_SIGMA_M = 0.1  # how well a person's present position is known
FORECAST_SIGMA_M = 0.05  # forecasters take tracks for exact; with this, what a 90 % region should hold at 0.4 s it holds
UNLIKELY = 0.01  # modes of boxes below this cost nothing: each is laid over the whole grid
FOLLOWS_WITHIN_RAD = math.pi / 4  # of the robot's heading; whoever crosses behind it does not follow
HALF_LANE_M = 1.75  # lanes of urban roads are 3 to 3.75 m wide (RASt 06, AASHTO Green Book)
Shapes: TypeAlias = "tuple[Tensor | None, Tensor | None, Tensor | None]"  # halves_P2, yaws_PKT, vehicles_P of PeopleFuture
QUASI_SAMPLES = 128
FARTHEST_DRAW = 4.0  # no quasi-normal of that set is longer
DRAWS_AT_ONCE = 2048  # times QUASI_SAMPLES floats stay in the cache


@dataclass(frozen=True)
class PeopleFuture:
    """Mixtures at given times. A deviation from a mode's mean is one draw for the whole path, as in PedestrianForecast.sample."""

    means_PKT2: Tensor  # m
    covariances_PKT3: Tensor  # xx, xy, yy in m^2
    weights_PK: Tensor  # probability of the mode times that of the person's existence
    radii_P: Tensor  # m; 0 for boxes
    times_s: Tensor  # (T,) after the forecast's stamp
    halves_P2: Tensor | None = None  # m, half the length and width of boxes, 0 for discs; None = all are discs
    yaws_PKT: Tensor | None = None  # rad; None with `halves_P2`
    vehicles_P: Tensor | None = None  # bool: which do not step aside for whoever stops in their way; None with `halves_P2`
    follows_P: Tensor | None = None  # bool: which drive behind the robot in its lane, and keep their distance; None with `halves_P2`
    kept_P: Tensor | None = None  # m beyond their bodies in which a robot touches them, too, by somebody's wish; None = nothing

    @property
    def boxed_P(self) -> Tensor:
        """Which are boxes."""
        return torch.zeros(len(self.radii_P), dtype=torch.bool) if self.halves_P2 is None else (self.halves_P2 > 0).any(-1)

    @property
    def round_P(self) -> Tensor:
        """(P,) m, how far each reaches beyond its middle or box, what is kept from it included."""
        return self.radii_P if self.kept_P is None else self.radii_P + self.kept_P

    @property
    def reach_P(self) -> Tensor:
        """(P,) m, from the middle of each to its furthest point."""
        return self.round_P if self.halves_P2 is None else self.round_P + self.halves_P2.norm(dim=-1)

    def at(self, times_s: Tensor) -> PeopleFuture:
        """The same mixtures at other times: linear between steps, held after the last."""
        last = len(self.times_s) - 1
        after = torch.searchsorted(self.times_s, times_s).clamp(1, last)
        share = ((times_s - self.times_s[after - 1]) / (self.times_s[after] - self.times_s[after - 1])).clamp(0.0, 1.0)[:, None]
        means = torch.lerp(self.means_PKT2[:, :, after - 1], self.means_PKT2[:, :, after], share)
        covariances = torch.lerp(self.covariances_PKT3[:, :, after - 1], self.covariances_PKT3[:, :, after], share)
        yaws = self.yaws_PKT
        if yaws is not None:
            turn = torch.remainder(yaws[:, :, after] - yaws[:, :, after - 1] + math.pi, 2 * math.pi) - math.pi
            yaws = yaws[:, :, after - 1] + share[:, 0] * turn
        return PeopleFuture(
            means, covariances, self.weights_PK, self.radii_P, times_s, self.halves_P2, yaws, self.vehicles_P, self.follows_P, self.kept_P
        )

    def select(self, keep_P: Tensor) -> PeopleFuture:
        """Only some of them."""
        shapes = (
            None if part is None else part[keep_P] for part in (self.halves_P2, self.yaws_PKT, self.vehicles_P, self.follows_P, self.kept_P)
        )
        parts = (self.means_PKT2[keep_P], self.covariances_PKT3[keep_P], self.weights_PK[keep_P], self.radii_P[keep_P])
        return PeopleFuture(*parts, self.times_s, *shapes)


def people_future(scene: PlanningScene, robot: Footprint | float) -> PeopleFuture:
    """All people of the scene in the anchor frame, with the present as the first step. robot: a number is a radius, m.

    A "person" whose centre lies inside the robot is no person (a robot sees parts of itself) and is left out.
    """
    forecast, people, anchor_from_odom, footprint = scene.moving.forecast, scene.moving, scene.anchor_from_odom, Footprint.of(robot)
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
        *_shapes(people, row, order, float(np.arctan2(rotation[1, 0], rotation[0, 0]))),
        kept_P=None if people.kept_m is None else torch.as_tensor(people.kept_m, dtype=torch.float32),
    )
    anchor_from_base = anchor_from_odom @ scene.ego.odom_from_base
    if future.halves_P2 is not None:
        future = replace(future, follows_P=_following(future, anchor_from_base, footprint))
    ego_2 = anchor_from_base[:2, 3]
    if footprint.is_round:
        outside = np.linalg.norm(now_P2 - ego_2, axis=1) > np.where(future.boxed_P.numpy(), 0.0, footprint.radius_m)
    else:
        there_P2 = torch.as_tensor((now_P2 - ego_2) @ anchor_from_base[:2, :2])
        outside = future.boxed_P.numpy() | (footprint.gap_squared(there_P2[:, 0], there_P2[:, 1]).numpy() > 0.0)
    return future if outside.all() else future.select(torch.as_tensor(outside))


def _shapes(moving: Moving, row: NDArray[np.intp], order: NDArray[np.intp], turn_rad: float) -> Shapes:
    """Half sides, headings of the chosen modes with the present as the first step, and who is a vehicle; None where all are discs."""
    if moving.boxes is None:
        return None, None, None
    ahead_PKH = moving.boxes.headings[row, order]
    now_PK1 = np.broadcast_to(moving.boxes.yaws[:, None, None], (*order.shape, 1))
    yaws_PKT = np.concatenate((now_PK1, ahead_PKH), axis=2) + turn_rad
    halves_P2 = torch.as_tensor(moving.boxes.halves_m, dtype=torch.float32)
    return halves_P2, torch.as_tensor(yaws_PKT, dtype=torch.float32), torch.as_tensor(moving.boxes.vehicles)


def _following(future: PeopleFuture, anchor_from_base: FloatArray, footprint: Footprint) -> Tensor:
    """(P,) which vehicles drive behind the robot, in its lane and in its direction.

    Whoever drives behind keeps the distance (Shalev-Shwartz, Shammah and Shashua, On a formal model of safe and scalable self-driving cars,
    2017, rule 1). Forecasts do not react to the robot: under them every follower would run into a robot that slows down, and no plan of
    a car in traffic would be safe.
    """
    assert future.halves_P2 is not None
    assert future.yaws_PKT is not None
    assert future.vehicles_P is not None
    ahead_2 = torch.as_tensor(anchor_from_base[:2, 0], dtype=torch.float32)
    ahead_2 = ahead_2 / ahead_2.norm()
    offset_P2 = future.means_PKT2[:, 0, 0] - torch.as_tensor(anchor_from_base[:2, 3], dtype=torch.float32)
    along_P, across_P = offset_P2 @ ahead_2, offset_P2 @ torch.stack((-ahead_2[1], ahead_2[0]))
    yaw_P = future.yaws_PKT[:, 0, 0]
    same_way_P = torch.stack((yaw_P.cos(), yaw_P.sin()), -1) @ ahead_2 > math.cos(FOLLOWS_WITHIN_RAD)
    behind_P = along_P < -(footprint.behind_m + future.halves_P2[:, 0])
    same_lane_P = across_P.abs() < (footprint.beside_m + future.halves_P2[:, 1]).clamp(min=HALF_LANE_M)
    return future.vehicles_P & behind_P & same_way_P & same_lane_P


def expected_contacts(future: PeopleFuture, grid: GridSpec, reach_m: float, personal_space_m: float, personal_weight: float) -> Tensor:
    """(T, Y, X): the expected number of people that a disc of radius `reach_m` at a cell's centre touches, plus `personal_weight` times
    the expected number within `personal_space_m` of that.

    For speed the mass of each Gaussian within the disc is taken as that within the square of equal area, with its marginal deviations:
    a product of one factor per axis, so that all people, modes and steps become one batched matrix product. The sum over people bounds
    the probability of any contact from above. What a finished plan is judged by is `contact_probability`, which does neither.
    """
    boxed_P = future.boxed_P
    if boxed_P.any():
        discs_TYX = expected_contacts(future.select(~boxed_P), grid, reach_m, personal_space_m, personal_weight)
        return discs_TYX + _box_contacts(future.select(boxed_P), grid, reach_m, personal_space_m, personal_weight)
    x_X = grid.origin_m[0] + grid.resolution_m * (torch.arange(grid.columns) + 0.5)
    y_Y = grid.origin_m[1] + grid.resolution_m * (torch.arange(grid.rows) + 0.5)
    steps = future.means_PKT2.shape[2]
    centres_TG2 = future.means_PKT2.flatten(0, 1).transpose(0, 1)
    sigmas_TG2 = future.covariances_PKT3[..., [0, 2]].flatten(0, 1).transpose(0, 1).clamp(min=1e-6).sqrt()
    radii_G = (reach_m + future.round_P)[:, None].expand_as(future.weights_PK).flatten()
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


def _box_contacts(future: PeopleFuture, grid: GridSpec, reach_m: float, personal_space_m: float, personal_weight: float) -> Tensor:
    """The same of boxes: the mass of each Gaussian within the box grown by the reach, along and across it with its marginal deviations."""
    x_X = grid.origin_m[0] + grid.resolution_m * (torch.arange(grid.columns) + 0.5)
    y_Y = grid.origin_m[1] + grid.resolution_m * (torch.arange(grid.rows) + 0.5)
    total_TYX = torch.zeros(future.means_PKT2.shape[2], grid.rows, grid.columns)
    assert future.halves_P2 is not None
    assert future.yaws_PKT is not None
    for person, mode in (future.weights_PK >= UNLIKELY).nonzero().tolist():
        mean_T2, yaw_T11 = future.means_PKT2[person, mode], future.yaws_PKT[person, mode][:, None, None]
        xx_T11, xy_T11, yy_T11 = (term[:, None, None] for term in future.covariances_PKT3[person, mode].unbind(-1))
        cos_T11, sin_T11 = yaw_T11.cos(), yaw_T11.sin()
        dx_T1X, dy_TY1 = x_X - mean_T2[:, :1, None], y_Y[:, None] - mean_T2[:, 1:, None]
        along_TYX, across_TYX = cos_T11 * dx_T1X + sin_T11 * dy_TY1, cos_T11 * dy_TY1 - sin_T11 * dx_T1X
        both_T11 = 2 * xy_T11 * cos_T11 * sin_T11
        along_sigma = (xx_T11 * cos_T11**2 + both_T11 + yy_T11 * sin_T11**2).clamp(min=1e-6).sqrt()
        across_sigma = (xx_T11 * sin_T11**2 - both_T11 + yy_T11 * cos_T11**2).clamp(min=1e-6).sqrt()
        half, weight_of_mode = future.halves_P2[person] + future.round_P[person], future.weights_PK[person, mode]
        for margin_m, weight in ((0.0, 1.0), (personal_space_m, personal_weight)):
            if weight == 0.0:
                continue
            grown = half + (reach_m + margin_m)
            mass_TYX = _interval_mass(along_TYX, torch.zeros(()), along_sigma, grown[0])
            total_TYX += weight * weight_of_mode * mass_TYX * _interval_mass(across_TYX, torch.zeros(()), across_sigma, grown[1])
    return total_TYX


def _interval_mass(at: Tensor, centre: Tensor, sigma: Tensor, half_width: Tensor) -> Tensor:
    """Mass of normals within +-half_width of each point."""
    scale = 1.0 / (math.sqrt(2.0) * sigma)
    offset = at - centre
    return 0.5 * (torch.erf((offset + half_width) * scale) - torch.erf((offset - half_width) * scale))


def contact_probability(future: PeopleFuture, path_SFX: Tensor, robot: Footprint | float) -> Tensor:
    """(S,): probability that each path touches anybody; `future` is given at the F times of the paths.

    path_SFX: x m, y m and, where the robot is no disc, yaw rad. robot: a number is the radius of a disc, m.
    Each mode is drawn as whole paths, its deviation one standard normal for all steps (as the forecast defines its samples), on a fixed
    low-discrepancy set; a person's modes add up by their weights; people are independent. Ignores that people react to the robot.
    """
    footprint, boxed_P = Footprint.of(robot), future.boxed_P
    if not footprint.is_round and bool(boxed_P.any()) and not bool(boxed_P.all()):  # the two are looked at in different ways
        discs_S, boxes_S = (contact_probability(future.select(kind_P), path_SFX, footprint) for kind_P in (~boxed_P, boxed_P))
        return 1.0 - (1.0 - discs_S) * (1.0 - boxes_S)
    path_SF2 = path_SFX[..., :2]
    paths, people, modes = len(path_SF2), *future.weights_PK.shape
    xx, xy, yy = future.covariances_PKT3.unbind(-1)
    touch_P = footprint.radius_m + future.round_P
    reach_P = footprint.reach_m + future.reach_P
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
    touch_sq_N = touch_P[person_N].square()
    yaw_N = None if footprint.is_round else path_SFX[path_N, time_N, 2]
    box_yaw_N = None if future.yaws_PKT is None else future.yaws_PKT[person_N, mode_N, time_N]
    half_N2 = None if future.halves_P2 is None else future.halves_P2[person_N]
    for part in torch.arange(len(path_N)).split(DRAWS_AT_ONCE):
        dx = x_N[part, None] - a_N[part, None] * normal_2Q[0]
        dy = y_N[part, None] - b_N[part, None] * normal_2Q[0] - c_N[part, None] * normal_2Q[1]
        if yaw_N is None:
            if box_yaw_N is not None and half_N2 is not None:
                dx, dy = outside_box(dx, dy, torch.polar(torch.ones(()), box_yaw_N[part, None]), half_N2[part])
            hit_NQ = dx.square_() + dy.square_() < touch_sq_N[part, None]
        elif box_yaw_N is None or half_N2 is None or not boxed_P.any():
            hit_NQ = meets_disc(footprint, dx, dy, yaw_N[part], touch_P[person_N[part]])
        else:
            hit_NQ = meets_box(footprint, dx, dy, yaw_N[part], box_yaw_N[part], half_N2[part], touch_P[person_N[part]])
        hits_MQ.index_add_(0, row_N[part], hit_NQ.float())
    hit_M = (hits_MQ > 0).float().mean(-1) * future.weights_PK.flatten()[mode_ids_M % (people * modes)]
    hit_SP = path_SF2.new_zeros(paths * people).index_add_(0, mode_ids_M // modes, hit_M).view(paths, people)
    return 1.0 - (1.0 - hit_SP.clamp(max=1.0)).prod(dim=1)


def outside_box(dx: Tensor, dy: Tensor, turn: Tensor, half_N2: Tensor) -> tuple[Tensor, Tensor]:
    """How far points (N, Q) from the middles of boxes lie outside them, along and across each: 0, 0 within. Their norm is the distance.

    turn: (N, 1) complex, of the length 1; half_N2: half of the length and of the width, 0 for what is a point.
    """
    along = dx * turn.real + dy * turn.imag
    across = dy * turn.real - dx * turn.imag
    return (along.abs() - half_N2[:, :1]).clamp(min=0.0), (across.abs() - half_N2[:, 1:]).clamp(min=0.0)


@lru_cache(maxsize=4)
def _quasi_normals(count: int) -> Tensor:
    """(count, 2) standard normals from the R2 sequence (Roberts 2018) by Box-Muller: evenly spread, the same in every run."""
    index = np.arange(1, count + 1)
    plastic = 1.32471795724474602596
    u = (0.5 + index / plastic) % 1.0
    v = (0.5 + index / plastic**2) % 1.0
    radius = np.sqrt(-2.0 * np.log(1.0 - u))
    return torch.as_tensor(np.stack((radius * np.cos(2 * np.pi * v), radius * np.sin(2 * np.pi * v)), -1), dtype=torch.float32)
