"""A described goal that the controller drives to: its present place in the newest scene."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from geometry_msgs.msg import PolygonStamped, PoseStamped

from jepa_ros.planning import PlannerConfig
from jepa_ros.planning.outcome import Goal, placed
from jepa_ros.planning.route import Progress
from jepa_ros.planning.scene import PlanningScene
from jepa_ros.ros import readers
from jepa_ros.ros.conversions import Frames
from jepa_ros.ros.planner.follow import Task
from jepa_ros.ros.planner.pursue.goal_description import GoalDescription, Place, Refusal, place_at, place_near
from jepa_ros.ros.planner.scene import SceneReader
from jepa_ros.types import FloatArray, Plan, PlanStatus


@dataclass(frozen=True)
class Approach:
    """Progress, for feedback."""

    goal: FloatArray  # (3,) x m, y m, yaw rad (NaN = any) in the fixed frame
    frame: str
    distance_m: float
    speed_mps: float
    stamp_ns: int


class PursueTask(Task):
    """One accepted wish. Used by the planning thread, but for what `Task` says."""

    def __init__(
        self,
        wish: GoalDescription,
        place: PoseStamped | None,
        region: PolygonStamped | None,
        progress: Progress,
        is_cancelled: Callable[[], bool],
        tell: Callable[[Approach], None],
    ) -> None:
        super().__init__(progress, is_cancelled)
        self.wish = wish
        self.plan: Plan | None = None  # the newest
        self.approach: Approach | None = None  # the newest
        self.tells = False  # from then on that it is driven to
        self._place = place
        self._region = region
        self._region_m = np.zeros((0, 2))
        self._pose: FloatArray | None = None
        self._found: Place | None = None
        self._tell = tell

    def look(self, reader: SceneReader, scene: PlanningScene, frames: Frames, config: PlannerConfig) -> FloatArray:
        """(3,) where it leads to now, in the fixed frame. Raises Refusal, and what `SceneReader.goal` raises."""
        self._read(reader, scene, frames)
        if self.wish.kind:
            found = place_near(self.wish, scene, self._region_m, config.body.reach_m, config.personal_space_m, self._found)
        else:
            found = place_at(self.wish, self._pose, scene, self._region_m, self._found)
        self._found = found
        at_m = scene.ego.odom_from_base[:2, 3]
        self.watch_progress(at_m, scene)
        speed_mps, stamp_ns = float(np.hypot(*scene.ego.velocity_mps[:2])), scene.ego.stamp_ns
        self.approach = Approach(found.pose, frames.fixed, math.dist(found.pose[:2], at_m), speed_mps, stamp_ns)
        if self.tells:
            self._tell(self.approach)
        return found.pose

    def arrived(self, pose: FloatArray, config: PlannerConfig) -> bool:
        """Whether a robot at (3,) x m, y m, yaw rad is where it was to go, by the newest look."""
        if self._found is None:
            return False
        if self._found.near_m is not None and math.dist(pose[:2], self._found.near_m[0]) <= self._found.near_m[1] + config.goal_tolerance_m:
            return True
        return Goal(self._found.pose, config.goal_tolerance_m, config.goal_tolerance_rad).reached_by(pose)

    def _read(self, reader: SceneReader, scene: PlanningScene, frames: Frames) -> None:
        """Place and region in the fixed frame: what was given in a frame of the robot stays where it was, the rest follows its frame."""
        if self._place is not None and (self._pose is None or not reader.rides(self._place.header.frame_id, frames)):
            self._pose = reader.goal(self._place, scene, frames)
        if self._region is not None and (not len(self._region_m) or not reader.rides(self._region.header.frame_id, frames)):
            header = self._region.header
            corners = np.array([(point.x, point.y) for point in self._region.polygon.points], float)
            if len(corners) < 3 or not np.isfinite(corners).all():
                raise Refusal(PlanStatus.INVALID_REQUEST, "region is no polygon", "at least three finite points, or none")
            matrix = reader.fixed_from(header.frame_id.lstrip("/"), readers.stamp_ns_of(header.stamp), scene, frames)
            self._region_m = placed(corners, matrix)
