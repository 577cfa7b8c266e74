"""One examination: listens with the nodes' own inputs and hub, then puts the page together."""

from __future__ import annotations

import os
import statistics
import time
from collections import deque
from collections.abc import Iterator
from typing import Any, cast

import torch
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from rclpy.clock import Clock, ClockType
from rclpy.node import Node

from jepa_ros.pipeline import WorldModelPipeline
from jepa_ros.planning.footprint import Footprint
from jepa_ros.ros.latency import LatencyBook
from jepa_ros.ros.lifecycle import in_namespace
from jepa_ros.ros.tf import installed_transforms
from jepa_ros.ros.tools.doctor.body import RunningShapes, body_findings
from jepa_ros.ros.tools.doctor.findings import Finding, error, good, sorted_once
from jepa_ros.ros.tools.doctor.graph import (
    clock_findings,
    crowd_findings,
    from_elsewhere,
    node_findings,
    pace_finding,
    quality_findings,
    told_step_ms,
    twin_findings,
)
from jepa_ros.ros.tools.doctor.heard import ListeningHub
from jepa_ros.ros.tools.doctor.machine import MachineFacts, discovery_findings, machine_findings
from jepa_ros.ros.tools.doctor.sensors import choice_findings, input_findings, mount_findings, rate_findings, transform_findings
from jepa_ros.ros.world_model.config import WorldModelConfig
from jepa_ros.ros.world_model.subscriptions import Inputs
from jepa_ros.sensing import InputStatus
from jepa_ros.sensing.hub.own_body import Box
from jepa_ros.types import Observation

TAKE_PERIOD_S = 0.05
KEPT = 5  # observations on which a model that does not run yet is timed


class Examination:
    """Open from the moment it is made; its owner spins the node. Not thread-safe."""

    def __init__(self, node: Node, config: WorldModelConfig, footprint: Footprint | None = None) -> None:
        """node: in the namespace of the robot. config: as world_model's parameters are, or will be. footprint: the planner's, by the same
        parameter file; None = it says none."""
        self._node = node
        self._config = config
        self._statuses: dict[str, DiagnosticStatus] = {}
        self._settled: dict[str, InputStatus] = {}
        self._footprint = footprint
        self._shapes: RunningShapes | None = None
        self._seen: deque[Observation] = deque(maxlen=KEPT)
        self._hub = ListeningHub(config.sensing, installed_transforms(config.sensing.buffer_s), lambda: node.get_clock().now().nanoseconds)
        self._inputs = Inputs(node, config.inputs, self._hub, True, lambda: None, LatencyBook())
        node.create_subscription(DiagnosticArray, "/diagnostics", self._on_diagnostics, 10)
        node.create_timer(TAKE_PERIOD_S, self._take, clock=Clock(clock_type=ClockType.STEADY_TIME))

    def settled(self) -> None:
        """Everything has been found by now: what is missing from here on is missing."""
        self._settled = self._hub.status()
        self._shapes = RunningShapes(self._node)

    def findings(self, facts: MachineFacts, measure: bool = False) -> list[Finding]:
        """All that is right and wrong, the worst first. measure: load the model, and time it where no world_model runs."""
        node, hub, inputs = self._node, self._hub, self._inputs
        statuses, taken = hub.status(), {verdict.topic for verdict in inputs.verdicts if verdict.taken}
        heard = {name: known for name, known in hub.heard.items() if name in taken}
        largest = max((known.largest_bytes for known in heard.values()), default=0)
        blamed = {verdict.topic for verdict in inputs.verdicts if verdict.fix}  # once is enough
        found = [
            *choice_findings(inputs.verdicts),
            *self._problem_findings(),
            *input_findings({name: status for name, status in statuses.items() if name not in blamed}, self._settled),
            *rate_findings(heard, hub.leader, statuses),
            *mount_findings([seen.lidar for seen in self._seen if seen.lidar is not None], self._lidars(taken)),
            *self._body_findings(),
            *transform_findings(hub, time.monotonic()),
            *clock_findings(node),
            *quality_findings(node, inputs.topics),
            *crowd_findings(node, taken),
            *twin_findings(node),
            *node_findings(node, self._statuses),
            *machine_findings(facts, largest, from_elsewhere(node, taken, facts.middleware)),
            *discovery_findings(facts.environment, bool(heard)),
        ]
        leader = hub.leader or next((name for name in heard if statuses[name].kind == "camera"), None)
        rate_hz = heard[leader].rate_hz if leader in heard else None
        step_ms = told_step_ms(self._statuses)
        if measure:
            model, measured_ms = self._measure(step_ms is None)
            found += model
            step_ms = step_ms if step_ms is not None else measured_ms
        if rate_hz and step_ms:
            found.append(pace_finding(step_ms, rate_hz))
        return sorted_once(found)

    def _lidars(self, taken: set[str]) -> str:
        return ", ".join(sorted(name for name, status in self._hub.status().items() if status.kind == "lidar" and name in taken))

    def _body_findings(self) -> Iterator[Finding]:
        """By what running nodes say, else by the parameter file."""
        footprint, box = self._footprint, cast(Box, self._config.sensing.own_body_m) or None
        if self._shapes is not None:
            footprint, box = self._shapes.footprint() or footprint, self._shapes.own_body_m() or box
        return body_findings(footprint, box, self._seen[-1] if self._seen else None)

    def _problem_findings(self) -> list[Finding]:
        """What the nodes would say of how messages come, and of names that nobody publishes."""
        findings = []
        for name, problem in self._inputs.problems().items():
            text, _, fix = problem.partition(": ")
            findings.append(error(name, text, fix or "name the right topic in inputs.*: ros2 topic list -t"))
        return findings

    def _measure(self, timed: bool) -> tuple[list[Finding], float | None]:
        """Load the model as the node would; with `timed`, step it over what was seen."""
        config = self._config
        torch.set_num_threads(config.threads or max(1, (os.cpu_count() or 1) // 2))  # as the node does
        try:
            pipeline = WorldModelPipeline.load(config.model, config.device, config.pipeline)
            pipeline.warm_up()
        except Exception as problem:  # whatever a back-end raises
            fix = "correct model, device or pipeline.weights: docs/models.md"
            return [error(f"model {config.model}", f"cannot be loaded: {type(problem).__name__}: {problem}", fix)], None
        found = [good(f"model {config.model}", f"{pipeline.spec.version}, loads")]
        if not timed or not self._seen:
            return found, None
        return found, statistics.median(_timed(pipeline, observation) for observation in self._seen)

    def _take(self) -> None:
        while (observation := self._hub.take()) is not None:
            self._seen.append(observation)

    def _on_diagnostics(self, message: Any) -> None:
        own = in_namespace(self._node, "")
        for status in message.status:
            if status.name.startswith(own):
                self._statuses[status.name] = status


def _timed(pipeline: WorldModelPipeline, observation: Observation) -> float:
    """ms of one step."""
    begun_s = time.perf_counter()
    pipeline.step(observation)
    return (time.perf_counter() - begun_s) * 1e3
