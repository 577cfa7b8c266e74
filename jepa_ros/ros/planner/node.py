"""The planner node: forecasts in; safe paths, imagined futures and actions out, each within its request's deadline.

Lifecycle: configure loads the model and offers the services, activate opens the gate, deactivate closes it, cleanup frees the memory.
Requests that come while the gate is closed are answered NOT_ACTIVE.
"""

from __future__ import annotations

import sys

from diagnostic_msgs.msg import DiagnosticStatus

from jepa_ros.ros.entry import run
from jepa_ros.ros.lifecycle import ManagedNode
from jepa_ros.ros.planner.config import PlannerNodeConfig
from jepa_ros.ros.planner.diagnostics import planner_statuses
from jepa_ros.ros.planner.publishers.plan_display import PlanDisplay
from jepa_ros.ros.planner.session import PlannerSession


class PlannerNode(ManagedNode[PlannerNodeConfig]):
    """Wires parameters, the session and diagnostics together."""

    def __init__(self) -> None:
        self._session: PlannerSession | None = None
        super().__init__("planner", PlannerNodeConfig)
        self._shown = PlanDisplay(self, lambda: self.settings.config.planner)

    def open(self) -> str:
        self._session = PlannerSession(self, lambda: self.settings.config, self._shown)
        config = self.settings.config
        drives = f"drives to {self.get_name()}/goal_pose" if config.controller.enabled else "controller off (controller.enabled is false)"
        return f"model for imagine: {config.model or 'none (model is empty)'}, {drives}"

    def start(self) -> None:
        assert self._session is not None
        self._session.active = True

    def stop(self) -> None:
        assert self._session is not None
        self._session.deactivate()

    def release(self) -> None:
        session, self._session = self._session, None
        if session is not None:
            session.close()

    def halt(self) -> None:
        session = self._session
        if session is not None:
            session.halt()

    def advice(self) -> str:
        config = self.settings.config
        return f"model={config.model!r} device={config.device!r} (with an empty model the node plans paths, but cannot imagine)"

    def statuses(self) -> list[DiagnosticStatus]:
        return planner_statuses(self.state, self._session)


def main() -> int:
    """Entry point of the `planner` executable."""
    return run("planner", PlannerNode)


if __name__ == "__main__":
    sys.exit(main())
