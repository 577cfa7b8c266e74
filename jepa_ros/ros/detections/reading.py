"""Messages of other detectors as plain values. What is not finite is left out; classes are given by name."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from jepa_ros.movers import ImageBoxes, Kind, SeenObjects
from jepa_ros.ros.readers import matrix_of, stamp_ns_of
from jepa_ros.types import FloatArray

KindOf = Callable[[str], Kind | None]
DEFAULT_SCORE = 0.5  # of a detection that names none, or 0 as fields that were never filled
HEIGHTS_M = {Kind.PERSON: 1.7, Kind.RIDER: 1.75, Kind.TWO_WHEELER: 1.1, Kind.VEHICLE: 1.6}  # of a box that has no height
AUTOWARE = ("unknown", "car", "truck", "bus", "trailer", "motorcycle", "bicycle", "pedestrian", "animal")  # ObjectClassification's numbers
AUTOWARE_KINDS = {"bicycle": Kind.RIDER, "motorcycle": Kind.RIDER}  # Autoware's are those that are ridden


@dataclass(frozen=True)
class Boxes3D:
    """Boxes in the frame of the message."""

    stamp_ns: int
    frame: str
    poses: list[FloatArray]  # (4, 4) each, of the middle of the box
    sizes_m: FloatArray  # (M, 3) along x, y and z of the box; 0 = not told
    scores: FloatArray  # (M,)
    kinds: list[Kind]

    def placed(self, odom_from_frame: FloatArray) -> SeenObjects:
        """The same in odom, seen from above: of a box the axis nearest the vertical is the height, the longer of the others the length."""
        rows, heights = [], []
        for pose, size, kind in zip(self.poses, self.sizes_m, self.kinds, strict=True):
            there = odom_from_frame @ pose
            up = int(np.abs(there[2, :3]).argmax())
            along, across = sorted({0, 1, 2} - {up}, key=lambda axis: -size[axis])
            rows.append((there[0, 3], there[1, 3], math.atan2(there[1, along], there[0, along]), size[along], size[across]))
            heights.append(size[up] if size[up] > 0 else HEIGHTS_M[kind])
        kinds = np.array([int(kind) for kind in self.kinds], np.intp)
        return SeenObjects(self.stamp_ns, np.array(rows, float).reshape(-1, 5), np.array(heights, float), self.scores, kinds)


def image_boxes(message: Any, camera: str, kind_of: KindOf) -> ImageBoxes:
    """vision_msgs/Detection2DArray; it looked at the whole image."""
    boxes, scores, kinds = [], [], []
    for one in message.detections:
        kind, score = _likeliest(one.results, kind_of)
        centre = getattr(one.bbox.center, "position", one.bbox.center)  # Pose2D of geometry_msgs before Humble
        x, y, width, height = float(centre.x), float(centre.y), float(one.bbox.size_x), float(one.bbox.size_y)
        if kind is not None and all(map(math.isfinite, (x, y, width, height, score))) and width > 0 and height > 0:
            boxes.append((x - 0.5 * width, y - 0.5 * height, x + 0.5 * width, y + 0.5 * height))
            scores.append(score)
            kinds.append(int(kind))
    return ImageBoxes(
        stamp_ns_of(message.header.stamp),
        camera,
        np.array(boxes, float).reshape(-1, 4),
        np.clip(np.array(scores, float), 0.0, 1.0),
        np.array(kinds, np.intp),
        np.zeros((0, 4)),
        np.zeros(0),
    )


def boxes_3d(message: Any, kind_of: KindOf) -> Boxes3D:
    """vision_msgs/Detection3DArray."""
    found = []
    for one in message.detections:
        kind, score = _likeliest(one.results, kind_of)
        found.append((kind, score, one.bbox.center, one.bbox.size))
    return _boxes(message.header, found)


def detected_objects(message: Any) -> Boxes3D:
    """autoware_perception_msgs/DetectedObjects."""
    found = []
    for one in message.objects:
        best = max(one.classification, key=lambda told: told.probability, default=None)
        name = AUTOWARE[best.label] if best is not None and best.label < len(AUTOWARE) else "unknown"
        kind = AUTOWARE_KINDS.get(name, {"pedestrian": Kind.PERSON}.get(name, Kind.VEHICLE)) if name not in ("unknown", "animal") else None
        found.append((kind, float(one.existence_probability), one.kinematics.pose_with_covariance.pose, one.shape.dimensions))
    return _boxes(message.header, found)


def _boxes(header: Any, found: Iterable[tuple[Kind | None, float, Any, Any]]) -> Boxes3D:
    poses, sizes, scores, kinds = [], [], [], []
    for kind, score, pose, size in found:
        sides = [float(size.x), float(size.y), float(size.z)]
        place = [
            pose.position.x,
            pose.position.y,
            pose.position.z,
            pose.orientation.x,
            pose.orientation.y,
            pose.orientation.z,
            pose.orientation.w,
        ]
        if kind is None or not all(map(math.isfinite, (*sides, *place, score))):
            continue
        if not any(place[3:]):  # a quaternion that was never set
            pose.orientation.w = 1.0
        poses.append(matrix_of(pose))
        sizes.append(sides)
        scores.append(score if score > 0 else DEFAULT_SCORE)
        kinds.append(kind)
    likely = np.clip(np.array(scores, float), 0.0, 1.0)
    return Boxes3D(stamp_ns_of(header.stamp), header.frame_id.lstrip("/"), poses, np.array(sizes, float).reshape(-1, 3), likely, kinds)


def _likeliest(results: Any, kind_of: KindOf) -> tuple[Kind | None, float]:
    """What a detection most likely is, and how likely; nothing for one without results that are finite."""
    told = []
    for result in results:
        hypothesis = getattr(result, "hypothesis", result)  # flat before Galactic
        name = getattr(hypothesis, "class_id", None)
        if math.isfinite(hypothesis.score):
            told.append((float(hypothesis.score), str(getattr(hypothesis, "id", "")) if name is None else str(name)))
    if not told:
        return None, 0.0
    score, name = max(told)
    return kind_of(name), score if score > 0 else DEFAULT_SCORE
