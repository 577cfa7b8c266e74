"""Vehicles on lanes: cars, cyclists and the ego. They follow, turn, obey signals and brake for people.

Car following is the intelligent driver model: Treiber, Hennecke and Helbing, "Congested traffic states in empirical observations and
microscopic simulations" (2000).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from jepa_ros.sim.people.signals import signal_is_red
from jepa_ros.sim.people.social_force import RADIUS_M
from jepa_ros.sim.places.layout import Lane
from jepa_ros.types import FloatArray

MAX_ACCELERATION_MPS2, COMFORT_BRAKE_MPS2, HARD_BRAKE_MPS2 = 1.6, 2.2, 7.0
FAR_M = 1e3
LOOK_AHEAD_M = 40.0


@dataclass(frozen=True)
class Kind:
    """Measures of one kind of vehicle."""

    half_length_m: float
    half_width_m: float
    headway_s: float
    standstill_m: float
    disc_radius_m: float
    disc_offsets_m: tuple[float, ...]  # along the vehicle; the discs together cover the footprint


KINDS = {
    "car": Kind(2.2, 0.9, 1.2, 2.5, 1.05, (-1.35, 0.0, 1.35)),
    "cyclist": Kind(0.9, 0.3, 1.0, 1.5, 0.45, (-0.45, 0.45)),
    "robot": Kind(0.35, 0.3, 0.9, 0.5, 0.4, (0.0,)),
}


@dataclass
class Vehicle:
    """One vehicle on its lane."""

    kind: str
    lane: Lane
    arc_m: float
    speed_mps: float
    wanted_mps: float
    pose: FloatArray  # (3,) x m, y m, yaw rad
    ends: bool = False  # stands still at the end of its lane instead of coming in again

    @property
    def measures(self) -> Kind:
        return KINDS[self.kind]

    def discs(self) -> FloatArray:
        """(D, 2) centres of the discs that cover the vehicle."""
        forward = np.array([np.cos(self.pose[2]), np.sin(self.pose[2])])
        return self.pose[:2] + np.array(self.measures.disc_offsets_m)[:, None] * forward

    def velocity_mps(self) -> FloatArray:
        return self.speed_mps * np.array([np.cos(self.pose[2]), np.sin(self.pose[2])])


def populate(lanes: tuple[Lane, ...], ego: Vehicle, rng: np.random.Generator, traffic: float = 1.0) -> list[Vehicle]:
    """The vehicles of all lanes at the first moment, none near another or near the ego. `traffic`: times the usual number."""
    placed = [ego]
    for lane in lanes:
        for _ in range(round(traffic * lane.count)):
            for _attempt in range(20):
                arc = rng.uniform(0.0, lane.path.length_m - 5.0)
                pose = lane.path.pose(arc)
                if min(np.linalg.norm(pose[:2] - other.pose[:2]) for other in placed) > 11.0:
                    wanted = lane.speed_mps * rng.uniform(0.85, 1.1)
                    placed.append(Vehicle(lane.kind, lane, arc, 0.8 * wanted, wanted, pose))
                    break
    return placed[1:]


def advance(
    vehicle: Vehicle, others: list[Vehicle], people_m: FloatArray, people_mps: FloatArray, time_s: float, dt_s: float, hold: bool = False
) -> None:
    """Move one vehicle by dt_s along its lane. `hold`: the driver wants to stand."""
    path = vehicle.lane.path
    gap, closing = _gap_ahead(vehicle, others, people_m, people_mps, time_s)
    wanted = 0.05 if hold else min(vehicle.wanted_mps, float(np.interp(vehicle.arc_m, path.arc_m, path.bend_speed_mps)))
    acceleration = _idm(vehicle, wanted, gap, closing)
    vehicle.speed_mps = max(0.0, vehicle.speed_mps + acceleration * dt_s)
    vehicle.arc_m = min(vehicle.arc_m + vehicle.speed_mps * dt_s, path.length_m)
    vehicle.pose = path.pose(vehicle.arc_m)


def restart_if_done(vehicle: Vehicle, others: list[Vehicle]) -> None:
    """At the end of its lane a vehicle comes in again at the start, once there is room."""
    if vehicle.arc_m < vehicle.lane.path.length_m - 1.0:
        return
    start = vehicle.lane.path.pose(0.0)
    if all(np.linalg.norm(start[:2] - other.pose[:2]) > 15.0 for other in others):
        vehicle.arc_m, vehicle.pose, vehicle.speed_mps = 0.0, start, vehicle.wanted_mps


def _idm(vehicle: Vehicle, wanted_mps: float, gap_m: float, closing_mps: float) -> float:
    speed, kind = vehicle.speed_mps, vehicle.measures
    brake = speed * closing_mps / (2 * np.sqrt(MAX_ACCELERATION_MPS2 * COMFORT_BRAKE_MPS2))
    desired_gap = kind.standstill_m + max(0.0, speed * kind.headway_s + brake)
    free = (speed / max(wanted_mps, 0.05)) ** 4
    return float(
        np.clip(MAX_ACCELERATION_MPS2 * (1 - free - (desired_gap / max(gap_m, 0.05)) ** 2), -HARD_BRAKE_MPS2, MAX_ACCELERATION_MPS2)
    )


def _gap_ahead(vehicle: Vehicle, others: list[Vehicle], people_m: FloatArray, people_mps: FloatArray, time_s: float) -> tuple[float, float]:
    """Free metres to the nearest thing ahead on the lane, and the speed at which it comes nearer."""
    path, kind = vehicle.lane.path, vehicle.measures
    best, closing = FAR_M, 0.0
    if vehicle.ends:
        best, closing = path.length_m - vehicle.arc_m + kind.standstill_m, vehicle.speed_mps
    stop = vehicle.lane.stop_arc_m
    if stop is not None and signal_is_red(vehicle.lane.signal_group, time_s):
        gap = stop - vehicle.arc_m + kind.standstill_m - 0.5
        can_stop = vehicle.speed_mps**2 / (2 * 3.5) < gap
        if 0 < gap < best and can_stop:
            best, closing = gap, vehicle.speed_mps
    near = [other for other in others if other is not vehicle and np.abs(other.pose[:2] - vehicle.pose[:2]).max() < LOOK_AHEAD_M]
    close = np.abs(people_m - vehicle.pose[:2]).max(axis=1, initial=0.0) < LOOK_AHEAD_M
    people_m, people_mps = people_m[close], people_mps[close]
    points = [people_m, people_m + 0.8 * people_mps]
    sizes = [np.full((2 * len(people_m), 2), RADIUS_M)]
    for other in near:
        points.append(other.discs())
        sizes.append(np.full((len(other.measures.disc_offsets_m), 2), other.measures.half_width_m))
    everything = np.concatenate(points)
    if not len(everything):
        return best, closing
    arc, lateral = path.project(everything, vehicle.arc_m, vehicle.arc_m + LOOK_AHEAD_M)
    size = np.concatenate(sizes)[:, 0]
    gaps = arc - vehicle.arc_m - kind.half_length_m - size
    relevant = (lateral < kind.half_width_m + size + 0.3) & (arc > vehicle.arc_m + 0.5 * kind.half_length_m) & (gaps < best)
    if relevant.any():
        nearest = int(np.flatnonzero(relevant)[gaps[relevant].argmin()])
        best = max(float(gaps[nearest]), 0.05)
        closing = vehicle.speed_mps - _speed_along(nearest, vehicle, near, len(people_m))
    return best, closing


def _speed_along(index: int, vehicle: Vehicle, near: list[Vehicle], n_people: int) -> float:
    """Speed of the thing ahead in the vehicle's direction; people count as standing."""
    index -= 2 * n_people
    if index < 0:
        return 0.0
    for other in near:
        count = len(other.measures.disc_offsets_m)
        if index < count:
            return float(max(0.0, other.speed_mps * np.cos(other.pose[2] - vehicle.pose[2])))
        index -= count
    return 0.0
