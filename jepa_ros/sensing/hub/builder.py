"""A selection of messages that belong together -> an Observation: decoded, deskewed, levelled, the ground found, the vehicle cut out."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field, replace
from typing import cast

import numpy as np
from numpy.typing import NDArray

from jepa_ros.levelling import levelled
from jepa_ros.sensing.decode.camera_info import Calibration
from jepa_ros.sensing.decode.errors import MalformedMessage
from jepa_ros.sensing.frames.ego_motion import base_at
from jepa_ros.sensing.ground import GroundEstimator, is_above
from jepa_ros.sensing.hub.inbox import UNREADABLE, Inbox, Pending
from jepa_ros.sensing.hub.merging import merged
from jepa_ros.sensing.hub.own_body import Box, OwnBody, of_points
from jepa_ros.sensing.terrain import Terrain
from jepa_ros.sensing.time.deskew import deskewed, is_compensated
from jepa_ros.types import NANOSECONDS, CameraImage, EgoState, FloatArray, LidarSweep, Observation

ENOUGH_POINTS = 500
NEAR_SHARE, NEAREST_FAR_M = 0.1, 200.0  # in any surroundings a tenth of a lidar's returns is much nearer


@dataclass
class Selection:
    """What one observation will be made of; everything but the decoding is done."""

    epoch: int
    leader: str  # the input whose message leads
    stamp_ns: int
    arrival_ns: int
    ego: EgoState
    # base_from_lidar when it was measured; the leading lidar first. With `led_by_sweep` there is no observation without that one.
    sweeps: list[tuple[Pending, FloatArray]] = field(default_factory=list)
    led_by_sweep: bool = False
    images: list[tuple[Pending, Calibration, FloatArray]] = field(default_factory=list)  # base (at stamp_ns) from camera


class ObservationBuilder:
    """Builds one observation at a time; takes the hub's lock only to look at the inbox. Keeps the estimate of the ground."""

    def __init__(self, inbox: Inbox, lock: threading.Lock) -> None:
        self._inbox = inbox
        self._lock = lock
        self._config = inbox.config
        self._ground = GroundEstimator()
        self._own_body = OwnBody(cast(Box, self._config.own_body_m) or None)

    def build(self, selection: Selection) -> Observation | None:
        """The observation, or None where its sweep, or without a sweep all of its images, cannot be read."""
        sweeps = self._decode_sweeps(selection)
        if sweeps is None:
            return None
        cameras = tuple(image for part in selection.images if (image := self._decode_image(*part)) is not None)
        if not sweeps:
            ground_m, seen = self._ground.height_m, self._ground.seen
            return Observation(selection.stamp_ns, selection.ego, None, cameras, ground_m, seen) if cameras else None
        lidar = merged([(name, self._deskewed(name, sweep, selection)) for name, sweep in sweeps])
        points_anchor_m = levelled(lidar.points_m, selection.ego.odom_from_base)
        lidar_anchor_m = levelled(lidar.base_from_lidar[None, :3, 3], selection.ego.odom_from_base)[0]
        ground_m = self._ground.update(points_anchor_m, lidar_anchor_m)
        # The vehicle's own returns move with it: they are told by where they were before the sweep was brought to one instant.
        measured_m = np.concatenate([sweep.points_m for _, sweep in sweeps]) if len(sweeps) > 1 else sweeps[0][1].points_m
        kept = self._own_body.others(measured_m, lidar, ground_m, selection.ego.odom_from_base[:2, 3])
        if not kept.all():
            lidar, points_anchor_m = of_points(lidar, kept), points_anchor_m.take(np.flatnonzero(kept), axis=0)
        local_m = Terrain.fit(points_anchor_m, ground_m, lidar_anchor_m).at(points_anchor_m) if self._ground.shown else None
        observation = Observation(selection.stamp_ns, selection.ego, lidar, cameras, ground_m, self._ground.seen, local_m)
        vars(observation)["levelled_m"] = points_anchor_m  # levelled for the ground: not again
        self._say_ground(sweeps[0][0], lidar_anchor_m)
        return observation

    def _decode_sweep(self, pending: Pending, base_from_lidar: FloatArray) -> LidarSweep | None:
        """The sweep in the base frame as it was when each point was measured."""
        try:
            cloud = pending.value()
            if not len(cloud.points_m):
                raise MalformedMessage("no_points", f"an empty cloud, or all of its {cloud.dropped} points are non-finite or zero")
            pose = base_from_lidar.astype(np.float32)
            points = cloud.points_m @ np.ascontiguousarray(pose[:3, :3].T) + pose[:3, 3]
            _check_unit(points)
        except UNREADABLE as error:
            self._settle(pending, error)
            return None
        self._settle(pending)
        return LidarSweep(pending.stamp_ns, points, cloud.intensity, cloud.ring, cloud.time_offset_s, base_from_lidar, cloud.dropped)

    def _decode_sweeps(self, selection: Selection) -> list[tuple[str, LidarSweep]] | None:
        """(name, sweep) of each lidar; None where the one that leads cannot be read."""
        sweeps = []
        for index, (pending, base_from_lidar) in enumerate(selection.sweeps):
            sweep = self._decode_sweep(pending, base_from_lidar)
            if sweep is not None:
                sweeps.append((pending.name, sweep))
            elif index == 0 and selection.led_by_sweep:
                return None
        return sweeps

    def _deskewed(self, name: str, sweep: LidarSweep, selection: Selection) -> LidarSweep:
        """The sweep as it would have been measured at the observation's stamp, each point by its own time."""

        def base_at_stamps(stamps: list[int]) -> FloatArray:
            return self._base_at(selection.ego, stamps)

        compensated = sweep.time_offset_s is None or not self._config.deskew or is_compensated(name)
        later_s = (sweep.stamp_ns - selection.stamp_ns) / NANOSECONDS
        if compensated and not later_s:
            return sweep
        moved = base_at_stamps([sweep.stamp_ns])[0] if later_s else np.eye(4)
        if compensated or sweep.time_offset_s is None:
            turn = np.ascontiguousarray(moved[:3, :3].T, np.float32)
            points = sweep.points_m @ turn + moved[:3, 3].astype(np.float32)
        else:
            points = deskewed(sweep.points_m, sweep.time_offset_s, sweep.stamp_ns, base_at_stamps)
        offsets = None if sweep.time_offset_s is None else sweep.time_offset_s + np.float32(later_s)
        return replace(
            sweep, stamp_ns=selection.stamp_ns, points_m=points, time_offset_s=offsets, base_from_lidar=moved @ sweep.base_from_lidar
        )

    def _base_at(self, now: EgoState, stamps: list[int]) -> FloatArray:
        with self._lock:
            return base_at(self._inbox, now, stamps)

    def _say_ground(self, name: str, lidar_anchor_m: FloatArray) -> None:
        notice, base, ground_m = None, self._inbox.base_frame, self._ground.height_m
        if not self._ground.seen:
            notice = f"no sweep has shown the ground: taken as z = {ground_m:.2f} m in {base}"
        elif not is_above(lidar_anchor_m, ground_m):
            notice = (
                f"its frame is not above the ground (z = {lidar_anchor_m[2]:.2f} m, the ground {ground_m:.2f} m in {base}), so not"
                " the lidar's: what hides from it close by is unknown; publish the cloud in the lidar's frame, its mount on /tf_static"
            )
        with self._lock:
            self._inbox.counters[name].tell("ground", notice)

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


def _check_unit(points_base_m: NDArray[np.float32]) -> None:
    """Raises MalformedMessage("bad_fields") where hardly anything is near: numbers in millimetres, taken for metres."""
    some = points_base_m[:: max(len(points_base_m) // ENOUGH_POINTS, 1)]
    near_m = float(np.quantile(np.hypot(some[:, 0], some[:, 1]), NEAR_SHARE))
    if near_m > NEAREST_FAR_M:
        raise MalformedMessage("bad_fields", f"nine of ten points are farther than {near_m:.0f} m: millimetres? REP-103 asks for metres")
