"""Where a sensor has looked: judged on places that the tests cast rays through themselves."""

from __future__ import annotations

import numpy as np

from jepa_ros.sensing.lidar_view import LidarView
from jepa_ros.sensing.sight import Look, SightMemory, camera_look, lidar_look
from jepa_ros.types import NANOSECONDS, CameraImage, CameraModel, GridSpec

GRID = GridSpec(64, 64, 0.4, (-12.8, -12.8))
MOUNT = np.array([0.3, 0.0, 0.8])


def pose(x_m: float, y_m: float, yaw_rad: float = 0.0) -> np.ndarray:
    matrix = np.eye(4)
    matrix[:2, :2] = [[np.cos(yaw_rad), -np.sin(yaw_rad)], [np.sin(yaw_rad), np.cos(yaw_rad)]]
    matrix[:2, 3] = x_m, y_m
    return matrix


def returns(elevations_deg: list[float], columns: int, wall_x_m: float, wall_top_m: float = 3.0, mount: np.ndarray = MOUNT) -> np.ndarray:
    """(N, 3) returns of a lidar that turns full circle before a wall across its way, on open ground that it sees up to 40 m."""
    azimuth, elevation = np.meshgrid(np.linspace(-np.pi, np.pi, columns, endpoint=False), np.radians(elevations_deg))
    ray = np.stack((np.cos(elevation) * np.cos(azimuth), np.cos(elevation) * np.sin(azimuth), np.sin(elevation)), -1).reshape(-1, 3)
    with np.errstate(divide="ignore", invalid="ignore"):
        ground = np.where(ray[:, 2] < 0, -mount[2] / ray[:, 2], np.inf)
        wall = np.where(ray[:, 0] > 0, (wall_x_m - mount[0]) / ray[:, 0], np.inf)
        wall = np.where(mount[2] + wall * ray[:, 2] <= wall_top_m, wall, np.inf)
    distance = np.minimum(ground, wall)
    kept = distance < 40.0
    return (mount + distance[kept, None] * ray[kept]).astype(np.float32)


def seen_by(look: Look, anchor: np.ndarray | None = None) -> np.ndarray:
    return SightMemory(GRID, 10.0).update(NANOSECONDS, np.eye(4) if anchor is None else anchor, [look])


def at(seen_YX: np.ndarray, x_m: float, y_m: float) -> bool:
    column, row = np.floor((np.array([x_m, y_m]) + 12.8) / 0.4).astype(int)
    return bool(seen_YX[row, column])


def test_a_wall_is_seen_and_nothing_behind_it() -> None:
    for elevations in ([0.0], list(np.linspace(-25, 15, 32))):
        seen = seen_by(lidar_look(LidarView(returns(elevations, 720, 5.0), MOUNT, 0.0)))
        assert at(seen, 3.0, 0.0)
        assert at(seen, 4.8, 1.0)
        assert not at(seen, 6.0, 0.0)
        assert not at(seen, 9.0, 2.0)
    assert at(seen, -9.0, 0.0), "open ground that beams meet is seen"


def test_a_direction_without_a_return_is_not_seen() -> None:
    level = seen_by(lidar_look(LidarView(returns([0.0], 720, 5.0), MOUNT, 0.0)))
    assert not at(level, -3.0, 0.0), "a level beam to nowhere says nothing"
    points = returns(list(np.linspace(-25, 15, 32)), 720, 50.0)
    behind = np.abs(np.arctan2(points[:, 1], points[:, 0] - 0.3)) > np.radians(90)
    seen = seen_by(lidar_look(LidarView(points[behind], MOUNT, 0.0)))
    assert at(seen, -5.0, 1.0)
    assert not at(seen, 2.0, 0.0)
    assert not at(seen, 1.5, 3.0)


def test_a_lidar_of_few_columns_sees_between_them() -> None:
    seen = seen_by(lidar_look(LidarView(returns([0.0], 180, 5.0), MOUNT, 0.0)))
    assert all(at(seen, 4.4, y) for y in np.arange(-3.0, 3.0, 0.4))


def test_what_beams_pass_over_above_head_height_is_not_seen() -> None:
    truck = np.array([0.0, 0.0, 3.0])
    seen = seen_by(
        lidar_look(LidarView(returns([-10.0], 720, 50.0, mount=truck), truck, 0.0))
    )  # below 2 m from 5.7 m on, on the ground at 17 m
    assert not at(seen, 3.0, 0.0)
    assert at(seen, 8.0, 0.0)
    upward = returns([10.0], 720, 10.0, wall_top_m=9.0)  # above 2 m from 7.1 m on
    seen = seen_by(lidar_look(LidarView(upward, MOUNT, 0.0)))
    assert at(seen, 5.0, 0.0)
    assert not at(seen, 9.4, 0.0)


def test_a_cloud_in_base_link_shows_no_more_than_its_returns() -> None:
    """Where the lidar is, and so what is too near for its beams, is not known: its frame stands on the ground."""
    roof = np.array([0.0, 0.0, 1.8])
    points = returns(list(np.linspace(-20, 0, 32)), 720, 8.0, mount=roof)  # on the ground from 4.9 m on
    known, unknown = (seen_by(lidar_look(LidarView(points, origin, 0.0))) for origin in (roof, np.zeros(3)))
    assert not at(unknown, -2.5, 0.0)
    assert not at(unknown, 0.0, 3.0)
    for x, y in ((-6.0, 0.0), (7.0, 0.0), (0.0, 8.0)):
        assert at(unknown, x, y)
        assert at(known, x, y)
    assert not at(unknown, 10.0, 0.0)


def test_what_was_seen_stays_seen_where_it_is_for_a_while() -> None:
    memory = SightMemory(GRID, 5.0)
    look = lidar_look(LidarView(returns([0.0], 720, 5.0), MOUNT, 0.0))
    start, blind = pose(100.0, -40.0, 0.7), Look(np.zeros(2), np.zeros(360), np.zeros(360))
    memory.update(NANOSECONDS, start, [look])
    turned = start @ pose(1.2, 0.4, np.pi / 2)  # the place 3 m ahead of the start is now at its right
    seen = memory.update(3 * NANOSECONDS, turned, [blind])
    assert at(seen, -0.4, -1.8)
    assert not at(seen, -0.4, -4.8), "behind the wall"
    for step in range(40):  # along the wall in steps of less than a cell: nothing smears
        turned = turned @ pose(0.13, 0.0)
        seen = memory.update(3 * NANOSECONDS + step * 10_000_000, turned, [blind])
    assert not at(seen, -5.0, -4.8)
    assert not memory.update(7 * NANOSECONDS, start, [blind]).any(), "and is then forgotten"
    memory.update(8 * NANOSECONDS, start, [look])
    memory.clear()
    assert not memory.update(8 * NANOSECONDS, start, [blind]).any()
    far = memory.update(9 * NANOSECONDS, pose(5000.0, 5000.0), [look])
    assert at(far, 3.0, 0.0), "a jump of odometry"


def test_a_camera_sees_between_the_edges_of_its_image_up_to_what_is_occupied() -> None:
    base_from_camera = np.eye(4)
    base_from_camera[:3, :3] = [[0, 0, 1], [-1, 0, 0], [0, -1, 0]]
    model = CameraModel(640, 480, np.array([[320.0, 0, 320], [0, 320, 240], [0, 0, 1]]), np.zeros(0))  # 90 degrees wide
    camera = CameraImage(0, "front", np.zeros((480, 640, 3), np.uint8), model, base_from_camera)
    occupied = np.zeros((64, 64), bool)
    occupied[24:40, 44] = True  # x 4.8 m, y -3.2 to 3.2
    seen = seen_by(camera_look(camera, occupied, GRID))
    assert at(seen, 4.0, 0.0)
    assert not at(seen, 8.0, 0.0)
    assert at(seen, 8.0, 7.0)
    assert not at(seen, 3.0, 5.0)
    assert not at(seen, -3.0, 0.0)
