"""autoware_planning_msgs/Trajectory from a plan: places with the speed, turn and steering that are planned there."""

from __future__ import annotations

import math
from importlib.util import find_spec
from typing import Any

import numpy as np
from nav_msgs.msg import Path

from jepa_ros.ros.conversions import planar_pose_message
from jepa_ros.types import NANOSECONDS, Plan

STANDS_MPS = 0.05


def trajectory_type() -> type | None:
    """Trajectory; None where autoware_planning_msgs is not installed."""
    if find_spec("autoware_planning_msgs") is None:
        return None
    from autoware_planning_msgs.msg import Trajectory

    return Trajectory  # type: ignore[no-any-return]  # of a package that need not be there


def trajectory_of(path: Path, plan: Plan | None, start_mps: float, wheelbase_m: float) -> Any:
    """A point for each pose of the plan, with the header of its path; none where there is no plan, or it has no path.

    start_mps: forward speed at the first pose. wheelbase_m: of a vehicle that steers; 0 = it does not, and angles are 0. Raises
    ModuleNotFoundError where autoware_planning_msgs is not installed.
    """
    from autoware_planning_msgs.msg import Trajectory, TrajectoryPoint

    message = Trajectory(header=path.header)
    if plan is None or not len(plan.path):
        return message
    forward = np.append(start_mps, plan.commands[:, 0])
    aside = np.append(plan.commands[:1, 1], plan.commands[:, 1]) if plan.commands.shape[1] == 3 else np.zeros(len(forward))
    # What is commanded for a step holds from its beginning; at the end nothing is.
    turns = np.append(plan.commands[:, -1], 0.0)
    gains = np.append(np.diff(np.hypot(forward, aside)) / plan.dt_s, 0.0)
    for step, (x, y, yaw) in enumerate(plan.path.tolist()):
        point = TrajectoryPoint(pose=planar_pose_message(x, y, yaw))
        point.time_from_start.sec, point.time_from_start.nanosec = divmod(round(step * plan.dt_s * NANOSECONDS), NANOSECONDS)
        point.longitudinal_velocity_mps, point.lateral_velocity_mps = float(forward[step]), float(aside[step])
        point.acceleration_mps2, point.heading_rate_rps = float(gains[step]), float(turns[step])
        speed = 0.5 * (forward[step] + forward[min(step + 1, len(forward) - 1)])
        if wheelbase_m > 0.0 and abs(speed) > STANDS_MPS:
            point.front_wheel_angle_rad = math.atan(wheelbase_m * float(turns[step]) / float(speed))
        message.points.append(point)
    return message
