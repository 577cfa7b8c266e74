"""PlanningScene, all that a planner needs: what is free, occupied or unseen, what moves, and where the robot is.

Axes: P person, T forecast time, Y/X grid rows and columns.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from jepa_ros.types import NANOSECONDS, EgoState, FloatArray, OccupancyForecast, PedestrianForecast, SceneState


@dataclass(frozen=True)
class Moving:
    """Everybody who moves, now and later, in odom. Row i of `forecast` is row i of the others."""

    positions_m: FloatArray  # (P, 2)
    existence: FloatArray  # (P,) probability that there is somebody
    radii_m: FloatArray  # (P,) of the footprint
    forecast: PedestrianForecast


@dataclass(frozen=True)
class PlanningScene:
    """One moment, as a planner sees it."""

    stamp_ns: int  # of the forecasts
    anchor_pose: FloatArray  # (4, 4) odom_from_anchor
    ego: EgoState  # may be newer than the forecasts
    occupancy: OccupancyForecast  # anchor frame; `seen` says where a sensor has looked
    moving: Moving
    surprise: float = math.nan  # 0-1, as in SceneState
    sensors: tuple[str, ...] = ()  # which of "lidar", "camera" the forecasts were made from

    @classmethod
    def of(cls, state: SceneState) -> PlanningScene:
        """The part of a pipeline's answer that matters to a planner."""
        people = state.people
        moving = Moving(people.positions_m, people.existence, people.radii_m, state.pedestrians)
        return cls(state.stamp_ns, state.anchor_pose, state.ego, state.occupancy, moving, state.surprise, state.sensors)

    @property
    def stamp_s(self) -> float:
        return self.stamp_ns / NANOSECONDS

    @property
    def anchor_from_odom(self) -> FloatArray:
        return np.linalg.inv(self.anchor_pose)


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
