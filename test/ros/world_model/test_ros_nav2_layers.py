"""Nav2's stock layers on what we publish, cell by cell against the forecast, with the transform moved in between."""

from dataclasses import replace

import numpy as np
import pytest
import yaml

pytest.importorskip("rclpy", reason="needs ROS 2: run `make build`, then tests through scripts/env.sh")
pytest.importorskip("jepa_ros.msg", reason="needs the built interfaces: run `make build`, then tests through scripts/env.sh")

from nav2_layers import FREE, LETHAL, UNKNOWN, RollingCostmap
from paths import ROOT
from planning_scenes import make_scene, pose

from jepa_ros.ros.conversions import Frames
from jepa_ros.ros.world_model.costmaps import HORIZONS_S, predicted_obstacles_message
from jepa_ros.ros.world_model.outputs import grid_at

FRAMES = Frames(base="base_link", fixed="odom")
CELL_M = 0.4


def moving_wall(anchor: np.ndarray):
    """A wall that is one column further at each step; what is more than 9 m to the right was never seen."""
    scene = make_scene(anchor=anchor, seen=lambda x, y: y > -9.0)
    probability = np.zeros_like(scene.occupancy.probability)
    for step in range(len(probability)):
        probability[step, 20:40, 34 + step] = 0.9
        probability[step, 45, 45] = 0.3  # possible, not likely
    return replace(scene, occupancy=replace(scene.occupancy, probability=probability))


def expected(scene, step: int, places_m: np.ndarray) -> np.ndarray:
    """(Y, X) what a costmap should hold at places of the anchor frame; -1 where the raster decides: within a cell of another value."""
    occupancy = scene.occupancy
    truth = np.where(occupancy.seen, np.where(occupancy.probability[step] >= 0.5, LETHAL, FREE), UNKNOWN)
    shifts = [CELL_M * np.array([x, y]) for x in (-1, 0, 1) for y in (-1, 0, 1)]
    found = []
    for shift in shifts:
        column, row = np.floor((places_m + shift - np.array(occupancy.origin_m)) / CELL_M).astype(int).transpose(2, 0, 1)
        inside = (column >= 0) & (row >= 0) & (column < truth.shape[1]) & (row < truth.shape[0])
        values = np.full(column.shape, UNKNOWN)
        values[inside] = truth[row[inside], column[inside]]
        found.append(values)
    same = np.all(np.array(found) == found[4], axis=0)
    return np.where(same, found[4], -1)


@pytest.mark.parametrize("anchor", [pose(0.0, 0.0, 0.0), pose(103.1, -57.3, 0.7), pose(-4.0, 2.2, -2.9)])
@pytest.mark.parametrize("map_from_odom", [pose(0.0, 0.0, 0.0), pose(12.3, -7.7, 0.4)])
def test_a_static_layer_holds_the_forecast_where_it_is_by_the_newest_transform(anchor: np.ndarray, map_from_odom: np.ndarray) -> None:
    """The map's transform jumps (a localisation corrects itself) after the grid has come: its cells move with it."""
    scene = moving_wall(anchor)
    for horizon_s in HORIZONS_S.values():
        grid = grid_at(horizon_s, scene, FRAMES)
        robot = (map_from_odom @ anchor)[:2, 3]
        costmap = RollingCostmap((robot[0], robot[1]))
        costmap.static_layer(grid, np.linalg.inv(map_from_odom))
        anchor_from_map = np.linalg.inv(map_from_odom @ anchor)
        places = costmap.centres() @ anchor_from_map[:2, :2].T + anchor_from_map[:2, 3]
        wanted = expected(scene, round(horizon_s / 0.4), places)
        judged = wanted >= 0
        assert judged.mean() > 0.8
        np.testing.assert_array_equal(costmap.cost_YX[judged], wanted[judged])
        assert (costmap.cost_YX == UNKNOWN).any(), "what was not seen is not free"
        # The wall is one cell wide, so the raster decides all of it: where it is, and that it is nowhere else.
        occupied = places[costmap.cost_YX == LETHAL]
        middle = scene.occupancy.origin_m[0] + CELL_M * (34.5 + round(horizon_s / 0.4))
        assert len(occupied) > 20 * 16 * 0.8, "20 cells of 16 of the costmap's each"
        assert np.abs(occupied[:, 0] - middle).max() < 1.5 * CELL_M


def test_an_obstacle_layer_marks_what_will_be_there_where_the_robot_was_when_it_was_seen() -> None:
    """Points are in the base's frame: by the transform of their stamp, not by the newest one."""
    settings = yaml.safe_load((ROOT / "config" / "nav2.yaml").read_text())["/**/global_costmap"]["ros__parameters"]["predicted_layer"][
        "predicted"
    ]
    heights = (settings["min_obstacle_height"], settings["max_obstacle_height"])
    seen_from, map_from_odom = pose(20.0, 5.0, 0.9), pose(-3.0, 1.0, -0.3)
    scene = replace(moving_wall(seen_from))
    cloud = predicted_obstacles_message(scene, 1.2, 100.0, FRAMES)
    assert (cloud.header.frame_id, cloud.header.stamp.sec) == ("base_link", scene.stamp_ns // 10**9)
    map_from_base = map_from_odom @ seen_from
    costmap = RollingCostmap((map_from_base[0, 3], map_from_base[1, 3]))
    costmap.obstacle_layer(cloud, map_from_base, heights, settings["obstacle_max_range"])
    base_from_map = np.linalg.inv(map_from_base)
    places = costmap.centres() @ base_from_map[:2, :2].T + base_from_map[:2, 3]
    marked = places[costmap.cost_YX == LETHAL]
    column, row = np.floor((marked - np.array(scene.occupancy.origin_m)) / CELL_M).astype(int).T
    near = np.linalg.norm(marked, axis=1) < settings["obstacle_max_range"] - 1.0
    assert {(r, c) for r, c in zip(row[near], column[near], strict=True)} >= {(r, 34 + step) for r in range(20, 40) for step in range(4)}
    assert np.abs(column - 35.5).max() <= 2.5, "nothing beside the wall's way in 1.2 s"
    assert np.abs(row - 29.5).max() <= 10.5
