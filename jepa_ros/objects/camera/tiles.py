"""Which part of an image a detector is given: the square that answers most of what has not been asked for long. Axes: M candidates."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from jepa_ros.objects.camera.candidates import Outlines
from jepa_ros.types import CameraModel, FloatArray

BEST_PX = 110.0  # height of a person in the detector's input, where the size of the square may be chosen
SMALLEST_PX, LARGEST_PX = 40.0, 360.0  # beyond these a look says nothing
LARGEST_ZOOM = 4.0  # more pixels than that from one tell nothing new
SEEDS = 6  # candidates around which squares are tried
SHIFTS = (0.15, 0.5, 0.85)  # where in the square its seed stands, from left to right
IN_VIEW = 0.7  # share of a body that must be in the image
LEVEL = 0.55  # where in the square the middle of a body stands, from top to bottom


def answered(region_px: FloatArray, scale: float, seen: Outlines) -> NDArray[np.bool_]:
    """(M,) which candidates a detector that looks there can tell: whole in the region, neither too small nor too large."""
    left, top, right, bottom = seen.boxes_px.T
    height = scale * (bottom - top)
    inside = (left >= region_px[0]) & (top >= region_px[1]) & (right <= region_px[2]) & (bottom <= region_px[3])
    return inside & (height >= SMALLEST_PX) & (height <= LARGEST_PX) & (seen.in_view > IN_VIEW)


def choose(seen: Outlines, worth: FloatArray, model: CameraModel, side_px: int) -> FloatArray | None:
    """(4,) the square within the image, or beyond its shorter side, whose candidates are worth most in sum; None where nobody is.

    `worth`: (M,) what an answer about each candidate is worth; `side_px`: of the detector's input.
    """
    asked = np.flatnonzero((worth > 0) & (seen.in_view > IN_VIEW))
    if not len(asked):
        return None
    best, most = None, 0.0
    for seed in asked[np.argsort(-worth[asked], kind="stable")][:SEEDS]:
        left, top, right, bottom = seen.boxes_px[seed]
        for zoom in (1.0, 1.6, 0.6):
            side = float(np.clip(zoom * (bottom - top) * side_px / BEST_PX, side_px / LARGEST_ZOOM, max(model.width, model.height)))
            for shift in SHIFTS:
                x = _within(0.5 * (left + right) - shift * side, side, model.width)
                y = _within(0.5 * (top + bottom) - LEVEL * side, side, model.height)
                region = np.array([x, y, x + side, y + side])
                value = float(worth[answered(region, side_px / side, seen)].sum())
                if value > most:
                    best, most = region, value
    return best


def _within(start: float, side: float, size: int) -> float:
    """Where a square begins that should stay in the image; one that is larger is centred."""
    if side >= size:
        return 0.5 * (size - side)
    return float(np.clip(start, -0.5, size - 0.5 - side))
