"""Plans for a robot that drives: to a pose, or along somebody else's path. Everything here runs in the planning thread."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
from geometry_msgs.msg import PoseStamped
from nav_msgs.msg import Path

from jepa_ros.planning import Planner
from jepa_ros.planning.imagined.rehearsal import Rehearsal
from jepa_ros.planning.outcome import Goal, moved
from jepa_ros.planning.route import Aim, Route
from jepa_ros.planning.scene import PlanningScene
from jepa_ros.ros import conversions
from jepa_ros.ros.conversions import Frames
from jepa_ros.ros.planner.config import PlannerNodeConfig
from jepa_ros.ros.planner.controller import Planned
from jepa_ros.ros.planner.follow import PathTask
from jepa_ros.ros.planner.scene import SceneReader
from jepa_ros.types import FloatArray, Plan


class Driver:
    """Makes the controller's plans. The path is published, an empty one where there is none."""

    def __init__(
        self,
        config: Callable[[], PlannerNodeConfig],
        reader: SceneReader,
        planner: Planner,
        rehearsal: Callable[[float], Rehearsal | None],
        publish_path: Callable[[Path], None],
    ) -> None:
        """rehearsal: oldest input in s -> what the second look needs, where it is asked for."""
        self._config = config
        self._reader = reader
        self._planner = planner
        self._rehearsal = rehearsal
        self._publish_path = publish_path
        self._own_goal: tuple[PoseStamped, FloatArray] | None = None

    def drive(self, goal: PoseStamped | PathTask, left_s: float, max_age_s: float, max_speed_mps: float | None = None) -> Planned:
        """A plan for the controller. Raises what `SceneReader` raises."""
        due_s = time.perf_counter() + left_s
        try:
            scene, frames = self._reader.scene(max_age_s)
            if isinstance(goal, PathTask):
                return self._along(goal, scene, frames, due_s, max_age_s, max_speed_mps)
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
        self._publish_path(conversions.path_message(plan, scene.ego.stamp_ns, frames.fixed))
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
        base = scene.ego.odom_from_base
        pose = np.array([base[0, 3], base[1, 3], np.arctan2(base[1, 0], base[0, 0])])
        route = Route(moved(task.route.poses, fixed_from_path))
        along = task.look(route, pose, scene)
        reach_m = (max_speed_mps or config.limits.max_speed_mps) * config.dt_s * config.steps
        aim = Aim.of(route, along, reach_m, config.goal_tolerance_m)
        arrived = along.left_m <= reach_m and Goal(route.end, config.goal_tolerance_m, config.goal_tolerance_rad).reached_by(pose)
        plan = self._plan(scene, frames, aim.goal, due_s, max_age_s, max_speed_mps, aim.tolerance_m, aim.places_m)
        return Planned(plan, arrived, scene, frames)
