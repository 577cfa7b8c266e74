"""Drives a behavior tree against real action servers as Nav2's bt_navigator does: loop, time limits, blackboard, cancel, pre-emption.

bt_navigator itself is C++ and has no wheel. What is here follows BtActionNode and NavigateToPoseNavigator of Nav2 (branch kilted): a goal
that is not acknowledged within `server_timeout` fails, a newer path is sent over the one that is followed, older results are ignored. Where
bt_navigator waits for the result of what it cancels (`cancel_timeout`) and logs an error if none comes, this notes how long it took.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from action_msgs.msg import GoalStatus
from nav2_msgs.action import BackUp, ComputePathToPose, FollowPath, Spin, Wait
from nav2_msgs.srv import ClearEntireCostmap
from nav_msgs.msg import Path
from rclpy.action import ActionClient
from rclpy.node import Node as RosNode

from experiments.driving.tree import CONTROLLER_RECOVERS, PLANNER_RECOVERS, Node, Status, parse, would_help

LOOP_S = 0.01  # bt_loop_duration
SERVER_TIMEOUT_MS = 20.0  # default_server_timeout of nav2_bringup: within it a server must have accepted a goal
CANCEL_TIMEOUT_MS = 50.0  # default_cancel_timeout: within it what was cancelled must have ended
SERVICE_WAIT_S = 1.0  # wait_for_service_timeout


class ActionNode(Node):
    """A node that has an action server do its work."""

    kind: Any = None
    server = ""

    def __init__(self, ports: dict[str, str], children: list[Node], board: dict[str, Any]) -> None:
        super().__init__(ports, children, board)
        self.client: Any = ActionClient(board["node"], self.kind, str(self.read("server_name", self.server)))
        self.timeout_s = float(self.read("server_timeout", board["server_timeout"])) / 1e3
        self.goal: Any = None
        self._forget()

    def _forget(self) -> None:
        self._sent: Any = None  # future of the acknowledgement
        self._handle: Any = None
        self._outcome: Any = None  # future of the result
        self._sent_s = 0.0

    def run(self) -> Status:
        if self.status is not Status.RUNNING:
            self._forget()
            self.goal = self.make_goal()
            self._send()
        if self._sent is not None:
            acknowledged = self._acknowledged()
            if acknowledged is not None:
                return acknowledged
        if not self._outcome.done():
            if self.renewed():
                self._send()
            return Status.RUNNING
        answer = self._outcome.result()
        if answer.status == GoalStatus.STATUS_SUCCEEDED:
            self.tell(answer.result, "")
            return Status.SUCCESS
        if answer.status == GoalStatus.STATUS_CANCELED:
            self.tell(None, "")
            return Status.SUCCESS
        self.tell(answer.result, getattr(answer.result, "error_msg", ""))
        return Status.FAILURE

    def _send(self) -> None:
        self._sent, self._sent_s = self.client.send_goal_async(self.goal), time.monotonic()
        self.board["sent"].append((self.kind.__name__, self._sent_s))

    def _acknowledged(self) -> Status | None:
        """None once the server has taken the goal."""
        if not self._sent.done():
            if time.monotonic() - self._sent_s < self.timeout_s:
                return Status.RUNNING
            self.board["unacknowledged"].append(self.kind.__name__)
            self._sent = None
            self.write("error_code_id", getattr(self.kind.Result, "CONTROLLER_TIMED_OUT", getattr(self.kind.Result, "TIMEOUT", 1)))
            return Status.FAILURE
        self.board["acknowledged"].append((self.kind.__name__, time.monotonic() - self._sent_s))
        handle, self._sent = self._sent.result(), None
        if not handle.accepted:
            return Status.FAILURE
        self._handle, self._outcome = handle, handle.get_result_async()
        return None

    def halt(self) -> None:
        if self.status is Status.RUNNING and self._handle is not None and not self._outcome.done():
            asked_s = time.monotonic()
            self._outcome.add_done_callback(lambda _: self.board["ended_after"].append((self.kind.__name__, time.monotonic() - asked_s)))
            self.board["cancelled"].append(self._handle.cancel_goal_async())
            self.tell(None, "")
        super().halt()

    def make_goal(self) -> Any:
        """From the ports."""
        raise NotImplementedError

    def renewed(self) -> bool:
        """Whether the ports ask for something newer than what runs; then `goal` is it."""
        return False

    def tell(self, result: Any, message: str) -> None:
        """Writes the output ports. result: None where it was cancelled."""
        self.write("error_code_id", getattr(result, "error_code", 0))
        self.write("error_msg", message)


class ComputePath(ActionNode):
    """Asks for a path to the goal of the blackboard."""

    kind, server = ComputePathToPose, "compute_path_to_pose"

    def make_goal(self) -> Any:
        return ComputePathToPose.Goal(goal=self.read("goal"), planner_id=self.read("planner_id", ""))

    def tell(self, result: Any, message: str) -> None:
        super().tell(result, message)
        self.write("path", Path() if result is None or message else result.path)


class Follow(ActionNode):
    """Has the path of the blackboard followed, the newest one."""

    kind, server = FollowPath, "follow_path"

    def make_goal(self) -> Any:
        names = {port: self.read(port, "") or "" for port in ("controller_id", "goal_checker_id", "progress_checker_id")}
        return FollowPath.Goal(path=self.read("path", Path()), **names)

    def renewed(self) -> bool:
        newer = self.make_goal()
        if newer == self.goal or not newer.path.poses:
            return False
        self.goal = newer
        return True


def recovery(kind: Any, server: str) -> type[ActionNode]:
    """Wait, Spin or BackUp: what they are asked is not looked at here."""
    return type(kind.__name__, (ActionNode,), {"kind": kind, "server": server, "make_goal": lambda self: kind.Goal()})


class Clear(Node):
    """Calls the service that empties a costmap."""

    def __init__(self, ports: dict[str, str], children: list[Node], board: dict[str, Any]) -> None:
        super().__init__(ports, children, board)
        self.client: Any = board["node"].create_client(ClearEntireCostmap, str(self.read("service_name")))
        self._answer: Any = None

    def run(self) -> Status:
        if self.status is not Status.RUNNING:
            self._answer = self.client.call_async(ClearEntireCostmap.Request())
            self.board["sent"].append((str(self.read("service_name")), time.monotonic()))
        return Status.SUCCESS if self._answer.done() else Status.RUNNING


NODES: dict[str, Callable[..., Node]] = {
    "ComputePathToPose": ComputePath,
    "FollowPath": Follow,
    "ClearEntireCostmap": Clear,
    "Wait": recovery(Wait, "wait"),
    "Spin": recovery(Spin, "spin"),
    "BackUp": recovery(BackUp, "backup"),
    "WouldAControllerRecoveryHelp": would_help(FollowPath.Result, CONTROLLER_RECOVERS),
    "WouldAPlannerRecoveryHelp": would_help(ComputePathToPose.Result, PLANNER_RECOVERS),
}


LOGS = ("sent", "acknowledged", "unacknowledged", "cancelled", "ended_after")


class Navigator:
    """Ticks a tree every 10 ms in `node`'s executor, towards one goal at a time."""

    def __init__(
        self, node: RosNode, tree: str, clock: Callable[[], float] = time.monotonic, server_timeout_ms: float = SERVER_TIMEOUT_MS
    ) -> None:
        """tree: the XML text. clock: of the tree's rates, s. server_timeout_ms: of nodes that the tree gives none."""
        logs: dict[str, list[Any]] = {name: [] for name in LOGS}
        self.board: dict[str, Any] = {"node": node, "clock": clock, "server_timeout": server_timeout_ms, **logs}
        self.tree = parse(tree, NODES, self.board)
        self.outcome: Status | None = None  # of the last goal; None while it is driven to
        self._running = False
        self._timer = node.create_timer(LOOP_S, self._loop)

    def servers_are_ready(self) -> bool:
        """Whether all that the tree names is there; bt_navigator refuses to load a tree otherwise."""
        return all(
            client.server_is_ready() if hasattr(client, "server_is_ready") else client.service_is_ready() for client in self._clients()
        )

    def _clients(self) -> list[Any]:
        found, open_nodes = [], [self.tree]
        while open_nodes:
            node = open_nodes.pop()
            open_nodes += node.children
            found += [node.client] if hasattr(node, "client") else []
        return found

    def go(self, goal: Any) -> None:
        """To a PoseStamped; where a goal is driven to already, this one takes its place on the blackboard, as when it is pre-empted."""
        self.board["goal"], self.board["number_recoveries"] = goal, 0
        if not self._running:
            self.board.update({name: 0 for name in self.board if name.endswith("error_code")})
        self.outcome, self._running = None, True

    def cancel(self) -> None:
        """Halts the tree, which cancels what runs."""
        self.tree.halt()
        self._running = False

    def error_code(self) -> int:
        """The lowest code that a node left on the blackboard; what bt_navigator gives as the goal's own. 0 = none."""
        return min((code for name, code in self.board.items() if name.endswith("error_code") and code), default=0)

    def _loop(self) -> None:
        if not self._running:
            return
        status = self.tree.tick()
        if status is not Status.RUNNING:
            self.outcome, self._running = status, False
            self.tree.halt()

    def close(self) -> None:
        """Gives its clients back."""
        self._timer.destroy()
        for client in self._clients():
            client.destroy() if isinstance(client, ActionClient) else self.board["node"].destroy_client(client)
