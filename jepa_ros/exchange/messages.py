"""Measurements as ROS 2 messages, made with rosbags: for writing bags where there is no ROS 2."""

from __future__ import annotations

from typing import Any

import numpy as np
from rosbags.typesys import Stores, get_typestore
from scipy.spatial.transform import Rotation

from jepa_ros.types import NANOSECONDS, CameraModel, FloatArray

STORE = get_typestore(Stores.ROS2_JAZZY)
STATIC_TOPIC = "/tf_static"


def new(kind: str, *args: Any) -> Any:
    """A message by its type's name, from all its fields in order."""
    return STORE.types[kind](*args)


def header(frame: str, stamp_ns: int) -> Any:
    """std_msgs/Header."""
    stamp = new("builtin_interfaces/msg/Time", stamp_ns // NANOSECONDS, stamp_ns % NANOSECONDS)
    return new("std_msgs/msg/Header", stamp, frame)


def vector(x: float, y: float, z: float) -> Any:
    """geometry_msgs/Vector3."""
    return new("geometry_msgs/msg/Vector3", float(x), float(y), float(z))


def quaternion(rotation: FloatArray) -> Any:
    """Of a (3, 3) rotation."""
    return new("geometry_msgs/msg/Quaternion", *(float(part) for part in Rotation.from_matrix(rotation).as_quat()))


def pose_message(position: FloatArray, rotation: FloatArray) -> Any:
    """position: (3,) m; rotation: (3, 3)."""
    point = new("geometry_msgs/msg/Point", *(float(p) for p in position))
    return new("geometry_msgs/msg/Pose", point, quaternion(rotation))


def transform_message(parent: str, child: str, pose: FloatArray, stamp_ns: int) -> Any:
    """pose: (4, 4) parent_from_child."""
    transform = new("geometry_msgs/msg/Transform", vector(*pose[:3, 3]), quaternion(pose[:3, :3]))
    return new("geometry_msgs/msg/TransformStamped", header(parent, stamp_ns), child, transform)


def tf_message(transforms: list[Any]) -> Any:
    """tf2_msgs/TFMessage."""
    return new("tf2_msgs/msg/TFMessage", transforms)


def odometry_message(parent: str, pose: FloatArray, speed: float, yaw_rate: float, stamp_ns: int) -> Any:
    """Of base_link; pose: (4, 4) parent_from_base. m/s, rad/s."""
    twist = new("geometry_msgs/msg/Twist", vector(speed, 0.0, 0.0), vector(0.0, 0.0, yaw_rate))
    covariance = np.diag([0.01, 0.01, 0.0, 0.0, 0.0, 0.001]).ravel()
    with_pose = new("geometry_msgs/msg/PoseWithCovariance", pose_message(pose[:3, 3], pose[:3, :3]), covariance)
    with_twist = new("geometry_msgs/msg/TwistWithCovariance", twist, covariance)
    return new("nav_msgs/msg/Odometry", header(parent, stamp_ns), "base_link", with_pose, with_twist)


def image_message(frame: str, rgb: np.ndarray, stamp_ns: int) -> Any:
    """rgb8; rgb: (height, width, 3) uint8."""
    height, width = rgb.shape[:2]
    return new("sensor_msgs/msg/Image", header(frame, stamp_ns), height, width, "rgb8", 0, 3 * width, rgb.reshape(-1))


def camera_info_message(frame: str, model: CameraModel, stamp_ns: int) -> Any:
    """The raw image's."""
    projection = np.hstack([model.intrinsics, np.zeros((3, 1))]).ravel()
    region = new("sensor_msgs/msg/RegionOfInterest", 0, 0, 0, 0, False)
    return new(
        "sensor_msgs/msg/CameraInfo",
        *(
            header(frame, stamp_ns),
            model.height,
            model.width,
            model.distortion_model,
            model.distortion,
            model.intrinsics.ravel(),
        ),
        *(np.eye(3).ravel(), projection, 0, 0, region),
    )


def cloud_message(frame: str, points_m: FloatArray, intensity: FloatArray, ring: np.ndarray, stamp_ns: int) -> Any:
    """x, y, z, intensity, ring; points_m: (N, 3)."""
    layout = {"x": "<f4", "y": "<f4", "z": "<f4", "intensity": "<f4", "ring": "<u2"}
    cloud = np.zeros(len(points_m), np.dtype(list(layout.items()), align=True))
    cloud["x"], cloud["y"], cloud["z"] = points_m.T
    cloud["intensity"], cloud["ring"] = intensity, ring
    codes = {"<f4": 7, "<u2": 4}  # PointField.FLOAT32, UINT16
    fields = [new("sensor_msgs/msg/PointField", name, 4 * i, codes[code], 1) for i, (name, code) in enumerate(layout.items())]
    data, step = cloud.view(np.uint8), cloud.itemsize
    return new("sensor_msgs/msg/PointCloud2", header(frame, stamp_ns), 1, len(cloud), fields, False, step, len(data), data, True)
