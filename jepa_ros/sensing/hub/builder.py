"""A selection of messages that belong together -> an Observation: decoded, deskewed, levelled, the ground found, the vehicle cut out."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field, replace
from typing import cast

import numpy as np

from jepa_ros.sensing.decode.camera_info import Calibration
from jepa_ros.sensing.decode.errors import MalformedMessage
from jepa_ros.sensing.frames.ego_motion import base_at
from jepa_ros.sensing.ground import GroundEstimator
from jepa_ros.sensing.hub.inbox import UNREADABLE, Inbox, Pending
from jepa_ros.sensing.hub.own_body import Box, of_points, off_body, own_body
from jepa_ros.sensing.time.deskew import deskewed, is_compensated
from jepa_ros.types import CameraImage, EgoState, FloatArray, LidarSweep, Observation, levelled


@dataclass
class Selection:
    """What one observation will be made of; everything but the decoding is done."""

    epoch: int
    stamp_ns: int
    arrival_ns: int
    ego: EgoState
    sweep: tuple[Pending, FloatArray] | None = None  # base_from_lidar
    images: list[tuple[Pending, Calibration, FloatArray]] = field(default_factory=list)  # base (at stamp_ns) from camera


class ObservationBuilder:
    """Builds one observation at a time; takes the hub's lock only to look at the inbox. Keeps the estimate of the ground."""

    def __init__(self, inbox: Inbox, lock: threading.Lock) -> None:
        self._inbox = inbox
        self._lock = lock
        self._config = inbox.config
        self._ground = GroundEstimator()

    def build(self, selection: Selection) -> Observation | None:
        """The observation, or None where its sweep, or without a sweep all of its images, cannot be read."""
        sweep = self._decode_sweep(*selection.sweep) if selection.sweep else None
        if selection.sweep and sweep is None:
            return None
        cameras = tuple(image for part in selection.images if (image := self._decode_image(*part)) is not None)
        if sweep is None:
            ground_m, seen = self._ground.height_m, self._ground.seen
            return Observation(selection.stamp_ns, selection.ego, None, cameras, ground_m, seen) if cameras else None
        lidar = self._deskewed(sweep, selection)
        points_anchor_m = levelled(lidar.points_m, selection.ego.odom_from_base)
        lidar_anchor_m = levelled(lidar.base_from_lidar[None, :3, 3], selection.ego.odom_from_base)[0]
        ground_m = self._ground.update(points_anchor_m, lidar_anchor_m)
        # The vehicle's own returns move with it: they are told by where they were before the sweep was brought to one instant.
        kept = off_body(sweep.points_m, cast(Box, self._config.own_body_m) or own_body(lidar, ground_m))
        if not kept.all():
            lidar, points_anchor_m = of_points(lidar, kept), points_anchor_m[kept]
        observation = Observation(selection.stamp_ns, selection.ego, lidar, cameras, ground_m, self._ground.seen)
        vars(observation)["levelled_m"] = points_anchor_m  # levelled for the ground: not again
        self._say_ground(selection)
        return observation

    def _decode_sweep(self, pending: Pending, base_from_lidar: FloatArray) -> LidarSweep | None:
        """The sweep in the base frame as it was when each point was measured."""
        try:
            cloud = pending.value()
            if not len(cloud.points_m):
                raise MalformedMessage("no_points", f"an empty cloud, or all of its {cloud.dropped} points are non-finite")
        except UNREADABLE as error:
            self._settle(pending, error)
            return None
        self._settle(pending)
        pose = base_from_lidar.astype(np.float32)
        points = cloud.points_m @ np.ascontiguousarray(pose[:3, :3].T) + pose[:3, 3]
        return LidarSweep(pending.stamp_ns, points, cloud.intensity, cloud.ring, cloud.time_offset_s, base_from_lidar, cloud.dropped)

    def _deskewed(self, sweep: LidarSweep, selection: Selection) -> LidarSweep:
        assert selection.sweep is not None
        if sweep.time_offset_s is None or not self._config.deskew or is_compensated(selection.sweep[0].name):
            return sweep
        points = deskewed(sweep.points_m, sweep.time_offset_s, sweep.stamp_ns, lambda stamps: self._base_at(selection.ego, stamps))
        return replace(sweep, points_m=points)

    def _base_at(self, now: EgoState, stamps: list[int]) -> FloatArray:
        with self._lock:
            return base_at(self._inbox, now, stamps)

    def _say_ground(self, selection: Selection) -> None:
        assert selection.sweep is not None
        with self._lock:
            assumed = f"no sweep has shown the ground: taken as z = {self._ground.height_m:.2f} m in {self._inbox.base_frame}"
            self._inbox.counters[selection.sweep[0].name].tell("ground", None if self._ground.seen else assumed)

    def _decode_image(self, pending: Pending, known: Calibration, base_from_camera: FloatArray) -> CameraImage | None:
        try:
            rgb = pending.value()
            model = known.for_image(rgb.shape[1], rgb.shape[0])
        except UNREADABLE as error:
            self._settle(pending, error)
            return None
        self._settle(pending)
        base_from_image = base_from_camera.copy()
        base_from_image[:3, :3] @= known.optical_from_image
        return CameraImage(pending.stamp_ns, pending.name, rgb, model, base_from_image)

    def _settle(self, pending: Pending, error: Exception | None = None) -> None:
        with self._lock:
            self._inbox.settle(pending, error)
