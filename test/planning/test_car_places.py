"""A car in places of the simulator, closed loop: it passes gaps that it fits through, at its heading, and no others.

Judged by the walls and parked cars themselves; the planner sees their cells of 0.4 m.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from planning_scenes import make_scene, pose

from jepa_ros.planning import Limits, Planner, PlannerConfig
from jepa_ros.sim.places.furniture import CAR_HALF_M
from jepa_ros.sim.places.worlds import make_layout
from jepa_ros.types import EgoState, FloatArray, OccupancyForecast, Plan, PlanStatus, SceneState

CELL_M, CELLS = 0.4, 128
TICK_S = 0.4
LIMITS = Limits(max_speed_mps=2.0, max_reverse_mps=1.0, max_acceleration_mps2=1.5, wheelbase_m=2.7, max_steering_rad=0.6)
CAR = PlannerConfig(
    kinematics="bicycle",
    footprint="[[3.6, 0.9], [3.6, -0.9], [-0.9, -0.9], [-0.9, 0.9]]",  # 4.5 x 1.8 m, base_link at the rear axle
    limits=LIMITS,
    goal_tolerance_m=0.4,
    goal_tolerance_rad=0.25,
)
AS_LONG_DISC = replace(CAR, footprint="", robot_radius_m=2.25)


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def box(x: float, y: float, yaw: float, length: float, width: float) -> FloatArray:
    """(4, 2, 2) sides."""
    half = 0.5 * np.array([[length, width], [-length, width], [-length, -width], [length, -width]])
    corners = half @ np.array([[np.cos(yaw), np.sin(yaw)], [-np.sin(yaw), np.cos(yaw)]]) + (x, y)
    return np.stack((corners, np.roll(corners, -1, 0)), 1)


def along(sides: FloatArray, spacing_m: float) -> FloatArray:
    return np.concatenate(
        [a + np.linspace(0, 1, max(2, math.ceil(np.linalg.norm(b - a) / spacing_m) + 1))[:, None] * (b - a) for a, b in sides]
    )


class Place:
    """What stands, and a car in it that drives as planned."""

    def __init__(self, sides: FloatArray) -> None:
        self.sides = sides
        self._points = along(sides, 0.1)

    def scene(self, robot: FloatArray, speed_mps: float, stamp_ns: int) -> SceneState:
        """Cells stay where they are in the world."""
        corner = np.floor(robot[:2] / CELL_M) * CELL_M - 0.5 * CELLS * CELL_M
        cell = np.floor((self._points - corner) / CELL_M).astype(int)
        cell = cell[((cell >= 0) & (cell < CELLS)).all(1)]
        occupied = np.zeros((CELLS, CELLS), np.float32)
        occupied[cell[:, 1], cell[:, 0]] = 1.0
        bare = make_scene()
        times_s, (x, y) = bare.occupancy.times_s, corner - robot[:2]
        forecast = OccupancyForecast(np.repeat(occupied[None], len(times_s), 0), times_s, CELL_M, (float(x), float(y)))
        ego = EgoState(stamp_ns, pose(*robot), np.array([speed_mps, 0.0]))
        return replace(bare, stamp_ns=stamp_ns, anchor_pose=pose(robot[0], robot[1], 0.0), occupancy=forecast, ego=ego)

    def drive(self, start: tuple, goal: tuple, config: PlannerConfig, seconds: float) -> tuple[FloatArray, Plan]:
        """Poses, each after the first two steps of a plan, and the last plan."""
        planner, robot, speed, driven = Planner(config), np.array(start, float), 0.0, [np.array(start, float)]
        for tick in range(round(seconds / TICK_S)):
            plan = planner.plan(self.scene(robot, speed, round(1e9 * (1000 + TICK_S * tick))), np.array(goal, float), 10.0)
            if len(plan.path) > 2:
                robot, speed = plan.path[2], float(plan.commands[1, 0])
            driven.append(robot)
            if plan.reaches_goal and abs(speed) < 0.1 and math.dist(robot[:2], goal[:2]) < config.goal_tolerance_m:
                break
        return np.array(driven), plan

    def gap_m(self, driven: FloatArray, config: PlannerConfig) -> float:
        """Least distance from what stands to the robot's shape."""
        points, least_m = along(self.sides, 0.03), np.inf
        for x, y, yaw in driven:
            near = points[np.linalg.norm(points - (x, y), axis=1) < 8.0] - (x, y)
            at = near @ np.array([[np.cos(yaw), -np.sin(yaw)], [np.sin(yaw), np.cos(yaw)]])
            least_m = min(least_m, float(config.body.gap_squared(*torch.as_tensor(at).unbind(-1)).min().sqrt()))
        return least_m


def narrowed_street(gap_m: float) -> tuple[Place, FloatArray]:
    """A street of the simulator in which vehicles stand to both sides of the car's lane 11 m ahead, and its start."""
    layout = make_layout("street", 3)
    start = layout.ego_lane.path.pose(layout.ego_start_m)
    x, y = start[0] + 11.0, start[1]
    stand = [box(x, y + side * (0.5 * gap_m + 5.0), 0.0, 5.0, 10.0) for side in (1.0, -1.0)]
    return Place(np.concatenate((layout.standing.segments_m, *stand))), start


def test_in_a_street_a_car_drives_between_vehicles_that_leave_2_8_m() -> None:
    place, start = narrowed_street(2.8)
    goal = (start[0] + 18.0, start[1], math.nan)
    driven, plan = place.drive(tuple(start), goal, CAR, 24.0)
    assert plan.reaches_goal
    assert math.dist(driven[-1, :2], goal[:2]) < 0.5
    assert place.gap_m(driven, CAR) > 0.05
    disc, _ = place.drive((start[0] + 4.0, start[1], start[2]), goal, AS_LONG_DISC, 6.0)
    assert disc[-1, 0] < start[0] + 8.0, "a disc as long as the car does not fit"


def test_in_a_street_a_car_stays_before_vehicles_that_leave_1_4_m() -> None:
    place, start = narrowed_street(1.4)
    driven, plan = place.drive((start[0] + 2.0, start[1], start[2]), (start[0] + 18.0, start[1], math.nan), CAR, 10.0)
    assert not plan.reaches_goal
    assert driven[:, 0].max() < start[0] + 8.5, "at most a corner looks into the gap"
    assert place.gap_m(driven, CAR) > 0.05


def test_in_a_car_park_a_car_enters_a_bay_between_two_others_and_none_that_is_too_narrow() -> None:
    layout = make_layout("car_park", 2)
    row = layout.parked[layout.parked[:, 1] > layout.parked[:, 1].max() - 1.0]
    places = np.sort(row[:, 0])
    free = int(np.abs(np.diff(places) - 5.0).argmin())  # one bay of 2.5 m between two cars
    x, y = 0.5 * (places[free] + places[free + 1]), float(row[:, 1].mean())
    assert 2.9 < np.diff(places)[free] - 2.0 * CAR_HALF_M[1] < 3.4
    place = Place(layout.standing.segments_m)
    start, goal = (x - 1.6, -2.0, 1.1), (x, y - 1.3, 0.5 * math.pi)
    driven, plan = place.drive(start, goal, CAR, 20.0)
    assert plan.reaches_goal
    assert abs(driven[-1, 2] - goal[2]) < 0.25
    assert place.gap_m(driven, CAR) > 0.05
    first = place.scene(np.array(start), 0.0, 10**12)
    assert Planner(AS_LONG_DISC).plan(first, np.array(goal), 5.0).status is PlanStatus.INVALID_GOAL
    squeezed = Place(np.concatenate((place.sides, box(x + 1.0, y, 0.5 * math.pi, 4.3, 0.8))))
    assert Planner(CAR).plan(squeezed.scene(np.array(start), 0.0, 10**12), np.array(goal), 5.0).status is PlanStatus.INVALID_GOAL
