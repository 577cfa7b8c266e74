"""The sensor hub, for live topics and recorded bags alike: messages go in as they come, matched observations come out.

Putting a message is cheap (nothing is decoded) and never raises; `take` decodes the newest set that belongs together. Images and sweeps
are newest-wins, so that a slow consumer skips frames instead of falling behind; odometry and transforms are all kept for a while.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from jepa_ros.sensing.config import SensingConfig
from jepa_ros.sensing.decode.image import decode_compressed_image, decode_image
from jepa_ros.sensing.frames.transforms import TransformError, Transforms
from jepa_ros.sensing.hub.builder import ObservationBuilder, Selection
from jepa_ros.sensing.hub.inbox import Inbox
from jepa_ros.sensing.hub.selector import Selector
from jepa_ros.sensing.hub.status import InputStatus
from jepa_ros.types import FloatArray, Observation


class SensorHub:
    """Collects messages by input name and returns observations. Thread-safe: any thread puts, one thread takes.

    An observation has the stamp of its sweep, or without lidar that of its newest image; the sweeps of further lidars are merged into it,
    brought to that stamp by the odometry. Stamps ascend within an `epoch`, which grows by one at each jump back in time: whoever keeps
    history starts anew when it changes.
    `last_timings_ms` tells of the last observation taken: "receive" (arrival until taken up) and "decode".
    """

    def __init__(
        self,
        config: SensingConfig | None = None,
        clock_ns: Callable[[], int] = time.monotonic_ns,
        transforms: Transforms | None = None,
        required: Iterable[str] = (),
        cameras: Iterable[str] = (),
    ) -> None:
        """`clock_ns`: when messages arrive; a bag gives its log time. `transforms`: what keeps the frames; None = a TransformTree.

        `required`: of "lidar" and "camera", what every observation must have. With the camera alone, images lead instead of sweeps.
        `cameras`: names of those that every observation must have an image of.
        """
        self.config = config or SensingConfig()
        self.last_timings_ms: Mapping[str, float] = {}
        self._clock_ns = clock_ns
        self._lock = threading.Lock()
        self._inbox = Inbox(self.config, clock_ns, transforms)
        self._builder = ObservationBuilder(self._inbox, self._lock)
        self._selector = Selector(self._inbox, self.config, clock_ns, required, cameras)
        self._taken_epoch = 0

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

    @property
    def leader(self) -> str | None:
        """The lidar whose sweeps lead; None before the first, and where images lead."""
        with self._lock:
            return self._selector.leader

    @property
    def cameras_lead(self) -> bool:
        """Whether images lead: a camera is required, and no lidar."""
        return self._selector.cameras_lead

    def base_from(self, frame: str, stamp_ns: int) -> FloatArray:
        """(4, 4) base from another frame, at that time or by the newest transform. Raises TransformError."""
        with self._lock:
            try:
                return self._inbox.tree.lookup(self.base_frame, frame, stamp_ns, mounted=True)
            except TransformError:
                return self._inbox.tree.lookup(self.base_frame, frame, None, mounted=True)

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

    def forget(self, name: str) -> None:
        """An input has been given up, such as a topic that is gone: what it left is dropped. With an odometry a new epoch begins."""
        with self._lock:
            self._selector.forget(name)
            self._inbox.forget(name)

    def take(self, patient: bool = True) -> Observation | None:
        """The newest observation not taken yet, or None. With `patient`, a sweep waits `match_wait_s` for its image and odometry."""
        while True:
            with self._lock:
                if self._taken_epoch != self._inbox.epoch:
                    self._taken_epoch, self._selector.taken_ns = self._inbox.epoch, None
                selection = self._selector.select(patient)
            if selection is None:
                return None
            observation = self._build(selection)
            if observation is not None:
                return observation

    def status(self) -> dict[str, InputStatus]:
        """Counters of each input by name."""
        with self._lock:
            return {name: counters.snapshot(self._selector.is_lost(name)) for name, counters in self._inbox.counters.items()}

    # -- decoding: without the lock -----------------------------------------------------------------------------------------------------

    def _build(self, selection: Selection) -> Observation | None:
        started = time.perf_counter()
        receive_ms = (self._clock_ns() - selection.arrival_ns) / 1e6
        observation = self._builder.build(selection)
        if observation is None:
            return None
        there = {kind for kind, seen in (("lidar", observation.lidar), ("camera", observation.cameras)) if seen}
        missing = self._selector.required - there
        if set(self._selector.cameras) - {camera.name for camera in observation.cameras}:
            missing |= {"camera"}
        with self._lock:
            if selection.epoch != self._inbox.epoch:
                return None  # time jumped while this was decoded
            self._selector.taken_ns = selection.stamp_ns
            if missing:
                self._inbox.counters[selection.leader].malformed[f"without_{min(missing)}"] += 1
                return None
        self.last_timings_ms = {"receive": receive_ms, "decode": (time.perf_counter() - started) * 1e3}
        return observation
