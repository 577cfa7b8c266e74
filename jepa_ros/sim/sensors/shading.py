"""Colours for the rays of a simulated camera: sun and sky, shadows on the ground, windows in the fronts of houses, haze."""

from __future__ import annotations

import mujoco
import numpy as np

from jepa_ros.sim.places.layout import MATERIALS
from jepa_ros.sim.simulation import Simulation
from jepa_ros.types import FloatArray

SUN = np.array([0.45, -0.40, 0.80]) / np.linalg.norm([0.45, -0.40, 0.80])
SUN_DISTANCE_M = 3000.0  # far enough for nearly parallel rays
HORIZON, ZENITH = np.array([0.80, 0.86, 0.92]), np.array([0.36, 0.56, 0.86])
HAZE_M = 260.0
FACADE, ASPHALT, PAVING, FOLIAGE = (MATERIALS.index(name) for name in ("facade", "asphalt", "paving", "foliage"))
STATIC_CELL_M, MOVING_CELL_M = 0.5, 0.1
MOVING_REACH_M = 40.0


class Shader:
    """Shades what the rays of one simulation's cameras met. What stands still throws its shadow once, at the start."""

    def __init__(self, simulation: Simulation) -> None:
        self._simulation = simulation
        self._indoor = simulation.layout.indoor
        self._half_m = float(np.abs(simulation.layout.walk.nodes_m).max() + 5.0)
        self._static = np.ones((1, 1), np.float32) if self._indoor else self._sunlit_ground()

    def shade(
        self, geom: np.ndarray, distance_m: FloatArray, normals: FloatArray, origin_m: FloatArray, directions: FloatArray
    ) -> FloatArray:
        """(N, 3) colours 0-1 of N rays from `origin_m` along (N, 3) world directions."""
        rgb = HORIZON + (ZENITH - HORIZON) * np.sqrt(np.clip(directions[:, 2:], 0.0, 1.0))
        seen = geom >= 0
        which, distance, normal = geom[seen], distance_m[seen], normals[seen]
        normal = np.where(np.einsum("nd,nd->n", normal, directions[seen])[:, None] > 0, -normal, normal)
        points = origin_m + directions[seen] * distance[:, None]
        model = self._simulation.model
        base = _texture(model.geom_rgba[which, :3].astype(float), model.geom_user[which, 1].astype(int), points, normal)
        light = self._light(points, normal, distance)
        haze = 0.0 if self._indoor else 1.0 - np.exp(-distance / HAZE_M)[:, None]
        rgb[seen] = base * light[:, None] * (1.0 - haze) + HORIZON * haze
        return rgb

    def _light(self, points: FloatArray, normal: FloatArray, distance: FloatArray) -> FloatArray:
        direct = np.ones(len(points))
        low = np.flatnonzero(points[:, 2] < 0.2)
        direct[low] = self._moving_shadows(points[low, :2])
        if self._indoor:
            # Lamps in the ceiling and light from everywhere; far away it gets darker.
            return (
                (0.62 + 0.28 * np.maximum(normal[:, 2], 0.0) + 0.10 * np.abs(normal[:, 0]))
                * (0.75 + 0.25 * np.exp(-distance / 20.0))
                * direct
            )
        direct[low] *= _sample(self._static, points[low, :2], np.full(2, -self._half_m), STATIC_CELL_M)
        return 0.50 + 0.12 * normal[:, 2] + 0.50 * np.maximum(normal @ SUN, 0.0) * direct

    def _sunlit_ground(self) -> np.ndarray:
        """(Y, X) 1 where the sun reaches the ground past everything that stands still, else 0."""
        simulation, sun = self._simulation, SUN * SUN_DISTANCE_M
        axis = np.arange(-self._half_m, self._half_m + STATIC_CELL_M, STATIC_CELL_M)
        x, y = np.meshgrid(axis, axis)
        rays = np.stack([x.ravel(), y.ravel(), np.zeros(x.size)], axis=1) - sun
        length = np.linalg.norm(rays, axis=1)
        distance, geom = np.zeros(len(rays)), np.zeros(len(rays), np.int32)
        static = np.array([1, 0, 0, 0, 0, 0], np.uint8)
        directions = (rays / length[:, None]).reshape(-1)
        mujoco.mj_multiRay(
            simulation.model, simulation.data, sun, directions, static, 1, -1, geom, distance, None, len(rays), 2 * SUN_DISTANCE_M
        )
        hit_height = sun[2] + directions.reshape(-1, 3)[:, 2] * distance
        return (hit_height < 0.3).astype(np.float32).reshape(x.shape)

    def _moving_shadows(self, ground: FloatArray) -> FloatArray:
        """(N,) share of the light that people and vehicles leave at (N, 2) places on the ground."""
        lean = np.zeros(2) if self._indoor else -SUN[:2] / SUN[2]
        middle = self._simulation.ego.pose[:2]
        cells = int(2 * MOVING_REACH_M / MOVING_CELL_M)
        light = np.ones((cells, cells), np.float32)
        corner = middle - MOVING_REACH_M
        layout = self._simulation.layout
        cars = np.concatenate([layout.parked, *[v.pose[None] for v in self._simulation.vehicles]])
        for person in self._simulation.crowd.positions_m:
            # An upright person throws an ellipse stretched along the sun's lean.
            length = float(np.linalg.norm(lean * 1.7))
            yaw = float(np.arctan2(lean[1], lean[0]))
            _darken(light, (*(person + 0.85 * lean - corner), yaw), (0.5 * length + 0.22, 0.24), 0.75)
        for x, y, yaw in cars:
            _darken(light, (*(np.array([x, y]) + lean * 0.5 - corner), yaw), (2.5, 1.3), 0.8)
        return _sample(light, ground, corner, MOVING_CELL_M)


def _darken(light: np.ndarray, pose: tuple[float, float, float], radii_m: tuple[float, float], depth: float) -> None:
    """Multiply a soft dark ellipse into the grid; `pose` is relative to the grid's corner."""
    x, y, yaw = pose
    reach = 1.5 * max(radii_m)
    rows, columns = (slice(max(0, int((at - reach) / MOVING_CELL_M)), max(0, int((at + reach) / MOVING_CELL_M))) for at in (y, x))
    patch = light[rows, columns]
    if not patch.size:
        return
    dy = (np.arange(rows.start, rows.start + patch.shape[0]) + 0.5)[:, None] * MOVING_CELL_M - y
    dx = (np.arange(columns.start, columns.start + patch.shape[1]) + 0.5) * MOVING_CELL_M - x
    c, s = np.cos(yaw), np.sin(yaw)
    square = ((c * dx + s * dy) / radii_m[0]) ** 2 + ((c * dy - s * dx) / radii_m[1]) ** 2
    patch *= 1.0 - depth * np.exp(-(square**2))


def _sample(grid: np.ndarray, points: FloatArray, corner: FloatArray, cell_m: float) -> FloatArray:
    """Bilinear look-up of (N, 2) points; outside the grid its edge goes on."""
    at = (points - corner) / cell_m - 0.5
    column, row = np.clip(at, 0, np.array(grid.shape[::-1]) - 1.001).T
    c, r = column.astype(int), row.astype(int)
    fc, fr = column - c, row - r
    above = grid[r, c] * (1 - fc) + grid[r, c + 1] * fc
    return above * (1 - fr) + (grid[r + 1, c] * (1 - fc) + grid[r + 1, c + 1] * fc) * fr


def _texture(rgb: FloatArray, material: np.ndarray, points: FloatArray, normal: FloatArray) -> FloatArray:
    walls = np.flatnonzero((material == FACADE) & (np.abs(normal[:, 2]) < 0.5))
    along = np.where(np.abs(normal[walls, 0]) > np.abs(normal[walls, 1]), points[walls, 1], points[walls, 0])
    u, v = along % 2.4, (points[walls, 2] - 0.9) % 2.9
    up = points[walls, 2] > 0.9
    pane = (u > 0.75) & (u < 1.75) & (v > 0.2) & (v < 1.6) & up
    frame = (u > 0.65) & (u < 1.85) & (v > 0.1) & (v < 1.7) & up & ~pane
    rgb[walls[pane]] = (0.20, 0.26, 0.33)
    rgb[walls[frame]] = 0.9
    speckled = np.flatnonzero(np.isin(material, (ASPHALT, PAVING, FOLIAGE)))
    rgb[speckled] *= (0.92 + 0.16 * _hash(np.floor(points[speckled] * 6.0)))[:, None]
    slabs = np.flatnonzero((material == PAVING) & (normal[:, 2] > 0.5))
    joints = ((points[slabs, 0] % 0.8) < 0.03) | ((points[slabs, 1] % 0.8) < 0.03)
    rgb[slabs[joints]] *= 0.85
    return rgb


def _hash(cells: FloatArray) -> FloatArray:
    """(N,) pseudo-random 0-1 per integer cell."""
    mixed = np.sin(cells @ np.array([12.9898, 78.233, 37.719])) * 43758.5453
    return mixed - np.floor(mixed)
