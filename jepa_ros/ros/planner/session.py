"""The planner between configure and cleanup. It listens, offers the services and plans in a thread of its own."""

from __future__ import annotations

import math
import os
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import numpy as np
import torch
from rclpy.action import ActionServer
from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.lifecycle import LifecycleNode
from rclpy.logging import LoggingSeverity
from rclpy.qos import QoSProfile
from rclpy.service import Service

from jepa_ros.planning import Planner
from jepa_ros.planning.example_scene import crowd_scene
from jepa_ros.planning.kinematics import limited
from jepa_ros.ros.own_topics import crowded
from jepa_ros.ros.planner.config import PlannerNodeConfig
from jepa_ros.ros.planner.controller import Controller
from jepa_ros.ros.planner.driving import Driver
from jepa_ros.ros.planner.follow_path import FollowPathServer
from jepa_ros.ros.planner.inputs import PlannerInputs
from jepa_ros.ros.planner.model import ModelOnDemand
from jepa_ros.ros.planner.nav2 import offer_to_nav2
from jepa_ros.ros.planner.publishers.plan_display import PlanDisplay
from jepa_ros.ros.planner.pursue.path_topic import GoalPath
from jepa_ros.ros.planner.pursue.server import PursueGoalServer
from jepa_ros.ros.planner.scene import SceneReader
from jepa_ros.ros.planner.services import PlannerServices, refused
from jepa_ros.ros.planner.worker import ANSWER_S, DeadlineWorker, Lateness, Misses
from jepa_ros.ros.planner.world_model_state import WorldModelState
from jepa_ros.srv import Imagine, PlanActions, PlanPath
from jepa_ros.types import PlanStatus

SWITCH_S = 0.0005  # Python's own 5 ms, several times over, is what an answer would wait while the planning thread computes
REQUESTS = QoSProfile(depth=100)  # the default of 10 loses requests when the machine stalls for a second; reliable
SERVICES = {"plan_path": PlanPath, "plan_actions": PlanActions, "imagine": Imagine}


class PlannerSession:
    """Runs from the moment it is made until `close()`. Requests are answered NOT_ACTIVE until `active` is set."""

    def __init__(self, node: LifecycleNode, config: Callable[[], PlannerNodeConfig], shown: PlanDisplay) -> None:
        """Warms the planner up, and loads the model where it is wanted from the start. Raises whatever a back-end raises."""
        self.active = False
        self.controller: Controller | None = None
        self.lateness = Lateness()
        self.misses = Misses()  # of plan_path
        self.inputs: PlannerInputs | None = None
        self._partner: WorldModelState | None = None
        self._worker: DeadlineWorker | None = None
        self._offered: list[Service] = []
        self._action: ActionServer | None = None
        self._follow: FollowPathServer | None = None
        self._pursue: PursueGoalServer | None = None
        self._goal_path: GoalPath | None = None
        self._node = node
        self._config = config
        try:
            self._open(shown)
        except BaseException:
            self.close()  # nothing of a session that did not come about goes on
            raise

    def _open(self, shown: PlanDisplay) -> None:
        node, config = self._node, self._config
        sys.setswitchinterval(SWITCH_S)
        prefer_this_process(config().nice)
        torch.set_num_threads(config().threads)
        planner = Planner(config().planner)
        planner.plan(crowd_scene(), np.array([5.0, 0.0, math.nan]), 5.0)  # the first request must not pay for lazy set-up
        planner.reset()
        self._partner = WorldModelState(node, config().inputs.world_model, lambda: not self.inputs.hears_forecasts())
        self.inputs = PlannerInputs(node, config().inputs, None, self._partner.explain)
        model = ModelOnDemand(config().model, config().device, config().weights, self.inputs.listen_to_latents)
        surprise = config().planner.weights.surprise > 0.0
        if surprise:
            self.inputs.listen_to_latents(None)
        if config().model_at_start or config().planner.rehearsed:
            model.load()
        reader = SceneReader(self.inputs, model.device, surprise=surprise, on_base=shown.base)
        self.services = PlannerServices(config, reader, planner, model, shown.path, self._report)
        self._worker = DeadlineWorker(self._wake)
        if config().controller.enabled:
            driver = Driver(config, reader, planner, self.services.rehearsal, shown.path)
            self.controller = Controller(
                node,
                lambda: config().controller,
                lambda: self.active,
                self._worker,
                driver.drive,
                self._wake,
                lambda last, wanted, dt_s: limited(config().planner.kinematics, config().planner.limits, last, wanted, dt_s),
            )
            self._follow = FollowPathServer.offer(node, config, lambda: self.active, self.controller)
            self._pursue = PursueGoalServer(node, config, lambda: self.active, self.controller, driver, self._worker)
            self._goal_path = GoalPath(node, lambda: config().controller, self.controller)
        group = ReentrantCallbackGroup()  # a request that waits for its plan holds up nobody
        self._offered += [
            node.create_service(kind, f"~/{name}", self._server(kind), qos_profile=REQUESTS, callback_group=group)
            for name, kind in SERVICES.items()
        ]
        serve_path = self._server(PlanPath)
        self._action = offer_to_nav2(node, lambda request: serve_path(request, None))

    @property
    def max_age_s(self) -> float:
        """Of what may be planned on."""
        return self._config().inputs.max_age_s

    def rivals(self) -> str:
        """Who else publishes the forecasts that are planned on; empty where nobody does."""
        return crowded(self._node, self._node.resolve_topic_name(f"{self._config().inputs.world_model.rstrip('/')}/occupancy"))

    def deactivate(self) -> None:
        """Answer NOT_ACTIVE from now on, and stand."""
        self.active = False
        if self.controller is not None:
            self.controller.stand()

    def halt(self) -> None:
        """From any thread, for good: the robot stands."""
        if self.controller is not None:
            self.controller.halt()

    def close(self) -> None:
        """Answer what is open, listen no more, end the threads. Raises RuntimeError where the planning does not end."""
        self.active = False
        if self.controller is not None:
            self.controller.close()
        if self._partner is not None:
            self._partner.close()
        if self.inputs is not None:
            self.inputs.close()
        if self._worker is not None:
            self._worker.close()
        for service in self._offered:
            self._node.destroy_service(service)
        if self._action is not None:
            self._action.destroy()
        for server in (self._follow, self._pursue, self._goal_path):
            if server is not None:
                server.close()

    def _server(self, kind: Any) -> Any:
        async def serve(request: Any, response: Any) -> Any:
            received_s = time.monotonic()
            deadline_s = request.deadline or self._config().default_deadline_s
            if not self.active:
                return refused(kind, PlanStatus.NOT_ACTIVE, "the planner node is not active: activate it")
            if not (math.isfinite(deadline_s) and deadline_s > ANSWER_S):
                return refused(
                    kind, PlanStatus.INVALID_REQUEST, f"deadline = {deadline_s}: give more than {ANSWER_S} s, or 0 for the default"
                )
            answer = await self._worker.ask(
                lambda left_s: self.services.answer(kind, request, left_s),
                lambda: refused(kind, PlanStatus.TIMEOUT, f"no answer was ready within {deadline_s:.3f} s"),
                deadline_s,
            )
            took_s = time.monotonic() - received_s
            self.lateness.add(took_s - deadline_s)
            if kind is PlanPath:
                self.misses.note(answer.status.code == PlanStatus.TIMEOUT)
            if self._node.get_logger().is_enabled_for(LoggingSeverity.DEBUG):  # the text costs nothing while nobody reads it
                status = answer.status
                self._node.get_logger().debug(f"{kind.__name__}: {status.code} {status.message} after {took_s:.3f} of {deadline_s:.3f} s")
            return answer

        return serve

    def _wake(self) -> None:
        executor = self._node.executor
        if executor is not None:
            executor.wake()

    def _report(self, text: str) -> None:
        self._node.get_logger().error(f"a request failed: {text}", throttle_duration_sec=5.0)


def prefer_this_process(nice: int) -> None:
    """Where the system allows it (CAP_SYS_NICE or RLIMIT_NICE; Linux gives each thread its own): answers must not wait for others' work."""
    with suppress(PermissionError, FileNotFoundError):
        for thread in os.listdir("/proc/self/task"):
            os.setpriority(os.PRIO_PROCESS, int(thread), nice)
