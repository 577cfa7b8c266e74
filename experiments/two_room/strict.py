"""TwoRoom's strict rule: the dot is a disc that is moved along its whole way, and it has to stay at the goal.

The package tests only where a step ends, and lets the dot overlap the frame of the door. Here the disc stops at the wall, slides along it,
and passes the door only where all of it fits. Which goals count, and how near is near,
follow CLEAR-LeWM (github.com/DavidSunok/CLEAR-LeWM).
Everything is in pixels of the 224 x 224 rendering, positions (x, y) with y downwards.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from jepa_ros.types import FloatArray

RADIUS_PX = 7.0  # of the dot, the package's own
REACHED_PX = 8.0
HELD_STEPS = 5  # at so many steps in a row the disc must be within REACHED_PX
INSIDE_PX = np.array([[14.0, 14.0], [210.0, 210.0]])  # of the borders: lowest and highest corner
WALLS_PX = np.array([[[107.0, 0.0], [117.0, 35.0]], [[107.0, 63.0], [117.0, 224.0]]])  # the wall above and below the door, the same
MIDDLE_PX = 112.0  # x of the wall's middle
SUBSTEP_PX = 0.1
TOLERANCE_PX = 0.01  # float32 positions


def clearance_px(positions_px: FloatArray) -> FloatArray:
    """(...) from the disc's edge to the nearest wall or border, for positions (..., 2); negative where they overlap."""
    positions = np.asarray(positions_px, np.float64)
    borders = np.minimum(positions - INSIDE_PX[0], INSIDE_PX[1] - positions).min(axis=-1)
    walls = np.linalg.norm(positions[..., None, :] - _nearest_of_walls(positions), axis=-1).min(axis=-1)
    return np.minimum(borders, walls) - RADIUS_PX


def _nearest_of_walls(positions: FloatArray) -> FloatArray:
    return np.clip(positions[..., None, :], WALLS_PX[:, 0], WALLS_PX[:, 1])


def sweep(start_px: FloatArray, end_px: FloatArray) -> FloatArray:
    """(K, 2) the way of a disc that is pushed from start to end: straight until it touches, then along what it touches.

    In steps of SUBSTEP_PX, each followed by the shortest way out of what it entered. A wall is 10 px thick, so nothing is jumped over.
    """
    start, push = np.asarray(start_px, np.float64), np.asarray(end_px, np.float64) - start_px
    steps = max(1, int(np.ceil(np.linalg.norm(push) / SUBSTEP_PX)))
    straight = start + push * np.linspace(1 / steps, 1, steps)[:, None]
    if clearance_px(straight).min() >= 0:
        return straight
    here: FloatArray = start
    way = []
    for _ in range(steps):
        here = _push_out(here + push / steps)
        way.append(here)
    return np.array(way)


def _push_out(position: FloatArray) -> FloatArray:
    for nearest in _nearest_of_walls(position):
        apart = position - nearest
        distance = np.linalg.norm(apart)
        if 0 < distance < RADIUS_PX:
            position = nearest + apart * (RADIUS_PX / distance)
    return np.clip(position, INSIDE_PX[0] + RADIUS_PX, INSIDE_PX[1] - RADIUS_PX)


def is_free(way_px: FloatArray) -> bool:
    """Whether a disc that was at each of these (K, 2) positions overlapped nothing."""
    return bool(clearance_px(way_px).min() >= -TOLERANCE_PX)


def counts(starts_px: FloatArray, goals_px: FloatArray) -> NDArray[np.bool_]:
    """(N,) pairs that are judged: in different rooms, the disc clear of the walls at both, and not yet there."""
    apart = (starts_px[:, 0] < MIDDLE_PX) != (goals_px[:, 0] < MIDDLE_PX)
    clear = np.minimum(clearance_px(starts_px), clearance_px(goals_px)) >= -TOLERANCE_PX
    return apart & clear & (np.linalg.norm(starts_px - goals_px, axis=-1) >= REACHED_PX)
