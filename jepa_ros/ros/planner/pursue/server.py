"""The action ~/pursue_goal. Nothing moves before a first plan is accepted; a refusal says what would work."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable
from typing import Any

from geometry_msgs.msg import PoseStamped, Quaternion
from rclpy.action import ActionServer, CancelResponse, GoalResponse
from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.node import Node

from jepa_ros.action import PursueGoal
from jepa_ros.msg import PlanningStatus
from jepa_ros.planning.route import Progress
from jepa_ros.ros import conversions
from jepa_ros.ros.planner.config import PlannerNodeConfig
from jepa_ros.ros.planner.controller import Controller
from jepa_ros.ros.planner.driving import Driver
from jepa_ros.ros.planner.follow import End
from jepa_ros.ros.planner.pursue.goal_description import GoalDescription, Refusal
from jepa_ros.ros.planner.pursue.task import Approach, PursueTask
from jepa_ros.ros.planner.scene import InvalidGoal, StaleSensors, UnknownGoal
from jepa_ros.ros.planner.worker import DeadlineWorker
from jepa_ros.types import PlanStatus

FIRST_PLAN_S = 0.5  # in which a first plan must be found
NEARER_S = 0.6  # in which another goal is looked for
WAIT = "wait a moment and ask again"
ENDS = {
    End.REACHED: PlanStatus.OK,
    End.INVALID_PATH: PlanStatus.INVALID_GOAL,
    End.TF_ERROR: PlanStatus.UNKNOWN_FRAME,
    End.PATIENCE_EXCEEDED: PlanStatus.NO_SAFE_PATH,
    End.NO_VALID_CONTROL: PlanStatus.NO_SAFE_PATH,
    End.FAILED_TO_MAKE_PROGRESS: PlanStatus.NO_SAFE_PATH,
    End.CONTROLLER_TIMED_OUT: PlanStatus.STALE_SENSORS,
}  # all others: the goal is not active any more


class PursueGoalServer:
    """Serves from construction to `close()`."""

    def __init__(
        self,
        node: Node,
        config: Callable[[], PlannerNodeConfig],
        is_active: Callable[[], bool],
        controller: Controller,
        driver: Driver,
        worker: DeadlineWorker,
    ) -> None:
        self._config = config
        self._controller = controller
        self._driver = driver
        self._worker = worker
        self._server = ActionServer(
            node,
            PursueGoal,
            "~/pursue_goal",
            self._execute,
            callback_group=ReentrantCallbackGroup(),
            goal_callback=lambda _: GoalResponse.ACCEPT if is_active() else GoalResponse.REJECT,
            cancel_callback=lambda _: CancelResponse.ACCEPT,
        )

    def close(self) -> None:
        self._server.destroy()

    async def _execute(self, handle: Any) -> Any:
        goals = self._controller.goals
        try:
            task = self._task(handle)
        except Refusal as refusal:
            return self._over(handle, None, refusal.status, str(refusal), refusal.would_work)
        late = PlanStatus.TIMEOUT, f"no plan was ready within {FIRST_PLAN_S} s", WAIT
        refused = await self._in_planning_thread(lambda left_s: self._first_plan(task, left_s), lambda: late, FIRST_PLAN_S)
        if refused is not None:
            status, message, would_work = refused
            return self._over(handle, task, status, message, would_work or await self._nearer(task))
        if handle.is_cancel_requested or goals != self._controller.goals:
            return self._over(handle, task, PlanStatus.NOT_ACTIVE, "another goal or a stop came while this one was checked", WAIT)
        task.tells = True
        self._controller.follow(task)
        how, message = await task.done
        if how is End.REACHED:
            return self._over(handle, task, PlanStatus.OK, "there", "")
        status = ENDS.get(how, PlanStatus.NOT_ACTIVE)
        if status is PlanStatus.NO_SAFE_PATH and task.plan is not None and task.plan.status is not PlanStatus.OK:
            status = task.plan.status
        would_work = "" if status is PlanStatus.NOT_ACTIVE else await self._nearer(task)
        return self._over(handle, task, status, message, would_work)

    def _task(self, handle: Any) -> PursueTask:
        """Raises Refusal."""
        goal, config = handle.request, self._config().controller
        wish = GoalDescription.of(goal.object, goal.relation, goal.distance, goal.max_speed, goal.keep_away_from, goal.keep_distance)
        return PursueTask(
            wish,
            goal.place if goal.place.header.frame_id else None,
            goal.region if goal.region.polygon.points else None,
            Progress(config.progress_radius_m, config.progress_allowance_s),
            lambda: handle.is_cancel_requested,
            lambda approach: self._tell(handle, approach),
        )

    def _first_plan(self, task: PursueTask, left_s: float) -> tuple[PlanStatus, str, str] | None:
        """Why it is refused, and what would work where that is known; None where it is accepted. In the planning thread."""
        try:
            plan = self._driver.drive(task, left_s, self._config().controller.max_age_s, self._controller.max_speed_mps).plan
        except Refusal as refusal:
            return refusal.status, str(refusal), refusal.would_work
        except Exception as error:  # whatever it is, the answer says so
            return *_status_of(error), WAIT
        return None if plan.status is PlanStatus.OK else (plan.status, plan.message, "")

    async def _nearer(self, task: PursueTask) -> str:
        def look(left_s: float) -> str:
            try:
                return self._driver.nearer(task, left_s, self._config().controller.max_age_s)
            except Refusal as refusal:
                return refusal.would_work
            except Exception:  # it is a hint, and there is none
                return WAIT

        return await self._in_planning_thread(look, lambda: WAIT, NEARER_S)

    def _in_planning_thread(self, work: Callable[[float], Any], late: Callable[[], Any], deadline_s: float) -> Awaitable[Any]:
        return self._worker.ask(work, late, deadline_s)

    def _tell(self, handle: Any, approach: Approach) -> None:
        """In the planning thread."""
        if handle.is_active:
            handle.publish_feedback(
                PursueGoal.Feedback(
                    goal=goal_message(approach),
                    distance_to_goal=approach.distance_m,
                    speed=approach.speed_mps,
                    state=self._controller.state,
                )
            )

    def _over(self, handle: Any, task: PursueTask | None, status: PlanStatus, message: str, would_work: str) -> Any:
        result = PursueGoal.Result(status=PlanningStatus(code=int(status), message=message), would_work=would_work)
        if task is not None and task.approach is not None:
            result.goal = goal_message(task.approach)
        if status is PlanStatus.OK:
            handle.succeed()
        elif handle.is_cancel_requested:
            handle.canceled()
        else:
            handle.abort()
        return result


def goal_message(approach: Approach) -> PoseStamped:
    """A zero quaternion where any heading will do."""
    x, y, yaw = approach.goal.tolist()
    goal = PoseStamped(header=conversions.header_message(approach.stamp_ns, approach.frame))
    goal.pose = conversions.planar_pose_message(x, y, 0.0 if math.isnan(yaw) else yaw)
    if math.isnan(yaw):
        goal.pose.orientation = Quaternion(x=0.0, y=0.0, z=0.0, w=0.0)
    return goal


def _status_of(error: Exception) -> tuple[PlanStatus, str]:
    kinds = {StaleSensors: PlanStatus.STALE_SENSORS, UnknownGoal: PlanStatus.UNKNOWN_FRAME, InvalidGoal: PlanStatus.INVALID_GOAL}
    status = next((status for kind, status in kinds.items() if isinstance(error, kind)), PlanStatus.INTERNAL_ERROR)
    return status, str(error)
