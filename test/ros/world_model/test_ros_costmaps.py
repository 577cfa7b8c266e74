"""What costmaps read, checked cell by cell against the forecast it was made from, at a turned and moved anchor."""

from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="needs ROS 2: run `make build`, then tests through scripts/env.sh")
pytest.importorskip("jepa_ros.msg", reason="needs the built interfaces: run `make build`, then tests through scripts/env.sh")

from planning_scenes import make_scene, pose

from jepa_ros.ros.conversions import Frames
from jepa_ros.ros.world_model.costmaps import HORIZONS_S, predicted_obstacles, predicted_obstacles_message
from jepa_ros.ros.world_model.outputs import grid_at
from jepa_ros.types import EgoState

FRAMES = Frames(base="base_link", fixed="odom")
ALL_AROUND_M = 100.0


def moving_wall(anchor: np.ndarray):
    """A wall that is one column further at each step of 0.4 s, so that every moment has its own cells."""
    scene = make_scene(anchor=anchor)
    probability = np.zeros_like(scene.occupancy.probability)
    for step in range(len(probability)):
        probability[step, 20:40, 34 + step] = 0.9
    return replace(scene, occupancy=replace(scene.occupancy, probability=probability))


@pytest.mark.parametrize("anchor", [pose(0.0, 0.0, 0.0), pose(103.1, -57.3, 0.7), pose(-4.0, 2.2, -2.9)])
def test_each_topic_shows_its_moment_where_it_is_in_the_fixed_frame(anchor: np.ndarray) -> None:
    """As a static layer reads it: position, size and resolution of the origin, and no rotation."""
    scene = moving_wall(anchor)
    wrong = 0
    for horizon_s in HORIZONS_S.values():
        grid = grid_at(horizon_s, scene, FRAMES)
        assert (grid.header.frame_id, grid.info.origin.orientation.w) == ("odom", 1.0)
        cells = np.array(grid.data).reshape(grid.info.height, grid.info.width)
        step = round(horizon_s / 0.4)
        rows, columns = np.indices(scene.occupancy.probability[step].shape)
        centres = np.stack([columns + 0.5, rows + 0.5], axis=-1) * 0.4 + np.array(scene.occupancy.origin_m)
        places = centres @ anchor[:2, :2].T + anchor[:2, 3] - [grid.info.origin.position.x, grid.info.origin.position.y]
        x, y = np.floor(places / grid.info.resolution).astype(int).transpose(2, 0, 1)
        occupied = scene.occupancy.probability[step] > 0.5
        assert (cells[y, x][occupied] == 90).all(), "what is occupied is occupied there"
        apart = np.abs(columns - (34 + step)) + np.maximum(0, np.maximum(20 - rows, rows - 39))
        wrong += int((cells[y, x][apart > 2] > 50).sum())
    assert wrong == 0, "and nothing is elsewhere"


def test_a_moment_that_the_forecast_does_not_reach_is_not_shown() -> None:
    short = make_scene(steps=6)  # 2.4 s
    assert grid_at(2.4, short, FRAMES) is not None
    assert grid_at(4.8, short, FRAMES) is None


def test_predicted_obstacles_are_what_will_be_there_in_time_and_no_more() -> None:
    scene = moving_wall(pose(3.0, 4.0, 1.0))
    cells = {
        (int(row), int(column))
        for x, y, _ in predicted_obstacles(scene, 1.2, ALL_AROUND_M)
        for column, row in [np.floor((np.array([x, y]) - scene.occupancy.origin_m) / 0.4)]
    }
    assert cells == {(row, 34 + step) for row in range(20, 40) for step in range(4)}


def test_only_what_lies_near_the_way_of_the_robot_counts() -> None:
    wall = ((6.0, -0.4, 6.4, 0.4), (-6.4, -0.4, -6.0, 0.4))
    standing = make_scene(walls=wall)
    assert len(predicted_obstacles(standing, 2.4, 3.0)) == 0
    driving = replace(standing, ego=EgoState(standing.stamp_ns, standing.anchor_pose, np.array([1.5, 0.0])))
    points = predicted_obstacles(driving, 2.4, 3.0)
    assert len(points) > 0
    assert (points[:, 0] > 5.0).all(), "ahead, not behind"
    scene = moving_wall(pose(0.0, 0.0, 0.0))  # around a robot that stands, the bound is a circle, and cuts through cells
    everywhere = predicted_obstacles(scene, 2.4, ALL_AROUND_M)
    within = np.hypot(everywhere[:, 0], everywhere[:, 1]) <= 3.0
    assert 0 < within.sum() < len(within)
    np.testing.assert_array_equal(predicted_obstacles(scene, 2.4, 3.0), everywhere[within])


def test_people_are_where_their_forecast_has_them_in_the_base_frame() -> None:
    scene = make_scene(people=((2.0, 1.0, 1.0, 0.0),), anchor=pose(50.0, 20.0, 2.0))
    points = predicted_obstacles(scene, 1.2, ALL_AROUND_M)
    assert points[:, 0].min() == pytest.approx(1.7, abs=0.11)
    assert points[:, 0].max() == pytest.approx(2.0 + 1.2 + 0.3, abs=0.11)
    message = predicted_obstacles_message(scene, 1.2, ALL_AROUND_M, FRAMES)
    assert message.header.frame_id == "base_link"
    back = np.frombuffer(bytes(message.data), np.float32).reshape(-1, 3)
    np.testing.assert_allclose(back, points, atol=1e-5)
