"""Replays recorded people: tracks from a file replace the simulated crowd. They do not react to anybody.

A recording begins and ends where the camera's picture did, in the middle of the street.
"""

from __future__ import annotations

import heapq
from pathlib import Path

import numpy as np

from jepa_ros.sim.people.social_force import ENTRY_CLEAR_M, Movers, step_length_m
from jepa_ros.types import FloatArray

FRAMES_PER_S = 25.0
AWAY_M = 1.0e4  # where the bodies of absent people wait


class RecordedCrowd:
    """Stands in for a Crowd. Bodies are shared: one who has left lends his to the next who comes (`serials` are the file's ids)."""

    def __init__(self, path: str | Path, rng: np.random.Generator) -> None:
        """`path`: rows `frame  id  x_m  y_m` at 25 frames/s, as the ETH/UCY files have them. Raises ValueError on anything else."""
        self._tracks = read_tracks(path)
        self._bodies = _share_bodies(self._tracks)
        count = 1 + max(self._bodies.values())
        self.time_s = 0.0
        self.positions_m: FloatArray = np.full((count, 2), AWAY_M) + 2.0 * np.arange(count)[:, None]
        self.velocities_mps: FloatArray = np.zeros((count, 2))
        self.headings_rad: FloatArray = np.zeros(count)
        self.gait_rad: FloatArray = rng.uniform(0.0, 2 * np.pi, count)
        self.heights_m = np.clip(rng.normal(1.72, 0.09, count), 1.5, 1.92)
        self.serials = np.full(count, -1)
        self.present = np.zeros(count, dtype=bool)
        self._came = np.zeros(len(self._tracks), dtype=bool)  # in the order of the tracks
        self._left_out = self._came.copy()
        self._place(Movers.none())

    def step(self, dt_s: float, movers: Movers | None = None) -> None:
        """Advance by dt_s; of `movers` it only counts who comes: the recorded people never saw them."""
        self.time_s += dt_s
        self._place(movers or Movers.none())
        speed = np.linalg.norm(self.velocities_mps, axis=1)
        self.gait_rad = self.gait_rad + np.pi * speed / step_length_m(speed) * dt_s

    def _place(self, movers: Movers) -> None:
        self.present[:] = False
        self.velocities_mps = np.zeros_like(self.velocities_mps)
        for number, (person, (times, points)) in enumerate(self._tracks.items()):
            if not times[0] <= self.time_s <= times[-1]:
                continue
            if not self._came[number]:
                self._came[number] = True
                self._left_out[number] = bool((np.linalg.norm(movers.positions_m - points[0], axis=1) < ENTRY_CLEAR_M).any())
            if self._left_out[number]:
                continue
            body = self._bodies[person]
            segment = min(int(np.searchsorted(times, self.time_s, side="right")), len(times) - 1)
            span = times[segment] - times[segment - 1]
            velocity = (points[segment] - points[segment - 1]) / span
            self.positions_m[body] = points[segment - 1] + velocity * (self.time_s - times[segment - 1])
            self.velocities_mps[body], self.serials[body], self.present[body] = velocity, person, True
            if np.linalg.norm(velocity) > 0.1:
                self.headings_rad[body] = np.arctan2(velocity[1], velocity[0])
        absent = np.flatnonzero(~self.present)
        self.positions_m[absent] = AWAY_M + 2.0 * absent[:, None]


def read_tracks(path: str | Path) -> dict[int, tuple[FloatArray, FloatArray]]:
    """Person id -> (times_s (T,), points_m (T, 2)), the middle of all points at the origin and the first instant at 0 s."""
    try:
        rows = np.loadtxt(path, ndmin=2)
    except (OSError, ValueError) as error:
        raise ValueError(f"tracks {path}: {error}; expected rows of frame, id, x, y") from error
    if rows.shape[1] != 4 or not len(rows) or not np.isfinite(rows).all():
        raise ValueError(f"tracks {path}: expected rows of frame, id, x, y, got a table of {rows.shape}")
    rows[:, 0] = (rows[:, 0] - rows[:, 0].min()) / FRAMES_PER_S
    rows[:, 2:] -= (rows[:, 2:].min(axis=0) + rows[:, 2:].max(axis=0)) / 2
    rows = rows[np.lexsort((rows[:, 0], rows[:, 1]))]
    tracks = {}
    for person in np.unique(rows[:, 1]):
        own = rows[rows[:, 1] == person]
        if len(own) > 1:
            tracks[int(person)] = (own[:, 0], own[:, 2:])
    return tracks


def _share_bodies(tracks: dict[int, tuple[FloatArray, FloatArray]]) -> dict[int, int]:
    """Person id -> body, no body used by two people at a time."""
    bodies: dict[int, int] = {}
    free: list[tuple[float, int]] = []  # (free from, body)
    for person in sorted(tracks, key=lambda p: tracks[p][0][0]):
        start, end = tracks[person][0][[0, -1]]
        body = heapq.heappop(free)[1] if free and free[0][0] < start else len(free)
        bodies[person] = body
        heapq.heappush(free, (end, body))
    return bodies
