"""All people, cyclists and vehicles of a scene in one list of oriented boxes: for messages, markers, pictures and planners.

Axes: P people, K modes, H steps.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from jepa_ros.movers import CYCLIST_SIZE_M, BoxForecast, TrackedVehicles
from jepa_ros.types import FloatArray, PedestrianForecast, SceneState, TrackedPeople

CLASSES = ("person", "cyclist", "vehicle")
PERSON_HEIGHT_M, CYCLIST_HEIGHT_M = 1.7, 1.75
DRIVES_MPS = 0.5  # a slower vehicle stands
SURE = 0.75  # existence from which a box is planned on: groups of people are taken for vehicles at up to 0.63, 7 of 10 real ones are above
FACING_FROM_MPS = 0.3  # below, a track's velocity says nothing of where somebody faces


@dataclass(frozen=True)
class SceneObject:
    """One object, in odom."""

    id: int
    chances: tuple[float, float, float]  # person, cyclist, vehicle: what it is, given that it is there
    box: FloatArray  # (5,) x m, y m, yaw rad, length m, width m
    height_m: float
    velocity_mps: FloatArray  # (2,)
    yaw_rate_radps: float
    existence: float
    poses: FloatArray  # (K, H, 3) x m, y m, yaw rad of the middle of the box
    probabilities: FloatArray  # (K,)
    covariances_m2: FloatArray  # (K, H, 2, 2)
    times_s: FloatArray  # (H,)

    def at(self, times_s: FloatArray) -> SceneObject:
        """The same with its forecast at other times: places between steps are interpolated, after the last step they are held."""
        if np.array_equal(self.times_s, times_s):
            return self
        after = np.searchsorted(self.times_s, times_s).clip(1, len(self.times_s) - 1)
        share = ((times_s - self.times_s[after - 1]) / (self.times_s[after] - self.times_s[after - 1])).clip(0.0, 1.0)
        step = np.where(share < 0.5, after - 1, after)
        place = self.poses[:, after - 1, :2] * (1 - share[:, None]) + self.poses[:, after, :2] * share[:, None]
        poses = np.concatenate((place, self.poses[:, step, 2:]), axis=-1)
        return replace(self, poses=poses, covariances_m2=self.covariances_m2[:, step], times_s=times_s)

    @property
    def surely_drives(self) -> bool:
        """Whether this is a vehicle in motion on whose forecast one can rely; others are left to the occupancy."""
        return self.kind == "vehicle" and bool(np.hypot(*self.velocity_mps) >= DRIVES_MPS) and self.existence >= SURE

    @property
    def kind(self) -> str:
        """The likeliest of CLASSES."""
        return CLASSES[int(np.argmax(self.chances))]


class Movers(NamedTuple):
    """Who is tracked, and where they are expected, in odom: of a `SceneState` that is still being made."""

    people: TrackedPeople
    pedestrians: PedestrianForecast
    vehicles: TrackedVehicles
    vehicle_forecast: BoxForecast


def objects_of(movers: Movers | SceneState) -> list[SceneObject]:
    """People and cyclists in the order of their rows, then vehicles."""
    return [*_people(movers), *_vehicles(movers)]


def _people(movers: Movers | SceneState) -> list[SceneObject]:
    people, forecast = movers.people, movers.pedestrians
    if not len(people.ids):
        return []
    velocities, times_s = people.velocities_mps, np.asarray(forecast.times_s)
    chance = np.zeros(len(people.ids)) if people.riding is None else people.riding
    yaws = np.where(np.hypot(*velocities.T) > FACING_FROM_MPS, np.arctan2(velocities[:, 1], velocities[:, 0]), 0.0)
    sizes = np.where(people.cyclists[:, None], CYCLIST_SIZE_M, 2 * people.radii_m[:, None])
    boxes = np.column_stack((people.positions_m, yaws, sizes))
    here = np.broadcast_to(people.positions_m[:, None, None], (*forecast.modes_m.shape[:2], 1, 2))
    steps = np.diff(forecast.modes_m, axis=2, prepend=here)
    moves = np.hypot(steps[..., 0], steps[..., 1]) > FACING_FROM_MPS * np.diff(times_s, prepend=0.0)
    headings = _held(np.arctan2(steps[..., 1], steps[..., 0]), moves, yaws[:, None, None])
    poses = np.concatenate((forecast.modes_m, headings[..., None]), axis=-1)
    return [
        SceneObject(
            id=int(people.ids[row]),
            chances=(1.0 - float(chance[row]), float(chance[row]), 0.0),
            box=boxes[row],
            height_m=CYCLIST_HEIGHT_M if people.cyclists[row] else PERSON_HEIGHT_M,
            velocity_mps=velocities[row],
            yaw_rate_radps=0.0,
            existence=float(people.existence[row]),
            poses=poses[row],
            probabilities=forecast.probabilities[row],
            covariances_m2=forecast.covariances_m2[row],
            times_s=times_s,
        )
        for row in range(len(people.ids))
    ]


def _held(values: FloatArray, known: NDArray[np.bool_], first: FloatArray) -> FloatArray:
    """(P, K, H) the newest known value of each row up to each step, `first` before there is one."""
    last = np.maximum.accumulate(np.where(known, np.arange(values.shape[-1]), -1), axis=-1)
    found: FloatArray = np.where(last >= 0, np.take_along_axis(values, np.maximum(last, 0), axis=-1), first)
    return found


def _vehicles(movers: Movers | SceneState) -> list[SceneObject]:
    vehicles, forecast = movers.vehicles, movers.vehicle_forecast
    return [
        SceneObject(
            id=int(vehicles.ids[row]),
            chances=(0.0, 0.0, 1.0),
            box=vehicles.boxes[row],
            height_m=float(vehicles.heights_m[row]),
            velocity_mps=vehicles.velocities_mps[row],
            yaw_rate_radps=float(vehicles.yaw_rates_radps[row]),
            existence=float(vehicles.existence[row]),
            poses=forecast.poses[row],
            probabilities=forecast.probabilities[row],
            covariances_m2=forecast.covariances_m2[row],
            times_s=np.asarray(forecast.times_s),
        )
        for row in range(len(vehicles))
    ]
