"""Drives: replans to the goal without pause, follows the newest plan with cmd_vel, and stops when plan or forecasts are too old.

Goals come on ~/goal_pose (RViz's "2D Goal Pose", remapped), paths from `follow_path`. Planning happens in the planning thread like every
other request; the timer here only says where the plan is now, so that a late plan never holds up a command.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from geometry_msgs.msg import PoseStamped
from rclpy.clock import Clock, ClockType
from rclpy.lifecycle import LifecycleNode

from jepa_ros.config import param, validate
from jepa_ros.planning.scene import PlanningScene
from jepa_ros.ros.conversions import Frames
from jepa_ros.ros.planner.follow import End, Task, failure_of
from jepa_ros.ros.planner.publishers.commands import Commands, Limited, motion_time_of, motion_time_s
from jepa_ros.ros.planner.worker import DeadlineWorker, PlanningTime
from jepa_ros.types import FloatArray, Plan, PlanStatus

GRACE_NS = 150_000_000  # a camera of half the lidar's rate is in every other forecast only


@dataclass(frozen=True)
class ControllerConfig:
    """Whether and how to drive."""

    enabled: bool = param(False, "drive to ~/goal_pose with cmd_vel; used at configure", read_only=False)
    rate_hz: float = param(20.0, "commands per second; used at configure", at_least=1.0, at_most=100.0, read_only=False)
    planning_s: float = param(
        0.08, "time for one plan, s; the next one begins when it ends; more, up to 0.4 max_age_s, while the machine is too busy for it",
        at_least=0.01, at_most=10.0, at_most_live=1.0, read_only=False,
    )  # fmt: skip
    max_age_s: float = param(
        0.4, "a forecast, an odometry, a sensor in use or a plan older than this stops the robot, s; more for a simulator slower than "
        "real time", at_least=0.05, at_most=60.0, at_most_live=5.0, read_only=False,
    )  # fmt: skip

    stamped: bool = param(False, "cmd_vel is a TwistStamped, as Nav2 from Kilted on has it; used at configure", read_only=False)
    follow_path: str = param("~/follow_path", "name of the FollowPath action; used at configure", read_only=False)
    patience_s: float = param(
        3.0, "a path is given up if no safe plan along it is found for this long, s (Nav2: failure_tolerance)", at_least=0.0, at_most=600.0,
        read_only=False,
    )  # fmt: skip
    progress_radius_m: float = param(
        0.5, "a robot that follows a path is stuck if it does not move this far, m, in progress_allowance_s", at_least=0.01, at_most=10.0,
        read_only=False,
    )  # fmt: skip
    progress_allowance_s: float = param(10.0, "see progress_radius_m", at_least=0.1, at_most=600.0, read_only=False)

    def __post_init__(self) -> None:
        validate(self)


@dataclass(frozen=True)
class Followed:
    """A plan that is being driven."""

    plan: Plan
    begun_s: float  # when its first step begins, in the time that the robot moves in (`motion_time_s`)
    made_s: float  # when it was begun to be made, on the steady clock

    def command(self, now_s: float) -> FloatArray:
        """(U,) of the step that the plan is in; nothing after its end."""
        step = int((now_s - self.begun_s) / self.plan.dt_s)
        return self.plan.commands[max(0, step)] if step < len(self.plan.commands) else np.zeros(self.plan.commands.shape[1])


class SensorWatch:
    """Every sensor that has served since the goal was set must go on serving: without it the robot sees less than it set out with."""

    def __init__(self) -> None:
        self._needed: frozenset[str] = frozenset()
        self._complete_ns = 0

    def missing(self, sensors: tuple[str, ...], stamp_ns: int) -> frozenset[str]:
        """Sensors that have served and that no forecast of the last GRACE_NS was made from. `stamp_ns`: of the newest forecast."""
        self._needed |= frozenset(sensors)
        missing = self._needed - frozenset(sensors)
        if not missing:
            self._complete_ns = stamp_ns
        return missing if stamp_ns - self._complete_ns > GRACE_NS else frozenset()


@dataclass(frozen=True)
class Planned:
    """What came of one planning."""

    plan: Plan  # without a path where it was refused
    arrived: bool
    scene: PlanningScene  # that it was made in
    frames: Frames


class Controller:
    """Lives from configure to `close()`; drives only while `is_active()`. `state` is for diagnostics."""

    def __init__(
        self,
        node: LifecycleNode,
        config: Callable[[], ControllerConfig],
        is_active: Callable[[], bool],
        worker: DeadlineWorker,
        plan: Callable[[PoseStamped | Task, float, float, float | None], Planned],
        wake: Callable[[], None],
        limited: Limited | None = None,
    ) -> None:
        """plan: (goal, seconds, oldest input in s, highest speed) -> what came of it; raises where there is nothing to plan on. Called by
        the worker. wake: called when a path has ended, so that an executor looks at who waits for it. limited: what the robot
        can do of a command; None = all."""
        self.state = "no goal"
        self.pace = PlanningTime()
        self.goals = 0  # that came or were dropped so far: who has looked at a goal for a while sees whether another came meanwhile
        self._node = node
        self._config = config
        self._is_active = is_active
        self._worker = worker
        self._plan = plan
        self._wake = wake
        self.max_speed_mps: float | None = None  # a limit from outside; None = the planner's own
        self._lock = threading.Lock()  # goal, followed and watch: the planning thread writes, the timer reads
        self._goal: PoseStamped | Task | None = None
        self._followed: Followed | None = None
        self._watch = SensorWatch()
        self._valid_s = 0.0  # when a plan was last one to drive by
        self._error: BaseException | None = None  # why there was none since
        self._base_frame = self.fixed_frame = ""  # of the newest forecast
        self._planning = threading.Event()
        self._driving = False
        self._now_s = lambda: motion_time_s(node)
        self._commands = Commands(node, config().stamped, limited)
        self._subscription = node.create_subscription(PoseStamped, "~/goal_pose", self._on_goal, 1)
        # By the wall's time: a robot must stop, too, when simulated time stands still.
        self._timer = node.create_timer(1.0 / config().rate_hz, self._on_timer, clock=Clock(clock_type=ClockType.STEADY_TIME))

    def close(self) -> None:
        self._node.destroy_timer(self._timer)
        self._node.destroy_subscription(self._subscription)
        self.stand()
        self._commands.destroy()

    def halt(self) -> None:
        """Stop for good and wait until the base has received it; any thread may call it."""
        self._commands.halt()
        self.stand()

    def problem(self) -> str:
        """Why the base may not follow the commands, while there is somewhere to drive to; empty if nothing is wrong."""
        return self._commands.problem() if self._goal is not None else ""

    def stand(self) -> None:
        """Drop the goal and stop; when this returns, the base has received the stop."""
        self._drop(End.UNKNOWN, "the planner node stops")
        if self._driving:
            self._commands.stop(self._base_frame)
            self._commands.wait_until_heard()

    def follow(self, task: Task) -> None:
        """Start this task; it replaces a path that is being followed without a halt."""
        with self._lock:
            old = self._goal
            if isinstance(old, Task):
                task.carry_on_from(old)
            else:
                self._followed, self._watch = None, SensorWatch()
                self._valid_s, self._error = self._now_s(), None
            self._goal = task
            self.goals += 1
        self._end(old, End.REPLACED, "another goal came")
        self.state = "planning"

    def give_up(self, why: str) -> None:
        """The path that is followed, where one is: what came in its stead cannot be followed."""
        if isinstance(self._goal, Task):
            self._drop(End.REPLACED, why)

    def _on_goal(self, goal: PoseStamped) -> None:
        with self._lock:
            old, self._goal, self._followed, self._watch = self._goal, goal, None, SensorWatch()
            self.goals += 1
        self._end(old, End.REPLACED, "another goal came on ~/goal_pose")
        self.state = "planning"

    def _drop(self, how: End, message: str) -> None:
        """Forget the goal."""
        with self._lock:
            old, self._goal, self._followed = self._goal, None, None
            self.goals += 1
        self._end(old, how, message)

    def _end(self, goal: PoseStamped | Task | None, how: End, message: str = "") -> None:
        if isinstance(goal, Task):
            goal.end(how, message)
            self._wake()

    def _on_timer(self) -> None:
        if not self._is_active():
            self._drop(End.UNKNOWN, "the planner node is not active any more")
            self.state = "not active"
        elif self.state == "not active":
            self.state = "no goal"
        self.check_path()
        with self._lock:
            goal, followed = self._goal, self._followed
        if goal is None:
            if self._driving and self.state == "arrived":
                self._driving = self._commands.brake(self._base_frame)
            elif self._driving:  # cancelled, given up or not active: at once
                self._driving = self._commands.stop(self._base_frame)
            return
        self._driving = True
        if not self._planning.is_set():
            self._planning.set()
            # Twice the time: what the planning thread is busy with comes first. A replanning that is late or never begun ends here, too.
            answer = self._worker.submit(lambda left_s: self._replan(goal, left_s), self._note_late, 2.0 * self.planning_s)
            answer.add_done_callback(lambda _: self._planning.clear())
        if followed is not None and time.monotonic() - followed.made_s > self._config().max_age_s:
            followed, self.state = None, "stopped: planning is late"
        if followed is None:
            self._commands.stop(self._base_frame)
        else:
            self._commands.drive(followed.command(self._now_s()), self._base_frame)

    @property
    def planning_s(self) -> float:
        """Time for one plan, as things are."""
        return self.pace.seconds(self._config().planning_s, self._config().max_age_s)

    def _note_late(self) -> None:
        self.pace.note(ready=False)

    def check_path(self) -> None:
        """A path that is followed ends when it is cancelled, when the robot is stuck, and when patience is at an end."""
        with self._lock:
            now_s = self._now_s()
            self._valid_s = min(self._valid_s, now_s)  # a simulation that was reset
            task, error, waited_s = self._goal, self._error, now_s - self._valid_s
        if not isinstance(task, Task):
            return
        patience_s = self._config().patience_s
        if task.is_cancelled():
            self._drop(End.CANCELLED, "cancelled")
            self.state = "cancelled"
        elif task.stuck:
            allowed = f"{self._config().progress_radius_m:.2f} m in {self._config().progress_allowance_s:.1f} s"
            self._drop(End.FAILED_TO_MAKE_PROGRESS, f"the robot has not come {allowed}: {self.state}")
        elif waited_s > max(patience_s, self._config().max_age_s):
            self._drop(failure_of(error, patience_s), f"no plan to drive by for {waited_s:.1f} s: {self.state}")

    def _replan(self, goal: PoseStamped | Task, left_s: float) -> None:
        """In the planning thread."""
        now_s, made_s, config = self._now_s(), time.monotonic(), self._config()
        try:
            planned = self._plan(goal, min(left_s, self.planning_s), config.max_age_s, self.max_speed_mps)
            self.pace.note(ready=planned.plan.status is not PlanStatus.TIMEOUT)
            self._base_frame, self.fixed_frame = planned.frames.base, planned.frames.fixed
            # Its first step begins at the state that it was made from, which is as old as the odometry is.
            begun_s = min(max(motion_time_of(self._node, planned.scene.ego.stamp_ns), now_s - config.max_age_s), now_s)
            with self._lock:
                current = self._goal is goal
                if current:
                    self._followed, self.state = self._judge(planned, begun_s, made_s)
            if current and planned.arrived and self.state == "arrived":
                self._end(goal, End.REACHED)
        except Exception as error:  # whatever it is, the robot must not go on by the last plan
            with self._lock:
                self._followed, self._error = None, error
            self.state = f"stopped: {error}"

    def _judge(self, planned: Planned, begun_s: float, made_s: float) -> tuple[Followed | None, str]:
        """What to follow from now on, and why; the lock is held."""
        plan, scene = planned.plan, planned.scene
        missing = self._watch.missing(scene.sensors, scene.stamp_ns)
        if missing:
            return None, f"stopped: lost {', '.join(sorted(missing))}; send the goal again to go on without"
        if planned.arrived:
            self._goal = None
            return None, "arrived"
        self._error = None
        if plan.status is PlanStatus.OK:
            self._valid_s = self._now_s()
        if plan.status is PlanStatus.TIMEOUT:  # says nothing of the last plan, which holds as long as any
            return self._followed, self.state if self._followed is not None else f"stopped: {plan.status.name}: {plan.message}"
        if len(plan.path) == 0:
            return None, f"stopped: {plan.status.name}: {plan.message}"
        return Followed(plan, begun_s, made_s), f"braking: {plan.message}" if plan.fallback else plan.message
