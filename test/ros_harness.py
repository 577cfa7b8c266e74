"""Runs a node of ours as a process of its own and talks to it over DDS, in a domain that no other test uses."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable
from typing import Any

import numpy as np
import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from geometry_msgs.msg import TransformStamped
from nav_msgs.msg import OccupancyGrid, Odometry
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile
from sensor_msgs.msg import CameraInfo, CompressedImage, Image, PointCloud2, PointField
from tf2_msgs.msg import TFMessage
from visualization_msgs.msg import MarkerArray

from jepa_ros.msg import LatentForecast, LatentState, OccupancyForecast, PedestrianForecastArray
from jepa_ros.ros.conversions import byte_array, header_message

DOMAINS = itertools.count(os.getpid() % 40)
OPEN: set[Robot] = set()  # those that nobody has closed yet
SIMULATED_BRAKING_MPS2 = 3.0  # sim.simulation.COMMAND_ACCELERATION_MPS2
START_NS = 1_700_000_000_000_000_123
OUTPUTS = {
    "latent": LatentState,
    "latent_forecast": LatentForecast,
    "occupancy": OccupancyForecast,
    "occupancy_grid": OccupancyGrid,
    "pedestrians": PedestrianForecastArray,
    "markers": MarkerArray,
}
SENSORS = {
    "/lidar": PointCloud2,
    "/cam/image_raw": Image,
    "/zip/image_raw/compressed": CompressedImage,
    "/odom": Odometry,
    "/tf": TFMessage,
    "/cam/camera_info": CameraInfo,
    "/zip/camera_info": CameraInfo,
}


def braking_m(speed_mps: float, reaction_s: float) -> float:
    """How far our simulated robot goes on after it is told to stop: v t + v^2 / (2 a), t until the base looks at the order."""
    return speed_mps * reaction_s + speed_mps**2 / (2 * SIMULATED_BRAKING_MPS2)


def stamp_ns(message: Any) -> int:
    return message.header.stamp.sec * 1_000_000_000 + message.header.stamp.nanosec


class Robot:
    """A robot for the node under test: publishes sensors, hears its outputs and diagnostics."""

    def __init__(self, publish: bool = True) -> None:
        """publish: also offer sensors."""
        self.domain = 50 + next(DOMAINS) % 50
        OPEN.add(self)
        self._context = Context()
        rclpy.init(context=self._context, domain_id=self.domain)
        self.node = Node("robot", context=self._context)
        self._executor = SingleThreadedExecutor(context=self._context)
        self._executor.add_node(self.node)
        self._processes: list[subprocess.Popen] = []
        self.heard: dict[str, list[Any]] = defaultdict(list)
        self.diagnostics: dict[str, Any] = {}
        for topic, kind in OUTPUTS.items():
            self.node.create_subscription(kind, f"/world_model/{topic}", self.heard[topic].append, 20)
        self.node.create_subscription(DiagnosticArray, "/diagnostics", self._on_diagnostics, 10)
        self.publishers: dict[str, Any] = {}
        if publish:
            self._offer_sensors()

    def _offer_sensors(self) -> None:
        self.publishers = {topic: self.node.create_publisher(kind, topic, 10) for topic, kind in SENSORS.items()}
        latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        self.publishers["/tf_static"] = self.node.create_publisher(TFMessage, "/tf_static", latched)
        self.publishers["/tf_static"].publish(TFMessage(transforms=[transform("base_link", "lidar"), transform("base_link", "camera")]))

    def start_node(self, node: str = "world_model", remap: dict[str, str] | None = None, **parameters: Any) -> subprocess.Popen:
        command = [sys.executable, "-m", "jepa_ros.ros", node, "--ros-args"]
        for name, new_name in (remap or {}).items():
            command += ["-r", f"{name}:={new_name}"]
        for name, value in parameters.items():
            command += ["-p", f"{name.replace('__', '.')}:={value}"]
        environment = os.environ | {"ROS_DOMAIN_ID": str(self.domain), "OMP_NUM_THREADS": "1"}
        process = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)
        self._processes.append(process)
        return process

    def close(self) -> None:
        OPEN.discard(self)
        for process in self._processes:
            if process.poll() is None:
                process.send_signal(signal.SIGINT)
                try:
                    process.wait(10)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()
            process.stderr.close()
        self.node.destroy_node()
        rclpy.shutdown(context=self._context)

    def forget(self) -> None:
        """What was heard until now."""
        for messages in self.heard.values():
            messages.clear()

    def spin(self, seconds: float) -> None:
        self.spin_until(lambda: False, seconds)

    def spin_until(self, done: Callable[[], bool], timeout_s: float = 20.0) -> bool:
        deadline_s = time.monotonic() + timeout_s
        while not done():
            if time.monotonic() > deadline_s:
                return False
            self._executor.spin_once(timeout_sec=0.02)
        return True

    def call(self, kind: type, service: str, request: Any, timeout_s: float = 90.0) -> Any:
        client = self.node.create_client(kind, service)
        try:
            assert self.spin_until(client.service_is_ready, timeout_s), f"{service} did not appear"
            future = client.call_async(request)
            assert self.spin_until(future.done, timeout_s), f"{service} did not answer"
            return future.result()
        finally:
            self.node.destroy_client(client)

    def wait_for_service(self, kind: type, service: str, timeout_s: float = 90.0) -> None:
        client = self.node.create_client(kind, service)
        try:
            assert self.spin_until(client.service_is_ready, timeout_s), f"{service} did not appear"
        finally:
            self.node.destroy_client(client)

    def drive(self, count: int, start_ns: int = START_NS, lidar: bool = True, camera: bool = True, pause_s: float = 0.1) -> list[int]:
        """`count` sets of messages 0.1 s apart; returns their stamps."""
        stamps = [start_ns + 100_000_000 * step for step in range(count)]
        for stamp in stamps:
            self.publishers["/odom"].publish(odometry(stamp))
            if camera:
                self.publishers["/cam/camera_info"].publish(camera_info(stamp))
                self.publishers["/cam/image_raw"].publish(image(stamp))
            if lidar:
                self.publishers["/lidar"].publish(cloud(stamp))
            self.spin(pause_s)
        return stamps

    def wait_until_heard_by(self, *topics: str, timeout_s: float = 30.0) -> None:
        """Until the node listens to these topics."""
        publishers = [self.publishers[topic] for topic in topics]
        assert self.spin_until(lambda: all(p.get_subscription_count() for p in publishers), timeout_s), f"nobody listens to {topics}"

    def next_diagnostics(self) -> dict[str, Any]:
        """The first report that was begun after this call: status name -> status."""
        for _ in range(2):
            self.diagnostics = {}
            assert self.spin_until(lambda: bool(self.diagnostics), 10), "no diagnostics"
        return self.diagnostics

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        self.diagnostics = {status.name.removeprefix("world_model: "): status for status in message.status}


def values(status: Any) -> dict[str, str]:
    return {pair.key: pair.value for pair in status.values}


def transform(parent: str, child: str, stamp: int = START_NS) -> TransformStamped:
    return TransformStamped(header=header_message(stamp, parent), child_frame_id=child)


def odometry(stamp: int) -> Odometry:
    message = Odometry(header=header_message(stamp, "odom"), child_frame_id="base_link")
    message.pose.pose.position.x = (stamp - START_NS) / 1e9
    message.twist.twist.linear.x = 1.0
    return message


def cloud(stamp: int, points: np.ndarray | None = None) -> PointCloud2:
    if points is None:
        rng = np.random.default_rng(0)
        points = rng.uniform((-20, -20, 0), (20, 20, 2), (2000, 3)).astype(np.float32)
    return PointCloud2(
        header=header_message(stamp, "lidar"),
        height=1,
        width=len(points),
        fields=[PointField(name=name, offset=4 * index, datatype=PointField.FLOAT32, count=1) for index, name in enumerate("xyz")],
        point_step=12,
        row_step=12 * len(points),
        data=byte_array(points),
    )


def image(stamp: int) -> Image:
    pixels = np.full((48, 64, 3), 128, np.uint8)
    header = header_message(stamp, "camera")
    return Image(header=header, height=48, width=64, encoding="rgb8", step=192, data=byte_array(pixels))


def camera_info(stamp: int) -> CameraInfo:
    k = [60.0, 0.0, 32.0, 0.0, 60.0, 24.0, 0.0, 0.0, 1.0]
    return CameraInfo(header=header_message(stamp, "camera"), height=48, width=64, distortion_model="plumb_bob", d=[0.0] * 5, k=k)
