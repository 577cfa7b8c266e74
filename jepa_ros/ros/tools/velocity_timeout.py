"""Relays velocity commands to a base that has no watchdog of its own, and sends zero when the sender falls silent.

A node that is asked to stop sends zero before it leaves. One that is killed (SIGKILL, a fault in a library, no memory, no power) says
nothing, and many bases go on with the last velocity that they heard. Run this beside the base's driver:

ros2 run jepa_ros velocity_timeout --ros-args -r cmd_vel_in:=cmd_vel -r cmd_vel:=base/cmd_vel -p timeout_s:=0.3
"""

from __future__ import annotations

import math
import sys
import threading
import time
from dataclasses import dataclass
from typing import Any

from geometry_msgs.msg import Twist, TwistStamped
from rclpy.clock import Clock, ClockType
from rclpy.node import Node

from jepa_ros.config import param, validate
from jepa_ros.ros.entry import run
from jepa_ros.ros.parameters import Parameters

CHECKS_PER_TIMEOUT = 10
REPEATED = 20  # zeros, one a check: a lost one does no harm, and afterwards others may command the base


@dataclass(frozen=True)
class VelocityTimeoutConfig:
    """How long a command holds."""

    timeout_s: float = param(
        0.3, "zero is sent when no command has come for so long, s; a command every 0.05 s is usual", at_least=0.02, at_most=10.0
    )
    stamped: bool = param(False, "commands are geometry_msgs/TwistStamped, not Twist")

    def __post_init__(self) -> None:
        validate(self)


class VelocityTimeout(Node):
    """`cmd_vel_in` -> `cmd_vel`."""

    def __init__(self) -> None:
        super().__init__("velocity_timeout")
        self._config = Parameters(self, VelocityTimeoutConfig).config
        kind = TwistStamped if self._config.stamped else Twist
        self._lock = threading.Lock()  # the last word is zero: `halt` may come from another thread
        self._halted = False
        self._heard_s = -math.inf
        self._zeros_left = 0
        self._output = self.create_publisher(kind, "cmd_vel", 1)
        self.create_subscription(kind, "cmd_vel_in", self._pass_on, 1)
        # By the wall's time: a base must stop, too, when simulated time stands still.
        self.create_timer(self._config.timeout_s / CHECKS_PER_TIMEOUT, self._check, clock=Clock(clock_type=ClockType.STEADY_TIME))

    def halt(self) -> None:
        with self._lock:
            moving, self._halted = self._zeros_left > 0, True
            if moving:
                self._publish_zero()

    def _pass_on(self, message: Any) -> None:
        twist = message.twist if self._config.stamped else message
        values = [getattr(part, axis) for part in (twist.linear, twist.angular) for axis in "xyz"]
        if not all(map(math.isfinite, values)):
            self.get_logger().error(f"a command that is not finite is ignored: {values}", throttle_duration_sec=5.0)
            return
        with self._lock:
            if self._halted:
                return
            if self._heard_s == -math.inf:
                self.get_logger().info(f"relaying to {self._output.topic_name}; zero after {self._config.timeout_s:g} s of silence")
            self._heard_s, self._zeros_left = time.monotonic(), REPEATED
            self._output.publish(message)

    def _check(self) -> None:
        with self._lock:
            if self._halted or self._zeros_left == 0 or time.monotonic() - self._heard_s < self._config.timeout_s:
                return
            if self._zeros_left == REPEATED:
                self.get_logger().warning(f"no command for {self._config.timeout_s:g} s: stopping the base")
            self._zeros_left -= 1
            self._publish_zero()

    def _publish_zero(self) -> None:
        zero = TwistStamped() if self._config.stamped else Twist()
        if self._config.stamped:
            zero.header.stamp = self.get_clock().now().to_msg()
        self._output.publish(zero)


def main() -> int:
    """Entry point of the `velocity_timeout` executable."""
    return run("velocity_timeout", VelocityTimeout)


if __name__ == "__main__":
    sys.exit(main())
