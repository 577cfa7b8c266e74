"""Simulated measurements as ROS 2 messages: one source for bags and for the live node. Made with rosbags; needs no ROS 2."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from rosbags.typesys import Stores, get_typestore
from scipy.spatial.transform import Rotation

from jepa_ros.sim.sensors.recording import Frame, Recorder
from jepa_ros.sim.sensors.rig import Camera
from jepa_ros.sim.simulation import Agent
from jepa_ros.types import NANOSECONDS, FloatArray

STORE = get_typestore(Stores.ROS2_JAZZY)
STATIC_TOPIC = "/tf_static"
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
    yield STATIC_TOPIC, _tf([_transform("base_link", child, pose, stamp_ns) for child, pose in frames])


def frame_messages(recorder: Recorder, frame: Frame, stamp_ns: int) -> Iterator[tuple[str, Any]]:
    """(topic, message) of everything measured at one instant; poses first, so that a listener can place what follows."""
    yield "/tf", _tf([_transform("odom", "base_link", frame.odom_from_base, stamp_ns)])
    yield "/odom", _odometry("odom", frame.odom_from_base, frame.speed_mps, frame.yaw_rate_radps, stamp_ns)
    ego, rate = recorder.simulation.ego, recorder.simulation.ego_yaw_rate_radps
    yield "/ground_truth/odom", _odometry("map", frame.start_from_base, ego.speed_mps, rate, stamp_ns)
    yield "/ground_truth/markers", _markers(frame.agents, stamp_ns)
    for index, image in enumerate(frame.images):
        assert recorder.camera is not None
        yield f"{camera_namespace(index)}/camera_info", _camera_info(recorder.camera, index, stamp_ns)
        yield f"{camera_namespace(index)}/image_raw", _image(image, index, stamp_ns)
    if frame.scan is not None:
        yield "/lidar/points", _cloud(frame.scan.points_m, frame.scan.intensity, frame.scan.ring, stamp_ns)


def camera_namespace(index: int) -> str:
    """/camera, then /camera_1 ... /camera_5."""
    return "/camera" if index == 0 else f"/camera_{index}"


def camera_frame(index: int) -> str:
    """The optical frame of a camera."""
    return camera_namespace(index)[1:] + "_optical_frame"


def _new(kind: str, *args: Any) -> Any:
    return STORE.types[kind](*args)


def _header(frame: str, stamp_ns: int) -> Any:
    stamp = _new("builtin_interfaces/msg/Time", stamp_ns // NANOSECONDS, stamp_ns % NANOSECONDS)
    return _new("std_msgs/msg/Header", stamp, frame)


def _vector(x: float, y: float, z: float) -> Any:
    return _new("geometry_msgs/msg/Vector3", float(x), float(y), float(z))


def _quaternion(rotation: FloatArray) -> Any:
    return _new("geometry_msgs/msg/Quaternion", *(float(part) for part in Rotation.from_matrix(rotation).as_quat()))


def _about_z(yaw_rad: float) -> FloatArray:
    return Rotation.from_euler("z", yaw_rad).as_matrix()


def _pose(position: FloatArray, rotation: FloatArray) -> Any:
    point = _new("geometry_msgs/msg/Point", *(float(p) for p in position))
    return _new("geometry_msgs/msg/Pose", point, _quaternion(rotation))


def _transform(parent: str, child: str, pose: FloatArray, stamp_ns: int) -> Any:
    transform = _new("geometry_msgs/msg/Transform", _vector(*pose[:3, 3]), _quaternion(pose[:3, :3]))
    return _new("geometry_msgs/msg/TransformStamped", _header(parent, stamp_ns), child, transform)


def _tf(transforms: list[Any]) -> Any:
    return _new("tf2_msgs/msg/TFMessage", transforms)


def _odometry(parent: str, pose: FloatArray, speed: float, yaw_rate: float, stamp_ns: int) -> Any:
    twist = _new("geometry_msgs/msg/Twist", _vector(speed, 0.0, 0.0), _vector(0.0, 0.0, yaw_rate))
    covariance = np.diag([0.01, 0.01, 0.0, 0.0, 0.0, 0.001]).ravel()
    with_pose = _new("geometry_msgs/msg/PoseWithCovariance", _pose(pose[:3, 3], pose[:3, :3]), covariance)
    with_twist = _new("geometry_msgs/msg/TwistWithCovariance", twist, covariance)
    return _new("nav_msgs/msg/Odometry", _header(parent, stamp_ns), "base_link", with_pose, with_twist)


def _image(rgb: np.ndarray, index: int, stamp_ns: int) -> Any:
    height, width = rgb.shape[:2]
    return _new("sensor_msgs/msg/Image", _header(camera_frame(index), stamp_ns), height, width, "rgb8", 0, 3 * width, rgb.reshape(-1))


def _camera_info(camera: Camera, index: int, stamp_ns: int) -> Any:
    model = camera.model
    projection = np.hstack([model.intrinsics, np.zeros((3, 1))]).ravel()
    region = _new("sensor_msgs/msg/RegionOfInterest", 0, 0, 0, 0, False)
    return _new(
        "sensor_msgs/msg/CameraInfo",
        *(
            _header(camera_frame(index), stamp_ns),
            model.height,
            model.width,
            model.distortion_model,
            model.distortion,
            model.intrinsics.ravel(),
        ),
        *(np.eye(3).ravel(), projection, 0, 0, region),
    )


def _cloud(points_m: FloatArray, intensity: FloatArray, ring: np.ndarray, stamp_ns: int) -> Any:
    layout = {"x": "<f4", "y": "<f4", "z": "<f4", "intensity": "<f4", "ring": "<u2"}
    cloud = np.zeros(len(points_m), np.dtype(list(layout.items()), align=True))
    cloud["x"], cloud["y"], cloud["z"] = points_m.T
    cloud["intensity"], cloud["ring"] = intensity, ring
    codes = {"<f4": 7, "<u2": 4}  # PointField.FLOAT32, UINT16
    fields = [_new("sensor_msgs/msg/PointField", name, 4 * i, codes[code], 1) for i, (name, code) in enumerate(layout.items())]
    data, step = cloud.view(np.uint8), cloud.itemsize
    return _new("sensor_msgs/msg/PointCloud2", _header(LIDAR_FRAME, stamp_ns), 1, len(cloud), fields, False, step, len(data), data, True)


def _markers(agents: tuple[Agent, ...], stamp_ns: int) -> Any:
    empty_header = _header("", 0)
    lifetime = _new("builtin_interfaces/msg/Duration", 0, 500_000_000)
    mesh = _new("visualization_msgs/msg/MeshFile", "", np.zeros(0, np.uint8))
    texture = _new("sensor_msgs/msg/CompressedImage", empty_header, "", np.zeros(0, np.uint8))
    markers = []
    for agent in agents:
        colour = _new("std_msgs/msg/ColorRGBA", *MARKER_RGB[agent.kind], 0.6)
        markers.append(
            _new(
                "visualization_msgs/msg/Marker",
                *(
                    _header("odom", stamp_ns),
                    agent.kind,
                    agent.id,
                    1,
                    0,
                    _pose(agent.position_m, _about_z(agent.yaw_rad)),
                    _vector(*agent.size_m),
                ),
                *(colour, lifetime, False, [], [], "", texture, [], "", "", mesh, False),
            )
        )
    return _new("visualization_msgs/msg/MarkerArray", markers)
