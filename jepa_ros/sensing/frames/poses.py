"""Rigid poses as (4, 4) matrices: made from messages and text, inverted, interpolated. Rotations are SciPy's."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.spatial.transform import Rotation, Slerp

from jepa_ros.types import FloatArray

FARTHEST_M = 1e9  # UTM and ECEF coordinates stay below
QUATERNION_TOLERANCE = 0.1  # a norm this far from 1 is rounding or sloppiness; farther is garbage


def pose_matrix(position: Any, quaternion: Any) -> FloatArray:
    """(4, 4) of a position (x, y, z) in m and a quaternion (x, y, z, w).

    Slightly non-unit quaternions are normalised. Raises ValueError where a number is not finite or absurd,
    or the quaternion is far from unit length.
    """
    values = np.array([*position, *quaternion], np.float64)
    if not np.all(np.abs(values) < FARTHEST_M):  # False for NaN too
        raise ValueError(f"pose is not finite, or out of range: position {tuple(position)}, quaternion {tuple(quaternion)}")
    norm = float(np.linalg.norm(values[3:]))
    if abs(norm - 1.0) > QUATERNION_TOLERANCE:
        raise ValueError(f"quaternion {tuple(quaternion)} has norm {norm:.3g}; it must be 1")
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_quat(values[3:]).as_matrix()
    matrix[:3, 3] = values[:3]
    return matrix


def message_pose(pose: Any) -> FloatArray:
    """(4, 4) of a geometry_msgs/Pose or geometry_msgs/Transform. Raises ValueError like `pose_matrix`."""
    position = pose.position if hasattr(pose, "position") else pose.translation
    rotation = pose.orientation if hasattr(pose, "orientation") else pose.rotation
    return pose_matrix((position.x, position.y, position.z), (rotation.x, rotation.y, rotation.z, rotation.w))


def quaternion_of(rotation: FloatArray) -> FloatArray:
    """(4,) x, y, z, w of a rotation matrix."""
    return Rotation.from_matrix(rotation).as_quat()


def static_transform(text: str) -> tuple[str, str, FloatArray]:
    """(parent, child, parent_from_child) of 'parent child x y z roll pitch yaw', m and rad. Raises ValueError naming the text."""
    parts = text.split()
    try:
        x, y, z, roll, pitch, yaw = (float(part) for part in parts[2:])
    except ValueError:
        raise ValueError(f"static transform {text!r}: write 'parent child x y z roll pitch yaw', in m and rad") from None
    return parts[0], parts[1], pose_matrix((x, y, z), Rotation.from_euler("xyz", (roll, pitch, yaw)).as_quat())


def invert(pose: FloatArray) -> FloatArray:
    """The inverse of a rigid (4, 4) pose; its transpose is cheaper and closer than a general inverse."""
    inverse = np.eye(4)
    inverse[:3, :3] = pose[:3, :3].T
    inverse[:3, 3] = -pose[:3, :3].T @ pose[:3, 3]
    return inverse


def interpolate(first: FloatArray, second: FloatArray, fraction: float) -> FloatArray:
    """The rigid pose `fraction` of the way: position linear, rotation by slerp (Shoemake 1985)."""
    return interpolate_many(np.array([0.0, 1.0]), np.stack((first, second)), np.array([fraction]))[0]


def interpolate_many(times_T: FloatArray, poses_T44: FloatArray, at_K: FloatArray) -> FloatArray:
    """(K, 4, 4) poses at the times `at_K` between T poses at ascending `times_T`; beyond the ends, the end's pose."""
    at_K = np.clip(at_K, times_T[0], times_T[-1])
    poses_K44 = np.tile(np.eye(4), (len(at_K), 1, 1))
    poses_K44[:, :3, :3] = Slerp(times_T, Rotation.from_matrix(poses_T44[:, :3, :3]))(at_K).as_matrix()
    for axis in range(3):
        poses_K44[:, axis, 3] = np.interp(at_K, times_T, poses_T44[:, axis, 3])
    return poses_K44
