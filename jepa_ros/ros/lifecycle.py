"""Shared by both nodes: parameters, the lifecycle with its log lines, diagnostics once a second, autostart."""

from __future__ import annotations

import gc
import os
import time
from typing import Any, Generic, TypeVar

import rclpy
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from rclpy.clock import Clock, ClockType
from rclpy.duration import Duration
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn

from jepa_ros.ros.machine import transport_problems
from jepa_ros.ros.own_topics import crowded
from jepa_ros.ros.parameters import Parameters
from jepa_ros.ros.problem_log import ProblemLog

C = TypeVar("C")
DIAGNOSTICS_PERIOD_S = 1.0
CLOCK_WAIT_S = 2.0  # for the first /clock, until that is worth a warning
SUCCESS, FAILURE, ERROR = TransitionCallbackReturn.SUCCESS, TransitionCallbackReturn.FAILURE, TransitionCallbackReturn.ERROR


class ManagedNode(LifecycleNode, Generic[C]):
    """A node says what it opens, starts, stops and closes; `settings.config` are its parameters, a C with the field `autostart`.

    configure opens, activate starts, deactivate stops, cleanup closes. What fails on the way is logged, and the node stays to be
    put right and configured again.
    """

    def __init__(self, name: str, kind: type[C]) -> None:
        super().__init__(name)
        self.settings: Parameters[C] = Parameters(self, kind, changeable=self._is_unconfigured)
        self._problems = [*self.settings.problems, *transport_problems(rclpy.get_rmw_implementation_identifier(), os.environ)]
        self._speaker = ProblemLog(self.get_logger())
        self._diagnostics = self.create_publisher(DiagnosticArray, "/diagnostics", 10)
        # The wall's time: diagnostics go on when simulated time stands still.
        self._steady = Clock(clock_type=ClockType.STEADY_TIME)
        self._begun = self._moved = self._steady.now()
        self._simulated_ns = 0  # simulated time when it last moved
        self.create_timer(DIAGNOSTICS_PERIOD_S, self._publish_diagnostics, clock=self._steady)
        self._starter = self.create_timer(0.01, self._start_once, clock=self._steady) if self.settings.config.autostart else None  # type: ignore[attr-defined]

    def open(self) -> str:
        """Load what is needed and return a line for the log. Exceptions pass through."""
        raise NotImplementedError

    def start(self) -> None:
        raise NotImplementedError

    def stop(self) -> None:
        raise NotImplementedError

    def release(self) -> None:
        """Let go of all that `open` and `start` made, as far as they came."""
        raise NotImplementedError

    def halt(self) -> None:
        """Stop everything that this node moves, at once and for good; any thread may call it."""

    def advice(self) -> str:
        """Advice for the log line after `open` has failed."""
        return ""

    def statuses(self) -> list[DiagnosticStatus]:
        """Named "node: what" with the node's plain name."""
        raise NotImplementedError

    @property
    def state(self) -> str:
        """Label of the lifecycle's state."""
        return str(self._state_machine.current_state[1])

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        began_s = time.monotonic()
        try:
            summary = self.open()
        except Exception as error:  # whatever a back-end raises: the node stays, so that the parameter can be put right
            self.get_logger().error(f"cannot configure {self.advice()}: {type(error).__name__}: {error}")
            self.close()
            return FAILURE
        # What is loaded now stays. Without this, every full garbage collection walks through all of torch, for a tenth of a second.
        gc.collect()
        gc.freeze()
        self.get_logger().info(f"configured in {time.monotonic() - began_s:.1f} s: {summary}")
        return super().on_configure(state)

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        result = super().on_activate(state)
        return self._told("activate", self.start, result)

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        result = self._told("deactivate", self.stop, SUCCESS)
        super().on_deactivate(state)
        return result

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        return self._told("clean up", self.close, SUCCESS)

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        self.halt()
        return self._told("shut down", self.close, SUCCESS)

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Stop the robot first, then free everything, so that the node can be configured again."""
        self.halt()
        return self._told("recover", self.close, SUCCESS)

    def close(self) -> None:
        """Stop, and free the memory."""
        try:
            self.release()
        finally:
            gc.unfreeze()
            gc.collect()

    def _told(self, what: str, action: Any, result: TransitionCallbackReturn) -> TransitionCallbackReturn:
        """rclpy keeps to itself what a transition raised."""
        try:
            action()
        except Exception as error:
            self.get_logger().error(f"cannot {what}: {type(error).__name__}: {error}")
            return ERROR
        self.get_logger().info(f"{what}: done")
        return result

    def _is_unconfigured(self) -> bool:
        return self.state == "unconfigured"

    def _start_once(self) -> None:
        """In the executor, so that signals are handled and the node is visible while its model loads."""
        assert self._starter is not None
        self.destroy_timer(self._starter)
        self._starter = None
        if self._is_unconfigured() and self.trigger_configure() == SUCCESS:
            self.trigger_activate()

    def _setup_status(self) -> DiagnosticStatus:
        """What was wrong from the start: parameters that nobody declares, a transport that loses messages."""
        problems = [*self._problems, *self._time_problems()]
        level = DiagnosticStatus.WARN if problems else DiagnosticStatus.OK
        message = "; ".join(problems) or "as it should be"
        return DiagnosticStatus(name=f"{self.get_name()}: setup", hardware_id="jepa_ros", level=level, message=message)

    def _time_problems(self) -> list[str]:
        """A simulated time that nobody gives, that stands still, or that two give: stamps and ages then mean nothing."""
        now = self._steady.now()
        if not self.get_parameter("use_sim_time").value or now - self._begun < Duration(seconds=CLOCK_WAIT_S):
            return []
        simulated_ns = self.get_clock().now().nanoseconds
        if simulated_ns == 0:
            return [
                "use_sim_time is true, but no /clock has come: play the bag with --clock, start the simulator, or set use_sim_time to false"
            ]
        if simulated_ns != self._simulated_ns:
            self._simulated_ns, self._moved = simulated_ns, now
        stands = now - self._moved > Duration(seconds=CLOCK_WAIT_S)
        still = "/clock stands still: is the simulator or the bag paused, or has it ended?" if stands else ""
        return [problem for problem in (still, crowded(self, "/clock")) if problem]

    def _publish_diagnostics(self) -> None:
        statuses = [*self.statuses(), self._setup_status()]
        for status in statuses:
            status.name = in_namespace(self, status.name)
        self._speaker.say(status for status in statuses if not status.name.endswith(": node"))  # each transition is logged when it happens
        message = DiagnosticArray(status=statuses)
        message.header.stamp = self.get_clock().now().to_msg()
        self._diagnostics.publish(message)


def in_namespace(node: Any, name: str) -> str:
    """A status's name with the node's namespace in front, where it has one: /diagnostics is one topic for all robots."""
    namespace = node.get_namespace().rstrip("/")
    return f"{namespace}/{name}" if namespace else name
