"""Cameras vote on what the lidar proposes. Where no camera was asked, nothing changes.

A look begins with the step, on a thread of its own, while the world model computes: at the candidates of the last sweep, as they lie in the
new image. Its answer is read in the same step, so that a replay gives the same twice.
"""

from __future__ import annotations

import logging
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from jepa_ros.config import param, validate
from jepa_ros.movers import ImageBoxes, SeenObjects, VehicleDetections
from jepa_ros.objects.camera.candidates import Candidates, outlines, vehicle_boxes
from jepa_ros.objects.camera.likelihood import log_ratio
from jepa_ros.objects.camera.matching import matched
from jepa_ros.objects.camera.seen import DRIVE_MPS, RIDE_MPS, SAME_VEHICLE_M, Earlier, with_seen
from jepa_ros.objects.camera.tiles import answered, choose
from jepa_ros.objects.camera.trail import Trail
from jepa_ros.objects.camera.trust import SURE, CameraTrust
from jepa_ros.objects.detection import DetectionConfig
from jepa_ros.objects.track_state import logit_of
from jepa_ros.objects.vehicles.boxes import moved
from jepa_ros.protocols import Detector2D
from jepa_ros.types import NANOSECONDS, CameraImage, CameraModel, Detections, FloatArray, Observation

log = logging.getLogger(__name__)
LEAST_SCORE = 0.02  # of the lidar: candidates that a camera may still call people
REMEMBERED_S = 1.0  # images, and who was asked about
SAME_M = 0.7  # a candidate so near to one that was asked about is the same
FULL_AT_M = 15.0  # an answer about somebody further away is worth less
USUAL_PX = 640  # side of the input of a detector that does not say where it looked: at the whole image
LARGEST = 6.0  # log-odds that all looks of one step may add


@dataclass(frozen=True)
class CameraConfig:
    """Whether and how cameras vote."""

    detector: str = param(
        "", "finds people in images: empty = none, 'nanodet' (make camera-detector), an .onnx file, or one of your own", read_only=False
    )
    rate_hz: float = param(5.0, "looks per second, one square of an image each", at_least=0.1, at_most=100.0)

    def __post_init__(self) -> None:
        validate(self)


@dataclass(frozen=True)
class _View:
    """One image that was taken: from where, through which lens."""

    stamp_ns: int
    camera: str
    camera_from_odom: FloatArray
    model: CameraModel

    @classmethod
    def of(cls, image: CameraImage, observation: Observation) -> _View:
        return cls(image.stamp_ns, image.name, np.linalg.inv(observation.ego.odom_from_base @ image.base_from_camera), image.model)


@dataclass(frozen=True)
class _Proposed:
    """What the lidar proposed in one sweep."""

    candidates: Candidates
    vehicles: VehicleDetections | None
    odom_from_anchor: FloatArray  # of the vehicles


class CameraVote:
    """One instance belongs to one stream. `begin` and then `judge`, once for each observation."""

    def __init__(self, detector: Detector2D | None, rate_hz: float = 5.0, min_score: float = 0.1, others: bool = True) -> None:
        """`detector`: None = only boxes that come with the observations; without these `others` nothing is changed.

        `min_score`: of the lidar; candidates below it stay only where a camera speaks for them.
        """
        self._detector = detector
        self._idle = detector is None and not others
        self._min_score = min_score
        self._period_ns = int(NANOSECONDS / rate_hz)
        self._thread = ThreadPoolExecutor(1, "camera_look") if detector else None
        self.reset()

    def reset(self) -> None:
        """Forget the stream."""
        self._candidates = Candidates.none()
        self._people: Trail[_Proposed] = Trail(SAME_M, RIDE_MPS, REMEMBERED_S)
        self._vehicles: Trail[None] = Trail(SAME_VEHICLE_M, DRIVE_MPS, REMEMBERED_S)
        self._looks: deque[tuple[int, FloatArray, FloatArray]] = deque()  # when, (K, 2) who was asked about, (K,) log-odds
        self._views: deque[_View] = deque()
        self._trust: dict[str, CameraTrust] = {}
        self._due_ns: int | None = None
        self._pending: Future[ImageBoxes] | None = None

    def proposing(self, config: DetectionConfig) -> DetectionConfig:
        """The same, with what the lidar hardly believes among the candidates where cameras vote."""
        return config if self._idle else replace(config, min_score=min(config.min_score, LEAST_SCORE))

    def begin(self, observation: Observation) -> None:
        """Start a look, where one is due and there is somebody to ask about."""
        if self._idle:
            return
        now_ns = observation.stamp_ns
        self._views.extend(_View.of(image, observation) for image in observation.cameras)
        while self._views and self._views[0].stamp_ns < now_ns - REMEMBERED_S * NANOSECONDS:
            self._views.popleft()
        if self._thread is None or self._detector is None or (self._due_ns is not None and now_ns < self._due_ns):
            return
        worth = self._worth(now_ns, observation.odom_from_anchor)
        best: tuple[float, CameraImage, FloatArray] | None = None
        for image in observation.cameras:
            seen = outlines(self._candidates, _View.of(image, observation).camera_from_odom, image.model)
            region = choose(seen, worth, image.model, self._detector.side_px)
            if region is None:
                continue
            value = float(worth[answered(region, self._detector.side_px / (region[2] - region[0]), seen)].sum())
            if best is None or value > best[0]:
                best = (value, image, region)
        if best is not None:
            self._due_ns = now_ns + self._period_ns - self._period_ns // 8  # stamps are not quite regular
            self._pending = self._thread.submit(self._detector.detect, best[1], best[2][None])

    def judge(self, observation: Observation, found: Detections) -> Detections:
        """The same candidates with what cameras say; those that the lidar hardly believes stay only where a camera looks."""
        if self._idle:
            return found
        self._remember(found, observation)
        total, looked = np.zeros(len(found.scores)), np.zeros(len(found.scores), bool)
        for boxes in (*self._answer(), *(told for told in observation.detected if isinstance(told, ImageBoxes))):
            view = self._view_of(boxes, observation)
            if view is not None:
                then, rows = self._people.at(boxes.stamp_ns)  # who stood there when the image was taken, and who of them each is
                scores, evidence = answers_of(then.candidates, boxes, view.camera_from_odom, view.model)
                told = np.isfinite(evidence)
                trust = self._trust.setdefault(view.camera, CameraTrust())
                trust.learn(then.candidates.scores[told], scores[told], boxes, _vehicles_in(boxes, view, then))
                evidence[told] = trust.tempered(evidence[told])
                mine = np.append(evidence, np.nan)[rows]
                total += np.nan_to_num(mine)
                looked |= np.isfinite(mine)
        evidence = np.where(looked, np.clip(total, -LARGEST, LARGEST), np.nan)
        self._looks.append((observation.stamp_ns, self._candidates.places_m[looked, :2], evidence[looked]))
        believed = (found.scores >= self._min_score) | (self._asked(observation.stamp_ns)[1] > 0)
        found = kept(replace(found, camera=evidence), believed)
        for seen in observation.detected:
            if isinstance(seen, SeenObjects):
                people = Earlier(*(rows[believed] for rows in self._people.were(seen.stamp_ns)))
                found = with_seen(found, seen, observation.odom_from_anchor, people, Earlier(*self._vehicles.were(seen.stamp_ns)))
        return found

    def _remember(self, found: Detections, observation: Observation) -> None:
        """Who and what is proposed now: boxes that come late are of then."""
        self._candidates = Candidates.of(found, observation.odom_from_anchor)
        proposed = _Proposed(self._candidates, found.vehicles, observation.odom_from_anchor)
        self._people.add(observation.stamp_ns, proposed, self._candidates.places_m[:, :2])
        boxes = np.zeros((0, 5)) if found.vehicles is None else moved(found.vehicles.boxes, observation.odom_from_anchor)
        self._vehicles.add(observation.stamp_ns, None, boxes[:, :2])

    def _asked(self, now_ns: int) -> tuple[FloatArray, FloatArray]:
        """(M,) seconds since the camera was asked about each candidate, and (M,) its answer; REMEMBERED_S and 0 if it was not asked."""
        while self._looks and self._looks[0][0] < now_ns - REMEMBERED_S * NANOSECONDS:
            self._looks.popleft()
        places = self._candidates.places_m[:, :2]
        since_s, answer = np.full(len(places), REMEMBERED_S), np.zeros(len(places))
        for stamp_ns, asked, told in self._looks:  # oldest first
            if len(asked) and len(places):
                away_m = np.hypot(*(places[:, None] - asked).transpose(2, 0, 1))
                again = away_m.min(axis=1) < SAME_M
                since_s[again] = (now_ns - stamp_ns) / NANOSECONDS
                answer[again] = told[away_m.argmin(axis=1)][again]
        return since_s, answer

    def _worth(self, now_ns: int, odom_from_anchor: FloatArray) -> FloatArray:
        """(M,) of an answer about each candidate: the longer it was not asked about, the likelier and the nearer it is, the more."""
        since_s, answer = self._asked(now_ns)
        belief = 1.0 / (1.0 + np.exp(-logit_of(self._candidates.scores) - answer))
        places = self._candidates.places_m[:, :2]
        range_m = np.hypot(*(places - odom_from_anchor[:2, 3]).T)
        return since_s * (LEAST_SCORE + belief) / (1.0 + range_m / FULL_AT_M)

    def _answer(self) -> tuple[ImageBoxes, ...]:
        pending, self._pending = self._pending, None
        if pending is None:
            return ()
        try:
            return (pending.result(),)
        except Exception as error:  # whatever somebody's network raises: the lidar alone goes on
            log.warning("a look of the camera's detector failed: %s: %s", type(error).__name__, error)
            return ()

    def _view_of(self, boxes: ImageBoxes, observation: Observation) -> _View | None:
        """The image that the boxes are of, or the nearest in time from the same camera; None where it was not seen here."""
        views = [view for view in self._views if not boxes.camera or view.camera == boxes.camera]
        return min(views, key=lambda view: abs(view.stamp_ns - boxes.stamp_ns), default=None)


def kept(found: Detections, rows: NDArray[np.bool_]) -> Detections:
    """Only those people; vehicles and what was free stay."""
    if rows.all():
        return found
    people = ("positions_m", "radii_m", "scores", "heights_m", "ground_m", "riding", "camera")
    return replace(found, **{name: values[rows] for name in people if (values := getattr(found, name)) is not None})


def answers_of(
    candidates: Candidates, boxes: ImageBoxes, camera_from_odom: FloatArray, model: CameraModel
) -> tuple[FloatArray, FloatArray]:
    """(M,) score of each candidate's best box, and (M,) log-odds for a person; NaN where the detector did not look, or could not have
    seen one."""
    seen = outlines(candidates, camera_from_odom, model)
    scores, hidden = matched(seen, boxes, float(model.intrinsics[0, 0]))
    evidence = np.full(len(scores), np.nan)
    regions, scales = boxes.regions_px, boxes.scales
    if not len(regions):
        whole = (-0.5, -0.5, model.width - 0.5, model.height - 0.5)
        regions, scales = np.array([whole]), np.array([min(1.0, USUAL_PX / max(model.width, model.height))])
    for region, scale in zip(regions, scales, strict=True):
        told = answered(region, float(scale), seen) & ~hidden & np.isnan(evidence)
        height_px = scale * (seen.boxes_px[told, 3] - seen.boxes_px[told, 1])
        evidence[told] = log_ratio(scores[told], height_px)
    return scores, evidence


def _vehicles_in(boxes: ImageBoxes, view: _View, proposed: _Proposed) -> FloatArray:
    """(V, 4) boxes of the vehicles of which the lidar is sure, of those that the detector had whole before it."""
    vehicles = proposed.vehicles
    if vehicles is None:
        return np.zeros((0, 4))
    sure = vehicles.scores >= SURE
    rows = {name: getattr(vehicles, name)[sure] for name in ("boxes", "scores", "heights_m", "ground_m")}
    there = vehicle_boxes(replace(vehicles, **rows), view.camera_from_odom @ proposed.odom_from_anchor, view.model)
    if not len(boxes.regions_px):
        return there
    left_top = np.all(there[:, None, :2] >= boxes.regions_px[:, :2], axis=-1)
    right_bottom = np.all(there[:, None, 2:] <= boxes.regions_px[:, 2:], axis=-1)
    return there[np.any(left_top & right_bottom, axis=1)]
