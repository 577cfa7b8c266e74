"""PlanningScene, all that a planner needs: what is free, occupied or unseen, the moving objects, and the robot's state.

Axes: P person, T forecast time, Y/X grid rows and columns.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from jepa_ros.objects.scene.cells import with_movers, without_movers
from jepa_ros.objects.scene.objects import SceneObject, objects_of
from jepa_ros.types import NANOSECONDS, EgoState, FloatArray, OccupancyForecast, PedestrianForecast, SceneState


@dataclass(frozen=True)
class Boxes:
    """The shapes of those who are no discs, in odom. Axes as in `Moving`; K modes, H steps."""

    halves_m: FloatArray  # (P, 2) half the length and width; 0, 0 for a disc
    yaws: FloatArray  # (P,) now
    headings: FloatArray  # (P, K, H) of each mode
    vehicles: NDArray[np.bool_]  # (P,) which are vehicles, and not cyclists or discs


@dataclass(frozen=True)
class Moving:
    """All moving people, now and later, in odom. Row i of `forecast` is row i of the others."""

    positions_m: FloatArray  # (P, 2)
    existence: FloatArray  # (P,) probability that there is somebody
    radii_m: FloatArray  # (P,) of the footprint; 0 for boxes
    forecast: PedestrianForecast
    boxes: Boxes | None = None  # None = all are discs
    kept_m: FloatArray | None = None  # (P,) distance to be kept from each, as if it were part of them; None = none is asked for
    ids: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))  # (P,) of people, -1 of vehicles; empty = nobody asks
    vehicles: tuple[SceneObject, ...] = ()  # all that are seen, those that stand too: for who asks for one by its name


@dataclass(frozen=True)
class PlanningScene:
    """One moment, as a planner sees it."""

    stamp_ns: int  # of the forecasts
    anchor_pose: FloatArray  # (4, 4) odom_from_anchor
    ego: EgoState  # may be newer than the forecasts
    occupancy: OccupancyForecast  # anchor frame: what stands, without those who move; `seen` says where a sensor has looked
    moving: Moving  # what moves
    surprise: float = math.nan  # 0-1, as in SceneState
    sensors: tuple[str, ...] = ()  # which of "lidar", "camera" the forecasts were made from

    @classmethod
    def of(cls, state: SceneState) -> PlanningScene:
        """The part of a pipeline's answer that matters to a planner."""
        moving = moving_of(state.people.positions_m, state.people.existence, state.people.radii_m, state.pedestrians, objects_of(state))
        stands = without_movers(with_movers(state).occupancy)
        return cls(state.stamp_ns, state.anchor_pose, state.ego, stands, moving, state.surprise, state.sensors)

    @property
    def stamp_s(self) -> float:
        return self.stamp_ns / NANOSECONDS

    @property
    def anchor_from_odom(self) -> FloatArray:
        return np.linalg.inv(self.anchor_pose)


def moving_of(
    positions_m: FloatArray, existence: FloatArray, radii_m: FloatArray, forecast: PedestrianForecast, objects: Sequence[SceneObject]
) -> Moving:
    """All moving people and vehicles. `objects`: the people of the other arguments, row by row, then vehicles.

    People are discs, cyclists and vehicles boxes. A vehicle that stands, or of which one is not sure, is left to the occupancy, which shows
    it as it was seen and as the world model predicts it.
    """
    count, modes = forecast.probabilities.shape
    driving = [told for told in objects[count:] if told.surely_drives]
    riding = np.array([told.kind == "cyclist" for told in objects[:count]], bool)
    ids = np.array([told.id for told in objects[:count]] + [-1] * len(driving), np.int64)
    if not driving and not riding.any():
        return Moving(positions_m, existence, radii_m, forecast, ids=ids, vehicles=tuple(objects[count:]))
    if count == 0 and driving:
        modes, forecast = len(driving[0].probabilities), replace(forecast, times_s=driving[0].times_s)
    everyone = [told.at(forecast.times_s) for told in (*objects[:count], *driving)]
    chosen = [np.resize(np.arange(min(len(told.probabilities), modes)), modes) for told in everyone]
    new = np.array([np.arange(modes) < len(told.probabilities) for told in everyone])  # the others are copies of no weight
    weights = np.array([told.probabilities[index] for told, index in zip(everyone, chosen, strict=True)]) * new
    joined = PedestrianForecast(
        np.array([told.poses[index, :, :2] for told, index in zip(everyone, chosen, strict=True)]),
        weights / weights.sum(axis=1, keepdims=True),
        np.array([told.covariances_m2[index] for told, index in zip(everyone, chosen, strict=True)]),
        forecast.times_s,
    )
    boxed = np.concatenate((riding, np.ones(len(driving), bool)))
    boxes = Boxes(
        np.array([0.5 * told.box[3:] for told in everyone]) * boxed[:, None],
        np.array([told.box[2] for told in everyone]),
        np.array([told.poses[index, :, 2] for told, index in zip(everyone, chosen, strict=True)]),
        np.array([told.kind == "vehicle" for told in everyone], bool),
    )
    places = np.concatenate((positions_m.reshape(-1, 2), np.array([told.box[:2] for told in driving]).reshape(-1, 2)))
    belief = np.concatenate((existence, [told.existence for told in driving]))
    radii = np.where(boxed, 0.0, np.concatenate((radii_m, np.zeros(len(driving)))))
    return Moving(places, belief, radii, joined, boxes, ids=ids, vehicles=tuple(objects[count:]))


def known_and_unseen(occupancy: OccupancyForecast) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """(T, Y, X) probability without a value that is no number, and (Y, X) True where nothing is known.

    A probability that is not a number is no knowledge: its cell counts as unseen.
    """
    probability_TYX = occupancy.probability
    unseen_YX = np.zeros(probability_TYX.shape[1:], bool) if occupancy.seen is None else ~occupancy.seen
    if not np.isfinite(probability_TYX).all():
        unseen_YX = unseen_YX | ~np.isfinite(probability_TYX).all(axis=0)
        probability_TYX = np.nan_to_num(probability_TYX, nan=0.0, posinf=1.0, neginf=0.0)
    return probability_TYX, unseen_YX
