"""Simulated measurements as ROS 2 messages: one source for bags and for the live node. Made with rosbags; needs no ROS 2."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from scipy.spatial.transform import Rotation

from jepa_ros.exchange.messages import (
    STATIC_TOPIC,
    camera_info_message,
    cloud_message,
    header,
    image_message,
    new,
    odometry_message,
    pose_message,
    tf_message,
    transform_message,
    vector,
)
from jepa_ros.sim.sensors.recording import Frame, Recorder
from jepa_ros.sim.sensors.rig import Odometer
from jepa_ros.sim.simulation import Agent
from jepa_ros.types import FloatArray

LIDAR_FRAME = "lidar"
MARKER_RGB = {"person": (0.9, 0.2, 0.2), "cyclist": (0.2, 0.8, 0.2), "car": (0.2, 0.4, 0.9)}


def topics(recorder: Recorder) -> dict[str, str]:
    """Topic -> message type of everything that a recorder's frames are written to."""
    found = {
        "/odom": "nav_msgs/msg/Odometry",
        "/tf": "tf2_msgs/msg/TFMessage",
        STATIC_TOPIC: "tf2_msgs/msg/TFMessage",
        "/ground_truth/odom": "nav_msgs/msg/Odometry",
        "/ground_truth/markers": "visualization_msgs/msg/MarkerArray",
    }
    if recorder.lidar:
        found["/lidar/points"] = "sensor_msgs/msg/PointCloud2"
    for index in range(len(recorder.rig.base_from_cameras)):
        found[f"{camera_namespace(index)}/image_raw"] = "sensor_msgs/msg/Image"
        found[f"{camera_namespace(index)}/camera_info"] = "sensor_msgs/msg/CameraInfo"
    return found


def static_messages(recorder: Recorder, stamp_ns: int) -> Iterator[tuple[str, Any]]:
    """(topic, message): where the sensors sit."""
    frames = [(LIDAR_FRAME, recorder.rig.base_from_lidar)]
    frames += [(camera_frame(i), pose) for i, pose in enumerate(recorder.rig.base_from_cameras)]
    yield STATIC_TOPIC, tf_message([transform_message("base_link", child, pose, stamp_ns) for child, pose in frames])


def motion_messages(odometer: Odometer, stamp_ns: int) -> Iterator[tuple[str, Any]]:
    """(topic, message) of what wheels and gyroscope say at one instant."""
    yield "/tf", tf_message([transform_message("odom", "base_link", odometer.odom_from_base, stamp_ns)])
    yield "/odom", odometry_message("odom", odometer.odom_from_base, odometer.speed_mps, odometer.yaw_rate_radps, stamp_ns)


def frame_messages(recorder: Recorder, frame: Frame, stamp_ns: int) -> Iterator[tuple[str, Any]]:
    """(topic, message) of everything measured at one instant; poses first, so that a listener can place what follows."""
    yield from motion_messages(recorder.odometer, stamp_ns)
    ego, rate = recorder.simulation.ego, recorder.simulation.ego_yaw_rate_radps
    yield "/ground_truth/odom", odometry_message("map", frame.start_from_base, ego.speed_mps, rate, stamp_ns)
    yield "/ground_truth/markers", _markers(frame.agents, stamp_ns)
    for index, image in enumerate(frame.images):
        assert recorder.camera is not None
        yield f"{camera_namespace(index)}/camera_info", camera_info_message(camera_frame(index), recorder.camera.model, stamp_ns)
        yield f"{camera_namespace(index)}/image_raw", image_message(camera_frame(index), image, stamp_ns)
    if frame.scan is not None:
        yield "/lidar/points", cloud_message(LIDAR_FRAME, frame.scan.points_m, frame.scan.intensity, frame.scan.ring, stamp_ns)


def camera_namespace(index: int) -> str:
    """/camera, then /camera_1 ... /camera_5."""
    return "/camera" if index == 0 else f"/camera_{index}"


def camera_frame(index: int) -> str:
    """The optical frame of a camera."""
    return camera_namespace(index)[1:] + "_optical_frame"


def _about_z(yaw_rad: float) -> FloatArray:
    return Rotation.from_euler("z", yaw_rad).as_matrix()


def _markers(agents: tuple[Agent, ...], stamp_ns: int) -> Any:
    empty_header = header("", 0)
    lifetime = new("builtin_interfaces/msg/Duration", 0, 500_000_000)
    mesh = new("visualization_msgs/msg/MeshFile", "", np.zeros(0, np.uint8))
    texture = new("sensor_msgs/msg/CompressedImage", empty_header, "", np.zeros(0, np.uint8))
    markers = []
    for agent in agents:
        colour = new("std_msgs/msg/ColorRGBA", *MARKER_RGB[agent.kind], 0.6)
        markers.append(
            new(
                "visualization_msgs/msg/Marker",
                *(
                    header("odom", stamp_ns),
                    agent.kind,
                    agent.id,
                    1,
                    0,
                    pose_message(agent.position_m, _about_z(agent.yaw_rad)),
                    vector(*agent.size_m),
                ),
                *(colour, lifetime, False, [], [], "", texture, [], "", "", mesh, False),
            )
        )
    return new("visualization_msgs/msg/MarkerArray", markers)
