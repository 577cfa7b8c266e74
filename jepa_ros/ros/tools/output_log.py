"""The nodes' output while a bag is processed: kept by stamp, undecoded, until it is reported. Demo and replay share it."""

from __future__ import annotations

import math
import time
from collections import Counter
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from rclpy.serialization import deserialize_message

from jepa_ros.msg import LatentState, ObjectForecastArray, OccupancyForecast, PedestrianForecastArray
from jepa_ros.ros import readers
from jepa_ros.ros.tools.output_bag import header_stamp_ns
from jepa_ros.srv import PlanPath
from jepa_ros.types import Plan, PlanStatus, SceneState

LATENT, OCCUPANCY, PEDESTRIANS = "/world_model/latent", "/world_model/occupancy", "/world_model/pedestrians"
OBJECTS = "/world_model/objects"
DIAGNOSTICS = "/diagnostics"
KEPT = 64  # occupancy forecasts; answers of the planner come long before so many more
# What is recorded of the nodes. Not the latent forecasts: 4 MB each would make up most of the recording, and no viewer shows them.
OUTPUTS = {
    LATENT: "jepa_ros/msg/LatentState",
    OCCUPANCY: "jepa_ros/msg/OccupancyForecast",
    "/world_model/occupancy_grid": "nav_msgs/msg/OccupancyGrid",
    PEDESTRIANS: "jepa_ros/msg/PedestrianForecastArray",
    OBJECTS: "jepa_ros/msg/ObjectForecastArray",
    "/world_model/markers": "visualization_msgs/msg/MarkerArray",
    "/planner/path": "nav_msgs/msg/Path",
    DIAGNOSTICS: "diagnostic_msgs/msg/DiagnosticArray",
}
SHAPE = {  # of the robot, for viewers of a demo's recording; a replay has no driving robot
    "/planner/footprint": "geometry_msgs/msg/PolygonStamped",
    "/planner/markers": "visualization_msgs/msg/MarkerArray",
}


@dataclass(frozen=True)
class AnsweredPlan:
    """One answer of the planner."""

    response: PlanPath.Response
    forecast_ns: int

    @property
    def status(self) -> str:
        return PlanStatus(self.response.status.code).name

    @property
    def told(self) -> str:
        """The answer in one line."""
        return f"{self.status}: {self.response.status.message}"


class OutputLog:
    """Takes every recorded message and every answer of the planner."""

    def __init__(self, frame_topic: str) -> None:
        """frame_topic: the topic whose messages count as frames (the lidar, or a camera where there is none)."""
        self._frame_topic = frame_topic
        self.surprise: dict[int, float] = {}  # by stamp, of every latent
        # Serialized messages by stamp, decoded only where they are reported. Occupancy is large: the newest, and that of the best plan.
        self.occupancy: dict[int, bytes] = {}
        self.has_occupancy = False  # whether the model shows what stands where, without which no path can be called safe
        self.pedestrians: dict[int, bytes] = {}
        self.objects: dict[int, bytes] = {}
        self._movers_counts: dict[int, int] = {}
        self._diagnostics: list[bytes] = []
        self._first: tuple[int, float] | None = None  # stamp of a frame, ns, and when it came, s
        self._last = (0, 0.0)
        self.plans: list[AnsweredPlan] = []
        self.frames_in = 0
        self._came_s: dict[int, float] = {}  # frames that no answer has come to yet, by stamp
        self.latency_ms: dict[int, float] = {}  # by stamp: from the frame to the latent made of it, as they came here
        self.measured_ms: dict[str, list[float]] = {}  # by stage, where they were timed here and not told on /diagnostics
        self._said_while_playing = 0

    @property
    def frames_processed(self) -> int:
        return len(self.surprise)

    @property
    def played_s(self) -> float:
        return (self._last[0] - self._first[0]) / 1e9 if self._first else 0.0

    @property
    def took_s(self) -> float:
        """From the first frame to the last, by the wall's clock."""
        return self._last[1] - self._first[1] if self._first else 0.0

    def on_message(self, topic: str, data: bytes) -> None:
        """Cheap, since it runs beside the nodes under test."""
        if topic == self._frame_topic:
            self.frames_in += 1
            self._last = (header_stamp_ns(data), time.monotonic())
            self._first = self._first or self._last
            self._came_s[self._last[0]] = self._last[1]
        elif topic == LATENT:
            stamp_ns = header_stamp_ns(data)
            self.surprise[stamp_ns] = deserialize_message(data, LatentState).surprise
            if (came_s := self._came_s.pop(stamp_ns, None)) is not None:
                self.latency_ms[stamp_ns] = 1e3 * (time.monotonic() - came_s)
        elif topic == OCCUPANCY:
            self._keep_occupancy(header_stamp_ns(data), data)
        elif topic == PEDESTRIANS:
            self.pedestrians[header_stamp_ns(data)] = data
        elif topic == OBJECTS:
            self.objects[header_stamp_ns(data)] = data
        elif topic == DIAGNOSTICS:
            self._diagnostics.append(data)

    def over(self) -> None:
        """The bag has been played: what is complained of from here on is that nothing comes any more."""
        self._said_while_playing = len(self._diagnostics)

    def answered(self, response: PlanPath.Response) -> None:
        self.plans.append(AnsweredPlan(response, readers.stamp_ns_of(response.forecast_stamp)))

    def _keep_occupancy(self, stamp_ns: int, data: bytes) -> None:
        if not self.has_occupancy:
            self.has_occupancy = deserialize_message(data, OccupancyForecast).rows > 0
        self.occupancy[stamp_ns] = data
        if len(self.occupancy) > KEPT:
            best = self._best_plan()
            oldest = next(stamp for stamp in self.occupancy if best is None or stamp != best.forecast_ns)
            del self.occupancy[oldest]

    def _best_plan(self) -> AnsweredPlan | None:
        """The one to draw: it can be followed, surprise is judged already, and the most is around that may move."""
        drawable = [plan for plan in self.plans if plan.forecast_ns in self.occupancy and plan.forecast_ns in self.pedestrians]

        def worth(plan: AnsweredPlan) -> tuple[bool, bool, int, int]:
            stamp_ns = plan.forecast_ns
            return plan.status == "OK", math.isfinite(self.surprise.get(stamp_ns, math.nan)), self._movers_count(stamp_ns), stamp_ns

        return max(drawable, key=worth, default=None)

    def best_moment(self) -> tuple[SceneState, Plan | None] | None:
        """The scene to draw: that of the plan worth drawing, else the newest. None = nothing came out."""
        best = self._best_plan()
        if best is not None:
            return self.state(best.forecast_ns), plan_of(best.response)
        whole = self.occupancy.keys() & self.pedestrians.keys()
        return (self.state(max(whole)), None) if whole else None

    def _movers_count(self, stamp_ns: int) -> int:
        """People, cyclists and vehicles."""
        if stamp_ns not in self._movers_counts:
            if stamp_ns in self.objects:
                count = len(deserialize_message(self.objects[stamp_ns], ObjectForecastArray).objects)
            else:
                count = len(deserialize_message(self.pedestrians[stamp_ns], PedestrianForecastArray).pedestrians)
            self._movers_counts[stamp_ns] = count
        return self._movers_counts[stamp_ns]

    def state(self, stamp_ns: int) -> SceneState:
        """The scene of one stamp, as far as it can be read from the messages."""
        occupancy = deserialize_message(self.occupancy[stamp_ns], OccupancyForecast)
        people, forecast = readers.people_of(deserialize_message(self.pedestrians[stamp_ns], PedestrianForecastArray))
        told = deserialize_message(self.objects[stamp_ns], ObjectForecastArray) if stamp_ns in self.objects else ObjectForecastArray()
        vehicles, vehicle_forecast = readers.vehicles_of(told)
        chance = {one.id: one.cyclist_probability for one in told.objects}
        people = replace(people, riding=np.array([chance.get(person, 0.0) for person in people.ids.tolist()]))
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
            surprise=self.surprise.get(stamp_ns, math.nan),
            timings_ms={stage: p50 for stage, p50 in self.stage_latencies_ms("p50").items() if stage not in ("transport", "end_to_end")},
            sensors=tuple(occupancy.sensors),
            vehicles=vehicles,
            vehicle_forecast=vehicle_forecast,
        )

    def people(self) -> list[PedestrianForecastArray]:
        return [deserialize_message(data, PedestrianForecastArray) for data in self.pedestrians.values()]

    def stage_latencies_ms(self, quantile: str) -> dict[str, float]:
        """Per stage, from the node's last word on /diagnostics; keys read "latency.STAGE.p50_ms"."""
        share = float(quantile[1:])
        latencies = {stage: float(np.percentile(spent_ms, share)) for stage, spent_ms in self.measured_ms.items()}
        for status in _statuses(self._diagnostics):
            for pair in status.values:
                if pair.key.startswith("latency.") and pair.key.endswith(f".{quantile}_ms"):
                    latencies[pair.key.split(".")[1]] = float(pair.value)
        return latencies

    def complaints(self) -> list[str]:
        """Warnings of the nodes, each once, in their newest wording."""
        playing = self._diagnostics[: self._said_while_playing]
        last = {status.name: status for status in _statuses(playing)}
        return [f"{name}: {status.message}{_counted(status)}" for name, status in last.items() if status.level != DiagnosticStatus.OK]

    def by_status(self) -> dict[str, int]:
        return dict(Counter(plan.status for plan in self.plans))


def _counted(status: DiagnosticStatus) -> str:
    """What was wrong with an input's messages, and how often."""
    counts = [f"{pair.value} x {pair.key.removeprefix('malformed.')}" for pair in status.values if pair.key.startswith("malformed.")]
    return f" ({', '.join(counts)})" if counts else ""


def _statuses(diagnostics: list[bytes]) -> list[DiagnosticStatus]:
    return [status for data in diagnostics for status in deserialize_message(data, DiagnosticArray).status]


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
        reaches_goal=response.reaches_goal,
        distance_to_goal_m=response.distance_to_goal_m,
    )


def summary_of(log: OutputLog) -> dict[str, Any]:
    """What came out, for summary.json."""
    people, surprises = log.people(), list(log.surprise.values())
    p50, p99 = log.stage_latencies_ms("p50"), log.stage_latencies_ms("p99")
    followed = [plan for plan in log.plans if plan.status == "OK"]
    chosen = (followed or log.plans or [None])[-1]
    return {
        "frames_in": log.frames_in,
        "frames_processed": log.frames_processed,
        "latency_ms": {stage: {"p50": p50[stage], "p99": p99.get(stage)} for stage in p50},
        "pedestrians_tracked": len({person.id for message in people for person in message.pedestrians}),
        "forecasts_published": sum(len(message.pedestrians) for message in people),
        "plan": {
            "status": chosen.status if chosen else "NOT_ANSWERED",
            "planning_time_s": round(chosen.response.planning_time, 4) if chosen else None,
            "collision_probability": _number(chosen.response.collision_probability) if chosen else None,
            "reaches_goal": chosen.response.reaches_goal if chosen else None,
            "distance_to_goal_m": _number(chosen.response.distance_to_goal_m) if chosen else None,
            "answered": len(log.plans),
            "by_status": log.by_status(),
        },
        "surprise_mean": round(float(np.nanmean(surprises)), 4) if np.isfinite(surprises).any() else None,
    }


def _number(value: float) -> float | None:
    """Rounded for a report; None where it is no number, which JSON cannot tell."""
    return round(value, 4) if math.isfinite(value) else None
