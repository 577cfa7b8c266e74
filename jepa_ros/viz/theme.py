"""Colours and small drawing helpers that all panels share. Bird's-eye panels show forward (x) up and left (y) to the left."""

from __future__ import annotations

import numpy as np
from matplotlib import patheffects
from matplotlib.colors import LinearSegmentedColormap

from jepa_ros.types import FloatArray, SceneState

INK = "#0f172a"
MUTED = "#64748b"
PAPER = "#ffffff"
PANEL = "#f8fafc"
GRID = "#cbd5e1"
PLAN = "#059669"
BRAKING = "#dc2626"
HORIZON_COLOURS = ("#475569", "#0284c7", "#d97706", "#be123c")  # now, and three later moments
# No green: that is the plan. Dark enough for a white ground.
PEOPLE = ("#d1495b", "#0072b2", "#8f5fbf", "#c77700", "#b5449a", "#3f6fd8", "#8c564b")
HEIGHT = LinearSegmentedColormap.from_list("height", ["#b6c2d1", "#7fb2c9", "#4f8fc0", "#5a62b5", "#8a3f9a"])
HALO = [patheffects.withStroke(linewidth=2.6, foreground="white")]
STANDING_MPS = 0.5  # slower people are drawn without forecast: a fan of modes around a standing person hides more than it says


def upwards(xy: FloatArray) -> FloatArray:
    """(..., 2) x forward, y left -> panel coordinates: right, up."""
    return np.stack([-xy[..., 1], xy[..., 0]], axis=-1)


def colour_of(person_id: int) -> str:
    """The colour of a person in pictures, the same for the same id."""
    return PEOPLE[person_id % len(PEOPLE)]


def horizon_steps(times_s: FloatArray) -> list[int]:
    """Indices of up to four moments: now, a quarter, half and all of the horizon."""
    last = len(times_s) - 1
    return sorted({0, round(last / 4), round(last / 2), last})


def to_anchor(points_odom_m: FloatArray, state: SceneState) -> FloatArray:
    """(..., 2) odom -> anchor frame."""
    rotation, origin = state.anchor_pose[:2, :2], state.anchor_pose[:2, 3]
    return (points_odom_m - origin) @ rotation  # the transpose of the rotation, applied from the right


def moving(state: SceneState) -> np.ndarray:
    """(P,) which people walk or ride."""
    return np.hypot(*state.people.velocities_mps.reshape(-1, 2).T) >= STANDING_MPS
