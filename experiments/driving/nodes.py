"""The real nodes over DDS, for one episode: the simulated robot here, world_model and planner as processes of their own.

Simulated time goes on only when the nodes have answered: forecasts of each sweep, a plan on them, a command for each twentieth of a second.
How fast this machine is changes nothing but how long it takes.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path as Folder
from typing import Any

import rclpy
from geometry_msgs.msg import TwistStamped
from nav_msgs.msg import Path
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node

from experiments.driving.drive import LIDAR
from experiments.driving.methods import TICK_S
from experiments.driving.worlds import ROBOT_RADIUS_M, Episode, World
from jepa_ros.msg import OccupancyForecast, PedestrianForecastArray
from jepa_ros.ros import readers
from jepa_ros.ros.tools.node_process import NodeProcess
from jepa_ros.ros.tools.simulator import SensorTopics
from jepa_ros.sim.sensors.recording import Recorder
from jepa_ros.types import NANOSECONDS

START_NS = 1_700_000_000 * NANOSECONDS
ANSWER_S = 60.0  # of this machine's time: a node that says nothing for so long is dead
NODES_S = 600.0  # to start in
PLANNING_S = 10.0  # enough for all iterations of the search on a busy machine
OLD_S = 60.0  # the ages that the nodes allow; simulated time does not pass while they compute
MATCHED_S = 1.0  # that a subscription is known does not mean that it hears
COMMANDS_HZ = 50.0
PLANS = 2  # that must have come since a forecast did: the first may have been begun before it
GOAL_TOLERANCE_M = 0.5  # planner.goal_tolerance_m
COMMANDS = 2  # the same of commands and plans
OWN_BODY_M = [-0.5, -0.5, 0.5, 0.5]  # by its height outdoors, the robot's lidar would be taken for a car's: blind within 2.5 m


class NoAnswer(RuntimeError):
    """A node did not do its part in time."""


class Nodes:
    """world_model, planner and the simulated robot, for one episode; a context manager."""

    def __init__(self, world: World, episode: Episode, iterations: int, logs: Folder) -> None:
        """iterations: of the planner's search."""
        self.simulation = world.simulation
        self.recorder = Recorder(world.simulation, episode.seed, LIDAR, None, 0)
        self.command: tuple[float, float] = (0.0, 0.0)
        self._heard: dict[str, int] = {}
        self._plans = self._commands = 0
        self._command_ns = 0
        self._stack = ExitStack()
        logs.mkdir(parents=True, exist_ok=True)
        same = {"use_sim_time": True, "autostart": True}
        model = {"sensing.own_body_m": OWN_BODY_M}
        planner: dict[str, Any] = {
            "model": "''",  # plans paths only
            "nice": os.getpriority(os.PRIO_PROCESS, 0),
            "inputs.max_age_s": OLD_S,
            "inputs.odometry_topic": "/odom",
            "planner.robot_radius_m": ROBOT_RADIUS_M,
            "planner.goal_tolerance_m": GOAL_TOLERANCE_M,
            "planner.dt_s": TICK_S,
            "planner.search.iterations": iterations,
            "controller.enabled": True,
            "controller.stamped": True,
            "controller.rate_hz": COMMANDS_HZ,
            "controller.planning_s": PLANNING_S,
            "controller.max_age_s": OLD_S,
        }
        self._processes = [
            NodeProcess("world_model", same | model, logs),
            NodeProcess("planner", same | planner, logs),
        ]

    def __enter__(self) -> Nodes:
        rclpy.init()
        self._stack.callback(rclpy.try_shutdown)
        self.node = Node("driving_bench")
        self._stack.callback(self.node.destroy_node)
        self._executor = SingleThreadedExecutor()
        self._executor.add_node(self.node)
        for kind, name in ((OccupancyForecast, "occupancy"), (PedestrianForecastArray, "pedestrians")):
            self.node.create_subscription(kind, f"world_model/{name}", lambda message, name=name: self._on_forecast(name, message), 1)
        self.node.create_subscription(Path, "planner/path", self._on_path, 10)
        self.node.create_subscription(TwistStamped, "cmd_vel", self._on_command, 1)
        self.topics = SensorTopics(self.node, self.recorder, START_NS, without=("/ground_truth",))
        for process in self._processes:
            self._stack.enter_context(process)
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _on_forecast(self, name: str, message: Any) -> None:
        self._heard[name] = readers.stamp_ns_of(message.header.stamp)

    def _on_path(self, message: Path) -> None:
        self._plans += 1

    def _on_command(self, message: TwistStamped) -> None:
        self.command = (message.twist.linear.x, message.twist.angular.z)
        self._command_ns = readers.stamp_ns_of(message.header.stamp)
        self._commands += 1

    def wait(self, done: Callable[[], Any], what: str, limit_s: float = ANSWER_S) -> None:
        """Raises NoAnswer where it does not come true, RuntimeError where a node has ended."""
        end_s = time.monotonic() + limit_s
        while not done():
            self._executor.spin_once(timeout_sec=0.1)
            for process in self._processes:
                process.check()
            if time.monotonic() > end_s:
                raise NoAnswer(f"{what} did not come within {limit_s:.0f} s")

    def wait_until_heard(self) -> None:
        """Until both nodes listen to all that they need."""
        wanted = {"/lidar/points": 1, "/odom": 2, "/tf": 2, "/clock": 2}
        self.wait(lambda: all(self.node.count_subscribers(topic) >= count for topic, count in wanted.items()), "a listener", NODES_S)
        self.check_alone()
        end_s = time.monotonic() + MATCHED_S
        self.wait(lambda: time.monotonic() > end_s, "time")

    def check_alone(self) -> None:
        """Raises NoAnswer where another robot is in this domain: its sensors would be taken for ours."""
        others = [topic for topic in ("/odom", "/lidar/points", "/clock", "/cmd_vel") if self.node.count_publishers(topic) > 1]
        if others:
            raise NoAnswer(f"others publish {', '.join(others)}, too: choose another ROS_DOMAIN_ID")

    def measure(self) -> None:
        """One sweep, until its forecasts are there."""
        stamp_ns = self.topics.measure()
        self.wait(lambda: all(self._heard.get(name, 0) >= stamp_ns for name in ("occupancy", "pedestrians")), f"a forecast of {stamp_ns}")

    def wait_for_plan(self, given_up: Callable[[], bool]) -> None:
        """Until a plan has been made on what was heard until now, and is driven by, or nobody makes one any more."""
        wanted = self._plans + PLANS
        self.wait(lambda: self._plans >= wanted or given_up(), "a plan")
        followed = self._commands + COMMANDS
        self.wait(lambda: self._commands >= followed or given_up(), "a command")

    def wait_for_command(self, given_up: Callable[[], bool]) -> None:
        """Until there is a command of the present moment, or nobody gives one any more."""
        now_ns = self.topics.tell_motion()
        self.wait(lambda: self._command_ns >= now_ns or given_up(), "a command")
