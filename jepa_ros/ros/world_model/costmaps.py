"""Predicted obstacles as points for Nav2's obstacle and voxel layers, and at which horizons its static layers get a grid."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from sensor_msgs.msg import PointCloud2, PointField

from jepa_ros.memory import steady_motion
from jepa_ros.ros.conversions import Frames, byte_array, header_message
from jepa_ros.types import OCCUPIED_FROM, FloatArray, SceneState

HORIZONS_S = {"now": 0.0, "in_1_2s": 1.2, "in_2_4s": 2.4, "in_4_8s": 4.8}  # topics ~/occupancy_grid/NAME
SPACING_M = 0.1  # of the points: a costmap's cells are finer than ours
HEIGHT_M = 0.5  # of the points above the base: between the least and the greatest height that layers take by default (0 and 2 m)
MODE_FROM = 0.2  # ways of going on that are less likely are left to the grid


def reaches(state: SceneState, horizon_s: float) -> bool:
    """Whether the forecast goes so far: a grid of an earlier moment is not shown for a later one."""
    return len(state.occupancy.times_s) > 0 and float(np.max(state.occupancy.times_s)) >= horizon_s - 0.05


def predicted_obstacles_message(state: SceneState, within_s: float, beside_m: float, frames: Frames) -> PointCloud2:
    """Points where something will be, at some time within `within_s`, up to `beside_m` from the way that the robot drives by then.

    The way: as it moves now. In the base's frame, because layers trace rays from that frame's origin.
    """
    points = predicted_obstacles(state, within_s, beside_m)
    fields = [PointField(name=name, offset=4 * index, datatype=PointField.FLOAT32, count=1) for index, name in enumerate("xyz")]
    return PointCloud2(
        header=header_message(state.stamp_ns, frames.base),
        height=1,
        width=len(points),
        fields=fields,
        point_step=12,
        row_step=12 * len(points),
        data=byte_array(points.astype(np.float32)),
        is_dense=True,
    )


def predicted_obstacles(state: SceneState, within_s: float, beside_m: float) -> FloatArray:
    """(N, 3) in the anchor frame, SPACING_M apart."""
    occupancy = state.occupancy
    times_s = np.asarray(occupancy.times_s)
    soon = times_s <= within_s + 1e-6
    if not soon.any():
        return np.zeros((0, 3))
    taken_YX = (np.nan_to_num(occupancy.probability[soon], nan=0.0) >= OCCUPIED_FROM).any(axis=0)
    rows, columns = np.nonzero(taken_YX)
    cells = np.stack([columns, rows], axis=-1) * occupancy.resolution_m + np.array(occupancy.origin_m)
    split = max(1, round(occupancy.resolution_m / SPACING_M))
    inner = (np.arange(split) + 0.5) * (occupancy.resolution_m / split)
    grid = np.stack(np.meshgrid(inner, inner), axis=-1).reshape(-1, 2)
    way = np.concatenate((np.zeros((1, 2)), steady_motion(state.ego, int(soon.sum()), within_s / max(1, int(soon.sum())))[:, :2]))
    cells = cells[_near(cells, way, beside_m + 2 * occupancy.resolution_m)]  # most are far: what is in these is looked at
    points = np.concatenate(((cells[:, None] + grid).reshape(-1, 2), _people(state, within_s)))
    near = _near(points, way, beside_m)
    return np.column_stack((points[near], np.full(len(near), HEIGHT_M)))


def _near(points_m: FloatArray, way_m: FloatArray, within_m: float) -> NDArray[np.intp]:
    """Which of (N, 2) points are so near to any place of the way."""
    x, y = np.ascontiguousarray(points_m.T)
    near = np.zeros(len(points_m), bool)
    for place in way_m:
        near |= np.sqrt((x - place[0]) ** 2 + (y - place[1]) ** 2) <= within_m
    return np.flatnonzero(near)


def _people(state: SceneState, within_s: float) -> FloatArray:
    """(N, 2) points of the discs of everybody, where the likely modes of their forecasts have them."""
    forecast, people = state.pedestrians, state.people
    anchor_from_odom = np.linalg.inv(state.anchor_pose)
    soon = np.asarray(forecast.times_s) <= within_s + 1e-6
    discs = [np.zeros((0, 2))]
    for row in np.flatnonzero(people.existence >= OCCUPIED_FROM):
        likely = forecast.probabilities[row] >= MODE_FROM
        means = np.concatenate((people.positions_m[row][None], forecast.modes_m[row, likely][:, soon].reshape(-1, 2)))
        side = np.arange(-people.radii_m[row], people.radii_m[row] + 1e-9, SPACING_M)
        disc = np.stack(np.meshgrid(side, side), axis=-1).reshape(-1, 2)
        disc = disc[np.linalg.norm(disc, axis=1) <= people.radii_m[row]]
        local = means @ anchor_from_odom[:2, :2].T + anchor_from_odom[:2, 3]
        discs.append((local[:, None] + disc).reshape(-1, 2))
    return np.concatenate(discs)
