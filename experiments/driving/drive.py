"""One episode with one method, from start to end, and its record."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from experiments.driving.methods import TICK_S, make_method
from experiments.driving.worlds import MAX_SPEED_MPS, ROBOT_RADIUS_M, Episode, make_world
from jepa_ros.sim.people.social_force import RADIUS_M
from jepa_ros.sim.sensors.recording import Recorder
from jepa_ros.sim.sensors.rig import Lidar
from jepa_ros.sim.simulation import SUBSTEP_S, Simulation
from jepa_ros.types import NANOSECONDS, EgoState, FloatArray, LidarSweep, Observation, Plan

LIDAR = Lidar(rings=32, azimuths=450)
REACHED_M = 0.7  # true distance; the robot itself judges by odometry that drifts
WATCHED_TICKS = 5  # the robot stands and sees before it is sent off, as one that has been switched on does
TIME_FACTOR, TIME_SPARE_S = 3.0, 15.0  # an episode ends after 3 times the best time and 15 s
TOUCH_M = 0.02
STANDING_MPS = 0.05
BEHIND_COS = -0.5
FROZEN_S = 5.0
FREE_S = 1.0  # without a touch for this long, the next one is another contact
PERSONAL_SPACE_M = 0.5


@dataclass(frozen=True)
class Outcome:
    """What came of one episode. Distances are between the discs of robot and person."""

    place: str
    density: str
    seed: int
    method: str
    reached: bool
    at_fault: int  # contacts that the moving robot drove into: people, vehicles, walls; ahead of it or beside it
    at_fault_with: tuple[str, ...]
    hit_by: int  # contacts by people or vehicles while it stood
    struck: int  # contacts by people or vehicles from behind its motion
    nearest_m: float  # to any person
    intrusion: float  # share of the time within 0.5 m of somebody
    time_s: float
    time_optimum_s: float
    length_m: float
    length_optimum_m: float
    frozen_s: float  # time in standstills of more than 5 s
    planning_ms: float  # median of perception and planning, this machine

    @property
    def success(self) -> bool:
        return self.reached and self.at_fault == 0


@dataclass
class Trace:
    """Where everybody was, for pictures."""

    robot: list[FloatArray] = field(default_factory=list)  # (3,) world
    people: list[FloatArray] = field(default_factory=list)  # (P, 2) world
    vehicles: list[list[tuple[str, FloatArray]]] = field(default_factory=list)  # kind, (3,) world
    plans: list[FloatArray] = field(default_factory=list)  # (L, 2) world
    contacts: list[tuple[int, str]] = field(default_factory=list)  # tick, what


def drive(episode: Episode, method: str, tracks: Path | None, trace: Trace | None = None) -> Outcome:
    """Run an episode to its end: the goal, or the time limit. Nothing in it depends on this machine's speed."""
    world = make_world(episode, tracks)
    simulation = world.simulation
    driver = make_method(method)
    recorder = Recorder(simulation, episode.seed, LIDAR, None, 0)
    base_from_world = np.linalg.inv(simulation.world_from_base())  # odometry starts here
    goal = np.array([*(base_from_world[:2, :2] @ world.goal_m + base_from_world[:2, 3]), np.nan])
    optimum_s = world.optimum_m / MAX_SPEED_MPS
    for tick in range(WATCHED_TICKS):
        driver.command(observe(recorder, tick), goal, simulation)
        simulation.command(0.0, 0.0)
        for _ in range(round(TICK_S / SUBSTEP_S)):
            recorder.step(SUBSTEP_S)
    watch = Watch(simulation)
    spent_ms, reached, tick = [], False, 0
    while tick * TICK_S < TIME_FACTOR * optimum_s + TIME_SPARE_S and not reached:
        observation = observe(recorder, WATCHED_TICKS + tick)
        started_s = time.perf_counter()
        command, plan = driver.command(observation, goal, simulation)
        spent_ms.append(1e3 * (time.perf_counter() - started_s))
        if trace is not None:
            remember(trace, simulation, observation, plan)
        simulation.command(*command)
        for _ in range(round(TICK_S / SUBSTEP_S)):
            recorder.step(SUBSTEP_S)
            touched = watch.look(tick)
            if trace is not None and touched:
                trace.contacts.append((tick, touched))
        tick += 1
        reached = bool(np.linalg.norm(simulation.ego.pose[:2] - world.goal_m) < REACHED_M)
    return watch.outcome(episode, method, reached, optimum_s, world.optimum_m, float(np.median(spent_ms)))


def observe(recorder: Recorder, tick: int) -> Observation:
    """What the robot measures now, as sensing would hand it on."""
    frame = recorder.frame()
    assert frame.scan is not None
    stamp_ns = NANOSECONDS + round(tick * TICK_S * NANOSECONDS)
    points = frame.scan.points_m + recorder.rig.base_from_lidar[:3, 3].astype(np.float32)
    sweep = LidarSweep(stamp_ns, points, frame.scan.intensity, frame.scan.ring.astype(np.int32), None, recorder.rig.base_from_lidar)
    ego = EgoState(stamp_ns, frame.odom_from_base, np.array([frame.speed_mps, 0.0]), frame.yaw_rate_radps)
    return Observation(stamp_ns, ego, sweep)


class Watch:
    """Looks at every substep of a drive."""

    def __init__(self, simulation: Simulation) -> None:
        self._simulation = simulation
        self._at_fault: list[str] = []
        self._hit_by = self._struck = 0
        self._nearest_m = np.inf
        self._near = self._looks = 0
        self._length_m = self._frozen_s = self._standing_s = 0.0
        self._last_pose = simulation.ego.pose.copy()
        self._touched_at = -FREE_S / SUBSTEP_S - 1  # in looks
        self._speed_mps = 0.0

    def look(self, tick: int) -> str | None:
        """After each substep. What the robot is newly at fault of touching, if anything."""
        simulation, self._looks = self._simulation, self._looks + 1
        people = simulation.crowd.positions_m[simulation.crowd.present]
        gap_m = float(np.linalg.norm(people - simulation.ego.pose[:2], axis=1).min(initial=np.inf)) - ROBOT_RADIUS_M - RADIUS_M
        self._nearest_m = min(self._nearest_m, gap_m)
        self._near += gap_m < PERSONAL_SPACE_M
        moved_m = float(np.linalg.norm(simulation.ego.pose[:2] - self._last_pose[:2]))
        before_mps, self._speed_mps = self._speed_mps, abs(simulation.ego.speed_mps)
        self._length_m += moved_m
        self._last_pose = simulation.ego.pose.copy()
        self._count_standing(self._speed_mps < STANDING_MPS)
        return self._count_contact(gap_m, before_mps)

    def _count_contact(self, gap_m: float, before_mps: float) -> str | None:
        """One contact is counted once, until the robot has been free for a while."""
        ran_into = self._simulation.blocked_by if before_mps > STANDING_MPS else None
        if ran_into is None and gap_m >= TOUCH_M:
            return None
        free_s, self._touched_at = (self._looks - self._touched_at) * SUBSTEP_S, self._looks
        if free_s <= FREE_S:
            return None
        if ran_into is None and before_mps <= STANDING_MPS:
            self._hit_by += 1
            return None
        touched = ran_into or "person"
        if self._is_behind(touched):
            self._struck += 1
            return None
        self._at_fault.append(touched)
        return touched

    def _is_behind(self, kind: str) -> bool:
        """Whether the nearest of its kind lies behind the robot, which never drives backwards: more than 120 degrees off its heading."""
        if kind == "wall":
            return False
        crowd, ego = self._simulation.crowd, self._simulation.ego
        others = [crowd.positions_m[crowd.present]] if kind == "person" else [vehicle.discs() for vehicle in self._simulation.vehicles]
        offset = np.concatenate(others) - ego.pose[:2]
        nearest = offset[np.linalg.norm(offset, axis=1).argmin()]
        heading = np.array([np.cos(ego.pose[2]), np.sin(ego.pose[2])])
        return bool(nearest @ heading < BEHIND_COS * np.linalg.norm(nearest))

    def _count_standing(self, stands: bool) -> None:
        if stands:
            self._standing_s += SUBSTEP_S
            return
        if self._standing_s > FROZEN_S:
            self._frozen_s += self._standing_s
        self._standing_s = 0.0

    def outcome(self, episode: Episode, method: str, reached: bool, optimum_s: float, optimum_m: float, planning_ms: float) -> Outcome:
        self._count_standing(False)
        return Outcome(
            place=episode.place,
            density=episode.density,
            seed=episode.seed,
            method=method,
            reached=reached,
            at_fault=len(self._at_fault),
            at_fault_with=tuple(self._at_fault),
            hit_by=self._hit_by,
            struck=self._struck,
            nearest_m=self._nearest_m,
            intrusion=self._near / max(self._looks, 1),
            time_s=self._looks * SUBSTEP_S,
            time_optimum_s=optimum_s,
            length_m=self._length_m,
            length_optimum_m=optimum_m,
            frozen_s=self._frozen_s,
            planning_ms=planning_ms,
        )


def remember(trace: Trace, simulation: Simulation, observation: Observation, plan: Plan | None) -> None:
    """Appends what one tick of a drive showed to its trace."""
    world_from_odom = simulation.world_from_base() @ np.linalg.inv(observation.ego.odom_from_base)
    path = plan.path[:, :2] if plan is not None else np.zeros((0, 2))
    trace.robot.append(simulation.ego.pose.copy())
    trace.people.append(simulation.crowd.positions_m[simulation.crowd.present].copy())
    trace.vehicles.append([(vehicle.kind, vehicle.pose.copy()) for vehicle in simulation.vehicles])
    trace.plans.append(path @ world_from_odom[:2, :2].T + world_from_odom[:2, 3])
