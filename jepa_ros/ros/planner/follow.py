"""State of an action that the controller carries out, from acceptance to its end."""

from __future__ import annotations

import enum
import math
import threading
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from rclpy.task import Future

from jepa_ros.planning.route import Along, Progress, Route
from jepa_ros.planning.scene import PlanningScene
from jepa_ros.ros.planner.scene import InvalidGoal, StaleSensors, UnknownGoal
from jepa_ros.types import FloatArray


class End(enum.Enum):
    """How it ended. The names of failures are those of nav2_msgs/FollowPath's error codes."""

    REACHED = enum.auto()
    CANCELLED = enum.auto()
    REPLACED = enum.auto()  # another goal came
    UNKNOWN = enum.auto()
    INVALID_PATH = enum.auto()
    TF_ERROR = enum.auto()
    PATIENCE_EXCEEDED = enum.auto()
    NO_VALID_CONTROL = enum.auto()
    FAILED_TO_MAKE_PROGRESS = enum.auto()
    CONTROLLER_TIMED_OUT = enum.auto()


@dataclass(frozen=True)
class Tracking:
    """Progress along the path, for feedback."""

    along: Along
    pose: FloatArray  # (3,) x m, y m, yaw rad in the fixed frame
    distance_m: float  # to the path's end, straight
    speed_mps: float
    stamp_ns: int


class Task:
    """One accepted goal. The planning thread looks, the controller's timer ends it; `done` is set once."""

    def __init__(self, progress: Progress, is_cancelled: Callable[[], bool]) -> None:
        self.is_cancelled = is_cancelled
        self.stuck = False
        self.done: Future = Future()  # of (End, message)
        self._progress = progress
        self._ending = threading.Lock()

    def carry_on_from(self, other: Task) -> None:
        """The same robot, on a newer goal: a new goal is no progress."""
        self._progress = other._progress

    def watch_progress(self, pose: FloatArray, scene: PlanningScene) -> None:
        """Sets `stuck` where the robot has not got anywhere for too long."""
        self.stuck = not self._progress.made(pose[:2], scene.ego.stamp_ns / 1e9)

    def end(self, how: End, message: str = "") -> None:
        """From any thread; only the first counts."""
        with self._ending:
            if not self.done.done():
                self.done.set_result((how, message))


class PathTask(Task):
    """One accepted path."""

    def __init__(
        self,
        route: Route,
        frame: str,
        stamp_ns: int,
        progress: Progress,
        is_cancelled: Callable[[], bool],
        tell: Callable[[Tracking], None],
    ) -> None:
        """route: in `frame`. tell: takes each tracking, in the planning thread."""
        super().__init__(progress, is_cancelled)
        self.route = route
        self.frame = frame
        self.stamp_ns = stamp_ns
        self.fixed_from_path: FloatArray | None = None  # where the frame rides on the robot: as it was when the path came
        self._tell = tell
        self._done_m = 0.0

    def look(self, route: Route, pose: FloatArray, scene: PlanningScene) -> Along:
        """Where the robot is along the route (given in the fixed frame); sends it as feedback."""
        along = route.along(pose, self._done_m)
        self._done_m = along.done_m
        self.watch_progress(pose, scene)
        speed_mps = float(np.hypot(*scene.ego.velocity_mps[:2]))
        self._tell(Tracking(along, pose, math.dist(pose[:2], route.end[:2]), speed_mps, scene.ego.stamp_ns))
        return along


def failure_of(error: BaseException | None, patience_s: float) -> End:
    """What it is called when nothing could be planned until patience ended. error: the last one; None = plans came, but none was safe."""
    if isinstance(error, UnknownGoal):
        return End.TF_ERROR
    if isinstance(error, InvalidGoal):
        return End.INVALID_PATH
    if isinstance(error, StaleSensors):
        return End.CONTROLLER_TIMED_OUT
    if error is not None:
        return End.UNKNOWN
    return End.PATIENCE_EXCEEDED if patience_s > 0.0 else End.NO_VALID_CONTROL
