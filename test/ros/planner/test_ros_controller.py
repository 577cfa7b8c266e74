"""The controller drives a simulated robot, and stops when any of its inputs is pulled: real nodes, real DDS, a gate in between."""

import signal
import time
from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="needs ROS 2: run `make build`, then tests through scripts/env.sh")
pytest.importorskip("jepa_ros.msg", reason="needs the built interfaces: run `make build`, then tests through scripts/env.sh")
pytestmark = pytest.mark.ros

from geometry_msgs.msg import PoseStamped, Twist  # noqa: E402
from nav_msgs.msg import Odometry  # noqa: E402
from ros_harness import Robot  # noqa: E402
from sensor_msgs.msg import CameraInfo, Image, PointCloud2  # noqa: E402

from jepa_ros.ros.planner.controller import Followed, SensorWatch  # noqa: E402
from jepa_ros.ros.planner.publishers.commands import Commands, motion_time_s  # noqa: E402
from jepa_ros.types import Plan, PlanStatus  # noqa: E402

GATED = {"/lidar/points": PointCloud2, "/camera/image_raw": Image, "/camera/camera_info": CameraInfo, "/odom": Odometry}
MAX_AGE_S = 0.4
BUSY_S = 0.6  # what a test machine that is busy with other things may add


class Gate:
    """Passes the simulator's messages on, byte for byte, but for those that are held back."""

    def __init__(self, robot: Robot) -> None:
        self.closed: set[str] = set()
        for topic, kind in GATED.items():
            publisher = robot.node.create_publisher(kind, topic, 5)

            def forward(data: bytes, topic: str = topic, publisher=publisher) -> None:
                if topic not in self.closed:
                    publisher.publish(data)

            robot.node.create_subscription(kind, f"/sim{topic}", forward, 5, raw=True)


@pytest.fixture
def driven():
    robot = Robot(publish=False)
    gate = Gate(robot)
    commands: list[tuple[float, Twist]] = []
    robot.node.create_subscription(Twist, "/cmd_vel", lambda message: commands.append((time.monotonic(), message)), 20)
    small = {"lidar_rings": 16, "lidar_azimuths": 360, "camera_width": 64, "camera_height": 36, "people": 0, "scenario": "hall"}
    robot.start_node("simulator", {topic[1:]: f"/sim{topic}" for topic in GATED}, rate_hz=10.0, use_sim_time=True, **small)
    inputs = {"inputs__odometry_topic": "/odom", "use_sim_time": True, "autostart": True}
    cameras = {"inputs__image_topics": "[/camera/image_raw]", "inputs__cloud_topic": "/lidar/points"}
    world_model = robot.start_node("world_model", **inputs, **cameras)
    limits = {"controller__enabled": True, "controller__max_age_s": MAX_AGE_S, "planner__limits__max_speed_mps": 0.6}
    robot.start_node("planner", **inputs, **limits)
    yield robot, gate, commands, world_model
    world_model.send_signal(signal.SIGCONT)
    robot.close()


def moving(message: Twist) -> bool:
    return message.linear.x > 0.05 or abs(message.angular.z) > 0.05


def moves(robot: Robot, commands: list[tuple[float, Twist]]) -> None:
    """Until commands from now on move the robot; what the controller says where none does."""
    since_s = time.monotonic()
    done = robot.spin_until(lambda: sum(moving(message) and at_s > since_s for at_s, message in commands) >= 5, 30.0)
    assert done, robot.next_diagnostics()["planner: controller"].message


def stopped_after_s(robot: Robot, commands: list[tuple[float, Twist]], since_s: float) -> float:
    """From `since_s` until the last command that moved the robot, once it has been told to stand for a second."""

    def told_to_stand() -> bool:
        return len(commands) > 0 and commands[-1][0] - last_s() > 1.0

    def last_s() -> float:
        return max((at_s for at_s, message in commands if moving(message) and at_s > since_s), default=since_s)

    assert robot.spin_until(told_to_stand, 20.0), "the robot was not stopped, or left alone instead of told to stand"
    return last_s() - since_s


def test_any_input_pulled_stops_the_robot_and_it_goes_on_when_it_is_back(driven) -> None:
    robot, gate, commands, world_model = driven
    goals = robot.node.create_publisher(PoseStamped, "/planner/goal_pose", 1)
    assert robot.spin_until(lambda: len(robot.heard["occupancy"]) > 5 and goals.get_subscription_count() > 0, 120.0)
    assert not commands, "without a goal nothing is commanded"
    pulls = {
        "lidar": ({"/lidar/points"}, None),
        "camera": ({"/camera/image_raw"}, None),
        "odometry": ({"/odom"}, None),
        "world_model": (set(), (signal.SIGSTOP, signal.SIGCONT)),
    }
    late_s = {}
    for name, (topics, signals) in pulls.items():
        goal = PoseStamped()
        goal.header.frame_id = "base_link"
        goal.pose.position.x = 5.0
        goals.publish(goal)
        moves(robot, commands)
        gate.closed = topics
        if signals:
            world_model.send_signal(signals[0])
        pulled_s = time.monotonic()
        late_s[name] = stopped_after_s(robot, commands, pulled_s)
        gate.closed = set()
        if signals:
            world_model.send_signal(signals[1])
        moves(robot, commands)
    print("stopped after", {name: f"{late:.2f} s" for name, late in late_s.items()})
    assert max(late_s.values()) < MAX_AGE_S + 0.1 + BUSY_S, late_s


def test_a_plan_is_followed_step_by_step_to_its_end() -> None:
    commands = np.array([[0.5, 0.0], [0.7, 0.1]])
    followed = Followed(Plan(PlanStatus.OK, "", np.zeros((3, 3)), commands, 0.2, 0.0, 0.0, 0.0), begun_s=10.0, made_s=0.0)
    assert followed.command(10.1).tolist() == [0.5, 0.0]
    assert followed.command(10.3).tolist() == [0.7, 0.1]
    assert followed.command(10.5).tolist() == [0.0, 0.0]


def test_in_simulated_time_commands_change_as_fast_as_that_time_goes() -> None:
    """A simulator at a third of real time would otherwise see three times the acceleration."""
    clock = SimpleNamespace(ros_time_is_active=True, now=lambda: SimpleNamespace(nanoseconds=next(times_ns)))
    times_ns = iter([1_000_000_000, 1_100_000_000, 1_100_000_000, 1_000_000_000])
    passed_s = []
    node = SimpleNamespace(get_clock=lambda: clock, create_publisher=lambda *_: SimpleNamespace(publish=lambda _: None))
    commands = Commands(node, stamped=False, limited=lambda last, wanted, dt_s: passed_s.append(dt_s) or wanted)
    for _ in range(4):
        commands.drive(np.array([1.0, 0.0]), "base_link")
    assert passed_s == pytest.approx([0.5, 0.1, 0.0, 0.0]), "the last: the simulation was reset"
    clock.ros_time_is_active = False
    assert motion_time_s(node) == pytest.approx(time.monotonic(), abs=1.0)


def test_a_sensor_in_use_is_missed_a_slower_one_is_not() -> None:
    watch = SensorWatch()
    tenth_ns = 100_000_000
    assert not watch.missing(("lidar", "camera"), 0)
    assert not watch.missing(("lidar",), tenth_ns)
    assert not watch.missing(("lidar", "camera"), 2 * tenth_ns)
    assert not watch.missing(("lidar",), 3 * tenth_ns)
    assert watch.missing(("lidar",), 4 * tenth_ns) == {"camera"}
    assert not watch.missing(("lidar", "camera"), 6 * tenth_ns)
