"""What a look of a camera is worth: how much likelier a detector's answer is where somebody stands than where nobody does.

Measured, by `python -m experiments.camera.likelihood`: see docs/benchmarks.
"""

from __future__ import annotations

import numpy as np

from jepa_ros.types import FloatArray

SCORES = (0.2, 0.35, 0.5, 0.65)  # bins of the score; below the first: nothing found
SIZES_PX = (64.0, 110.0)  # bins of the height in the detector's input
# (size, score) natural logarithms of the ratio.
RATIOS = np.array(
    [
        [-1.1, -0.7, 1.7, 3.9, 3.9],
        [-1.7, 1.6, 4.0, 4.0, 4.2],
        [-1.9, 1.8, 4.0, 4.1, 4.1],
    ]
)


def log_ratio(scores: FloatArray, heights_px: FloatArray) -> FloatArray:
    """(M,) log-odds that an answer adds for a person of that height in the detector's input; a score of 0 = nothing found."""
    ratio: FloatArray = RATIOS[np.digitize(heights_px, SIZES_PX), np.digitize(scores, SCORES)]
    return ratio
