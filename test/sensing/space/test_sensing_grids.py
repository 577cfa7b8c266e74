"""Points to grids: the ground, occupancy, what can be seen, pillars."""

import itertools

import numpy as np
import pytest

from jepa_ros.levelling import gravity_aligned
from jepa_ros.sensing import (
    DEFAULT_GRID,
    GroundEstimator,
    SensingConfig,
    anchor_points,
    occupancy_grid,
    pillar_channels,
    pillars,
    visible_cells,
)
from jepa_ros.sensing.frames.poses import pose_matrix
from jepa_ros.sensing.ground import ground_height
from jepa_ros.sensing.hub.own_body import CAR, OwnBody, of_points, off_body, own_body
from jepa_ros.types import EgoState, GridSpec, LidarSweep, Observation

RNG = np.random.default_rng(0)
GRID = GridSpec(rows=20, columns=30, resolution_m=1.0, origin_m=(-10.0, -10.0))


def flat_ground(height_m: float, slope: float = 0.0, count: int = 4000) -> np.ndarray:
    xy = RNG.uniform(-25, 25, (count, 2))
    return np.column_stack((xy, height_m + slope * xy[:, 0] + RNG.normal(0, 0.02, count))).astype(np.float32)


def wall(x: float, y0: float, y1: float, z0: float, z1: float, count: int = 3000) -> np.ndarray:
    return np.column_stack((np.full(count, x), RNG.uniform(y0, y1, count), RNG.uniform(z0, z1, count))).astype(np.float32)


def observation(points_base: np.ndarray, pose: np.ndarray) -> Observation:
    sweep = LidarSweep(1, points_base.astype(np.float32), None, None, None, np.eye(4))
    return Observation(1, EgoState(1, pose, np.zeros(2)), sweep)


def test_anchor_points_are_level():
    pose = pose_matrix((50, 20, 3), (0.1, -0.05, 0.3, np.sqrt(1 - 0.1**2 - 0.05**2 - 0.3**2)))
    anchored = np.array([[10.0, 2, -1], [-4, -8, 0.5]])
    base_from_anchor = np.linalg.inv(pose) @ gravity_aligned(pose)
    in_base = anchored @ base_from_anchor[:3, :3].T + base_from_anchor[:3, 3]
    np.testing.assert_allclose(anchor_points(observation(in_base, pose)), anchored, atol=1e-4)


def without_own_body(sweep, box):
    return of_points(sweep, off_body(sweep.points_m, box))


def test_own_body_by_the_height_of_the_lidar():
    points = np.array([[-0.1, -1.6, 1.1], [0.2, 0.1, 0.5], [0, 3, 1]], np.float32)
    low, roof = (LidarSweep(1, points, points[:, 2], None, None, pose_matrix((0, 0, height), (0, 0, 0, 1))) for height in (0.8, 1.73))
    assert without_own_body(low, own_body(low, ground_height_m=0.0)).points_m.tolist() == points[[0, 2]].tolist()
    assert without_own_body(roof, own_body(roof, ground_height_m=0.0)).points_m.tolist() == points[[2]].tolist()
    # base_link at the height of the lidar, the ground 1.8 m below.
    assert own_body(low, ground_height_m=-1.0) == own_body(roof, ground_height_m=0.0)
    assert without_own_body(low, (-1, -2, 1, 4)).intensity.shape == (0,)
    with pytest.raises(ValueError, match="own_body_m"):
        SensingConfig(own_body_m=(1.0, 2.0))


def test_a_robot_with_a_mast_is_not_blind_as_far_as_a_car_is_long():
    """By the height of its lidar it is taken for a car, until it has moved a metre: what rides along is the robot, all else is not."""
    mast, floor, pole = [0.3, 0.1, 1.2], [1.5, -1.5, 0.02], [1.6, 0.4, 1.0]
    points = np.array([mast, floor, pole], np.float32)
    roof = LidarSweep(1, points, points[:, 2], None, None, pose_matrix((0, 0, 1.73), (0, 0, 0, 1)))

    def drive(body, stride_m, sweeps=12, ahead_m=8.0):
        for step in range(sweeps):  # towards a pole
            along_m = stride_m * step
            seen = points + np.array([[0.0, 0.0, 0.0], [0.0, 0.0, 0.0], [ahead_m - along_m, 0.0, 0.0]], np.float32)
            kept = body.others(seen, roof, 0.0, np.array([along_m, 0.0]))
        return kept

    guessed = OwnBody(None)
    assert guessed.others(points, roof, 0.0, np.zeros(2)).tolist() == [False, False, False]
    drive(guessed, 0.0)
    assert guessed.others(points, roof, 0.0, np.zeros(2)).tolist() == [False, False, False], "who stands learns nothing"
    drive(guessed, 0.2)
    assert guessed.others(points, roof, 0.0, np.zeros(2)).tolist() == [False, True, True]
    drive(guessed, 0.2, sweeps=100, ahead_m=0.0)
    assert guessed.others(points, roof, 0.0, np.zeros(2)).tolist() == [False, True, True], "whoever walks along later stays seen"
    configured = OwnBody(CAR)
    drive(configured, 0.2)
    assert configured.others(points, roof, 0.0, np.zeros(2)).tolist() == [False, False, False]


@pytest.mark.parametrize("ground_m", [-1.9, -0.35, 0.0, 0.2])
def test_ground_on_any_rig(ground_m):
    clutter = np.vstack([wall(x, -20, 20, ground_m, ground_m + 3) for x in (-12.0, 9.0, 15.0)])
    below = np.column_stack((RNG.uniform(-15, 15, (30, 2)), np.full(30, ground_m - 1.0)))  # reflections in puddles
    assert ground_height(np.vstack((flat_ground(ground_m), clutter, below))) == pytest.approx(ground_m, abs=0.08)


def scan_of(elevations_deg, surfaces, height_m=0.8, columns=360):
    """(N, 3) what a lidar at `height_m` sees: for each surface, a function from rays (N, 3) to distances; the nearest counts."""
    azimuth, elevation = (a.ravel() for a in np.meshgrid(np.linspace(-np.pi, np.pi, columns), np.radians(elevations_deg)))
    rays = np.column_stack((np.cos(elevation) * np.cos(azimuth), np.cos(elevation) * np.sin(azimuth), np.sin(elevation)))
    with np.errstate(divide="ignore", invalid="ignore"):
        distance = np.min([surface(rays, height_m) for surface in surfaces], axis=0)
    seen = np.isfinite(distance) & (distance < 60)
    return (rays * np.where(seen, distance, 0)[:, None] + (0, 0, height_m))[seen].astype(np.float32)


def floor(rays, height_m):
    return np.where(rays[:, 2] < 0, -height_m / rays[:, 2], np.inf)


def corridor(rays, height_m, above_m=0.0):
    """Walls at y = +-2.2 m, 3 m high, of which the lowest `above_m` are not reported."""
    distance = 2.2 / np.abs(rays[:, 1])
    z = height_m + distance * rays[:, 2]
    return np.where((z > above_m) & (z < 3.0), distance, np.inf)


LIDAR = np.array([0.0, 0.0, 0.8])
NO_GROUND = {
    "one plane": scan_of([0.0], [corridor]),
    "one plane, nodding down by 2 degrees": scan_of([-2.0], [corridor]),
    "two planes": scan_of([-1.0, 1.0], [corridor]),
    "four nearly level planes": scan_of([-0.8, -0.4, 0.4, 0.8], [corridor]),
    "32 beams, ground removed": scan_of(np.linspace(-25, 15, 32), [lambda rays, h: corridor(rays, h, 0.2)]),
    "16 beams, ground removed": scan_of(np.linspace(-15, 15, 16), [lambda rays, h: corridor(rays, h, 0.25)]),
}
GROUND = {
    "32 beams in a corridor": scan_of(np.linspace(-25, 15, 32), [floor, corridor]),
    "16 beams outdoors": scan_of(np.linspace(-15, 15, 16), [floor]),
    "a few beams that look down": scan_of([-12, -8, -5], [floor, corridor]),
}


@pytest.mark.parametrize("kind", ["32 beams in a corridor", "16 beams outdoors"])
def test_a_cloud_in_base_link_shows_the_ground_wherever_its_lidar_is(kind):
    """Its frame stands on the ground, where no lidar is (a driver that transforms, Autoware's concatenated cloud, datasets)."""
    assert ground_height(GROUND[kind], np.zeros(3)) == pytest.approx(0.0, abs=0.05)
    assert ground_height(GROUND[kind] + np.array([1.2, 0.4, 0.0]), np.zeros(3)) == pytest.approx(0.0, abs=0.05)


@pytest.mark.parametrize("kind", NO_GROUND)
def test_a_cloud_in_base_link_without_ground_shows_none(kind):
    assert ground_height(NO_GROUND[kind], np.zeros(3)) is None


@pytest.mark.parametrize("kind", NO_GROUND)
def test_what_shows_no_ground_is_not_taken_for_it(kind):
    points = NO_GROUND[kind]
    assert ground_height(points, LIDAR) is None
    estimator = GroundEstimator()
    assert estimator.update(points, LIDAR) == 0.0
    assert not estimator.seen
    grid = occupancy_grid(points, estimator.height_m)
    assert grid[54:58, 64:70].any() or grid[58:60, 64:70].any(), "the wall on the right is an obstacle"


@pytest.mark.parametrize("kind", GROUND)
def test_ground_is_known_where_it_is_shown(kind):
    estimator = GroundEstimator()
    lower = np.array([0.0, 0.0, -0.3])
    assert estimator.update(GROUND[kind] + lower, LIDAR + lower) == pytest.approx(-0.3, abs=0.05)
    assert estimator.seen
    estimator.update(NO_GROUND["one plane"], LIDAR)
    assert estimator.height_m == pytest.approx(-0.3, abs=0.05), "a sweep without ground changes nothing"


def test_a_low_level_lidar_still_sees_obstacles():
    """A plane 0.18 m above the floor, and base_link at the lidar: what it meets counts as standing."""
    for base_m in (0.0, 0.18):
        points = scan_of([0.0], [corridor], height_m=0.18) - (0, 0, base_m)
        estimator = GroundEstimator()
        estimator.update(points, np.array([0.0, 0.0, 0.18 - base_m]))
        assert occupancy_grid(points, estimator.height_m).sum() > 20


def test_ground_on_a_slope_is_that_below_the_vehicle():
    assert ground_height(flat_ground(-0.5, slope=0.03)) == pytest.approx(-0.5, abs=0.15)


def test_ground_is_smoothed_and_outlives_blindness():
    estimator = GroundEstimator(smoothing=0.2)
    assert estimator.update(np.zeros((0, 3), np.float32)) == 0.0
    assert estimator.update(flat_ground(-1.0)) == pytest.approx(-1.0, abs=0.08)
    assert estimator.update(flat_ground(-0.5)) == pytest.approx(-0.9, abs=0.08)
    assert estimator.update(np.zeros((3, 3), np.float32)) == pytest.approx(-0.9, abs=0.08)


def test_occupied_means_a_return_between_knee_and_head():
    points = np.array(
        [[0.5, 0.5, 0.29], [1.5, 0.5, 0.31], [2.5, 0.5, 1.99], [3.5, 0.5, 2.01], [-10.0, -10.0, 1.0], [20.0, 0.5, 1.0], [np.inf, 0, 1]],
        np.float32,
    )
    occupied = occupancy_grid(points - [0, 0, 1.5], -1.5, GRID)
    assert [tuple(cell) for cell in np.argwhere(occupied)] == [(0, 0), (10, 11), (10, 12)]  # [y, x]


def test_seen_up_to_the_first_obstacle_and_not_behind():
    points = np.vstack((wall(5.5, -2, 2, 0.3, 2.0), flat_ground(0.0, count=40_000), wall(12.5, -8, 8, 0.3, 2.0)))
    hidden = (points[:, 0] > 5.6) & (np.abs(points[:, 1] / points[:, 0]) < 2 / 5.5)
    seen = visible_cells(points[~hidden], 0.0, GRID)
    row = 10  # y = 0.5
    assert seen[row, 10:16].all()  # x = 0.5 .. 5.5: the way there and the wall itself
    assert not seen[row, 17:].any()
    assert seen[17, 12:19].all()  # to the side of the wall the ground shows the way
    assert not visible_cells(np.zeros((0, 3), np.float32), 0.0, GRID).any()


def test_what_is_seen_depends_on_where_the_sensor_stands():
    points = np.vstack([wall(5.5, -9, 9, 0.3, 2.0)])
    assert visible_cells(points, 0.0, GRID)[10, 12]
    assert not visible_cells(points, 0.0, GRID, sensor_xy_m=(8.0, 0.5))[10, 12]
    assert visible_cells(points, 0.0, GRID, sensor_xy_m=(8.0, 0.5))[10, 17]


def test_pillars_against_a_loop():
    points = RNG.uniform((-12, -12, -2), (22, 12, 6), (3000, 3)).astype(np.float32)
    intensity = RNG.uniform(0, 255, 3000).astype(np.float32)
    bands, ground = (-0.3, 0.3, 1.0, 2.0, 3.0), -0.5
    features = pillars(points, ground, GRID, bands, intensity)
    assert features.shape == (pillar_channels(bands), GRID.rows, GRID.columns)
    expected = np.zeros_like(features)
    for row in range(GRID.rows):
        for column in range(GRID.columns):
            height = points[:, 2] - np.float32(ground)
            own = (
                (np.floor(points[:, 0] + 10) == column) & (np.floor(points[:, 1] + 10) == row) & (height >= bands[0]) & (height < bands[-1])
            )
            if own.any():
                heads = [np.log1p(own.sum()) / 4, height[own].mean() / 2, height[own].max() / 2, intensity[own].mean() / 255]
                per_band = [np.log1p((own & (height >= low) & (height < high)).sum()) / 4 for low, high in itertools.pairwise(bands)]
                expected[:, row, column] = [*heads, *per_band]
    np.testing.assert_allclose(features, expected, atol=1e-5)


def test_pillars_of_nothing():
    features = pillars(np.zeros((0, 3), np.float32), 0.0)
    assert features.shape == (pillar_channels(), DEFAULT_GRID.rows, DEFAULT_GRID.columns)
    assert not features.any()
