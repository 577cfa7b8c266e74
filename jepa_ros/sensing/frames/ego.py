"""The vehicle's own motion from odometry: kept for a while, interpolated at any stamp."""

from __future__ import annotations

import bisect
from dataclasses import dataclass
from typing import Any

import numpy as np

from jepa_ros.sensing.decode.errors import MalformedMessage, stamp_ns
from jepa_ros.sensing.frames.poses import interpolate, interpolate_many, message_pose
from jepa_ros.sensing.frames.twist_check import SPAN_NS, TwistCheck, twist_between
from jepa_ros.types import NANOSECONDS, EgoState, FloatArray

FASTEST = 1e4  # m/s or rad/s; no vehicle
MAX_GAP_NS = NANOSECONDS  # between two samples; what happened in a longer one is anyone's guess


@dataclass(frozen=True)
class OdometrySample:
    """One nav_msgs/Odometry, read."""

    odom_frame: str
    child_frame: str
    state: EgoState  # pose of the child frame in the odometry's frame, twist in the child frame
    has_twist: bool = True  # False: it was not finite, and is zero in `state`


def read_odometry(message: Any) -> OdometrySample:
    """Pose and twist of a nav_msgs/Odometry. Raises MalformedMessage("absurd_stamp" | "non_finite_pose").

    A twist that is not finite counts as not filled: drivers write NaN where they measure no velocity.
    """
    stamp = stamp_ns(message.header)
    twist = message.twist.twist
    told = np.array([twist.linear.x, twist.linear.y, twist.angular.z], np.float64)
    has_twist = bool(np.isfinite(told).all())
    told = told if has_twist else np.zeros(3)
    try:
        pose = message_pose(message.pose.pose)
    except ValueError as error:
        raise MalformedMessage("non_finite_pose", str(error)) from None
    if not np.all(np.abs(told) < FASTEST):
        raise MalformedMessage("non_finite_pose", f"twist {told}: the units are m/s and rad/s")
    state = EgoState(stamp, pose, told[:2], float(told[2]))
    return OdometrySample(str(message.header.frame_id).lstrip("/"), str(message.child_frame_id).lstrip("/"), state, has_twist)


def carried(state: EgoState, child_from_base: FloatArray) -> EgoState:
    """The state of the base, where `state` is that of another frame of the same rigid vehicle."""
    # Rigidly joined: same yaw rate; the velocity of the base's origin and axes.
    x, y = child_from_base[:2, 3]
    velocity = state.velocity_mps + state.yaw_rate_radps * np.array([-y, x])
    level = child_from_base[:2, :2]
    # A frame that hangs upside down turns the other way round.
    turning = 1.0 if child_from_base[2, 2] >= 0.0 else -1.0
    return EgoState(state.stamp_ns, state.odom_from_base @ child_from_base, level.T @ velocity, turning * state.yaw_rate_radps)


class EgoHistory:
    """A bounded buffer of ego states, ordered by stamp. Not thread-safe: its owner holds the lock."""

    def __init__(self, buffer_s: float = 10.0, extrapolation_s: float = 0.2) -> None:
        """`extrapolation_s`: how far beyond the newest sample its twist is followed."""
        self.twist = TwistCheck()
        self._buffer_ns = round(buffer_s * NANOSECONDS)
        self._extrapolation_ns = round(extrapolation_s * NANOSECONDS)
        self._stamps_ns: list[int] = []
        self._states: list[EgoState] = []

    @property
    def newest_ns(self) -> int | None:
        return self._stamps_ns[-1] if self._stamps_ns else None

    def add(self, state: EgoState, has_twist: bool = True) -> None:
        """Keep a state; samples older than the buffer are forgotten. `has_twist` False: its velocity is not known."""
        self.twist.believed &= has_twist
        at = bisect.bisect_left(self._stamps_ns, state.stamp_ns)
        if at < len(self._stamps_ns) and self._stamps_ns[at] == state.stamp_ns:
            self._states[at] = state
            return
        if at == len(self._stamps_ns):
            self.twist.add(state)
        self._stamps_ns.insert(at, state.stamp_ns)
        self._states.insert(at, state)
        old = bisect.bisect_left(self._stamps_ns, self._stamps_ns[-1] - self._buffer_ns)
        del self._stamps_ns[:old], self._states[:old]

    def clear(self) -> None:
        self._stamps_ns, self._states = [], []
        self.twist.forget()

    def at(self, stamp: int) -> EgoState | None:
        """The state at a stamp, interpolated, or extrapolated a little way; None where neither reaches.

        Its velocity is the twist of the odometry, or that of the poses where the twist contradicts them.
        """
        if not self._stamps_ns:
            return None
        after = bisect.bisect_left(self._stamps_ns, stamp)
        if after < len(self._stamps_ns) and self._stamps_ns[after] == stamp:
            return self._told(self._states[after])
        around = self._states[max(after - 1, 0) : after + 1]
        if len(around) == 2 and around[1].stamp_ns - around[0].stamp_ns <= MAX_GAP_NS:
            return self._told(_between(around[0], around[1], stamp))
        nearest = min(around, key=lambda state: abs(state.stamp_ns - stamp))
        if abs(stamp - nearest.stamp_ns) > self._extrapolation_ns:
            return None
        return follow(self._told(nearest), stamp)

    def track(self, stamps: list[int]) -> FloatArray | None:
        """(K, 4, 4) poses at several stamps, in one go; None where they are not known at all of them."""
        ends = [self.at(min(stamps)), self.at(max(stamps))]
        if any(end is None for end in ends):
            return None
        inside = self._states[bisect.bisect_right(self._stamps_ns, min(stamps)) : bisect.bisect_left(self._stamps_ns, max(stamps))]
        states = [state for state in (ends[0], *inside, ends[1]) if state is not None]
        times_T = np.array([(state.stamp_ns - stamps[0]) / NANOSECONDS for state in states])
        if len(states) == 2 and times_T[0] == times_T[1]:
            return np.tile(states[0].odom_from_base, (len(stamps), 1, 1))
        at_K = np.array([(stamp - stamps[0]) / NANOSECONDS for stamp in stamps])
        return interpolate_many(times_T, np.stack([state.odom_from_base for state in states]), at_K)

    def newest(self) -> EgoState | None:
        """The state at the newest sample."""
        return self._told(self._states[-1]) if self._states else None

    def _told(self, state: EgoState) -> EgoState:
        """The state, with a velocity that its neighbours' poses bear out."""
        if self.twist.believed:
            return state
        stamps = self._stamps_ns
        first = max(bisect.bisect_right(stamps, state.stamp_ns - SPAN_NS) - 1, 0)
        last = min(bisect.bisect_left(stamps, state.stamp_ns + SPAN_NS), len(stamps) - 1)
        span_ns = stamps[last] - stamps[first]
        if not 0 < span_ns <= 2 * MAX_GAP_NS:
            return state
        vx, vy, turn = twist_between(self._states[first].odom_from_base, self._states[last].odom_from_base, span_ns / NANOSECONDS)
        return EgoState(state.stamp_ns, state.odom_from_base, np.array([vx, vy]), float(turn))


def finite_difference(earlier: FloatArray, now: FloatArray, dt_s: float, stamp: int) -> EgoState:
    """Ego state at `now` with the mean twist since `earlier`, `dt_s` before."""
    vx, vy, turn = twist_between(earlier, now, dt_s)
    return EgoState(stamp, now, np.array([vx, vy]), float(turn))


def follow(state: EgoState, stamp: int) -> EgoState:
    """Constant twist in the plane of the base; midpoint heading, exact to second order."""
    dt_s = (stamp - state.stamp_ns) / NANOSECONDS
    turn = state.yaw_rate_radps * dt_s
    motion = np.eye(4)
    motion[:2, :2] = _planar(turn)
    motion[:2, 3] = _planar(turn / 2) @ (state.velocity_mps * dt_s)
    return EgoState(stamp, state.odom_from_base @ motion, state.velocity_mps, state.yaw_rate_radps)


def _between(first: EgoState, second: EgoState, stamp: int) -> EgoState:
    fraction = (stamp - first.stamp_ns) / (second.stamp_ns - first.stamp_ns)
    return EgoState(
        stamp,
        interpolate(first.odom_from_base, second.odom_from_base, fraction),
        first.velocity_mps + fraction * (second.velocity_mps - first.velocity_mps),
        first.yaw_rate_radps + fraction * (second.yaw_rate_radps - first.yaw_rate_radps),
    )


def _planar(angle: float) -> FloatArray:
    return np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
