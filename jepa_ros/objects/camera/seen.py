"""What detectors of 3-D boxes see, laid over what the lidar proposes. Axes: M candidates, S seen people, V proposed vehicles.

Who is named is believed more, or is added where the lidar proposes nobody. Who is not named is believed as before: how far such a detector
looks is not known.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from jepa_ros.movers import Kind, SeenObjects, VehicleDetections
from jepa_ros.objects.camera.candidates import HALF_WIDTH_M
from jepa_ros.objects.camera.likelihood import SIZES_PX, log_ratio
from jepa_ros.objects.track_state import logit_of
from jepa_ros.objects.vehicles.boxes import moved
from jepa_ros.types import Detections, FloatArray

SAME_M, SAME_VEHICLE_M = 0.8, 2.0  # between the middles of what the lidar proposes and what the other detector sees
WALK_MPS, RIDE_MPS, DRIVE_MPS = 2.0, 7.0, 14.0  # so far anybody may have come in a time of which it is not known where they were
UNKNOWN = 0.5  # what the lidar says of somebody whom it does not propose


@dataclass(frozen=True)
class Earlier:
    """Where those who are proposed now were when the boxes were seen."""

    places_m: FloatArray  # (M, 2) in odom
    since_s: FloatArray  # (M,) between that and the boxes: they may have come or gone so far

    def nearest(
        self, now_m: FloatArray, anchor_from_odom: FloatArray, places_m: FloatArray, same_m: float, fastest_mps: FloatArray
    ) -> tuple[NDArray[np.intp], NDArray[np.bool_]]:
        """(S,) who is nearest to each of the places (S, 2), all in the anchor frame, and (S,) whether that is the same one.

        `now_m`: (M', 2), first those who are known here, then any who were added since."""
        if not len(now_m) or not len(places_m):
            return np.zeros(len(places_m), np.intp), np.zeros(len(places_m), bool)
        then_m, since_s = now_m.copy(), np.zeros(len(now_m))
        count = len(self.places_m)
        then_m[:count], since_s[:count] = self.places_m @ anchor_from_odom[:2, :2].T + anchor_from_odom[:2, 3], self.since_s
        away_m = np.hypot(*(then_m[:, None] - places_m).transpose(2, 0, 1))  # (M', S)
        spare_m = away_m - same_m - since_s[:, None] * fastest_mps
        row = np.where(spare_m <= 0, away_m, np.inf).argmin(axis=0)
        return row, spare_m[row, np.arange(len(places_m))] <= 0


def with_seen(found: Detections, seen: SeenObjects, odom_from_anchor: FloatArray, people: Earlier, vehicles: Earlier) -> Detections:
    """The same detections, those that `seen` names raised by what its scores are worth, with those that it alone sees."""
    anchor_from_odom = np.linalg.inv(odom_from_anchor)
    boxes = moved(seen.boxes, anchor_from_odom)
    worth = log_ratio(seen.scores, np.full(len(seen.scores), SIZES_PX[-1]))
    speaks = worth > 0  # a low score is no denial, and no look either
    bodies = np.flatnonzero(np.isin(seen.kinds, (Kind.PERSON, Kind.RIDER)) & speaks)
    rides = seen.kinds[bodies] == Kind.RIDER
    same = people.nearest(found.positions_m, anchor_from_odom, boxes[bodies, :2], SAME_M, np.where(rides, RIDE_MPS, WALK_MPS))
    found = _with_people(found, boxes[bodies], seen.heights_m[bodies], worth[bodies], rides, *same)
    cars = np.flatnonzero((seen.kinds == Kind.VEHICLE) & speaks)
    if found.vehicles is None or not len(cars):
        return found
    same = vehicles.nearest(found.vehicles.boxes[:, :2], anchor_from_odom, boxes[cars, :2], SAME_VEHICLE_M, np.full(len(cars), DRIVE_MPS))
    return replace(found, vehicles=_with_vehicles(found.vehicles, boxes[cars], seen.heights_m[cars], worth[cars], *same))


def _with_people(
    found: Detections, boxes: FloatArray, heights_m: FloatArray, worth: FloatArray, rides: NDArray[np.bool_],
    row: NDArray[np.intp], same: NDArray[np.bool_],
) -> Detections:  # fmt: skip
    camera = np.full(len(found.scores), np.nan) if found.camera is None else found.camera.copy()
    riding = np.full(len(found.scores), 0.5) if found.riding is None else found.riding.copy()
    own, new = row[same], np.flatnonzero(~same)
    camera[own] = np.nan_to_num(camera[own]) + worth[same]
    riding[own] = np.where(rides[same], np.maximum(riding[own], 0.9), riding[own])
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


def _with_vehicles(
    known: VehicleDetections, boxes: FloatArray, heights_m: FloatArray, worth: FloatArray, row: NDArray[np.intp], same: NDArray[np.bool_]
) -> VehicleDetections:
    scores = known.scores.copy()
    own, new = row[same], np.flatnonzero(~same)
    scores[own] = _likely(logit_of(scores[own]) + worth[same])
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
