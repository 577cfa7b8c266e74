"""Messages that have arrived and are accepted: undecoded images, the newest sweep; odometry, transforms and camera models, decoded.

Not thread-safe: the SensorHub that owns it holds the lock. Nothing here raises for a bad message; it is counted by its reason.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from jepa_ros.sensing.config import SensingConfig
from jepa_ros.sensing.decode.camera_info import Calibration, calibration, is_rectified
from jepa_ros.sensing.decode.cloud import decode_cloud
from jepa_ros.sensing.decode.errors import MalformedMessage, stamp_ns
from jepa_ros.sensing.frames.ego import EgoHistory, read_odometry
from jepa_ros.sensing.frames.odometry import in_base, is_upright, vehicle_frame
from jepa_ros.sensing.frames.poses import message_pose, static_transform
from jepa_ros.sensing.frames.transforms import TransformError, TransformLoop, Transforms, TransformTree
from jepa_ros.sensing.hub.status import Counters
from jepa_ros.sensing.time.pace import Pace
from jepa_ros.sensing.time.stamps import COHERENT_NS, StampGate, Verdict
from jepa_ros.types import NANOSECONDS, FloatArray

# What a message that is not even shaped like its type can raise when it is read.
UNREADABLE = (AttributeError, TypeError, ValueError, OverflowError, IndexError)
MAX_SWEEPS = 8  # of a lidar
MAX_IMAGES = 32  # of a camera; time bounds them first
MAX_HELD = 64
OTHER_FRAMES_NS = NANOSECONDS  # so long odometry in new frames is refused: two nodes may publish on one topic
STAMPED = ("camera", "lidar", "odometry")


@dataclass(eq=False)  # found by identity: comparing messages would compare arrays
class Pending:
    """A message that waits, undecoded."""

    name: str
    stamp_ns: int
    arrival_ns: int
    frame: str
    message: Any
    decode: Callable[[Any], Any]
    decoded: Any = None
    used: bool = False

    def value(self) -> Any:
        """Decode once: an image may serve two sweeps. Raises what the decoder raises."""
        if self.decoded is None:
            self.decoded = self.decode(self.message)
        return self.decoded


class Inbox:
    """Sorts messages by input name, screens their stamps and keeps what may be needed."""

    def __init__(self, config: SensingConfig, clock_ns: Callable[[], int], transforms: Transforms | None = None) -> None:
        self.config = config
        self.epoch = 0
        self.counters: dict[str, Counters] = {}
        self.images: dict[str, deque[Pending]] = defaultdict(deque)  # by stamp, oldest first
        self.models: dict[str, Calibration] = {}
        self.sweeps: dict[str, deque[Pending]] = defaultdict(deque)  # of each lidar, by stamp, oldest first
        self.ego = EgoHistory(config.buffer_s, config.ego_extrapolation_s)
        self.tree = transforms or TransformTree(config.buffer_s)
        self.odom_frame = config.odom_frame.lstrip("/") or "odom"
        self.base_frame = config.base_frame.lstrip("/") or "base_link"
        self._told_frames: tuple[str, str] | None = None  # fixed and child frame of the newest odometry
        self.told_frame = ""  # of the odometry's poses: `ego` is in it
        self.jump_back_ns = round(config.jump_back_s * NANOSECONDS)
        self._image_span_ns = round((2 * config.match_tolerance_s + config.match_wait_s) * NANOSECONDS)
        self._clock_ns = clock_ns
        self._gate = StampGate(config.jump_back_s, clock_ns)
        self._paces: dict[str, Pace] = defaultdict(Pace)
        self._held: deque[tuple[str, int, Callable[[int], None]]] = deque(maxlen=MAX_HELD)
        for text in config.static_transforms:
            self.tree.add(*static_transform(text), None)

    def put_image(self, name: str, message: Any, decode: Callable[[Any], Any]) -> None:
        self._put(name, "camera", message, lambda stamp: self._store_image(name, stamp, message, decode))

    def put_cloud(self, name: str, message: Any) -> None:
        self._put(name, "lidar", message, lambda stamp: self._store_cloud(name, stamp, message))

    def put_odometry(self, name: str, message: Any) -> None:
        self._put(name, "odometry", message, lambda _: self._store_odometry(name, message))

    def put_camera_info(self, name: str, message: Any) -> None:
        counters = self.count(f"{name}/camera_info", "camera_info")
        try:
            self.models[name] = calibration(message, is_rectified(name))
            counters.used += 1
        except UNREADABLE as error:
            counters.malformed[reason_of(error)] += 1

    def put_transforms(self, message: Any, static: bool) -> None:
        counters = self.count("tf_static" if static else "tf", "transforms")
        try:
            transforms = list(message.transforms)
        except UNREADABLE as error:
            counters.malformed[reason_of(error)] += 1
            return
        failures = [reason for transform in transforms if (reason := self._store_transform(transform, static))]
        counters.malformed.update(failures)
        counters.used += not failures
        counters.notices.update(self.tree.notices)

    def count(self, name: str, kind: str) -> Counters:
        """One more message of an input."""
        counters = self.counters.setdefault(name, Counters(kind))
        counters.received += 1
        counters.given_up = False
        return counters

    def drop(self, pending: Pending) -> None:
        """Count a message that a newer one has replaced."""
        if not pending.used:
            self.counters[pending.name].dropped += 1

    def settle(self, pending: Pending, error: Exception | None) -> None:
        """Say how the decoding of a message went."""
        counters = self.counters[pending.name]
        if error is None:
            counters.used += not pending.used  # an image may serve two sweeps: it is one message
            pending.used = True
            counters.good_stamp_ns = max(counters.good_stamp_ns or 0, pending.stamp_ns)
            return
        counters.malformed[reason_of(error)] += 1
        waiting = (self.sweeps if counters.kind == "lidar" else self.images)[pending.name]
        if pending in waiting:
            waiting.remove(pending)

    def forget(self, name: str) -> None:
        """An input has been given up; what it has counted stays. Another odometry has another origin: with it time begins anew."""
        counters = self.counters.get(name)
        if counters is None:
            return
        if counters.kind == "odometry":
            self._restart(None)
        for waiting in (self.sweeps.pop(name, ()), self.images.pop(name, ())):
            for pending in waiting:
                self.drop(pending)
        counters.forget_time()
        counters.given_up = True

    def _put(self, name: str, kind: str, message: Any, store: Callable[[int], None]) -> None:
        counters = self.count(name, kind)
        try:
            stamp = stamp_ns(message.header)
        except UNREADABLE as error:
            counters.malformed[reason_of(error)] += 1
            return
        verdict = self._gate.judge(name, stamp)
        if verdict is Verdict.SUSPECT:
            counters.malformed["absurd_stamp"] += 1
            self._held.append((name, stamp, store))
            return
        if verdict is Verdict.JUMP:
            self._restart(stamp)
        self._held.clear()
        self._store(name, stamp, store)

    def _restart(self, stamp: int | None) -> None:
        """Time has jumped: forget everything that has a stamp, then use the messages that showed it."""
        self.epoch += 1
        self.images.clear()
        self.sweeps.clear()
        self.ego.clear()
        self.tree.clear()
        for counters in self.counters.values():
            counters.forget_time()
        for name, held_stamp, store in self._held:
            if stamp is not None and abs(held_stamp - stamp) <= COHERENT_NS:
                self.counters[name].malformed["absurd_stamp"] -= 1
                self._store(name, held_stamp, store)

    def _store(self, name: str, stamp: int, store: Callable[[int], None]) -> None:
        counters = self.counters[name]
        if counters.last_stamp_ns is not None and stamp < counters.last_stamp_ns - self.jump_back_ns:
            self._forget_input(name, counters)
        counters.saw(stamp)
        others = (known.last_stamp_ns or 0 for other, known in self.counters.items() if other != name and known.kind in STAMPED)
        if self._paces[name].stands_still(stamp, max(others, default=0)):
            counters.malformed["stalled_stamp"] += 1
            return
        try:
            store(stamp)
        except UNREADABLE as error:
            counters.malformed[reason_of(error)] += 1

    def _forget_input(self, name: str, counters: Counters) -> None:
        """This input alone fell back: its earlier stamps were wrong, and so are the observations that it led."""
        self.epoch += counters.kind in ("camera", "lidar") and counters.good_stamp_ns is not None
        counters.forget_time()
        if counters.kind == "camera":
            self.images[name].clear()
        elif counters.kind == "odometry":
            self.ego.clear()
        elif counters.kind == "lidar":
            self.sweeps[name].clear()

    def _store_image(self, name: str, stamp: int, message: Any, decode: Callable[[Any], Any]) -> None:
        waiting = self.images[name]
        if waiting and stamp <= waiting[-1].stamp_ns:
            self.counters[name].stale += 1
            return
        waiting.append(Pending(name, stamp, self._clock_ns(), str(message.header.frame_id), message, decode))
        # Kept long enough to find the nearest to a sweep that arrives late or waits.
        while waiting[0].stamp_ns < stamp - self._image_span_ns or len(waiting) > MAX_IMAGES:
            self.drop(waiting.popleft())

    def _store_cloud(self, name: str, stamp: int, message: Any) -> None:
        waiting = self.sweeps[name]
        newest = waiting[-1].stamp_ns if waiting else self.counters[name].good_stamp_ns
        if newest is not None and stamp <= newest:
            self.counters[name].stale += 1
            return
        waiting.append(Pending(name, stamp, self._clock_ns(), str(message.header.frame_id), message, decode_cloud))
        # Of several lidars that which does not lead gives the nearest to the one that does.
        while waiting[0].stamp_ns < stamp - self._image_span_ns or len(waiting) > MAX_SWEEPS:
            self.drop(waiting.popleft())

    def _store_odometry(self, name: str, message: Any) -> None:
        sample = read_odometry(message)
        counters = self.counters[name]
        self._keep_to_frames((sample.odom_frame, sample.child_frame), sample.state.stamp_ns)
        self.told_frame = sample.odom_frame
        if not self.config.odom_frame and sample.odom_frame:
            self.odom_frame = sample.odom_frame
        if not self.config.base_frame and sample.child_frame:
            self._use_base(vehicle_frame(sample.child_frame, is_upright(sample.state.odom_from_base), self._mount), sample.child_frame)
        state = in_base(sample, self.base_frame, self.tree)
        self.ego.add(state, sample.has_twist)
        counters.tell("twist", None if self.ego.twist.believed else self.ego.twist.explain())
        counters.tell("frame", self._unknown_frame())
        counters.used += 1
        counters.good_stamp_ns = max(counters.good_stamp_ns or 0, state.stamp_ns)

    def _keep_to_frames(self, frames: tuple[str, str], stamp: int) -> None:
        """Poses in other frames than before are other poses: refused while the former ones go on, else time begins anew with them."""
        before, self._told_frames = self._told_frames, frames
        newest = self.ego.newest_ns
        if before in (None, frames) or newest is None:
            return
        if abs(stamp - newest) <= OTHER_FRAMES_NS:
            self._told_frames = before
            raise MalformedMessage("other_frames", f"frames {frames}, before {before}")
        self._restart(None)

    def _use_base(self, base_frame: str, child_frame: str) -> None:
        """The vehicle's frame, as the odometry and TF tell it. Raises MalformedMessage where they tell of none."""
        if not base_frame:
            raise MalformedMessage("tilted_frame", f"child frame {child_frame!r} is tilted, and TF does not connect it to base_link")
        if base_frame != self.base_frame:
            self.base_frame = base_frame
            self.ego.clear()  # its states are those of another frame

    def _mount(self, target: str, source: str) -> FloatArray | None:
        try:
            return self.tree.lookup(target, source, None)
        except TransformError:
            return None

    def _unknown_frame(self) -> str | None:
        """What is missing before the poses of the odometry can be used in the frame that was asked for."""
        if self.told_frame in ("", self.odom_frame):
            return None
        try:
            self.tree.lookup(self.odom_frame, self.told_frame, None)
        except TransformError:
            return f"its poses are in {self.told_frame!r}, sensing.odom_frame is {self.odom_frame!r}, and no transform connects the two"
        return None

    def _store_transform(self, transform: Any, static: bool) -> str | None:
        """The reason why it cannot be used, or None."""
        try:
            stamp = None if static else stamp_ns(transform.header)
            if stamp is not None and not self._gate.plausible(stamp):
                raise MalformedMessage("absurd_stamp", f"{stamp} ns is far from the stamps of the sensors")
            self.tree.add(str(transform.header.frame_id), str(transform.child_frame_id), message_pose(transform.transform), stamp)
        except MalformedMessage as error:
            return error.reason
        except TransformLoop:
            return "transform_loop"
        except ValueError:
            return "non_finite_pose"
        except UNREADABLE:
            return "unreadable"
        return None


def reason_of(error: Exception) -> str:
    """The short name under which an error is counted."""
    if isinstance(error, TransformError):
        return "missing_transform"
    return error.reason if isinstance(error, MalformedMessage) else "unreadable"
