"""The vehicle's own motion from odometry: kept for a while, asked for at any stamp."""

from __future__ import annotations

import bisect
from dataclasses import dataclass
from typing import Any

import numpy as np

from jepa_ros.sensing.decode.errors import MalformedMessage, stamp_ns
from jepa_ros.sensing.frames.transforms import interpolate, invert, message_pose
from jepa_ros.types import NANOSECONDS, EgoState, FloatArray

FASTEST = 1e4  # m/s or rad/s; no vehicle
MAX_GAP_NS = NANOSECONDS  # between two samples; what happened in a longer one is anyone's guess


@dataclass(frozen=True)
class OdometrySample:
    """One nav_msgs/Odometry, read."""

    odom_frame: str
    child_frame: str
    state: EgoState


def read_odometry(message: Any) -> OdometrySample:
    """Pose and twist of a nav_msgs/Odometry. Raises MalformedMessage("absurd_stamp" | "non_finite_pose")."""
    stamp = stamp_ns(message.header)
    twist = message.twist.twist
    velocity = np.array([twist.linear.x, twist.linear.y], np.float64)
    yaw_rate = float(twist.angular.z)
    try:
        pose = message_pose(message.pose.pose)
    except ValueError as error:
        raise MalformedMessage("non_finite_pose", str(error)) from None
    if not (np.all(np.abs(velocity) < FASTEST) and abs(yaw_rate) < FASTEST):
        raise MalformedMessage("non_finite_pose", f"twist {velocity}, yaw rate {yaw_rate}")
    state = EgoState(stamp, pose, velocity, yaw_rate)
    return OdometrySample(str(message.header.frame_id).lstrip("/"), str(message.child_frame_id).lstrip("/"), state)


class EgoHistory:
    """A bounded buffer of ego states, ordered by stamp. Not thread-safe: its owner holds the lock."""

    def __init__(self, buffer_s: float = 10.0, extrapolation_s: float = 0.2) -> None:
        """`extrapolation_s`: how far beyond the newest sample its twist is followed."""
        self._buffer_ns = round(buffer_s * NANOSECONDS)
        self._extrapolation_ns = round(extrapolation_s * NANOSECONDS)
        self._stamps_ns: list[int] = []
        self._states: list[EgoState] = []

    @property
    def newest_ns(self) -> int | None:
        return self._stamps_ns[-1] if self._stamps_ns else None

    def add(self, state: EgoState) -> None:
        """Keep a state; samples older than the buffer are forgotten."""
        at = bisect.bisect_left(self._stamps_ns, state.stamp_ns)
        if at < len(self._stamps_ns) and self._stamps_ns[at] == state.stamp_ns:
            self._states[at] = state
            return
        self._stamps_ns.insert(at, state.stamp_ns)
        self._states.insert(at, state)
        old = bisect.bisect_left(self._stamps_ns, self._stamps_ns[-1] - self._buffer_ns)
        del self._stamps_ns[:old], self._states[:old]

    def clear(self) -> None:
        self._stamps_ns, self._states = [], []

    def at(self, stamp: int) -> EgoState | None:
        """The state at a stamp, interpolated, or extrapolated by the twist a little way; None where neither reaches."""
        if not self._stamps_ns:
            return None
        after = bisect.bisect_left(self._stamps_ns, stamp)
        if after < len(self._stamps_ns) and self._stamps_ns[after] == stamp:
            return self._states[after]
        around = self._states[max(after - 1, 0) : after + 1]
        if len(around) == 2 and around[1].stamp_ns - around[0].stamp_ns <= MAX_GAP_NS:
            return _between(around[0], around[1], stamp)
        nearest = min(around, key=lambda state: abs(state.stamp_ns - stamp))
        if abs(stamp - nearest.stamp_ns) > self._extrapolation_ns:
            return None
        return _follow(nearest, stamp)


def finite_difference(earlier: FloatArray, now: FloatArray, dt_s: float, stamp: int) -> EgoState:
    """Ego state at `now` with the mean twist since `earlier`, `dt_s` before."""
    step = invert(earlier) @ now
    yaw_rate = float(np.arctan2(step[1, 0], step[0, 0])) / dt_s
    displacement = now[:3, :3].T @ (now[:3, 3] - earlier[:3, 3])
    return EgoState(stamp, now, displacement[:2] / dt_s, yaw_rate)


def _between(first: EgoState, second: EgoState, stamp: int) -> EgoState:
    fraction = (stamp - first.stamp_ns) / (second.stamp_ns - first.stamp_ns)
    return EgoState(
        stamp,
        interpolate(first.odom_from_base, second.odom_from_base, fraction),
        first.velocity_mps + fraction * (second.velocity_mps - first.velocity_mps),
        first.yaw_rate_radps + fraction * (second.yaw_rate_radps - first.yaw_rate_radps),
    )


def _follow(state: EgoState, stamp: int) -> EgoState:
    """Constant twist in the plane of the base; midpoint heading, exact to second order."""
    dt_s = (stamp - state.stamp_ns) / NANOSECONDS
    turn = state.yaw_rate_radps * dt_s
    motion = np.eye(4)
    motion[:2, :2] = _planar(turn)
    motion[:2, 3] = _planar(turn / 2) @ (state.velocity_mps * dt_s)
    return EgoState(stamp, state.odom_from_base @ motion, state.velocity_mps, state.yaw_rate_radps)


def _planar(angle: float) -> FloatArray:
    return np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
