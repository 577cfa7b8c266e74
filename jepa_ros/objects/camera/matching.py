"""Whose box is it: each 2-D box goes to the candidate that it fits best. Axes: M candidates, B boxes."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from jepa_ros.movers import ImageBoxes, Kind
from jepa_ros.objects.camera.candidates import HALF_WIDTH_M, Outlines
from jepa_ros.types import FloatArray

LEAST_OVERLAP = 0.5  # of the heights of box and outline, over what both cover: the range fits to a factor of two
ASIDE_M = 0.35  # the middle of the box may lie so far beside the body's
ASIDE_RAD = 0.006  # and so far for the errors of calibration and stamps
COVERED = 0.3  # of an outline: by somebody else's box, or by that of a nearer vehicle; whoever is behind cannot be denied
NEARER = 0.06  # a box is nearer where it ends lower by more than this share of the outline's height


def matched(seen: Outlines, found: ImageBoxes, focal_px: float) -> tuple[FloatArray, NDArray[np.bool_]]:
    """(M,) the score of the best box of a person, or of somebody who rides, that is a candidate's own; 0 where it has none. And (M,) who
    may be hidden: nothing follows from that no box is theirs."""
    count = len(seen.ranges_m)
    scores, hidden = np.zeros(count), np.zeros(count, bool)
    if not count or not len(found.scores):
        return scores, hidden
    bodies = np.isin(found.kinds, (Kind.PERSON, Kind.RIDER))
    boxes, box_scores = found.boxes_px[bodies], found.scores[bodies]
    if len(boxes):
        fit = _fit(seen, boxes, focal_px)
        owner = fit.argmax(axis=0)
        owned = fit[owner, np.arange(len(boxes))] > 0
        np.maximum.at(scores, owner[owned], box_scores[owned])
        hidden |= (_covered(seen, boxes) > COVERED).any(axis=1)
    vehicles = found.boxes_px[found.kinds == Kind.VEHICLE]
    if len(vehicles):
        height = seen.boxes_px[:, 3] - seen.boxes_px[:, 1]
        nearer = vehicles[None, :, 3] > (seen.boxes_px[:, 3] + NEARER * height)[:, None]
        hidden |= ((_covered(seen, vehicles) > COVERED) & nearer).any(axis=1)
    return scores, hidden & (scores == 0)


def _fit(seen: Outlines, boxes: FloatArray, focal_px: float) -> FloatArray:
    """(M, B) how well a box fits an outline, 0 = not at all."""
    left, top, right, bottom = seen.boxes_px.T[:, :, None]
    both = np.minimum(bottom, boxes[:, 3]) - np.maximum(top, boxes[:, 1])
    either = np.maximum(bottom, boxes[:, 3]) - np.minimum(top, boxes[:, 1])
    overlap = both / np.maximum(either, 1e-6)
    metre_px = np.maximum(right - left, 1e-6) / (2 * HALF_WIDTH_M)
    aside = np.abs(0.5 * (left + right) - 0.5 * (boxes[:, 0] + boxes[:, 2])) / (ASIDE_M * metre_px + ASIDE_RAD * focal_px)
    return np.where((overlap >= LEAST_OVERLAP) & (aside <= 1.0), overlap * (1.5 - aside), 0.0)


def _covered(seen: Outlines, boxes: FloatArray) -> FloatArray:
    """(M, B) share of each outline that a box covers."""
    left, top, right, bottom = seen.boxes_px.T[:, :, None]
    width = np.clip(np.minimum(right, boxes[:, 2]) - np.maximum(left, boxes[:, 0]), 0.0, None)
    height = np.clip(np.minimum(bottom, boxes[:, 3]) - np.maximum(top, boxes[:, 1]), 0.0, None)
    return width * height / np.maximum((right - left) * (bottom - top), 1e-6)
