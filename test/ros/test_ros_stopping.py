"""Every way out while the robot drives at 1.5 m/s: the last command is zero and the robot comes to rest within its own braking distance.

Real nodes over real DDS in our simulator; one world model serves all ways, simulator and planner are started anew for each.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="needs ROS 2: run `make build`, then tests through scripts/env.sh")
pytest.importorskip("jepa_ros.msg", reason="needs the built interfaces: run `make build`, then tests through scripts/env.sh")
pytestmark = pytest.mark.ros

import ros_harness  # noqa: E402
from geometry_msgs.msg import PoseStamped, Twist  # noqa: E402
from lifecycle_msgs.msg import Transition  # noqa: E402
from lifecycle_msgs.srv import ChangeState, GetState  # noqa: E402
from nav_msgs.msg import Odometry  # noqa: E402
from ros_harness import Robot  # noqa: E402

SPEED_MPS = 1.5
FRAME_S = 0.2  # the simulator looks at commands once a frame
MAX_AGE_S = 1.2  # wide, like the time to plan: this is about stopping, also on a machine that is busy with other tests
TIMEOUT_S = 0.3
HURRY_S = 0.5  # what a test machine that is busy with other things may add
PLANNER = {
    "model": "''",
    "autostart": True,
    "use_sim_time": True,
    "inputs__odometry_topic": "/odom",
    "controller__enabled": True,
    "controller__max_age_s": MAX_AGE_S,
    "controller__planning_s": 0.4,
    "planner__limits__max_speed_mps": SPEED_MPS,
}


class Drive:
    """A simulated robot that drives, and what it was told and did."""

    def __init__(self, robot: Robot, relayed: bool) -> None:
        """relayed: between planner and base stands velocity_timeout."""
        self.robot = robot
        self.commands: list[Twist] = []
        self.speeds: list[tuple[float, float, float, float]] = []  # when, m/s, x m, y m
        self.told_to_stand: tuple[float, float] | None = None  # where it was, m, when the newest row of zeros began
        self._handles = [
            robot.node.create_subscription(Twist, "/base/cmd_vel", self._on_command, 50),
            robot.node.create_subscription(Odometry, "/odom", self._on_odometry, 5),
        ]
        small = {"lidar_rings": 16, "lidar_azimuths": 360, "cameras": 0, "people": 0, "scenario": "hall", "rate_hz": 1 / FRAME_S}
        # A base without a watchdog: it goes on with the last command that it has heard.
        self.simulator = robot.start_node("simulator", {"cmd_vel": "base/cmd_vel"}, command_timeout_s=60.0, **small)
        self.relay = robot.start_node("velocity_timeout", {"cmd_vel": "base/cmd_vel"}, timeout_s=TIMEOUT_S) if relayed else None
        self.planner = robot.start_node("planner", {"cmd_vel": "cmd_vel_in" if relayed else "base/cmd_vel"}, **PLANNER)

    def to_full_speed(self) -> None:
        goals = self.robot.node.create_publisher(PoseStamped, "/planner/goal_pose", 1)
        assert self.robot.spin_until(lambda: goals.get_subscription_count() > 0 and len(self.speeds) > 5, 90.0)
        self.robot.forget()
        assert self.robot.spin_until(lambda: len(self.robot.heard["occupancy"]) > 3, 30.0), "no forecast"
        goal = PoseStamped()
        goal.header.frame_id = "base_link"
        goal.pose.position.x = 12.0
        goals.publish(goal)
        fast = self.robot.spin_until(lambda: self.speeds[-1][1] > 0.93 * SPEED_MPS, 20.0)
        self.robot.node.destroy_publisher(goals)
        assert fast, (self.speeds[-1], len(self.commands))

    def rest(self, timeout_s: float = 10.0) -> float:
        """Metres from now until it stands for a second."""
        start = self.speeds[-1]
        since_s = time.monotonic()
        assert self.robot.spin_until(lambda: time.monotonic() - self._moved_s(since_s) > 1.0, timeout_s), "it never came to rest"
        return float(np.hypot(self.speeds[-1][2] - start[2], self.speeds[-1][3] - start[3]))

    def _moved_s(self, since_s: float) -> float:
        return max((at_s for at_s, speed, _, _ in self.speeds if abs(speed) > 0.02), default=since_s)

    def stopped(self) -> bool:
        """By the last command that the base heard."""
        twist = self.commands[-1]
        return (twist.linear.x, twist.linear.y, twist.angular.z) == (0.0, 0.0, 0.0)

    def close(self) -> None:
        for handle in self._handles:
            self.robot.node.destroy_subscription(handle)
        for process in filter(None, (self.planner, self.relay, self.simulator)):
            if process.poll() is None:
                process.send_signal(signal.SIGINT)
        self.robot.spin_until(lambda: all(p.poll() is not None for p in (self.planner, self.simulator)), 10.0)

    def since_told_m(self) -> float:
        """From where it was told to stand, for good, to where it stands."""
        assert self.told_to_stand is not None
        return float(np.hypot(self.speeds[-1][2] - self.told_to_stand[0], self.speeds[-1][3] - self.told_to_stand[1]))

    def _on_command(self, twist: Twist) -> None:
        self.commands.append(twist)
        if not self.stopped():
            self.told_to_stand = None
        elif self.told_to_stand is None and self.speeds:
            self.told_to_stand = self.speeds[-1][2:]

    def _on_odometry(self, message: Odometry) -> None:
        position = message.pose.pose.position
        self.speeds.append((time.monotonic(), message.twist.twist.linear.x, position.x, position.y))


@pytest.fixture(scope="module")
def world() -> Iterator[Robot]:
    robot = Robot(publish=False)
    robot.world_model = robot.start_node("world_model", model="persistence", autostart=True, use_sim_time=True)
    yield robot
    robot.close()


@pytest.fixture
def drive(world: Robot, request: pytest.FixtureRequest) -> Iterator[Drive]:
    drive = Drive(world, relayed=getattr(request, "param", False))
    yield drive
    drive.close()


def braking_m(delay_s: float) -> float:
    """With what the simulator takes to look at a command."""
    return ros_harness.braking_m(SPEED_MPS, delay_s + FRAME_S)


@pytest.mark.parametrize(
    "signals",
    [(signal.SIGINT,), (signal.SIGINT, signal.SIGINT, signal.SIGINT), (signal.SIGTERM,), (signal.SIGHUP,)],
    ids=["ctrl-C", "ctrl-C three times", "SIGTERM", "SIGHUP"],
)
def test_told_to_stop_it_stops_the_robot_and_leaves(drive: Drive, signals) -> None:
    drive.to_full_speed()
    for number in signals:
        drive.planner.send_signal(number)
        time.sleep(0.02)
    driven_m = drive.rest()
    assert drive.stopped()
    assert driven_m < braking_m(HURRY_S), driven_m
    assert drive.robot.spin_until(lambda: drive.planner.poll() is not None, 20.0)
    assert drive.planner.returncode == 0
    errors = drive.planner.stderr.read()
    assert "Traceback" not in errors
    assert "ERROR" not in errors, errors


@pytest.mark.parametrize("transition", ["deactivate", "cleanup", "shutdown"])
def test_a_transition_stops_the_robot(drive: Drive, transition: str) -> None:
    drive.to_full_speed()
    steps = {
        "deactivate": [Transition.TRANSITION_DEACTIVATE],
        "cleanup": [Transition.TRANSITION_DEACTIVATE, Transition.TRANSITION_CLEANUP],
        "shutdown": [Transition.TRANSITION_ACTIVE_SHUTDOWN],
    }[transition]
    for step in steps:
        request = ChangeState.Request(transition=Transition(id=step))
        assert drive.robot.call(ChangeState, "/planner/change_state", request).success
    driven_m = drive.rest()
    assert drive.stopped()
    assert driven_m < braking_m(HURRY_S), driven_m
    assert drive.planner.poll() is None


@pytest.mark.parametrize("number", [signal.SIGSTOP, signal.SIGKILL], ids=["halted", "killed"])
def test_a_lost_partner_stops_the_robot(drive: Drive, number: int) -> None:
    """Also the simulated lidar would do; what the planner sees is that forecasts end."""
    drive.to_full_speed()
    partner = drive.robot.world_model
    partner.send_signal(number)
    try:
        driven_m = drive.rest()
        assert drive.stopped()
        assert driven_m < braking_m(MAX_AGE_S + HURRY_S), driven_m
    finally:
        if number == signal.SIGKILL:
            partner.wait(10)
            drive.robot.world_model = drive.robot.start_node("world_model", model="persistence", autostart=True, use_sim_time=True)
        else:
            partner.send_signal(signal.SIGCONT)


@pytest.mark.parametrize("drive", [True], indirect=True, ids=["relayed"])
def test_where_the_planner_is_killed_the_relay_stops_the_robot(drive: Drive) -> None:
    drive.to_full_speed()
    drive.planner.kill()
    driven_m = drive.rest()
    assert drive.stopped()
    assert driven_m < braking_m(TIMEOUT_S + HURRY_S), driven_m
    assert drive.relay is not None
    drive.relay.send_signal(signal.SIGINT)
    assert drive.relay.wait(10) == 0


FAULTY_TIMER = """
import sys
from jepa_ros.ros.planner.controller import Controller
from jepa_ros.ros.planner import node

def fail(self):
    if self._followed is not None and self._followed.plan.commands[0][0] > 1.3:
        raise RuntimeError("a fault of ours")
    return timer(self)

timer, Controller._on_timer = Controller._on_timer, fail
sys.exit(node.main())
"""
FAULTY_TRANSITION = """
import sys
from jepa_ros.ros.planner import node

def fail(self):
    raise RuntimeError("a fault of ours")

node.PlannerSession.deactivate = fail
sys.exit(node.main())
"""
NOTHING_CLOSES = FAULTY_TRANSITION.replace("deactivate = fail", "deactivate = node.PlannerSession.close = fail")


def restart_planner(drive: Drive, program: str) -> None:
    """The same node with something broken in it."""
    drive.planner.send_signal(signal.SIGINT)
    assert drive.robot.spin_until(lambda: drive.planner.poll() is not None, 20.0)
    arguments = drive.planner.args[drive.planner.args.index("--ros-args") :]
    environment = os.environ | {"ROS_DOMAIN_ID": str(drive.robot.domain), "OMP_NUM_THREADS": "1"}
    drive.planner = subprocess.Popen([sys.executable, "-c", program, *arguments], env=environment, stderr=subprocess.PIPE, text=True)


def test_a_fault_of_ours_stops_the_robot_before_the_node_ends(drive: Drive) -> None:
    restart_planner(drive, FAULTY_TIMER)
    try:
        drive.to_full_speed()
    except AssertionError:
        assert drive.planner.poll() is not None, "it never drove fast enough to fail"
    drive.rest()
    assert drive.stopped()
    assert drive.since_told_m() < braking_m(HURRY_S)
    assert drive.robot.spin_until(lambda: drive.planner.poll() is not None, 10.0)
    assert drive.planner.returncode == 1
    assert "a fault of ours" in drive.planner.stderr.read()


def test_a_transition_that_fails_stops_the_robot(drive: Drive) -> None:
    restart_planner(drive, FAULTY_TRANSITION)
    drive.to_full_speed()
    request = ChangeState.Request(transition=Transition(id=Transition.TRANSITION_DEACTIVATE))
    assert not drive.robot.call(ChangeState, "/planner/change_state", request).success
    driven_m = drive.rest()
    assert drive.stopped()
    assert driven_m < braking_m(HURRY_S), driven_m
    state = drive.robot.call(GetState, "/planner/get_state", GetState.Request()).current_state
    assert state.label == "unconfigured", "it can be put right and configured again"


def test_where_even_cleaning_up_fails_the_robot_stands(drive: Drive) -> None:
    restart_planner(drive, NOTHING_CLOSES)
    drive.to_full_speed()
    request = ChangeState.Request(transition=Transition(id=Transition.TRANSITION_DEACTIVATE))
    assert not drive.robot.call(ChangeState, "/planner/change_state", request).success
    driven_m = drive.rest()
    assert drive.stopped()
    assert driven_m < braking_m(HURRY_S), driven_m
