"""What each lidar of a sweep sees, from where it is: distance, direction and height of its returns. Anchor frame.

Axes: N point, M sampled point, A direction (one degree each, counted from behind the robot to the left).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from jepa_ros.sensing.voxelize import OCCUPIED_M, anchor_lidar, lidar_parts
from jepa_ros.types import FloatArray, Observation

DIRECTIONS = 360
ENOUGH_POINTS = 30_000  # returns that are sampled; more tell nothing new of 360 directions


@dataclass(frozen=True)
class LidarView:
    """The returns of one lidar. What several stages need of them is computed once, when it is first read."""

    points_m: NDArray[np.float32]  # (N, 3) over flattened ground
    origin_m: FloatArray  # (3,) of the lidar
    ground_z_m: float

    @property
    def height_m(self) -> float:
        """Of the lidar above the ground."""
        return float(self.origin_m[2]) - self.ground_z_m

    @cached_property
    def body_m(self) -> NDArray[np.float32]:
        """(B, 3) the returns at heights that make a cell occupied."""
        height = self.points_m[:, 2] - np.float32(self.ground_z_m)
        return self.points_m.take(np.flatnonzero((height >= OCCUPIED_M[0]) & (height <= OCCUPIED_M[1])), axis=0)

    @cached_property
    def sampled_m(self) -> NDArray[np.float32]:
        """(M, 3) enough of the points to know all directions."""
        return self.points_m[:: max(len(self.points_m) // ENOUGH_POINTS, 1)]

    @cached_property
    def polar(self) -> tuple[NDArray[np.float32], NDArray[np.intp]]:
        """(M,) horizontal distance from the lidar, m, and (M,) index of the direction, of the sampled points."""
        x, y = self.sampled_m[:, 0] - np.float32(self.origin_m[0]), self.sampled_m[:, 1] - np.float32(self.origin_m[1])
        return np.hypot(x, y), directions(x, y)

    @cached_property
    def heights_m(self) -> NDArray[np.float32]:
        """(M,) of the sampled points above the ground."""
        return self.sampled_m[:, 2] - np.float32(self.ground_z_m)

    @cached_property
    def first_m(self) -> NDArray[np.float32]:
        """(A,) distance of the first return that makes a cell occupied, and hides what is behind it; inf where there is none."""
        distance, direction = self.polar
        blocks = (self.heights_m >= OCCUPIED_M[0]) & (self.heights_m <= OCCUPIED_M[1])
        first_m = np.full(DIRECTIONS, np.inf, np.float32)
        np.minimum.at(first_m, direction[blocks], distance[blocks].astype(np.float32))
        return first_m


def lidar_views(observation: Observation) -> list[LidarView]:
    """One of each lidar in the sweep; none without a lidar."""
    points_m, origin_m, ground_z_m = observation.flattened_m, anchor_lidar(observation), observation.ground_height_m
    if origin_m is None:
        return []
    parts = [LidarView(points_m[part], place_m, ground_z_m) for part, place_m in lidar_parts(observation)]
    return parts or [LidarView(points_m, origin_m, ground_z_m)]


def directions(x: FloatArray, y: FloatArray) -> NDArray[np.intp]:
    """Index of the direction in which each place lies, seen from the origin of its coordinates."""
    return ((np.arctan2(y, x) + np.pi) * (DIRECTIONS / (2 * np.pi))).astype(np.intp) % DIRECTIONS
