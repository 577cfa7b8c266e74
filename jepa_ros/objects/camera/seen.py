"""What detectors of 3-D boxes see, laid over what the lidar proposes. Axes: M candidates, S seen people, V proposed vehicles.

Who is named is believed more, or is added where the lidar proposes nobody. Who is not named is believed as before: how far such a detector
looks is not known.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from jepa_ros.movers import Kind, SeenObjects, VehicleDetections
from jepa_ros.objects.camera.candidates import HALF_WIDTH_M
from jepa_ros.objects.camera.likelihood import SIZES_PX, log_ratio
from jepa_ros.objects.track_state import logit_of
from jepa_ros.objects.vehicles.boxes import moved
from jepa_ros.types import Detections, FloatArray

SAME_M, SAME_VEHICLE_M = 0.8, 2.0  # between the middles of what the lidar proposes and what the other detector sees
UNKNOWN = 0.5  # what the lidar says of somebody whom it does not propose


def with_seen(found: Detections, seen: SeenObjects, odom_from_anchor: FloatArray) -> Detections:
    """The same detections, those that `seen` names raised by what its scores are worth, with those that it alone sees."""
    boxes = moved(seen.boxes, np.linalg.inv(odom_from_anchor))
    worth = log_ratio(seen.scores, np.full(len(seen.scores), SIZES_PX[-1]))
    speaks = worth > 0  # a low score is no denial, and no look either
    bodies = np.flatnonzero(np.isin(seen.kinds, (Kind.PERSON, Kind.RIDER)) & speaks)
    found = _with_people(found, boxes[bodies], seen.heights_m[bodies], worth[bodies], seen.kinds[bodies] == Kind.RIDER)
    vehicles = np.flatnonzero((seen.kinds == Kind.VEHICLE) & speaks)
    if found.vehicles is None or not len(vehicles):
        return found
    return replace(found, vehicles=_with_vehicles(found, boxes[vehicles], seen.heights_m[vehicles], worth[vehicles]))


def _with_people(found: Detections, boxes: FloatArray, heights_m: FloatArray, worth: FloatArray, rides: FloatArray) -> Detections:
    camera = np.full(len(found.scores), np.nan) if found.camera is None else found.camera.copy()
    riding = np.full(len(found.scores), 0.5) if found.riding is None else found.riding.copy()
    alone = np.ones(len(boxes), bool)
    if len(boxes) and len(found.scores):
        away_m = np.hypot(*(found.positions_m[:, None] - boxes[:, :2]).transpose(2, 0, 1))  # (M, S)
        row = away_m.argmin(axis=0)
        alone = away_m[row, np.arange(len(boxes))] > SAME_M
        own = row[~alone]
        camera[own] = np.nan_to_num(camera[own]) + worth[~alone]
        riding[own] = np.where(rides[~alone], np.maximum(riding[own], 0.9), riding[own])
    new = np.flatnonzero(alone)
    ground = float(np.median(found.ground_m)) if len(found.ground_m) else 0.0
    return replace(
        found,
        positions_m=np.concatenate((found.positions_m, boxes[new, :2])),
        radii_m=np.concatenate((found.radii_m, np.full(len(new), HALF_WIDTH_M))),
        scores=np.concatenate((found.scores, np.full(len(new), UNKNOWN))),
        heights_m=np.concatenate((found.heights_m, heights_m[new])),
        ground_m=np.concatenate((found.ground_m, np.full(len(new), ground))),
        riding=np.concatenate((riding, np.where(rides[new], 0.9, 0.1))),
        camera=np.concatenate((camera, worth[new])),
    )


def _with_vehicles(found: Detections, boxes: FloatArray, heights_m: FloatArray, worth: FloatArray) -> VehicleDetections:
    known = found.vehicles
    assert known is not None
    scores, alone = known.scores.copy(), np.ones(len(boxes), bool)
    if len(scores):
        away_m = np.hypot(*(known.boxes[:, None, :2] - boxes[:, :2]).transpose(2, 0, 1))
        row = away_m.argmin(axis=0)
        alone = away_m[row, np.arange(len(boxes))] > SAME_VEHICLE_M
        own = row[~alone]
        scores[own] = _likely(logit_of(scores[own]) + worth[~alone])
    new = np.flatnonzero(alone)
    ground = float(np.median(known.ground_m)) if len(known.ground_m) else 0.0
    return replace(
        known,
        boxes=np.concatenate((known.boxes, boxes[new])),
        scores=np.concatenate((scores, _likely(worth[new]))),
        heights_m=np.concatenate((known.heights_m, heights_m[new])),
        ground_m=np.concatenate((known.ground_m, np.full(len(new), ground))),
    )


def _likely(logit: FloatArray) -> FloatArray:
    chance: FloatArray = 1.0 / (1.0 + np.exp(-logit))
    return chance
