"""Colours for the rays of a simulated camera: sun and sky, windows in the fronts of houses, haze, and soft shadows under what moves."""

from __future__ import annotations

import numpy as np

from jepa_ros.sim.layout import MATERIALS
from jepa_ros.sim.simulation import Simulation
from jepa_ros.types import FloatArray

SUN = np.array([0.45, 0.35, 0.82]) / np.linalg.norm([0.45, 0.35, 0.82])
HORIZON, ZENITH = np.array([0.80, 0.86, 0.92]), np.array([0.36, 0.56, 0.86])
HAZE_M = 260.0
FACADE, ASPHALT, PAVING, FOLIAGE = (MATERIALS.index(name) for name in ("facade", "asphalt", "paving", "foliage"))


def shade(
    simulation: Simulation, geom: np.ndarray, distance_m: FloatArray, normals: FloatArray, origin_m: FloatArray, directions: FloatArray
) -> FloatArray:
    """(N, 3) colours 0-1 of N rays."""
    height = np.clip(directions[:, 2:], 0.0, 1.0)
    rgb = HORIZON + (ZENITH - HORIZON) * np.sqrt(height)
    seen = geom >= 0
    if not seen.any():
        return rgb
    which, distance, normal = geom[seen], distance_m[seen], normals[seen]
    normal = np.where(np.einsum("nd,nd->n", normal, directions[seen])[:, None] > 0, -normal, normal)
    points = origin_m + directions[seen] * distance[:, None]
    material = simulation.model.geom_user[which, 1].astype(int)
    base = _texture(simulation.model.geom_rgba[which, :3].astype(float), material, points, normal)
    light = _light(simulation, points, normal, origin_m, distance)
    haze = 0.0 if simulation.layout.indoor else 1.0 - np.exp(-distance / HAZE_M)[:, None]
    rgb[seen] = base * light[:, None] * (1.0 - haze) + HORIZON * haze
    return rgb


def _light(simulation: Simulation, points: FloatArray, normal: FloatArray, origin_m: FloatArray, distance: FloatArray) -> FloatArray:
    if simulation.layout.indoor:
        # Lamps in the ceiling and light from everywhere; far away it gets darker.
        return (
            (0.62 + 0.28 * np.maximum(normal[:, 2], 0.0) + 0.10 * np.abs(normal[:, 0]))
            * (0.75 + 0.25 * np.exp(-distance / 20.0))
            * _contact(simulation, points)
        )
    return 0.50 + 0.12 * normal[:, 2] + 0.50 * np.maximum(normal @ SUN, 0.0) * _contact(simulation, points)


def _contact(simulation: Simulation, points: FloatArray) -> FloatArray:
    """1 in the light, less in the shadow that people and vehicles throw on the ground."""
    light = np.ones(len(points))
    low = np.flatnonzero(points[:, 2] < 0.2)
    if not len(low):
        return light
    lean = np.zeros(2) if simulation.layout.indoor else -SUN[:2] / SUN[2]
    ground = points[low, :2]
    people = simulation.crowd.positions_m
    cars = np.concatenate([simulation.layout.parked[:, :2], *[v.pose[None, :2] for v in simulation.vehicles]])
    yaws = np.concatenate([simulation.layout.parked[:, 2], [v.pose[2] for v in simulation.vehicles]])
    reach = np.abs(ground - ground.mean(axis=0)).max() + 5.0
    for person in people[np.abs(people - ground.mean(axis=0)).max(axis=1) < reach]:
        # An upright person throws an ellipse stretched along the sun's lean.
        along = lean * 1.7
        length = max(float(np.linalg.norm(along)), 0.5)
        axis = along / length if length > 0.5 else np.array([1.0, 0.0])
        offset = ground - person - along / 2
        u, v = offset @ axis, offset @ np.array([-axis[1], axis[0]])
        light[low] *= 1.0 - 0.75 * np.exp(-((u / (0.45 * length + 0.1)) ** 4) - (v / 0.24) ** 2)
    for car, yaw in zip(cars, yaws, strict=True):
        if np.abs(car - ground.mean(axis=0)).max() > reach:
            continue
        offset = ground - car - lean * 0.5
        c, s = np.cos(yaw), np.sin(yaw)
        u, v = offset @ np.array([c, s]), offset @ np.array([-s, c])
        light[low] *= 1.0 - 0.8 * np.exp(-((u / 2.4) ** 6) - (v / 1.2) ** 6)
    return light


def _texture(rgb: FloatArray, material: np.ndarray, points: FloatArray, normal: FloatArray) -> FloatArray:
    rgb = rgb.copy()
    walls = np.flatnonzero((material == FACADE) & (np.abs(normal[:, 2]) < 0.5))
    if len(walls):
        along = np.where(np.abs(normal[walls, 0]) > np.abs(normal[walls, 1]), points[walls, 1], points[walls, 0])
        u, v = along % 2.4, (points[walls, 2] - 0.9) % 2.9
        pane = (u > 0.75) & (u < 1.75) & (v > 0.2) & (v < 1.6) & (points[walls, 2] > 0.9)
        frame = (u > 0.65) & (u < 1.85) & (v > 0.1) & (v < 1.7) & (points[walls, 2] > 0.9) & ~pane
        rgb[walls[pane]] = (0.20, 0.26, 0.33)
        rgb[walls[frame]] = 0.9
    speckled = np.isin(material, (ASPHALT, PAVING, FOLIAGE))
    grain = _hash(np.floor(points[speckled] * 6.0))
    rgb[speckled] *= (0.92 + 0.16 * grain)[:, None]
    slabs = np.flatnonzero((material == PAVING) & (normal[:, 2] > 0.5))
    joints = ((points[slabs, 0] % 0.8) < 0.03) | ((points[slabs, 1] % 0.8) < 0.03)
    rgb[slabs[joints]] *= 0.85
    return rgb


def _hash(cells: FloatArray) -> FloatArray:
    """(N,) pseudo-random 0-1 per integer cell."""
    mixed = np.sin(cells @ np.array([12.9898, 78.233, 37.719])) * 43758.5453
    return mixed - np.floor(mixed)
