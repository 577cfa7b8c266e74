"""One episode driven by the real nodes over DDS: the simulated robot here, world_model and planner as processes of their own.

Simulated time goes on only when the nodes have answered: forecasts of each sweep, a plan on them, a command for each twentieth of a second.
How fast this machine is changes nothing but how long it takes.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path as Folder
from typing import Any

import numpy as np
import rclpy
from geometry_msgs.msg import Pose, PoseStamped, Quaternion, TwistStamped
from nav_msgs.msg import Path
from rclpy.action import ActionClient
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node

from experiments.driving.drive import LIDAR, REACHED_M, TIME_FACTOR, TIME_SPARE_S, WATCHED_TICKS, Outcome, Watch
from experiments.driving.methods import TICK_S
from experiments.driving.worlds import MAX_SPEED_MPS, ROBOT_RADIUS_M, Episode, World, global_path, make_world
from jepa_ros.msg import OccupancyForecast, PedestrianForecastArray
from jepa_ros.planning.outcome import placed
from jepa_ros.ros import conversions, readers
from jepa_ros.ros.tools.node_process import NodeProcess
from jepa_ros.ros.tools.simulator import SensorTopics
from jepa_ros.sim.sensors.recording import Recorder
from jepa_ros.sim.simulation import SUBSTEP_S, Simulation
from jepa_ros.srv import PlanPath
from jepa_ros.types import NANOSECONDS, FloatArray

START_NS = 1_700_000_000 * NANOSECONDS
ANSWER_S = 60.0  # of this machine's time: a node that says nothing for so long is dead
NODES_S = 600.0  # to start in
PLANNING_S = 10.0  # enough for all iterations of the search on a busy machine
OLD_S = 60.0  # the ages that the nodes allow; simulated time does not pass while they compute
MATCHED_S = 1.0  # that a subscription is known does not mean that it hears
COMMANDS_HZ = 50.0
PLANS = 2  # that must have come since a forecast did: the first may have been begun before it


@dataclass(frozen=True)
class NodeDrive:
    """What came of an episode."""

    outcome: Outcome
    sent: int  # paths: 1, and another for each that was given up
    ended: tuple[str, ...]  # how each ended, by the result's error_msg; empty for plan_path


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
        self._plans = 0
        self._command_ns = 0
        self._stack = ExitStack()
        logs.mkdir(parents=True, exist_ok=True)
        same = {"use_sim_time": True, "autostart": True}
        planner: dict[str, Any] = {
            "model": "''",  # plans paths only
            "nice": os.getpriority(os.PRIO_PROCESS, 0),
            "inputs.max_age_s": OLD_S,
            "inputs.odometry_topic": "/odom",
            "planner.robot_radius_m": ROBOT_RADIUS_M,
            "planner.dt_s": TICK_S,
            "planner.search.iterations": iterations,
            "controller.enabled": True,
            "controller.stamped": True,
            "controller.rate_hz": COMMANDS_HZ,
            "controller.planning_s": PLANNING_S,
            "controller.max_age_s": OLD_S,
        }
        self._processes = [
            NodeProcess("world_model", same, logs),
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
        """Until a plan has been made on what was heard until now, or nobody makes one any more."""
        wanted = self._plans + PLANS
        self.wait(lambda: self._plans >= wanted or given_up(), "a plan")

    def wait_for_command(self, given_up: Callable[[], bool]) -> None:
        """Until there is a command of the present moment, or nobody gives one any more."""
        now_ns = self.topics.tell_time()
        self.wait(lambda: self._command_ns >= now_ns or given_up(), "a command")


class OnPath:
    """FollowPath as its client: the path is sent, and sent again from where the robot is if it is given up, as a behavior tree does."""

    def __init__(self, nodes: Nodes, world: World) -> None:
        from nav2_msgs.action import FollowPath

        self._nodes, self._world, self._kind = nodes, world, FollowPath
        self._client: Any = ActionClient(nodes.node, FollowPath, "planner/follow_path")
        nodes.wait(self._client.server_is_ready, "the FollowPath server", NODES_S)
        self._result: Any = None
        self.sent, self.ended = 0, []  # type: int, list[str]

    @property
    def is_done(self) -> bool:
        return self._result is None or bool(self._result.done())

    def arrived(self) -> bool:
        """Whether the action says so."""
        return self._result is not None and self._result.done() and self._result.result().result.error_code == 0

    def tick(self) -> None:
        """After the forecasts of a sweep: sends a path where none is followed, then waits for a plan."""
        if self.arrived():
            return
        if self.is_done:
            if self._result is not None:
                self.ended.append(self._result.result().result.error_msg)
            self._send()
        self._nodes.wait_for_plan(lambda: self.is_done)

    def _send(self) -> None:
        simulation = self._world.simulation
        base = self._nodes.recorder.frame().odom_from_base
        odom_from_world = base @ np.linalg.inv(simulation.world_from_base())
        places = placed(global_path(simulation, self._world.goal_m), odom_from_world)
        header = conversions.header_message(0, "odom")
        path = Path(header=header, poses=[PoseStamped(header=header, pose=pose_at(place)) for place in places])
        sent = self._client.send_goal_async(self._kind.Goal(path=path))
        self._nodes.wait(sent.done, "an answer to the path")
        handle: Any = sent.result()
        if not handle.accepted:
            raise NoAnswer("the planner did not accept the path")
        self._result = handle.get_result_async()
        self.sent += 1

    def step(self) -> tuple[float, float]:
        """The command for the next substep."""
        self._nodes.wait_for_command(lambda: self.is_done)
        return (0.0, 0.0) if self.is_done else self._nodes.command


class ByService:
    """plan_path asked at every sweep; the first command of each plan is driven, nothing where there is none."""

    sent, ended = 0, ()

    def __init__(self, nodes: Nodes, goal_odom_m: FloatArray) -> None:
        self._nodes = nodes
        self._client: Any = nodes.node.create_client(PlanPath, "planner/plan_path")
        nodes.wait(self._client.service_is_ready, "plan_path", NODES_S)
        header = conversions.header_message(0, "odom")
        self._request = PlanPath.Request(goal=PoseStamped(header=header, pose=pose_at(goal_odom_m)), deadline=OLD_S)
        self._command = (0.0, 0.0)

    def arrived(self) -> bool:
        return False

    def tick(self) -> None:
        """After the forecasts of a sweep."""
        answer = self._ask()
        end_s = time.monotonic() + ANSWER_S
        stamp_ns = self._nodes.topics.tell_time()
        while answer.commands and readers.stamp_ns_of(answer.forecast_stamp) < stamp_ns:
            if time.monotonic() > end_s:
                raise NoAnswer("a plan on the newest forecast did not come")
            answer = self._ask()  # the planner hears a forecast a little later than we do
        first = answer.commands[0] if answer.commands else None
        self._command = (first.linear.x, first.angular.z) if first else (0.0, 0.0)

    def _ask(self) -> Any:
        future = self._client.call_async(self._request)
        self._nodes.wait(future.done, "an answer of plan_path")
        return future.result()

    def step(self) -> tuple[float, float]:
        """The command for the next substep."""
        self._nodes.topics.tell_time()
        return self._command


def pose_at(place: FloatArray) -> Pose:
    """(x m, y m), any heading."""
    pose = Pose(orientation=Quaternion(x=0.0, y=0.0, z=0.0, w=0.0))
    pose.position.x, pose.position.y = map(float, place[:2])
    return pose


def drive_nodes(episode: Episode, method: str, tracks: Folder | None, iterations: int, logs: Folder) -> NodeDrive:
    """Run an episode to its end as `drive` does, with the nodes. Raises NoAnswer, RuntimeError."""
    world = make_world(episode, tracks)
    with Nodes(world, episode, iterations, logs) as nodes:
        simulation, recorder = world.simulation, nodes.recorder
        goal_m = placed(world.goal_m[None], np.linalg.inv(simulation.world_from_base()))[0]  # odometry starts here
        driver = OnPath(nodes, world) if method == "FollowPath action" else ByService(nodes, goal_m)
        nodes.wait_until_heard()
        simulation.command(0.0, 0.0)
        _stand(nodes, recorder)
        watch, spent_ms = Watch(simulation), []
        optimum_s, time_s = world.optimum_m / MAX_SPEED_MPS, 0.0
        reached = False
        while time_s < TIME_FACTOR * optimum_s + TIME_SPARE_S and not (reached or driver.arrived()):
            started_s = time.perf_counter()
            nodes.measure()
            driver.tick()
            spent_ms.append(1e3 * (time.perf_counter() - started_s))
            for _ in range(round(TICK_S / SUBSTEP_S)):
                simulation.command(*driver.step())
                recorder.step(SUBSTEP_S)
                watch.look(round(time_s / TICK_S))
            time_s += TICK_S
            reached = _distance_m(simulation, world) < REACHED_M
        nodes.check_alone()
        outcome = watch.outcome(episode, method, reached, optimum_s, world.optimum_m, float(np.median(spent_ms)))
        return NodeDrive(outcome, driver.sent, (*driver.ended, *(["arrived"] if driver.arrived() else [])))


def _stand(nodes: Nodes, recorder: Recorder) -> None:
    """The robot stands and sees before it is sent off, as one that has been switched on does."""
    for _ in range(WATCHED_TICKS):
        nodes.measure()
        recorder.step(TICK_S)


def _distance_m(simulation: Simulation, world: World) -> float:
    return float(np.linalg.norm(simulation.ego.pose[:2] - world.goal_m))
