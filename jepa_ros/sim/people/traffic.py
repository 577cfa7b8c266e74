"""Vehicles on lanes: cars, cyclists and the ego. They follow, turn, obey signals and brake for people.

What drivers do beyond that is in `drivers`.

Car following is the intelligent driver model: Treiber, Hennecke and Helbing, "Congested traffic states in empirical observations and
microscopic simulations" (2000).
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from jepa_ros.sim.people.signals import signal_is_red
from jepa_ros.sim.people.social_force import RADIUS_M
from jepa_ros.sim.places.layout import Lane
from jepa_ros.types import FloatArray

MAX_ACCELERATION_MPS2, COMFORT_BRAKE_MPS2, HARD_BRAKE_MPS2 = 1.6, 2.2, 7.0
FREE_MOST = 2.5  # who means to be slower, with nothing ahead, brakes no harder than 1.5 times as hard as it speeds up
ASIDE_MPS, ASIDE_SHARE, ASIDE_TIME_S = 1.1, 0.25, 1.0  # how fast a vehicle changes its place across the lane
FAR_M = 1e3
LOOK_AHEAD_M = 40.0
IN_LANE_M = 1.5


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
class Intent:
    """What a driver wants beyond following the lane; see `drivers`."""

    hold: bool = False  # wants to stand
    haste: float = 1.0  # times the wanted speed
    aside_m: float = 0.0  # wants to drive this far to the left of the middle of the lane
    stop_arc_m: float | None = None  # gives way: stops before this place


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
    briskness: float = 1.0  # times the usual accelerations; headways are divided by it
    aside_m: float = 0.0  # left of the middle of the lane
    intent: Intent = field(default_factory=Intent)

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
    path, intent = vehicle.lane.path, vehicle.intent
    gap, closing = _gap_ahead(vehicle, others, people_m, people_mps, time_s)
    bend = float(np.interp(vehicle.arc_m, path.arc_m, path.bend_speed_mps))
    wanted = 0.05 if hold or intent.hold else min(intent.haste * vehicle.wanted_mps, bend)
    acceleration = _idm(vehicle, wanted, gap, closing)
    vehicle.speed_mps = max(0.0, vehicle.speed_mps + acceleration * dt_s)
    vehicle.arc_m = min(vehicle.arc_m + vehicle.speed_mps * dt_s, path.length_m)
    vehicle.pose = path.pose(vehicle.arc_m)
    _move_aside(vehicle, dt_s)


def _move_aside(vehicle: Vehicle, dt_s: float) -> None:
    """Towards where the driver wants to be across the lane, no faster than wheels allow."""
    if vehicle.aside_m == vehicle.intent.aside_m == 0.0:
        return
    limit = min(ASIDE_MPS, ASIDE_SHARE * vehicle.speed_mps)
    rate = float(np.clip((vehicle.intent.aside_m - vehicle.aside_m) / ASIDE_TIME_S, -limit, limit))
    vehicle.aside_m += rate * dt_s
    x, y, yaw = vehicle.pose
    turn = np.arctan2(rate, max(vehicle.speed_mps, 0.5))
    vehicle.pose = np.array([x - vehicle.aside_m * np.sin(yaw), y + vehicle.aside_m * np.cos(yaw), yaw + turn])


def restart_if_done(vehicle: Vehicle, others: list[Vehicle], in_lane: bool = False) -> None:
    """At the end of its lane a vehicle comes in again at the start, once there is room. `in_lane`: whoever waits at the end of the other
    lane, beside the start of this one, does not count; else both may wait for each other for good."""
    if vehicle.arc_m < vehicle.lane.path.length_m - 1.0:
        return
    start = vehicle.lane.path.pose(0.0)
    offset = np.array([other.pose[:2] - start[:2] for other in others]).reshape(-1, 2)
    near = np.linalg.norm(offset, axis=1) <= 15.0
    if in_lane:
        near &= np.abs(offset[:, 1] * np.cos(start[2]) - offset[:, 0] * np.sin(start[2])) < IN_LANE_M
    if not near.any():
        vehicle.arc_m, vehicle.pose, vehicle.speed_mps = 0.0, start, vehicle.wanted_mps


def _idm(vehicle: Vehicle, wanted_mps: float, gap_m: float, closing_mps: float) -> float:
    speed, kind = vehicle.speed_mps, vehicle.measures
    most = vehicle.briskness * MAX_ACCELERATION_MPS2
    brake = speed * closing_mps / (2 * vehicle.briskness * np.sqrt(MAX_ACCELERATION_MPS2 * COMFORT_BRAKE_MPS2))
    desired_gap = kind.standstill_m + max(0.0, speed * kind.headway_s / vehicle.briskness + brake)
    free = min((speed / max(wanted_mps, 0.05)) ** 4, FREE_MOST if vehicle.intent.hold or vehicle.intent.haste != 1.0 else np.inf)
    return float(np.clip(most * (1 - free - (desired_gap / max(gap_m, 0.05)) ** 2), -HARD_BRAKE_MPS2, most))


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
    yielded = vehicle.intent.stop_arc_m
    if yielded is not None:
        gap = max(yielded - vehicle.arc_m + kind.standstill_m, 0.05)
        if gap < best:
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
    if vehicle.aside_m:
        lateral = np.abs(path.aside(everything, arc) - vehicle.aside_m)
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
