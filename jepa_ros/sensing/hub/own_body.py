"""Removes returns from the vehicle itself before a sweep is used."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import maximum_filter

from jepa_ros.types import FloatArray, LidarSweep

Box = tuple[float, float, float, float]  # x_min, y_min, x_max, y_max, base frame, m

# Where nothing is configured: the height of the lidar above the ground tells a car with it on the roof from a robot.
# A box that is too large hides people beside a small robot; one that is too small shows a car its own mirrors.
ROOF_M = 1.3
CAR: Box = (-2.5, -2.0, 2.5, 2.0)
ROBOT: Box = (-0.5, -0.5, 0.5, 0.5)


# Of a guessed box, what holds nothing while the vehicle moves is not the vehicle.
CELL_M = 0.25
FLOOR_M = 0.3  # above the ground; the ground beside a vehicle is always there, too
MOVED_M = 0.1  # between sweeps that are looked at
ENOUGH, RIDES = 10, 0.3  # sweeps, and the share of them in which a part of the vehicle has a return at least


class OwnBody:
    """Tells the vehicle's own returns from others by where they are: in the box that is configured, or in a guessed one.

    The guess cannot know how large the vehicle is: a robot with a mast is no car. So cells of a guessed box are given back to the world,
    for good, once the vehicle has moved and they were mostly empty: its own parts ride along.
    """

    def __init__(self, configured_m: Box | None) -> None:
        self._configured_m = configured_m
        self._guess: Box | None = None
        self._place_m: FloatArray | None = None  # of the vehicle at the last sweep that was looked at
        self._looks = 0

    def others(self, points_base_m: FloatArray, sweep: LidarSweep, ground_height_m: float, place_m: FloatArray) -> NDArray[np.bool_]:
        """(N,) which of the points, in the base frame as it was when each was measured, are not the vehicle itself. place_m: (2,) of the
        vehicle in odom."""
        if self._configured_m is not None:
            return off_body(points_base_m, self._configured_m)
        box = own_body(sweep, ground_height_m)
        if box != self._guess:
            self._begin(box)
        kept = off_body(points_base_m, box)
        inside = np.flatnonzero(~kept)
        cells = self._cells(points_base_m[inside])
        self._look(cells[:, points_base_m[inside, 2] - ground_height_m > FLOOR_M], place_m)
        kept[inside] = self._open[tuple(cells)]
        return kept

    def _begin(self, box: Box) -> None:
        self._guess, self._place_m, self._looks = box, None, 0
        shape = tuple(int(np.ceil((high - low) / CELL_M)) for low, high in ((box[0], box[2]), (box[1], box[3])))
        self._hits, self._open = np.zeros(shape, np.int64), np.zeros(shape, np.bool_)

    def _cells(self, points_m: FloatArray) -> NDArray[np.int64]:
        """(2, N) of the box."""
        assert self._guess is not None
        cells = ((points_m[:, :2] - np.array(self._guess[:2])) / CELL_M).astype(np.int64).T
        return np.minimum(cells, np.array(self._open.shape)[:, None] - 1)

    def _look(self, cells: NDArray[np.int64], place_m: FloatArray) -> None:
        if self._place_m is not None and np.linalg.norm(place_m - self._place_m) < MOVED_M:
            return
        first, self._place_m = self._place_m is None, place_m.copy()
        if first:
            return
        hit = np.zeros(self._open.shape, np.bool_)
        hit[tuple(cells)] = True
        self._hits += maximum_filter(hit, 3)  # a return at the border of two cells is now in one, now in the other
        self._looks += 1
        if self._looks >= ENOUGH:
            self._open |= self._hits < RIDES * self._looks


def own_body(sweep: LidarSweep, ground_height_m: float) -> Box:
    """The box of a vehicle that has this lidar, by the lidar's height above the ground."""
    return CAR if sweep.base_from_lidar[2, 3] - ground_height_m > ROOF_M else ROBOT


def off_body(points_base_m: FloatArray, box: Box) -> NDArray[np.bool_]:
    """(N,) which of the points, in the base frame as it was when each was measured, are not the vehicle itself."""
    x, y = points_base_m[:, 0], points_base_m[:, 1]
    x_min, y_min, x_max, y_max = box
    return (x < x_min) | (x > x_max) | (y < y_min) | (y > y_max)


def of_points(sweep: LidarSweep, kept: NDArray[np.bool_]) -> LidarSweep:
    """The sweep with only some of its points."""

    index = np.flatnonzero(kept)

    def column(values: NDArray[Any] | None) -> Any:
        return None if values is None else values.take(index, axis=0)

    parts = tuple(
        dataclasses.replace(part, first=int(kept[: part.first].sum()), count=int(kept[part.first : part.first + part.count].sum()))
        for part in sweep.parts
    )
    return dataclasses.replace(
        sweep,
        parts=parts,
        points_m=column(sweep.points_m),
        intensity=column(sweep.intensity),
        ring=column(sweep.ring),
        time_offset_s=column(sweep.time_offset_s),
    )
