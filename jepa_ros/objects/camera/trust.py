"""Does the camera see at all? At night, in fog, with a dirty lens or a wrong mount a detector finds nobody, which must not count.

So what it says is mixed with the chance that it sees: of the people whom the lidar is sure of, how many has it found? And do the boxes that
only a clear image gives lie where the lidar has somebody or a vehicle? A box that lies elsewhere is no sign that the camera sees: with a
wrong mount all do.
"""

from __future__ import annotations

import numpy as np

from jepa_ros.movers import ImageBoxes, Kind
from jepa_ros.types import FloatArray

SURE = 0.97  # the lidar's score of somebody whom a camera that sees should find
FOUND_FROM = 0.35  # score of a box
USUAL = 0.9  # share of them that is found by day
MEMORY = 30.0  # looks
CLEAR = 0.5  # score of a box of any kind that nothing but a clear image gives
DOUBTED = 0.5  # the lidar's score from which somebody is likelier there than not
SAME = 0.5  # of the area of two boxes of a vehicle, over what both cover


class CameraTrust:
    """Of one camera. It begins undecided: one person found of two."""

    def __init__(self) -> None:
        self._found, self._looks = 1.0, 2.0

    @property
    def sees(self) -> float:
        """0-1: the chance that this camera sees what is before it."""
        return min(self._found / self._looks / USUAL, 1.0)

    def learn(self, lidar: FloatArray, scores: FloatArray, boxes: ImageBoxes, vehicles_px: FloatArray) -> None:
        """From (M,) the lidar's scores of those who were asked about, (M,) their best boxes' scores, all boxes, and (V, 4) where vehicles
        of the lidar's lie in the image."""
        for found in scores[lidar >= SURE] >= FOUND_FROM:
            self._count(float(found))
        clear, bodies = boxes.scores >= CLEAR, np.isin(boxes.kinds, (Kind.PERSON, Kind.RIDER))
        if (scores >= CLEAR).any():
            self._count(1.0)
        elif (clear & bodies).any() and (lidar >= DOUBTED).any():  # it sees people, but not where they stand
            self._count(0.0)
        cars = boxes.boxes_px[clear & (boxes.kinds == Kind.VEHICLE)]
        if len(cars) and len(vehicles_px):
            self._count(float(_same(cars, vehicles_px)))

    def tempered(self, evidence: FloatArray) -> FloatArray:
        """(M,) log-odds, given that the camera may see nothing: then its answer does not depend on who stands there."""
        mixed: FloatArray = np.log(self.sees * np.exp(evidence) + 1.0 - self.sees)
        return mixed

    def _count(self, found: float) -> None:
        forgotten = 1.0 - 1.0 / MEMORY
        self._found, self._looks = forgotten * self._found + found, forgotten * self._looks + 1.0


def _same(boxes: FloatArray, others: FloatArray) -> bool:
    """Whether any of (B, 4) boxes is one of (V, 4)."""
    start, end = np.maximum(boxes[:, None, :2], others[:, :2]), np.minimum(boxes[:, None, 2:], others[:, 2:])
    both = np.clip(end - start, 0.0, None).prod(axis=-1)
    either = (boxes[:, 2:] - boxes[:, :2]).prod(axis=-1)[:, None] + (others[:, 2:] - others[:, :2]).prod(axis=-1) - both
    return bool((both > SAME * either).any())
