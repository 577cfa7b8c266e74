"""The methods that drive: what each knows of the future, and how it chooses its next command.

All see the same lidar and odometry but `true_future`, which is given the future: it is the upper bound. All that plan use the same MPPI.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from typing import Protocol

import numpy as np

from experiments.driving.worlds import MAX_SPEED_MPS, ROBOT_RADIUS_M, global_path, standing
from jepa_ros.backends import load_world_model
from jepa_ros.backends.bev import BEV_GRID
from jepa_ros.forecast import load_forecaster
from jepa_ros.pipeline import WorldModelPipeline
from jepa_ros.planning import Planner, PlannerConfig
from jepa_ros.planning.outcome import placed
from jepa_ros.planning.route import Aim, Route
from jepa_ros.sim.simulation import Simulation
from jepa_ros.types import FloatArray, Observation, OccupancyForecast, PedestrianForecast, Plan, SceneState, TrackedPeople, Tracks

TICK_S = 0.2
PLANNING_S = 10.0  # as long as it takes: what is compared here is what the methods know, not how fast this machine is
HORIZON, DT_S = 12, 0.4
STOP_DECELERATION_MPS2 = 2.0


class Method(Protocol):
    """One way to drive through one episode."""

    def command(self, observation: Observation, goal: FloatArray, simulation: Simulation) -> tuple[FloatArray, Plan | None]:
        """(forward speed m/s, yaw rate rad/s) for the next tick. `goal`: (x m, y m, NaN) in odom. `simulation`: for the ceiling only."""
        ...


class PredictAndPlan:
    """MPPI over what a world model and a forecaster expect."""

    def __init__(self, model: str, forecaster: str | None, people: bool) -> None:
        """people: False = they are occupied cells and nothing more."""
        self._pipeline = WorldModelPipeline(load_world_model(model, device="cpu"), load_forecaster(forecaster))
        self._planner = make_planner()
        self._people = people

    def command(self, observation: Observation, goal: FloatArray, simulation: Simulation) -> tuple[FloatArray, Plan | None]:
        scene = self._pipeline.step(observation)
        if not self._people:
            scene = without_people(scene)
        return follow(self._planner.plan(scene, goal, PLANNING_S))


class FollowPath:
    """What the FollowPath action does, without the action: the same MPPI along a global planner's path on the map of what stands.

    Its parts are the node's: the place on the path that is planned to, how near it is to be reached, the cost of leaving the path.
    """

    def __init__(self, model: str, forecaster: str | None, people: bool) -> None:
        self._pipeline = WorldModelPipeline(load_world_model(model, device="cpu"), load_forecaster(forecaster))
        self._planner = make_planner()
        self._people = people
        self._route: Route | None = None
        self._done_m = 0.0

    def command(self, observation: Observation, goal: FloatArray, simulation: Simulation) -> tuple[FloatArray, Plan | None]:
        scene = self._pipeline.step(observation)
        if not self._people:
            scene = without_people(scene)
        base = observation.ego.odom_from_base
        if self._route is None:
            odom_from_world = base @ np.linalg.inv(simulation.world_from_base())
            world_from_odom = np.linalg.inv(odom_from_world)
            places = placed(global_path(simulation, placed(goal[None, :2], world_from_odom)[0]), odom_from_world)
            self._route = Route(np.insert(places, 2, np.nan, axis=1))
        along = self._route.along(np.array([base[0, 3], base[1, 3], np.arctan2(base[1, 0], base[0, 0])]), self._done_m)
        self._done_m = along.done_m
        config = self._planner.config
        aim = Aim.of(self._route, along, config.limits.max_speed_mps * config.dt_s * config.steps, config.goal_tolerance_m)
        return follow(self._planner.plan(scene, aim.goal, PLANNING_S, None, aim.tolerance_m, route_m=aim.places_m))


class TrueFuture:
    """MPPI over the true future, if the robot continues as it last planned."""

    def __init__(self) -> None:
        self._planner = make_planner()
        self._last = np.zeros((HORIZON * round(DT_S / TICK_S), 2))

    def command(self, observation: Observation, goal: FloatArray, simulation: Simulation) -> tuple[FloatArray, Plan | None]:
        command, plan = follow(self._planner.plan(true_scene(simulation, observation, self._last), goal, PLANNING_S))
        self._last = np.zeros_like(self._last)
        if len(plan.commands) > 1:
            self._last[: len(plan.commands) - 1] = plan.commands[1:]
        return command, plan


class StopAndGo:
    """Straight to the goal; stands while something is in the way. What a robot does that has no planner."""

    def __init__(self) -> None:
        self._pipeline = WorldModelPipeline(load_world_model("persistence", device="cpu"), load_forecaster("constant_velocity"))

    def command(self, observation: Observation, goal: FloatArray, simulation: Simulation) -> tuple[FloatArray, Plan | None]:
        occupancy = self._pipeline.step(observation).occupancy
        pose = observation.odom_from_anchor
        x, y = np.linalg.inv(pose[:2, :2]) @ (goal[:2] - pose[:2, 3])
        bearing, distance = float(np.arctan2(y, x)), float(np.hypot(x, y))
        turn = float(np.clip(2.0 * bearing, -1.2, 1.2))
        if abs(bearing) > 0.3:
            return np.array([0.0, turn]), None
        rows, columns = np.nonzero(occupancy.probability[0] > 0.5)
        px = occupancy.origin_m[0] + (columns + 0.5) * occupancy.resolution_m
        py = occupancy.origin_m[1] + (rows + 0.5) * occupancy.resolution_m
        along, across = px * np.cos(bearing) + py * np.sin(bearing), -px * np.sin(bearing) + py * np.cos(bearing)
        half = ROBOT_RADIUS_M + 0.5 * occupancy.resolution_m
        ahead = along[(np.abs(across) < half) & (along > half)]
        room_m = max(0.0, min(float(ahead.min(initial=np.inf)) - ROBOT_RADIUS_M - 0.5, distance))
        return np.array([min(MAX_SPEED_MPS, np.sqrt(2 * STOP_DECELERATION_MPS2 * room_m) * 0.5), turn]), None


def make_method(name: str) -> Method:
    """A way to drive, by its name in METHODS."""
    makers: dict[str, Callable[[], Method]] = {
        "stop and go": StopAndGo,
        "current costmap": lambda: PredictAndPlan("persistence", "constant_velocity", people=False),
        "constant velocity": lambda: PredictAndPlan("persistence", "constant_velocity", people=True),
        "jepa_ros": lambda: PredictAndPlan("scene_jepa", None, people=True),
        "true future": TrueFuture,
        "follow path": lambda: FollowPath("scene_jepa", None, people=True),
        "follow path on a current costmap": lambda: FollowPath("persistence", "constant_velocity", people=False),
    }
    return makers[name]()


METHODS = ("stop and go", "current costmap", "constant velocity", "jepa_ros", "true future")
PATH_METHODS = ("follow path", "follow path on a current costmap")  # asked for by name


def make_planner() -> Planner:
    """The planner that all methods share."""
    return Planner(PlannerConfig(robot_radius_m=ROBOT_RADIUS_M, dt_s=TICK_S, steps=HORIZON * round(DT_S / TICK_S)))


def follow(plan: Plan) -> tuple[FloatArray, Plan]:
    """The first command of a plan; zero without a plan."""
    return (plan.commands[0] if len(plan.commands) else np.zeros(2)), plan


def without_people(scene: SceneState) -> SceneState:
    """The same scene in which nobody is tracked."""
    nobody = TrackedPeople(
        np.zeros(0, np.int64),
        np.zeros((0, 2)),
        np.zeros((0, 2)),
        np.zeros(0),
        np.zeros(0),
        Tracks(np.zeros((0, 1, 2)), np.zeros((0, 1), bool), DT_S),
    )
    times_s = scene.pedestrians.times_s
    shape = (0, 1, len(times_s))
    return replace(
        scene, people=nobody, pedestrians=PedestrianForecast(np.zeros((*shape, 2)), np.ones((0, 1)), np.zeros((*shape, 2, 2)), times_s)
    )


def true_scene(simulation: Simulation, observation: Observation, commands: FloatArray) -> SceneState:
    """The next 4.8 s as they will be under these commands, in the frames of the observation."""
    future = fork(simulation)
    anchor = observation.odom_from_anchor
    world_from_base = simulation.world_from_base()
    base_from_world = np.linalg.inv(world_from_base)
    here = world_from_base[:2, 3]
    here_yaw = float(np.arctan2(world_from_base[1, 0], world_from_base[0, 0]))
    serials = simulation.crowd.serials[simulation.crowd.present]
    paths = np.full((len(serials), HORIZON, 2), np.nan)
    static = _turned(standing(simulation, here, BEV_GRID), here_yaw)
    layers = [_with_vehicles(static, simulation, base_from_world)]
    for step, command in enumerate(commands):
        future.command(*command)
        future.advance(TICK_S)
        if (step + 1) % round(DT_S / TICK_S) == 0:
            k = (step + 1) // round(DT_S / TICK_S) - 1
            index = {int(s): i for i, s in enumerate(future.crowd.serials) if future.crowd.present[i]}
            for row, serial in enumerate(serials):
                if int(serial) in index:
                    paths[row, k] = future.crowd.positions_m[index[int(serial)]]
            layers.append(_with_vehicles(static, future, base_from_world))
    now = simulation.crowd.positions_m[simulation.crowd.present]
    for row in range(len(paths)):  # whoever leaves stays where last seen
        last = now[row]
        for k in range(HORIZON):
            last = paths[row, k] = last if np.isnan(paths[row, k, 0]) else paths[row, k]
    odom_from_world = anchor @ base_from_world
    rotation, shift = odom_from_world[:2, :2], odom_from_world[:2, 3]
    times_s = DT_S * np.arange(1, HORIZON + 1)
    count = len(serials)
    positions = now @ rotation.T + shift
    velocities = simulation.crowd.velocities_mps[simulation.crowd.present] @ rotation.T
    people = TrackedPeople(
        serials.astype(np.int64),
        positions,
        velocities,
        np.ones(count),
        np.full(count, 0.3),
        Tracks(positions[:, None], np.ones((count, 1), bool), DT_S),
    )
    sure = np.broadcast_to(0.02**2 * np.eye(2), (count, 1, HORIZON, 2, 2))
    return SceneState(
        stamp_ns=observation.stamp_ns,
        anchor_pose=anchor,
        ego=observation.ego,
        latent=np.zeros((0, 0)),
        predicted=np.zeros((0, 0, 0)),
        occupancy=OccupancyForecast(np.stack(layers), np.concatenate(([0.0], times_s)), BEV_GRID.resolution_m, BEV_GRID.origin_m),
        people=people,
        pedestrians=PedestrianForecast((paths @ rotation.T + shift)[:, None], np.ones((count, 1)), sure, times_s),
        surprise=float("nan"),
    )


def fork(simulation: Simulation) -> Simulation:
    """A simulation that goes on from this moment by itself. It shares the place, which never changes, and has no bodies."""
    other = copy.copy(simulation)
    other.crowd = copy.copy(simulation.crowd)
    for name, value in vars(simulation.crowd).items():
        if isinstance(value, np.ndarray):
            setattr(other.crowd, name, value.copy())
        elif isinstance(value, np.random.Generator):
            setattr(other.crowd, name, copy.deepcopy(value))
    other.vehicles = [copy.copy(vehicle) for vehicle in simulation.vehicles]
    other.ego = copy.copy(simulation.ego)
    return other


def _turned(world_YX: np.ndarray, yaw_rad: float) -> np.ndarray:
    """A grid along the world's axes, read along the robot's: nearest cell."""
    half = BEV_GRID.rows * BEV_GRID.resolution_m / 2
    axis = (np.arange(BEV_GRID.rows) + 0.5) * BEV_GRID.resolution_m - half
    x, y = np.meshgrid(axis, axis)
    c, s = np.cos(yaw_rad), np.sin(yaw_rad)
    column = np.floor((c * x - s * y + half) / BEV_GRID.resolution_m).astype(int)
    row = np.floor((s * x + c * y + half) / BEV_GRID.resolution_m).astype(int)
    inside = (column >= 0) & (column < BEV_GRID.columns) & (row >= 0) & (row < BEV_GRID.rows)
    turned = np.zeros_like(world_YX)
    turned[inside] = world_YX[row[inside], column[inside]]
    return turned


def _with_vehicles(static_YX: np.ndarray, simulation: Simulation, base_from_world: FloatArray) -> np.ndarray:
    axis_x = BEV_GRID.origin_m[0] + (np.arange(BEV_GRID.columns) + 0.5) * BEV_GRID.resolution_m
    axis_y = BEV_GRID.origin_m[1] + (np.arange(BEV_GRID.rows) + 0.5) * BEV_GRID.resolution_m
    grid = static_YX.copy()
    for vehicle in simulation.vehicles:
        for disc in vehicle.discs() @ base_from_world[:2, :2].T + base_from_world[:2, 3]:
            near = (axis_x[None] - disc[0]) ** 2 + (axis_y[:, None] - disc[1]) ** 2 <= vehicle.measures.disc_radius_m**2
            grid[near] = 1.0
    return grid
