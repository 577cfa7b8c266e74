"""From what the planner heard to what it plans on: a PlanningScene, a latent history, a goal in the fixed frame."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
from geometry_msgs.msg import Pose, PoseStamped, Quaternion
from rclpy.serialization import deserialize_message
from torch import Tensor, as_tensor

from jepa_ros.levelling import gravity_aligned
from jepa_ros.memory import LatentMemory
from jepa_ros.movers import BoxForecast, TrackedVehicles
from jepa_ros.msg import LatentState, ObjectForecastArray, OccupancyForecast, PedestrianForecastArray
from jepa_ros.objects.scene.cells import standing_beside, without_movers
from jepa_ros.objects.scene.objects import Movers, SceneObject, objects_of
from jepa_ros.planning.imagined.rehearsal import Rehearsal
from jepa_ros.planning.scene import Moving, PlanningScene
from jepa_ros.protocols import ModelSpec, WindowedOccupancy, WorldModel
from jepa_ros.ros import readers
from jepa_ros.ros.autoware.source import read_objects
from jepa_ros.ros.conversions import Frames
from jepa_ros.ros.planner.inputs import Came, Heard, PlannerInputs
from jepa_ros.sensing.frames.transforms import TransformError
from jepa_ros.types import NANOSECONDS, EgoState, FloatArray
from jepa_ros.types import OccupancyForecast as Forecast

BESIDE_S = 0.5  # objects that came so much before people are those of a publisher that is gone
MAX_SKEW_S = 0.3  # between the occupancy and the pedestrian forecast that are planned on together


class StaleSensors(Exception):
    """There is no forecast to plan on, or it is too old; the text gives the age."""


class InvalidGoal(Exception):
    """The goal is not a valid pose; the text says why."""


class UnknownGoal(Exception):
    """The goal cannot be transformed into the fixed frame; the text says why."""


class Mismatch(Exception):
    """Latents of another model, or of none."""


class SceneReader:
    """Reads the newest of what was heard; belongs to the planning thread. Raises StaleSensors where it is missing, old or unreadable."""

    def __init__(self, inputs: PlannerInputs, device: str, surprise: bool, on_base: Callable[[str], None] | None = None) -> None:
        """device: of the model that imagines. surprise: whether scenes are to say how surprising they are; it takes reading a latent.
        on_base: called with the robot's frame for each scene."""
        self._on_base = on_base
        self._reads_surprise = surprise
        self._inputs = inputs
        self._device = device
        self._had_lidar = False
        self._moving: tuple[Came, int, Moving, list[SceneObject]] | None = None

    def scene(self, max_age_s: float) -> tuple[PlanningScene, Frames]:
        heard = self._inputs.heard()
        if heard.occupancy is None:
            raise StaleSensors(f"no occupancy forecast has come yet: {self._inputs.explain()}")
        message: OccupancyForecast = heard.occupancy.content
        received = readers.received_of(message)
        self._check_age("forecast", received.stamp_ns, heard.occupancy, max_age_s)
        try:
            moving = self._moving_at(heard, received.stamp_ns, received.fixed_frame.lstrip("/"))
            occupancy = self._standing(readers.occupancy_of(message), heard, received)
        except (ValueError, TransformError) as error:
            raise StaleSensors(f"the newest forecast cannot be read: {error}") from None
        if occupancy.probability.size == 0 and "lidar" not in message.sensors and (self._inputs.uses_lidar or self._had_lidar):
            raise StaleSensors("lidar lost: the forecasts are made without it, and what no lidar sees is not free; see world_model's log")
        self._had_lidar |= "lidar" in message.sensors
        ego = self._ego(heard, received, max_age_s)
        scene = PlanningScene(
            stamp_ns=received.stamp_ns,
            anchor_pose=received.odom_from_anchor,
            ego=ego,
            occupancy=occupancy,
            moving=moving,
            surprise=self._surprise(heard),
            sensors=tuple(message.sensors),
        )
        frames = Frames(base=message.header.frame_id.lstrip("/"), fixed=received.fixed_frame.lstrip("/"))
        if self._on_base is not None:
            self._on_base(frames.base)
        return scene, frames

    def _surprise(self, heard: Heard) -> float:
        """Of the newest latent; NaN where none has come or nobody asks."""
        if not (self._reads_surprise and heard.latents):
            return math.nan
        return float(deserialize_message(heard.latents[-1].content, LatentState).surprise)

    def history(self, model: WorldModel, max_age_s: float) -> tuple[Tensor, readers.Received]:
        """(T, N, D) latents in the newest one's anchor frame, and its stamp and pose. Raises Mismatch for another model's latents."""
        latents = self._inputs.heard().latents
        if not latents:
            raise StaleSensors(f"no latent has come yet: {self._inputs.explain()}")
        memory = LatentMemory(model)
        newest: readers.Received | None = None
        for came in latents:
            message = deserialize_message(came.content, LatentState)
            latent_ND = latent_for(message, model.spec).to(self._device)
            received = readers.received_of(message)
            if newest is not None and received.stamp_ns <= newest.stamp_ns:
                memory.clear()  # a jump back in time
            memory.add(received.stamp_ns, received.odom_from_anchor, latent_ND)
            newest = received
        assert newest is not None
        self._check_age("latent", newest.stamp_ns, latents[-1], max_age_s)
        return memory.history()[0], newest

    def rehearsal(self, model: WorldModel, max_age_s: float) -> Rehearsal | None:
        """What a second look at the best motions needs; None where the model cannot take one. Raises as `history` does."""
        if not isinstance(model, WindowedOccupancy):
            return None
        history_TND, newest = self.history(model, max_age_s)
        return Rehearsal(model, history_TND, newest.odom_from_anchor, newest.stamp_ns)

    def goal(self, goal: PoseStamped, scene: PlanningScene, frames: Frames) -> FloatArray:
        """(x m, y m, yaw rad) in the fixed frame; a quaternion of zeros leaves the heading free (NaN). Raises InvalidGoal, UnknownGoal."""
        pose, turn = goal.pose, goal.pose.orientation
        free = (turn.x, turn.y, turn.z, turn.w) == (0.0, 0.0, 0.0, 0.0)
        try:
            local = readers.matrix_of(Pose(position=pose.position, orientation=Quaternion(w=1.0)) if free else pose)
        except ValueError as error:
            raise InvalidGoal(f"the goal's pose is invalid: {error}") from None
        fixed_from_goal = self.fixed_from(goal.header.frame_id.lstrip("/"), readers.stamp_ns_of(goal.header.stamp), scene, frames)
        matrix = fixed_from_goal @ local
        yaw = math.nan if free else math.atan2(matrix[1, 0], matrix[0, 0])
        return np.array([matrix[0, 3], matrix[1, 3], yaw])

    def rides(self, frame: str, frames: Frames) -> bool:
        """Whether a goal in this frame is meant from where the robot was: in its own frame, or in one that it carries with it."""
        with self._inputs.lock:
            return frame.lstrip("/") != frames.fixed and self._inputs.tree.carries(frames.base, frame, frames.fixed)

    def fixed_from(self, frame: str, stamp_ns: int, scene: PlanningScene, frames: Frames) -> FloatArray:
        """(4, 4) a goal's frame in the fixed one. Raises UnknownGoal."""
        if frame == frames.fixed:
            return np.eye(4)
        try:
            if self.rides(frame, frames):
                with self._inputs.lock:
                    base_from_frame = self._inputs.tree.lookup(frames.base, frame, stamp_ns or None, mounted=True)
                return self._base_at(stamp_ns, scene, frames) @ base_from_frame
            with self._inputs.lock:  # a place on a map stays there, wherever localisation puts the map meanwhile
                return self._inputs.tree.lookup(frames.fixed, frame, None)
        except TransformError as error:
            raise UnknownGoal(f"the goal's frame {frame!r}: {error}; {frames.fixed!r} and {frames.base!r} need no TF") from None

    def _base_at(self, stamp_ns: int, scene: PlanningScene, frames: Frames) -> FloatArray:
        """The level base at a stamp (0 = now) in the fixed frame."""
        if stamp_ns == 0:
            return gravity_aligned(scene.ego.odom_from_base)
        if stamp_ns == scene.stamp_ns:
            return scene.anchor_pose
        then = self._inputs.motion(frames.fixed, stamp_ns)
        if then is None:
            with self._inputs.lock:
                then = self._inputs.anchors.at(stamp_ns)
        if then is None:
            raise UnknownGoal(
                f"the goal is in a frame of the robot at {stamp_ns / NANOSECONDS:.3f} s, and its pose at that time is no longer known"
            )
        return gravity_aligned(then.odom_from_base)

    def _moving_at(self, heard: Heard, stamp_ns: int, fixed_frame: str) -> Moving:
        """Who moves by the newest message, their forecast's times counted from `stamp_ns`."""
        kind = self._inputs.objects_type
        people, objects = heard.pedestrians if kind is ObjectForecastArray else None, heard.objects
        if people is None and objects is None:
            topic = "" if kind is ObjectForecastArray else f" on {self._inputs.objects_topic}, whose objects are to be planned on"
            raise StaleSensors(f"no forecast of people and vehicles has come yet{topic}: {self._inputs.explain()}")
        # Objects tell the same people, and vehicles; whoever publishes people alone is heard, too.
        if objects is not None and (people is None or objects.received_s > people.received_s - BESIDE_S):
            if self._moving is None or self._moving[0] is not objects:
                with self._inputs.lock:
                    told = read_objects(kind, objects.content, fixed_frame, self._inputs.tree)
                self._moving = (objects, readers.stamp_ns_of(told.header.stamp), readers.moving_objects_of(told), readers.objects_of(told))
        elif people is not None and (self._moving is None or self._moving[0] is not people):
            message = deserialize_message(people.content, PedestrianForecastArray)
            told_people = objects_of(Movers(*readers.people_of(message), TrackedVehicles(), BoxForecast()))
            self._moving = (people, readers.stamp_ns_of(message.header.stamp), readers.moving_of(message), told_people)
        assert self._moving is not None
        _, moving_ns, moving, _ = self._moving
        skew_s = (moving_ns - stamp_ns) / NANOSECONDS
        if abs(skew_s) > MAX_SKEW_S:
            raise StaleSensors(f"the newest pedestrian forecast is {skew_s:+.2f} s off the newest occupancy forecast")
        vehicles = tuple(replace(vehicle, times_s=vehicle.times_s + skew_s) for vehicle in moving.vehicles)
        return replace(moving, forecast=replace(moving.forecast, times_s=moving.forecast.times_s + skew_s), vehicles=vehicles)

    def _standing(self, occupancy: Forecast, heard: Heard, received: readers.Received) -> Forecast:
        """What stands beside those who are planned around. The world model tells it with its objects of the same sweep; beside others,
        and people alone, it is told here: whoever is no object to this planner must be part of what stands."""
        assert self._moving is not None
        came, moving_ns, _, things = self._moving
        if self._inputs.objects_type is ObjectForecastArray and came is heard.objects and moving_ns == received.stamp_ns:
            return without_movers(occupancy)
        return standing_beside(occupancy, things, received.odom_from_anchor)

    def _ego(self, heard: Heard, received: readers.Received, max_age_s: float) -> EgoState:
        with self._inputs.lock:
            state = self._inputs.anchors.at(received.stamp_ns)
        if heard.odometry is None:
            return state or EgoState(received.stamp_ns, received.odom_from_anchor, np.zeros(2))
        fixed_frame = received.fixed_frame.lstrip("/")
        try:
            newest = self._inputs.motion(fixed_frame)
        except TransformError as error:
            raise StaleSensors(f"odometry cannot be brought into the forecasts' frame {fixed_frame!r}: {error}") from None
        if newest is None:
            raise StaleSensors("no odometry has come since the forecasts' base frame is known")
        self._check_age("odometry", newest.stamp_ns, heard.odometry, max_age_s)
        return newest

    def _check_age(self, what: str, stamp_ns: int, came: Came, max_age_s: float) -> None:
        age_s = self._inputs.age_s(stamp_ns, came.received_s)
        if age_s > max_age_s:
            advice = " (recorded stamps? set use_sim_time)" if age_s > 3600.0 else ""
            raise StaleSensors(f"the newest {what} is {age_s:.2f} s old, more than {max_age_s:.2f} s{advice}")


def latent_for(message: LatentState, spec: ModelSpec) -> Tensor:
    """(N, D) of a message that must come from this very model. Raises Mismatch."""
    if (message.model_name, message.model_version) != (spec.name, spec.version):
        raise Mismatch(
            f"the latent is of {message.model_name!r} version {message.model_version!r}, the planner runs {spec.name!r} {spec.version!r}"
        )
    latent = readers.latents_of(message)
    if latent.shape != tuple(spec.latent_shape):
        raise Mismatch(f"the latent has shape {latent.shape}, {spec.name} has {tuple(spec.latent_shape)}")
    return as_tensor(latent)
