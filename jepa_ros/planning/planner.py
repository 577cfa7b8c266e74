"""From predictions to a plan: a safe way to a pose through the forecast scene, within a deadline.

Everything is computed in the anchor frame of the scene (float32 is exact there) and handed out in odom.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from jepa_ros.config import param, validate
from jepa_ros.planning.footprint import Footprint
from jepa_ros.planning.guide import CostToGo, StandingMemory
from jepa_ros.planning.imagined.rehearsal import Rehearsal
from jepa_ros.planning.kinematics import DYNAMICS, LastPlan, Limits, Vehicle
from jepa_ros.planning.objective import Comfort, CostWeights, PoseGoal, Surprise, risk
from jepa_ros.planning.outcome import Goal, described, fault_of, moved, placed, refusal, stays, towards
from jepa_ros.planning.route import route_cost
from jepa_ros.planning.safe_part import SafePart, from_start, safe_part
from jepa_ros.planning.scene import PlanningScene
from jepa_ros.planning.solver import SOLVERS, SolverConfig
from jepa_ros.planning.surroundings import Surroundings
from jepa_ros.planning.verify import Verifier
from jepa_ros.protocols import Objective, Rollout, Solution, Solver
from jepa_ros.types import NANOSECONDS, OCCUPIED_FROM, FloatArray, Plan, PlanStatus, SceneState

LOOK_M = 2.0  # the way so far ahead says where to look: a way along a grid begins in one of eight directions
FORGIVEN = 0.8  # what was slow once, on a busy machine, must not be waited for, for good
LOOKS_THERE_RAD = 0.2  # a robot that faces a place as nearly as this sees nothing new by turning


@dataclass(frozen=True)
class PlannerConfig:
    """How to plan."""

    kinematics: str = param("unicycle", "How the robot moves", choices=tuple(DYNAMICS))
    solver: str = param("mppi", "Search method", choices=tuple(SOLVERS))
    dt_s: float = param(0.2, "Length of a plan step, s", at_least=0.02, at_most=1.0)
    steps: int = param(24, "Steps of a plan; steps x dt_s should not exceed the forecast's horizon", at_least=2, at_most=200)
    robot_radius_m: float = param(0.4, "Radius of the robot, m, where no footprint is given", at_least=0.05, at_most=5.0)
    footprint: str = param("", "Corners of the robot as in Nav2, [[x, y], ...] in base_link, m; empty = a disc of robot_radius_m")
    personal_space_m: float = param(0.5, "Distance to people that is kept where possible, m", at_least=0.0, at_most=5.0)
    goal_tolerance_m: float = param(0.5, "How near counts as reached, m", at_least=0.05, at_most=10.0)
    goal_tolerance_rad: float = param(
        0.5, "How near to the goal's heading, where it has one, counts as reached, rad", at_least=0.01, at_most=3.15
    )
    occupied_from: float = param(OCCUPIED_FROM, "Occupancy probability from which a cell is an obstacle", at_least=0.01, at_most=1.0)
    max_collision_probability: float = param(0.25, "Highest collision probability of a plan that counts as safe", at_least=0.0, at_most=1.0)
    max_imminent_contact: float = param(
        0.05, "Highest probability of touching somebody before the robot stands, if it begins to stop one step from now", at_least=0.0,
        at_most=1.0,
    )  # fmt: skip
    rehearsed: int = param(
        0, "For how many of the best motions found the world model predicts the scene again, if it can; 0 = none", at_least=0,
        at_most=256,
    )  # fmt: skip
    limits: Limits = field(default_factory=Limits)
    weights: CostWeights = field(default_factory=CostWeights)
    search: SolverConfig = field(default_factory=SolverConfig)

    def __post_init__(self) -> None:
        validate(self)
        _ = self.body

    @cached_property
    def body(self) -> Footprint:
        """The robot's shape. Raises ValueError for an invalid `footprint`."""
        return Footprint.parse(self.footprint) if self.footprint else Footprint.of(self.robot_radius_m)


@dataclass(frozen=True)
class _Task:
    """One question, in the anchor frame."""

    scene: PlanningScene
    started_s: float
    deadline_s: float
    goal: Goal
    init_X: Tensor  # x, y, yaw, forward speed, speed to the left
    offset_s: float  # from the forecast's stamp to the ego state's: the plan starts then
    rehearsal: Rehearsal | None
    route_m: FloatArray | None

    def left_s(self) -> float:
        return self.deadline_s - (time.perf_counter() - self.started_s)

    def goal_in_odom_m(self) -> FloatArray:
        return placed(self.goal.pose[None, :2], self.scene.anchor_pose)[0]


class Planner:
    """Plans to poses. Keeps the last plan as a warm start and what stood still of late; `reset()` forgets both. For one thread."""

    def __init__(self, config: PlannerConfig | None = None, solver: Solver | None = None) -> None:
        """solver: another than `config.solver` names."""
        self.config = config or PlannerConfig()
        self._solver = solver or SOLVERS[self.config.solver](self.config.search)
        self._verify_s = 0.003  # how long verification takes at worst, of late: kept free at the end
        self._rehearse_s = 0.05  # the same for the rehearsal
        self.reset()

    def reset(self) -> None:
        self._last: LastPlan | None = None
        self._memory = StandingMemory()
        self._looks = False  # whether the robot is turning to look

    def plan(
        self,
        scene: SceneState | PlanningScene,
        goal: FloatArray,
        deadline_s: float,
        max_speed_mps: float | None = None,
        goal_tolerance_m: float | None = None,
        rehearsal: Rehearsal | None = None,
        route_m: FloatArray | None = None,
    ) -> Plan:
        """A way to `goal` (x m, y m, yaw rad in odom; yaw NaN = any) within `deadline_s` seconds of the call.

        The plan starts at `scene.ego`, whose stamp may be newer than the forecast's. Statuses:
        OK: all of the returned path is safe and leads through what sensors have seen. Where the goal is too far for one plan, or somebody
        is waited for, it ends short of it: see `reaches_goal` and `distance_to_goal_m`.
        UNSEEN: nothing that is known stands in the way, but no sensor has looked at what comes next, and to turn does not help.
        NO_SAFE_PATH: what has stood for a while within reach leaves no way, or nothing safe was found.
        With both, the path is a braking one (`fallback`) with its collision probability; what is unseen counts as occupied there.
        INVALID_GOAL: not finite, or within reach of the plan and on something that stays occupied with no free place within the tolerance.
        INVALID_REQUEST: another argument is out of range. UNSUPPORTED: no occupancy forecast, or one smaller than
        the robot. TIMEOUT: nothing verified in time, no path.
        rehearsal: asked about the best `config.rehearsed` motions before one is chosen, where the deadline leaves the time.
        route_m: (N, 2) in odom, close together: places to keep to on the way.
        """
        started_s = time.perf_counter()
        scene = scene if isinstance(scene, PlanningScene) else PlanningScene.of(scene)
        fault = fault_of(scene, goal, deadline_s, max_speed_mps, goal_tolerance_m, self.config.body)
        if fault is not None:
            return refusal(*fault, self.config.dt_s, time.perf_counter() - started_s)
        limits = self.config.limits if max_speed_mps is None else replace(self.config.limits, max_speed_mps=max_speed_mps)
        anchor_from_odom, goal = scene.anchor_from_odom, np.asarray(goal, dtype=np.float64)
        ego = anchor_from_odom @ scene.ego.odom_from_base
        task = _Task(
            scene,
            started_s,
            deadline_s,
            Goal(moved(goal, anchor_from_odom), goal_tolerance_m or self.config.goal_tolerance_m, self.config.goal_tolerance_rad),
            torch.tensor([ego[0, 3], ego[1, 3], math.atan2(ego[1, 0], ego[0, 0]), *scene.ego.velocity_mps], dtype=torch.float32),
            max(0.0, (scene.ego.stamp_ns - scene.stamp_ns) / NANOSECONDS),
            rehearsal if self.config.rehearsed else None,
            None if route_m is None else placed(route_m, anchor_from_odom),
        )
        with torch.inference_mode():
            return self._search(task, limits)

    def _search(self, task: _Task, limits: Limits) -> Plan:
        config, goal, weights = self.config, task.goal, self.config.weights
        dynamics = DYNAMICS[config.kinematics](limits, config.dt_s)
        reach_m = max(abs(float(task.init_X[3])), limits.max_speed_mps) * config.dt_s * config.steps
        start = task.init_X[:3].numpy().astype(np.float64)
        around = Surroundings(task.scene, start, reach_m, config.body, config.occupied_from, self._memory)
        if not around.free_near(goal.pose, goal.tolerance_m):
            return self._refuse(task, PlanStatus.INVALID_GOAL, f"the goal and all within {goal.tolerance_m:.2f} m of it stay occupied")
        verifier = around.verifier(task.offset_s)
        way = around.way_to(goal.pose[:2], goal.tolerance_m)
        if not way.reachable_from(start[:2]):
            return self._brake(task, dynamics, verifier, "static obstacles block every way to the goal")
        times_L = task.offset_s + config.dt_s * np.arange(1, config.steps + 1)
        objective = around.objective(way, times_L, config.dt_s, config.personal_space_m, config.weights)
        objective = objective + PoseGoal(goal.pose, weights, dynamics.turning_radius_m) + Comfort(float(task.init_X[3]), weights)
        if task.route_m is not None:
            objective = objective + route_cost(task.route_m, around.grid, config.steps, config.dt_s, config.weights.off_path)
        if config.weights.surprise > 0.0:
            objective = objective + Surprise(task.scene.surprise, config.weights)
        guesses_GLU = dynamics.guesses(task.init_X, config.steps)
        last_LU = None if self._last is None else self._last.rest(task.scene.ego.stamp_ns / NANOSECONDS, config.dt_s)
        if last_LU is not None:
            guesses_GLU = torch.cat((last_LU[None], guesses_GLU))
        if task.left_s() <= 2.0 * self._verify_s:
            return self._late(task, dynamics, verifier, last_LU, "the search")
        kept_s = 2.0 * self._verify_s + (self._rehearse_s if task.rehearsal else 0.0)
        solution = self._solver.solve(dynamics, objective, task.init_X, task.left_s() - kept_s, guesses_GLU)
        if task.rehearsal is not None and task.left_s() > kept_s:
            solution = self._rehearse(task, dynamics, objective, solution, task.rehearsal)
        elif task.rehearsal is not None:
            self._rehearse_s *= FORGIVEN
        if task.left_s() <= self._verify_s:
            return self._late(task, dynamics, verifier, last_LU, "a plan was verified")
        return self._conclude(task, dynamics, verifier, solution, around, way)

    def _rehearse(self, task: _Task, dynamics: Vehicle, objective: Objective, solution: Solution, rehearsal: Rehearsal) -> Solution:
        """Of the finalists the one that is best with what the world model predicts if it is driven: a second in that costs extra."""
        started_s = time.perf_counter()
        assert solution.finalists_SLU is not None
        rollout = dynamics.rollout(task.init_X, solution.finalists_SLU)
        cost_S, order_S = objective(rollout).sort()
        cost_E, index_E = cost_S[: self.config.rehearsed], order_S[: self.config.rehearsed]
        finalists = Rollout(rollout.states_SLX[index_E], rollout.commands_SLU[index_E], rollout.dt_s)
        occupied_E = rehearsal.occupied(task.scene, task.init_X, finalists, self.config.body)
        chosen = int((cost_E + self.config.weights.occupancy * risk(occupied_E, self.config.occupied_from)).argmin())
        one = Rollout(finalists.states_SLX[chosen : chosen + 1], finalists.commands_SLU[chosen : chosen + 1], rollout.dt_s)
        self._rehearse_s = max(time.perf_counter() - started_s, 0.9 * self._rehearse_s)
        return Solution(one.commands_SLU[0], one, float(cost_E[chosen]), solution.iterations, solution.timed_out)

    def _conclude(
        self, task: _Task, dynamics: Vehicle, verifier: Verifier, solution: Solution, around: Surroundings, way: CostToGo
    ) -> Plan:
        """Verify the solution; if it is not safe, the longest part of it that is, with a stop after it; else look around, or brake."""
        part = self._safe(task, dynamics, verifier, solution.commands_LU)
        path = None if isinstance(part, str) else _path(task, part.rollout)
        if path is None or self._looks or (stays(path) and not task.goal.reached_by(path[-1])):
            start = task.init_X[:3].double().numpy()
            unseen_m = around.unseen_ahead(way, start[:2])
            if unseen_m is not None:
                ahead_m, _ = towards(start, unseen_m)
                _, bearing_rad = towards(start, way.ahead(start[:2], LOOK_M)[-1])
                look = self._look(task, dynamics, verifier, ahead_m, bearing_rad, must=path is None or stays(path))
                if look is not None:
                    return look
        self._looks = False
        if isinstance(part, str):
            return self._brake(task, dynamics, verifier, part)
        assert path is not None
        message = part.why or described(path, part.rollout.states_SLX[0, :, 3].numpy(), task.goal)
        if around.unseen_ahead(way, path[-1, :2]) is not None:
            message += ", before a place that no sensor has seen"
        return self._follow(task, message, part, solution)

    def _look(self, task: _Task, dynamics: Vehicle, verifier: Verifier, ahead_m: float, bearing_rad: float, must: bool) -> Plan | None:
        """Turn to what is unseen, until the robot faces it: most sensors then see it. Where it does already, or cannot turn so, it brakes
        and says so if it `must` (there is nothing else to do); else None."""
        bearing = f"{math.degrees(bearing_rad):+.0f} deg"
        place = f"no sensor has seen the way to the goal {ahead_m:.1f} m from the robot, at {bearing} (left is positive)"
        turn_LU = dynamics.turn_on_the_spot(bearing_rad, self.config.steps) if abs(bearing_rad) > LOOKS_THERE_RAD else None
        part = self._safe(task, dynamics, verifier, turn_LU) if turn_LU is not None else ""
        self._looks = not isinstance(part, str)
        if not isinstance(part, str):
            return self._follow(task, f"the plan turns on the spot to look: {place}", part, None)
        advice = "turn or drive the robot so that a sensor sees it, add a sensor that does, or choose another goal"
        return self._brake(task, dynamics, verifier, f"{place}: {advice}", PlanStatus.UNSEEN) if must else None

    def _safe(self, task: _Task, dynamics: Vehicle, verifier: Verifier, commands_LU: Tensor) -> SafePart | str:
        config, started_s = self.config, time.perf_counter()
        part = safe_part(commands_LU, task.init_X, dynamics, verifier, config.max_collision_probability, config.max_imminent_contact)
        self._verify_s = max(time.perf_counter() - started_s, 0.9 * self._verify_s)
        return part

    def _late(self, task: _Task, dynamics: Vehicle, verifier: Verifier, last_LU: Tensor | None, what: str) -> Plan:
        """The rest of the last plan needs no search: where it was for this goal, and there is time to see that it is safe, it answers."""
        why = f"the deadline of {task.deadline_s:.3f} s came before {what}"
        self._verify_s *= FORGIVEN
        if self._last is not None and last_LU is not None and task.left_s() > self._verify_s:
            moved_m = float(np.linalg.norm(self._last.goal_m - task.goal_in_odom_m()))
            part = self._safe(task, dynamics, verifier, last_LU) if moved_m <= task.goal.tolerance_m else ""
            if not isinstance(part, str):
                return self._follow(task, f"the rest of the last plan, still safe: {why}", part, None)
        return self._refuse(task, PlanStatus.TIMEOUT, why)

    def _follow(self, task: _Task, message: str, part: SafePart, solution: Solution | None) -> Plan:
        """A safe motion, and the start of the next search."""
        self._last = LastPlan(task.scene.ego.stamp_ns / NANOSECONDS, part.rollout.commands_SLU[0], task.goal_in_odom_m())
        cost = math.nan if solution is None else solution.cost
        return self._answer(task, PlanStatus.OK, message, part.rollout, cost, part.probability)

    def _brake(self, task: _Task, dynamics: Vehicle, verifier: Verifier, why: str, status: PlanStatus = PlanStatus.NO_SAFE_PATH) -> Plan:
        """The fallback: the shortest stop, straight ahead, with its collision probability."""
        self._last = None
        rollout = dynamics.rollout(task.init_X, torch.zeros(1, self.config.steps, len(dynamics.low_U)))
        probability = float(verifier.collision_probability(from_start(task.init_X, rollout), rollout.dt_s)[0])
        judged = "safe" if probability <= self.config.max_collision_probability else "not safe either"
        message = f"{why}; braking is {judged} (collision probability {probability:.2f})"
        return self._answer(task, status, message, rollout, math.nan, probability, fallback=True)

    def _answer(
        self, task: _Task, status: PlanStatus, message: str, rollout: Rollout, cost: float, probability: float, fallback: bool = False
    ) -> Plan:
        path = _path(task, rollout)
        return Plan(
            status,
            message,
            moved(path, task.scene.anchor_pose),
            rollout.commands_SLU[0].double().numpy(),
            self.config.dt_s,
            cost,
            probability,
            time.perf_counter() - task.started_s,
            fallback,
            task.goal.reached_by(path[-1]),
            task.goal.distance_m(path[-1]),
        )

    def _refuse(self, task: _Task, status: PlanStatus, message: str) -> Plan:
        return refusal(status, message, self.config.dt_s, time.perf_counter() - task.started_s)


def _path(task: _Task, rollout: Rollout) -> FloatArray:
    """(L + 1, 3) poses of a single candidate, from the start on."""
    return from_start(task.init_X, rollout)[0, :, :3].double().numpy()
