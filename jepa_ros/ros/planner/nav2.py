"""The planner behind Nav2's ComputePathToPose action, so that a behaviour tree can ask it like any Nav2 planner. Needs nav2_msgs."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from rclpy.action import ActionServer, CancelResponse
from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.duration import Duration
from rclpy.node import Node

from jepa_ros.srv import PlanPath
from jepa_ros.types import PlanStatus

try:
    from nav2_msgs.action import ComputePathToPose
except ImportError:  # the pip home, or a robot without Nav2
    ComputePathToPose = None

# What a Nav2 recovery may try next depends on the code; older releases of nav2_msgs lack some.
ERRORS = {
    PlanStatus.NO_SAFE_PATH: "NO_VALID_PATH",
    PlanStatus.UNSEEN: "NO_VALID_PATH",
    PlanStatus.TIMEOUT: "TIMEOUT",
    PlanStatus.INVALID_GOAL: "GOAL_OCCUPIED",
    PlanStatus.UNKNOWN_FRAME: "TF_ERROR",
}
NEARER = "no path that ends at the goal; give a goal that one plan reaches, or drive with ~/goal_pose, which plans again and again"


def offer_to_nav2(node: Node, plan: Callable[[PlanPath.Request], Awaitable[PlanPath.Response]]) -> ActionServer | None:
    """Serve ~/compute_path_to_pose with `plan`; None where nav2_msgs is not installed.

    It succeeds with a path that ends at the goal, and with no other: a goal further away than one plan reaches is NO_VALID_PATH.
    The path starts where the robot is: `use_start` is refused, and `viapoints` and `planner_id` are not looked at.
    """
    if ComputePathToPose is None:
        return None

    async def execute(handle: Any) -> Any:
        result = ComputePathToPose.Result()
        if handle.request.use_start:
            return failed(handle, result, "INVALID_PLANNER", "the path starts where the robot is: leave use_start false")
        answer = await plan(PlanPath.Request(goal=handle.request.goal))
        result.planning_time = Duration(seconds=answer.planning_time).to_msg()
        if handle.is_cancel_requested:
            handle.canceled()
            return result
        status = PlanStatus(answer.status.code)
        if status is not PlanStatus.OK:  # a braking trajectory is no path to a goal: Nav2 gets none
            return failed(handle, result, ERRORS.get(status, "UNKNOWN"), f"{status.name}: {answer.status.message}")
        if not answer.reaches_goal:  # Nav2 drives a path to its end and then compares the last pose with the goal
            return failed(handle, result, "NO_VALID_PATH", f"{answer.status.message}: {NEARER}")
        result.path = answer.path
        handle.succeed()
        return result

    return ActionServer(
        node,
        ComputePathToPose,
        "~/compute_path_to_pose",
        execute,
        callback_group=ReentrantCallbackGroup(),
        cancel_callback=lambda _: CancelResponse.ACCEPT,
    )


def failed(handle: Any, result: Any, error: str, message: str) -> Any:
    """Aborted, with a code by its name in the result's type."""
    if hasattr(result, "error_code"):
        result.error_code = getattr(result, error, getattr(result, "UNKNOWN", 1))
    if hasattr(result, "error_msg"):
        result.error_msg = message
    handle.abort()
    return result
