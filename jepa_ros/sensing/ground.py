"""How high the ground is below the vehicle, on any rig: base_link may stand on it or ride two metres above."""

from __future__ import annotations

import numpy as np

from jepa_ros.types import FloatArray

BIN_M = 0.1
NEAR_M, FAR_M = 3.0, 20.0  # ring around the vehicle in which the ground is looked for
LOWEST_M, HIGHEST_M = -4.0, 1.0  # of the ground relative to base_link
CELL_M = 1.0
MIN_CELLS = 10


class GroundEstimator:
    """Keeps a smoothed height of the ground in the anchor frame.

    One sweep votes with the lowest return of each square metre around the vehicle: most squares show the road, and the commonest height
    is the ground even where walls, cars or a slope give the rest. Smoothing carries over sweeps that see little of it.
    """

    def __init__(self, initial_m: float = 0.0, smoothing: float = 0.2) -> None:
        """`smoothing`: weight of a new sweep, 0-1; the first is taken as it is."""
        self.height_m = initial_m
        self._smoothing = smoothing
        self._seen = False

    def update(self, points_anchor_m: FloatArray) -> float:
        """Height of the ground (z in the anchor frame, m) after one more sweep of (N, 3) points."""
        height = ground_height(points_anchor_m)
        if height is not None:
            self.height_m += (self._smoothing if self._seen else 1.0) * (height - self.height_m)
            self._seen = True
        return self.height_m


def ground_height(points_anchor_m: FloatArray) -> float | None:
    """The commonest of the lowest heights per square metre of one sweep, or None where too little ground is in view."""
    x, y, z = points_anchor_m.T
    distance = np.hypot(x, y)
    use = (distance > NEAR_M) & (distance < FAR_M) & (z > LOWEST_M) & (z < HIGHEST_M)
    x, y, z = x[use], y[use], z[use]
    side = int(2 * FAR_M / CELL_M)
    cells = ((y + FAR_M) / CELL_M).astype(np.intp) * side + ((x + FAR_M) / CELL_M).astype(np.intp)
    lowest = np.full(side * side, np.inf, np.float32)
    np.minimum.at(lowest, cells, z)
    lowest = lowest[np.isfinite(lowest)]
    if len(lowest) < MIN_CELLS:
        return None
    counts, edges = np.histogram(lowest, bins=round((HIGHEST_M - LOWEST_M) / BIN_M), range=(LOWEST_M, HIGHEST_M))
    # Three bins wide, so that a ground on a bin's edge does not lose half its votes.
    best = int(np.convolve(counts, (1, 1, 1), "same").argmax())
    near = lowest[(lowest >= edges[max(best - 1, 0)]) & (lowest <= edges[min(best + 2, len(edges) - 1)])]
    return float(np.median(near))
