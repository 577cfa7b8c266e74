"""The doctor's check of the robot's shape: what the sensing leaves out as the robot itself, against the planner's footprint.

Two nodes each have a parameter of it, and neither knows the other's.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import numpy as np
from rclpy.node import Node
from rclpy.parameter import Parameter, parameter_value_to_python
from rclpy.parameter_client import AsyncParameterClient

from jepa_ros.planning.footprint import Footprint
from jepa_ros.ros.planner.config import PlannerNodeConfig
from jepa_ros.ros.tools.doctor.findings import Finding, good, warning
from jepa_ros.sensing.hub.own_body import Box, own_body
from jepa_ros.types import Observation

APART_M = 0.4  # a cell of the forecast
SIDES = ("back", "right side", "front", "left side")
ASKED = {"world_model": ("sensing.own_body_m",), "planner": ("planner.footprint", "planner.robot_radius_m")}


class RunningShapes:
    """What running nodes have for these parameters. It asks when it is made; the answers come while the doctor listens."""

    def __init__(self, node: Node) -> None:
        here = {name for name, namespace in node.get_node_names_and_namespaces() if namespace == node.get_namespace()}
        clients = {name: AsyncParameterClient(node, name) for name in ASKED if name in here}
        self._answers = {name: client.get_parameters(list(ASKED[name])) for name, client in clients.items()}

    def _told(self, name: str) -> dict[str, Any]:
        """Parameter -> value, of a node that answered."""
        answer = self._answers.get(name)
        if answer is None or not answer.done() or answer.exception() is not None:
            return {}
        values = map(parameter_value_to_python, answer.result().values)
        return {parameter: value for parameter, value in zip(ASKED[name], values, strict=False) if value is not None}

    def footprint(self) -> Footprint | None:
        """The planner's, where it has told it."""
        told = self._told("planner")
        with suppress(ValueError, TypeError):
            if told.get("planner.footprint"):
                return Footprint.parse(told["planner.footprint"])
            return Footprint.of(float(told["planner.robot_radius_m"])) if "planner.robot_radius_m" in told else None
        return None  # a node of that name that is not ours

    def own_body_m(self) -> Box | None:
        """The box that is configured in world_model, where it has told one."""
        values = tuple(self._told("world_model").get("sensing.own_body_m", ()))  # nothing is told as one NaN
        return values if len(values) == 4 else None


def footprint_in(overrides: list[Parameter], config: PlannerNodeConfig) -> Footprint | None:
    """Of a parameter file, where it says one; a default is no statement about this robot."""
    says = {override.name for override in overrides} & set(ASKED["planner"])
    return config.planner.body if says else None


def body_findings(footprint: Footprint | None, configured_m: Box | None, seen: Observation | None) -> Iterator[Finding]:
    """footprint: of the planner; None = not known. configured_m: None = nothing is, and it is guessed from a sweep like `seen`."""
    box, how = configured_m, "sensing.own_body_m"
    if box is None and seen is not None and seen.lidar is not None:
        box, how = own_body(seen.lidar, seen.ground_height_m), "guessed, as sensing.own_body_m is not set"
    if footprint is None or box is None:
        return
    robot = tuple(float(side) for side in (*footprint.outline_N2.min(axis=0), *footprint.outline_N2.max(axis=0)))
    sizes = f"returns from {_sides(box)} are left out as the robot's own ({how}); the planner's footprint is {_sides(robot)}"
    further_m = np.array([-1.0, -1.0, 1.0, 1.0]) * (np.array(box) - np.array(robot))  # of the box, on each side
    most, least = int(further_m.argmax()), int(further_m.argmin())
    fix = f"in world_model sensing.own_body_m: {[round(side, 2) for side in robot]}, or correct the planner's footprint or robot_radius_m"
    if further_m[most] > APART_M:
        yield warning("robot", f"{sizes}: nothing is seen within {further_m[most]:.1f} m of its {SIDES[most]}", fix)
    if further_m[least] < -APART_M:
        text = f"{sizes}: what a lidar sees of its {SIDES[least]}, up to {-further_m[least]:.1f} m of it, counts as an obstacle"
        yield warning("robot", text, fix)
    if np.abs(further_m).max() <= APART_M:
        yield good("robot", sizes)


def _sides(box: tuple[float, ...]) -> str:
    return f"x {box[0]:.1f} to {box[2]:.1f} m, y {box[1]:.1f} to {box[3]:.1f} m"
