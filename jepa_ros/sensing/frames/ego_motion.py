"""The vehicle's pose at any stamp, from odometry, or else from transforms."""

from __future__ import annotations

import numpy as np

from jepa_ros.sensing.frames.ego import finite_difference, follow
from jepa_ros.sensing.frames.odometry import fixed_from_told
from jepa_ros.sensing.frames.poses import invert
from jepa_ros.sensing.frames.transforms import TransformError
from jepa_ros.sensing.hub.inbox import Inbox
from jepa_ros.types import NANOSECONDS, EgoState, FloatArray

TWIST_BASELINE_NS = 100_000_000  # of the finite difference where transforms give the motion


def ego_at(inbox: Inbox, stamp: int) -> EgoState | None:
    """Ego state interpolated to a stamp, or None where neither odometry nor odom -> base transforms reach it."""
    state = inbox.ego.at(stamp)
    if state is not None and inbox.told_frame in ("", inbox.odom_frame):
        return state
    try:
        if state is not None:
            fixed = fixed_from_told(inbox.odom_frame, inbox.told_frame, stamp, inbox.tree)
            return EgoState(stamp, fixed @ state.odom_from_base, state.velocity_mps, state.yaw_rate_radps)
        if not inbox.told_frame and not inbox.config.odom_frame:
            inbox.odom_frame = _frame_of_transforms(inbox)
        now = inbox.tree.lookup(inbox.odom_frame, inbox.base_frame, stamp)
    except TransformError:
        return None
    try:
        earlier = inbox.tree.lookup(inbox.odom_frame, inbox.base_frame, stamp - TWIST_BASELINE_NS)
    except TransformError:
        return EgoState(stamp, now, np.zeros(2))
    return finite_difference(earlier, now, TWIST_BASELINE_NS / NANOSECONDS, stamp)


def _frame_of_transforms(inbox: Inbox) -> str:
    """The fixed frame where only transforms tell of the motion: `odom`, or where TF has none, the top of the tree (localisation alone)."""
    try:
        inbox.tree.lookup(inbox.odom_frame, inbox.base_frame, None)
    except TransformError:
        return inbox.tree.moving_root(inbox.base_frame) or inbox.odom_frame
    return inbox.odom_frame


def seen_from(inbox: Inbox, now: EgoState, stamp: int) -> FloatArray:
    """(4, 4) base now from base at another stamp; the identity where that pose is not known."""
    then = ego_at(inbox, stamp)
    return np.eye(4) if then is None else invert(now.odom_from_base) @ then.odom_from_base


def base_at(inbox: Inbox, now: EgoState, stamps: list[int]) -> FloatArray:
    """(K, 4, 4) base now from base at each stamp, by what is known and beyond that by the present twist."""
    poses_K44 = inbox.ego.track([now.stamp_ns, *stamps])
    if poses_K44 is None:
        states = [ego_at(inbox, stamp) or follow(now, stamp) for stamp in stamps]
        poses_K44 = np.stack([now.odom_from_base, *(state.odom_from_base for state in states)])
    return invert(poses_K44[0]) @ poses_K44[1:]
