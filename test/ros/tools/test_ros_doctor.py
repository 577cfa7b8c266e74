"""The doctor finds each seeded fault on real topics and names its fix, and says nothing of a healthy robot."""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="needs ROS 2: run `make build`, then tests through scripts/env.sh")
pytest.importorskip("jepa_ros.msg", reason="needs the built interfaces: run `make build`, then tests through scripts/env.sh")
pytestmark = pytest.mark.ros

import rclpy  # noqa: E402
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue  # noqa: E402
from geometry_msgs.msg import Twist, TwistStamped  # noqa: E402
from nav_msgs.msg import Odometry  # noqa: E402
from rclpy.context import Context  # noqa: E402
from rclpy.executors import SingleThreadedExecutor  # noqa: E402
from rclpy.node import Node  # noqa: E402
from rclpy.parameter import Parameter  # noqa: E402
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy  # noqa: E402
from ros_harness import DOMAINS, camera_info, cloud, image, odometry, transform  # noqa: E402
from rosgraph_msgs.msg import Clock  # noqa: E402
from sensor_msgs.msg import CameraInfo, CompressedImage, Image, LaserScan, PointCloud2  # noqa: E402
from tf2_msgs.msg import TFMessage  # noqa: E402

from jepa_ros.ros.conversions import header_message  # noqa: E402
from jepa_ros.ros.tools.doctor.cli import examine_planner, open_node, overrides_of  # noqa: E402
from jepa_ros.ros.tools.doctor.findings import Finding, Level, as_json, as_text, sorted_once, worst  # noqa: E402
from jepa_ros.ros.tools.doctor.machine import MachineFacts  # noqa: E402
from jepa_ros.ros.tools.doctor.session import Examination  # noqa: E402

SETTLE_S, LISTEN_S, PERIOD_S = 2.0, 3.0, 0.2
MOST_S = 20.0  # longer, on a busy machine
PTP_AHEAD_NS = 37_000_000_000
WELL = MachineFacts(middleware="rmw_test", load=0.5, cores=2, free_memory_bytes=8 << 30)
X, Y = (axis.ravel() for axis in np.meshgrid(np.linspace(-15, 15, 41), np.linspace(-15, 15, 41)))
ROOM = np.concatenate([np.stack([X, Y, 0 * X - 0.5], 1), np.stack([8 + 0 * X, Y, 1 + X / 20], 1)]).astype(np.float32)
BEST_EFFORT = QoSProfile(depth=5, reliability=ReliabilityPolicy.BEST_EFFORT)
LATCHED = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)

# robot -> what is wrong with it: (what, in the text, in the fix).
FAULTS = {
    "healthy": [],
    "unmounted": [
        ("/lidar", "TF does not connect its frame lidar", "static_transform_publisher"),
        ("/cam/image_raw", "no CameraInfo beside it", "camera_info beside it"),
        ("/odom", "one message in 1.0 s", "publish it at"),
    ],
    "garbled": [
        ("/lidar", "bad_fields", "repair what its driver sends"),
        ("/cam/image_raw", "is not a camera matrix", "calibrate the camera"),
        ("/odom", "names no child frame", "child_frame_id"),
    ],
    "slow": [
        ("/lidar", "1.0 Hz", "raise the rate"),
        ("/cam/image_raw", "unknown_encoding", "repair what its driver sends"),
    ],
    "late": [
        ("/lidar", "37.0 s ahead of the clock", "PTP"),
        ("/lidar", "2 publishers in turn", "end all but one"),
        ("/film/compressed", "h264 video", "jpeg or png"),
    ],
    "deaf": [
        ("/tf_static", "hears nothing", "durability volatile to transient_local"),
        ("/lidar", "/deaf/viewer hears nothing", "reliability best_effort to reliable"),
        ("/scan", "LaserScan is not read", "pointcloud_to_laserscan"),
    ],
    "misnamed": [
        ("/velodyne", "nobody publishes", "/misnamed/lidar"),
        ("odometry", "there is none", "nav_msgs/Odometry"),
        ("world_model", "it is inactive", "ros2 lifecycle set /misnamed/world_model activate"),
        ("planner says of setup", "max_sped_mps", "docs/operating.md"),
    ],
    "muddled": [
        ("/cmd_vel", "takes geometry_msgs/msg/TwistStamped, geometry_msgs/msg/Twist is sent", "controller.stamped: true"),
        ("/cmd_vel", "2 publishers in turn: /muddled/planner, /muddled/teleop", "twist_mux"),
        ("planner", "2 nodes of this name run", "end all but one"),
        ("/tf base_link", "two parents in turn, ekf_odom and odom", "publish_tf: false"),
    ],
    "tangled": [
        ("/clock", "/tangled/nav go by it, and nobody publishes it", "use_sim_time: false"),
        ("/tangled/lidar", "its frame is /lidar", "frame_id: lidar in its driver"),
        ("/tangled/lidar", "its mount on TF is upside down", "180 degrees about x"),
        ("/tf odom -> base_link", "two nodes publish it in turn, 0.5 m apart", "publish_tf: false"),
        ("/cam/image_raw", "other_image_size", "its roi"),
        ("tf_static", "is left out, as it closes the loop", "take it out"),
    ],
    "overtaxed": [("latency", "a frame takes 900 ms", "device: cuda")],
}  # fmt: skip


class Seeded:
    """One robot in a namespace, with its faults."""

    def __init__(self, name: str, context: Context, base: Context) -> None:
        self.name = name
        remapped = ["--ros-args", "-r", f"__ns:=/{name}", "-r", "/tf:=tf", "-r", "/tf_static:=tf_static"]
        self.node = Node("driver", context=context, cli_args=remapped)
        offer = self.node.create_publisher
        self.lidar = offer(PointCloud2, "lidar", BEST_EFFORT if name == "deaf" else 5)
        self.image = offer(Image, "cam/image_raw", 5)
        self.info = offer(CameraInfo, "cam/camera_info", 5) if name != "unmounted" else None
        self.odometry = offer(Odometry, "odom", 5) if name != "misnamed" else None
        self.twin = offer(PointCloud2, "lidar", 5) if name == "late" else None
        self.film = offer(CompressedImage, "film/compressed", 5) if name == "late" else None
        self.scan = offer(LaserScan, "scan", 5) if name == "deaf" else None
        self.diagnostics = offer(DiagnosticArray, "/diagnostics", 5)
        static = offer(TFMessage, "tf_static", 1 if name == "deaf" else LATCHED)
        mounts = ["camera"] if name == "unmounted" else ["camera", "lidar"]
        loop = [transform("hand", "arm"), transform("arm", "hand")] if name == "tangled" else []
        static.publish(TFMessage(transforms=[transform("base_link", child) for child in mounts] + loop))
        self.moving = offer(TFMessage, "tf", 5) if name in ("muddled", "tangled") else None
        if name == "tangled":
            self.nav = Node("nav", context=context, cli_args=remapped[:3])
            self.nav.create_subscription(Clock, "/clock", print, 1)
        if name == "muddled":
            self.others = [Node(each, context=context, cli_args=remapped[:3]) for each in ("planner", "planner", "teleop")]
            self.steering = [each.create_publisher(Twist, "cmd_vel", 1) for each in self.others[::2]]
            self.base = Node("base", context=base, cli_args=remapped[:3])  # one process cannot have a topic of two types
            self.base.create_subscription(TwistStamped, "cmd_vel", print, 1)
        if name == "deaf":
            self.viewer = Node("viewer", context=context, cli_args=remapped[:3])
            self.viewer.create_subscription(PointCloud2, "lidar", print, 5)

    def send(self, tick: int) -> None:
        """Every PERIOD_S."""
        stamp = time.time_ns() + (PTP_AHEAD_NS if self.name == "late" else 0)
        once_a_second = tick % 5 == 0
        if self.odometry and (self.name != "unmounted" or once_a_second):
            message = odometry(stamp)
            message.pose.pose.position.x = 0.2 * tick
            message.child_frame_id = "" if self.name == "garbled" else "base_link"
            self.odometry.publish(message)
        if self.moving:
            edge = transform("ekf_odom" if self.name == "muddled" and tick % 2 == 0 else "odom", "base_link", stamp)
            edge.transform.translation.x = 0.2 * tick + (0.5 if self.name == "tangled" and tick % 2 else 0.0)
            self.moving.publish(TFMessage(transforms=[edge]))
        if self.info:
            message = camera_info(stamp)
            message.k = np.zeros(9) if self.name == "garbled" else message.k
            message.height = 64 if self.name == "tangled" else message.height
            self.info.publish(message)
        message = image(stamp)
        message.encoding = "yuv_of_tomorrow" if self.name == "slow" else message.encoding
        self.image.publish(message)
        if self.name != "slow" or once_a_second:
            message = cloud(stamp, (ROOM * [1, -1, -1]).astype(np.float32) if self.name == "tangled" else ROOM)
            message.header.frame_id = "/lidar" if self.name == "tangled" else "lidar"
            if self.name == "garbled":
                message.fields[2].name = "up"
            (self.twin if self.twin and tick % 2 else self.lidar).publish(message)
        if self.film:
            self.film.publish(CompressedImage(header=header_message(stamp, "camera"), format="h264", data=b"\0" * 100))
        if self.scan:
            self.scan.publish(LaserScan(header=header_message(stamp, "lidar")))
        self._complain()

    def _complain(self) -> None:
        prefix, told = f"/{self.name}/", DiagnosticStatus
        if self.name == "misnamed":
            inactive = told(name=f"{prefix}world_model: node", level=told.WARN, message="inactive")
            setup = told(name=f"{prefix}planner: setup", level=told.WARN, message="max_sped_mps: did you mean max_speed_mps?")
            self.diagnostics.publish(DiagnosticArray(status=[inactive, setup]))
        if self.name == "overtaxed":
            values = [KeyValue(key="latency.encode.p50_ms", value="500"), KeyValue(key="latency.predict.p50_ms", value="400")]
            self.diagnostics.publish(DiagnosticArray(status=[told(name=f"{prefix}world_model: latency", level=told.OK, values=values)]))


@pytest.fixture(scope="module")
def pages() -> Iterator[dict[str, list[Finding]]]:
    """Robot -> its page; all are examined at the same time."""
    domain = 50 + next(DOMAINS) % 50
    robots, bases, doctors = contexts = Context(), Context(), Context()
    for context in contexts:
        rclpy.init(context=context, domain_id=domain)
    seeded = [Seeded(name, robots, bases) for name in FAULTS]
    executor = SingleThreadedExecutor(context=doctors)
    examinations: dict[str, Any] = {}
    for name in FAULTS:
        named = [Parameter("inputs.cloud_topics", value=["velodyne"])] if name == "misnamed" else []
        remapped = ["--ros-args", "-r", f"__ns:=/{name}", "-r", "/tf:=tf", "-r", "/tf_static:=tf_static"]
        node, config, refused = open_node(named, context=doctors, cli_args=remapped)
        assert refused == []
        examinations[name] = Examination(node, config)
        executor.add_node(node)
    ticks = itertools.count()

    def enough() -> bool:
        """Of the slowest topics; a busy machine takes longer."""
        heard = {**examinations["slow"]._hub.heard, **examinations["unmounted"]._hub.heard}
        return all(topic in heard and heard[topic].count >= 4 for topic in ("/slow/lidar", "/unmounted/odom"))

    def drive(seconds: float, done: Callable[[], bool] = lambda: True) -> None:
        until_s, due_s = time.monotonic() + seconds, time.monotonic()
        while time.monotonic() < until_s or not (done() or time.monotonic() > until_s + MOST_S):
            if time.monotonic() >= due_s:
                due_s += PERIOD_S
                tick = next(ticks)
                for robot in seeded:
                    robot.send(tick)
            executor.spin_once(timeout_sec=0.01)

    drive(SETTLE_S)
    for examination in examinations.values():
        examination.settled()
    drive(LISTEN_S, enough)
    yield {name: examination.findings(WELL) for name, examination in examinations.items()}
    executor.shutdown()
    for context in contexts:
        rclpy.shutdown(context=context)


def wrong(page: list[Finding]) -> list[Finding]:
    return [finding for finding in page if finding.level is not Level.OK]


@pytest.mark.parametrize(("robot", "what", "text", "fix"), [(robot, *fault) for robot, faults in FAULTS.items() for fault in faults])
def test_each_fault_is_found_with_its_fix(pages, robot: str, what: str, text: str, fix: str) -> None:
    found = [f for f in wrong(pages[robot]) if f.what.endswith(what) and text in f.text and fix in f.fix]
    assert found, as_text(pages[robot])


def test_a_healthy_robot_is_told_nothing(pages) -> None:
    page = pages["healthy"]
    assert wrong(page) == [], as_text(page)
    assert worst(page) == 0
    assert [f for f in page if f.what == "/healthy/lidar" and "Hz, stamps" in f.text]
    assert "0 errors, 0 warnings" in as_text(page)


def test_the_rest_of_a_robot_is_not_blamed(pages) -> None:
    """A fault of one input is said of that input."""
    assert {finding.what for finding in wrong(pages["overtaxed"])} == {"latency"}
    assert {finding.what for finding in wrong(pages["slow"])} == {"/slow/lidar", "/slow/cam/image_raw"}, as_text(pages["slow"])


def test_the_page_for_programs(pages) -> None:
    told = json.loads(as_json(pages["garbled"]))
    assert told["worst"] == "ERROR"
    assert all(finding["fix"] for finding in told["findings"] if finding["level"] != "OK")


def test_parameters_that_nobody_declares_and_values_that_cannot_be(tmp_path: Path) -> None:
    file = tmp_path / "robot.yaml"
    world_model = "world_model:\n  ros__parameters:\n    sensing:\n      lost_afer_s: 2.0\n    device: warp\n"
    file.write_text(f"{world_model}planner:\n  ros__parameters:\n    planner.robot_radius_m: 50.0\n    controler.enabled: true\n")
    overrides = list(overrides_of(file, "world_model"))
    context = Context()
    rclpy.init(context=context, domain_id=50 + next(DOMAINS) % 50)
    planner = list(overrides_of(file, "planner"))
    assert "robot_radius_m" in examine_planner(planner, context=context)[1][0].text
    assert "controller.enabled" in examine_planner(planner[1:], context=context)[1][0].fix
    node, config, found = open_node(overrides, context=context)
    node.destroy_node()
    assert config.device == "auto"
    assert "device='warp'" in found[0].text
    assert found[0].level is Level.ERROR
    node, _, found = open_node([each for each in overrides if each.name != "device"], context=context)
    assert "did you mean sensing.lost_after_s?" in found[0].fix
    examination = Examination(node, configured(tmp_path / "none.safetensors"))
    page = examination.findings(WELL, measure=True)
    assert [f for f in wrong(page) if f.what == "model scene_jepa" and "none.safetensors" in f.text], as_text(page)
    assert [f for f in wrong(page) if "no cloud and no image" in f.text and "ROS_DOMAIN_ID" in f.fix]
    rclpy.shutdown(context=context)


@pytest.mark.parametrize("line", ["a: " + 20_000 * "[", "a: &a [*a]", "a: [[1], [2]]", "a: {b: [1, x]}", "\t:"])
def test_a_file_that_no_node_would_take_is_refused_with_a_reason(tmp_path: Path, line: str) -> None:
    file = tmp_path / "robot.yaml"
    file.write_text(f"world_model:\n  ros__parameters:\n    {line}\n")
    with pytest.raises(ValueError, match=r"YAML|one type"):
        list(overrides_of(file, "world_model"))


def configured(weights: Path) -> Any:
    from jepa_ros.pipeline import PipelineConfig
    from jepa_ros.ros.world_model.config import WorldModelConfig

    return WorldModelConfig(pipeline=PipelineConfig(weights=str(weights)))


def test_each_thing_once_and_the_worst_first() -> None:
    fine, bad = Finding(Level.OK, "a", "well"), Finding(Level.ERROR, "b", "gone", "start it")
    assert sorted_once([fine, bad, fine]) == [bad, fine]
