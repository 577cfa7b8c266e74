"""Simulated traffic as the trackers of a robot see it, with what is true. Axes: A agents."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from jepa_ros.movers import TrackedVehicles, VehicleDetections
from jepa_ros.objects.tracking import PeopleTracker
from jepa_ros.objects.vehicles.tracking import VehicleTracker
from jepa_ros.sim.simulation import Simulation
from jepa_ros.types import NANOSECONDS, EgoState, FloatArray, TrackedPeople

TICK_S = 0.1
BOX_NOISE = np.array([0.12, 0.12, 0.04, 0.1, 0.05])  # of a detected box: m, m, rad, m, m
PLACE_NOISE_M = 0.08  # of a person or cyclist
BIAS_M, BIAS_S = 0.1, 1.5  # errors that stay for a while: other parts of a body are seen
MISSED = 0.08  # share of sweeps in which somebody is not found
SETTLING_S = 4.0
PARKED_FROM = 1000  # ids of what is parked, in Simulation.agents
SHARPEST_M = 32.0  # radius of bends
JUMP_M = 6.0  # who moves further in a tick has come in again at the other end


@dataclass(frozen=True)
class World:
    """What is simulated."""

    place: str = "crossing"
    seed: int = 0
    seconds: float = 60.0
    density: float = 1.0  # times the usual number of vehicles
    people: int | None = None  # None: as many as the place has
    pace: float = 1.0  # times the speed of all that happens: accelerations go with its square
    faster: float = 1.0  # times the speeds that drivers want
    bend_per_m: float = 0.0  # curvature of the place, whose streets are straight otherwise
    every: int = 1  # ticks between sweeps
    noise: float = 1.0  # times the noise of the detectors
    lively: bool = True

    @staticmethod
    def drawn(seed: int, seconds: float) -> World:
        """One of many, all alike in distribution: of `seed` all else follows."""
        g = np.random.default_rng([seed, 7])
        place = ("street", "crossing")[seed % 2]
        bend = float(g.uniform(-1, 1) / SHARPEST_M) if g.random() < 0.5 else 0.0
        density, people, every, noise = g.uniform(1.0, 3.0), g.integers(4, 17), g.integers(1, 3), g.uniform(0.5, 1.5)
        pace = g.uniform(0.7, 1.6)
        return World(place, seed, seconds, float(density), int(people), float(pace), 1.0, bend, int(every), float(noise))


@dataclass(frozen=True)
class Moment:
    """One sweep: what the trackers say, and the truth."""

    time_s: float
    vehicles: TrackedVehicles
    people: TrackedPeople
    ego: EgoState | None
    ids: np.ndarray  # (A,) of those that are truly there; who comes in anew at the other end is somebody else
    places_m: FloatArray  # (A, 2)
    cyclists: np.ndarray  # (A,) bool
    vehicles_too: np.ndarray  # (A,) bool: cars


def watch(world: World) -> Iterator[Moment]:
    """Every sweep of a world."""
    simulation = Simulation(world.place, world.seed, world.people, traffic=world.density, lively=world.lively)
    for vehicle in (simulation.ego, *simulation.vehicles):
        vehicle.wanted_mps *= world.faster
    simulation.advance(SETTLING_S)
    seen = Seen(np.random.default_rng([world.seed, 8]), world.noise)
    numbers: dict[int, tuple[int, FloatArray]] = {}
    newest = 0
    for tick in range(round(world.seconds / TICK_S)):
        simulation.advance(world.pace * TICK_S)
        agents = [agent for agent in simulation.agents() if not (agent.kind == "car" and agent.id >= PARKED_FROM)]
        keys = [agent.id if agent.kind != "person" else -1 - agent.id for agent in agents]
        for key, agent in zip(keys, agents, strict=True):
            before = numbers.get(key)
            if before is None or np.linalg.norm(before[1] - agent.position_m[:2]) > JUMP_M:
                newest += 1
                numbers[key] = (newest, agent.position_m[:2])
            numbers[key] = (numbers[key][0], agent.position_m[:2].copy())
        if tick % world.every:
            continue
        ids = np.array([numbers[key][0] for key in keys])
        boxes = np.array([[*a.position_m[:2], a.yaw_rad, *a.size_m[:2]] for a in agents]).reshape(-1, 5)
        boxes[:, :3] = bent(boxes[:, :3], world.bend_per_m)
        x, y, yaw = bent(simulation.ego.pose[None], world.bend_per_m)[0]
        pose = np.eye(4)
        pose[:2, :2], pose[:2, 3] = [[np.cos(yaw), -np.sin(yaw)], [np.sin(yaw), np.cos(yaw)]], (x, y)
        ego = EgoState(0, pose, np.array([world.pace * simulation.ego.speed_mps, 0.0]), world.pace * simulation.ego_yaw_rate_radps)
        yield seen.look(tick * TICK_S, boxes, np.array([a.kind for a in agents]), ids, ego)


class Seen:
    """Detectors with errors, and the trackers behind them."""

    def __init__(self, generator: np.random.Generator, noise: float = 1.0) -> None:
        """noise: times the usual errors of places."""
        self._g, self._noise = generator, noise
        self._vehicles, self._people = VehicleTracker(), PeopleTracker()
        self._bias: dict[int, FloatArray] = {}
        self._last_s = 0.0

    def look(self, time_s: float, boxes: FloatArray, kinds: np.ndarray, ids: np.ndarray, ego: EgoState | None) -> Moment:
        """Take in the true boxes (A, 5) of agents, who are each "car", "cyclist" or "person"; ego None = it is not known."""
        g, noise = self._g, self._noise
        cars, riders = kinds == "car", kinds == "cyclist"
        fade = np.exp(-max(time_s - self._last_s, TICK_S) / BIAS_S)
        old, step = self._bias, np.sqrt(1 - fade**2) * BIAS_M * noise
        self._bias = {i: fade * old.get(i, np.zeros(2)) + step * g.normal(size=2) for i in ids.tolist()}
        self._last_s = time_s
        seen_at = boxes[:, :2] + np.array([self._bias[i] for i in ids.tolist()]).reshape(-1, 2)
        found = g.random(len(ids)) > MISSED
        stamp_ns = NANOSECONDS + round(time_s * NANOSECONDS)
        told = np.column_stack((seen_at, boxes[:, 2:]))[cars & found]
        told = told + noise * BOX_NOISE * g.normal(size=told.shape)
        told[:, 2] %= np.pi
        count = len(told)
        lidar_m = np.zeros(2) if ego is None else ego.odom_from_base[:2, 3].copy()
        vehicles = self._vehicles.update(
            stamp_ns, VehicleDetections(told, np.full(count, 0.95), np.full(count, 1.5), np.zeros(count), lidar_m)
        )
        own = ~cars & found
        places = seen_at[own] + noise * PLACE_NOISE_M * g.normal(size=(int(own.sum()), 2))
        looks = np.where(riders[own], 0.9, 0.05)
        people = self._people.update(stamp_ns, places, np.full(len(places), 0.3), np.full(len(places), 0.9), looks)
        return Moment(time_s, vehicles, people, ego, ids, boxes[:, :2], riders, cars)


def bent(poses: FloatArray, bend_per_m: float) -> FloatArray:
    """(A, 3) poses of a straight street along x as they are where it bends: x runs along an arc, y stays the distance to its left."""
    if bend_per_m == 0.0:
        return poses
    angle = bend_per_m * poses[:, 0]
    across = 1.0 / bend_per_m - poses[:, 1]
    return np.column_stack((across * np.sin(angle), 1.0 / bend_per_m - across * np.cos(angle), poses[:, 2] + angle))
