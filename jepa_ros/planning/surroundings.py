"""Obstacles around the start, inflated by the robot's size: where and when it would touch something. Anchor frame.

Axes: T forecast time, L plan step, P person, D disc that stands for the robot, J pose, Y/X grid rows and
columns.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from jepa_ros.planning.footprint import Footprint
from jepa_ros.planning.footprint.contact import highest_under, under
from jepa_ros.planning.grids import (
    at_times,
    cell_centres,
    clear_discs,
    crop,
    inflate,
    inside,
    split,
)
from jepa_ros.planning.guide import CostToGo, StandingMemory
from jepa_ros.planning.objective import Composable, CostWeights, detour_cost, occupancy_cost, people_cost
from jepa_ros.planning.people import people_future
from jepa_ros.planning.scene import PlanningScene, known_and_unseen
from jepa_ros.planning.start_contact import TOUCHES, StartContact
from jepa_ros.planning.verify import Verifier
from jepa_ros.types import FloatArray, GridSpec

AHEAD_M = 1.0  # a robot that stops before something stops nearer to it than this
HEADINGS = 16  # that a polygon is tried at where a goal has none


class Surroundings:
    """Occupancy inflated by the robot's radius, and people, within reach of the start; static obstacles on the whole grid.

    A polygon is a few discs to the search, itself to the verifier, and a disc as wide as it is narrow to the guide, which knows no heading.

    Where no sensor has looked a robot does not drive: to a motion, unseen is occupied. To the guide it is like free: the robot comes
    near and sees, and what is seen changes too often for the way to depend on it. The robot's own place is known, since it stands there:
    its footprint, and no more.
    """

    def __init__(
        self,
        scene: PlanningScene,
        start: FloatArray,
        reach_m: float,
        robot: Footprint | float,
        occupied_from: float,
        memory: StandingMemory,
    ) -> None:
        """start: x m, y m, yaw rad; without the last, 0. robot: a number is the radius of a disc, m."""
        occupancy = scene.occupancy
        self.footprint = footprint = Footprint.of(robot)
        self.discs_D2 = None if footprint.is_round else torch.as_tensor(footprint.discs_D2, dtype=torch.float32)
        self.occupied_from = occupied_from
        self.start, self.start_m = np.resize(np.append(start, 0.0), 3), start[:2]
        start_m, radius_m = self.start_m, footprint.disc_radius_m
        self.reach_m = reach_m
        self.times_s = occupancy.times_s
        grace_m = radius_m + occupancy.resolution_m
        around_m = grace_m if footprint.is_round else footprint.reach_m + grace_m
        self.people = people_future(scene, footprint)
        probability_TYX, unseen_YX = known_and_unseen(occupancy)
        local_TYX, self.grid = crop(probability_TYX, occupancy.grid, start_m, reach_m + around_m)
        unseen_1YX, _ = crop(unseen_YX[None].astype(np.float32), occupancy.grid, start_m, reach_m + around_m)
        # Under the robot a lidar sees the robot.
        local_TYX, unseen_1YX = (self._without_robot(volume, self.grid) for volume in (local_TYX, unseen_1YX))
        # Where a robot touches something does not end at the borders of coarse cells: on them, many a door would be too narrow.
        self.people_grid = self.grid  # people are blurred by their covariances anyway
        unseen_1YX, _ = split(unseen_1YX, self.grid)
        local_TYX, self.grid = split(local_TYX, self.grid)
        known_TYX = inflate(local_TYX, self.grid.resolution_m, radius_m)
        self._known_YX = known_TYX[0]
        self.inflated_TYX = np.maximum(known_TYX, inflate(unseen_1YX, self.grid.resolution_m, radius_m))
        self._judged_TYX = self.inflated_TYX if footprint.is_round else np.maximum(local_TYX, unseen_1YX)
        obstacle_YX = np.maximum(local_TYX[0], unseen_1YX[0]) >= 0.5 * occupied_from
        self.leaving = StartContact.of(self.inflated_TYX[0], obstacle_YX, self.grid, self.start, grace_m, self.discs_D2, self._touches())
        # What stays counts; what passes through, and nobody tracks, fades in the mean.
        standing_1YX = self._without_robot(probability_TYX.mean(axis=0, keepdims=True), occupancy.grid)
        standing_1YX = memory.believed(standing_1YX[0], occupancy.grid, scene.anchor_pose, scene.stamp_s)[None]
        self.standing_grid, self.standing_YX = occupancy.grid, standing_1YX[0]
        self.beside_YX = inflate(standing_1YX, occupancy.resolution_m, footprint.narrow_m)[0]

    def _touches(self) -> bool:
        """Whether a polygon touches something where it is; for a disc its inflated cell says so."""
        if self.footprint.is_round:
            return False
        pose_113 = torch.as_tensor(self.start[None, None], dtype=torch.float32)
        return bool(highest_under(self.footprint, torch.as_tensor(self._judged_TYX[:1]), self.grid, pose_113) >= TOUCHES)

    def _without_robot(self, volume_TYX: NDArray[np.float32], grid: GridSpec) -> NDArray[np.float32]:
        """A copy that is free where the robot is."""
        if self.footprint.is_round:
            return clear_discs(volume_TYX, grid, self.start_m[None], self.footprint.radius_m)
        return np.where(under(self.footprint, grid, self.start), np.float32(0.0), volume_TYX)

    def free_near(self, goal: FloatArray, tolerance_m: float) -> bool:
        """Whether the robot could stand at the goal (x m, y m, yaw rad or NaN) or within the tolerance of it. Out of reach of this plan it
        is taken as free: a crowd may stand there now, and more will be seen from nearby."""
        grid, goal_m = self.standing_grid, goal[:2]
        if not inside(grid, goal_m) or np.linalg.norm(goal_m - self.start_m) > self.reach_m:
            return True
        x, y = cell_centres(grid)
        distance_YX = np.hypot(x[None, :] - goal_m[0], y[:, None] - goal_m[1])
        near = distance_YX <= max(tolerance_m, 0.75 * grid.resolution_m)  # the goal's own cell at least
        if self.footprint.is_round:
            return bool((self.beside_YX[near] < self.occupied_from).any())
        rows, columns = near.nonzero()
        places = np.concatenate((goal_m[None], np.stack((x[columns], y[rows]), axis=-1)))
        headings = np.arange(HEADINGS) * (2.0 * np.pi / HEADINGS) if np.isnan(goal[2]) else goal[2:3]
        poses_J3 = np.concatenate((places.repeat(len(headings), axis=0), np.tile(headings, len(places))[:, None]), axis=1)
        standing_1YX, poses_J13 = torch.as_tensor(self.standing_YX)[None], torch.as_tensor(poses_J3[:, None], dtype=torch.float32)
        return bool((highest_under(self.footprint, standing_1YX, grid, poses_J13) < self.occupied_from).any())

    def way_to(self, goal_m: FloatArray, tolerance_m: float) -> CostToGo:
        return CostToGo(
            self.standing_YX,
            self.beside_YX,
            self.standing_grid,
            self.start_m,
            goal_m,
            tolerance_m,
            self.occupied_from,
            self.reach_m,
        )

    def unseen_ahead(self, way: CostToGo, point_m: FloatArray) -> FloatArray | None:
        """(2,) the first place on the way from a point where the robot would stand on what no sensor has looked at, if it is that which
        blocks the way there; None where something known does, or nothing near."""
        for place_m in way.ahead(point_m, AHEAD_M):
            column, row = ((place_m - np.array(self.grid.origin_m)) // self.grid.resolution_m).astype(int)
            inside_local = 0 <= row < self.grid.rows and 0 <= column < self.grid.columns
            if inside_local and self.inflated_TYX[0, row, column] >= self.occupied_from:
                return place_m if self._known_YX[row, column] < self.occupied_from else None
        return None

    def verifier(self, start_s: float) -> Verifier:
        """For paths that start `start_s` after the forecast's stamp."""
        return Verifier(self._judged_TYX, self.grid, self.times_s, self.people, self.footprint, start_s, self.leaving)

    def objective(self, way: CostToGo, times_L: FloatArray, dt_s: float, personal_space_m: float, weights: CostWeights) -> Composable:
        """Collisions, personal space and detours, for steps that end at `times_L` (s after the forecast's stamp)."""
        inflated_TYX = self.inflated_TYX if self.leaving is None else self.leaving.forgive(self.inflated_TYX)
        layers_LYX = torch.as_tensor(at_times(inflated_TYX, self.times_s, times_L))
        total: Composable = occupancy_cost(layers_LYX, self.grid, dt_s, self.occupied_from, weights, self.discs_D2)
        total = total + detour_cost(way, self.grid, len(times_L), weights)
        if len(self.people.radii_P) == 0:
            return total
        future = self.people.at(torch.as_tensor(times_L, dtype=torch.float32))
        if future.follows_P is not None:
            future = future.select(~future.follows_P)
        radius_m = self.footprint.disc_radius_m
        return total + people_cost(future, self.people_grid, dt_s, radius_m, personal_space_m, weights, self.discs_D2).split()
