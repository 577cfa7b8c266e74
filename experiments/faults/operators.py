"""More faults, as operators make them: processes halted and doubled, nodes deactivated, strangers on the topics, goals that are none."""

from __future__ import annotations

import math
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np
from geometry_msgs.msg import PoseStamped, Twist
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState
from rosgraph_msgs.msg import Clock

from experiments.faults import gate
from experiments.faults.gate import CAMERA, CLOCK, LIDAR, ODOMETRY, TRANSFORMS, TYPES, Spoiler
from experiments.faults.robot import Robot
from experiments.faults.scenarios import Fault, spoiled
from jepa_ros.ros.conversions import time_message
from jepa_ros.types import NANOSECONDS

KINDS = {
    LIDAR: "sensor_msgs/msg/PointCloud2",
    CAMERA: "sensor_msgs/msg/Image",
    ODOMETRY: "nav_msgs/msg/Odometry",
    TRANSFORMS: gate.TRANSFORM_TYPE,
}
HALT_S = 3.0  # of the six that a fault lasts
FROZEN = "from experiments.faults.strangers import listen_for_good; listen_for_good()"
ASK_AND_DIE = "from experiments.faults.strangers import ask_and_die; ask_and_die()"


def edited(topic: str, change: Callable[[Any], None]) -> Spoiler:
    """Messages that are well formed, with something else in them."""

    def spoil(data: bytes) -> list[tuple[float, bytes]]:
        message: Any = TYPES.deserialize_cdr(data, KINDS[topic])
        change(message)
        return [(0.0, bytes(TYPES.serialize_cdr(message, KINDS[topic])))]

    return spoil


def slowed(period_s: float) -> Spoiler:
    """One message in so many seconds."""
    last_s = [-math.inf]

    def spoil(data: bytes) -> list[tuple[float, bytes]]:
        if time.monotonic() - last_s[0] < period_s:
            return []
        last_s[0] = time.monotonic()
        return [(0.0, data)]

    return spoil


@contextmanager
def halted(robot: Robot, name: str) -> Iterator[None]:
    """SIGSTOP, as a debugger or a full swap does, and SIGCONT while the fault lasts: it must not go on where it was."""
    pid = robot.processes[name].pid
    os.kill(pid, signal.SIGSTOP)
    timer = threading.Timer(HALT_S, os.kill, (pid, signal.SIGCONT))
    timer.start()
    try:
        yield
    finally:
        timer.join()


@contextmanager
def doubled(robot: Robot, name: str) -> Iterator[None]:
    """The same node once more, under the same name: a second terminal, a launch file started twice."""
    with robot.another(name):
        yield


@contextmanager
def transition(robot: Robot, name: str, there: int, back: int) -> Iterator[None]:
    """As `ros2 lifecycle set` does, while the robot drives."""
    _change(robot, name, there)
    try:
        yield
    finally:
        _change(robot, name, back)


@contextmanager
def disordered(robot: Robot) -> Iterator[None]:
    """Ten transitions a second on both nodes, most of them impossible as things are; in the end both are active."""
    rng = np.random.default_rng(2)
    ids = [Transition.TRANSITION_CONFIGURE, Transition.TRANSITION_ACTIVATE, Transition.TRANSITION_DEACTIVATE, 77, 255]
    with _repeated(robot, 0.1, lambda: _send(robot, str(rng.choice(["planner", "world_model"])), int(rng.choice(ids)))):
        yield
    for name in ("world_model", "planner"):
        _change(robot, name, Transition.TRANSITION_ACTIVATE)


def _send(robot: Robot, name: str, which: int) -> Any:
    client = robot.client(ChangeState, f"/{name}/change_state")
    return client.call_async(ChangeState.Request(transition=Transition(id=which)))


def _change(robot: Robot, name: str, which: int) -> None:
    answer = _send(robot, name, which)
    robot.wait(answer.done, 10.0)


@contextmanager
def _repeated(robot: Robot, period_s: float, act: Callable[[], Any]) -> Iterator[None]:
    timer = robot.node.create_timer(period_s, act)
    try:
        yield
    finally:
        robot.node.destroy_timer(timer)


@contextmanager
def foreign_commands(robot: Robot) -> Iterator[None]:
    """Somebody else on cmd_vel, fifty times a second: a joystick that was left on."""
    publisher = robot.node.create_publisher(Twist, "/cmd_vel", 1)
    command = Twist()
    command.linear.x = 0.2
    with _repeated(robot, 0.02, lambda: publisher.publish(command)):
        yield
    robot.node.destroy_publisher(publisher)


@contextmanager
def second_clock(robot: Robot) -> Iterator[None]:
    """A bag that is played with its clock beside a simulator with its own."""
    publisher = robot.node.create_publisher(Clock, CLOCK, 1)
    behind_ns = 30 * NANOSECONDS
    with _repeated(robot, 0.1, lambda: publisher.publish(Clock(clock=time_message(max(0, robot.gate.clock_ns - behind_ns))))):
        yield
    robot.node.destroy_publisher(publisher)


@contextmanager
def goals(robot: Robot, every_s: float, wild: bool) -> Iterator[None]:
    """On ~/goal_pose. wild: goals that are none; else good ones, faster than anybody can plan."""
    rng = np.random.default_rng(3)
    numbers = [math.nan, math.inf, -1e9, 1e308, 0.0]

    def send() -> None:
        goal = PoseStamped()
        goal.header.frame_id = str(rng.choice(["base_link", "odom", "nowhere", "", "x" * 5000])) if wild else "base_link"
        goal.header.stamp = time_message(int(rng.choice([0, 10**18, 2 * 10**18]))) if wild else goal.header.stamp
        goal.pose.position.x = float(rng.choice(numbers)) if wild else float(rng.uniform(1.0, 4.0))
        goal.pose.orientation.z = float(rng.choice(numbers)) if wild else 0.0
        robot.goals.publish(goal)

    with _repeated(robot, every_s, send):
        yield
    robot.send_goal()


@contextmanager
def frozen_listener(robot: Robot) -> Iterator[None]:
    """A viewer that has subscribed to everything, reliably, and hangs."""
    process = subprocess.Popen([sys.executable, "-c", FROZEN], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    process.stdout.readline()
    os.kill(process.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


@contextmanager
def dying_clients(robot: Robot) -> Iterator[None]:
    """Clients that ask and are killed before the answer comes, one after the other."""
    stop = threading.Event()

    def run() -> None:
        while not stop.is_set():
            with subprocess.Popen([sys.executable, "-c", ASK_AND_DIE]) as process:
                process.wait()

    threads = [threading.Thread(target=run) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def _not_a_number(message: Any) -> None:
    message.pose.pose.position.x = math.nan
    message.twist.twist.linear.x = math.nan


def _other_frame(message: Any) -> None:
    message.header.frame_id = "odom_combined"


def _other_child(message: Any) -> None:
    message.child_frame_id = "wheel_left"


def _broken_turn(message: Any) -> None:
    for edge in message.transforms:
        edge.transform.rotation.w = math.nan


def _empty(message: Any) -> None:
    message.width, message.row_step, message.data = 0, 0, message.data[:0]


def _one_field_renamed(message: Any) -> None:
    message.fields[0].name = "range"


def _huge(message: Any) -> None:
    times = max(1, 2_000_000 // max(1, message.width * message.height))
    message.data = np.tile(message.data, times)
    message.height, message.width = 1, message.width * message.height * times
    message.row_step = message.width * message.point_step


def _other_size(message: Any) -> None:
    message.height, message.data = message.height // 2, message.data[: message.step * (message.height // 2)]


def operator_faults() -> dict[str, Fault]:
    """Name -> fault, in the order in which they are tried."""

    def change(topic: str, how: Callable[[Any], None]) -> Fault:
        return partial(spoiled, topics=(topic,), make=lambda: edited(topic, how))

    deactivate, activate = Transition.TRANSITION_DEACTIVATE, Transition.TRANSITION_ACTIVATE
    return {
        **{f"{name} halted for {HALT_S:.0f} s": partial(halted, name=name) for name in ("world_model", "planner", "simulator")},
        **{f"{name} started twice": partial(doubled, name=name) for name in ("world_model", "planner")},
        **{f"{name} deactivated": partial(transition, name=name, there=deactivate, back=activate) for name in ("world_model", "planner")},
        "transitions in disorder": disordered,
        "a joystick on cmd_vel": foreign_commands,
        "a second clock": second_clock,
        "the clock alone stands still": partial(spoiled, topics=(CLOCK,), make=lambda: gate.pulled),
        "odometry that is no number": change(ODOMETRY, _not_a_number),
        "odometry in another frame": change(ODOMETRY, _other_frame),
        "odometry of another part": change(ODOMETRY, _other_child),
        "transforms that are no number": change(TRANSFORMS, _broken_turn),
        "transforms once a second": partial(spoiled, topics=(TRANSFORMS,), make=lambda: slowed(1.0)),
        "lidar once a second": partial(spoiled, topics=(LIDAR,), make=lambda: slowed(1.0)),
        "clouds without a point": change(LIDAR, _empty),
        "clouds without x": change(LIDAR, _one_field_renamed),
        "clouds of two million points": change(LIDAR, _huge),
        "images of another size": change(CAMERA, _other_size),
        "goals that are none": partial(goals, every_s=0.05, wild=True),
        "two hundred goals a second": partial(goals, every_s=0.005, wild=False),
        "a viewer that hangs": frozen_listener,
        "clients that die": dying_clients,
    }
