"""Checks whether the twist of an odometry agrees with its poses.

Some odometries never fill their twist, give it in the fixed frame, or in another unit; their poses are right all the same, since
somebody maps with them. So the poses are the judge: where the two disagree while the vehicle moves, the velocity is taken from the poses.
"""

from __future__ import annotations

from collections import deque

import numpy as np

from jepa_ros.sensing.frames.poses import invert
from jepa_ros.types import NANOSECONDS, EgoState, FloatArray

SPAN_NS = NANOSECONDS // 10  # a stretch of poses long enough that their noise is small against the way
STRETCHES, FEWEST = 5, 3  # the median of so many, from so many on; one jump of the poses is no motion
MOVING = 0.2  # m/s or rad/s; slower than that tells nothing
# On KITTI 0005 the largest median difference over SPAN_NS and STRETCHES is 0.04 m/s and 0.003 rad/s at 4.5 m/s (docs/log.md,
# "Frames and time"); a twist that is zero, turned by 30 degrees or in another unit is off by half of the speed or more.
TOLERANCE, SHARE = 0.15, 0.25  # m/s or rad/s, and of the speed


class TwistCheck:
    """Compares twist and poses as they come. Not thread-safe: the EgoHistory that owns it belongs to somebody who holds the lock."""

    def __init__(self) -> None:
        self.believed = True
        self._start: EgoState | None = None
        self._told: list[FloatArray] = []
        self._stretches: deque[FloatArray] = deque(maxlen=STRETCHES)  # (2, 3) each: vx, vy, yaw rate by the poses, and by the twist

    def add(self, state: EgoState) -> None:
        """One more state, later than those before."""
        if self._start is None or not 0 < state.stamp_ns - self._start.stamp_ns <= NANOSECONDS:
            self._start, self._told = state, []
            return
        self._told.append(_twist(state))
        span_ns = state.stamp_ns - self._start.stamp_ns
        if span_ns < SPAN_NS:
            return
        by_poses = twist_between(self._start.odom_from_base, state.odom_from_base, span_ns / NANOSECONDS)
        self._stretches.append(np.stack((by_poses, np.mean([_twist(self._start), *self._told], axis=0))))
        self._start, self._told = state, []
        self._judge()

    def forget(self) -> None:
        """Restart after a jump of time or of the poses; the verdict on the twist stays."""
        self._start = None
        self._stretches.clear()

    def explain(self) -> str:
        """What was seen, for the user; meaningful where the twist is not believed."""
        by_poses, told = np.median(np.stack(self._stretches), axis=0) if self._stretches else np.zeros((2, 3))
        return (
            f"twist [{told[0]:.2f} {told[1]:.2f}] m/s, {told[2]:.2f} rad/s against [{by_poses[0]:.2f} {by_poses[1]:.2f}] m/s, "
            f"{by_poses[2]:.2f} rad/s by its poses: the poses are used (REP-103: the twist is in child_frame_id, m/s and rad/s)"
        )

    def _judge(self) -> None:
        if len(self._stretches) < FEWEST:
            return
        by_poses, told = np.swapaxes(np.stack(self._stretches), 0, 1)
        off = np.abs(np.median(by_poses - told, axis=0))
        speed, turn = np.hypot(*np.median(by_poses[:, :2], axis=0)), abs(np.median(by_poses[:, 2]))
        told_speed, told_turn = np.hypot(*np.median(told[:, :2], axis=0)), abs(np.median(told[:, 2]))
        if np.hypot(*off[:2]) > TOLERANCE + SHARE * speed or off[2] > TOLERANCE + SHARE * turn:
            self.believed = False
        elif max(speed, turn) > MOVING and max(told_speed, told_turn) > MOVING:
            self.believed = True


def twist_between(earlier: FloatArray, later: FloatArray, dt_s: float) -> FloatArray:
    """(3,) mean vx, vy in m/s (base frame) and yaw rate in rad/s of a vehicle that came from `earlier` to `later` on an arc."""
    step = invert(earlier) @ later
    turn = np.arctan2(step[1, 0], step[0, 0])
    x, y = step[:2, 3]
    c, s = np.cos(turn / 2), np.sin(turn / 2)  # a chord of an arc has the heading of its middle
    return np.array([c * x + s * y, c * y - s * x, turn]) / dt_s


def _twist(state: EgoState) -> FloatArray:
    return np.array([*state.velocity_mps, state.yaw_rate_radps])
