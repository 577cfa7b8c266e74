"""Casts synthetic objects into a real sweep with that sweep's own beams: its rings, its azimuth steps, its shadows.

So a synthetic body has the ring spacing, the number of returns and the occlusion that a real one would have there.
Axes: N points, R rings, A azimuth steps.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from jepa_ros.training.objects.rays import Solids
from jepa_ros.types import FloatArray

SAME_RAD, OFTEN_AGAIN = 1e-4, 0.4  # a beam that gives two returns gives them at one azimuth


@dataclass(frozen=True)
class Beams:
    """How a lidar scans, as read from a sweep whose rings are known."""

    elevations_rad: FloatArray  # (R,)
    step_rad: float
    returns: int = 1  # of one beam: two where the strongest and the last are both given

    @staticmethod
    def of(points_m: FloatArray, lidar_m: FloatArray, ring: NDArray[np.intp]) -> Beams:
        """From (N, 3) points around a lidar at (3,) and the ring number of each."""
        x, y, z = (points_m - lidar_m).T
        elevation, azimuth = np.arctan2(z, np.hypot(x, y)), np.arctan2(y, x)
        elevations = np.array([np.median(elevation[ring == r]) if (ring == r).any() else np.nan for r in range(ring.max() + 1)])
        steps = np.concatenate([np.diff(np.sort(azimuth[ring == r])) for r in range(ring.max() + 1)])
        again = steps < SAME_RAD
        return Beams(elevations, float(np.median(steps[~again])), 2 if again.mean() > OFTEN_AGAIN else 1)


def cast(
    points_m: FloatArray,
    ring: NDArray[np.intp],
    lidar_m: FloatArray,
    beams: Beams,
    solids: Solids,
    place_m: FloatArray,
    yaw: float,
    generator: np.random.Generator,
    noise_m: float,
    reach_m: float = 3.0,
) -> tuple[FloatArray, NDArray[np.intp], NDArray[np.bool_], int]:
    """The sweep with the thing at `place_m` (3,) on the ground: points, rings, which of the old points are left (they come first, in
    their order), and how many returns of the thing follow them.

    A beam that meets the thing first returns from there, one that was stopped before stays as it was.
    """
    offset = points_m - lidar_m
    azimuth, range_m = np.arctan2(offset[:, 1], offset[:, 0]), np.linalg.norm(offset, axis=1)
    to_place = place_m - lidar_m
    away_m, middle = float(np.hypot(*to_place[:2])), float(np.arctan2(to_place[1], to_place[0]))
    half = float(np.arctan2(reach_m, max(away_m, 0.5)))
    steps = int(np.ceil(2 * half / beams.step_rad)) + 1
    relative = np.remainder(azimuth - middle + np.pi, 2 * np.pi) - np.pi
    near = np.flatnonzero(np.abs(relative) < half)
    cell = np.clip(np.rint((relative[near] + half) / beams.step_rad).astype(np.intp), 0, steps - 1)
    slot = ring[near] * steps + cell

    rings = len(beams.elevations_rad)
    angle = middle - half + beams.step_rad * (np.arange(steps) + generator.random())
    elevation = np.repeat(beams.elevations_rad, steps)
    angle = np.tile(angle, rings)
    rays = np.stack([np.cos(elevation) * np.cos(angle), np.cos(elevation) * np.sin(angle), np.sin(elevation)], axis=1)
    use = np.isfinite(elevation)
    c, s = np.cos(yaw), np.sin(yaw)
    turn = np.array([[c, s, 0.0], [-s, c, 0.0], [0.0, 0.0, 1.0]])
    distance = np.full(len(rays), np.inf)
    distance[use] = solids.meet(turn @ -to_place, rays[use] @ turn.T, generator)
    distance[generator.random(len(rays)) < generator.uniform(0.0, 0.1)] = np.inf  # dark cloth, wet lacquer

    stopped = np.full(rings * steps, np.inf)
    np.minimum.at(stopped, slot, range_m[near])
    seen = np.isfinite(distance) & (distance < stopped - 0.05)
    kept = np.ones(len(points_m), bool)
    kept[near[seen[slot]]] = False
    met = np.repeat(np.flatnonzero(seen), beams.returns)
    returned = lidar_m + rays[met] * (distance[met] + generator.normal(0.0, noise_m, len(met)))[:, None]
    ring_of = met // steps
    return np.concatenate((points_m[kept], returned)), np.concatenate((ring[kept], ring_of)), kept, len(met)
