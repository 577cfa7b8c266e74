"""Footprint: the shape that must stay free of everything, in base_link (x forward, y left, metres).

A robot given by its radius alone is a disc around base_link, and costs what a disc costs. Any other shape is a simple polygon. A search
looks at thousands of poses: it sees the polygon as a few discs, one for each tile of it. What is handed out was judged with the polygon
itself (`contact`).

Axes: N corner, D disc.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations

import numpy as np
import torch
from torch import Tensor

from jepa_ros.types import FloatArray

LARGEST_M = 50.0  # of a coordinate
THINNEST_M = 0.02
TILE_M = 0.5  # half of the side of a tile, at most: no corner is then further from its disc than 0.2 m, a cell of the planner
MOST_DISCS = 24
MOST_CORNERS = 64
ROUND_CORNERS = 24  # of the outline of a disc

Corners = tuple[tuple[float, float], ...]
Side = tuple[tuple[float, float], tuple[float, float]]


@dataclass(frozen=True)
class Footprint:
    """A disc of `radius_m` around base_link, or the polygon `corners`, counterclockwise."""

    radius_m: float = 0.0
    corners: Corners = ()

    @classmethod
    def of(cls, robot: Footprint | float) -> Footprint:
        """A number is the radius of a disc."""
        return robot if isinstance(robot, Footprint) else cls(radius_m=float(robot))

    @classmethod
    def parse(cls, text: str) -> Footprint:
        """From the text that Nav2's costmaps take: "[[x, y], [x, y], ...]", metres in base_link, in either direction around.

        Raises ValueError that names what is wrong: no list of pairs, fewer than 3 corners, not finite or too large, sides that cross or
        touch each other, or base_link outside.
        """
        try:
            points = [(float(x), float(y)) for x, y in json.loads(text)]
        except (ValueError, TypeError):
            raise ValueError(f"footprint = {text!r}: give corners as [[x, y], [x, y], ...] in base_link, metres") from None
        if len(points) > 1 and points[0] == points[-1]:  # closed by hand
            points = points[:-1]
        if not 3 <= len(points) <= MOST_CORNERS:
            raise ValueError(f"footprint = {text!r}: {len(points)} corners; a polygon has 3 to {MOST_CORNERS}")
        if not all(abs(value) <= LARGEST_M for point in points for value in point):  # NaN fails, too
            raise ValueError(f"footprint = {text!r}: corners must be finite and within {LARGEST_M:.0f} m of base_link")
        sides = list(zip(points, (*points[1:], points[0]), strict=True))
        for (i, one), (j, other) in combinations(enumerate(sides), 2):
            if one[0] == one[1] or other[0] == other[1]:
                raise ValueError(f"footprint = {text!r}: the same corner twice in a row")
            neighbours = j == i + 1 or (i == 0 and j == len(sides) - 1)
            if _fold(one, other) if neighbours else _cross(one, other):
                raise ValueError(f"footprint = {text!r}: side {i + 1} and side {j + 1} cross or touch each other; order the corners around")
        area = 0.5 * sum(a[0] * b[1] - a[1] * b[0] for a, b in sides)
        shape = cls(corners=tuple(points if area > 0.0 else points[::-1]))
        if min(np.ptp(shape._corners_N2, axis=0)) < THINNEST_M:
            raise ValueError(f"footprint = {text!r}: thinner than {THINNEST_M} m")
        if shape.gap_squared(torch.zeros(()), torch.zeros(())) > 0.0:
            raise ValueError(f"footprint = {text!r}: base_link (0, 0) lies outside; the corners are given in base_link")
        return shape

    @property
    def is_round(self) -> bool:
        return not self.corners

    @cached_property
    def _corners_N2(self) -> FloatArray:
        return np.array(self.corners, dtype=np.float64)

    @cached_property
    def centre_m(self) -> tuple[float, float]:
        """Middle of the rectangle around it, in base_link."""
        if self.is_round:
            return 0.0, 0.0
        x, y = 0.5 * (self._corners_N2.min(axis=0) + self._corners_N2.max(axis=0))
        return float(x), float(y)

    @cached_property
    def around_m(self) -> float:
        """From `centre_m` to the furthest point."""
        return self.radius_m if self.is_round else float(np.linalg.norm(self._corners_N2 - self.centre_m, axis=1).max())

    @cached_property
    def reach_m(self) -> float:
        """From base_link to the furthest point."""
        return self.radius_m if self.is_round else float(np.linalg.norm(self._corners_N2, axis=1).max())

    @cached_property
    def behind_m(self) -> float:
        """How far it reaches behind base_link."""
        return self.radius_m if self.is_round else float(-self._corners_N2[:, 0].min())

    @cached_property
    def beside_m(self) -> float:
        """How far it reaches to the wider side."""
        return self.radius_m if self.is_round else float(np.abs(self._corners_N2[:, 1]).max())

    @cached_property
    def narrow_m(self) -> float:
        """Half of the shorter side of the rectangle around it: what is narrower, it passes in no direction."""
        return self.radius_m if self.is_round else float(0.5 * np.ptp(self._corners_N2, axis=0).min())

    @cached_property
    def _tiles(self) -> tuple[FloatArray, FloatArray]:
        """(D, 2) middles of equal tiles that cover it, and (2,) half of the sides of one."""
        low, size = self._corners_N2.min(axis=0), np.ptp(self._corners_N2, axis=0)
        rows = max(1, math.ceil(self.narrow_m / TILE_M))
        while True:
            counts = np.ceil(size / (2.0 * self.narrow_m / rows) - 1e-6).astype(int)
            half = 0.5 * size / counts
            middles_D2 = low + half * (2.0 * np.stack(np.meshgrid(*map(np.arange, counts)), axis=-1).reshape(-1, 2) + 1.0)
            gap_D = self.gap_squared(*torch.as_tensor(middles_D2).unbind(-1)).sqrt().numpy()
            kept_D2 = middles_D2[gap_D < half.min()]
            if len(kept_D2) <= MOST_DISCS or rows == 1:
                return kept_D2, half
            rows -= 1

    @cached_property
    def discs_D2(self) -> FloatArray:
        """Middles of equal discs that stand for it in a search, in base_link."""
        return np.zeros((1, 2)) if self.is_round else self._tiles[0]

    @cached_property
    def disc_radius_m(self) -> float:
        """Of each: what fits into a tile. Sides are then exact, and a corner is bare by 0.2 m at most, which the last check sees."""
        return self.radius_m if self.is_round else float(self._tiles[1].min())

    @cached_property
    def outline_N2(self) -> FloatArray:
        """Corners of what is drawn, in base_link."""
        if not self.is_round:
            return self._corners_N2
        angle = np.arange(ROUND_CORNERS) * (2.0 * np.pi / ROUND_CORNERS)
        return self.radius_m * np.stack((np.cos(angle), np.sin(angle)), axis=-1)

    @cached_property
    def convex_parts(self) -> tuple[Tensor, ...]:
        """(N, 2) each, counterclockwise: the polygon itself where it is convex, else triangles."""
        corners = list(self.corners)
        if all(_turn(*three) >= 0.0 for three in _threes(corners)):
            return (torch.tensor(corners, dtype=torch.float32),)
        triangles = []
        while len(corners) > 3:
            ear = next((i for i, three in enumerate(_threes(corners)) if _is_ear(three, corners)), 0)
            triangles.append(_threes(corners)[ear])
            del corners[ear]
        return tuple(torch.tensor(part, dtype=torch.float32) for part in (*triangles, corners))

    def placed(self, poses_L3: FloatArray) -> FloatArray:
        """(L, N, 2) the outline at (L, 3) x m, y m, yaw rad."""
        cos, sin = np.cos(poses_L3[:, 2]), np.sin(poses_L3[:, 2])
        turn_L22 = np.stack((np.stack((cos, sin), -1), np.stack((-sin, cos), -1)), 1)
        return poses_L3[:, None, :2] + self.outline_N2 @ turn_L22

    def gap_squared(self, x: Tensor, y: Tensor) -> Tensor:
        """Squared distance, m^2, from points in base_link to the shape; 0 within."""
        if self.is_round:
            return (torch.hypot(x, y) - self.radius_m).clamp(min=0.0).square()
        nearest, within = torch.full_like(x, math.inf), torch.zeros_like(x, dtype=torch.bool)
        for (ax, ay), (bx, by) in zip(self.corners, (*self.corners[1:], self.corners[0]), strict=True):
            ex, ey, px, py = bx - ax, by - ay, x - ax, y - ay
            share = ((px * ex + py * ey) / (ex * ex + ey * ey)).clamp(0.0, 1.0)
            nearest = torch.minimum(nearest, (px - share * ex).square_() + (py - share * ey).square_())
            if ey != 0.0:  # does a ray to the right cross this side?
                within ^= ((y < ay) != (y < by)) & (px < py * (ex / ey))
        return nearest.masked_fill_(within, 0.0)


def _threes(corners: list[tuple[float, float]]) -> list[Corners]:
    """Each corner with its neighbours, before and after."""
    return [(corners[i - 1], corners[i], corners[(i + 1) % len(corners)]) for i in range(len(corners))]


def _turn(a: tuple[float, float], b: tuple[float, float], c: tuple[float, float]) -> float:
    """Positive where a, b, c turn to the left."""
    return (b[0] - a[0]) * (c[1] - b[1]) - (b[1] - a[1]) * (c[0] - b[0])


def _is_ear(three: Corners, corners: list[tuple[float, float]]) -> bool:
    a, b, c = three
    others = (p for p in corners if p not in three)
    return _turn(a, b, c) > 0.0 and not any(min(_turn(a, b, p), _turn(b, c, p), _turn(c, a, p)) >= 0.0 for p in others)


def _cross(one: Side, other: Side) -> bool:
    """Whether two sides have a point in common."""
    a, b = (_turn(one[0], one[1], point) for point in other)
    c, d = (_turn(other[0], other[1], point) for point in one)
    if a == b == 0.0:  # on one line
        return all(max(min(u[k], v[k]) for u, v in (one, other)) <= min(max(u[k], v[k]) for u, v in (one, other)) for k in (0, 1))
    return a * b <= 0.0 and c * d <= 0.0


def _fold(one: Side, other: Side) -> bool:
    """Whether a side leads straight back along the one before it."""
    (a, b), (c, d) = (one, other) if one[1] == other[0] else (other, one)
    return _turn(a, b, d) == 0.0 and (b[0] - a[0]) * (d[0] - c[0]) + (b[1] - a[1]) * (d[1] - c[1]) < 0.0
