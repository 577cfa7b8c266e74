"""Others on our topics: named while they are there. What is left is not looked at again and again."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator

import pytest

pytest.importorskip("rclpy", reason="needs ROS 2: run `make build`, then tests through scripts/env.sh")
pytest.importorskip("jepa_ros.msg", reason="needs the built interfaces: run `make build`, then tests through scripts/env.sh")
pytestmark = pytest.mark.ros

import rclpy  # noqa: E402
from diagnostic_msgs.msg import DiagnosticArray  # noqa: E402
from geometry_msgs.msg import Twist, TwistStamped  # noqa: E402
from rclpy.context import Context  # noqa: E402
from rclpy.node import Node  # noqa: E402
from ros_harness import START_NS, Robot, camera_info  # noqa: E402
from rosgraph_msgs.msg import Clock  # noqa: E402
from sensor_msgs.msg import CameraInfo, PointCloud2  # noqa: E402

from jepa_ros.msg import OccupancyForecast  # noqa: E402
from jepa_ros.ros.conversions import time_message  # noqa: E402
from jepa_ros.ros.planner.publishers.commands import Commands  # noqa: E402

DISCOVERED_S = 10.0


@pytest.fixture
def robot() -> Iterator[Robot]:
    robot = Robot()
    yield robot
    robot.close()


def told(robot: Robot, *words: str) -> Callable[[], bool]:
    """Whether a status of some node says all of it, as long as it is asked."""
    messages: list[str] = []
    robot.node.create_subscription(DiagnosticArray, "/diagnostics", lambda m: messages.extend(s.message for s in m.status), 10)
    return lambda: any(all(word in text for word in words) for text in messages)


def test_intrinsics_that_no_image_needs_are_not_subscribed_to_again_and_again(robot: Robot) -> None:
    """Twice a second the node subscribed to them, said so, found that they tell nothing, and let go."""
    other = robot.node.create_publisher(CameraInfo, "/other/camera_info", 10)
    node = robot.start_node("world_model", model="persistence", autostart=True, inputs__image_topics="[/cam/image_raw]")
    robot.wait_until_heard_by("/cam/image_raw", timeout_s=90.0)
    for step in range(50):
        robot.drive(1, START_NS + 100_000_000 * step)
        other.publish(camera_info(START_NS + 100_000_000 * step))
    robot.spin(3.0)
    node.send_signal(signal.SIGINT)
    node.wait(15)
    subscribed = [line for line in node.stderr.read().splitlines() if "subscribed to /other/camera_info" in line]
    assert len(subscribed) <= 2, f"{len(subscribed)} times"


def test_two_nodes_on_one_sensor_or_one_forecast_are_named(robot: Robot) -> None:
    robot.start_node("world_model", model="persistence", autostart=True)
    robot.start_node("planner", model="''", autostart=True)
    robot.wait_until_heard_by("/lidar", timeout_s=90.0)
    stranger = Node("stranger", context=robot.node.context)
    try:
        lidar, forecast = (
            told(robot, "2 nodes publish /lidar", "/stranger"),
            told(robot, "2 nodes publish /world_model/occupancy", "/stranger"),
        )
        robot.drive(10)
        assert not lidar()
        stranger.create_publisher(PointCloud2, "/lidar", 1)
        stranger.create_publisher(OccupancyForecast, "/world_model/occupancy", 1)
        until_s = time.monotonic() + 30.0
        stamp_ns = START_NS + 2_000_000_000
        while not (lidar() and forecast()) and time.monotonic() < until_s:
            robot.drive(1, stamp_ns)
            stamp_ns += 100_000_000
        assert lidar()
        assert forecast()
    finally:
        stranger.destroy_node()


def test_a_clock_that_stands_still_and_one_that_two_give_are_named(robot: Robot) -> None:
    clock = robot.node.create_publisher(Clock, "/clock", 1)
    robot.start_node("planner", model="''", use_sim_time=True)
    stands, two = told(robot, "/clock stands still"), told(robot, "2 nodes publish /clock")

    def tick() -> bool:
        clock.publish(Clock(clock=time_message(time.time_ns())))
        return False

    assert robot.spin_until(lambda: tick() or clock.get_subscription_count() > 0, 60.0)
    robot.spin_until(tick, 5.0)
    assert not stands()
    assert not two()
    assert robot.spin_until(stands, 10.0)
    robot.node.create_publisher(Clock, "/clock", 1)
    assert robot.spin_until(two, 10.0)


def test_a_base_that_cannot_hear_its_commands_is_named(robot: Robot) -> None:
    commands = Commands(robot.node, stamped=False)
    assert "nobody listens to /cmd_vel" in commands.problem()
    context = Context()  # a process of its own, to DDS: one process cannot have two types on a topic
    rclpy.init(context=context, domain_id=robot.domain)
    base = Node("base", context=context)
    try:
        listener = base.create_subscription(TwistStamped, "/cmd_vel", lambda _: None, 1)
        told = "base takes another type on /cmd_vel than Twist: set controller.stamped to true"
        assert robot.spin_until(lambda: told in commands.problem(), DISCOVERED_S)
        base.destroy_subscription(listener)
        robot.node.create_subscription(Twist, "/cmd_vel", lambda _: None, 1)
        assert robot.spin_until(lambda: commands.problem() == "", DISCOVERED_S)
        joystick = robot.node.create_publisher(Twist, "/cmd_vel", 1)
        assert robot.spin_until(lambda: "2 nodes publish /cmd_vel" in commands.problem(), DISCOVERED_S)
        robot.node.destroy_publisher(joystick)
        assert robot.spin_until(lambda: commands.problem() == "", DISCOVERED_S)
    finally:
        base.destroy_node()
        rclpy.shutdown(context=context)
