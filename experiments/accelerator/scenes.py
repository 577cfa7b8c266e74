"""Observations of any size: rings, cameras and people, made up from a seed."""

from __future__ import annotations

import numpy as np

from jepa_ros.types import NANOSECONDS, CameraImage, CameraModel, EgoState, LidarSweep, Observation

AZIMUTHS = 1800  # returns of a ring


def observation(step: int, points: int, cameras: int, people: int, image: tuple[int, int] = (1280, 720)) -> Observation:
    """A street at 10 Hz: ground, two facades, people who walk along it; `points` in all; `image`: width and height of each camera."""
    rng = np.random.default_rng(0)
    where = np.column_stack([rng.uniform(-12, 12, people), rng.uniform(-6, 6, people)])
    where[:, 0] += 0.12 * step * np.where(np.arange(people) % 2, 1, -1)
    noise = np.random.default_rng(step)
    bodies = [np.column_stack([*(at[:, None] + noise.normal(0, 0.12, (2, 60))), noise.uniform(0.1, 1.7, 60)]) for at in where]
    left = max(points - 60 * people, 1000)
    walls = np.column_stack([noise.uniform(-25, 25, left // 2), noise.choice([-9.0, 9.0], left // 2), noise.uniform(0, 4, left // 2)])
    ground = np.column_stack([noise.uniform(-25, 25, (left - left // 2, 2)), noise.normal(0, 0.01, left - left // 2)])
    sweep = np.concatenate([ground, walls, *bodies]).astype(np.float32)
    stamp_ns = round(0.1 * step * NANOSECONDS)
    width, height = image
    model = CameraModel(width, height, np.array([[0.6 * width, 0, width / 2], [0, 0.6 * width, height / 2], [0, 0, 1]]), np.empty(0))
    images = tuple(
        CameraImage(stamp_ns, f"camera_{k}", noise.integers(0, 255, (height, width, 3), np.uint8), model, _looking(2 * np.pi * k / 6))
        for k in range(cameras)
    )
    return Observation(
        stamp_ns, EgoState(stamp_ns, np.eye(4), np.zeros(2)), LidarSweep(stamp_ns, sweep, None, None, None, np.eye(4)), images
    )


def _looking(yaw: float) -> np.ndarray:
    """(4, 4) base_from_camera of a camera 1.5 m up that looks along a heading."""
    pose, turn = np.eye(4), np.array([[np.cos(yaw), -np.sin(yaw), 0], [np.sin(yaw), np.cos(yaw), 0], [0, 0, 1]])
    pose[:3, :3] = turn @ np.array([[0.0, 0, 1], [-1, 0, 0], [0, -1, 0]])
    pose[2, 3] = 1.5
    return pose
