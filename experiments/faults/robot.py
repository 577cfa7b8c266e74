"""A simulated robot under test: simulator, gate, world_model and planner, a client that never stops asking, and what all of them said."""

from __future__ import annotations

import contextlib
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
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node

from experiments.faults.gate import CAMERA, LIDAR, ODOMETRY, TOPICS, Gate
from jepa_ros.ros.tools.node_process import NodeProcess
from jepa_ros.srv import PlanPath
from jepa_ros.types import NANOSECONDS, PlanStatus

DEADLINE_S = 0.2
ASK_EVERY_S = 0.2
PATIENCE_S = 3.0  # an answer that is later than this is none
START_S = 240.0  # a machine that does other things, too
MAX_AGE_S = 0.6  # inputs.max_age_s of the planner
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


class Robot:
    """A context manager. Everything of this process runs in one thread of its own; what it heard is read from any."""

    def __init__(self, folder: Path, rate_hz: float = 10.0, drive: bool = True) -> None:
        """drive: the controller is enabled, and a goal is set whenever the last one has been reached."""
        self.asked: list[Asked] = []
        self.diagnostics: dict[str, Any] = {}
        self._folder = folder
        self._drive = drive
        shared = {"use_sim_time": True, "autostart": True, "inputs.odometry_topic": ODOMETRY}
        self._parameters: dict[str, dict[str, Any]] = {
            "simulator": {"rate_hz": rate_hz, "use_sim_time": True, **SMALL},
            "world_model": {**shared, "inputs.image_topics": f"[{CAMERA}]", "inputs.cloud_topic": LIDAR},
            "planner": {**shared, "controller.enabled": drive, "inputs.max_age_s": MAX_AGE_S},
        }
        self.processes: dict[str, NodeProcess] = {}
        self._stop = threading.Event()

    def __enter__(self) -> Robot:
        rclpy.init()
        self.node = Node("faults")
        self.gate = Gate(self.node)
        self.node.create_subscription(DiagnosticArray, "/diagnostics", self._on_diagnostics, 10)
        self._goals = self.node.create_publisher(PoseStamped, "/planner/goal_pose", 1)
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

    def start(self, name: str) -> None:
        """Start a node of the robot, anew where it has ended."""
        remappings = {topic: f"/sim{topic}" for topic in TOPICS} if name == "simulator" else {}
        self.processes[name] = NodeProcess(name, self._parameters[name], self._folder, remappings).__enter__()

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
        self._goals.publish(goal)

    def _spin(self) -> None:
        with contextlib.suppress(rclpy.executors.ExternalShutdownException):
            self._executor.spin()

    def _ask(self) -> None:
        while not self._stop.wait(ASK_EVERY_S):
            if not self._client.service_is_ready():
                continue
            request = PlanPath.Request(deadline=DEADLINE_S)
            request.goal.header.frame_id = "base_link"
            request.goal.pose.position.x = 2.0
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
            if self._drive and controller is not None and controller.message in ("no goal", "arrived"):
                self.send_goal()

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        self.diagnostics.update({status.name: status for status in message.status})
