"""The three services: a request in, an answer with a status out. Everything here runs in the planning thread."""

from __future__ import annotations

import math
import time
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from geometry_msgs.msg import Twist, Vector3
from nav_msgs.msg import Path

from jepa_ros.backends.actions import ActionImaginer, ActionPlan, ActionPlanner, GoalEncoder
from jepa_ros.msg import PlanningStatus
from jepa_ros.planning import Planner
from jepa_ros.planning.imagined.giving_way import load as load_giving_way
from jepa_ros.planning.imagined.motions import imagine, plan_actions
from jepa_ros.planning.imagined.rehearsal import Rehearsal
from jepa_ros.planning.people import people_future
from jepa_ros.protocols import ActionMeaning, WorldModel
from jepa_ros.ros import conversions, readers
from jepa_ros.ros.arm.answers import NothingHolds, imagined, planned
from jepa_ros.ros.planner.config import PlannerNodeConfig
from jepa_ros.ros.planner.model import ModelOnDemand, NotLoaded
from jepa_ros.ros.planner.scene import InvalidGoal, Mismatch, SceneReader, StaleSensors, UnknownGoal, latent_for
from jepa_ros.sensing.decode.image import decode_image
from jepa_ros.srv import Imagine, PlanActions, PlanPath
from jepa_ros.types import CameraImage, CameraModel, EgoState, FloatArray, Observation, Plan, PlanStatus

MAX_CANDIDATES = 4096


class Refused(Exception):
    """A request that gets a status and nothing else."""

    def __init__(self, status: PlanStatus, message: str) -> None:
        super().__init__(message)
        self.status = status


def refused(kind: Any, status: PlanStatus, message: str) -> Any:
    """A response of a service with a status and nothing else: what it would say of a path is not a number."""
    nothing = dict.fromkeys(("cost", "collision_probability", "distance_to_goal_m"), math.nan) if kind is PlanPath else {}
    return kind.Response(status=PlanningStatus(code=int(status), message=message), **nothing)


class PlannerServices:
    """Answers requests; counts the statuses and keeps the latest durations for diagnostics."""

    def __init__(
        self,
        config: Callable[[], PlannerNodeConfig],
        reader: SceneReader,
        planner: Planner,
        model: ModelOnDemand,
        publish_path: Callable[..., None],
        report: Callable[[str], None],
    ) -> None:
        self.statuses: Counter[str] = Counter()
        self.times_s: deque[float] = deque(maxlen=500)
        self._config = config
        self._reader = reader
        self._planner = planner
        self._model = model
        self._publish_path = publish_path
        self._report = report
        self._giving_way = load_giving_way()
        self._handlers: dict[Any, Callable[[Any, float], Any]] = {
            PlanPath: self._plan_path,
            Imagine: self._imagine,
            PlanActions: self._plan_actions,
        }

    def answer(self, kind: Any, request: Any, left_s: float) -> Any:
        """The response of a service to a request, in `left_s` seconds if it can. Never raises."""
        started_s = time.perf_counter()
        try:
            response = self._handlers[kind](request, left_s)
        except Refused as error:
            response = refused(kind, error.status, str(error))
        except StaleSensors as error:
            response = refused(kind, PlanStatus.STALE_SENSORS, str(error))
        except InvalidGoal as error:
            response = refused(kind, PlanStatus.INVALID_GOAL, str(error))
        except UnknownGoal as error:
            response = refused(kind, PlanStatus.UNKNOWN_FRAME, str(error))
        except Mismatch as error:
            response = refused(kind, PlanStatus.UNSUPPORTED, str(error))
        except NotLoaded as error:
            response = refused(kind, PlanStatus.UNSUPPORTED, str(error))
        except NothingHolds as error:
            response = refused(kind, PlanStatus.NO_SAFE_PATH, str(error))
        except TimeoutError as error:
            response = refused(kind, PlanStatus.TIMEOUT, str(error))
        except Exception as error:  # a fault of ours must not take the node down
            self._report(f"{kind.__name__}: {type(error).__name__}: {error}")
            response = refused(kind, PlanStatus.INTERNAL_ERROR, f"{type(error).__name__} in {kind.__name__}: {error}")
        if kind is PlanPath and not response.path.poses:
            self._publish_path(Path(header=response.path.header))  # the last plan holds no more
        self.times_s.append(time.perf_counter() - started_s)
        self.statuses[PlanStatus(response.status.code).name] += 1
        return response

    def rehearsal(self, max_age_s: float) -> Rehearsal | None:
        """What the second look needs, where it is asked for."""
        return self._reader.rehearsal(self._model.get("planner.rehearsed"), max_age_s) if self._config().planner.rehearsed else None

    def _plan_path(self, request: PlanPath.Request, left_s: float) -> PlanPath.Response:
        started_s, config = time.perf_counter(), self._config()
        scene, frames = self._reader.scene(config.inputs.max_age_s)
        goal = self._reader.goal(request.goal, scene, frames)
        rehearsal = self.rehearsal(config.inputs.max_age_s)
        left_s = max(left_s - (time.perf_counter() - started_s), 0.001)
        plan = self._planner.plan(scene, goal, left_s, request.max_speed or None, request.goal_tolerance or None, rehearsal)
        path = conversions.path_message(plan, scene.ego.stamp_ns, frames.fixed)
        if path.poses:
            self._publish_path(path, plan, float(scene.ego.velocity_mps[0]))
        return PlanPath.Response(
            status=PlanningStatus(code=int(plan.status), message=plan.message),
            path=path,
            commands=twists(plan),
            dt=plan.dt_s,
            cost=plan.cost,
            collision_probability=plan.collision_probability,
            planning_time=time.perf_counter() - started_s,
            fallback=plan.fallback,
            forecast_stamp=conversions.time_message(scene.stamp_ns),
            reaches_goal=plan.reaches_goal,
            distance_to_goal_m=plan.distance_to_goal_m,
        )

    def _imagine(self, request: Imagine.Request, left_s: float) -> Imagine.Response:
        started_s, config = time.perf_counter(), self._config()
        model = self._model.get("imagine")
        if isinstance(model, ActionImaginer):
            return self._imagine_actions(model, request)
        model = self._pose_model("imagine")
        poses_SL3 = checked_candidates(request, model.spec.horizon)
        history_TND, newest = self._reader.history(model, config.inputs.max_age_s)
        scene, frames = self._reader.scene(config.inputs.max_age_s)
        goal = self._reader.goal(request.goal, scene, frames) if request.goal.header.frame_id else None
        scene = replace(scene, anchor_pose=newest.odom_from_anchor)
        result = imagine(
            model,
            history_TND,
            poses_SL3,
            people_future(scene, config.planner.body),
            config.planner.body,
            config.planner.weights,
            None if goal is None else in_anchor(goal, newest.odom_from_anchor),
            request.return_latents,
            left_s - (time.perf_counter() - started_s),
            self._giving_way,
        )
        response = Imagine.Response(
            status=PlanningStatus(code=PlanningStatus.OK, message=f"imagined with {model.spec.name} {model.spec.version}"),
            cost=result.cost_S.tolist(),
            collision_probability=result.collision_probability_S.tolist(),
            people_moved_m=[] if result.most_moved_S is None else result.most_moved_S.tolist(),
            forecast_stamp=conversions.time_message(newest.stamp_ns),
        )
        if result.latents_SLND is not None:
            response.latent_shape = list(result.latents_SLND.shape)
            response.latents = conversions.byte_array(result.latents_SLND.numpy().astype(conversions.LATENT_DTYPE))
        return response

    def _imagine_actions(self, model: ActionImaginer, request: Imagine.Request) -> Imagine.Response:
        history_TND, newest = self._reader.history(self._model.get("imagine"), self._config().inputs.max_age_s)
        try:
            response = imagined(model, request, history_TND)
        except ValueError as error:
            raise Refused(PlanStatus.INVALID_REQUEST, str(error)) from None
        response.forecast_stamp = conversions.time_message(newest.stamp_ns)
        return response

    def _plan_actions(self, request: PlanActions.Request, left_s: float) -> PlanActions.Response:
        started_s = time.perf_counter()
        config = self._config()
        model = self._model.get("plan_actions")
        spec = model.spec
        if spec.actions is ActionMeaning.NONE:
            raise Refused(PlanStatus.UNSUPPORTED, f"{spec.name} takes no actions, so there are none to plan")
        if request.horizon > spec.horizon:
            raise Refused(
                PlanStatus.INVALID_REQUEST, f"horizon = {request.horizon}: {spec.name} predicts at most {spec.horizon} steps (0 = its own)"
            )
        history_TND, newest = self._reader.history(model, config.inputs.max_age_s)
        goal_ND = goal_latent(model, request, newest, history_TND.device)
        due_s = started_s + left_s
        if isinstance(model, ActionPlanner):
            plan = own_search(model, request, history_TND, goal_ND, due_s)
        else:
            plan = self._pose_search(model, request, history_TND, goal_ND, due_s)
        return PlanActions.Response(
            status=PlanningStatus(code=PlanningStatus.OK, message=plan.message),
            shape=list(plan.actions_LA.shape),
            actions=plan.actions_LA.flatten().tolist(),
            hold_probability=[] if plan.hold_L is None else plan.hold_L.tolist(),
            hold_spread=[] if plan.hold_spread_L is None else plan.hold_spread_L.tolist(),
            energy=plan.energy,
            planning_time=time.perf_counter() - started_s,
        )

    def _pose_search(
        self, model: WorldModel, request: PlanActions.Request, history_TND: torch.Tensor, goal_ND: torch.Tensor, due_s: float
    ) -> ActionPlan:
        """By the package's search through the model's predictions, from the motion that odometry tells."""
        config = self._config()
        scene, _ = self._reader.scene(config.inputs.max_age_s)
        init_X = torch.tensor([0.0, 0.0, 0.0, *scene.ego.velocity_mps], dtype=torch.float32)
        steps, left_s = request.horizon or model.spec.horizon, due_s - time.perf_counter()
        actions_LA, solution = plan_actions(model, history_TND, goal_ND, steps, init_X, config.planner.limits, config.actions, left_s)
        message = f"{solution.iterations} iterations of CEM through {model.spec.name}"
        return ActionPlan(actions_LA.numpy(), solution.cost, message)

    def _pose_model(self, service: str) -> WorldModel:
        model = self._model.get(service)
        if model.spec.actions is not ActionMeaning.POSE:
            raise Refused(
                PlanStatus.UNSUPPORTED, f"{service} takes poses; the actions of {model.spec.name} are {model.spec.actions.value!r}"
            )
        return model


def own_search(
    model: ActionPlanner, request: PlanActions.Request, history_TND: torch.Tensor, goal_ND: torch.Tensor, due_s: float
) -> ActionPlan:
    """By a model that plans itself, from the robot's state in the request."""
    try:
        return planned(model, request, history_TND, goal_ND, due_s)
    except ValueError as error:
        raise Refused(PlanStatus.INVALID_REQUEST, str(error)) from None


def goal_latent(model: WorldModel, request: PlanActions.Request, newest: readers.Received, device: torch.device) -> torch.Tensor:
    """(N, D) in the newest anchor frame."""
    spec = model.spec
    if len(request.goal_image.data):
        if spec.inputs != ("camera",):
            inputs = " and ".join(spec.inputs)
            raise Refused(PlanStatus.UNSUPPORTED, f"{spec.name} encodes {inputs}: an image alone is no goal for it, give goal_latent")
        seen = image_observation(request, newest.stamp_ns)
        return (model.encode_goal(seen.cameras[0].rgb) if isinstance(model, GoalEncoder) else model.encode(seen))[0]
    if not len(request.goal_latent.data):
        raise Refused(PlanStatus.INVALID_REQUEST, "goal_image.data and goal_latent.data are both empty: give one of them")
    try:
        goal_ND = latent_for(request.goal_latent, spec).to(device)
        turn = request.goal_latent.anchor_pose.orientation
        if (turn.x, turn.y, turn.z, turn.w) == (0.0, 0.0, 0.0, 0.0):
            return goal_ND  # no pose given: it is in the present anchor frame
        new_from_old = np.linalg.inv(newest.odom_from_anchor) @ readers.matrix_of(request.goal_latent.anchor_pose)
    except (Mismatch, ValueError) as error:
        raise Refused(PlanStatus.INVALID_REQUEST, f"goal_latent: {error}") from None
    return model.align(goal_ND[None], new_from_old[None])[0]


def twists(plan: Plan) -> list[Twist]:
    """One for each step; a holonomic plan also moves to the left."""
    if plan.commands.shape[1] == 2:
        return conversions.command_messages(plan)
    return [Twist(linear=Vector3(x=vx, y=vy), angular=Vector3(z=turn)) for vx, vy, turn in plan.commands.tolist()]


def checked_candidates(request: Imagine.Request, horizon: int) -> torch.Tensor:
    """(S, L, 3) of an Imagine request."""
    if not 1 <= request.candidates <= MAX_CANDIDATES:
        raise Refused(PlanStatus.INVALID_REQUEST, f"candidates = {request.candidates}: give 1 to {MAX_CANDIDATES}")
    if not 1 <= request.steps <= horizon:
        raise Refused(PlanStatus.INVALID_REQUEST, f"steps = {request.steps}: the model predicts 1 to {horizon}")
    expected = request.candidates * request.steps * 3
    if len(request.poses) != expected:
        raise Refused(PlanStatus.INVALID_REQUEST, f"poses has {len(request.poses)} values, candidates x steps x 3 is {expected}")
    poses = np.array(request.poses, dtype=np.float32)
    if not np.isfinite(poses).all():
        raise Refused(PlanStatus.INVALID_REQUEST, "poses holds values that are not finite")
    return torch.from_numpy(poses).view(request.candidates, request.steps, 3)


def in_anchor(goal: FloatArray, odom_from_anchor: FloatArray) -> tuple[float, float, float]:
    """A goal (x m, y m, yaw rad) of the fixed frame in the anchor frame."""
    x, y = (np.linalg.inv(odom_from_anchor) @ np.array([goal[0], goal[1], 0.0, 1.0]))[:2]
    return float(x), float(y), float(goal[2] - math.atan2(odom_from_anchor[1, 0], odom_from_anchor[0, 0]))


def image_observation(request: PlanActions.Request, stamp_ns: int) -> Observation:
    """A goal image as an observation of a camera at the base; back-ends that see images only do not use its calibration."""
    try:
        rgb = decode_image(request.goal_image)
    except ValueError as error:
        raise Refused(PlanStatus.INVALID_REQUEST, f"goal_image: {error}") from None
    height, width = rgb.shape[:2]
    intrinsics = np.array([[width, 0.0, 0.5 * width], [0.0, width, 0.5 * height], [0.0, 0.0, 1.0]])
    camera = CameraImage(stamp_ns, "goal", rgb, CameraModel(width, height, intrinsics, np.zeros(0)), np.eye(4))
    return Observation(stamp_ns, EgoState(stamp_ns, np.eye(4), np.zeros(2)), cameras=(camera,))
