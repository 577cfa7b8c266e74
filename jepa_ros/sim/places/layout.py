"""What a place is made of, before anything moves: solids, walkways, lanes and the ego's route. World frame: metres, z up, ground at 0."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from jepa_ros.types import FloatArray

# Diffuse reflectivity near 900 nm, as a lidar sees it at normal incidence, 0-1.
REFLECTIVITY = {
    "asphalt": 0.14,
    "paving": 0.32,
    "paint": 0.80,
    "facade": 0.45,
    "plain": 0.40,
    "metal": 0.50,
    "glass": 0.07,
    "foliage": 0.42,
    "bark": 0.28,
    "grass": 0.38,
    "cloth": 0.45,
    "skin": 0.50,
    "rubber": 0.05,
    "plate": 0.95,
}
MATERIALS = tuple(REFLECTIVITY)
BREAST_M = 1.0
PIECE_M = 0.25
BEND_RAD = 0.1  # a way has turned off once it points so far away from where it began
BEHIND_M = 0.6  # doors lie so far behind the line of their wall


@dataclass(frozen=True)
class Solid:
    """A static shape. `half_size_m`: box half extents; cylinder (radius, half height, 0); sphere (radius, 0, 0); ellipsoid radii."""

    shape: str  # box | cylinder | sphere | ellipsoid
    position_m: tuple[float, float, float]
    half_size_m: tuple[float, float, float]
    material: str
    rgb: tuple[float, float, float]
    yaw_rad: float = 0.0


@dataclass(frozen=True)
class Obstacles:
    """What walking people cannot enter, seen from above."""

    segments_m: FloatArray  # (S, 2, 2) wall pieces, end points
    discs_m: FloatArray  # (C, 3) x, y, radius
    lines: tuple[int, ...] = ()  # segments that people do not cross, whether anything stands there or not


@dataclass(frozen=True)
class WalkGraph:
    """Where people walk: nodes joined by straight ways. People enter and leave at the exits."""

    nodes_m: FloatArray  # (N, 2)
    half_extent_m: FloatArray  # (N, 2) people aim anywhere in this box around a node
    neighbours: tuple[tuple[int, ...], ...]  # N tuples of node indices
    exits: tuple[int, ...]
    crossings: Mapping[tuple[int, int], int | None] = field(
        default_factory=dict
    )  # edges (both directions) over a carriageway -> its signal group


@dataclass(frozen=True)
class Path2D:
    """A densely sampled way (0.5 m or less between points)."""

    points_m: FloatArray  # (L, 2)

    @cached_property
    def arc_m(self) -> FloatArray:
        """(L,) distance along the way."""
        steps = np.linalg.norm(np.diff(self.points_m, axis=0), axis=1)
        return np.concatenate([[0.0], np.cumsum(steps)])

    @cached_property
    def _yaw_rad(self) -> FloatArray:
        tangent = np.gradient(self.points_m, axis=0)
        return np.unwrap(np.arctan2(tangent[:, 1], tangent[:, 0]))

    @property
    def length_m(self) -> float:
        return float(self.arc_m[-1])

    def pose(self, arc_m: float) -> FloatArray:
        """(3,) x m, y m, yaw rad at a distance along the way."""
        x = np.interp(arc_m, self.arc_m, self.points_m[:, 0])
        y = np.interp(arc_m, self.arc_m, self.points_m[:, 1])
        return np.array([x, y, np.interp(arc_m, self.arc_m, self._yaw_rad)])

    @cached_property
    def bend_speed_mps(self) -> FloatArray:
        """(L,) speed that keeps sideways acceleration to 1.5 m/s^2 here and can be braked to at 1.2 m/s^2 further on."""
        curvature = np.abs(np.gradient(self._yaw_rad, self.arc_m))
        # Over about two metres: a wheel does not feel the joints of the polyline.
        width = max(1, int(2.0 / max(self.arc_m[1], 1e-3)))
        curvature = np.convolve(curvature, np.full(width, 1.0 / width), mode="same")
        speed = np.sqrt(1.5 / np.maximum(curvature, 1e-4))
        for i in range(len(speed) - 2, -1, -1):
            speed[i] = min(speed[i], np.sqrt(speed[i + 1] ** 2 + 2 * 1.2 * (self.arc_m[i + 1] - self.arc_m[i])))
        return speed

    def project(self, points_m: FloatArray, start_m: float, stop_m: float) -> tuple[FloatArray, FloatArray]:
        """Distance along the way of the nearest sample between start and stop, and the distance from it: (P, 2) -> (P,), (P,)."""
        first, last = np.searchsorted(self.arc_m, [start_m, stop_m])
        window = slice(max(int(first) - 1, 0), int(last) + 1)
        offset = points_m[:, None, :] - self.points_m[None, window, :]
        squared = np.einsum("pld,pld->pl", offset, offset)
        nearest = squared.argmin(axis=1)
        return self.arc_m[window][nearest], np.sqrt(squared[np.arange(len(nearest)), nearest])

    def aside(self, points_m: FloatArray, arc_m: FloatArray) -> FloatArray:
        """(P,) how far points (P, 2) lie to the left of the way, at the distances (P,) along it that `project` gave."""
        x, y = (np.interp(arc_m, self.arc_m, self.points_m[:, k]) for k in (0, 1))
        yaw = np.interp(arc_m, self.arc_m, self._yaw_rad)
        left: FloatArray = (points_m[:, 1] - y) * np.cos(yaw) - (points_m[:, 0] - x) * np.sin(yaw)
        return left

    @cached_property
    def turns_at_m(self) -> float | None:
        """Where along the way its first sharp bend begins; None where it has none."""
        turned = np.abs(self._yaw_rad - self._yaw_rad[0]) > BEND_RAD
        return float(self.arc_m[int(turned.argmax())]) if turned.any() else None


@dataclass(frozen=True)
class Lane:
    """A way for vehicles. With a signal group, vehicles stop at `stop_arc_m` while their group is red."""

    path: Path2D
    speed_mps: float
    kind: str  # car | cyclist
    count: int
    stop_arc_m: float | None = None
    signal_group: int = 0


@dataclass(frozen=True)
class Layout:
    """A place made from a seed."""

    scenario: str
    seed: int
    solids: tuple[Solid, ...]
    obstacles: Obstacles
    walk: WalkGraph
    n_people: int
    n_standing_groups: int
    ego_lane: Lane
    ego_start_m: float  # along the ego's lane
    ego_platform: str  # car | robot
    lanes: tuple[Lane, ...] = ()
    turnings: tuple[Lane, ...] = ()  # other ways from where a lane begins, for vehicles whose drivers turn
    parked: FloatArray = field(default_factory=lambda: np.zeros((0, 3)))  # (K, 3) x, y, yaw of parked cars
    raised_m: FloatArray = field(default_factory=lambda: np.zeros((0, 5)))  # (R, 5) x0, y0, x1, y1, height of pavements
    indoor: bool = False
    start_time_s: float = 0.0  # where in their cycle the signals are at the first moment

    @cached_property
    def standing(self) -> Obstacles:
        """Of the obstacles those that a robot can see and run into: people keep out of the gaps between houses, where nothing stands."""
        segments, lines = self.obstacles.segments_m, list(self.obstacles.lines)
        backed = _backed(segments[lines], self.solids)
        return Obstacles(np.concatenate([backed, np.delete(segments, lines, axis=0)]), self.obstacles.discs_m)

    def ground_height_m(self, points_m: FloatArray) -> FloatArray:
        """(P,) height of the walking surface under (P, 2) points."""
        height = np.zeros(len(points_m))
        for x0, y0, x1, y1, level in self.raised_m:
            inside = (points_m[:, 0] >= x0) & (points_m[:, 0] <= x1) & (points_m[:, 1] >= y0) & (points_m[:, 1] <= y1)
            height[inside] = level
        return height


def _backed(segments_m: FloatArray, solids: tuple[Solid, ...]) -> FloatArray:
    """(S, 2, 2) those pieces of the segments that have a box of breast height on or close behind them."""
    boxes = [solid for solid in solids if solid.shape == "box" and abs(solid.position_m[2] - BREAST_M) < solid.half_size_m[2]]
    centre, half = (
        np.array([part[:2] for part in parts]).reshape(-1, 2) for parts in ([b.position_m for b in boxes], [b.half_size_m for b in boxes])
    )
    c, s = np.cos([box.yaw_rad for box in boxes]), np.sin([box.yaw_rad for box in boxes])
    kept = []
    for start, end in segments_m:
        ends = np.linspace(start, end, max(1, round(float(np.linalg.norm(end - start)) / PIECE_M)) + 1)
        offset = 0.5 * (ends[1:] + ends[:-1])[:, None] - centre
        across = np.abs(c * offset[..., 0] + s * offset[..., 1]) <= half[:, 0] + BEHIND_M
        along = np.abs(c * offset[..., 1] - s * offset[..., 0]) <= half[:, 1] + BEHIND_M
        backed = (across & along).any(axis=1)
        changes = np.flatnonzero(np.diff(np.concatenate([[False], backed, [False]])))
        kept += [(ends[first], ends[last]) for first, last in changes.reshape(-1, 2)]
    return np.array(kept).reshape(-1, 2, 2)


def polyline(corners_m: FloatArray, turn_radius_m: float = 0.0, spacing_m: float = 0.4) -> Path2D:
    """A way through the corners, each corner rounded by a quadratic curve that starts `turn_radius_m` before it."""
    corners = np.asarray(corners_m, dtype=float)
    pieces = [corners[:1]]
    for before, corner, after in zip(corners[:-2], corners[1:-1], corners[2:], strict=True):
        inward, outward = before - corner, after - corner
        start = corner + inward * min(turn_radius_m / np.linalg.norm(inward), 0.45)
        end = corner + outward * min(turn_radius_m / np.linalg.norm(outward), 0.45)
        t = np.linspace(0.0, 1.0, 24)[:, None]
        pieces.append((1 - t) ** 2 * start + 2 * t * (1 - t) * corner + t**2 * end)
    pieces.append(corners[-1:])
    rough = np.concatenate(pieces)
    keep = np.concatenate([[True], np.linalg.norm(np.diff(rough, axis=0), axis=1) > 1e-6])
    rough = rough[keep]
    arc = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(rough, axis=0), axis=1))])
    even = np.linspace(0.0, arc[-1], max(2, int(np.ceil(arc[-1] / spacing_m)) + 1))
    return Path2D(np.stack([np.interp(even, arc, rough[:, 0]), np.interp(even, arc, rough[:, 1])], axis=1))
