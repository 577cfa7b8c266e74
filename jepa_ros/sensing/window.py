"""Where live topics and recorded bags join: messages go in as they come, matched observations come out.

Putting a message is cheap (nothing is decoded) and never raises; `take` decodes the newest set that belongs together. Images and sweeps
are newest-wins, so that a slow consumer skips frames instead of falling behind; odometry and transforms are all kept for a while.
"""

from __future__ import annotations

import threading
import time
from collections import defaultdict, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from jepa_ros.sensing.calibration import camera_model, resized
from jepa_ros.sensing.cloud import decode_cloud
from jepa_ros.sensing.config import SensingConfig
from jepa_ros.sensing.ego import EgoHistory, finite_difference, read_odometry
from jepa_ros.sensing.errors import MalformedMessage, stamp_ns
from jepa_ros.sensing.image import decode_compressed_image, decode_image
from jepa_ros.sensing.stamps import COHERENT_NS, StampGate, Verdict
from jepa_ros.sensing.status import Counters, InputStatus
from jepa_ros.sensing.transforms import TransformError, TransformTree, invert, message_pose, static_transform
from jepa_ros.types import NANOSECONDS, CameraImage, CameraModel, EgoState, FloatArray, LidarSweep, Observation

# What a message that is not even shaped like its type can raise when it is read.
UNREADABLE = (AttributeError, TypeError, ValueError, OverflowError, IndexError)
MAX_IMAGES = 32  # a camera; time bounds it first
ODOMETRY_SETTLED_NS = 20_000_000  # so little is followed by the twist without waiting for the next message
TWIST_BASELINE_NS = 100_000_000  # of the finite difference where transforms give the motion


@dataclass(eq=False)  # one is found by identity; comparing messages would compare arrays
class _Pending:
    """A message that waits, undecoded."""

    name: str
    stamp_ns: int
    arrival_ns: int
    message: Any
    decode: Callable[[Any], Any]
    decoded: Any = None
    used: bool = False

    def value(self) -> Any:
        if self.decoded is None:
            self.decoded = self.decode(self.message)
        return self.decoded


@dataclass
class _Selection:
    """What one observation will be made of; everything but the decoding is done."""

    stamp_ns: int
    arrival_ns: int
    ego: EgoState
    sweep: tuple[_Pending, FloatArray] | None = None  # base_from_lidar
    images: list[tuple[_Pending, CameraModel, FloatArray]] = field(default_factory=list)  # base_from_camera at stamp_ns


class SensorHub:
    """Collects messages by input name and hands out observations. Thread-safe: any thread puts, one thread takes.

    `epoch` grows by one at each jump back in time; whoever keeps history must start anew when it changes.
    `last_timings_ms` tells of the last observation taken: "receive" (arrival until taken up) and "decode".
    """

    def __init__(self, config: SensingConfig | None = None, clock_ns: Callable[[], int] = time.monotonic_ns) -> None:
        """`clock_ns`: when messages arrive; a bag gives its log time."""
        self.config = config or SensingConfig()
        self.epoch = 0
        self.last_timings_ms: Mapping[str, float] = {}
        self._clock_ns = clock_ns
        self._lock = threading.Lock()
        self._gate = StampGate(self.config.jump_back_s, clock_ns)
        self._counters: dict[str, Counters] = {}
        self._held: deque[tuple[str, int, Callable[[], None]]] = deque(maxlen=64)
        self._images: dict[str, deque[_Pending]] = defaultdict(deque)
        self._models: dict[str, CameraModel] = {}
        self._sweep: _Pending | None = None
        self._ego = EgoHistory(self.config.buffer_s, self.config.ego_extrapolation_s)
        self._tree = TransformTree(self.config.buffer_s)
        self._odom_frame = self.config.odom_frame or "odom"
        self._base_frame = self.config.base_frame or "base_link"
        self._newest_taken_ns: int | None = None
        self._match_ns = round(self.config.match_tolerance_s * NANOSECONDS)
        self._lost_ns = round(self.config.lost_after_s * NANOSECONDS)
        for text in self.config.static_transforms:
            self._tree.add(*static_transform(text), None)

    @property
    def base_frame(self) -> str:
        return self._base_frame

    @property
    def odom_frame(self) -> str:
        return self._odom_frame

    # -- in ---------------------------------------------------------------------------------------------------------------------------

    def put_image(self, name: str, message: Any) -> None:
        """A sensor_msgs/Image of camera `name`."""
        self._put_stamped(name, "camera", message, lambda stamp: self._store_image(name, stamp, message, decode_image))

    def put_compressed_image(self, name: str, message: Any) -> None:
        """A sensor_msgs/CompressedImage of camera `name`."""
        self._put_stamped(name, "camera", message, lambda stamp: self._store_image(name, stamp, message, decode_compressed_image))

    def put_cloud(self, name: str, message: Any) -> None:
        """A sensor_msgs/PointCloud2: one sweep."""
        self._put_stamped(name, "lidar", message, lambda stamp: self._store_cloud(name, stamp, message))

    def put_odometry(self, name: str, message: Any) -> None:
        """A nav_msgs/Odometry."""
        self._put_stamped(name, "odometry", message, lambda stamp: self._store_odometry(name, message))

    def put_camera_info(self, name: str, message: Any) -> None:
        """A sensor_msgs/CameraInfo of camera `name` (the name its images have)."""
        with self._lock:
            counters = self._count(f"{name}/camera_info", "camera_info")
            try:
                self._models[name] = camera_model(message)
                counters.used += 1
            except UNREADABLE as error:
                counters.malformed[_reason(error)] += 1

    def put_transforms(self, message: Any, static: bool) -> None:
        """A tf2_msgs/TFMessage of /tf, or of /tf_static with `static`. Each transform is judged by itself."""
        with self._lock:
            counters = self._count("tf_static" if static else "tf", "transforms")
            try:
                transforms = list(message.transforms)
            except UNREADABLE as error:
                counters.malformed[_reason(error)] += 1
                return
            for transform in transforms:
                try:
                    self._store_transform(transform, static)
                    counters.used += 1
                except UNREADABLE as error:
                    counters.malformed[_reason(error, "non_finite_pose")] += 1

    def reject(self, name: str, kind: str, reason: str) -> None:
        """Count a message that could not even be handed over, such as one that does not deserialise."""
        with self._lock:
            self._count(name, kind).malformed[reason] += 1

    # -- out --------------------------------------------------------------------------------------------------------------------------

    def take(self, patient: bool = True) -> Observation | None:
        """The newest observation not taken yet, or None. With `patient`, a sweep waits `match_wait_s` for its image and odometry."""
        while True:
            with self._lock:
                selection = self._select_sweep(patient) or self._select_images(patient)
            if selection is None:
                return None
            observation = self._build(selection)
            if observation is not None:
                return observation

    def status(self) -> dict[str, InputStatus]:
        """Counters of each input by name."""
        with self._lock:
            return {name: counters.snapshot(self._is_lost(name)) for name, counters in self._counters.items()}

    # -- storing (the lock is held) ---------------------------------------------------------------------------------------------------

    def _count(self, name: str, kind: str) -> Counters:
        counters = self._counters.setdefault(name, Counters(kind))
        counters.received += 1
        return counters

    def _put_stamped(self, name: str, kind: str, message: Any, store: Callable[[int], None]) -> None:
        with self._lock:
            counters = self._count(name, kind)
            try:
                stamp = stamp_ns(message.header)
            except UNREADABLE as error:
                counters.malformed[_reason(error)] += 1
                return
            verdict = self._gate.judge(name, stamp)
            if verdict is Verdict.SUSPECT:
                counters.malformed["absurd_stamp"] += 1
                self._held.append((name, stamp, lambda: self._store(name, stamp, store)))
                return
            if verdict is Verdict.JUMP:
                self._restart(stamp)
            self._held.clear()
            self._store(name, stamp, store)

    def _store(self, name: str, stamp: int, store: Callable[[int], None]) -> None:
        counters = self._counters[name]
        if counters.last_stamp_ns is not None and stamp < counters.last_stamp_ns - self._jump_back_ns():
            self._forget_input(name, counters)
        counters.last_stamp_ns = stamp if counters.last_stamp_ns is None else max(stamp, counters.last_stamp_ns)
        counters.first_stamp_ns = stamp if counters.first_stamp_ns is None else counters.first_stamp_ns
        try:
            store(stamp)
        except UNREADABLE as error:
            counters.malformed[_reason(error)] += 1

    def _restart(self, stamp: int) -> None:
        """Time has jumped: forget everything that has a stamp, then use the messages that told of it."""
        self.epoch += 1
        self._images.clear()
        self._sweep = self._newest_taken_ns = None
        self._ego.clear()
        self._tree.clear()
        for counters in self._counters.values():
            counters.forget_time()
        for name, held_stamp, replay in list(self._held):
            if abs(held_stamp - stamp) <= COHERENT_NS:
                self._counters[name].malformed["absurd_stamp"] -= 1
                replay()

    def _forget_input(self, name: str, counters: Counters) -> None:
        """This input alone fell back: its earlier stamps were wrong."""
        counters.forget_time()
        if counters.kind == "camera":
            self._images[name].clear()
        elif counters.kind == "odometry":
            self._ego.clear()
        elif counters.kind == "lidar":
            self._sweep = None

    def _jump_back_ns(self) -> int:
        return round(self.config.jump_back_s * NANOSECONDS)

    def _store_image(self, name: str, stamp: int, message: Any, decode: Callable[[Any], Any]) -> None:
        waiting = self._images[name]
        if waiting and stamp <= waiting[-1].stamp_ns:
            self._counters[name].stale += 1
            return
        waiting.append(_Pending(name, stamp, self._clock_ns(), message, decode))
        # Long enough to find the nearest to a sweep that arrives late or waits.
        oldest = stamp - 2 * self._match_ns - round(self.config.match_wait_s * NANOSECONDS)
        while len(waiting) > 1 and (waiting[0].stamp_ns < oldest or len(waiting) > MAX_IMAGES):
            self._drop(waiting.popleft())

    def _store_cloud(self, name: str, stamp: int, message: Any) -> None:
        newest = self._sweep.stamp_ns if self._sweep else self._newest_sweep_ns(name)
        if newest is not None and stamp <= newest:
            self._counters[name].stale += 1
            return
        if self._sweep:
            self._drop(self._sweep)
        self._sweep = _Pending(name, stamp, self._clock_ns(), message, decode_cloud)

    def _newest_sweep_ns(self, name: str) -> int | None:
        return self._counters[name].good_stamp_ns

    def _store_odometry(self, name: str, message: Any) -> None:
        sample = read_odometry(message)
        if not self.config.odom_frame and sample.odom_frame:
            self._odom_frame = sample.odom_frame
        if not self.config.base_frame and sample.child_frame:
            self._base_frame = sample.child_frame
        state = sample.state
        if sample.child_frame and sample.child_frame != self._base_frame:
            child_from_base = self._tree.lookup(sample.child_frame, self._base_frame, None)
            state = EgoState(state.stamp_ns, state.odom_from_base @ child_from_base, state.velocity_mps, state.yaw_rate_radps)
        self._ego.add(state)
        self._counters[name].used += 1
        self._counters[name].good_stamp_ns = state.stamp_ns

    def _store_transform(self, transform: Any, static: bool) -> None:
        pose = message_pose(transform.transform)
        stamp = None if static else stamp_ns(transform.header)
        if stamp is not None and not self._gate.plausible(stamp):
            raise MalformedMessage("absurd_stamp", f"{stamp} ns is far from the stamps of the sensors")
        self._tree.add(transform.header.frame_id, transform.child_frame_id, pose, stamp)

    def _drop(self, pending: _Pending) -> None:
        if not pending.used:
            self._counters[pending.name].dropped += 1

    # -- selecting (the lock is held) -------------------------------------------------------------------------------------------------

    def _select_sweep(self, patient: bool) -> _Selection | None:
        sweep = self._sweep
        if sweep is None:
            return None
        waited = self._clock_ns() - sweep.arrival_ns >= self.config.match_wait_s * NANOSECONDS
        if patient and not waited and not self._settled(sweep.stamp_ns):
            return None
        self._sweep = None
        if self._is_old(sweep):
            return self._select_sweep(patient)
        ego = self._ego_at(sweep.stamp_ns)
        base_from_lidar = self._base_from(sweep)
        if ego is None:
            self._counters[sweep.name].malformed["missing_pose"] += 1
        if ego is None or base_from_lidar is None:
            return None
        selection = _Selection(sweep.stamp_ns, sweep.arrival_ns, ego, (sweep, base_from_lidar))
        self._add_images(selection)
        return selection

    def _select_images(self, patient: bool) -> _Selection | None:
        """Camera only: where the lidar is lost, the newest image leads."""
        newest = max((waiting[-1] for waiting in self._images.values() if waiting), key=lambda image: image.stamp_ns, default=None)
        if newest is None or newest.used or not self._lidar_lost(newest.stamp_ns):
            return None
        if self._newest_taken_ns is not None and newest.stamp_ns <= self._newest_taken_ns:
            return None
        waited = self._clock_ns() - newest.arrival_ns >= self.config.match_wait_s * NANOSECONDS
        if patient and not waited and not self._odometry_settled(newest.stamp_ns):
            return None
        ego = self._ego_at(newest.stamp_ns)
        if ego is None:
            self._counters[newest.name].malformed["missing_pose"] += 1
            self._images[newest.name].pop()
            return None
        selection = _Selection(newest.stamp_ns, newest.arrival_ns, ego)
        self._add_images(selection)
        return selection if selection.images else None

    def _is_old(self, sweep: _Pending) -> bool:
        """Observations never go back in time within an epoch."""
        if self._newest_taken_ns is None or sweep.stamp_ns > self._newest_taken_ns:
            return False
        if sweep.stamp_ns < self._newest_taken_ns - self._jump_back_ns():
            self.epoch += 1  # what was taken before had a wrong stamp
            return False
        self._counters[sweep.name].stale += 1
        return True

    def _settled(self, stamp: int) -> bool:
        """Whether waiting could not bring a nearer image or a better pose."""
        if not self._odometry_settled(stamp):
            return False
        for name, waiting in self._images.items():
            if not waiting or self._is_lost(name):
                continue
            newest = waiting[-1].stamp_ns
            if newest >= stamp:
                continue
            period = newest - waiting[-2].stamp_ns if len(waiting) > 1 else self._match_ns
            if newest + period - stamp < stamp - newest:
                return False
        return True

    def _odometry_settled(self, stamp: int) -> bool:
        return self._ego.newest_ns is None or self._ego.newest_ns >= stamp - ODOMETRY_SETTLED_NS

    def _add_images(self, selection: _Selection) -> None:
        for name, waiting in self._images.items():
            nearest = min(waiting, key=lambda image: abs(image.stamp_ns - selection.stamp_ns), default=None)
            if nearest is None or abs(nearest.stamp_ns - selection.stamp_ns) > self._match_ns:
                continue
            while waiting[0] is not nearest:
                self._drop(waiting.popleft())
            nearest.used = True
            model, base_from_camera = self._models.get(name), self._base_from(nearest)
            if model is None:
                self._counters[name].malformed["missing_camera_info"] += 1
            elif base_from_camera is not None:
                motion = self._ego_at(nearest.stamp_ns)
                if motion is not None:  # where the camera was then, seen from the base now
                    base_from_camera = invert(selection.ego.odom_from_base) @ motion.odom_from_base @ base_from_camera
                selection.images.append((nearest, model, base_from_camera))

    def _base_from(self, pending: _Pending) -> FloatArray | None:
        frame = getattr(pending.message.header, "frame_id", "")
        try:
            return self._tree.lookup(self._base_frame, frame, pending.stamp_ns)
        except (TransformError, AttributeError):
            self._counters[pending.name].malformed["missing_transform"] += 1
            return None

    def _ego_at(self, stamp: int) -> EgoState | None:
        state = self._ego.at(stamp)
        if state is not None:
            return state
        try:
            now = self._tree.lookup(self._odom_frame, self._base_frame, stamp)
        except TransformError:
            return None
        try:
            earlier = self._tree.lookup(self._odom_frame, self._base_frame, stamp - TWIST_BASELINE_NS)
        except TransformError:
            return EgoState(stamp, now, np.zeros(2))
        return finite_difference(earlier, now, TWIST_BASELINE_NS / NANOSECONDS, stamp)

    def _lidar_lost(self, stamp: int) -> bool:
        lidars = [counters.good_stamp_ns for counters in self._counters.values() if counters.kind == "lidar"]
        good = [lidar for lidar in lidars if lidar is not None]
        if good:
            return stamp - max(good) > self._lost_ns
        first = [counters.first_stamp_ns for counters in self._counters.values() if counters.kind == "camera" and counters.first_stamp_ns]
        return stamp - min(first, default=stamp) > self._lost_ns

    def _is_lost(self, name: str) -> bool:
        counters = self._counters[name]
        if counters.kind not in ("camera", "lidar", "odometry"):
            return False
        sensors = [other for other in self._counters.values() if other.kind in ("camera", "lidar") and other.last_stamp_ns is not None]
        if not sensors:
            return False
        newest = max(other.last_stamp_ns or 0 for other in sensors)
        good = counters.last_stamp_ns if counters.kind == "camera" else counters.good_stamp_ns
        since = good if good is not None else min(other.first_stamp_ns or newest for other in sensors)
        return newest - since > self._lost_ns

    # -- decoding (without the lock) --------------------------------------------------------------------------------------------------

    def _build(self, selection: _Selection) -> Observation | None:
        started = time.perf_counter()
        receive_ms = (self._clock_ns() - selection.arrival_ns) / 1e6
        lidar = None
        if selection.sweep:
            lidar = self._decode_sweep(*selection.sweep)
            if lidar is None:
                return None
        cameras = tuple(image for part in selection.images if (image := self._decode_image(*part)) is not None)
        if lidar is None and not cameras:
            return None
        with self._lock:
            self._newest_taken_ns = selection.stamp_ns
        self.last_timings_ms = {"receive": receive_ms, "decode": (time.perf_counter() - started) * 1e3}
        return Observation(selection.stamp_ns, selection.ego, lidar, cameras)

    def _decode_sweep(self, pending: _Pending, base_from_lidar: FloatArray) -> LidarSweep | None:
        try:
            cloud = pending.value()
            if not len(cloud.points_m):
                raise MalformedMessage("no_points", f"all {cloud.dropped} points are non-finite")
        except UNREADABLE as error:
            self._mark(pending, error)
            return None
        points = transform_points(base_from_lidar, cloud.points_m)
        self._mark(pending, None)
        return LidarSweep(pending.stamp_ns, points, cloud.intensity, cloud.ring, cloud.time_offset_s, base_from_lidar, cloud.dropped)

    def _decode_image(self, pending: _Pending, model: CameraModel, base_from_camera: FloatArray) -> CameraImage | None:
        try:
            rgb = pending.value()
            model = resized(model, rgb.shape[1], rgb.shape[0])
        except UNREADABLE as error:
            self._mark(pending, error)
            return None
        self._mark(pending, None)
        return CameraImage(pending.stamp_ns, pending.name, rgb, model, base_from_camera)

    def _mark(self, pending: _Pending, error: Exception | None) -> None:
        with self._lock:
            counters = self._counters[pending.name]
            if error is None:
                counters.used += 1
                counters.good_stamp_ns = pending.stamp_ns
                return
            counters.malformed[_reason(error)] += 1
            waiting = self._images.get(pending.name)
            if waiting and pending in waiting:
                waiting.remove(pending)


def transform_points(target_from_source: FloatArray, points_m: np.ndarray) -> np.ndarray:
    """(N, 3) float32 points in another frame."""
    pose = target_from_source.astype(np.float32)
    if np.array_equal(pose, np.eye(4, dtype=np.float32)):
        return points_m
    return points_m @ pose[:3, :3].T + pose[:3, 3]


def _reason(error: Exception, default: str = "unreadable") -> str:
    if isinstance(error, TransformError):
        return "missing_transform"
    return error.reason if isinstance(error, MalformedMessage) else default
