"""A synthetic scene with walls and people, for warming a planner up and for measuring it."""

from __future__ import annotations

import numpy as np

from jepa_ros.planning.scene import Moving, PlanningScene
from jepa_ros.types import NANOSECONDS, EgoState, OccupancyForecast, PedestrianForecast

HORIZON = 12
DT_S = 0.4


def crowd_scene(people: int = 20, modes: int = 20, seed: int = 0, cells: int = 128, resolution_m: float = 0.4) -> PlanningScene:
    """The robot at the origin, a few walls, and people 2 to 10 m away whose futures spread over many modes. Same seed, same scene."""
    generator = np.random.default_rng(seed)
    times_s = DT_S * np.arange(1, HORIZON + 1)
    occupied = np.zeros((HORIZON + 1, cells, cells), np.float32)
    for row, column in generator.integers(0, cells - 12, (8, 2)):
        occupied[:, row : row + 2, column : column + 12] = 0.9
    middle = cells // 2
    occupied[:, middle - 8 : middle + 8, middle - 8 : middle + 8] = 0.0
    bearing = generator.uniform(-np.pi, np.pi, people)
    positions = (generator.uniform(2.0, 10.0, people) * np.array([np.cos(bearing), np.sin(bearing)])).T
    velocities = generator.normal(0.0, 0.8, (people, 2))
    turned = velocities[:, None] + generator.normal(0.0, 0.3, (people, modes, 2))
    means = positions[:, None, None] + turned[:, :, None] * times_s[:, None]
    sigma = (0.1 + 0.12 * times_s)[:, None, None] ** 2 * np.array([[1.0, 0.3], [0.3, 1.0]])
    covariances = np.broadcast_to(sigma, (people, modes, HORIZON, 2, 2))
    probabilities = generator.dirichlet(np.ones(modes), people).reshape(people, modes)
    forecast = PedestrianForecast(means, probabilities, covariances, times_s)
    corner_m = -0.5 * cells * resolution_m
    return PlanningScene(
        stamp_ns=NANOSECONDS,
        anchor_pose=np.eye(4),
        ego=EgoState(NANOSECONDS, np.eye(4), np.zeros(2)),
        occupancy=OccupancyForecast(occupied, np.concatenate(([0.0], times_s)), resolution_m, (corner_m, corner_m)),
        moving=Moving(positions, np.ones(people), np.full(people, 0.3), forecast),
    )
