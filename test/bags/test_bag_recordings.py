"""Real recordings, where they are at hand: JEPA_ROS_RECORDINGS names their folder."""

import csv
import json
import os
from pathlib import Path

import numpy as np
import pytest
from paths import ROOT

from jepa_ros.sensing import DEFAULT_GRID, anchor_points, bag_info, occupancy_grid, open_bag, project, visible_cells

FOLDER = Path(os.environ.get("JEPA_ROS_RECORDINGS", ROOT.parent / "shared/data/bags"))
pytestmark = pytest.mark.recording


def recording(name: str) -> Path:
    path = FOLDER / name
    if not path.exists():
        pytest.skip(f"{path} is not here; set JEPA_ROS_RECORDINGS")
    return path


def cell_of(x: float, y: float) -> tuple[int, int]:
    return int((y - DEFAULT_GRID.origin_m[1]) / DEFAULT_GRID.resolution_m), int((x - DEFAULT_GRID.origin_m[0]) / DEFAULT_GRID.resolution_m)


def test_kitti_every_sweep_with_its_image_and_the_ground_under_the_wheels():
    observations = list(open_bag(recording("kitti_0005/bag_short")))
    assert len(observations) == 20
    for observation in observations:
        assert [camera.stamp_ns for camera in observation.cameras] == [observation.stamp_ns]
        assert observation.cameras[0].rgb.shape == (120, 400, 3)
        assert len(observation.lidar.points_m) > 27_000
        assert abs(observation.ground_height_m) < 0.1  # base_link stands on the ground there
        assert 2.5 < observation.ego.velocity_mps[0] < 3.5
    travelled = np.diff([observation.ego.odom_from_base[:2, 3] for observation in observations], axis=0)
    seconds = np.diff([observation.stamp_s for observation in observations])
    np.testing.assert_allclose(np.linalg.norm(travelled, axis=1) / seconds, 3.0, atol=0.5)


def test_kitti_car_does_not_see_its_own_mirrors():
    observation = next(open_bag(recording("kitti_0005/bag")))
    points = observation.lidar.points_m
    assert not ((np.abs(points[:, 0] + 0.2) < 0.3) & (np.abs(points[:, 1]) < 2.0)).any()
    assert len(points) == len(observation.lidar.intensity) > 60_000


def test_kitti_cyclist_is_where_the_labels_say_in_lidar_grid_and_image():
    observations = {o.stamp_ns: o for o in open_bag(recording("kitti_0005/bag_short"))}
    with (recording("kitti_0005") / "gt_tracks.csv").open() as file:
        labels = [row for row in csv.DictReader(file) if row["class"] == "Cyclist" and int(row["stamp_ns"]) in observations]
    assert len(labels) == 20
    for label in labels:
        observation = observations[int(label["stamp_ns"])]
        x, y = float(label["base_x"]), float(label["base_y"])
        points = observation.lidar.points_m
        rider = points[(np.hypot(points[:, 0] - x, points[:, 1] - y) < 0.5) & (points[:, 2] > 0.4) & (points[:, 2] < 1.8)]
        assert len(rider) > 50
        camera = observation.cameras[0]
        camera_from_base = np.linalg.inv(camera.base_from_camera)
        pixels, in_view = project(rider @ camera_from_base[:3, :3].T + camera_from_base[:3, 3], camera.model)
        assert in_view.all()
        u1, v1, u2, v2 = (float(label[edge]) for edge in ("u1", "v1", "u2", "v2"))
        inside = (pixels[:, 0] > u1 - 4) & (pixels[:, 0] < u2 + 4) & (pixels[:, 1] > v1 - 4) & (pixels[:, 1] < v2 + 4)
        assert inside.mean() > 0.95
        anchored = anchor_points(observation)
        row, column = cell_of(x, y)
        around = np.s_[row - 1 : row + 2, column - 1 : column + 2]
        assert occupancy_grid(anchored, observation.ground_height_m)[around].any()
        assert visible_cells(anchored, observation.ground_height_m)[around].any()


def test_kitti_still_world_stays_where_it_is_in_odom():
    """Sweeps a second (3 m) apart agree when laid over one another by odometry, and do not without."""
    observations = list(open_bag(recording("kitti_0005/bag_short")))
    before, after = observations[0], observations[10]
    after_from_before = np.linalg.inv(after.odom_from_anchor) @ before.odom_from_anchor

    def agreement(pose):
        moved = anchor_points(before) @ pose[:3, :3].T.astype(np.float32) + pose[:3, 3].astype(np.float32)
        first, second = occupancy_grid(moved, before.ground_height_m), occupancy_grid(anchor_points(after), after.ground_height_m)
        near = np.max([np.roll(second, (row, column), (0, 1)) for row in (-1, 0, 1) for column in (-1, 0, 1)], axis=0)
        return (first & near).sum() / first.sum()

    assert agreement(after_from_before) > 0.75
    assert agreement(np.eye(4)) < 0.55


@pytest.mark.parametrize("scene", ["dgp_scene_01", "dgp_scene_02"])
def test_dgp_with_compressed_images_and_another_rig(scene):
    path = recording(f"{scene}/bag")
    assert {topic.type_name for topic in bag_info(path).topics} >= {"sensor_msgs/msg/CompressedImage"}
    observations = list(open_bag(path))
    assert len(observations) == 3
    for observation in observations:
        camera = observation.cameras[0]
        assert camera.rgb.shape == (608, 968, 3)
        assert camera.rgb.std() > 20
        assert 5e6 < abs(camera.stamp_ns - observation.stamp_ns) < 25e6  # the true times of exposure
        assert abs(observation.ground_height_m) < 0.2
        assert len(observation.lidar.points_m) > 40_000


def test_dgp_banks_beside_the_road_are_ground():
    """Grass that rises 1.5 m beside the road was nine tenths of all that was called occupied."""
    observation = next(open_bag(recording("dgp_scene_02/bag")))
    ground_m = observation.ground_height_m
    level, local = (occupancy_grid(points, ground_m) for points in (observation.levelled_m, observation.flattened_m))
    assert local.sum() < 0.2 * level.sum()


def test_dgp_cars_lie_in_the_cloud_where_the_labels_say():
    boxes = json.loads((recording("dgp_scene_02") / "gt_boxes.json").read_text())
    observations = {o.stamp_ns: o for o in open_bag(recording("dgp_scene_02/bag"))}
    near = [box for box in boxes if np.hypot(*box["xyz_lidar"][:2]) < 40 and box["stamp_ns"] in observations]
    assert near
    for box in near:
        points = observations[box["stamp_ns"]].lidar.points_m
        inside = np.linalg.norm(points - np.array(box["xyz_lidar"], np.float32), axis=1) < max(box["dims"])
        assert inside.sum() > 20
