"""What the tools answer: typed, in m, s and m/s, places relative to the robot (ahead, left)."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

from jepa_ros.msg import ObjectForecastArray, OccupancyForecast, PedestrianForecastArray
from jepa_ros.ros import readers
from jepa_ros.types import FloatArray, PlanStatus
from jepa_ros.types import OccupancyForecast as Forecast

OCCUPIED = 0.5
Placed = TypeVar("Placed", "Person", "Vehicle")
SECTORS = {"ahead": 0.0, "left": 90.0, "behind": 180.0, "right": -90.0}


@dataclass(frozen=True)
class Person:
    """Someone tracked, on foot or riding. `id` stays the same over time."""

    id: int
    kind: str  # person | cyclist
    ahead_m: float
    left_m: float
    speed_mps: float
    certainty: float


@dataclass(frozen=True)
class Vehicle:
    """A car or something larger, parked ones included. The place is that of its middle."""

    id: int
    ahead_m: float
    left_m: float
    speed_mps: float
    length_m: float
    width_m: float
    certainty: float


@dataclass(frozen=True)
class Scene:
    """Now, or predicted. `nearest_occupied_m`: by direction, up to the edge of the forecast; absent where nothing stands there."""

    in_s: float
    people: list[Person]
    vehicles: list[Vehicle]
    nearest_occupied_m: dict[str, float]
    unseen_share: float  # of the area, where nothing is known: it is neither free nor occupied
    surprise: float | None  # 0-1, 0.5 is usual, above 0.98 is worth a look
    sensors: list[str]


@dataclass(frozen=True)
class Imagined:
    """What the world model predicts of a motion that is not made."""

    status: str
    collision_probability: float | None  # if nobody gives way
    people_moved_m: float | None  # how far the person would step aside or wait whom the motion moves most
    message: str


@dataclass(frozen=True)
class Way:
    """The planner's answer. `accepted`: it is safe by the planner's own checks, limits and deadline."""

    accepted: bool
    moving: bool  # the goal has been handed to the controller
    status: str
    message: str  # why, where it was refused
    reaches_goal: bool
    distance_to_goal_m: float | None
    collision_probability: float | None
    would_work: str  # where it was refused: the nearest goal on the way there that is accepted now, or what to do


@dataclass(frozen=True)
class Said:
    """A plain answer."""

    done: bool
    message: str


@dataclass(frozen=True)
class Told:
    """The newest messages of world_model; None where a topic is silent."""

    occupancy: OccupancyForecast
    people: PedestrianForecastArray | None
    objects: ObjectForecastArray | None
    surprise: float | None


def scene_at(told: Told, in_s: float) -> Scene:
    """The scene `in_s` from now, by the newest forecasts."""
    occupancy, surprise = told.occupancy, told.surprise
    forecast = readers.occupancy_of(occupancy)
    step = int(np.argmin(np.abs(forecast.times_s - in_s))) if len(forecast.times_s) else 0
    anchor_from_odom = np.linalg.inv(readers.received_of(occupancy).odom_from_anchor)
    unseen = float(1.0 - forecast.seen.mean()) if forecast.seen is not None and forecast.seen.size else 1.0
    objects = [] if told.objects is None else told.objects.objects
    riders = {one.id for one in objects if one.cyclist_probability > max(one.person_probability, one.vehicle_probability)}
    driving = [one for one in objects if one.vehicle_probability > max(one.person_probability, one.cyclist_probability)]
    return Scene(
        in_s=round(float(forecast.times_s[step]), 2) if len(forecast.times_s) else 0.0,
        people=_nearest_first(_person(one, riders, anchor_from_odom, in_s) for one in (told.people.pedestrians if told.people else ())),
        vehicles=_nearest_first(_vehicle(one, anchor_from_odom, in_s) for one in driving),
        nearest_occupied_m=_nearest(forecast, step) if forecast.probability.size else {},
        unseen_share=round(unseen, 2),
        surprise=None if surprise is None or math.isnan(surprise) else round(surprise, 3),
        sensors=list(occupancy.sensors),
    )


def _nearest_first(found: Iterable[Placed]) -> list[Placed]:
    return sorted(found, key=lambda one: math.hypot(one.ahead_m, one.left_m))


def _place(told: Any, anchor_from_odom: FloatArray, in_s: float) -> tuple[float, float]:
    """(ahead, left) in m of a PedestrianForecast or an ObjectForecast."""
    place = told.pose.position
    if in_s > 0 and told.modes and len(told.times_s):
        place = told.modes[0].positions[int(np.argmin(np.abs(np.asarray(told.times_s) - in_s)))]
    ahead, left = (anchor_from_odom @ np.array([place.x, place.y, 0.0, 1.0]))[:2]
    return round(ahead, 1), round(left, 1)


def _person(told: Any, riders: set[int], anchor_from_odom: FloatArray, in_s: float) -> Person:
    speed, kind = math.hypot(told.velocity.x, told.velocity.y), "cyclist" if told.id in riders else "person"
    return Person(told.id, kind, *_place(told, anchor_from_odom, in_s), round(speed, 1), round(told.existence_probability, 2))


def _vehicle(told: Any, anchor_from_odom: FloatArray, in_s: float) -> Vehicle:
    speed, size, place = math.hypot(told.velocity.x, told.velocity.y), told.size, _place(told, anchor_from_odom, in_s)
    return Vehicle(told.id, *place, round(speed, 1), round(size.x, 1), round(size.y, 1), round(told.existence_probability, 2))


def _nearest(forecast: Forecast, step: int) -> dict[str, float]:
    rows, columns = np.nonzero(forecast.probability[step] >= OCCUPIED)
    x = forecast.origin_m[0] + forecast.resolution_m * (columns + 0.5)
    y = forecast.origin_m[1] + forecast.resolution_m * (rows + 0.5)
    angle, distance = np.degrees(np.arctan2(y, x)), np.hypot(x, y)
    nearest = {}
    for name, middle in SECTORS.items():
        inside = np.abs((angle - middle + 180.0) % 360.0 - 180.0) <= 45.0
        if inside.any():
            nearest[name] = round(float(distance[inside].min()), 1)
    return nearest


def way(response: object, accepted: bool, moving: bool, would_work: str) -> Way:
    """Of a PlanPath response."""
    status = response.status  # type: ignore[attr-defined]
    return Way(
        accepted=accepted,
        moving=moving,
        status=PlanStatus(status.code).name,
        message=status.message,
        reaches_goal=bool(response.reaches_goal),  # type: ignore[attr-defined]
        distance_to_goal_m=finite(response.distance_to_goal_m),  # type: ignore[attr-defined]
        collision_probability=finite(response.collision_probability),  # type: ignore[attr-defined]
        would_work=would_work,
    )


DRIVES = Way(True, True, PlanStatus.OK.name, "the planner accepted it and drives there", False, None, None, "")


def refused(over: object) -> Way:
    """Of a PursueGoal result that is not one of success."""
    status = over.status  # type: ignore[attr-defined]
    return Way(False, False, PlanStatus(status.code).name, status.message, False, None, None, over.would_work)  # type: ignore[attr-defined]


def finite(value: float) -> float | None:
    """JSON has no NaN."""
    return round(value, 3) if math.isfinite(value) else None
