"""The scene as a planner needs it: what a robot of this size would touch, where and when, around its start. Anchor frame.

Axes: T forecast time, L plan step, Y/X grid rows and columns.
"""

from __future__ import annotations

import numpy as np
import torch

from jepa_ros.planning.grids import (
    CostToGo,
    at_times,
    cell_centres,
    clear_disc,
    crop,
    forgive_start,
    inflate,
    inside,
)
from jepa_ros.planning.objective import Composable, CostWeights, detour_cost, occupancy_cost, people_cost
from jepa_ros.planning.people import people_future
from jepa_ros.planning.verify import Verifier
from jepa_ros.types import FloatArray, SceneState

PERSON_CLEARANCE_M = 0.5  # around people nothing is taken for a standing obstacle: they may step aside


class Surroundings:
    """Occupancy inflated by the robot's radius, and people, within reach of the start; what stands still, on the whole grid."""

    def __init__(self, scene: SceneState, start_m: FloatArray, reach_m: float, robot_radius_m: float, occupied_from: float) -> None:
        occupancy = scene.occupancy
        self.robot_radius_m = robot_radius_m
        self.occupied_from = occupied_from
        self.start_m = start_m
        self.times_s = occupancy.times_s
        grace_m = robot_radius_m + occupancy.resolution_m
        local_TYX, self.grid = crop(occupancy.probability, occupancy.grid, start_m, reach_m + grace_m)
        local_TYX = clear_disc(local_TYX, self.grid, start_m, robot_radius_m)
        inflated_TYX = inflate(local_TYX, self.grid.resolution_m, robot_radius_m)
        self.inflated_TYX = forgive_start(inflated_TYX, self.grid, start_m, grace_m)
        self.people = people_future(scene, robot_radius_m)
        # What stays counts; what passes through fades in the mean.
        standing_1YX = clear_disc(occupancy.probability.mean(axis=0, keepdims=True), occupancy.grid, start_m, robot_radius_m)
        for (x_m, y_m), radius_m in zip(self.people.means_PKT2[:, 0, 0].tolist(), self.people.radii_P.tolist(), strict=True):
            standing_1YX = clear_disc(standing_1YX, occupancy.grid, np.array([x_m, y_m]), radius_m + PERSON_CLEARANCE_M)
        standing_1YX = inflate(standing_1YX, occupancy.resolution_m, robot_radius_m)
        self.standing_grid = occupancy.grid
        self.standing_YX = forgive_start(standing_1YX, occupancy.grid, start_m, grace_m)[0]

    def free_near(self, goal_m: FloatArray, tolerance_m: float) -> bool:
        """Whether the robot could stand at the goal or within the tolerance of it; a goal beyond the grid is taken as free."""
        grid = self.standing_grid
        if not inside(grid, goal_m):
            return True
        x, y = cell_centres(grid)
        distance_YX = np.hypot(x[None, :] - goal_m[0], y[:, None] - goal_m[1])
        near = distance_YX <= max(tolerance_m, 0.75 * grid.resolution_m)  # the goal's own cell at least
        return bool((self.standing_YX[near] < self.occupied_from).any())

    def way_to(self, goal_m: FloatArray) -> CostToGo:
        return CostToGo(self.standing_YX, self.standing_grid, goal_m, self.occupied_from)

    def verifier(self, start_s: float) -> Verifier:
        """For paths that start `start_s` after the forecast's stamp."""
        return Verifier(self.inflated_TYX, self.grid, self.times_s, self.people, self.robot_radius_m, start_s)

    def objective(self, way: CostToGo, times_L: FloatArray, dt_s: float, personal_space_m: float, weights: CostWeights) -> Composable:
        """Collisions, personal space and detours, for steps that end at `times_L` (s after the forecast's stamp)."""
        layers_LYX = torch.as_tensor(at_times(self.inflated_TYX, self.times_s, times_L))
        total: Composable = occupancy_cost(layers_LYX, self.grid, dt_s, self.occupied_from, weights)
        total = total + detour_cost(way, self.grid, len(times_L), weights)
        if len(self.people.radii_P) == 0:
            return total
        future = self.people.at(torch.as_tensor(times_L, dtype=torch.float32))
        return total + people_cost(future, self.grid, dt_s, self.robot_radius_m, personal_space_m, weights)
