"""The cost of a motion. Objectives compose with `+`; all terms on a grid are added into one volume, read once per rollout.

Axes: S candidate, L step, X state (x m, y m, yaw rad, speed m/s), Y/X grid rows and columns. Frame: the planning frame (anchor).
One metre of distance to the goal at the end of the plan costs 1 at the default weights; all other weights are relative to that.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from jepa_ros.config import param, validate
from jepa_ros.planning.grids import cell_centres, halved
from jepa_ros.planning.guide import CostToGo
from jepa_ros.planning.people import PeopleFuture, expected_contacts
from jepa_ros.protocols import ActionMeaning, Objective, Rollout, WorldModel
from jepa_ros.types import FloatArray, GridSpec

USUAL_SURPRISE = 0.98  # above it a scene deserves attention (docs/glossary.md)
NOISE = 0.2  # occupancy probability up to which a cell costs nothing


@dataclass(frozen=True)
class CostWeights:
    """What is worth how much; see each objective for its unit."""

    goal_end: float = param(1.0, "Cost of each metre left to the goal at the end of the plan", at_least=0.0)
    goal_way: float = param(0.5, "Cost of each metre left to the goal, mean over the plan", at_least=0.0)
    goal_heading: float = param(1.0, "Cost of facing away from the goal's heading (1 - cos)/2 at the end, near the goal", at_least=0.0)
    off_path: float = param(0.3, "Cost of each metre off the path that is followed, and second", at_least=0.0)
    path_length: float = param(0.05, "Cost of each metre driven", at_least=0.0)
    reverse: float = param(0.3, "Cost of each metre driven backwards, where the robot can", at_least=0.0)
    occupancy: float = param(60.0, "Cost of a second in surely occupied space", at_least=0.0)
    person: float = param(60.0, "Cost of a second of contact with a person", at_least=0.0)
    personal_space: float = param(1.5, "Cost of a second within personal space", at_least=0.0)
    foresight_s: float = param(
        1.0, "A contact this far ahead, s, costs 1/e, because there will be a new plan before, and people step aside", at_least=0.1
    )
    surprise: float = param(
        0.0, "Cost of speed while the world is not as predicted, mean of (m/s)^2 at surprise 1; 0 = not used", at_least=0.0
    )
    acceleration: float = param(0.05, "Cost of acceleration, mean of (m/s^2)^2", at_least=0.0)
    jerk: float = param(0.005, "Cost of jerk, mean of (m/s^3)^2", at_least=0.0)
    turning: float = param(0.1, "Cost of turning, mean of (rad/s)^2", at_least=0.0)

    def __post_init__(self) -> None:
        validate(self)


class Composable:
    """Gives an objective its `+`."""

    def __call__(self, rollout: Rollout) -> Tensor:
        raise NotImplementedError

    def __add__(self, other: Composable) -> Composable:
        return Sum((self, other))


class Sum(Composable):
    """The sum of several objectives, grid costs on the same grid melted together."""

    def __init__(self, terms: tuple[Objective, ...]) -> None:
        flat: list[Objective] = []
        for term in terms:
            flat.extend(term.terms if isinstance(term, Sum) else (term,))
        grids = [term for term in flat if isinstance(term, GridCost)]
        melted: list[GridCost] = []
        for cost in grids:
            same = next((i for i, other in enumerate(melted) if other.grid == cost.grid and other.discs_D2 is cost.discs_D2), None)
            if same is None:
                melted.append(cost)
            else:
                melted[same] = GridCost(melted[same].volume_LYX + cost.volume_LYX, cost.grid, cost.discs_D2)
        self.terms: tuple[Objective, ...] = (*melted, *(term for term in flat if not isinstance(term, GridCost)))

    def __call__(self, rollout: Rollout) -> Tensor:
        cost_S, *others = (term(rollout) for term in self.terms)
        for other_S in others:
            cost_S = cost_S + other_S
        return cost_S


class GridCost(Composable):
    """The sum over the steps of a cost read bilinearly from that step's layer; beyond the grid the border's value holds.

    discs_D2: places in base_link; the highest of what is read there counts. None = base_link itself.
    """

    def __init__(self, volume_LYX: Tensor, grid: GridSpec, discs_D2: Tensor | None = None) -> None:
        self.volume_LYX = volume_LYX
        self.grid = grid
        self.discs_D2 = discs_D2

    def __call__(self, rollout: Rollout) -> Tensor:
        return self.read(rollout.states_SLX).sum(0)

    def read(self, states_SLX: Tensor) -> Tensor:
        """(L, S) value at each state."""
        if self.discs_D2 is not None:
            at_SLD2 = beside(states_SLX, self.discs_D2)
            at_base = GridCost(self.volume_LYX, self.grid)
            return at_base.read(at_SLD2.permute(0, 2, 1, 3).flatten(0, 1)).unflatten(1, (len(states_SLX), -1)).amax(-1)
        positions_LS2 = states_SLX[..., :2].transpose(0, 1)
        span = torch.tensor([self.grid.columns, self.grid.rows]) * (0.5 * self.grid.resolution_m)
        middle = torch.tensor(self.grid.origin_m, dtype=torch.float32) + span
        where_LS2 = ((positions_LS2 - middle) / span)[:, None]
        read = F.grid_sample(self.volume_LYX[:, None], where_LS2, mode="bilinear", padding_mode="border", align_corners=False)
        return read[:, 0, 0]

    def split(self) -> GridCost:
        """The same cost, as it is read, on cells of half the size."""
        finer_LYX = F.interpolate(self.volume_LYX[:, None], scale_factor=2.0, mode="bilinear", align_corners=False)[:, 0]
        return GridCost(finer_LYX, halved(self.grid), self.discs_D2)


class PoseGoal(Composable):
    """Straight-line distance to the goal (m), at the end and on the way; the heading counts within about a metre of it.

    To a vehicle with a turning circle a heading is a distance: it turns by an angle no sooner than it has driven radius x angle, forwards
    or backwards. That is left to drive like any other metre, within two radii of the goal; from further away it turns on the way.
    """

    def __init__(self, goal: Sequence[float] | FloatArray, weights: CostWeights, turning_radius_m: float = 0.0) -> None:
        """goal: x m, y m, yaw rad; a yaw of NaN leaves the heading free. turning_radius_m: 0 = it turns on the spot."""
        self.turning_radius_m = turning_radius_m
        self.goal_m = (float(goal[0]), float(goal[1]))
        self.heading_rad = float(goal[2])
        self.weights = weights

    def __call__(self, rollout: Rollout) -> Tensor:
        x_LS, y_LS, yaw_LS, speed_LS = rollout.states_SLX.permute(2, 1, 0)
        distance_LS = torch.hypot(x_LS - self.goal_m[0], y_LS - self.goal_m[1])
        cost_S = self.weights.goal_end * distance_LS[-1] + self.weights.goal_way * distance_LS.mean(0)
        cost_S = cost_S + (self.weights.path_length * rollout.dt_s) * speed_LS.abs().sum(0)
        cost_S = cost_S + (self.weights.reverse * rollout.dt_s) * speed_LS.clamp(max=0.0).abs().sum(0)
        if math.isfinite(self.heading_rad):
            away_S = 0.5 - 0.5 * torch.cos(yaw_LS[-1] - self.heading_rad)
            cost_S = cost_S + self.weights.goal_heading * away_S * torch.exp(-distance_LS[-1].square())
            if self.turning_radius_m > 0.0:
                left_S = self.turning_radius_m * torch.acos((1.0 - 2.0 * away_S).clamp(-1.0, 1.0))
                near_S = torch.exp(-(0.5 * distance_LS[-1] / self.turning_radius_m).square())
                cost_S = cost_S + self.weights.goal_end * left_S * near_S
        return cost_S


class Comfort(Composable):
    """Mean square of acceleration, jerk and turn rate."""

    def __init__(self, init_speed_mps: float | Tensor, weights: CostWeights) -> None:
        """init_speed_mps: before the first step; a tensor (S,) where it differs from candidate to candidate."""
        self.init_speed_mps = init_speed_mps
        self.weights = weights

    def __call__(self, rollout: Rollout) -> Tensor:
        speed_LS = rollout.states_SLX[..., 3].T
        start_1S = torch.as_tensor(self.init_speed_mps, dtype=speed_LS.dtype).expand_as(speed_LS[:1])
        acceleration_LS = torch.cat((start_1S, speed_LS)).diff(dim=0) / rollout.dt_s
        turning_LS = rollout.commands_SLU[..., -1].T
        cost_S = self.weights.acceleration * acceleration_LS.square().mean(0) + self.weights.turning * turning_LS.square().mean(0)
        jerk_LS = acceleration_LS.diff(dim=0) / rollout.dt_s
        return cost_S + self.weights.jerk * jerk_LS.square().mean(0)


class Surprise(Composable):
    """Mean square of speed, weighed by how far surprise exceeds the usual: the robot is slow while the scene is not understood."""

    def __init__(self, surprise: float, weights: CostWeights) -> None:
        """surprise: 0-1, as in SceneState; NaN (no prediction has come due yet) costs nothing."""
        excess = (surprise - USUAL_SURPRISE) / (1.0 - USUAL_SURPRISE)
        self.weight = weights.surprise * min(max(excess, 0.0), 1.0) if math.isfinite(surprise) else 0.0

    def __call__(self, rollout: Rollout) -> Tensor:
        return self.weight * rollout.states_SLX[..., 3].square().mean(-1)


class LatentGoal(Composable):
    """Distance between the predicted last latent and a goal latent: mean absolute difference, in the model's own unit.

    The actions of a mobile base are the poses of the rollout in the anchor frame (A = 3); of other models, the commands themselves.
    """

    def __init__(self, model: WorldModel, history_TND: Tensor, goal_ND: Tensor, batch: int = 64) -> None:
        self.model = model
        self.history_BTND = history_TND[None]
        self.goal_ND = goal_ND
        self.batch = batch

    def __call__(self, rollout: Rollout) -> Tensor:
        actions_SLA = rollout.states_SLX[..., :3] if self.model.spec.actions is ActionMeaning.POSE else rollout.commands_SLU
        costs = []
        for actions_BLA in actions_SLA.to(self.history_BTND.device).split(self.batch):
            history_BTND = self.history_BTND.expand(len(actions_BLA), -1, -1, -1)
            last_BND = self.model.predict(history_BTND, actions_BLA.contiguous())[:, -1]
            costs.append((last_BND - self.goal_ND).abs().mean(dim=(1, 2)))
        return torch.cat(costs).cpu()


def beside(states_SLX: Tensor, places_D2: Tensor) -> Tensor:
    """(S, L, D, 2) where places of base_link are at each state."""
    cos_SL1, sin_SL1 = states_SLX[..., 2:3].cos(), states_SLX[..., 2:3].sin()
    x_D, y_D = places_D2.unbind(-1)
    turned_SLD2 = torch.stack((cos_SL1 * x_D - sin_SL1 * y_D, sin_SL1 * x_D + cos_SL1 * y_D), -1)
    return states_SLX[..., None, :2] + turned_SLD2


def occupancy_cost(
    inflated_LYX: Tensor, grid: GridSpec, dt_s: float, occupied_from: float, weights: CostWeights, discs_D2: Tensor | None = None
) -> GridCost:
    """Occupancy under the robot, or under the discs that stand for it, by its risk."""
    return GridCost((weights.occupancy * dt_s) * risk(inflated_LYX, occupied_from), grid, discs_D2)


def risk(occupancy: Tensor, occupied_from: float) -> Tensor:
    """0 up to NOISE, from there the square of the share of the way to `occupied_from`, 1 from there on.

    A learned forecast leaves a little probability in most cells beside something. Were it not free, a robot would stop short of goals.
    """
    noise = min(NOISE, 0.5 * occupied_from)
    return ((occupancy - noise) / (occupied_from - noise)).clamp(0.0, 1.0).square()


def people_cost(
    future: PeopleFuture,
    grid: GridSpec,
    dt_s: float,
    robot_radius_m: float,
    personal_m: float,
    weights: CostWeights,
    discs_D2: Tensor | None = None,
) -> GridCost:
    """Expected contacts with people, and intrusion into their personal space; `future` at the L step times. The radius is that of the
    robot, or of each disc that stands for it."""
    relative = weights.personal_space / weights.person if weights.person > 0 else 0.0
    contacts_LYX = expected_contacts(future, grid, robot_radius_m, personal_m, relative)
    fading_L = torch.exp(-future.times_s / weights.foresight_s)
    return GridCost(weights.person * dt_s * fading_L[:, None, None] * contacts_LYX, grid, discs_D2)


def detour_cost(cost_to_go: CostToGo, grid: GridSpec, steps: int, weights: CostWeights) -> GridCost:
    """What the way around obstacles is longer than the straight line, weighed like the distance to the goal."""
    x_YX, y_YX = torch.meshgrid(*(torch.as_tensor(axis, dtype=torch.float32) for axis in cell_centres(grid)), indexing="xy")
    detour = GridCost(torch.as_tensor(cost_to_go.detour_m())[None], cost_to_go.grid)
    detour_YX = detour.read(torch.stack((x_YX, y_YX), -1).reshape(-1, 1, 2)).reshape(grid.rows, grid.columns)
    weight_L = torch.full((steps,), weights.goal_way / steps)
    weight_L[-1] += weights.goal_end
    return GridCost(weight_L[:, None, None] * detour_YX, grid)
