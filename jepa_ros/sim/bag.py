"""Writes simulated runs as ROS 2 bags, ground truth included; needs no ROS 2."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rosbags.interfaces import Qos, QosDurability, QosHistory, QosLiveliness, QosReliability, QosTime
from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin, Writer
from rosbags.typesys import Stores, get_typestore

from jepa_ros.sim.recording import Frame, Recorder
from jepa_ros.sim.sensors import Camera, Lidar
from jepa_ros.sim.simulation import Agent, Simulation
from jepa_ros.types import NANOSECONDS, FloatArray

EPOCH_NS = 1_750_000_000 * NANOSECONDS
STORE = get_typestore(Stores.ROS2_JAZZY)
LIDAR_FRAME = "lidar"
MARKER_RGB = {"person": (0.9, 0.2, 0.2), "cyclist": (0.2, 0.8, 0.2), "car": (0.2, 0.4, 0.9)}
_STATIC = Qos(
    QosHistory.KEEP_LAST,
    1,
    QosReliability.RELIABLE,
    QosDurability.TRANSIENT_LOCAL,
    QosTime(0, 0),
    QosTime(0, 0),
    QosLiveliness.AUTOMATIC,
    QosTime(0, 0),
    False,
)


@dataclass(frozen=True)
class BagSpec:
    """What to simulate and how to record it."""

    seed: int
    scenario: str = "street"
    duration_s: float = 20.0
    rate_hz: float = 10.0
    lidar_rings: int = 32
    lidar_azimuths: int = 900
    cameras: int = 1
    camera_size: tuple[int, int] = (400, 225)  # width, height
    storage: str = "mcap"  # mcap | sqlite3
    n_people: int | None = None  # None: as many as the place has

    def __post_init__(self) -> None:
        if not self.duration_s > 0 or not self.rate_hz > 0:
            raise ValueError(f"duration_s = {self.duration_s}, rate_hz = {self.rate_hz}: both must be above 0")
        if self.storage not in ("mcap", "sqlite3"):
            raise ValueError(f"storage {self.storage!r}: choose mcap or sqlite3")
        if self.cameras == 0 and self.lidar_rings == 0:
            raise ValueError("a bag needs a lidar or a camera; got lidar_rings = 0 and cameras = 0")

    @property
    def frames(self) -> int:
        return max(1, round(self.duration_s * self.rate_hz))


def write_bag(path: str | Path, spec: BagSpec, progress: Callable[[int], None] = lambda frames: None) -> Path:
    """Simulate and record one bag at `path` (a folder that must not exist yet). The same spec gives the same measurements.

    The bag is complete or absent: it is written beside `path` and renamed at the end. `progress` is told the frames done so far.
    """
    path = Path(path)
    if path.exists():
        raise ValueError(f"{path} exists; choose another folder or remove it")
    partial = path.with_name(path.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    simulation = Simulation(spec.scenario, spec.seed, spec.n_people)
    lidar = Lidar(spec.lidar_rings, spec.lidar_azimuths) if spec.lidar_rings else None
    camera = Camera(*spec.camera_size) if spec.cameras else None
    recorder = Recorder(simulation, spec.seed, lidar, camera, spec.cameras)
    writer = Writer(partial, version=9, storage_plugin=StoragePlugin.MCAP if spec.storage == "mcap" else StoragePlugin.SQLITE3)
    if spec.storage == "mcap":
        writer.set_compression(CompressionMode.STORAGE, CompressionFormat.ZSTD)
    start_ns = EPOCH_NS + spec.seed * 1000 * NANOSECONDS
    with writer:
        output = _Output(writer, recorder)
        output.write_static(start_ns)
        for index in range(spec.frames):
            output.write_frame(recorder.frame(), start_ns + round(index * NANOSECONDS / spec.rate_hz))
            recorder.step(1.0 / spec.rate_hz)
            progress(index + 1)
    _rename_data(partial, path)
    return path


def _rename_data(partial: Path, path: Path) -> None:
    """The data file and the metadata that names it carry the bag's own name, not the name it was written under."""
    for file in partial.iterdir():
        if file.name.startswith(partial.name):
            file.rename(file.with_name(file.name.replace(partial.name, path.name)))
    metadata = partial / "metadata.yaml"
    metadata.write_text(metadata.read_text().replace(partial.name, path.name))
    partial.rename(path)


class _Output:
    """The connections of one bag."""

    def __init__(self, writer: Writer, recorder: Recorder) -> None:
        self._writer, self._recorder = writer, recorder
        topics = {"/odom": "nav_msgs/msg/Odometry", "/tf": "tf2_msgs/msg/TFMessage", "/tf_static": "tf2_msgs/msg/TFMessage"}
        topics |= {"/ground_truth/odom": "nav_msgs/msg/Odometry", "/ground_truth/markers": "visualization_msgs/msg/MarkerArray"}
        if recorder.lidar:
            topics["/lidar/points"] = "sensor_msgs/msg/PointCloud2"
        for index in range(len(recorder.rig.base_from_cameras)):
            topics[f"{camera_namespace(index)}/image_raw"] = "sensor_msgs/msg/Image"
            topics[f"{camera_namespace(index)}/camera_info"] = "sensor_msgs/msg/CameraInfo"
        self._connections = {
            topic: writer.add_connection(topic, kind, typestore=STORE, offered_qos_profiles=[_STATIC] if topic == "/tf_static" else [])
            for topic, kind in topics.items()
        }

    def _write(self, topic: str, stamp_ns: int, message: Any) -> None:
        connection = self._connections[topic]
        self._writer.write(connection, stamp_ns, STORE.serialize_cdr(message, connection.msgtype))

    def write_static(self, stamp_ns: int) -> None:
        rig = self._recorder.rig
        frames = [("base_link", LIDAR_FRAME, rig.base_from_lidar)]
        frames += [("base_link", camera_frame(i), pose) for i, pose in enumerate(rig.base_from_cameras)]
        self._write("/tf_static", stamp_ns, _tf([_transform(parent, child, pose, stamp_ns) for parent, child, pose in frames]))

    def write_frame(self, frame: Frame, stamp_ns: int) -> None:
        self._write("/tf", stamp_ns, _tf([_transform("odom", "base_link", frame.odom_from_base, stamp_ns)]))
        self._write("/odom", stamp_ns, _odometry("odom", frame.odom_from_base, frame.speed_mps, frame.yaw_rate_radps, stamp_ns))
        true_speed, true_rate = self._recorder.simulation.ego.speed_mps, self._recorder.simulation.ego_yaw_rate_radps
        self._write("/ground_truth/odom", stamp_ns, _odometry("map", frame.start_from_base, true_speed, true_rate, stamp_ns))
        self._write("/ground_truth/markers", stamp_ns, _markers(frame.agents, stamp_ns))
        camera = self._recorder.camera
        for index, image in enumerate(frame.images):
            assert camera is not None
            self._write(f"{camera_namespace(index)}/camera_info", stamp_ns, _camera_info(camera, index, stamp_ns))
            self._write(f"{camera_namespace(index)}/image_raw", stamp_ns, _image(image, index, stamp_ns))
        if frame.scan is not None:
            self._write(
                "/lidar/points", stamp_ns, _cloud(cloud_bytes(frame.scan.points_m, frame.scan.intensity, frame.scan.ring), stamp_ns)
            )


def camera_namespace(index: int) -> str:
    """/camera, then /camera_1 ... /camera_5."""
    return "/camera" if index == 0 else f"/camera_{index}"


def camera_frame(index: int) -> str:
    """The optical frame of a camera."""
    return camera_namespace(index)[1:] + "_optical_frame"


CLOUD_DTYPE = np.dtype(
    {
        "names": ["x", "y", "z", "intensity", "ring"],
        "formats": ["<f4", "<f4", "<f4", "<f4", "<u2"],
        "offsets": [0, 4, 8, 12, 16],
        "itemsize": 20,
    }
)


def cloud_bytes(points_m: FloatArray, intensity: FloatArray, ring: np.ndarray) -> np.ndarray:
    """(N * 20,) uint8: the data of a PointCloud2 whose layout is CLOUD_DTYPE."""
    cloud = np.zeros(len(points_m), CLOUD_DTYPE)
    cloud["x"], cloud["y"], cloud["z"] = points_m.T
    cloud["intensity"], cloud["ring"] = intensity, ring
    return cloud.view(np.uint8)


def quaternion(yaw_or_rotation: float | FloatArray) -> tuple[float, float, float, float]:
    """x, y, z, w of a yaw or of a (3, 3) rotation."""
    if np.ndim(yaw_or_rotation) == 0:
        return 0.0, 0.0, float(np.sin(yaw_or_rotation / 2)), float(np.cos(yaw_or_rotation / 2))
    from scipy.spatial.transform import Rotation

    x, y, z, w = Rotation.from_matrix(np.asarray(yaw_or_rotation)).as_quat()
    return float(x), float(y), float(z), float(w)


# --- messages


def _new(kind: str, *args: Any) -> Any:
    return STORE.types[kind](*args)


def _header(frame: str, stamp_ns: int) -> Any:
    stamp = _new("builtin_interfaces/msg/Time", stamp_ns // NANOSECONDS, stamp_ns % NANOSECONDS)
    return _new("std_msgs/msg/Header", stamp, frame)


def _vector(x: float, y: float, z: float) -> Any:
    return _new("geometry_msgs/msg/Vector3", float(x), float(y), float(z))


def _quaternion(yaw_or_rotation: float | FloatArray) -> Any:
    return _new("geometry_msgs/msg/Quaternion", *quaternion(yaw_or_rotation))


def _pose(position: FloatArray, yaw_or_rotation: float | FloatArray) -> Any:
    point = _new("geometry_msgs/msg/Point", *(float(p) for p in position))
    return _new("geometry_msgs/msg/Pose", point, _quaternion(yaw_or_rotation))


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


def _cloud(data: np.ndarray, stamp_ns: int) -> Any:
    codes = {"<f4": 7, "<u2": 4}
    fields = [
        _new("sensor_msgs/msg/PointField", name, int(CLOUD_DTYPE.fields[name][1]), codes[CLOUD_DTYPE[name].str], 1)  # type: ignore[index]
        for name in CLOUD_DTYPE.names or ()
    ]
    count, step = len(data) // CLOUD_DTYPE.itemsize, CLOUD_DTYPE.itemsize
    return _new("sensor_msgs/msg/PointCloud2", _header(LIDAR_FRAME, stamp_ns), 1, count, fields, False, step, step * count, data, True)


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
                *(_header("odom", stamp_ns), agent.kind, agent.id, 1, 0, _pose(agent.position_m, agent.yaw_rad), _vector(*agent.size_m)),
                *(colour, lifetime, False, [], [], "", texture, [], "", "", mesh, False),
            )
        )
    return _new("visualization_msgs/msg/MarkerArray", markers)
