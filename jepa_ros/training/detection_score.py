"""How well people are detected and tracked in a bag.

Ground truth comes from the simulator's /ground_truth/markers in the bag, where everyone is known, or from a table with the columns
stamp_ns, track_id, class, odom_x, odom_y, where others may be unlabelled: precision means little there, so unmatched tracks are counted.
"""

from __future__ import annotations

import csv
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rosbags.typesys import Stores, get_typestore
from scipy.optimize import linear_sum_assignment

from jepa_ros.objects.detection import DetectionConfig, PersonDetector
from jepa_ros.objects.tracking import PeopleTracker, TrackingConfig
from jepa_ros.sensing import bag_info, open_bag, read_raw
from jepa_ros.types import FloatArray

PEOPLE = {"pedestrian", "person", "cyclist", "child", "walker"}
VEHICLES = {"car", "van", "truck", "bus"}
MATCH_M = 0.75
VISIBLE_RETURNS = 10  # a person behind a car is no miss


@dataclass(frozen=True)
class Truth:
    """Who is where at one stamp."""

    ids: NDArray[np.int64]  # (G,)
    positions_m: FloatArray  # (G, 2) odom
    kinds: tuple[str, ...]
    vehicles: FloatArray = field(default_factory=lambda: np.zeros((0, 5)))  # (V, 5) boxes of cars and the like, odom
    vehicle_ids: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))  # (V,)


@dataclass
class Score:
    """Counts over a bag; `add` takes one frame."""

    true: int = 0
    detected: int = 0
    tracked: int = 0
    frames: int = 0
    unmatched_detections: int = 0
    unmatched_tracks: int = 0
    switches: int = 0
    errors_m: list[float] = field(default_factory=list)
    detect_ms: list[float] = field(default_factory=list)
    track_ms: list[float] = field(default_factory=list)
    last_id: dict[int, int] = field(default_factory=dict)
    unmatched_ids: set[int] = field(default_factory=set)

    def add(self, truth: Truth, wanted: NDArray[np.bool_], detections_m: FloatArray, tracks_m: FloatArray, ids: NDArray[np.int64]) -> None:
        """`wanted`: (G,) people who count as missed when not found; the others may be found without harm."""
        self.frames += 1
        self.true += int(wanted.sum())
        person, seen = _match(truth.positions_m, detections_m)
        self.detected += int(wanted[person].sum())
        self.unmatched_detections += len(detections_m) - len(seen)
        person, track = _match(truth.positions_m, tracks_m)
        self.tracked += int(wanted[person].sum())
        free = np.setdiff1d(np.arange(len(ids)), track)
        self.unmatched_tracks += len(free)
        self.unmatched_ids.update(ids[free].tolist())
        self.errors_m += np.hypot(*(truth.positions_m[person] - tracks_m[track]).T).tolist()
        for known, found in zip(truth.ids[person].tolist(), ids[track].tolist(), strict=True):
            self.switches += self.last_id.get(known, found) != found
            self.last_id[known] = found

    def result(self) -> dict[str, float]:
        error = np.array(self.errors_m) if self.errors_m else np.array([np.nan])
        found = self.tracked + self.unmatched_tracks
        return {
            "frames": self.frames,
            "people": self.true,
            "detection_recall": self.detected / max(self.true, 1),
            "tracking_recall": self.tracked / max(self.true, 1),
            "tracking_precision": self.tracked / max(found, 1),
            "unmatched_detections_per_frame": self.unmatched_detections / max(self.frames, 1),
            "unmatched_tracks_per_frame": self.unmatched_tracks / max(self.frames, 1),
            "unmatched_ids": len(self.unmatched_ids),
            "id_switches": self.switches,
            "position_error_median_m": float(np.median(error)),
            "position_error_p95_m": float(np.percentile(error, 95)),
            "detect_ms_p50": float(np.median(self.detect_ms)),
            "detect_ms_p99": float(np.percentile(self.detect_ms, 99)),
            "track_ms_p50": float(np.median(self.track_ms)),
        }


def evaluate(
    bag: Path,
    truths: dict[int, Truth],
    range_m: float = 20.0,
    detection: DetectionConfig | None = None,
    tracking: TrackingConfig | None = None,
) -> Score:
    """Run detection and tracking over a bag and score the frames that have a ground truth (by stamp), within `range_m` of the vehicle."""
    detector, tracker, score = PersonDetector(detection), PeopleTracker(tracking), Score()
    # The simulator's true odometry must not help.
    topics = [topic.name for topic in bag_info(bag).topics if not topic.name.startswith("/ground_truth")]
    for observation in open_bag(bag, topics):
        pose = observation.odom_from_anchor
        start_s = time.process_time()
        seen = detector.detect_in(observation)
        middle_s = time.process_time()
        seen_m = seen.positions_m @ pose[:2, :2].T + pose[:2, 3]
        people = tracker.follow(observation.stamp_ns, seen, pose)
        score.track_ms.append(1e3 * (time.process_time() - middle_s))
        score.detect_ms.append(1e3 * (middle_s - start_s))
        truth = truths.get(observation.stamp_ns)
        if truth is None:
            continue
        here = pose[:2, 3]
        near = np.hypot(*(truth.positions_m - here).T) < range_m
        wanted = near & (returns_on(truth.positions_m, observation.flattened_m, pose, observation.ground_height_m) >= VISIBLE_RETURNS)
        likely = seen_m[(seen.scores >= 0.5) & (np.hypot(*(seen_m - here).T) < range_m)]
        close = np.hypot(*(people.positions_m - here).T) < range_m
        score.add(truth, wanted, likely, people.positions_m[close], people.ids[close])
    return score


def returns_on(positions_m: FloatArray, points_m: FloatArray, pose: FloatArray, ground_m: float) -> NDArray[np.intp]:
    """(G,) lidar returns on each person: within 0.4 m of the axis, 0.3-2 m above the ground."""
    places = (positions_m - pose[:2, 3]) @ pose[:2, :2]
    body = points_m[(points_m[:, 2] > ground_m + 0.3) & (points_m[:, 2] < ground_m + 2.0), :2]
    return np.array([np.count_nonzero(((body - place) ** 2).sum(axis=1) < 0.16) for place in places], dtype=np.intp)


def _match(truth_m: FloatArray, found_m: FloatArray) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    distance = np.hypot(*(truth_m[:, None] - found_m[None]).transpose(2, 0, 1))
    rows, columns = linear_sum_assignment(np.minimum(distance, MATCH_M))
    good = distance[rows, columns] < MATCH_M
    return rows[good], columns[good]


def truth_from_table(path: Path) -> dict[int, Truth]:
    """Stamp -> people of a CSV table of labelled tracks. Raises ValueError where a column is missing."""
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    missing = {"stamp_ns", "track_id", "class", "odom_x", "odom_y"} - set(rows[0] if rows else ())
    if missing:
        raise ValueError(f"{path}: no column {', '.join(sorted(missing))}")
    people: dict[int, list[tuple[int, float, float, str]]] = {int(row["stamp_ns"]): [] for row in rows}
    for row in rows:
        if row["class"].lower() in PEOPLE:
            people[int(row["stamp_ns"])].append((int(row["track_id"]), float(row["odom_x"]), float(row["odom_y"]), row["class"].lower()))
    return {stamp: _truth(found) for stamp, found in people.items()}


def truth_from_markers(bag: Path, topic: str = "/ground_truth/markers") -> dict[int, Truth]:
    """Stamp -> people of the simulator's markers (namespace = kind, odom frame). Empty where the bag has none."""
    store = get_typestore(Stores.ROS2_KILTED)
    truths = {}
    for message in read_raw(bag, [topic]):
        markers: list[Any] = store.deserialize_cdr(message.data, message.type_name).markers  # type: ignore[attr-defined]
        found = [(marker.id, marker.pose.position.x, marker.pose.position.y, marker.ns) for marker in markers if marker.ns in PEOPLE]
        if markers:
            stamp = markers[0].header.stamp
            cars = [marker for marker in markers if marker.ns in VEHICLES]
            boxes = np.array([_box(marker) for marker in cars], np.float64).reshape(-1, 5)
            ids = np.array([marker.id for marker in cars], np.int64)
            truths[stamp.sec * 1_000_000_000 + stamp.nanosec] = replace(_truth(found), vehicles=boxes, vehicle_ids=ids)
    return truths


def _box(marker: Any) -> tuple[float, ...]:
    place, turn, size = marker.pose.position, marker.pose.orientation, marker.scale
    return place.x, place.y, 2 * np.arctan2(turn.z, turn.w), size.x, size.y


def _truth(people: list[tuple[int, float, float, str]]) -> Truth:
    ids = np.array([person[0] for person in people], dtype=np.int64)
    positions = np.array([person[1:3] for person in people], dtype=np.float64).reshape(-1, 2)
    return Truth(ids, positions, tuple(person[3] for person in people))
