"""The state of the world_model node, to explain why no forecasts come."""

from __future__ import annotations

from collections.abc import Callable

from lifecycle_msgs.srv import GetState
from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from rclpy.task import Future

ASK_PERIOD_S = 1.0


class WorldModelState:
    """Asks for its lifecycle's state once a second while that is `needed`: as long as nothing is heard from it. Until `close()`."""

    def __init__(self, node: Node, name: str, needed: Callable[[], bool]) -> None:
        self._node = node
        self._needed = needed
        self._name = node.resolve_service_name(f"{name.rstrip('/')}/get_state").removesuffix("/get_state")
        self._client = node.create_client(GetState, f"{name.rstrip('/')}/get_state")
        self._asked: Future | None = None
        self._state = ""  # of its lifecycle; empty: no answer
        self._timer = node.create_timer(ASK_PERIOD_S, self._ask, clock=Clock(clock_type=ClockType.STEADY_TIME))

    def explain(self) -> str:
        """Why no forecast comes, and what to do."""
        if not self._state:
            return f"{self._name} does not answer: start it, or name the right node in inputs.world_model"
        if self._state != "active":
            transition = "activate" if self._state == "inactive" else "configure"
            return f"{self._name} is {self._state}: `ros2 lifecycle set {self._name} {transition}`"
        return f"{self._name} is active, so its sensors are missing: its /diagnostics name them"

    def close(self) -> None:
        """Ask no more."""
        self._node.destroy_timer(self._timer)
        self._node.destroy_client(self._client)

    def _ask(self) -> None:
        if self._asked is not None and not self._asked.done():
            self._client.remove_pending_request(self._asked)
            self._state = ""
        self._asked = None
        if not self._needed():
            self._state = "active"  # or it would send nothing
            return
        if not self._client.service_is_ready():
            self._state = ""
            return
        self._asked = self._client.call_async(GetState.Request())
        self._asked.add_done_callback(self._hear)

    def _hear(self, answered: Future) -> None:
        if not answered.cancelled() and answered.exception() is None and answered.result() is not None:
            self._state = answered.result().current_state.label
