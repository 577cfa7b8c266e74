"""Does the camera see at all? At night, in fog, with a dirty lens or a wrong mount a detector finds nobody, and that must deny nobody.

So what it says is mixed with the chance that it sees: of the people whom the lidar is sure of, how many has it found?
"""

from __future__ import annotations

import numpy as np

from jepa_ros.movers import ImageBoxes
from jepa_ros.types import FloatArray

SURE = 0.97  # the lidar's score of somebody whom a camera that sees should find
FOUND_FROM = 0.35  # score of a box
USUAL = 0.9  # share of them that is found by day
MEMORY = 30.0  # looks
CLEAR = 0.5  # score of a box of any kind that nothing but a clear image gives


class CameraTrust:
    """Of one camera. It begins undecided: one person found of two."""

    def __init__(self) -> None:
        self._found, self._looks = 1.0, 2.0

    @property
    def sees(self) -> float:
        """0-1: the chance that this camera sees what is before it."""
        return min(self._found / self._looks / USUAL, 1.0)

    def learn(self, lidar: FloatArray, scores: FloatArray, boxes: ImageBoxes) -> None:
        """From (M,) the lidar's scores of those who were asked about, (M,) their best boxes' scores, and all boxes."""
        for found in scores[lidar >= SURE] >= FOUND_FROM:
            self._count(float(found))
        if (boxes.scores >= CLEAR).any():
            self._count(1.0)

    def tempered(self, evidence: FloatArray) -> FloatArray:
        """(M,) log-odds, given that the camera may see nothing: then its answer is the same whoever stands there."""
        mixed: FloatArray = np.log(self.sees * np.exp(evidence) + 1.0 - self.sees)
        return mixed

    def _count(self, found: float) -> None:
        forgotten = 1.0 - 1.0 / MEMORY
        self._found, self._looks = forgotten * self._found + found, forgotten * self._looks + 1.0
