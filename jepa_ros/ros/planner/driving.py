"""Plans for a robot that drives: to a pose, or along a given path. Everything here runs in the planning thread."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
from geometry_msgs.msg import PoseStamped
from nav_msgs.msg import Path

from jepa_ros.planning import Planner
from jepa_ros.planning.imagined.rehearsal import Rehearsal
from jepa_ros.planning.outcome import Goal, moved, placed, stays
from jepa_ros.planning.route import Aim, Route
from jepa_ros.planning.scene import PlanningScene
from jepa_ros.ros import conversions
from jepa_ros.ros.conversions import Frames
from jepa_ros.ros.planner.config import PlannerNodeConfig
from jepa_ros.ros.planner.controller import Planned
from jepa_ros.ros.planner.follow import PathTask, Task
from jepa_ros.ros.planner.pursue.task import PursueTask
from jepa_ros.ros.planner.scene import SceneReader
from jepa_ros.types import FloatArray, Plan, PlanStatus

NEARER = (0.75, 0.5, 0.25)  # of the distance: goals that are tried where one was refused


class Driver:
    """Makes the controller's plans. The path is published; an empty one if there is no plan."""

    def __init__(
        self,
        config: Callable[[], PlannerNodeConfig],
        reader: SceneReader,
        planner: Planner,
        rehearsal: Callable[[float], Rehearsal | None],
        publish_path: Callable[..., None],
    ) -> None:
        """rehearsal: oldest input in s -> what the second look needs, where it is asked for."""
        self._config = config
        self._reader = reader
        self._planner = planner
        self._rehearsal = rehearsal
        self._publish_path = publish_path
        self._own_goal: tuple[PoseStamped, FloatArray] | None = None

    def drive(self, goal: PoseStamped | Task, left_s: float, max_age_s: float, max_speed_mps: float | None = None) -> Planned:
        """A plan for the controller. Raises what `SceneReader` raises."""
        due_s = time.perf_counter() + left_s
        try:
            scene, frames = self._reader.scene(max_age_s)
            if isinstance(goal, PathTask):
                return self._along(goal, scene, frames, due_s, max_age_s, max_speed_mps)
            if isinstance(goal, PursueTask):
                return self._towards(goal, scene, frames, due_s, max_age_s, max_speed_mps)
            assert isinstance(goal, PoseStamped)
            pose = self._pose(goal, scene, frames)
            plan = self._plan(scene, frames, pose, due_s, max_age_s, max_speed_mps)
            # The heading is for the plan; a robot that is there may stop.
            near = np.linalg.norm(pose[:2] - scene.ego.odom_from_base[:2, 3]) < self._config().planner.goal_tolerance_m
            return Planned(plan, bool(near), scene, frames)
        except Exception:
            self._publish_path(Path())
            raise

    def _plan(
        self,
        scene: PlanningScene,
        frames: Frames,
        goal: FloatArray,
        due_s: float,
        max_age_s: float,
        max_speed_mps: float | None,
        tolerance_m: float | None = None,
        route_m: FloatArray | None = None,
    ) -> Plan:
        rehearsal = self._rehearsal(max_age_s)
        left_s = max(due_s - time.perf_counter(), 0.001)
        plan = self._planner.plan(scene, goal, left_s, max_speed_mps, tolerance_m, rehearsal, route_m)
        path = conversions.path_message(plan, scene.ego.stamp_ns, frames.fixed)
        self._publish_path(path, plan, float(scene.ego.velocity_mps[0]))
        return plan

    def _pose(self, goal: PoseStamped, scene: PlanningScene, frames: Frames) -> FloatArray:
        if self._own_goal is not None and self._own_goal[0] is goal:
            return self._own_goal[1]
        pose = self._reader.goal(goal, scene, frames)
        # A goal in a frame of the robot stays where it was when it came; one on a map follows the map's transform.
        self._own_goal = (goal, pose) if self._reader.rides(goal.header.frame_id, frames) else None
        return pose

    def _along(
        self, task: PathTask, scene: PlanningScene, frames: Frames, due_s: float, max_age_s: float, max_speed_mps: float | None
    ) -> Planned:
        config = self._config().planner
        fixed_from_path = task.fixed_from_path
        if fixed_from_path is None:
            fixed_from_path = self._reader.fixed_from(task.frame, task.stamp_ns, scene, frames)
            if self._reader.rides(task.frame, frames):
                task.fixed_from_path = fixed_from_path
        pose = robot_pose(scene)
        route = Route(moved(task.route.poses, fixed_from_path))
        along = task.look(route, pose, scene)
        reach_m = (max_speed_mps or config.limits.max_speed_mps) * config.dt_s * config.steps
        aim = Aim.of(route, along, reach_m, config.goal_tolerance_m)
        arrived = along.left_m <= reach_m and Goal(route.end, config.goal_tolerance_m, config.goal_tolerance_rad).reached_by(pose)
        plan = self._plan(scene, frames, aim.goal, due_s, max_age_s, max_speed_mps, aim.tolerance_m, aim.places_m)
        return Planned(plan, arrived, scene, frames)

    def _towards(
        self, task: PursueTask, scene: PlanningScene, frames: Frames, due_s: float, max_age_s: float, max_speed_mps: float | None
    ) -> Planned:
        config = self._config().planner
        goal = task.look(self._reader, scene, frames, config)
        most_mps = min(speed for speed in (task.wish.max_speed_mps, max_speed_mps, config.limits.max_speed_mps) if speed is not None)
        plan = self._plan(task.wish.guarded(scene), frames, goal, due_s, max_age_s, most_mps)
        task.plan = plan
        return Planned(plan, task.arrived(robot_pose(scene), config), scene, frames)

    def nearer(self, task: PursueTask, left_s: float, max_age_s: float) -> str:
        """A goal on the way to that of a task which is accepted now, relative to the robot, or what to do. Raises as `drive`."""
        scene, frames = self._reader.scene(max_age_s)
        goal, pose = task.look(self._reader, scene, frames, self._config().planner), robot_pose(scene)
        for share in NEARER:
            place = np.array([*(pose[:2] + share * (goal[:2] - pose[:2])), np.nan])
            plan = self._planner.plan(task.wish.guarded(scene), place, left_s / len(NEARER), task.wish.max_speed_mps)
            if plan.status is PlanStatus.OK and not stays(plan.path):
                x, y = placed(place[None, :2], np.linalg.inv(scene.ego.odom_from_base))[0]
                return f"a place {x:.1f} m ahead, {y:.1f} m left of the robot"
        return "nothing on the straight way there is accepted now: wait and ask again, or choose another direction"


def robot_pose(scene: PlanningScene) -> FloatArray:
    """(3,) x m, y m, yaw rad in the fixed frame."""
    base = scene.ego.odom_from_base
    return np.array([base[0, 3], base[1, 3], np.arctan2(base[1, 0], base[0, 0])])
