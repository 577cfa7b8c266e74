"""Asks the planner for a plan, twice a second, as a task of a robot would."""

from __future__ import annotations

from geometry_msgs.msg import Point, Pose, PoseStamped, Quaternion
from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from rclpy.serialization import deserialize_message

from jepa_ros.msg import OccupancyForecast
from jepa_ros.ros.tools.output_log import OCCUPANCY, OutputLog
from jepa_ros.srv import PlanPath

GOAL_AHEAD_M = 12.0
PLAN_PERIOD_S = 0.5
PLAN_DEADLINE_S = 0.3


def request_ahead(occupancy: bytes, ahead_m: float) -> PlanPath.Request:
    """A goal straight ahead, in the frame that a forecast is anchored to; any heading will do."""
    goal = PoseStamped(header=deserialize_message(occupancy, OccupancyForecast).header)
    # A zero quaternion leaves the heading free.
    goal.pose = Pose(position=Point(x=ahead_m), orientation=Quaternion(x=0.0, y=0.0, z=0.0, w=0.0))
    return PlanPath.Request(goal=goal, deadline=PLAN_DEADLINE_S)


class PlanClient:
    """Hands every recorded message on to the log and every answer, too."""

    def __init__(self, node: Node, log: OutputLog, ahead_m: float) -> None:
        self._log = log
        self._ahead_m = ahead_m
        self._planner = node.create_client(PlanPath, "planner/plan_path")
        # By the wall's time: the recording's may stand still.
        self._timer = node.create_timer(PLAN_PERIOD_S, self._ask, clock=Clock(clock_type=ClockType.STEADY_TIME))

    def on_message(self, topic: str, data: bytes) -> None:
        self._log.on_message(topic, data)
        if topic == OCCUPANCY and len(self._log.occupancy) == 1:
            self._ask()  # a bag may be over before the timer comes round

    def stop(self) -> None:
        """The bag is over: from here on every forecast is stale, and rightly refused."""
        self._timer.cancel()

    def _ask(self) -> None:
        if not self._log.occupancy or not self._planner.service_is_ready():
            return
        newest = next(reversed(self._log.occupancy.values()))
        future = self._planner.call_async(request_ahead(newest, self._ahead_m))
        future.add_done_callback(lambda done: self._log.answered(done.result()))
