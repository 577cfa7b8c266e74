"""Which messages make the next observation. The owner of the inbox holds the lock; (True, None) = wait for more."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable

from jepa_ros.sensing.config import SensingConfig
from jepa_ros.sensing.frames.ego_motion import ego_at, seen_from
from jepa_ros.sensing.frames.transforms import TransformError
from jepa_ros.sensing.hub.builder import Selection
from jepa_ros.sensing.hub.inbox import Inbox, Pending
from jepa_ros.types import NANOSECONDS, FloatArray

ODOMETRY_SETTLED_NS = 20_000_000  # so little is followed by the twist without waiting for the next message
SENSORS = ("lidar", "camera")
NEVER_MATCHED = 8  # messages of an input that goes on: it is said


class Selector:
    """Looks through an inbox. One sweep leads where a lidar is there: its stamp is the observation's, the rest is matched to it.

    Images lead where all lidars are lost, or where `required` names the camera and not the lidar: such a model steps with its camera.
    """

    def __init__(
        self, inbox: Inbox, config: SensingConfig, clock_ns: Callable[[], int], required: Iterable[str] = (), cameras: Iterable[str] = ()
    ) -> None:
        self.required = frozenset(required)
        if self.required - set(SENSORS):
            raise ValueError(f"required inputs {sorted(self.required)}: of {', '.join(SENSORS)}")
        self.cameras = tuple(cameras)  # names of those without whose images nothing is made
        self.taken_ns: int | None = None  # stamp of the last observation of this epoch
        self._inbox = inbox
        self._clock_ns = clock_ns
        self._match_ns = round(config.match_tolerance_s * NANOSECONDS)
        self._wait_ns = round(config.match_wait_s * NANOSECONDS)
        self._lost_ns = round(config.lost_after_s * NANOSECONDS)
        self._unmatched: dict[str, tuple[int, int]] = {}  # newest stamp, and how many came without being near; -1 = one was
        self._heights: dict[str, float] = {}  # of each lidar's mount, m; those that TF knows

    @property
    def cameras_lead(self) -> bool:
        return "camera" in self.required and "lidar" not in self.required

    @property
    def leader(self) -> str | None:
        """The lidar that leads: of those that go on, the one mounted highest (it sees farthest), then the first by name."""
        if self.cameras_lead:
            return None
        known = [name for name in self._heights if not self.is_lost(name)] or list(self._heights)
        return min(known, key=lambda name: (-round(self._heights[name], 2), name), default=None)

    def select(self, patient: bool) -> Selection | None:
        """What the next observation is made of; with `patient`, only once all that belongs to it is there or has been waited for."""
        if self.cameras_lead:
            return self._select_images(patient)[1]
        waits, selection = self._select_sweep(patient)
        if selection is None and not waits and "lidar" not in self.required:
            waits, selection = self._select_images(patient)
        return selection

    def is_lost(self, name: str) -> bool:
        """Silent, or sending nothing usable, while another sensor went on."""
        counters = self._inbox.counters[name]
        sensors = [other for other in self._inbox.counters.values() if other.kind in SENSORS and other.last_stamp_ns and not other.given_up]
        if counters.kind not in ("camera", "lidar", "odometry") or counters.given_up or not sensors:
            return False
        newest = max(other.last_stamp_ns or 0 for other in sensors)
        first = min(other.first_stamp_ns or newest for other in sensors)
        return newest - (counters.good_stamp_ns or first) > self._lost_ns

    def forget(self, name: str) -> None:
        """An input has been given up."""
        self._heights.pop(name, None)
        self._unmatched.pop(name, None)

    # -- sweeps -------------------------------------------------------------------------------------------------------------------------

    def _select_sweep(self, patient: bool) -> tuple[bool, Selection | None]:
        while (sweep := self._leading_sweep()) is not None:
            if patient and not self._waited(sweep) and not self._settled(sweep):
                return True, None
            waiting = self._inbox.sweeps[sweep.name]
            while waiting and waiting[0].stamp_ns <= sweep.stamp_ns:
                passed = waiting.popleft()
                if passed is not sweep:
                    self._inbox.drop(passed)
            selection = None if self._is_old(sweep) else self._start(sweep)
            base_from_lidar = self._base_from(sweep) if selection else None
            if selection is not None and base_from_lidar is not None:
                selection.sweeps, selection.led_by_sweep = [(sweep, base_from_lidar)], True
                self._add_sweeps(selection, but=sweep.name)
                self._add_images(selection)
                return False, selection
        return False, None

    def _leading_sweep(self) -> Pending | None:
        """The newest sweep of the lidar that leads. While TF knows none of them, the newest of any, so that it is counted."""
        for name, waiting in self._inbox.sweeps.items():
            if waiting and name not in self._heights and (mount := self._look_up(waiting[-1])) is not None:
                self._heights[name] = float(mount[2, 3])
        leader = self.leader
        if leader is not None:
            led = self._inbox.sweeps.get(leader)
            return led[-1] if led else None
        return max((waiting[-1] for waiting in self._inbox.sweeps.values() if waiting), key=lambda sweep: sweep.stamp_ns, default=None)

    def _add_sweeps(self, selection: Selection, but: str | None = None) -> None:
        """The nearest sweep of every other lidar."""
        for name in sorted(self._inbox.sweeps, key=lambda name: (-round(self._heights.get(name, -1e9), 2), name)):
            nearest = None if name == but else self._matched(name, self._inbox.sweeps[name], selection)
            base_from_lidar = self._base_from(nearest) if nearest else None
            if nearest is not None and base_from_lidar is not None:
                selection.sweeps.append((nearest, base_from_lidar))
            elif nearest is not None:
                self._inbox.sweeps[name].remove(nearest)

    # -- images -------------------------------------------------------------------------------------------------------------------------

    def _select_images(self, patient: bool) -> tuple[bool, Selection | None]:
        """The newest image leads."""
        newest = max((waiting[-1] for waiting in self._inbox.images.values() if waiting), key=lambda image: image.stamp_ns, default=None)
        if newest is None or newest.used or not (self.cameras_lead or self._lidar_lost(newest.stamp_ns)):
            return False, None
        stamp = newest.stamp_ns
        came = self._odometry_settled(stamp) and self._sweeps_came(stamp) and self._images_came(stamp)
        if patient and not self._waited(newest) and not came:
            return True, None
        if self._is_old(newest) or (selection := self._start(newest)) is None:
            newest.used = True
            return False, None
        self._add_images(selection)
        if self.cameras_lead and selection.images:
            self._add_sweeps(selection)
        return False, selection if selection.images else None

    def _add_images(self, selection: Selection) -> None:
        inbox = self._inbox
        for name, waiting in inbox.images.items():
            nearest = self._matched(name, waiting, selection)
            if nearest is None:
                continue
            model, base_from_camera = inbox.models.get(name), self._base_from(nearest)
            if model is None:
                inbox.counters[name].malformed["missing_camera_info"] += 1
            elif base_from_camera is not None:
                selection.images.append((nearest, model, seen_from(inbox, selection.ego, nearest.stamp_ns) @ base_from_camera))

    # -- both ---------------------------------------------------------------------------------------------------------------------------

    def _start(self, leader: Pending) -> Selection | None:
        ego = ego_at(self._inbox, leader.stamp_ns)
        if ego is None:
            self._inbox.counters[leader.name].malformed["missing_pose"] += 1
            return None
        return Selection(self._inbox.epoch, leader.name, leader.stamp_ns, leader.arrival_ns, ego)

    def _matched(self, name: str, waiting: deque[Pending], selection: Selection) -> Pending | None:
        """The message of another input that belongs to a selection. An input of which none ever does is said to have another clock."""
        newest = waiting[-1] if waiting else None
        off_ns = min((abs(pending.stamp_ns - selection.stamp_ns) for pending in waiting), default=0)
        nearest = self._nearest(waiting, selection.stamp_ns)
        seen, count = self._unmatched.get(name, (0, 0))
        if nearest is not None:
            self._unmatched[name] = (0, -1)  # its clock is right, however seldom it comes
            self._inbox.counters[name].tell("match", None)
        elif newest is not None and newest.stamp_ns != seen and count >= 0:  # it goes on
            self._unmatched[name] = (newest.stamp_ns, count + 1)
            if count >= NEVER_MATCHED:
                told = (
                    f"none of its messages is within {self._match_ns / NANOSECONDS:.2f} s of one of {selection.leader}, the nearest is "
                    f"{off_ns / NANOSECONDS:.2f} s off: it is not used; synchronise its clock (PTP), or raise sensing.match_tolerance_s"
                )
                self._inbox.counters[name].tell("match", told)
        return nearest

    def _nearest(self, waiting: deque[Pending], stamp_ns: int) -> Pending | None:
        """The one nearest to a stamp, where it is near enough; those before it will not be needed."""
        nearest = min(waiting, key=lambda pending: abs(pending.stamp_ns - stamp_ns), default=None)
        if nearest is None or abs(nearest.stamp_ns - stamp_ns) > self._match_ns:
            return None
        while waiting[0] is not nearest:
            self._inbox.drop(waiting.popleft())
        return nearest

    def _base_from(self, pending: Pending) -> FloatArray | None:
        mount = self._look_up(pending)
        counters = self._inbox.counters[pending.name]
        if mount is None:
            counters.malformed["missing_transform"] += 1
            counters.notices["transform"] = (
                f"no transform from {pending.frame!r} to {self._inbox.base_frame!r}: publish it "
                "(static_transform_publisher, the robot's URDF), or give it in sensing.static_transforms"
            )
        else:
            counters.notices.pop("transform", None)
        return mount

    def _look_up(self, pending: Pending) -> FloatArray | None:
        try:
            return self._inbox.tree.lookup(self._inbox.base_frame, pending.frame, pending.stamp_ns, mounted=True)
        except TransformError:
            return None

    def _is_old(self, pending: Pending) -> bool:
        """Observations never go back in time within an epoch."""
        if self.taken_ns is None or pending.stamp_ns > self.taken_ns:
            return False
        self._inbox.counters[pending.name].stale += 1
        return True

    # -- waiting ------------------------------------------------------------------------------------------------------------------------

    def _waited(self, pending: Pending) -> bool:
        return self._clock_ns() - pending.arrival_ns >= self._wait_ns

    def _settled(self, sweep: Pending) -> bool:
        """Whether waiting could not bring a nearer image, a better pose, or another lidar's sweep where there is none yet."""
        stamp, inbox = sweep.stamp_ns, self._inbox
        return (
            self._odometry_settled(stamp)
            and all(self._image_settled(waiting, stamp) for name, waiting in inbox.images.items() if waiting and not self.is_lost(name))
            and all(self._sweep_settled(name, stamp) for name in self._heights if name != sweep.name and not self.is_lost(name))
        )

    def _image_settled(self, waiting: deque[Pending], stamp: int) -> bool:
        newest = waiting[-1].stamp_ns
        period = newest - waiting[-2].stamp_ns if len(waiting) > 1 else self._match_ns
        # The next image is expected a period after the newest: is that farther from the stamp?
        return newest >= stamp or newest + period - stamp >= stamp - newest

    def _sweep_settled(self, name: str, stamp: int) -> bool:
        return any(abs(sweep.stamp_ns - stamp) <= self._match_ns for sweep in self._inbox.sweeps.get(name, ()))

    def _sweeps_came(self, stamp: int) -> bool:
        """Whether every lidar that goes on has a sweep for an image of this stamp."""
        return all(self._sweep_settled(name, stamp) for name in self._inbox.sweeps if not self.is_lost(name))

    def _images_came(self, stamp: int) -> bool:
        """Whether every camera that is named has an image near this stamp, and no nearer one is expected."""
        there = [self._inbox.images.get(name) for name in self.cameras]
        return all(
            waiting and abs(waiting[-1].stamp_ns - stamp) <= self._match_ns and self._image_settled(waiting, stamp) for waiting in there
        )

    def _odometry_settled(self, stamp: int) -> bool:
        newest = self._inbox.ego.newest_ns
        return ego_at(self._inbox, stamp) is not None if newest is None else newest >= stamp - ODOMETRY_SETTLED_NS

    def _lidar_lost(self, stamp: int) -> bool:
        lidars = [counters for counters in self._inbox.counters.values() if counters.kind == "lidar"]
        cameras = [counters for counters in self._inbox.counters.values() if counters.kind == "camera"]
        good = [counters.good_stamp_ns or 0 for counters in lidars]
        since = max(good, default=0) or min((counters.first_stamp_ns for counters in cameras if counters.first_stamp_ns), default=stamp)
        return stamp - since > self._lost_ns
