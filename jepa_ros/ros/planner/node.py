"""The planner node: forecasts in; safe paths, imagined futures and actions out, each within its request's deadline.

Lifecycle: configure loads the model and offers the services, activate opens the gate, deactivate closes it, cleanup frees the memory.
Requests that come while the gate is closed are answered NOT_ACTIVE.
"""

from __future__ import annotations

import gc
import sys

from diagnostic_msgs.msg import DiagnosticArray
from nav_msgs.msg import Path
from rclpy.clock import Clock, ClockType
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn

from jepa_ros.ros.entry import run
from jepa_ros.ros.parameters import Parameters
from jepa_ros.ros.planner.config import PlannerNodeConfig
from jepa_ros.ros.planner.diagnostics import planner_statuses
from jepa_ros.ros.planner.session import PlannerSession

DIAGNOSTICS_PERIOD_S = 1.0
SUCCESS, FAILURE = TransitionCallbackReturn.SUCCESS, TransitionCallbackReturn.FAILURE


class PlannerNode(LifecycleNode):
    """Wires parameters, the session and diagnostics together."""

    def __init__(self) -> None:
        super().__init__("planner")
        self._settings = Parameters(self, PlannerNodeConfig)
        self._session: PlannerSession | None = None
        self._path = self.create_lifecycle_publisher(Path, "~/path", 1)
        self._diagnostics = self.create_publisher(DiagnosticArray, "/diagnostics", 10)
        # The wall's time: diagnostics go on when simulated time stands still.
        self.create_timer(DIAGNOSTICS_PERIOD_S, self._publish_diagnostics, clock=Clock(clock_type=ClockType.STEADY_TIME))
        if self._settings.config.autostart and self.trigger_configure() == SUCCESS:
            self.trigger_activate()

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        config = self._settings.config
        try:
            self._session = PlannerSession(self, lambda: self._settings.config, self._path.publish)
        except Exception as error:  # whatever a back-end raises: the node stays, so that the parameter can be put right
            self.get_logger().error(
                f"cannot configure model={config.model!r} device={config.device!r}: {type(error).__name__}: {error}"
                " (with an empty model the node plans paths, but cannot imagine)"
            )
            return FAILURE
        # What is loaded now stays. Without this, a full garbage collection walks through all of torch, for a tenth of a second and more.
        gc.collect()
        gc.freeze()
        return super().on_configure(state)

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        assert self._session is not None
        self._session.active = True
        return super().on_activate(state)

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        assert self._session is not None
        self._session.active = False
        return super().on_deactivate(state)

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        self.close()
        return SUCCESS

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        self.close()
        return SUCCESS

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        """rclpy keeps what a transition raised to itself; free everything and be ready to be configured again."""
        self.get_logger().error(f"the transition from {state.label!r} failed; configure the node again")
        self.close()
        return SUCCESS

    def close(self) -> None:
        """Stop, and free the model's memory."""
        session, self._session = self._session, None
        if session is not None:
            session.close()
        gc.unfreeze()
        gc.collect()

    def _publish_diagnostics(self) -> None:
        message = DiagnosticArray(status=planner_statuses(self._state_machine.current_state[1], self._session))
        message.header.stamp = self.get_clock().now().to_msg()
        self._diagnostics.publish(message)


def main() -> int:
    """Entry point of the `planner` executable."""
    return run("planner", PlannerNode)


if __name__ == "__main__":
    sys.exit(main())
