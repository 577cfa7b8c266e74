"""Where beams meet capsules, boxes and porous bodies. Axes: R rays, K solids."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from jepa_ros.types import FloatArray


@dataclass(frozen=True)
class Solids:
    """What a thing is made of, in a frame with its origin on the ground below it."""

    capsules: list[tuple[tuple[float, float, float], tuple[float, float, float], float]] = field(default_factory=list)  # ends, radius
    boxes: list[tuple[tuple[float, float, float], tuple[float, float, float], float]] = field(
        default_factory=list
    )  # centre, half sides, yaw
    clouds: list[tuple[tuple[float, float, float], tuple[float, float, float], float]] = field(
        default_factory=list
    )  # centre, half axes, reach

    def meet(self, origin_m: FloatArray, rays: FloatArray, generator: np.random.Generator) -> FloatArray:
        """(R,) distance along unit rays (R, 3) from one origin (3,); infinite where nothing is met."""
        nearest = np.full(len(rays), np.inf)
        for start, end, radius_m in self.capsules:
            nearest = np.minimum(nearest, _capsule(origin_m, rays, np.array(start), np.array(end), radius_m))
        for centre, half, yaw in self.boxes:
            nearest = np.minimum(nearest, _box(origin_m, rays, np.array(centre), np.array(half), yaw))
        for centre, half, reach_m in self.clouds:
            enter, leave = _ellipsoid(origin_m, rays, np.array(centre), np.array(half))
            into = enter + generator.exponential(reach_m, len(rays))  # leaves: how far a beam gets is a matter of chance
            nearest = np.minimum(nearest, np.where(into < leave, into, np.inf))
        return nearest


def _roots(a: FloatArray | float, half_b: FloatArray, c: FloatArray | float) -> tuple[FloatArray, FloatArray]:
    """Both solutions of a t^2 + 2 half_b t + c = 0, NaN where there are none."""
    with np.errstate(invalid="ignore", divide="ignore"):
        root = np.sqrt(half_b**2 - a * c)
        return (-half_b - root) / a, (-half_b + root) / a


def _ahead(distance: FloatArray, valid: NDArray[np.bool_]) -> FloatArray:
    return np.where(valid & np.isfinite(distance) & (distance > 0.05), distance, np.inf)


def _capsule(origin: FloatArray, rays: FloatArray, start: FloatArray, end: FloatArray, radius: float) -> FloatArray:
    axis = end - start
    length = max(float(np.linalg.norm(axis)), 1e-6)
    axis = axis / length
    to_start = origin - start
    slanted, offset = rays @ axis, float(to_start @ axis)
    straight, away = rays - slanted[:, None] * axis, to_start - offset * axis
    side, _ = _roots((straight**2).sum(axis=1), straight @ away, float(away @ away) - radius**2)
    height = offset + side * slanted
    nearest = _ahead(side, (height > 0) & (height < length))
    for cap in (start, end):
        near, _ = _roots(1.0, rays @ (origin - cap), float((origin - cap) @ (origin - cap)) - radius**2)
        nearest = np.minimum(nearest, _ahead(near, np.isfinite(near)))
    return nearest


def _box(origin: FloatArray, rays: FloatArray, centre: FloatArray, half: FloatArray, yaw: float) -> FloatArray:
    c, s = np.cos(yaw), np.sin(yaw)
    turn = np.array([[c, s, 0.0], [-s, c, 0.0], [0.0, 0.0, 1.0]])
    start, way = turn @ (origin - centre), rays @ turn.T
    way = np.where(np.abs(way) < 1e-9, 1e-9, way)
    first, second = (-half - start) / way, (half - start) / way
    enter, leave = np.minimum(first, second).max(axis=1), np.maximum(first, second).min(axis=1)
    return _ahead(enter, enter < leave)


def _ellipsoid(origin: FloatArray, rays: FloatArray, centre: FloatArray, half: FloatArray) -> tuple[FloatArray, FloatArray]:
    start, way = (origin - centre) / half, rays / half
    near, far = _roots((way**2).sum(axis=1), way @ start, float(start @ start) - 1.0)
    met = np.isfinite(near) & (near > 0.05)
    return np.where(met, near, np.inf), np.where(met, far, -np.inf)
