"""Low obstacles beside the robot: a lidar on a roof drives up to a pallet until its beams pass over it."""

from __future__ import annotations

import numpy as np

from jepa_ros.movers import Bodies
from jepa_ros.pipeline import WorldModelPipeline
from jepa_ros.planning import Planner
from jepa_ros.sensing.blind_zone import LowObstacles
from jepa_ros.sensing.lidar_view import LidarView
from jepa_ros.types import NANOSECONDS, EgoState, GridSpec, LidarSweep, Observation

GRID = GridSpec(64, 64, 0.4, (-12.8, -12.8))
ROOF = np.array([0.0, 0.0, 1.8])  # its lowest beam, 25 degrees down, meets the ground at 3.9 m
NOBODY = Bodies(np.zeros((0, 5)), np.zeros(0))
PALLET = np.array([8.0, 8.8, -0.6, 0.6, 0.6])  # in odom: x from, to, y from, to, top, m


def sweep(robot_x_m: float, boxes: list[np.ndarray], lidar: np.ndarray = ROOF, lowest_deg: float = -25.0) -> np.ndarray:
    """(N, 3) returns of 32 rings over level ground and boxes, in base_link of a robot at (robot_x_m, 0)."""
    azimuth, elevation = np.meshgrid(np.linspace(-np.pi, np.pi, 720, endpoint=False), np.radians(np.linspace(lowest_deg, 15.0, 32)))
    ray = np.stack((np.cos(elevation) * np.cos(azimuth), np.cos(elevation) * np.sin(azimuth), np.sin(elevation)), -1).reshape(-1, 3)
    with np.errstate(divide="ignore", invalid="ignore"):
        distance = np.where(ray[:, 2] < 0, -lidar[2] / ray[:, 2], np.inf)
        for x_from, x_to, y_from, y_to, top in boxes:
            low, high = np.array([x_from - robot_x_m, y_from, 0.0]) - lidar, np.array([x_to - robot_x_m, y_to, top]) - lidar
            enters = np.minimum(low / ray, high / ray).max(axis=1)
            leaves = np.maximum(low / ray, high / ray).min(axis=1)
            distance = np.where((enters <= leaves) & (enters > 0), np.minimum(distance, enters), distance)
    kept = distance < 40.0
    return (lidar + distance[kept, None] * ray[kept]).astype(np.float32)


class Drive:
    """A robot that looks wherever it is taken."""

    def __init__(self) -> None:
        self.memory = LowObstacles(GRID)

    def look(self, robot_x_m: float, boxes: list[np.ndarray], moving: Bodies = NOBODY, **lidar: object) -> np.ndarray:
        odom_from_anchor = np.eye(4)
        odom_from_anchor[0, 3] = robot_x_m
        view = LidarView(sweep(robot_x_m, boxes, **lidar), lidar.get("lidar", ROOF), 0.0)
        return self.memory.update(odom_from_anchor, [view], moving)

    def approach(self, boxes: list[np.ndarray], to_x_m: float = 6.6, moving: Bodies = NOBODY) -> np.ndarray:
        for x_m in np.arange(0.0, to_x_m, 0.15):
            self.look(x_m, boxes, moving)
        return self.look(to_x_m, boxes, moving)


def at(kept_YX: np.ndarray, x_m: float, y_m: float, grid: GridSpec = GRID) -> bool:
    column, row = np.floor((np.array([x_m, y_m]) - grid.origin_m) / grid.resolution_m).astype(int)
    return bool(kept_YX[row, column])


def test_a_pallet_that_the_beams_pass_over_is_still_there() -> None:
    points = sweep(6.6, [PALLET])
    assert not ((points[:, 2] > 0.3) & (points[:, 0] > 0)).any(), "no beam shows it from here"
    kept = Drive().approach([PALLET])
    assert at(kept, 1.6, 0.0)
    assert at(kept, 1.6, 0.4)
    assert not at(kept, 1.0, 0.0), "nothing stands before it"
    assert not at(kept, 1.6, 1.6), "nor beside it"


def test_nothing_is_kept_where_nothing_stood() -> None:
    assert not Drive().approach([]).any()


def test_what_a_beam_sees_to_be_gone_is_gone() -> None:
    drive = Drive()
    drive.approach([PALLET], to_x_m=3.0)
    assert not drive.look(3.0, []).any(), "from 5 m away beams come lower than it was"
    assert not drive.approach([], to_x_m=6.6).any()


def test_a_second_lidar_near_the_ground_sees_it_to_be_gone() -> None:
    drive = Drive()
    assert at(drive.approach([PALLET]), 1.6, 0.0)
    bumper = np.array([0.3, 0.0, 0.4])
    assert not drive.look(6.6, [], lidar=bumper, lowest_deg=-8.0).any()


def test_a_robot_that_waits_does_not_forget() -> None:
    drive = Drive()
    drive.approach([PALLET])
    for _ in range(40):
        kept = drive.look(6.6, [PALLET])
    assert at(kept, 1.6, 0.0)


def test_a_robot_that_has_driven_away_forgets() -> None:
    drive = Drive()
    drive.approach([PALLET])
    drive.look(-4.0, [PALLET])
    assert not drive.look(6.6, [PALLET]).any()


def test_a_worker_beside_a_pallet_does_not_take_it_along() -> None:
    drive = Drive()
    for x_m in np.arange(0.0, 6.6, 0.15):
        standing = np.array([8.2, 8.5, 0.8, 1.1, 1.7])
        drive.look(x_m, [PALLET, standing], Bodies(np.array([[8.35 - x_m, 0.95, 0.0, 0.0, 0.0]]), np.array([0.3])) if x_m > 3.0 else NOBODY)
    kept = drive.look(6.6, [PALLET])
    assert at(kept, 1.6, 0.0)
    assert at(kept, 1.6, 0.4), "right beside where the worker stood"


def test_who_walks_on_leaves_nothing_behind() -> None:
    dog = np.array([8.0, 8.6, -0.2, 0.2, 0.6])
    tracked = Bodies(np.array([[1.7, 0.0, 0.0, 0.0, 0.0]]), np.array([0.3]))
    untracked = Drive().approach([dog])
    assert at(untracked, 1.6, 0.0)
    drive = Drive()
    for x_m in np.arange(0.0, 6.6, 0.15):
        drive.look(x_m, [dog], Bodies(np.array([[8.3 - x_m, 0.0, 0.0, 0.0, 0.0]]), np.array([0.3])))
    assert not drive.look(6.6, [], tracked).any()


def test_it_lies_still_in_odom_while_the_robot_turns() -> None:
    drive = Drive()
    drive.approach([PALLET])
    turned = np.eye(4)
    turned[:2, :2], turned[0, 3] = [[0.0, -1.0], [1.0, 0.0]], 6.6  # to the left, on the spot
    points = sweep(6.6, [PALLET]) @ turned[:3, :3]
    kept = drive.memory.update(turned, [LidarView(points, ROOF, 0.0)], NOBODY)
    assert at(kept, 0.0, -1.6)
    assert not at(kept, 1.6, 0.0)


def test_after_the_stream_began_anew_nothing_is_believed() -> None:
    drive = Drive()
    drive.approach([PALLET])
    drive.memory.clear()
    assert not drive.look(6.6, [PALLET]).any()


def test_a_plan_keeps_off_what_it_no_longer_sees() -> None:
    pipeline, mount = WorldModelPipeline.load("persistence", device="cpu"), np.eye(4)
    mount[:3, 3] = ROOF
    for step, x_m in enumerate(np.arange(2.0, 6.8, 0.3)):
        stamp_ns, odom_from_base = NANOSECONDS + 200_000_000 * step, np.eye(4)
        odom_from_base[0, 3] = x_m
        lidar = LidarSweep(stamp_ns, sweep(x_m, [PALLET]), None, None, None, mount)
        scene = pipeline.step(Observation(stamp_ns, EgoState(stamp_ns, odom_from_base, np.array([1.5, 0.0])), lidar))
    occupancy = scene.occupancy
    assert all(at(layer >= 0.5, PALLET[0] - x_m + 0.1, 0.0, occupancy.grid) for layer in occupancy.probability)
    plan = Planner().plan(scene, np.array([10.5, 0.0, np.nan]), 5.0)
    inside = (plan.path[:, 0] > PALLET[0]) & (plan.path[:, 0] < PALLET[1]) & (np.abs(plan.path[:, 1]) < PALLET[3])
    assert not inside.any(), plan.path
