"""One episode driven by the real nodes: along a path through FollowPath, or to the goal by plan_path.

Both have arrived when the robot believes so, within the planner's tolerance: Nav2's goal checkers, too, judge by where the robot is in the
frame of its odometry. How far it truly is from the goal then, which drift adds to, is in the record.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from pathlib import Path as Folder
from typing import Any

import numpy as np
from geometry_msgs.msg import Pose, PoseStamped, Quaternion
from nav_msgs.msg import Path
from rclpy.action import ActionClient

from experiments.driving.drive import TIME_FACTOR, TIME_SPARE_S, WATCHED_TICKS, Outcome, Watch
from experiments.driving.methods import TICK_S
from experiments.driving.nodes import ANSWER_S, GOAL_TOLERANCE_M, NODES_S, OLD_S, NoAnswer, Nodes
from experiments.driving.worlds import MAX_SPEED_MPS, Episode, World, global_path, make_world
from jepa_ros.planning.outcome import placed
from jepa_ros.ros import conversions, readers
from jepa_ros.sim.sensors.recording import Recorder
from jepa_ros.sim.simulation import SUBSTEP_S
from jepa_ros.srv import PlanPath
from jepa_ros.types import FloatArray


@dataclass(frozen=True)
class NodeDrive:
    """What came of an episode."""

    outcome: Outcome
    sent: int  # paths: 1, and another for each that was given up
    ended: tuple[str, ...]  # how each ended, by the result's error_msg; empty for plan_path
    off_m: float  # true distance to the goal at the end


class OnPath:
    """FollowPath as its client: the path is sent, and sent again from where the robot is if it is given up, as a behavior tree does."""

    def __init__(self, nodes: Nodes, world: World) -> None:
        from nav2_msgs.action import FollowPath

        self._nodes, self._world, self._kind = nodes, world, FollowPath
        self._client: Any = ActionClient(nodes.node, FollowPath, "planner/follow_path")
        nodes.wait(self._client.server_is_ready, "the FollowPath server", NODES_S)
        self._result: Any = None
        self.sent, self.ended = 0, []  # type: int, list[str]

    @property
    def is_done(self) -> bool:
        return self._result is None or bool(self._result.done())

    def arrived(self) -> bool:
        """Whether the action says so."""
        return self._result is not None and self._result.done() and self._result.result().result.error_code == 0

    def tick(self) -> None:
        """After the forecasts of a sweep: sends a path where none is followed, then waits for a plan."""
        if self.arrived():
            return
        if self.is_done:
            if self._result is not None:
                self.ended.append(self._result.result().result.error_msg)
            self._send()
        self._nodes.wait_for_plan(lambda: self.is_done)

    def _send(self) -> None:
        simulation = self._world.simulation
        odom_from_world = self._nodes.recorder.odometer.odom_from_base @ np.linalg.inv(simulation.world_from_base())
        places = placed(global_path(simulation, self._world.goal_m), odom_from_world)
        header = conversions.header_message(0, "odom")
        path = Path(header=header, poses=[PoseStamped(header=header, pose=pose_at(place)) for place in places])
        sent = self._client.send_goal_async(self._kind.Goal(path=path))
        self._nodes.wait(sent.done, "an answer to the path")
        handle: Any = sent.result()
        if not handle.accepted:
            raise NoAnswer("the planner did not accept the path")
        self._result = handle.get_result_async()
        self.sent += 1

    def step(self) -> tuple[float, float]:
        """The command for the next substep."""
        self._nodes.wait_for_command(lambda: self.is_done)
        return (0.0, 0.0) if self.is_done else self._nodes.command


class ByService:
    """plan_path asked at every sweep; the first command of each plan is driven, nothing where there is none. It has arrived, as in the
    action, when its own odometry says so."""

    sent, ended = 0, ()

    def __init__(self, nodes: Nodes, goal_odom_m: FloatArray) -> None:
        self._nodes, self._goal_m = nodes, goal_odom_m
        self._client: Any = nodes.node.create_client(PlanPath, "planner/plan_path")
        nodes.wait(self._client.service_is_ready, "plan_path", NODES_S)
        header = conversions.header_message(0, "odom")
        self._request = PlanPath.Request(goal=PoseStamped(header=header, pose=pose_at(goal_odom_m)), deadline=OLD_S)
        self._command = (0.0, 0.0)

    def arrived(self) -> bool:
        """As Nav2's goal checker: by where the robot believes to be."""
        return math.dist(self._nodes.recorder.odometer.odom_from_base[:2, 3], self._goal_m) <= GOAL_TOLERANCE_M

    def tick(self) -> None:
        """After the forecasts of a sweep."""
        answer = self._ask()
        end_s = time.monotonic() + ANSWER_S
        stamp_ns = self._nodes.topics.tell_time()
        while answer.commands and readers.stamp_ns_of(answer.forecast_stamp) < stamp_ns:
            if time.monotonic() > end_s:
                raise NoAnswer("a plan on the newest forecast did not come")
            answer = self._ask()  # the planner hears a forecast a little later than we do
        first = answer.commands[0] if answer.commands else None
        self._command = (first.linear.x, first.angular.z) if first else (0.0, 0.0)

    def _ask(self) -> Any:
        future = self._client.call_async(self._request)
        self._nodes.wait(future.done, "an answer of plan_path")
        return future.result()

    def step(self) -> tuple[float, float]:
        """The command for the next substep."""
        self._nodes.topics.tell_motion()
        return self._command


def pose_at(place: FloatArray) -> Pose:
    """(x m, y m), any heading."""
    pose = Pose(orientation=Quaternion(x=0.0, y=0.0, z=0.0, w=0.0))
    pose.position.x, pose.position.y = map(float, place[:2])
    return pose


def drive_nodes(episode: Episode, method: str, tracks: Folder | None, iterations: int, logs: Folder) -> NodeDrive:
    """Run an episode to its end as `drive` does, with the nodes. Raises NoAnswer, RuntimeError."""
    world = make_world(episode, tracks)
    with Nodes(world, episode, iterations, logs) as nodes:
        simulation, recorder = world.simulation, nodes.recorder
        goal_m = placed(world.goal_m[None], np.linalg.inv(simulation.world_from_base()))[0]  # odometry starts here
        driver = OnPath(nodes, world) if method == "FollowPath action" else ByService(nodes, goal_m)
        nodes.wait_until_heard()
        simulation.command(0.0, 0.0)
        _stand(nodes, recorder)
        watch, spent_ms = Watch(simulation), []
        optimum_s, time_s = world.optimum_m / MAX_SPEED_MPS, 0.0
        while time_s < TIME_FACTOR * optimum_s + TIME_SPARE_S and not driver.arrived():
            started_s = time.perf_counter()
            nodes.measure()
            driver.tick()
            spent_ms.append(1e3 * (time.perf_counter() - started_s))
            for _ in range(round(TICK_S / SUBSTEP_S)):
                simulation.command(*driver.step())
                recorder.step(SUBSTEP_S)
                watch.look(round(time_s / TICK_S))
            time_s += TICK_S
        nodes.check_alone()
        outcome = watch.outcome(episode, method, driver.arrived(), optimum_s, world.optimum_m, float(np.median(spent_ms)))
        off_m = math.dist(simulation.ego.pose[:2], world.goal_m)
        return NodeDrive(outcome, driver.sent, (*driver.ended, *(["arrived"] if driver.arrived() else [])), off_m)


def _stand(nodes: Nodes, recorder: Recorder) -> None:
    """The robot stands and sees before it is sent off, as one that has been switched on does."""
    for _ in range(WATCHED_TICKS):
        nodes.measure()
        recorder.step(TICK_S)
