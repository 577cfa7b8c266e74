"""A robot's recording as a bag: odometry, TF, cameras and a lidar, from arrays."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from jepa_ros.exchange.bag_writer import Write, new_bag
from jepa_ros.exchange.messages import (
    STATIC_TOPIC,
    camera_info_message,
    cloud_message,
    image_message,
    odometry_message,
    tf_message,
    transform_message,
)
from jepa_ros.types import CameraModel, FloatArray

LIDAR_TOPIC, LIDAR_FRAME = "/lidar/points", "lidar"


@dataclass(frozen=True)
class Mounted:
    """A camera and where it sits."""

    model: CameraModel
    base_from_camera: FloatArray  # (4, 4) optical frame


class RobotBag:
    """Writes measurements of one robot; `open_robot_bag` makes it."""

    def __init__(self, write: Write, cameras: Mapping[str, Mounted], base_from_lidar: FloatArray | None) -> None:
        self._write = write
        self._cameras = cameras
        self._base_from_lidar = base_from_lidar
        self._begun = False

    def place(self, stamp_ns: int, odom_from_base: FloatArray, speed_mps: float, yaw_rate_radps: float) -> None:
        """Write the robot's pose; call it before the sensor data of the same stamp."""
        if not self._begun:
            mounts = [(frame_of(name), camera.base_from_camera) for name, camera in self._cameras.items()]
            mounts += [(LIDAR_FRAME, self._base_from_lidar)] if self._base_from_lidar is not None else []
            static = [transform_message("base_link", child, pose, stamp_ns) for child, pose in mounts]
            self._write(stamp_ns, [(STATIC_TOPIC, tf_message(static))])
            self._begun = True
        odometry = odometry_message("odom", odom_from_base, speed_mps, yaw_rate_radps, stamp_ns)
        tf = tf_message([transform_message("odom", "base_link", odom_from_base, stamp_ns)])
        self._write(stamp_ns, [("/odom", odometry), ("/tf", tf)])

    def image(self, stamp_ns: int, name: str, rgb: np.ndarray) -> None:
        info = camera_info_message(frame_of(name), self._cameras[name].model, stamp_ns)
        picture = image_message(frame_of(name), np.ascontiguousarray(rgb), stamp_ns)
        self._write(stamp_ns, [(f"/{name}/camera_info", info), (f"/{name}/image_raw", picture)])

    def sweep(self, stamp_ns: int, points_m: FloatArray, intensity: FloatArray) -> None:
        """points_m: (N, 3) in the lidar's frame."""
        cloud = cloud_message(LIDAR_FRAME, points_m, intensity, np.zeros(len(points_m), np.uint16), stamp_ns)
        self._write(stamp_ns, [(LIDAR_TOPIC, cloud)])

    def say(self, stamp_ns: int, topic: str, message: Any) -> None:
        """On one of the further topics."""
        self._write(stamp_ns, [(topic, message)])


@contextmanager
def open_robot_bag(
    path: Path, cameras: Mapping[str, Mounted], base_from_lidar: FloatArray | None, further: Mapping[str, str] | None = None
) -> Iterator[RobotBag]:
    """A new bag at `path`. base_from_lidar: None = no lidar. further: more topics -> types. Raises ValueError where `path` exists."""
    topics = {"/odom": "nav_msgs/msg/Odometry", "/tf": "tf2_msgs/msg/TFMessage", STATIC_TOPIC: "tf2_msgs/msg/TFMessage", **(further or {})}
    for name in cameras:
        topics |= {f"/{name}/image_raw": "sensor_msgs/msg/Image", f"/{name}/camera_info": "sensor_msgs/msg/CameraInfo"}
    if base_from_lidar is not None:
        topics[LIDAR_TOPIC] = "sensor_msgs/msg/PointCloud2"
    with new_bag(path, topics) as write:
        yield RobotBag(write, cameras, base_from_lidar)


def frame_of(camera: str) -> str:
    """The optical frame of a camera."""
    return f"{camera}_optical_frame"
