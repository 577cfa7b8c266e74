"""`ros2 run jepa_ros doctor [--json] [--seconds 5] [--params FILE] [--quick] [--ros-args ...]`.

Exit status: 0 nothing is wrong, 1 warnings, 2 errors. It publishes nothing and changes nothing.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import rclpy
import yaml
from rclpy.logging import LoggingSeverity
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.utilities import remove_ros_args

from jepa_ros.planning.footprint import Footprint
from jepa_ros.ros.parameters import Parameters
from jepa_ros.ros.planner.config import PlannerNodeConfig
from jepa_ros.ros.tools.doctor.body import footprint_in
from jepa_ros.ros.tools.doctor.findings import Finding, as_json, as_text, sorted_once, warning, worst
from jepa_ros.ros.tools.doctor.machine import MachineFacts, configuration_refused
from jepa_ros.ros.tools.doctor.session import Examination
from jepa_ros.ros.world_model.config import WorldModelConfig

MOST_SAID = 300  # letters of what a reader says of a file
SETTLING_S = 2.0  # discovery, and the first messages of each input


def main(argv: list[str] | None = None) -> int:
    """Entry point of the executable."""
    argv = sys.argv if argv is None else ["doctor", *argv]
    arguments = parse(remove_ros_args(argv)[1:])
    rclpy.init(args=argv)
    try:
        findings = examine(arguments)
    finally:
        rclpy.try_shutdown()
    print(as_json(findings) if arguments.json else as_text(findings), flush=True)
    return int(worst(findings))


def parse(argv: list[str]) -> argparse.Namespace:
    """The options; those of ROS have been taken out."""
    parser = argparse.ArgumentParser(prog="doctor", description="What is right and wrong on this robot, each line with its fix.")
    parser.add_argument("--json", action="store_true", help="for programs")
    parser.add_argument("--seconds", type=float, default=5.0, help="how long to listen (default: %(default)s)")
    parser.add_argument("--params", type=Path, help="the parameter file that world_model is, or will be, started with")
    parser.add_argument("--quick", action="store_true", help="do not load the model")
    return parser.parse_args(argv)


def examine(arguments: argparse.Namespace) -> list[Finding]:
    """Listen, then judge."""
    overrides, found, footprint = [], [], None
    if arguments.params:
        try:
            overrides = list(overrides_of(arguments.params, "world_model"))
            footprint, refused = examine_planner(list(overrides_of(arguments.params, "planner")))
            found += refused
        except (OSError, ValueError, yaml.YAMLError) as problem:
            found.append(configuration_refused(f"{arguments.params} cannot be read: {problem}"))
    node, config, refused = open_node(overrides)
    node.get_logger().set_level(LoggingSeverity.WARN)  # the page says it
    found += refused
    examination = Examination(node, config, footprint)
    spin(node, SETTLING_S)
    examination.settled()
    spin(node, arguments.seconds)
    found += examination.findings(MachineFacts.of_this_machine(), measure=not arguments.quick)
    node.destroy_node()
    return sorted_once(found)


def open_node(overrides: list[Parameter], **options: Any) -> tuple[Node, WorldModelConfig, list[Finding]]:
    """The doctor's node with world_model's parameters. Where a value cannot be, that is found, and the defaults are used."""
    node = Node("doctor", parameter_overrides=overrides, **options)
    try:
        settings = Parameters(node, WorldModelConfig)
    except ValueError as refusal:
        node.destroy_node()
        node = Node("doctor", use_global_arguments=False, **options)
        return node, Parameters(node, WorldModelConfig).config, [configuration_refused(str(refusal))]
    return node, settings.config, _unknown(settings.problems)


def examine_planner(overrides: list[Parameter], **options: Any) -> tuple[Footprint | None, list[Finding]]:
    """The footprint that the planner's part of the parameter file gives, and what the planner would say of that part."""
    node = Node("doctor_of_planner", parameter_overrides=overrides, use_global_arguments=False, **options)
    try:
        settings = Parameters(node, PlannerNodeConfig)
        return footprint_in(overrides, settings.config), _unknown(settings.problems)
    except ValueError as refusal:
        return None, [configuration_refused(str(refusal))]
    finally:
        node.destroy_node()


def _unknown(problems: list[str]) -> list[Finding]:
    found = []
    for problem in problems:
        text, _, fix = problem.partition(": ")
        found.append(warning("parameters", text, fix))
    return found


def spin(node: Node, seconds: float) -> None:
    """Listen for so long."""
    until_s = time.monotonic() + seconds
    while (left_s := until_s - time.monotonic()) > 0:
        rclpy.spin_once(node, timeout_sec=left_s)


def overrides_of(path: Path, name: str) -> Iterator[Parameter]:
    """The parameters that a ROS 2 parameter file gives to the node `name` in any namespace. Raises ValueError for another file."""
    try:
        content = yaml.safe_load(path.read_text())
    except (yaml.YAMLError, RecursionError, UnicodeDecodeError) as error:
        raise ValueError(f"not YAML that a node would accept: {str(error)[:MOST_SAID]}") from None
    if not isinstance(content, dict):
        raise ValueError("not a parameter file, which begins with a node's name")
    for section, told in content.items():
        if str(section).rsplit("/", 1)[-1] in (name, "**", "*") and isinstance(told, dict):
            for key, value in _leaves(told.get("ros__parameters") or {}):
                yield _parameter(key, value)


def _parameter(name: str, value: Any) -> Parameter:
    try:
        return Parameter(name, value=value)
    except TypeError:
        raise ValueError(f"{name}: neither a value nor a list of values of one type") from None


def _leaves(tree: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in tree.items():
        if isinstance(value, dict):
            yield from _leaves(value, f"{prefix}{key}.")
        elif value not in ([], None):
            yield f"{prefix}{key}", value


if __name__ == "__main__":
    sys.exit(main())
