"""What the demo saw: kept while it runs, then told as a summary and drawn as a picture."""

from __future__ import annotations

import json
import math
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from diagnostic_msgs.msg import DiagnosticArray
from geometry_msgs.msg import Point, Pose, PoseStamped, Quaternion
from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from rclpy.serialization import deserialize_message

from jepa_ros.msg import LatentState, OccupancyForecast, PedestrianForecastArray
from jepa_ros.ros import readers
from jepa_ros.ros.tools.recorder import header_stamp_ns
from jepa_ros.sensing import open_bag
from jepa_ros.srv import PlanPath
from jepa_ros.types import Plan, PlanStatus, SceneState
from jepa_ros.viz.scene import draw_scene

GOAL_AHEAD_M = 12.0
PLAN_PERIOD_S = 0.5
PLAN_DEADLINE_S = 0.3


@dataclass(frozen=True)
class AnsweredPlan:
    """One answer of the planner."""

    response: PlanPath.Response
    forecast_ns: int

    @property
    def status(self) -> str:
        return PlanStatus(self.response.status.code).name


class DemoLog:
    """Listens to the recorded stream and asks, twice a second, for a plan to a point ahead."""

    def __init__(self, node: Node, frame_topic: str) -> None:
        """frame_topic: the topic whose messages count as frames (the lidar, or a camera where there is none)."""
        self._node = node
        self._frame_topic = frame_topic
        self._latent: dict[int, bytes] = {}  # serialized messages by stamp; decoded only where they are reported
        self._occupancy: dict[int, bytes] = {}
        self._pedestrians: dict[int, bytes] = {}
        self._diagnostics: list[bytes] = []
        self._first_stamp_ns: int | None = None
        self._last_stamp_ns = 0
        self._planner = node.create_client(PlanPath, "planner/plan_path")
        self._plan_timer = node.create_timer(PLAN_PERIOD_S, self._ask, clock=Clock(clock_type=ClockType.STEADY_TIME))
        self.plans: list[AnsweredPlan] = []
        self.frames_in = 0

    @property
    def frames_processed(self) -> int:
        return len(self._latent)

    @property
    def played_s(self) -> float:
        return (self._last_stamp_ns - self._first_stamp_ns) / 1e9 if self._first_stamp_ns else 0.0

    def on_message(self, topic: str, data: bytes) -> None:
        """Takes every recorded message; cheap, since it runs beside the nodes under test."""
        if topic == self._frame_topic:
            self.frames_in += 1
            self._last_stamp_ns = header_stamp_ns(data)
            self._first_stamp_ns = self._first_stamp_ns or self._last_stamp_ns
        elif topic == "/world_model/latent":
            self._latent[header_stamp_ns(data)] = data
        elif topic == "/world_model/occupancy":
            self._occupancy[header_stamp_ns(data)] = data
            if len(self._occupancy) == 1:
                self._ask()  # a bag may be over before the timer comes round
        elif topic == "/world_model/pedestrians":
            self._pedestrians[header_stamp_ns(data)] = data
        elif topic == "/diagnostics":
            self._diagnostics.append(data)

    def stop_asking(self) -> None:
        """The bag is over: from here on every forecast is stale, and rightly refused."""
        self._plan_timer.cancel()

    def _ask(self) -> None:
        """A goal straight ahead, in the frame that the newest forecast is anchored to."""
        if not self._occupancy or not self._planner.service_is_ready():
            return
        newest = deserialize_message(next(reversed(self._occupancy.values())), OccupancyForecast)
        goal = PoseStamped(header=newest.header)
        # A zero quaternion leaves the heading free.
        goal.pose = Pose(position=Point(x=GOAL_AHEAD_M), orientation=Quaternion(x=0.0, y=0.0, z=0.0, w=0.0))
        future = self._planner.call_async(PlanPath.Request(goal=goal, deadline=PLAN_DEADLINE_S))
        future.add_done_callback(lambda done: self._answered(done.result()))

    def _answered(self, response: PlanPath.Response) -> None:
        self.plans.append(AnsweredPlan(response, readers.stamp_ns_of(response.forecast_stamp)))

    def best_moment(self) -> tuple[SceneState, Plan | None]:
        """The scene to draw: a plan that can be followed, with the most people around; else the newest scene."""
        drawable = [plan for plan in self.plans if plan.forecast_ns in self._occupancy and plan.forecast_ns in self._pedestrians]
        if not drawable:
            return self._state(max(self._occupancy.keys() & self._pedestrians.keys())), None
        best = max(drawable, key=lambda plan: (plan.status == "OK", self._people_count(plan.forecast_ns), plan.forecast_ns))
        return self._state(best.forecast_ns), plan_of(best.response)

    def _people_count(self, stamp_ns: int) -> int:
        return len(deserialize_message(self._pedestrians[stamp_ns], PedestrianForecastArray).pedestrians)

    def _state(self, stamp_ns: int) -> SceneState:
        occupancy = deserialize_message(self._occupancy[stamp_ns], OccupancyForecast)
        people, forecast = readers.people_of(deserialize_message(self._pedestrians[stamp_ns], PedestrianForecastArray))
        latent = deserialize_message(self._latent[stamp_ns], LatentState) if stamp_ns in self._latent else None
        received = readers.received_of(occupancy)
        return SceneState(
            stamp_ns=stamp_ns,
            anchor_pose=received.odom_from_anchor,
            ego=None,
            latent=np.zeros((0, 0)),
            predicted=np.zeros((0, 0, 0)),
            occupancy=readers.occupancy_of(occupancy),
            people=people,
            pedestrians=forecast,
            surprise=latent.surprise if latent else math.nan,
            timings_ms={stage: p50 for stage, p50 in self.stage_latencies_ms("p50").items() if stage not in ("transport", "end_to_end")},
        )

    def stage_latencies_ms(self, quantile: str) -> dict[str, float]:
        """Per stage, from the node's last word on /diagnostics; keys read "latency.STAGE.p50_ms"."""
        latencies = {}
        for data in self._diagnostics:
            for status in deserialize_message(data, DiagnosticArray).status:
                for pair in status.values:
                    if pair.key.startswith("latency.") and pair.key.endswith(f".{quantile}_ms"):
                        latencies[pair.key.split(".")[1]] = float(pair.value)
        return latencies

    def summary(self) -> dict[str, Any]:
        """The content of summary.json."""
        people = [deserialize_message(data, PedestrianForecastArray).pedestrians for data in self._pedestrians.values()]
        surprises = [deserialize_message(data, LatentState).surprise for data in self._latent.values()]
        p50, p99 = self.stage_latencies_ms("p50"), self.stage_latencies_ms("p99")
        followed = [plan for plan in self.plans if plan.status == "OK"]
        chosen = (followed or self.plans or [None])[-1]
        return {
            "frames_in": self.frames_in,
            "frames_processed": self.frames_processed,
            "latency_ms": {stage: {"p50": p50[stage], "p99": p99.get(stage)} for stage in p50},
            "pedestrians_tracked": len({person.id for persons in people for person in persons}),
            "forecasts_published": sum(len(persons) for persons in people),
            "plan": {
                "status": chosen.status if chosen else "NOT_ANSWERED",
                "planning_time_s": round(chosen.response.planning_time, 4) if chosen else None,
                "collision_probability": round(chosen.response.collision_probability, 4) if chosen else None,
                "answered": len(self.plans),
                "by_status": dict(Counter(plan.status for plan in self.plans)),
            },
            "surprise_mean": round(float(np.nanmean(surprises)), 4) if np.isfinite(surprises).any() else None,
        }


def plan_of(response: PlanPath.Response) -> Plan:
    """The way back from the service's answer, for drawing."""
    matrices = [readers.matrix_of(pose.pose) for pose in response.path.poses]
    path = np.array([(m[0, 3], m[1, 3], np.arctan2(m[1, 0], m[0, 0])) for m in matrices]).reshape(-1, 3)
    return Plan(
        status=PlanStatus(response.status.code),
        message=response.status.message,
        path=path,
        commands=np.array([(twist.linear.x, twist.angular.z) for twist in response.commands]).reshape(-1, 2),
        dt_s=response.dt,
        cost=response.cost,
        collision_probability=response.collision_probability,
        planning_time_s=response.planning_time,
        fallback=response.fallback,
    )


def write_summary(log: DemoLog, bag: Path, model: str, path: Path) -> dict[str, Any]:
    summary = {"bag": bag.name, "model": model, **log.summary()}
    path.write_text(json.dumps(summary, indent=2) + "\n")
    return summary


def draw_picture(log: DemoLog, bag: Path, path: Path) -> None:
    """Draw the best moment over the sensor data of the same stamp, read again from the bag."""
    state, plan = log.best_moment()
    observation = next(seen for seen in open_bag(bag) if seen.stamp_ns == state.stamp_ns)
    draw_scene(observation, state, plan, path)
