"""One instant of a simulated crowd, continued with robots that move differently and with none: who gives way, and how far.

Axes: B a motion and a person, H step (0 = the instant).
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from jepa_ros.objects.time_steps import HISTORY, HORIZON, STEP_S
from jepa_ros.sim.people.crowd import Crowd
from jepa_ros.sim.people.social_force import Movers
from jepa_ros.sim.places.worlds import SCENARIOS
from jepa_ros.training.arrays import write_arrays
from jepa_ros.training.forecaster.crowds import SUBSTEPS, place_crowd
from jepa_ros.types import FloatArray

SETTLING_S, APART_S, INSTANTS = 8.0, 4.0, 12  # of a place
MOTIONS = 4  # of each instant
WITHIN_M = 12.0  # of the robot, now: everybody else is left out
CARS = 0.2  # share of the robots that are cars
BRAKES_MPS2, TURNS_RADPS = 3.0, 1.0


@dataclass(frozen=True)
class Branches:
    """B pairs."""

    people: NDArray[np.float32]  # (B, 4) x m, y m, velocity m/s at the instant
    robot: NDArray[np.float32]  # (B, H, 3) x m, y m, yaw rad
    size: NDArray[np.float32]  # (B, 2) radius, half the length of its middle line, m
    moved: NDArray[np.float32]  # (B, H - 1, 2) m from where the person is without a robot
    group: NDArray[np.int32]  # (B,) the same person at the same instant

    def save(self, path: Path) -> None:
        """Whole or not at all."""
        write_arrays(path, **vars(self))

    @staticmethod
    def load(paths: list[Path]) -> Branches:
        """Of all these places together."""
        places = [Branches(**np.load(path)) for path in paths]
        before = np.cumsum([0, *(place.group.max(initial=-1) + 1 for place in places[:-1])])
        return joined([replace(place, group=place.group + first) for place, first in zip(places, before, strict=True)])


def joined(parts: list[Branches]) -> Branches:
    """All of them, group by group as they are."""
    return Branches(**{name: np.concatenate([getattr(part, name) for part in parts]) for name in Branches.__dataclass_fields__})


@dataclass
class Robot:
    """A capsule that drives through a crowd and stops for nobody, so that all of them must."""

    pose: FloatArray  # (3,) x m, y m, yaw rad
    speed_mps: float
    radius_m: float
    half_m: float

    def movers(self) -> Movers:
        """Discs along its middle line."""
        ahead = np.array([np.cos(self.pose[2]), np.sin(self.pose[2])])
        offsets = np.linspace(-self.half_m, self.half_m, 3 if self.half_m else 1)[:, None]
        count = len(offsets)
        return Movers(self.pose[:2] + offsets * ahead, np.tile(self.speed_mps * ahead, (count, 1)), np.full(count, self.radius_m))

    def advance(self, wanted_mps: float, rate_radps: float, dt_s: float) -> None:
        """Drive on, changing speed as a robot can."""
        self.speed_mps += float(np.clip(wanted_mps - self.speed_mps, -BRAKES_MPS2 * dt_s, BRAKES_MPS2 * dt_s))
        self.pose = self.pose + dt_s * np.array([*(self.speed_mps * np.array([np.cos(self.pose[2]), np.sin(self.pose[2])])), rate_radps])


def place_branches(number: int, first_seed: int) -> Branches:
    """Of one simulated place, the scenarios in turn."""
    seed, scenario = first_seed + number, list(SCENARIOS)[number % len(SCENARIOS)]
    rng = np.random.default_rng([seed, 106])
    crowd = place_crowd(scenario, seed, rng)
    _advance(crowd, SETTLING_S, None)
    found: list[Branches] = []
    for instant in range(INSTANTS):
        _advance(crowd, APART_S, None)
        met = copy_of(crowd)
        robot = _robot_to_meet(met, rng)
        for _ in range(HISTORY):
            _advance(met, STEP_S, robot, robot.speed_mps)
        found += _instant(met, robot, rng, instant * 1000)
    return joined(found)


def copy_of(crowd: Crowd) -> Crowd:
    """One that goes on by itself; the place, which nobody changes, is shared."""
    shared = {id(part): part for part in (crowd._walk, crowd._obstacles)}
    return copy.deepcopy(crowd, shared)


def _robot_to_meet(crowd: Crowd, rng: np.random.Generator) -> Robot:
    """One that will be near somebody when the instant comes, heading more or less for where that person will be."""
    person, ahead_s = rng.integers(len(crowd.serials)), HISTORY * STEP_S
    met_m = crowd.positions_m[person] + ahead_s * crowd.velocities_mps[person]
    from_ahead = crowd.headings_rad[person] + rng.normal(0.0, 1.2)
    there_m = met_m + rng.uniform(1.0, 7.0) * np.array([np.cos(from_ahead), np.sin(from_ahead)])
    yaw = np.arctan2(*(met_m - there_m)[::-1]) + rng.normal(0.0, 0.5)
    car = rng.random() < CARS
    speed = rng.uniform(1.0, 8.0) if car else rng.uniform(0.0, 2.0)
    start_m = there_m - ahead_s * speed * np.array([np.cos(yaw), np.sin(yaw)])
    radius, half = (rng.uniform(0.8, 1.0), rng.uniform(1.2, 1.6)) if car else (rng.uniform(0.2, 0.6), 0.0)
    return Robot(np.array([*start_m, yaw]), speed, radius, half)


def _advance(crowd: Crowd, seconds: float, robot: Robot | None, wanted_mps: float = 0.0, rate_radps: float = 0.0) -> None:
    dt_s = STEP_S / SUBSTEPS
    for _ in range(round(seconds / dt_s)):
        if robot is not None:
            robot.advance(wanted_mps, rate_radps, dt_s)
        crowd.step(dt_s, None if robot is None else robot.movers())


def _instant(crowd: Crowd, robot: Robot, rng: np.random.Generator, first_group: int) -> list[Branches]:
    """Everybody near the robot, as some of its motions move them."""
    undisturbed, still, _ = _continued(crowd, None, 0.0, 0.0)
    near = np.hypot(*(crowd.positions_m - robot.pose[:2]).T) < WITHIN_M
    people = np.column_stack((crowd.positions_m, crowd.velocities_mps)).astype(np.float32)
    wanted = [(robot.speed_mps, 0.0), (0.0, 0.0)]
    wanted += [(robot.speed_mps * rng.uniform(0.3, 1.5), rng.uniform(-1.0, 1.0) * TURNS_RADPS) for _ in range(MOTIONS - len(wanted))]
    found = []
    for speed, rate in wanted:
        ways, there, poses = _continued(crowd, robot, speed, rate)
        keep = np.flatnonzero(near & still & there)
        size = np.broadcast_to([robot.radius_m, robot.half_m], (len(keep), 2)).astype(np.float32)
        poses = np.broadcast_to(poses, (len(keep), HORIZON + 1, 3)).astype(np.float32)
        moved, group = (ways - undisturbed)[keep].astype(np.float32), (first_group + keep).astype(np.int32)
        found.append(Branches(people[keep], poses, size, moved, group))
    return found


def _continued(crowd: Crowd, robot: Robot | None, speed: float, rate: float) -> tuple[FloatArray, NDArray[np.bool_], FloatArray]:
    """(P, H - 1, 2) ways, (P,) who is there throughout, and (H, 3) where the robot is; copies go on, the arguments stay."""
    crowd, robot = copy_of(crowd), copy.deepcopy(robot)
    serials, ways = crowd.serials.copy(), []
    poses = [np.zeros(3) if robot is None else robot.pose]
    for _ in range(HORIZON):
        _advance(crowd, STEP_S, robot, speed, rate)
        ways.append(crowd.positions_m.copy())
        poses.append(np.zeros(3) if robot is None else robot.pose)
    return np.stack(ways, axis=1), crowd.serials == serials, np.array(poses)
