"""Drives the lifecycle of another node from Python, where `ros2 lifecycle` or a launch file is not at hand."""

from __future__ import annotations

import time
from typing import Any

import rclpy
from lifecycle_msgs.msg import State, Transition
from lifecycle_msgs.srv import ChangeState, GetState
from rclpy.node import Node

TRANSITIONS = {
    "configure": Transition.TRANSITION_CONFIGURE,
    "activate": Transition.TRANSITION_ACTIVATE,
    "deactivate": Transition.TRANSITION_DEACTIVATE,
    "cleanup": Transition.TRANSITION_CLEANUP,
}
STATES = {
    State.PRIMARY_STATE_UNCONFIGURED: "unconfigured",
    State.PRIMARY_STATE_INACTIVE: "inactive",
    State.PRIMARY_STATE_ACTIVE: "active",
    State.PRIMARY_STATE_FINALIZED: "finalized",
}


class LifecycleClient:
    """Spins `node` while it waits, so call it from the thread that owns the node's executor."""

    def __init__(self, node: Node, target: str) -> None:
        self._node = node
        self._target = target
        self._change = node.create_client(ChangeState, f"{target}/change_state")
        self._get = node.create_client(GetState, f"{target}/get_state")

    def state(self, timeout_s: float = 10.0) -> str:
        response = self._call(self._get, GetState.Request(), timeout_s)
        return STATES.get(response.current_state.id, response.current_state.label)

    def transition(self, name: str, timeout_s: float = 60.0) -> None:
        """Request a transition by name. RuntimeError where the node refuses it, TimeoutError where it does not answer."""
        request = ChangeState.Request(transition=Transition(id=TRANSITIONS[name]))
        if not self._call(self._change, request, timeout_s).success:
            raise RuntimeError(f"{self._target} refused to {name} (it is {self.state()}); its log says why")

    def _call(self, client: Any, request: Any, timeout_s: float) -> Any:
        deadline_s = time.monotonic() + timeout_s
        # Wait in the executor rather than in wait_for_service(), which would starve this node's other callbacks.
        while not client.service_is_ready():
            if time.monotonic() > deadline_s:
                raise TimeoutError(f"{client.srv_name} did not appear within {timeout_s:.0f} s: is {self._target} running?")
            rclpy.spin_once(self._node, timeout_sec=0.1)
        future = client.call_async(request)
        rclpy.spin_until_future_complete(self._node, future, timeout_sec=max(0.1, deadline_s - time.monotonic()))
        if not future.done():
            raise TimeoutError(f"{client.srv_name} did not answer within {timeout_s:.0f} s")
        return future.result()
