"""Small hand-made scenes for the planning tests: a grid with walls, people on straight lines, a robot."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from jepa_ros.types import NANOSECONDS, EgoState, OccupancyForecast, PedestrianForecast, SceneState, TrackedPeople, Tracks

RESOLUTION_M = 0.4
CELLS = 64
STAMP_NS = 1_000 * NANOSECONDS


def pose(x_m: float, y_m: float, yaw_rad: float) -> np.ndarray:
    matrix = np.eye(4)
    matrix[:2, :2] = [[np.cos(yaw_rad), -np.sin(yaw_rad)], [np.sin(yaw_rad), np.cos(yaw_rad)]]
    matrix[:2, 3] = x_m, y_m
    return matrix


def make_scene(
    walls: tuple[tuple[float, float, float, float], ...] = (),
    people: tuple[tuple[float, float, float, float], ...] = (),
    speed_mps: float = 0.0,
    sigma_mps: float = 0.15,
    anchor: np.ndarray | None = None,
    steps: int = 12,
    dt_s: float = 0.4,
    seen: Callable[[np.ndarray, np.ndarray], np.ndarray] | None = None,
) -> SceneState:
    """Walls: (x0, y0, x1, y1) boxes in the anchor frame, standing for the whole horizon. People: (x, y, vx, vy) in the anchor frame, one
    mode each, whose spread grows by `sigma_mps`. The anchor lies at an arbitrary place in odom, so that a mixed-up frame shows.
    seen: (x, y) of cell centres in the anchor frame -> where a sensor has looked; None = everywhere."""
    anchor = pose(100.0, -50.0, 0.7) if anchor is None else anchor
    origin_m = -0.5 * CELLS * RESOLUTION_M
    centres = origin_m + RESOLUTION_M * (np.arange(CELLS) + 0.5)
    now = np.zeros((CELLS, CELLS), dtype=np.float32)
    for x0, y0, x1, y1 in walls:
        across = (centres >= x0) & (centres <= x1)
        along = (centres >= y0) & (centres <= y1)
        now[np.ix_(along, across)] = 1.0
    times_s = dt_s * np.arange(steps + 1)
    seen_YX = None if seen is None else seen(*np.meshgrid(centres, centres))
    occupancy = OccupancyForecast(np.repeat(now[None], steps + 1, axis=0), times_s, RESOLUTION_M, (origin_m, origin_m), seen_YX)
    array = np.array(people, dtype=float).reshape(-1, 4)
    rotation, shift = anchor[:2, :2], anchor[:2, 3]
    positions = array[:, :2] @ rotation.T + shift
    velocities = array[:, 2:] @ rotation.T
    count = len(array)
    modes = positions[:, None, None] + velocities[:, None, None] * times_s[1:, None]
    sigma_m = 0.1 + sigma_mps * times_s[1:]
    covariances = np.broadcast_to(sigma_m[:, None, None] ** 2 * np.eye(2), (count, 1, steps, 2, 2))
    forecast = PedestrianForecast(modes, np.ones((count, 1)), covariances, times_s[1:])
    tracks = Tracks(positions[:, None], np.ones((count, 1), dtype=bool), dt_s)
    tracked = TrackedPeople(np.arange(count), positions, velocities, np.ones(count), np.full(count, 0.3), tracks)
    ego = EgoState(STAMP_NS, anchor, np.array([speed_mps, 0.0]))
    return SceneState(
        stamp_ns=STAMP_NS,
        anchor_pose=anchor,
        ego=ego,
        latent=np.zeros((1, 1)),
        predicted=np.zeros((steps, 1, 1)),
        occupancy=occupancy,
        people=tracked,
        pedestrians=forecast,
        surprise=float("nan"),
    )


def goal_at(scene: SceneState, x_m: float, y_m: float, yaw_rad: float = float("nan")) -> np.ndarray:
    """A goal given in the anchor frame, in odom."""
    x, y, _, _ = scene.anchor_pose @ np.array([x_m, y_m, 0.0, 1.0])
    return np.array([x, y, yaw_rad + np.arctan2(scene.anchor_pose[1, 0], scene.anchor_pose[0, 0])])


def in_anchor(scene: SceneState, path: np.ndarray) -> np.ndarray:
    """(L + 1, 2) positions of a path in the anchor frame."""
    inverse = np.linalg.inv(scene.anchor_pose)
    return path[:, :2] @ inverse[:2, :2].T + inverse[:2, 3]
