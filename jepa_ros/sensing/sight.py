"""Which cells a sensor has seen within the last seconds. A cell that no beam has crossed is unseen: neither free nor occupied.

A beam that came back from a distance has crossed everything before it. Heights below HEAD_M count as looked at, whatever the beam's own
height: a lidar of one plane sees walls at its height only, and that counts. Nothing is seen behind the first return that makes a cell
occupied, and a direction without a return is not seen.

Axes: N point, A direction (one degree each, counted from behind the robot to the left), Y/X grid rows and columns.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from jepa_ros.sensing.ground import BELOW_LIDAR_M
from jepa_ros.sensing.lidar_view import DIRECTIONS, LidarView, directions
from jepa_ros.sensing.odom_map import OdomMap
from jepa_ros.sensing.voxelize import OCCUPIED_M
from jepa_ros.types import NANOSECONDS, CameraImage, FloatArray, GridSpec, Observation

CELL_SAMPLES = 8  # along each side of an occupied cell
GAP = 2  # directions between two returns that a sensor with few columns leaves empty are seen as far as both neighbours are
HEAD_M = OCCUPIED_M[1]


@dataclass(frozen=True)
class Look:
    """How far one sensor saw in each direction, m from the sensor. Anchor frame."""

    origin_m: FloatArray  # (2,) of the sensor
    near_m: FloatArray  # (A,) where its beams come down below HEAD_M
    reach_m: FloatArray  # (A,) how far it saw; 0 = not at all


def looks_of(observation: Observation, views: Sequence[LidarView], occupied_YX: NDArray[np.bool_], grid: GridSpec) -> list[Look]:
    """Each lidar's look; without a lidar, those of the cameras, which reach to the first cell that a world model takes for occupied."""
    if observation.lidar is not None:
        return [lidar_look(view) for view in views]
    return [camera_look(camera, occupied_YX, grid) for camera in observation.cameras]


def lidar_look(view: LidarView) -> Look:
    """How far a lidar saw: to the first return that hides what is behind it."""
    distance, direction = view.polar
    near_m, far_m = _below_head(distance, view.heights_m, view.height_m)
    nearest_m = np.full(DIRECTIONS, np.inf, np.float32)
    np.minimum.at(nearest_m, direction, near_m)
    farthest_m = np.zeros(DIRECTIONS, np.float32)
    np.maximum.at(farthest_m, direction, far_m)
    reach_m = _bridge_gaps(np.minimum(view.first_m, farthest_m))
    return Look(np.asarray(view.origin_m[:2]), np.where(np.isfinite(nearest_m), nearest_m, 0.0), reach_m)


def camera_look(camera: CameraImage, occupied_YX: NDArray[np.bool_], grid: GridSpec) -> Look:
    """Of a camera whose image a world model reads occupancy from: all that lies between the image's edges, up to what is occupied."""
    origin_m = camera.base_from_camera[:2, 3]
    width, (focal, middle) = camera.model.width, camera.model.intrinsics[0, [0, 2]]
    forward, right = camera.base_from_camera[:2, 2], camera.base_from_camera[:2, 0]
    angle = (np.arange(DIRECTIONS) + 0.5) * (2 * np.pi / DIRECTIONS) - np.pi
    ray = np.stack((np.cos(angle), np.sin(angle)), axis=-1)
    depth = ray @ forward
    column = middle + focal * (ray @ right) / np.where(depth > 0, depth, np.inf)
    shown = (depth > 0) & (column >= 0) & (column < width)
    share = (np.arange(CELL_SAMPLES) + 0.5) / CELL_SAMPLES  # a cell hides what is behind all of it
    within = np.stack(np.meshgrid(share, share), axis=-1).reshape(1, -1, 2)
    corners = np.argwhere(occupied_YX)[:, None, ::-1]
    x, y = (np.array(grid.origin_m) + grid.resolution_m * (corners + within) - origin_m).reshape(-1, 2).T
    first_m = np.full(DIRECTIONS, grid.resolution_m * np.hypot(grid.rows, grid.columns), np.float32)
    np.minimum.at(first_m, directions(x, y), np.hypot(x, y).astype(np.float32))
    first_m = np.min([np.roll(first_m, side) for side in (-1, 0, 1)], axis=0)
    return Look(origin_m, np.zeros(DIRECTIONS), np.where(shown, first_m, 0.0))


class SightMemory:
    """When each place was last looked at: a map that lies still in odom and follows the robot. One instance belongs to one stream."""

    def __init__(self, grid: GridSpec, remembered_s: float) -> None:
        """grid: that of the answers, in the anchor frame. remembered_s: how long a place counts as seen after the last look at it."""
        self._grid = grid
        self._remembered_s = remembered_s
        self._looked_s = OdomMap(half_cells(grid), grid.resolution_m, -np.inf)
        self._x, self._y = np.ascontiguousarray(centres(grid).T)  # of the grid's cells
        self.looked_at = np.zeros(self._looked_s.values.shape, bool)  # by the newest looks, cells of the map in odom

    def clear(self) -> None:
        """Forget the stream."""
        self._looked_s.clear()

    def update(self, stamp_ns: int, odom_from_anchor: FloatArray, looks: Sequence[Look]) -> NDArray[np.bool_]:
        """(Y, X) True where a look has reached within the remembered time, these looks among them. Stamps rise."""
        stamp_s = stamp_ns / NANOSECONDS
        self._looked_s.follow(odom_from_anchor[:2, 3])
        x, y = self._looked_s.centres_in(odom_from_anchor)
        self.looked_at = np.zeros(x.shape, bool)
        for look in looks:
            self.looked_at |= reached(look, x, y, 0.5 * self._grid.resolution_m)
        self._looked_s.values[self.looked_at] = stamp_s
        cells_N = self._looked_s.cells_of(self._x, self._y, odom_from_anchor)
        seen = stamp_s - self._looked_s.values.ravel().take(cells_N) <= self._remembered_s
        return seen.reshape(self._grid.rows, self._grid.columns)


def reached(look: Look, x: NDArray[np.float32], y: NDArray[np.float32], slack_m: float) -> NDArray[np.bool_]:
    """Which of the points (anchor frame) a look reached."""
    x, y = x - np.float32(look.origin_m[0]), y - np.float32(look.origin_m[1])
    distance, direction = np.hypot(x, y), directions(x, y)
    near_m, reach_m = (limit.astype(np.float32)[direction] for limit in (look.near_m, look.reach_m))
    return (reach_m > 0.0) & (distance >= near_m - slack_m) & (distance <= reach_m + slack_m)


def _below_head(distance: FloatArray, height: FloatArray, sensor_m: float) -> tuple[FloatArray, FloatArray]:
    """(N,), (N,): from where to where a straight beam to each return lies below HEAD_M; heights are above the ground.

    No lidar is on the ground: a cloud that comes from there came in another frame, and no more than its returns is known to be seen.
    """
    above = height > HEAD_M
    if sensor_m < BELOW_LIDAR_M:
        return np.where(above, np.inf, distance), np.where(above, 0.0, distance)
    if sensor_m <= HEAD_M:
        far_m = np.where(above, distance * ((HEAD_M - sensor_m) / np.maximum(height - sensor_m, 1e-3)), distance)
        return np.zeros_like(distance), far_m
    near_m = np.where(above, np.inf, distance * ((sensor_m - HEAD_M) / np.maximum(sensor_m - height, 1e-3)))
    return near_m, np.where(above, 0.0, distance)


def _bridge_gaps(reach_m: FloatArray) -> FloatArray:
    """Directions without a return between two others no further than GAP away see as far as the nearer of the two reaches."""
    before, after = (_neighbour(reach_m, side) for side in (-1, 1))
    return np.where(reach_m > 0, reach_m, np.minimum(before, after))


def _neighbour(reach_m: FloatArray, side: int) -> FloatArray:
    """The reach of the nearest direction on one side that has any; 0 where that is further than GAP away."""
    found = np.zeros_like(reach_m)
    for step in range(GAP, 0, -1):
        other = np.roll(reach_m, -side * step)
        found = np.where(other > 0, other, found)
    return found


def half_cells(grid: GridSpec) -> int:
    """Cells to each side of the robot that a map in odom needs to hold the grid however the robot is turned."""
    far_corner_m = np.add(grid.origin_m, np.multiply(grid.resolution_m, (grid.columns, grid.rows)))
    farthest_m = np.maximum(np.abs(np.array(grid.origin_m)), np.abs(far_corner_m))
    return math.ceil(float(np.hypot(*farthest_m)) / grid.resolution_m) + 1


def centres(grid: GridSpec) -> FloatArray:
    """(Y * X, 2) centres of the cells, row by row."""
    x = grid.origin_m[0] + (np.arange(grid.columns) + 0.5) * grid.resolution_m
    y = grid.origin_m[1] + (np.arange(grid.rows) + 0.5) * grid.resolution_m
    return np.stack(np.meshgrid(x, y), axis=-1).reshape(-1, 2)
