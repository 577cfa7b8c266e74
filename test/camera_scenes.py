"""A camera, columns that the lidar proposes before it, and boxes of a detector."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from jepa_ros.movers import ImageBoxes, Kind
from jepa_ros.objects.camera.vote import CameraVote
from jepa_ros.objects.tracking import PeopleTracker
from jepa_ros.types import CameraImage, CameraModel, Detections, EgoState, FloatArray, Observation

MODEL = CameraModel(640, 480, np.array([[500.0, 0, 320], [0, 500.0, 240], [0, 0, 1]]), np.zeros(0))
# 1.5 m above the base, looking ahead: right, down, forward.
BASE_FROM_CAMERA = np.array([[0, 0, 1.0, 0], [-1, 0, 0, 0], [0, -1, 0, 1.5], [0, 0, 0, 1]])
CAMERA_FROM_ODOM = np.linalg.inv(BASE_FROM_CAMERA)
PERIOD_NS = 100_000_000


def columns(*rows: tuple[float, float, float]) -> Detections:
    """(x, y, score) of columns 1.7 m high on level ground."""
    values = np.array(rows, float).reshape(-1, 3)
    ones = np.ones(len(values))
    return Detections(values[:, :2], 0.3 * ones, values[:, 2], 1.7 * ones, 0 * ones, 0 * ones)


def observation(stamp_ns: int, **more: object) -> Observation:
    image = CameraImage(stamp_ns, "front", np.zeros((480, 640, 3), np.uint8), MODEL, BASE_FROM_CAMERA)
    return Observation(stamp_ns, EgoState(stamp_ns, np.eye(4), np.zeros(2)), None, (image,), **more)


def person_at(x: float, y: float, height: float = 1.7) -> FloatArray:
    """The box of somebody who stands there."""
    return np.array([320 - 500 * (y + 0.25) / x, 240 - 500 * (height - 1.5) / x, 320 - 500 * (y - 0.25) / x, 240 + 500 * 1.5 / x])


def told(*people: FloatArray, score: float = 0.7, kinds: int = Kind.PERSON, stamp_ns: int = 0) -> ImageBoxes:
    """Boxes in the whole image, by a detector that says no more."""
    count = len(people)
    return ImageBoxes(
        stamp_ns, "", np.array(people).reshape(-1, 4), np.full(count, score), np.full(count, kinds), np.zeros((0, 4)), np.zeros(0)
    )


class Fake:
    """Finds who stands at these places, wherever it is asked to look."""

    side_px = 416

    def __init__(self, *places: tuple[float, float]) -> None:
        self.places, self.looks = places, 0

    def detect(self, image: CameraImage, regions_px: FloatArray) -> ImageBoxes:
        self.looks += 1
        boxes = told(*(person_at(*place) for place in self.places), stamp_ns=image.stamp_ns)
        return replace(boxes, camera=image.name, regions_px=regions_px, scales=self.side_px / (regions_px[:, 2] - regions_px[:, 0]))


def run(vote: CameraVote | None, found: Detections, steps: int = 10, **more: object):
    """The same columns sweep after sweep; who is reported after each."""
    tracker, reports = PeopleTracker(), []
    for step in range(steps):
        seen = observation(step * PERIOD_NS, **more)
        if vote is not None:
            vote.begin(seen)
        said = found if vote is None else vote.judge(seen, found)
        reports.append(tracker.follow(seen.stamp_ns, said, np.eye(4)))
    return reports


def near(people, x: float, y: float) -> bool:
    return bool(len(people.ids)) and bool(np.hypot(*(people.positions_m - (x, y)).T).min() < 0.5)
