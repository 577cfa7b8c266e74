"""Runs a node of this package until it is told to stop."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import rclpy
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor


def run(name: str, make_node: Callable[[], Any]) -> int:
    """Make the node, spin it, close it. A parameter that cannot be (ValueError) is told in one line; the exit status is then 1."""
    rclpy.init()
    try:
        node = make_node()
    except ValueError as error:
        print(f"{name}: {error}", file=sys.stderr)
        return 1
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    with suppress(KeyboardInterrupt, ExternalShutdownException):
        executor.spin()
    node.close()
    node.destroy_node()
    rclpy.try_shutdown()
    return 0
