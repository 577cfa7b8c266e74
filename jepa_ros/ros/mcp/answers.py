"""What the tools answer: typed, in m, s and m/s, places relative to the robot (ahead, left)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from jepa_ros.msg import OccupancyForecast, PedestrianForecastArray
from jepa_ros.ros import readers
from jepa_ros.types import FloatArray, PlanStatus
from jepa_ros.types import OccupancyForecast as Forecast

OCCUPIED = 0.5
SECTORS = {"ahead": 0.0, "left": 90.0, "behind": 180.0, "right": -90.0}


@dataclass(frozen=True)
class Person:
    """Someone tracked. `id` stays the same over time."""

    id: int
    ahead_m: float
    left_m: float
    speed_mps: float
    certainty: float


@dataclass(frozen=True)
class Scene:
    """Now, or predicted. `nearest_occupied_m`: by direction, up to the edge of the forecast; absent where nothing stands there."""

    in_s: float
    people: list[Person]
    nearest_occupied_m: dict[str, float]
    unseen_share: float  # of the area, where nothing is known: it is neither free nor occupied
    surprise: float | None  # 0-1, 0.5 is usual, above 0.98 is worth a look
    sensors: list[str]


@dataclass(frozen=True)
class Imagined:
    """What the world model predicts of a motion that is not made."""

    status: str
    collision_probability: float | None
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


def scene_at(occupancy: OccupancyForecast, people: PedestrianForecastArray | None, surprise: float | None, in_s: float) -> Scene:
    """The scene `in_s` from now, by the newest forecasts."""
    forecast = readers.occupancy_of(occupancy)
    step = int(np.argmin(np.abs(forecast.times_s - in_s))) if len(forecast.times_s) else 0
    anchor_from_odom = np.linalg.inv(readers.received_of(occupancy).odom_from_anchor)
    unseen = float(1.0 - forecast.seen.mean()) if forecast.seen is not None and forecast.seen.size else 1.0
    return Scene(
        in_s=round(float(forecast.times_s[step]), 2) if len(forecast.times_s) else 0.0,
        people=_people(people, anchor_from_odom, in_s) if people is not None else [],
        nearest_occupied_m=_nearest(forecast, step) if forecast.probability.size else {},
        unseen_share=round(unseen, 2),
        surprise=None if surprise is None or math.isnan(surprise) else round(surprise, 3),
        sensors=list(occupancy.sensors),
    )


def _people(message: PedestrianForecastArray, anchor_from_odom: FloatArray, in_s: float) -> list[Person]:
    found = []
    for person in message.pedestrians:
        place = person.pose.position
        if in_s > 0 and person.modes and len(person.times_s):
            place = person.modes[0].positions[int(np.argmin(np.abs(np.asarray(person.times_s) - in_s)))]
        ahead, left = (anchor_from_odom @ np.array([place.x, place.y, 0.0, 1.0]))[:2]
        speed = math.hypot(person.velocity.x, person.velocity.y)
        found.append(Person(person.id, round(ahead, 1), round(left, 1), round(speed, 1), round(person.existence_probability, 2)))
    return sorted(found, key=lambda person: math.hypot(person.ahead_m, person.left_m))


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
