"""Where live topics and recorded bags join: messages go in as they come, matched observations come out.

Putting a message is cheap (nothing is decoded) and never raises; `take` decodes the newest set that belongs together. Images and sweeps
are newest-wins, so that a slow consumer skips frames instead of falling behind; odometry and transforms are all kept for a while.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

from jepa_ros.sensing.config import SensingConfig
from jepa_ros.sensing.decode.image import decode_compressed_image, decode_image
from jepa_ros.sensing.frames.ego_motion import ego_at, seen_from
from jepa_ros.sensing.frames.transforms import TransformError, Transforms
from jepa_ros.sensing.hub.builder import ObservationBuilder, Selection
from jepa_ros.sensing.hub.inbox import Inbox, Pending
from jepa_ros.sensing.hub.status import InputStatus
from jepa_ros.types import NANOSECONDS, FloatArray, Observation

ODOMETRY_SETTLED_NS = 20_000_000  # so little is followed by the twist without waiting for the next message


class SensorHub:
    """Collects messages by input name and hands out observations. Thread-safe: any thread puts, one thread takes.

    An observation has the stamp of its sweep, or without lidar that of its newest image; stamps ascend within an `epoch`, which grows by
    one at each jump back in time: whoever keeps history starts anew when it changes.
    `last_timings_ms` tells of the last observation taken: "receive" (arrival until taken up) and "decode".
    """

    def __init__(
        self,
        config: SensingConfig | None = None,
        clock_ns: Callable[[], int] = time.monotonic_ns,
        transforms: Transforms | None = None,
    ) -> None:
        """`clock_ns`: when messages arrive; a bag gives its log time. `transforms`: what keeps the frames; None = a TransformTree."""
        self.config = config or SensingConfig()
        self.last_timings_ms: Mapping[str, float] = {}
        self._clock_ns = clock_ns
        self._lock = threading.Lock()
        self._inbox = Inbox(self.config, clock_ns, transforms)
        self._builder = ObservationBuilder(self._inbox, self._lock)
        self._taken_ns: int | None = None
        self._taken_epoch = 0
        self._match_ns = round(self.config.match_tolerance_s * NANOSECONDS)
        self._wait_ns = round(self.config.match_wait_s * NANOSECONDS)
        self._lost_ns = round(self.config.lost_after_s * NANOSECONDS)

    @property
    def epoch(self) -> int:
        """The epoch of what the last `take` gave."""
        return self._taken_epoch

    @property
    def base_frame(self) -> str:
        return self._inbox.base_frame

    @property
    def odom_frame(self) -> str:
        return self._inbox.odom_frame

    def put_image(self, name: str, message: Any) -> None:
        """A sensor_msgs/Image of camera `name`."""
        with self._lock:
            self._inbox.put_image(name, message, decode_image)

    def put_compressed_image(self, name: str, message: Any) -> None:
        """A sensor_msgs/CompressedImage of camera `name`."""
        with self._lock:
            self._inbox.put_image(name, message, decode_compressed_image)

    def put_camera_info(self, name: str, message: Any) -> None:
        """A sensor_msgs/CameraInfo of camera `name` (the name that its images have)."""
        with self._lock:
            self._inbox.put_camera_info(name, message)

    def put_cloud(self, name: str, message: Any) -> None:
        """A sensor_msgs/PointCloud2: one sweep."""
        with self._lock:
            self._inbox.put_cloud(name, message)

    def put_odometry(self, name: str, message: Any) -> None:
        """A nav_msgs/Odometry."""
        with self._lock:
            self._inbox.put_odometry(name, message)

    def put_transforms(self, message: Any, static: bool) -> None:
        """A tf2_msgs/TFMessage of /tf, or of /tf_static with `static`. Each transform is judged by itself."""
        with self._lock:
            self._inbox.put_transforms(message, static)

    def reject(self, name: str, kind: str, reason: str) -> None:
        """Count a message that could not even be handed over, such as one that does not deserialise."""
        with self._lock:
            self._inbox.count(name, kind).malformed[reason] += 1

    def take(self, patient: bool = True) -> Observation | None:
        """The newest observation not taken yet, or None. With `patient`, a sweep waits `match_wait_s` for its image and odometry."""
        while True:
            with self._lock:
                if self._taken_epoch != self._inbox.epoch:
                    self._taken_epoch, self._taken_ns = self._inbox.epoch, None
                waits, selection = self._select_sweep(patient)
                if selection is None and not waits:
                    waits, selection = self._select_images(patient)
            if selection is None:
                return None
            observation = self._build(selection)
            if observation is not None:
                return observation

    def status(self) -> dict[str, InputStatus]:
        """Counters of each input by name."""
        with self._lock:
            return {name: counters.snapshot(self._is_lost(name)) for name, counters in self._inbox.counters.items()}

    # -- selecting: the lock is held; (True, None) = wait for more ----------------------------------------------------------------------

    def _select_sweep(self, patient: bool) -> tuple[bool, Selection | None]:
        inbox = self._inbox
        while (sweep := inbox.sweep) is not None:
            if patient and not self._waited(sweep) and not self._settled(sweep.stamp_ns):
                return True, None
            inbox.sweep = None
            selection = None if self._is_old(sweep) else self._start(sweep)
            base_from_lidar = self._base_from(sweep) if selection else None
            if selection is not None and base_from_lidar is not None:
                selection.sweep = sweep, base_from_lidar
                self._add_images(selection)
                return False, selection
        return False, None

    def _select_images(self, patient: bool) -> tuple[bool, Selection | None]:
        """Camera only: where the lidar is lost, the newest image leads."""
        newest = max((waiting[-1] for waiting in self._inbox.images.values() if waiting), key=lambda image: image.stamp_ns, default=None)
        if newest is None or newest.used or not self._lidar_lost(newest.stamp_ns):
            return False, None
        if patient and not self._waited(newest) and not self._odometry_settled(newest.stamp_ns):
            return True, None
        if self._is_old(newest) or (selection := self._start(newest)) is None:
            newest.used = True
            return False, None
        self._add_images(selection)
        return False, selection if selection.images else None

    def _start(self, leader: Pending) -> Selection | None:
        ego = ego_at(self._inbox, leader.stamp_ns)
        if ego is None:
            self._inbox.counters[leader.name].malformed["missing_pose"] += 1
            return None
        return Selection(self._inbox.epoch, leader.stamp_ns, leader.arrival_ns, ego)

    def _add_images(self, selection: Selection) -> None:
        inbox = self._inbox
        for name, waiting in inbox.images.items():
            nearest = min(waiting, key=lambda image: abs(image.stamp_ns - selection.stamp_ns), default=None)
            if nearest is None or abs(nearest.stamp_ns - selection.stamp_ns) > self._match_ns:
                continue
            while waiting[0] is not nearest:
                inbox.drop(waiting.popleft())
            model, base_from_camera = inbox.models.get(name), self._base_from(nearest)
            if model is None:
                inbox.counters[name].malformed["missing_camera_info"] += 1
            elif base_from_camera is not None:
                selection.images.append((nearest, model, seen_from(inbox, selection.ego, nearest.stamp_ns) @ base_from_camera))

    def _base_from(self, pending: Pending) -> FloatArray | None:
        try:
            return self._inbox.tree.lookup(self._inbox.base_frame, pending.frame, pending.stamp_ns, mounted=True)
        except TransformError:
            self._inbox.counters[pending.name].malformed["missing_transform"] += 1
            return None

    def _is_old(self, pending: Pending) -> bool:
        """Observations never go back in time within an epoch."""
        if self._taken_ns is None or pending.stamp_ns > self._taken_ns:
            return False
        self._inbox.counters[pending.name].stale += 1
        return True

    def _waited(self, pending: Pending) -> bool:
        return self._clock_ns() - pending.arrival_ns >= self._wait_ns

    def _settled(self, stamp: int) -> bool:
        """Whether waiting could not bring a nearer image or a better pose."""
        return self._odometry_settled(stamp) and all(
            self._image_settled(name, stamp) for name, waiting in self._inbox.images.items() if waiting and not self._is_lost(name)
        )

    def _image_settled(self, name: str, stamp: int) -> bool:
        waiting = self._inbox.images[name]
        newest = waiting[-1].stamp_ns
        period = newest - waiting[-2].stamp_ns if len(waiting) > 1 else self._match_ns
        # The next image is expected a period after the newest: is that farther from the stamp?
        return newest >= stamp or newest + period - stamp >= stamp - newest

    def _odometry_settled(self, stamp: int) -> bool:
        newest = self._inbox.ego.newest_ns
        return ego_at(self._inbox, stamp) is not None if newest is None else newest >= stamp - ODOMETRY_SETTLED_NS

    def _lidar_lost(self, stamp: int) -> bool:
        lidars = [name for name, counters in self._inbox.counters.items() if counters.kind == "lidar"]
        cameras = [counters for counters in self._inbox.counters.values() if counters.kind == "camera"]
        good = [self._inbox.counters[name].good_stamp_ns or 0 for name in lidars]
        since = max(good, default=0) or min((counters.first_stamp_ns for counters in cameras if counters.first_stamp_ns), default=stamp)
        return stamp - since > self._lost_ns

    def _is_lost(self, name: str) -> bool:
        """Silent, or sending nothing usable, while another sensor went on."""
        counters = self._inbox.counters[name]
        sensors = [other for other in self._inbox.counters.values() if other.kind in ("camera", "lidar") and other.last_stamp_ns]
        if counters.kind not in ("camera", "lidar", "odometry") or not sensors:
            return False
        newest = max(other.last_stamp_ns or 0 for other in sensors)
        first = min(other.first_stamp_ns or newest for other in sensors)
        return newest - (counters.good_stamp_ns or first) > self._lost_ns

    # -- decoding: without the lock -----------------------------------------------------------------------------------------------------

    def _build(self, selection: Selection) -> Observation | None:
        started = time.perf_counter()
        receive_ms = (self._clock_ns() - selection.arrival_ns) / 1e6
        observation = self._builder.build(selection)
        if observation is None:
            return None
        with self._lock:
            if selection.epoch != self._inbox.epoch:
                return None  # time jumped while this was decoded
            self._taken_ns = selection.stamp_ns
        self.last_timings_ms = {"receive": receive_ms, "decode": (time.perf_counter() - started) * 1e3}
        return observation
