"""Transforms by tf2, where it is installed: it keeps the graph and interpolates.

Our own subscriptions feed it. Its TransformListener would read messages with the generated code, where bytes that are no message can
end the process; so, too, everything that is refused on the way in is counted for the diagnostics.
"""

from __future__ import annotations

import numpy as np
from geometry_msgs.msg import Quaternion, Transform, TransformStamped, Vector3
from rclpy.duration import Duration
from rclpy.time import Time

from jepa_ros.ros.stamps import header_message
from jepa_ros.sensing import TransformError
from jepa_ros.sensing.frames.poses import message_pose, quaternion_of
from jepa_ros.sensing.frames.transforms import HOLD_S, SAME_MOUNT, TransformLoop, Transforms
from jepa_ros.types import NANOSECONDS, FloatArray

try:
    import tf2_ros
except ImportError:  # no wheels carry it
    tf2_ros = None

AUTHORITY = "jepa_ros"


def installed_transforms(buffer_s: float) -> Transforms | None:
    """tf2's, keeping moving edges for `buffer_s`; None where tf2_ros is not installed."""
    return Tf2Transforms(buffer_s) if tf2_ros else None


class Tf2Transforms:
    """A tf2_ros.Buffer as a `Transforms`. Not thread-safe: its owner holds the lock."""

    def __init__(self, buffer_s: float, hold_s: float = HOLD_S) -> None:
        """`buffer_s`: how far back moving edges are kept; `hold_s`: how far beyond the newest pose that is taken for a later one."""
        self._buffer = tf2_ros.Buffer(Duration(seconds=buffer_s))
        self._buffer_ns = round(buffer_s * NANOSECONDS)
        self._hold_ns = round(hold_s * NANOSECONDS)
        self._newest_ns: dict[str, int] = {}  # of each moving child
        self._joined: dict[str, tuple[str, FloatArray]] = {}  # child -> its newest parent and pose there
        self._moved: set[str] = set()  # children on /tf whose pose has changed
        self.notices: dict[str, str] = {}

    def add(self, parent: str, child: str, parent_from_child: FloatArray, stamp_ns: int | None) -> None:
        """Add a pose of `child` in `parent`; `stamp_ns` None = it holds always.

        An edge whose time falls back beyond the buffer clears all moving ones: tf2 would ignore it until its time is reached again.
        Raises ValueError where the pose is not finite or a name is missing, TransformLoop where an edge leads to itself. Longer loops are
        tf2's.
        """
        parent, child = parent.lstrip("/"), child.lstrip("/")
        if not np.isfinite(parent_from_child).all():
            raise ValueError(f"transform {parent} -> {child} is not finite")
        if not child or not parent:
            raise ValueError(f"transform {parent!r} -> {child!r} has a frame without a name")
        if child == parent:
            raise TransformLoop(f"transform {parent!r} -> {child!r} leads to itself")
        self._watch(parent, child, parent_from_child)
        stamped = TransformStamped(
            header=header_message(stamp_ns or 0, parent), child_frame_id=child, transform=_message(parent_from_child)
        )
        if stamp_ns is None:
            self._buffer.set_transform_static(stamped, AUTHORITY)
            return
        newest_ns = self._newest_ns.get(child, stamp_ns)
        if stamp_ns < newest_ns - self._buffer_ns:
            self.clear()
            newest_ns = stamp_ns
        self._newest_ns[child] = max(newest_ns, stamp_ns)
        self._buffer.set_transform(stamped, AUTHORITY)

    def clear(self) -> None:
        """Forget all moving edges (after a jump in time); tf2 keeps the static ones."""
        self._buffer.clear()
        self._newest_ns.clear()
        self._moved.clear()

    def lookup(self, target: str, source: str, stamp_ns: int | None, mounted: bool = False) -> FloatArray:
        """(4, 4) target_from_source at `stamp_ns`; None = the newest that all edges between them have. Raises TransformError.

        `mounted`: the frames are joined by a rig: edges on /tf whose poses have never changed hold at any time.
        """
        target, source = target.lstrip("/"), source.lstrip("/")
        if target == source:  # also where tf2 has never heard of it
            return np.eye(4)
        if stamp_ns is not None and stamp_ns <= 0:  # tf2 takes 0 for the newest
            raise TransformError(f"no transform from {source!r} to {target!r} at {stamp_ns} ns: stamps are above 0")
        try:
            newest_ns = self._buffer.get_latest_common_time(target, source).nanoseconds
            held = mounted and not self._moved & (self._above(target) ^ self._above(source))
            if stamp_ns is None or held or 0 <= stamp_ns - newest_ns <= self._hold_ns:
                stamp_ns = newest_ns
            return message_pose(self._buffer.lookup_transform(target, source, Time(nanoseconds=stamp_ns)).transform)
        except (tf2_ros.TransformException, ValueError) as error:
            raise TransformError(f"no transform from {source!r} to {target!r}: {error}") from None

    def moving_root(self, frame: str) -> str | None:
        """The frame at the top of the tree in which `frame` moves; None where no moving edge is above it."""
        chain = [frame.lstrip("/")]
        while chain[-1] in self._joined and (parent := self._joined[chain[-1]][0]) not in chain:
            chain.append(parent)
        return chain[-1] if any(child in self._newest_ns for child in chain[:-1]) else None

    def _watch(self, parent: str, child: str, pose: FloatArray) -> None:
        """What tf2 keeps to itself: frames that change their parent, and mounts that are on /tf and never move."""
        joined = self._joined.get(child)
        if joined is not None and joined[0] != parent:
            self.notices[f"{child} parents"] = (
                f"frame {child} has several parents: {joined[0]} and {parent}; tf2 uses the one published last"
            )
        elif joined is not None and np.abs(joined[1] - pose).max() > SAME_MOUNT:
            self._moved.add(child)
        self._joined[child] = (parent, pose)

    def _above(self, frame: str) -> set[str]:
        chain = [frame]
        while chain[-1] in self._joined and (parent := self._joined[chain[-1]][0]) not in chain:
            chain.append(parent)
        return set(chain)


def _message(pose: FloatArray) -> Transform:
    x, y, z, w = quaternion_of(pose[:3, :3]).tolist()
    return Transform(translation=Vector3(**dict(zip("xyz", pose[:3, 3].tolist(), strict=True))), rotation=Quaternion(x=x, y=y, z=z, w=w))
