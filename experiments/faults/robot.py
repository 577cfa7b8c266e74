"""A simulated robot under test: simulator, gate, world_model and planner, a client that never stops asking, and what all of them said."""

from __future__ import annotations

import contextlib
import math
import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import rclpy
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from geometry_msgs.msg import PoseStamped
from nav_msgs.msg import Odometry
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node

from experiments.faults.gate import CAMERA, LIDAR, ODOMETRY, TOPICS, Gate
from jepa_ros.ros.tools.node_process import NodeProcess
from jepa_ros.srv import PlanPath
from jepa_ros.types import NANOSECONDS, PlanStatus

DEADLINE_S = 0.2
ASK_EVERY_S = 0.2
PATIENCE_S = 3.0  # an answer that is later than this is none
START_S = 300.0  # a machine that does other things, too
MAX_AGE_S = 0.6  # inputs.max_age_s of the planner
SHUTTLE_M, STUCK_S = 4.0, 30.0
UNANSWERED = "UNANSWERED"
PLANNED = ("OK", "NO_SAFE_PATH", "INVALID_GOAL")  # answers to a planner that knows what is around it
SMALL = {"lidar_rings": 16, "lidar_azimuths": 360, "camera_width": 64, "camera_height": 36, "people": 2, "scenario": "hall"}


@dataclass(frozen=True)
class Asked:
    """One plan request and what came of it."""

    at_s: float  # steady, when it was sent
    took_s: float  # infinite where no answer came
    status: str
    message: str
    age_s: float  # of the forecast that was planned on, by the robot's clock, when the answer came; nan without an answer


class Shuttle:
    """Two places, 4 m apart, by the simulator's true pose: odometry drifts within an hour. The first is where the first goal was set."""

    def __init__(self) -> None:
        self._pose = (0.0, 0.0, 0.0)  # x m, y m, yaw rad
        self._places: list[tuple[float, float]] = []
        self._set_s = -math.inf

    def on_odometry(self, message: Odometry) -> None:
        position, turn = message.pose.pose.position, message.pose.pose.orientation
        self._pose = (position.x, position.y, 2.0 * math.atan2(turn.z, turn.w))

    def is_stuck(self) -> bool:
        """Not there after half a minute."""
        return time.monotonic() - self._set_s > STUCK_S

    def turn_back(self) -> tuple[float, float]:
        """From now on to the other place; where that lies ahead and to the left, m."""
        x, y, yaw = self._pose
        if not self._places:
            self._places = [(x, y), (x + SHUTTLE_M * math.cos(yaw), y + SHUTTLE_M * math.sin(yaw))]
        self._places.reverse()
        self._set_s = time.monotonic()
        return self.ahead_m()

    def ahead_m(self) -> tuple[float, float]:
        """Where the place lies, ahead and to the left, m; 2 m ahead before the first."""
        if not self._places:
            return 2.0, 0.0
        x, y, yaw = self._pose
        dx, dy = self._places[0][0] - x, self._places[0][1] - y
        return math.cos(yaw) * dx + math.sin(yaw) * dy, math.cos(yaw) * dy - math.sin(yaw) * dx


class Robot:
    """A context manager. Everything of this process runs in one thread of its own; what it heard is read from any."""

    def __init__(
        self, folder: Path, rate_hz: float = 10.0, drive: bool = True, shuttle: bool = False, max_age_s: float = MAX_AGE_S, model: str = ""
    ) -> None:
        """model: of world_model; empty = its default. max_age_s: of what is planned on; more on a machine that does other things, too.

        drive: the controller is enabled, and a goal is set whenever the last one has been reached.

        shuttle: goals, asked for and driven to, are two places in turn, so that the robot never ends before a wall; else they lie ahead.
        """
        self.asked: list[Asked] = []
        self.diagnostics: dict[str, Any] = {}
        self.told: dict[str, str] = {}  # what was wrong by /diagnostics: status name -> the newest message; cleared by who reads it
        self._folder = folder
        self._drive = drive
        self._shuttle = Shuttle() if shuttle else None
        shared = {"use_sim_time": True, "autostart": True, "inputs.odometry_topic": ODOMETRY}
        self._parameters: dict[str, dict[str, Any]] = {
            "simulator": {"rate_hz": rate_hz, "use_sim_time": True, **SMALL},
            "world_model": {**shared, "inputs.image_topics": f"[{CAMERA}]", "inputs.cloud_topic": LIDAR},
            "planner": {**shared, "controller.enabled": drive, "inputs.max_age_s": max_age_s},
        }
        if model:
            self._parameters["world_model"]["model"] = model
        self.max_age_s = max_age_s
        self._deadline_s = max(DEADLINE_S, max_age_s / 3)
        if max_age_s != MAX_AGE_S:
            self._parameters["planner"] |= {"controller.max_age_s": max_age_s, "controller.planning_s": self._deadline_s}
        self.processes: dict[str, NodeProcess] = {}
        self._clients: dict[str, Any] = {}
        self._stop = threading.Event()

    def __enter__(self) -> Robot:
        rclpy.init()
        self.node = Node("faults")
        self.gate = Gate(self.node)
        self.node.create_subscription(DiagnosticArray, "/diagnostics", self._on_diagnostics, 10)
        self.goals = self.node.create_publisher(PoseStamped, "/planner/goal_pose", 1)
        if self._shuttle is not None:
            self.node.create_subscription(Odometry, "/ground_truth/odom", self._shuttle.on_odometry, 5)
        self._client = self.node.create_client(PlanPath, "/planner/plan_path")
        self._executor = SingleThreadedExecutor()
        self._executor.add_node(self.node)
        self._spinning = threading.Thread(target=self._spin, daemon=True)
        self._spinning.start()
        for name in self._parameters:
            self.start(name)
        self._asking = threading.Thread(target=self._ask, daemon=True)
        self._asking.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._asking.join(PATIENCE_S + 1.0)
        for process in self.processes.values():
            process.__exit__(None, None, None)
        self._executor.shutdown()
        self._spinning.join(5.0)
        rclpy.try_shutdown()

    @property
    def patience(self) -> float:
        """How much longer than on a machine of its own things may take."""
        return self.max_age_s / MAX_AGE_S

    @property
    def deadline_s(self) -> float:
        """Of each request."""
        return self._deadline_s

    def start(self, name: str) -> None:
        """Start a node of the robot, anew where it has ended."""
        remappings = {topic: f"/sim{topic}" for topic in TOPICS} if name == "simulator" else {}
        self.processes[name] = NodeProcess(name, self._parameters[name], self._folder, remappings).__enter__()

    def another(self, name: str) -> NodeProcess:
        """The same node once more; a context manager."""
        folder = self._folder / "another"
        folder.mkdir(exist_ok=True)
        return NodeProcess(name, self._parameters[name], folder)

    def client(self, kind: Any, service: str) -> Any:
        """Of a service; the same one for whoever asks again."""
        if service not in self._clients:
            self._clients[service] = self.node.create_client(kind, service)
            self.wait(self._clients[service].service_is_ready, 5.0)
        return self._clients[service]

    def wait_until_well(self) -> None:
        """Once started, or started anew. Raises RuntimeError with what was answered last where it does not come to that."""
        begun_s = time.monotonic()
        if not self.wait(lambda: self.well(begun_s), START_S):
            told = {name: status.message for name, status in self.diagnostics.items() if status.level != DiagnosticStatus.OK}
            raise RuntimeError(f"not well within {START_S:.0f} s; the last answer was {self.since(begun_s)[-1:]}; /diagnostics: {told}")

    def restart(self) -> None:
        """Everything anew, for what comes next: a fault was not got over."""
        for name, process in self.processes.items():
            process.__exit__(None, None, None)
            self.start(name)
        self.wait_until_well()

    def kill(self, name: str) -> None:
        """As the kernel kills: no handler runs."""
        os.kill(self.processes[name].pid, 9)
        self.processes[name].wait()

    def log(self, name: str) -> str:
        return (self._folder / f"{name}.log").read_text(errors="replace")

    def wait(self, done: Callable[[], bool], timeout_s: float) -> bool:
        """Whether it came true in time."""
        deadline_s = time.monotonic() + timeout_s
        while not done():
            if time.monotonic() > deadline_s:
                return False
            time.sleep(0.02)
        return True

    def since(self, begun_s: float) -> list[Asked]:
        return [one for one in self.asked if one.at_s >= begun_s]

    def well(self, begun_s: float, count: int = 5) -> bool:
        """Whether so many answers in a row, all asked for since then, were planned on fresh data, one of them at least with a way."""
        last = self.since(begun_s)[-count:]
        return len(last) == count and all(one.status in PLANNED for one in last) and any(one.status == "OK" for one in last)

    def send_goal(self, ahead_m: float = 4.0) -> None:
        goal = PoseStamped()
        goal.header.frame_id = "base_link"
        goal.pose.position.x = ahead_m
        if self._shuttle is not None:
            goal.pose.position.x, goal.pose.position.y = self._shuttle.turn_back()
        self.goals.publish(goal)

    def _spin(self) -> None:
        with contextlib.suppress(rclpy.executors.ExternalShutdownException):
            self._executor.spin()

    def _ask(self) -> None:
        while not self._stop.wait(ASK_EVERY_S):
            if not self._client.service_is_ready():
                continue
            request = PlanPath.Request(deadline=self._deadline_s)
            request.goal.header.frame_id = "base_link"
            request.goal.pose.position.x = 2.0
            if self._shuttle is not None:
                request.goal.pose.position.x, request.goal.pose.position.y = self._shuttle.ahead_m()
            sent_s = time.monotonic()
            future = self._client.call_async(request)
            answered = threading.Event()
            future.add_done_callback(lambda _, answered=answered: answered.set())
            if not answered.wait(PATIENCE_S):
                self._client.remove_pending_request(future)
                self.asked.append(Asked(sent_s, float("inf"), UNANSWERED, "", float("nan")))
                continue
            took_s, answer = time.monotonic() - sent_s, future.result()
            forecast_ns = answer.forecast_stamp.sec * NANOSECONDS + answer.forecast_stamp.nanosec
            age_s = (self.gate.clock_ns - forecast_ns) / NANOSECONDS
            self.asked.append(Asked(sent_s, took_s, PlanStatus(answer.status.code).name, answer.status.message, age_s))
            controller = self.diagnostics.get("planner: controller")
            idle = controller is not None and controller.message in ("no goal", "arrived")
            if self._drive and (idle or (self._shuttle is not None and self._shuttle.is_stuck())):
                self.send_goal()

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        self.diagnostics.update({status.name: status for status in message.status})
        self.told.update({status.name: status.message for status in message.status if status.level != DiagnosticStatus.OK})
