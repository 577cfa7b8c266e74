"""Connects the tools to the running nodes: newest forecasts, the planner's services and its action. One thread spins."""

from __future__ import annotations

import threading
import time
from contextlib import suppress
from functools import partial
from typing import Any

import numpy as np
from diagnostic_msgs.msg import DiagnosticArray
from geometry_msgs.msg import Point, Pose, PoseStamped, Quaternion
from rclpy.action import ActionClient
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.node import Node
from rclpy.task import Future

from jepa_ros.action import PursueGoal
from jepa_ros.msg import LatentState, ObjectForecastArray, OccupancyForecast, PedestrianForecastArray
from jepa_ros.ros import readers
from jepa_ros.ros.lifecycle import in_namespace
from jepa_ros.ros.mcp.answers import Told
from jepa_ros.srv import Imagine, PlanPath
from jepa_ros.types import FloatArray

DEADLINE_S = 0.3  # of a plan: a robot's own
ANSWER_S = 3.0  # longest wait for a service
NO_DRIVER = "the planner does not drive: start it with controller.enabled:=true, activated"
FRESH_S = 2.0  # a forecast that came longer ago is not told as what is


class NotThere(Exception):
    """Nothing to answer from, in words that say what to do."""


class Pursuit:
    """A goal that was handed to the planner: accepted and driven to, or over."""

    def __init__(self) -> None:
        self.answered = threading.Event()
        self.over: PursueGoal.Result | None = None
        self._handle: Any = None
        self._unwanted = False

    def sent(self, future: Future) -> None:
        """The planner has the goal, and looks at it."""
        self._handle = future.result()
        if not self._handle.accepted:
            self.over = PursueGoal.Result(would_work="activate the planner node")
            self.over.status.code, self.over.status.message = self.over.status.NOT_ACTIVE, "the planner node is not active"
            self.answered.set()
            return
        self._handle.get_result_async().add_done_callback(self._ended)
        if self._unwanted:
            self._handle.cancel_goal_async()

    def cancel(self) -> None:
        """Now, or as soon as the planner has it."""
        self._unwanted = True
        if self._handle is not None and self._handle.accepted:
            self._handle.cancel_goal_async()

    def _ended(self, future: Future) -> None:
        self.over = future.result().result
        self.answered.set()


class RobotLink:
    """Thread-safe. `close()` ends its thread; the node is its owner's."""

    def __init__(self, node: Node) -> None:
        """node: in the robot's namespace; its context is spun here."""
        self._node = node
        self._lock = threading.Lock()
        self._newest: dict[str, tuple[float, Any]] = {}  # what -> (steady s, message)
        self._plans = node.create_client(PlanPath, "planner/plan_path")
        self._imaginations = node.create_client(Imagine, "planner/imagine")
        self._pursuits = ActionClient(node, PursueGoal, "planner/pursue_goal")
        self._pursuit: Pursuit | None = None  # the newest
        self._goals = node.create_publisher(PoseStamped, "planner/goal_pose", 1)
        for kind, topic in (
            (OccupancyForecast, "world_model/occupancy"),
            (PedestrianForecastArray, "world_model/pedestrians"),
            (ObjectForecastArray, "world_model/objects"),
            (LatentState, "world_model/latent"),
        ):
            node.create_subscription(kind, topic, partial(self._keep, topic.split("/")[1]), 1)
        node.create_subscription(DiagnosticArray, "/diagnostics", self._on_diagnostics, 10)
        self._executor = SingleThreadedExecutor(context=node.context)
        self._executor.add_node(node)
        self._thread = threading.Thread(target=self._spin, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._executor.shutdown()
        self._thread.join(5.0)

    def scene(self) -> Told:
        """The newest of everything. Raises NotThere where no forecast is fresh."""
        occupancy = self._fresh("occupancy")
        if occupancy is None:
            raise NotThere("no forecast comes: is world_model active, and do its sensors send? `ros2 run jepa_ros doctor` names the fault")
        latent = self._fresh("latent")
        surprise = float(latent.surprise) if latent is not None else None
        return Told(occupancy, self._fresh("pedestrians"), self._fresh("objects"), surprise)

    def goal(self, ahead_m: float, left_m: float) -> PoseStamped:
        """A place relative to the robot as it stands in the newest forecast, in the fixed frame; any heading will do."""
        received = readers.received_of(self.scene().occupancy)
        place: FloatArray = received.odom_from_anchor @ np.array([ahead_m, left_m, 0.0, 1.0])
        goal = PoseStamped()
        goal.header.frame_id = received.fixed_frame
        goal.pose = Pose(position=Point(x=place[0], y=place[1]), orientation=Quaternion(x=0.0, y=0.0, z=0.0, w=0.0))
        return goal

    def plan(self, goal: PoseStamped, max_speed_mps: float = 0.0) -> PlanPath.Response:
        """The planner's answer within its deadline."""
        return self._call(self._plans, PlanPath.Request(goal=goal, max_speed=max_speed_mps, deadline=DEADLINE_S))

    def imagine(self, poses_S3: FloatArray) -> Imagine.Response:
        """Of one candidate motion: (S, 3) x m, y m, yaw rad at each step."""
        values = [float(value) for value in poses_S3.ravel()]
        return self._call(self._imaginations, Imagine.Request(candidates=1, steps=len(poses_S3), poses=values, deadline=1.0))

    def pursue(self, goal: PursueGoal.Goal) -> Pursuit:
        """Hand a goal to the planner, which looks at it first; does not wait. Raises NotThere where none drives."""
        if not self._pursuits.wait_for_server(timeout_sec=1.0):
            raise NotThere(NO_DRIVER)
        self._pursuit = pursuit = Pursuit()
        sent = self._pursuits.send_goal_async(goal, feedback_callback=lambda _: pursuit.answered.set())
        sent.add_done_callback(pursuit.sent)
        return pursuit

    def answer_of(self, pursuit: Pursuit) -> PursueGoal.Result | None:
        """None: it was accepted, and is driven to from now on. Else why not. Raises NotThere where no answer comes."""
        if not pursuit.answered.wait(ANSWER_S):
            pursuit.cancel()
            raise NotThere(f"the planner does not answer within {ANSWER_S:g} s; the goal is taken back")
        return pursuit.over

    def stop(self) -> None:
        """Take the newest goal back; and a goal where the robot is: the controller forgets any old one and commands to stand at once."""
        if self._pursuit is not None:
            self._pursuit.cancel()
        if not self._goals.get_subscription_count():
            raise NotThere(NO_DRIVER)
        occupancy = self._newest.get("occupancy")
        goal = PoseStamped()
        goal.header.frame_id = occupancy[1].header.frame_id if occupancy else "base_link"
        self._goals.publish(goal)

    def controller_state(self) -> str:
        """The newest state that the controller reported."""
        status = self._newest.get("controller")
        return str(status[1]) if status else "unknown: nothing has come on /diagnostics"

    def _call(self, client: Any, request: Any) -> Any:
        if not client.wait_for_service(timeout_sec=1.0):
            raise NotThere(f"{client.srv_name} is not offered: is the planner active?")
        done = threading.Event()
        future: Future = client.call_async(request)
        future.add_done_callback(lambda _: done.set())
        if not done.wait(ANSWER_S):
            client.remove_pending_request(future)
            raise NotThere(f"{client.srv_name} does not answer within {ANSWER_S:g} s")
        return future.result()

    def _keep(self, what: str, message: Any) -> None:
        with self._lock:
            self._newest[what] = (time.monotonic(), message)

    def _fresh(self, what: str) -> Any:
        with self._lock:
            came_s, message = self._newest.get(what, (0.0, None))
        return message if time.monotonic() - came_s < FRESH_S else None

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        for status in message.status:
            if status.name == in_namespace(self._node, "planner: controller"):
                self._keep("controller", status.message)

    def _spin(self) -> None:
        with suppress(ExternalShutdownException):
            self._executor.spin()
