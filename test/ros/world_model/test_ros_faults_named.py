"""Faults as an operator meets them: log and diagnostics name each within seconds, with its fix; a healthy robot is quiet."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="needs ROS 2: run `make build`, then tests through scripts/env.sh")
pytest.importorskip("jepa_ros.msg", reason="needs the built interfaces: run `make build`, then tests through scripts/env.sh")
pytestmark = pytest.mark.ros

import ros_harness  # noqa: E402
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus  # noqa: E402
from lifecycle_msgs.msg import Transition  # noqa: E402
from lifecycle_msgs.srv import ChangeState  # noqa: E402
from nav_msgs.msg import Odometry  # noqa: E402
from rcl_interfaces.msg import Log  # noqa: E402
from rclpy.qos import DurabilityPolicy, QoSProfile  # noqa: E402
from ros_harness import START_NS, Robot, cloud, transform  # noqa: E402
from sensor_msgs.msg import PointCloud2  # noqa: E402
from tf2_msgs.msg import TFMessage  # noqa: E402

from jepa_ros.ros.machine import transport_problems  # noqa: E402
from jepa_ros.ros.own_topics import own_topics, several  # noqa: E402
from jepa_ros.ros.problem_log import ProblemLog  # noqa: E402
from jepa_ros.srv import PlanPath  # noqa: E402

WITHIN_S = 3.0
WARNING = 30  # rcl_interfaces/msg/Log.WARN
BUSY_S = 5.0  # what a test machine that is busy with other things may add
# A floor and a wall: a healthy lidar sees the ground.
X, Y = (axis.ravel() for axis in np.meshgrid(np.linspace(-15, 15, 61), np.linspace(-15, 15, 61)))
ROOM = np.concatenate([np.stack([X, Y, 0 * X - 0.5], 1), np.stack([8 + 0 * X, Y, 1 + X / 20], 1)]).astype(np.float32)
CLOUD, ODOMETRY = "sensor_msgs/msg/PointCloud2", "nav_msgs/msg/Odometry"


BEGUN_NS = time.time_ns()


def odometry(stamp_ns: int) -> Odometry:
    message = ros_harness.odometry(stamp_ns)
    message.pose.pose.position.x = (stamp_ns - BEGUN_NS) / 1e9
    return message


class Operator:
    """Listens to log and diagnostics, and drives a robot with a lidar and odometry."""

    def __init__(self, robot: Robot) -> None:
        self.robot = robot
        self.logged: list[Log] = []
        self.stamp_ns = BEGUN_NS
        self.reports: dict[str, dict[str, Any]] = {}  # of each node, its newest
        robot.node.create_subscription(DiagnosticArray, "/diagnostics", self._on_diagnostics, 10)
        # Latched, as nodes publish it: what a node said before it was discovered comes, too.
        latched = QoSProfile(depth=200, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        robot.node.create_subscription(Log, "/rosout", self.logged.append, latched)
        robot.publishers["/tf_static"].publish(TFMessage(transforms=[transform("base_link", "lidar")]))

    def drive(self, seconds: float, done: Callable[[], bool] = lambda: False, send: Callable[[int], None] | None = None) -> bool:
        until_s = time.monotonic() + seconds
        while time.monotonic() < until_s and not done():
            self.stamp_ns = max(self.stamp_ns + 1, time.time_ns())
            if send is None:
                self.robot.publishers["/odom"].publish(odometry(self.stamp_ns))
                self.robot.publishers["/lidar"].publish(cloud(self.stamp_ns, ROOM))
            else:
                send(self.stamp_ns)
            self.robot.spin(0.1)
        return bool(done())

    def names(self, *words: str, node: str = "world_model", send: Callable[[int], None] | None = None, within_s: float = WITHIN_S) -> None:
        """Both ways within the time."""

        def told() -> bool:
            return self.in_log(node, *words) and self.in_diagnostics(*words)

        assert self.drive(within_s + BUSY_S, told, send), (words, [m.msg for m in self.logged], self.problems())

    def in_log(self, node: str, *words: str) -> bool:
        warnings = [m.msg for m in self.logged if m.level >= WARNING and m.name.endswith(node)]
        return any(all(word in text for word in words) for text in warnings)

    def in_diagnostics(self, *words: str) -> bool:
        return any(all(word in text for word in words) for text in self.problems().values())

    def problems(self) -> dict[str, str]:
        return {name: s.message for name, s in self.seen().items() if s.level != DiagnosticStatus.OK and not name.endswith("node")}

    def seen(self) -> dict[str, Any]:
        return {name: status for report in self.reports.values() for name, status in report.items()}

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        self.reports[message.status[0].name] = {status.name: status for status in message.status}


@pytest.fixture(scope="module")
def operator() -> Iterator[Operator]:
    robot = Robot()
    operator = Operator(robot)
    robot.start_node("world_model", model="persistence", autostart=True, sensing__lost_after_s=0.5, max_sped_mps=1.0)
    robot.start_node("planner", model="''", autostart=True, planner__limits__max_sped_mps=1.0)
    active = operator.drive(90.0, lambda: any(m.name.endswith("planner") and "activate: done" in m.msg for m in operator.logged))
    assert active, [m.msg for m in operator.logged]
    assert operator.drive(30.0, lambda: bool(robot.heard["occupancy"]))
    yield operator
    robot.close()


def test_a_healthy_robot_is_quiet(operator: Operator) -> None:
    operator.drive(3.0)
    del operator.logged[:]
    operator.drive(4.0)
    assert [m.msg for m in operator.logged if "setup" not in m.msg and m.name.endswith(("world_model", "planner"))] == []
    assert set(operator.problems()) <= {"world_model: setup", "planner: setup"}, operator.problems()


def test_a_parameter_that_nobody_declares_is_named_with_the_likely_one(operator: Operator) -> None:
    assert operator.in_diagnostics("planner.limits.max_sped_mps", "did you mean planner.limits.max_speed_mps?")
    assert operator.in_diagnostics("max_sped_mps", "pipeline.tracking.max_speed_mps or ")  # vehicles have one, too


def test_no_transform_to_the_lidar(operator: Operator) -> None:
    def elsewhere(stamp_ns: int) -> None:
        message = cloud(stamp_ns, ROOM)
        message.header.frame_id = "velodyne"
        operator.robot.publishers["/odom"].publish(odometry(stamp_ns))
        operator.robot.publishers["/lidar"].publish(message)

    operator.names("no transform from 'velodyne' to 'base_link'", "static_transforms", send=elsewhere)


def test_stamps_of_another_day_are_named_by_whoever_plans(operator: Operator) -> None:
    """A bag that is played, or a driver that counts from its power-up, without use_sim_time."""

    def recorded(_: int) -> None:
        stamp_ns = START_NS + time.time_ns() - BEGUN_NS
        operator.robot.publishers["/odom"].publish(odometry(stamp_ns))
        operator.robot.publishers["/lidar"].publish(cloud(stamp_ns, ROOM))

    operator.names("forecasts are stamped", "use_sim_time", node="planner", send=recorded)
    assert operator.drive(20.0, lambda: not any("stamped" in message for message in operator.problems().values())), operator.problems()


def test_a_simulated_time_that_nobody_gives() -> None:
    robot = Robot()
    try:
        operator = Operator(robot)
        robot.start_node("world_model", model="persistence", autostart=True, use_sim_time=True)
        robot.start_node("planner", model="''", autostart=True, use_sim_time=True)
        active = operator.drive(90.0, lambda: sum("activate: done" in m.msg for m in operator.logged) == 2)
        assert active, [m.msg for m in operator.logged]
        for node in ("world_model", "planner"):
            operator.names("use_sim_time is true, but no /clock", "--clock", node=node)
    finally:
        robot.close()


def test_several_topics_of_the_same_type(operator: Operator) -> None:
    rival = operator.robot.node.create_publisher(PointCloud2, "/lidar/filtered", 1)
    operator.names("/lidar was taken, not /lidar/filtered", "inputs.cloud_topic")
    operator.robot.node.destroy_publisher(rival)


def test_lidar_lost_while_odometry_goes_on_is_stale_for_whoever_plans(operator: Operator) -> None:
    operator.names("silent", send=lambda stamp_ns: operator.robot.publishers["/odom"].publish(odometry(stamp_ns)))
    answer = operator.robot.call(PlanPath, "/planner/plan_path", PlanPath.Request())
    assert answer.status.code == answer.status.STALE_SENSORS, answer.status


def test_everything_silent(operator: Operator) -> None:
    operator.drive(2.0)
    operator.names("all sensors are silent", "running?", send=lambda _: None)
    operator.names("silent: occupancy", "/world_model is active", node="planner", send=lambda _: None)


def test_its_publisher_gone_and_another_found(operator: Operator) -> None:
    robot = operator.robot
    operator.drive(2.0)
    robot.node.destroy_publisher(robot.publishers.pop("/lidar"))
    operator.names("nobody publishes /lidar any more", send=lambda stamp_ns: robot.publishers["/odom"].publish(odometry(stamp_ns)))
    other = robot.node.create_publisher(PointCloud2, "/other_lidar", 10)
    robot.publishers["/lidar"] = other
    assert operator.drive(20.0, lambda: other.get_subscription_count() > 0), "another one is taken"


def test_a_partner_that_is_not_active_is_said_to_be(operator: Operator) -> None:
    request = ChangeState.Request(transition=Transition(id=Transition.TRANSITION_DEACTIVATE))
    assert operator.robot.call(ChangeState, "/world_model/change_state", request).success
    operator.names("/world_model is inactive", "ros2 lifecycle set /world_model activate", node="planner", send=lambda _: None)


def test_a_partner_that_is_not_there() -> None:
    robot = Robot(publish=False)
    try:
        robot.start_node("planner", model="''", autostart=True, inputs__world_model="nobody")
        assert robot.spin_until(lambda: "planner: inputs" in robot.diagnostics, 60.0)
        assert robot.spin_until(lambda: "/nobody does not answer" in robot.next_diagnostics()["planner: inputs"].message, 20.0)
    finally:
        robot.close()


def test_another_robots_topics_are_not_taken() -> None:
    graph = {"/lidar": CLOUD, "/r1/lidar": CLOUD, "/r2/lidar": CLOUD, "/r2/odom": ODOMETRY, "/r1/odom": ODOMETRY}
    nodes = [("world_model", "/r1"), ("world_model", "/r2")]
    assert set(own_topics(graph, "/r1", nodes)) == {"/r1/lidar", "/r1/odom"}
    assert set(own_topics(graph, "/", nodes)) == {"/lidar"}
    assert set(own_topics({"/lidar": CLOUD, "/r2/lidar": CLOUD, "/r2/odom": ODOMETRY}, "/r1", [])) == {"/lidar"}
    assert set(own_topics({"/lidar/points": CLOUD, "/odom": ODOMETRY}, "/", [("world_model", "/")])) == {"/lidar/points", "/odom"}
    assert set(own_topics({"/r10/lidar": CLOUD}, "/r1", [("planner", "/r10")])) == set()


def test_several_candidates_are_told() -> None:
    graph = {"/a": CLOUD, "/b": CLOUD, "/odom": ODOMETRY}
    assert several(ODOMETRY, graph, "/odom", "inputs.odometry_topic") is None
    told = several(CLOUD, graph, "/a", "inputs.cloud_topic")
    assert told is not None
    assert "/b" in told


def test_a_transport_that_loses_is_told_with_its_fix(tmp_path) -> None:
    profile = tmp_path / "profile.xml"
    profile.write_text("<dds xmlns='x'><segment_size>134217728</segment_size></dds>")
    environment = {"FASTDDS_DEFAULT_PROFILES_FILE": str(profile)}
    assert transport_problems("rmw_cyclonedds_cpp", {}) == []
    assert "export FASTDDS_DEFAULT_PROFILES_FILE" in transport_problems("rmw_fastrtps_cpp", {})[0]
    room = os.statvfs(tmp_path).f_blocks * os.statvfs(tmp_path).f_frsize
    assert transport_problems("rmw_fastrtps_cpp", environment, tmp_path) == []
    profile.write_text(f"<dds><segment_size>{room}</segment_size></dds>")
    assert "--shm-size" in transport_problems("rmw_fastrtps_cpp", environment, tmp_path)[0]
    assert "cannot be used" in transport_problems("rmw_fastrtps_cpp", environment, tmp_path / "none")[0]


def test_each_problem_is_said_once_and_again_when_it_changes() -> None:
    said: list[str] = []

    class Logger:
        error = warning = info = staticmethod(said.append)

    speaker = ProblemLog(Logger())
    for message in ("silent for 1.5 s", "silent for 2.5 s", "gone"):
        speaker.say([DiagnosticStatus(name="input", level=DiagnosticStatus.WARN, message=message)])
    speaker.say([DiagnosticStatus(name="input", level=DiagnosticStatus.OK, message="receiving")])
    assert said == ["input: silent for 1.5 s", "input: gone", "input: recovered: receiving"]
    for _ in range(3):  # one that comes and goes is quiet about both
        for level, message in ((DiagnosticStatus.WARN, "gone"), (DiagnosticStatus.OK, "receiving")):
            speaker.say([DiagnosticStatus(name="input", level=level, message=message)])
    assert len(said) == 3


def test_what_our_nodes_publish_is_nobodys_sensor() -> None:
    """~/predicted_obstacles is a PointCloud2: a world model that took it for a lidar would see its own predictions."""
    cloud = "sensor_msgs/msg/PointCloud2"
    graph = {"/world_model/predicted_obstacles": cloud, "/lidar/points": cloud, "/a/world_model/predicted_obstacles": cloud}
    assert own_topics(graph, "/", [("world_model", "/"), ("world_model", "/a")]) == {"/lidar/points": cloud}
