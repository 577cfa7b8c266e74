"""Runs a node of this package until a signal ends it. The executables call `start`; `run` is for callers that have imported the node."""

from __future__ import annotations

import importlib
import os
import re
import sys
import traceback
from collections.abc import Callable
from contextlib import suppress
from typing import Any, NoReturn

from jepa_ros.ros.machine import avoid_full_memory, full_memory, remove_dead_segments
from jepa_ros.ros.stopping import STOPPING, StopAsked, run_all, say

NODES = {  # executable -> module; CMakeLists.txt installs the same
    "world_model": "jepa_ros.ros.world_model.node",
    "planner": "jepa_ros.ros.planner.node",
    "simulator": "jepa_ros.ros.tools.simulator",
    "arm_simulator": "jepa_ros.ros.arm.simulator",
    "bag_player": "jepa_ros.ros.tools.bag_player",
    "velocity_timeout": "jepa_ros.ros.tools.velocity_timeout",
    "doctor": "jepa_ros.ros.tools.doctor.cli",
}
HIGHEST_DOMAIN = 232  # ports follow from it
FAILED = 1
WRONG_CONFIGURATION = 78  # EX_CONFIG of sysexits.h: starting again would end the same way, and the launch files do not


def start(name: str) -> NoReturn:
    """Import the node of this executable, run it, leave. Signals are handled from here on, also in the seconds that importing takes."""
    STOPPING.install()
    if fault := full_memory():
        say(f"{name}: {fault}")
        os._exit(FAILED)
    status = int(importlib.import_module(NODES[name]).main())
    with suppress(OSError, ValueError):  # a closed terminal
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(status)  # everything is closed; taking Python, torch and DDS apart in memory costs seconds on a busy machine


def run(name: str, make_node: Callable[[], Any], work: Callable[[Any], None] | None = None) -> int:
    """Make the node, spin it, close it; the exit status. A parameter that cannot be (ValueError), a file of parameters that cannot be
    parsed, and what the middleware refuses are reported in one line.

    work: what to do in place of spinning; it ends when it is done, or, by StopAsked, soon after `STOPPING.asked` is set. A node may have
    `halt()`, which stops what it moves and may be called by any thread, and `close()`.
    """
    import rclpy
    from rclpy.executors import ExternalShutdownException

    STOPPING.install()
    fault = _start_ros()
    if fault:
        say(f"{name}: {fault}")
        return WRONG_CONFIGURATION
    STOPPING.begin()
    try:
        node = make_node()
    except (ValueError, _middleware_error()) as error:  # the latter: a domain, an enclave or a limit of the system that does not let it
        say(f"{name}: {_reason(error)}")
        rclpy.try_shutdown()
        return WRONG_CONFIGURATION
    halt, close = getattr(node, "halt", _nothing), getattr(node, "close", _nothing)
    status = 0
    try:
        STOPPING.at_once(halt)
        (work or spin)(node)
    except (ExternalShutdownException, StopAsked):
        pass
    except Exception:
        status = FAILED
        run_all((halt,))
        node.get_logger().fatal(f"ended by an internal error, please report it:\n{traceback.format_exc()}")
    run_all((halt, close, lambda: _destroy(node), rclpy.try_shutdown))
    return status


def _destroy(node: Any) -> None:
    """rclpy forgets a lifecycle node's state machine, which keeps the node's DDS participant alive, and with it 134 MB of shared memory
    that would outlast this process."""
    node.destroy_node()
    if machine := getattr(node, "_state_machine", None):
        machine.destroy_when_not_in_use()


def _start_ros() -> str:
    """Initialises rclpy without its own handling of signals. Why that is impossible; empty where it went well."""
    import rclpy
    from rclpy.node import Node
    from rclpy.signals import SignalHandlerOptions

    if not hasattr(Node, "add_post_set_parameters_callback"):
        return "this ROS 2 is not supported, its rclpy lacks what the nodes need: use Jazzy, Kilted or Lyrical"
    domain = os.environ.get("ROS_DOMAIN_ID", "")
    if domain.isdecimal() and int(domain) > HIGHEST_DOMAIN:  # Fast DDS ends the process without a word of the domain
        return f"ROS_DOMAIN_ID = {domain}: give 0 to {HIGHEST_DOMAIN}"
    remove_dead_segments()
    if note := avoid_full_memory(os.environ):
        say(note)
    try:
        rclpy.init(signal_handler_options=SignalHandlerOptions.NO)
    except RuntimeError as error:  # a parameter file that cannot be parsed, unknown --ros-args
        return _reason(error)
    return ""


def _middleware_error() -> type[Exception]:
    """What rclpy raises where a library below it fails."""
    from rclpy.impl.implementation_singleton import rclpy_implementation

    error: type[Exception] = rclpy_implementation.RCLError
    return error


def _reason(error: Exception) -> str:
    """Of an error of rcl, without the lines of its own source that follow; of another, all."""
    reason = re.sub(r", at /\S+:\d+", "", str(error)) if isinstance(error, RuntimeError) else str(error)
    return " ".join(reason.split())


def spin(node: Any) -> None:
    """Until a signal comes, in one thread: rclpy's others cost more and keep no better time."""
    from rclpy.executors import SingleThreadedExecutor
    from rclpy.task import Future

    asked: Future = Future()
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    STOPPING.at_once(lambda: asked.set_result(None))
    executor.spin_until_future_complete(asked)
    executor.remove_node(node)


def _nothing() -> None:
    pass
