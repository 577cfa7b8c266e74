""" "If I do X, what happens?": motions and actions judged by the world model's own prediction of what they lead to.

Axes: S candidate, L step, A action, T history step, N latent token, D latent width, P person, M cell of the footprint.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass

import torch
from torch import Tensor

from jepa_ros.config import param, validate
from jepa_ros.planning.footprint import Footprint
from jepa_ros.planning.imagined.giving_way import GivingWay, most_moved
from jepa_ros.planning.imagined.swept import SweptCells
from jepa_ros.planning.kinematics import DYNAMICS, Limits
from jepa_ros.planning.objective import Comfort, CostWeights, LatentGoal, PoseGoal
from jepa_ros.planning.people import PeopleFuture, contact_probability
from jepa_ros.planning.solver import CEM, SolverConfig
from jepa_ros.planning.verify import refine
from jepa_ros.protocols import ActionMeaning, OccupancyProbe, Rollout, Solution, WindowedOccupancy, WorldModel

BATCH = 4  # candidates predicted at a time: between two batches the clock is looked at
WINDOWS_BATCH = 16  # the same, where only windows are predicted
MIN_SAMPLES = 8
MARGIN = 0.8  # share of the time that is planned to be used


@dataclass(frozen=True)
class ActionConfig:
    """The search through the predictor."""

    samples: int = param(48, "Candidates per iteration", at_least=8, at_most=10_000)
    iterations: int = param(8, "Iterations at most; the deadline may come first", at_least=1, at_most=100)
    elites: float = param(0.15, "Share of the candidates that guides the next iteration", at_least=0.01, at_most=1.0)
    max_action: float = param(0.05, "Largest component of an action, for models whose actions are not poses", at_least=1e-6, at_most=1e6)

    def __post_init__(self) -> None:
        validate(self)


@dataclass(frozen=True)
class Imagined:
    """What comes of each candidate."""

    cost_S: Tensor  # lower is better
    collision_probability_S: Tensor  # 0-1, of the whole candidate, if nobody gives way
    most_moved_S: Tensor | None  # m that the person steps aside or waits whom it moves most; None = not asked for
    latents_SLND: Tensor | None


class FreeActions:
    """Dynamics of a model whose actions are not poses: a command is an action, each component bounded; the states carry nothing."""

    def __init__(self, width: int, most: float, dt_s: float) -> None:
        self.dt_s = dt_s
        self.high_U = torch.full((width,), most)
        self.low_U = -self.high_U

    def rollout(self, init_X: Tensor, commands_SLU: Tensor) -> Rollout:
        states_SLX = init_X[:4].expand(*commands_SLU.shape[:2], 4)
        return Rollout(states_SLX, commands_SLU.clamp(self.low_U, self.high_U), self.dt_s)

    def guesses(self, init_X: Tensor, steps: int) -> Tensor:
        """(1, L, A): no action."""
        return torch.zeros(1, steps, len(self.high_U))


@torch.inference_mode()
def imagine(
    model: WorldModel,
    history_TND: Tensor,
    poses_SL3: Tensor,
    people: PeopleFuture,
    robot: Footprint | float,
    weights: CostWeights,
    goal_m: tuple[float, float, float] | None = None,
    keep_latents: bool = False,
    deadline_s: float = math.inf,
    giving_way: GivingWay | None = None,
) -> Imagined:
    """Predict the scene under each candidate motion and judge the motion in it.

    poses_SL3: x m, y m, yaw rad in the anchor frame of the newest latent, one for each model step. Collisions are looked for in the
    occupancy that the model itself expects under that motion (0 where it has no occupancy probe), and with people as forecast.
    Cost: distance to the goal (if given), comfort, and the weight of a person times the collision probability.
    giving_way: says how far people would step aside. Cost and collisions are those of people who do not.
    robot: a number is the radius of a disc, m.
    Raises TimeoutError when `deadline_s` seconds have passed, ValueError for more steps than the model predicts.
    """
    due_s = time.perf_counter() + deadline_s
    spec = model.spec
    if not 1 <= poses_SL3.shape[1] <= spec.horizon:
        raise ValueError(f"candidates of {poses_SL3.shape[1]} steps: {spec.name} predicts 1 to {spec.horizon}")
    paths_SLX = torch.cat((torch.zeros(len(poses_SL3), 1, 3), poses_SL3), dim=1)
    if isinstance(model, WindowedOccupancy) and not keep_latents:
        occupied_S, latents_SLND = occupied_on_way(model, history_TND, paths_SLX, robot, due_s), None
    else:
        occupied_S, latents_SLND = _whole_scenes(model, history_TND, paths_SLX, robot, keep_latents, due_s)
    fine_SFX, elapsed_F = refine(paths_SLX, spec.dt_s)
    touched_S = contact_probability(people.at(elapsed_F), fine_SFX, robot)
    collision_S = 1.0 - (1.0 - occupied_S) * (1.0 - touched_S)
    cost_S = _motion_cost(paths_SLX, spec.dt_s, goal_m, weights) + weights.person * collision_S
    moved_S = None if giving_way is None else most_moved(giving_way, people, poses_SL3, robot, spec.dt_s)
    return Imagined(cost_S, collision_S, moved_S, latents_SLND)


@torch.inference_mode()
def occupied_on_way(
    model: WindowedOccupancy, history_TND: Tensor, paths_SLX: Tensor, robot: Footprint | float, due_s: float = math.inf
) -> Tensor:
    """(S,) highest occupancy that the robot meets on each path (its first state is now), as the model predicts it under that motion."""
    grid = model.spec.grid
    assert grid is not None
    windows = model.occupancy_windows(history_TND)
    occupied: list[Tensor] = []
    for paths_BLX in paths_SLX.split(WINDOWS_BATCH):
        _check_time(due_s, len(occupied) * WINDOWS_BATCH, len(paths_SLX))
        way = SweptCells(paths_BLX, grid, robot)
        occupied.append(way.highest(windows(paths_BLX[:, 1:, :3].contiguous(), way.corners_SL2, way.cells).float().cpu()))
    return torch.cat(occupied)


def _whole_scenes(
    model: WorldModel, history_TND: Tensor, paths_SLX: Tensor, robot: Footprint | float, keep_latents: bool, due_s: float
) -> tuple[Tensor, Tensor | None]:
    """The same by predicting everything, which all models can; and the (S, L, N, D) latents, if asked for."""
    grid = model.spec.grid
    occupied: list[Tensor] = []
    latents: list[Tensor] = []
    for paths_BLX in paths_SLX.split(BATCH):
        _check_time(due_s, len(occupied) * BATCH, len(paths_SLX))
        history_BTND = history_TND.expand(len(paths_BLX), *history_TND.shape)
        latents_BLND = model.predict(history_BTND, paths_BLX[:, 1:].to(history_BTND))
        if grid is None or not isinstance(model, OccupancyProbe):
            occupied.append(torch.zeros(len(paths_BLX)))
        else:
            grids_BLYX = model.occupancy(latents_BLND.flatten(0, 1)).unflatten(0, latents_BLND.shape[:2]).float().cpu()
            occupied.append(SweptCells(paths_BLX, grid, robot).highest_on(grids_BLYX))
        if keep_latents:
            latents.append(latents_BLND.float().cpu())
    return torch.cat(occupied), torch.cat(latents) if keep_latents else None


def _check_time(due_s: float, done: int, wanted: int) -> None:
    if time.perf_counter() > due_s:
        raise TimeoutError(f"{done} of {wanted} candidates were imagined when the time was up")


@torch.inference_mode()
def plan_actions(
    model: WorldModel,
    history_TND: Tensor,
    goal_ND: Tensor,
    steps: int,
    init_X: Tensor,
    limits: Limits,
    config: ActionConfig,
    deadline_s: float,
) -> tuple[Tensor, Solution]:
    """(L, A) actions whose predicted last latent comes nearest to `goal_ND`, by CEM, and the solution (cost = that distance).

    A mobile base (A = 3) moves as a unicycle from `init_X` (anchor frame); its actions are poses. How many candidates are looked at follows
    from how long a first prediction takes. Raises TimeoutError where the time is enough for none.
    """
    started_s = time.perf_counter()
    spec = model.spec
    poses = spec.actions is ActionMeaning.POSE
    dynamics = DYNAMICS["unicycle"](limits, spec.dt_s) if poses else FreeActions(spec.action_dim, config.max_action, spec.dt_s)
    objective = LatentGoal(model, history_TND, goal_ND, batch=BATCH)
    guesses_GLU = dynamics.guesses(init_X, steps)
    objective(dynamics.rollout(init_X, guesses_GLU[:1]))
    one_s = time.perf_counter() - started_s
    left_s = deadline_s - one_s
    affordable = int(MARGIN * left_s / one_s)
    if affordable < 3:
        raise TimeoutError(f"predicting {steps} steps took {one_s:.2f} s; the deadline of {deadline_s:.2f} s is too near for a search")
    samples = max(MIN_SAMPLES, min(config.samples, affordable // 3))
    search = SolverConfig(samples=samples, iterations=config.iterations, noise=0.5, cooling=0.7, elites=config.elites)
    solver = CEM(search, expected_iteration_s=samples * one_s)
    # At most a third of the time for the guesses; two predictions are kept for the solver's final choice.
    solution = solver.solve(dynamics, objective, init_X, left_s - 2.0 * one_s, guesses_GLU[: max(1, affordable // 3)])
    return (solution.rollout.states_SLX[0, :, :3] if poses else solution.commands_LU), solution


def _motion_cost(paths_SLX: Tensor, dt_s: float, goal_m: tuple[float, float, float] | None, weights: CostWeights) -> Tensor:
    step_SLX = paths_SLX.diff(dim=1)
    speed_SL = step_SLX[..., :2].norm(dim=-1) / dt_s
    turn_SL = torch.atan2(step_SLX[..., 2].sin(), step_SLX[..., 2].cos()) / dt_s
    states_SLX = torch.cat((paths_SLX[:, 1:], speed_SL[..., None]), dim=-1)
    rollout = Rollout(states_SLX, torch.stack((speed_SL, turn_SL), dim=-1), dt_s)
    # The speed before the first step is not part of a candidate: it is taken as kept.
    cost_S = Comfort(speed_SL[:, 0], weights)(rollout)
    if goal_m is not None:
        cost_S = cost_S + PoseGoal(goal_m, weights)(rollout)
    return cost_S
