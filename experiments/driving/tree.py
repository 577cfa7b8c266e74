"""Behavior trees as Nav2's bt_navigator runs them: the nodes that a tree for driving needs, without ROS.

Read in nav2_behavior_tree of Nav2 (branch kilted) and BehaviorTree.CPP 4. Nodes that call servers are in `navigator`.
"""

from __future__ import annotations

import enum
import xml.etree.ElementTree as ET
from collections.abc import Callable
from typing import Any

# Codes after which Nav2 tries a recovery (WouldAControllerRecoveryHelp, WouldAPlannerRecoveryHelp), by their names in nav2_msgs.
CONTROLLER_RECOVERS = ("UNKNOWN", "PATIENCE_EXCEEDED", "FAILED_TO_MAKE_PROGRESS", "NO_VALID_CONTROL")
PLANNER_RECOVERS = ("UNKNOWN", "NO_VALID_PATH", "TIMEOUT")


class Status(enum.Enum):
    """Of a node, since it was last reset."""

    IDLE = enum.auto()
    RUNNING = enum.auto()
    SUCCESS = enum.auto()
    FAILURE = enum.auto()


class Node:
    """A node with its ports, its children and the blackboard that all nodes share."""

    def __init__(self, ports: dict[str, str], children: list[Node], board: dict[str, Any]) -> None:
        self.ports, self.children, self.board = ports, children, board
        self.status = Status.IDLE

    def tick(self) -> Status:
        """One step; the status stays until the parent resets it."""
        self.status = self.run()
        return self.status

    def run(self) -> Status:
        """What the node does in one tick."""
        raise NotImplementedError

    def halt(self) -> None:
        """Break off what runs below, and go back to the beginning."""
        for child in self.children:
            child.reset()
        self.status = Status.IDLE

    def reset(self) -> None:
        """As BehaviorTree.CPP's haltChild: only what runs is broken off. What is done keeps its place, such as a RoundRobin's turn."""
        if self.status is Status.RUNNING:
            self.halt()
        self.status = Status.IDLE

    def read(self, port: str, default: Any = None) -> Any:
        """A port's value: what stands on the blackboard where it names an entry in braces."""
        text = self.ports.get(port)
        if text is None:
            return default
        return self.board.get(text[1:-1], default) if text.startswith("{") else text

    def write(self, port: str, value: Any) -> None:
        """To the entry of the blackboard that an output port names; nowhere if the tree does not name one."""
        text = self.ports.get(port)
        if text is not None:
            self.board[text[1:-1]] = value


class Sequence(Node):
    """One child after the other, each until it succeeds."""

    index = 0

    def run(self) -> Status:
        while self.index < len(self.children):
            status = self.children[self.index].tick()
            if status is Status.RUNNING:
                return status
            if status is Status.FAILURE:
                self.halt()
                return status
            self.index += 1
        self.halt()
        return Status.SUCCESS

    def halt(self) -> None:
        super().halt()
        self.index = 0


class Fallback(Node):
    """The first child that does not fail."""

    def run(self) -> Status:
        for child in self.children:
            status = child.tick()
            if status is not Status.FAILURE:
                if status is Status.SUCCESS:
                    self.halt()
                return status
        self.halt()
        return Status.FAILURE


class ReactiveFallback(Node):
    """As Fallback, asked from the first child on in each tick; what ran behind the one that now runs is broken off."""

    def run(self) -> Status:
        for child in self.children:
            status = child.tick()
            if status is Status.RUNNING:
                for other in self.children:
                    if other is not child:
                        other.reset()
                return status
            if status is Status.SUCCESS:
                self.halt()
                return status
        self.halt()
        return Status.FAILURE


class PipelineSequence(Node):
    """A sequence whose earlier children go on being ticked while a later one runs."""

    last = 0

    def run(self) -> Status:
        for index, child in enumerate(self.children):
            status = child.tick()
            if status is Status.FAILURE:
                self.halt()
                return status
            if status is Status.RUNNING and index >= self.last:
                self.last = index
                return status
        self.halt()
        return Status.SUCCESS

    def halt(self) -> None:
        super().halt()
        self.last = 0


class RecoveryNode(Node):
    """Its second child after each failure of the first, `number_of_retries` times at most."""

    index = retries = 0

    def run(self) -> Status:
        allowed = int(self.read("number_of_retries", 1))
        main, recovery = self.children
        while True:
            status = (main, recovery)[self.index].tick()
            if status is Status.RUNNING:
                return status
            if self.index == 0 and status is Status.SUCCESS:
                self.halt()
                return status
            if self.index == 0 and self.retries < allowed:
                main.reset()
                self.index = 1
            elif self.index == 1 and status is Status.SUCCESS:
                recovery.reset()
                self.retries, self.index = self.retries + 1, 0
                self.board["number_recoveries"] = self.board.get("number_recoveries", 0) + 1
            else:
                self.halt()
                return Status.FAILURE

    def halt(self) -> None:
        super().halt()
        self.index = self.retries = 0


class RoundRobin(Node):
    """The next child in turn at each success; fails once every child has failed in a row."""

    index = failed = 0

    def run(self) -> Status:
        while self.failed < len(self.children):
            status = self.children[self.index].tick()
            if status is Status.RUNNING:
                return status
            self.index = (self.index + 1) % len(self.children)
            if status is Status.SUCCESS:
                self.failed = 0
                for child in self.children:
                    child.reset()
                return status
            self.failed += 1
        self.halt()
        return Status.FAILURE

    def halt(self) -> None:
        super().halt()
        self.index = self.failed = 0


class RateController(Node):
    """Its child at most `hz` times a second, and in every tick while the child runs."""

    begun_s: float | None = None

    def run(self) -> Status:
        now_s = self.board["clock"]()
        first = self.status is Status.IDLE
        if first:
            self.begun_s = now_s
        self.status = Status.RUNNING
        child = self.children[0]
        if first or child.status is Status.RUNNING or now_s - self.begun_s >= 1.0 / float(self.read("hz", 1.0)):
            status = child.tick()
            if status is Status.SUCCESS:
                self.begun_s = now_s
            if status is not Status.RUNNING:
                child.reset()
            return status
        return Status.RUNNING


class GoalUpdated(Node):
    """Whether another goal stands on the blackboard than when it was first asked."""

    goal: Any = None

    def run(self) -> Status:
        before, self.goal = self.goal, self.board.get("goal")
        return Status.SUCCESS if self.status is not Status.IDLE and before != self.goal else Status.FAILURE


class Selector(Node):
    """ControllerSelector and the like, to which nobody says anything: the default."""

    def run(self) -> Status:
        for port, value in self.ports.items():
            if port.startswith("default_"):
                self.write(port.replace("default_", "selected_"), value)
        return Status.SUCCESS


def would_help(kind: type, names: tuple[str, ...]) -> type[Node]:
    """A condition: whether the code at port `error_code` is one of these of an action's result type."""
    codes = {getattr(kind, name) for name in names if hasattr(kind, name)}

    class WouldHelp(Node):
        def run(self) -> Status:
            return Status.SUCCESS if self.read("error_code") in codes else Status.FAILURE

    return WouldHelp


CONTROL: dict[str, type[Node]] = {
    kind.__name__: kind
    for kind in (Sequence, Fallback, ReactiveFallback, PipelineSequence, RecoveryNode, RoundRobin, RateController, GoalUpdated)
} | {"ControllerSelector": Selector, "PlannerSelector": Selector}


def parse(text: str, kinds: dict[str, Callable[..., Node]], board: dict[str, Any]) -> Node:
    """The main tree of an XML text. Raises ValueError where it names a node that is in neither `kinds` nor CONTROL, or no main tree."""
    root = ET.fromstring(text)
    name = root.attrib.get("main_tree_to_execute")
    tree = next((tree for tree in root.iter("BehaviorTree") if tree.attrib["ID"] == name), None)
    if tree is None or len(tree) != 1:
        raise ValueError(f"main_tree_to_execute={name!r}: no such tree with one root")

    def node(element: ET.Element) -> Node:
        made = (CONTROL | kinds).get(element.tag)
        if made is None:
            raise ValueError(f"<{element.tag}>: no such node; there are {', '.join(sorted(CONTROL | kinds))}")
        return made({key: value for key, value in element.attrib.items() if key != "name"}, [node(child) for child in element], board)

    return node(tree[0])
