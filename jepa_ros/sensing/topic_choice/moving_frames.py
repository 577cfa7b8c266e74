"""Which frames move with the vehicle. Poses are kept only to see what moves, and which sensors are beside each other."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from jepa_ros.sensing.frames.poses import invert, message_pose
from jepa_ros.types import FloatArray

FIXED = frozenset(("map", "odom", "world", "earth"))  # REP-105
MOST_FRAMES = 1024  # names come from anybody
STILL = 1e-6  # m and parts of a quaternion


@dataclass
class _Joint:
    parent: str
    pose: Any  # the newest geometry_msgs/Transform
    values: tuple[float, ...]
    moves: bool = False


class FrameBook:
    """The tree of frames by name, and which of its joints have moved."""

    def __init__(self) -> None:
        self._joints: dict[str, _Joint] = {}

    def __contains__(self, frame: str) -> bool:
        return frame in self._joints or any(joint.parent == frame for joint in self._joints.values())

    def look(self, message: Any) -> None:
        """A tf2_msgs/TFMessage of /tf or /tf_static. Never raises."""
        try:
            for edge in message.transforms:
                self._note(str(edge.header.frame_id).lstrip("/"), str(edge.child_frame_id).lstrip("/"), edge.transform)
        except (AttributeError, TypeError, ValueError):
            return

    def rides(self, frame: str, base: str, odom: str) -> bool | None:
        """Whether `frame` moves with the vehicle whose frame is `base` and whose odometry is in `odom`; None = TF does not join them."""
        if frame == base:
            return True
        if frame == odom or (frame in FIXED and frame != base):
            return False
        chain, base_chain = self._chain(frame), self._chain(base)
        if not set(chain) & set(base_chain):
            return None
        return self._vehicle(base_chain, odom) in chain

    def pose(self, target: str, source: str) -> FloatArray | None:
        """(4, 4) target_from_source by the newest poses; None where TF does not join them."""
        chain, target_chain = self._chain(source), self._chain(target)
        common = next((frame for frame in chain if frame in target_chain), None)
        if common is None:
            return None
        try:
            return invert(self._climb(target_chain, common)) @ self._climb(chain, common)
        except ValueError:
            return None

    def _note(self, parent: str, child: str, pose: Any) -> None:
        if not parent or not child or parent == child:
            return
        known = self._joints.get(child)
        if known is None and len(self._joints) >= MOST_FRAMES:
            return
        if known is None and child in self._chain(parent):
            return
        t, q = pose.translation, pose.rotation
        values = (t.x, t.y, t.z, q.x, q.y, q.z, q.w)
        if known is None:
            self._joints[child] = _Joint(parent, pose, values)
        elif known.parent == parent:
            known.moves |= any(abs(a - b) > STILL for a, b in zip(values, known.values, strict=True))
            known.pose, known.values = pose, values

    def _chain(self, frame: str) -> list[str]:
        chain = [frame]
        while chain[-1] in self._joints and len(chain) <= MOST_FRAMES:
            chain.append(self._joints[chain[-1]].parent)
        return chain

    def _vehicle(self, base_chain: list[str], odom: str) -> str:
        """The topmost frame that is still part of the vehicle."""
        fixed = next((index for index, frame in enumerate(base_chain) if frame == odom or (index and frame in FIXED)), None)
        if fixed:
            return base_chain[fixed - 1]
        for index, frame in enumerate(base_chain[:-1]):
            if self._joints[frame].moves:
                return base_chain[index]
        return base_chain[-1]

    def _climb(self, chain: list[str], top: str) -> FloatArray:
        pose = np.eye(4)
        for frame in chain[: chain.index(top)]:
            pose = message_pose(self._joints[frame].pose) @ pose
        return pose
