"""The whole method, one stage a line: observation -> latents -> futures -> occupancy, people, surprise. Read this page first."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor

from jepa_ros.backends import load_world_model
from jepa_ros.backends.engine import ENGINES
from jepa_ros.backends.surprise import SurpriseWatch, critic_of, encode
from jepa_ros.config import param, validate
from jepa_ros.forecast import load_forecaster
from jepa_ros.forecast.loading import load_traffic_forecaster
from jepa_ros.lazy import replaced
from jepa_ros.memory import LatentMemory, steady_motion
from jepa_ros.movers import TrackedVehicles, VehicleDetections
from jepa_ros.objects.camera.loading import load_vote
from jepa_ros.objects.camera.vote import CameraConfig
from jepa_ros.objects.detection import DetectionConfig
from jepa_ros.objects.loading import load_detector
from jepa_ros.objects.scene.cells import forecast_shares
from jepa_ros.objects.scene.objects import Movers
from jepa_ros.objects.tracking import PeopleTracker, TrackingConfig
from jepa_ros.objects.vehicles.people_filter import outside
from jepa_ros.objects.vehicles.tracking import VehicleTracker, VehicleTrackingConfig
from jepa_ros.occupancy.network import load_fusion
from jepa_ros.occupancy.scene import SceneOccupancy
from jepa_ros.prediction import predict_in_parts
from jepa_ros.protocols import (
    ActionMeaning,
    Encoded,
    Forecaster,
    ForecastsCyclists,
    ModelSpec,
    OccupancyProbe,
    Prediction,
    RunsOnEngines,
    SceneLatents,
    WorldModel,
)
from jepa_ros.threads import Beside, heed_torch_threads, one_blas_thread, quick_turns
from jepa_ros.types import (
    CameraImage,
    CameraModel,
    EgoState,
    FloatArray,
    LidarSweep,
    Observation,
    OccupancyForecast,
    SceneState,
    TrackedPeople,
    Tracks,
)


@dataclass(frozen=True)
class PipelineConfig:
    """What the pipeline is made of, beyond the world model itself."""

    weights: str = param("", "weights of the world model: a path; empty = the shipped ones; used at configure", read_only=False)
    forecaster: str = param(
        "",
        "pedestrian forecaster: empty = the shipped default, 'scene', 'constant_velocity', a .safetensors file, or one of your own",
        read_only=False,
    )
    traffic_forecaster: str = param(
        "",
        "of vehicles and cyclists: empty = the shipped network, 'constant_turn_rate' (a rule, of vehicles alone), or a .safetensors file",
        read_only=False,
    )
    engine: str = param("auto", "what runs the model's static parts, see jepa_ros.backends.engine", choices=ENGINES, read_only=False)
    detector: str = param("lidar_columns", "detector of people: 'lidar_columns', or one of your own; used at configure", read_only=False)
    fusion: str = param(
        "",
        "what reads cells from world model, recent hits and objects: empty = the shipped network with scene_jepa, 'none' = the higher of "
        "world model and objects, or a file of `-m jepa_ros.training occupancy`; used at configure",
        read_only=False,
    )
    seen_for_s: float = param(
        10.0, "how long a place counts as seen after a sensor last saw it, s; odometry drifts by less than a cell in this time",
        at_least=0.0, at_most=600.0,
    )  # fmt: skip
    detection: DetectionConfig = field(default_factory=DetectionConfig)
    camera: CameraConfig = field(default_factory=CameraConfig)
    tracking: TrackingConfig = field(default_factory=TrackingConfig)
    vehicle_tracking: VehicleTrackingConfig = field(default_factory=VehicleTrackingConfig)

    def __post_init__(self) -> None:
        validate(self)


class WorldModelPipeline:
    """Turns a stream of observations into scene states. One instance belongs to one stream and one thread."""

    def __init__(
        self, model: WorldModel, forecaster: Forecaster, config: PipelineConfig | None = None, other_detectors: bool = False
    ) -> None:
        """`other_detectors`: what they see comes with the observations."""
        config = config or PipelineConfig()
        self.model = model
        self.forecaster = forecaster
        self._vote = load_vote(config.camera, config.detection.min_score, other_detectors)
        self._detector = load_detector(config.detector, self._vote.proposing(config.detection))
        self._tracker = PeopleTracker(config.tracking)
        self._vehicle_tracker = VehicleTracker(config.vehicle_tracking)
        self.traffic_forecaster = load_traffic_forecaster(config.traffic_forecaster)
        self._memory = LatentMemory(model)
        self._surprise = SurpriseWatch(model, critic_of(model))
        self._beside = Beside("what_moves")
        grid, step_s = model.spec.grid, model.spec.dt_s
        fusion = load_fusion(config.fusion, model.spec.name) if grid else None
        self.scene_occupancy = SceneOccupancy(grid, config.seen_for_s, fusion, step_s) if grid else None
        self._times_s: FloatArray = step_s * np.arange(model.spec.horizon + 1)  # of now and of the model's steps
        self._last_stamp_ns: int | None = None

    @classmethod
    def load(
        cls, model: str = "scene_jepa", device: str = "auto", config: PipelineConfig | None = None, other_detectors: bool = False
    ) -> WorldModelPipeline:
        """Load a back-end by its name in `jepa_ros.backends.registry.BACKENDS`; an unknown name raises ValueError with the known ones."""
        config = config or PipelineConfig()
        options = {"weights": config.weights} if config.weights else {}
        world_model = load_world_model(model, device=device, **options)
        if isinstance(world_model, RunsOnEngines):
            world_model.use_engine(config.engine)
        return cls(world_model, load_forecaster(config.forecaster or None), config, other_detectors)

    @property
    def spec(self) -> ModelSpec:
        return self.model.spec

    def reset(self) -> None:
        """Forget the stream: after a jump in time, or to begin another one."""
        self._memory.clear()
        self._surprise.reset()
        self._tracker.reset()
        self._vehicle_tracker.reset()
        self._vote.reset()
        if self.scene_occupancy is not None:
            self.scene_occupancy.clear()
        self._last_stamp_ns = None

    def warm_up(self) -> None:
        """Run every stage once on a synthetic scene, so that the first real observation does not pay for lazy set-up."""
        rng = np.random.default_rng(0)
        floor = np.column_stack([rng.uniform(-20, 20, (4000, 2)), np.zeros(4000)])
        column = np.column_stack([5 + rng.uniform(-0.2, 0.2, (200, 2)), rng.uniform(0, 1.7, 200)])
        lidar = LidarSweep(0, np.concatenate([floor, column]).astype(np.float32), None, None, None, np.eye(4))
        camera = CameraImage(0, "", np.zeros((64, 64, 3), np.uint8), CameraModel(64, 64, np.eye(3), np.zeros(0)), np.eye(4))
        self.step(
            Observation(
                stamp_ns=0,
                ego=EgoState(0, np.eye(4), np.zeros(2)),
                lidar=lidar if "lidar" in self.spec.inputs else None,
                cameras=tuple(replace(camera, name=name) for name in self.spec.cameras or ("",)) if "camera" in self.spec.inputs else (),
            )
        )
        nothing = SceneLatents(torch.zeros(self.spec.latent_shape), np.eye(4), self.spec.name)
        self.forecaster.predict(Tracks(np.zeros((1, 8, 2)), np.ones((1, 8), bool), dt_s=0.4), nothing)  # nobody is tracked after one step
        self.reset()

    @torch.inference_mode()
    def step(self, observation: Observation, intended_motion: FloatArray | None = None) -> SceneState:
        """One observation in, one scene state out.

        intended_motion: (H, 3) x m, y m, yaw rad of the ego at each model step in the anchor frame; None = it keeps its speed and turn.
        For models whose actions are not poses: (H, A) actions; None = none are taken.
        A stamp that is not newer than the last one starts the stream anew (bag loop, simulation reset).
        """
        heed_torch_threads()
        with one_blas_thread(), quick_turns:
            return self._step(observation, intended_motion)

    def _step(self, observation: Observation, intended_motion: FloatArray | None) -> SceneState:
        if self._last_stamp_ns is not None and observation.stamp_ns <= self._last_stamp_ns:
            self.reset()
        self._last_stamp_ns = observation.stamp_ns
        clock, beside_clock = StageClock(), StageClock(waits=False)
        anchor_pose = observation.odom_from_anchor
        self._vote.begin(observation)  # on a thread of its own, read below

        # What moves is found while the world model computes, and surprise is judged while cells are read: on two cores in 0.7 of the time.
        with self._beside as beside:
            tracking = beside.begin(self._track, observation, anchor_pose, beside_clock)
            with clock("encode"):
                encoded = encode(self.model, observation)
                latent_ND = encoded.latent_ND
            forecasting = beside.begin(self._forecast, tracking, observation, latent_ND, beside_clock)
            with clock("predict"):
                self._memory.add(observation.stamp_ns, anchor_pose, latent_ND)
                prediction = predict_in_parts(self.model, self._memory, self._actions(observation, intended_motion))
                judging = beside.begin(self._judge, observation.stamp_ns, anchor_pose, encoded, prediction, beside_clock)
                occupancy = self._occupancy(observation, latent_ND, prediction)
            finishes = self.scene_occupancy if occupancy.probability.size else None
            with clock("sight"):
                looked = finishes.look(observation, occupancy) if finishes is not None else None

            movers, shares_HYX = forecasting.result()
            state = SceneState(
                stamp_ns=observation.stamp_ns,
                anchor_pose=anchor_pose,
                ego=observation.ego,
                latent=latent_ND.float().cpu().numpy(),
                predicted=lambda: prediction.latents().float().cpu().numpy(),  # made when somebody reads it
                occupancy=occupancy,
                surprise=math.nan,  # still being judged
                sensors=observation_sensors(observation),
                **movers._asdict(),
            )
            with clock("occupancy"):
                if finishes is not None and looked is not None:
                    occupancy = finishes.update(looked, state, shares_HYX)
            surprise = judging.result()
        return replaced(state, occupancy=occupancy, surprise=surprise, timings_ms={**clock.elapsed_ms, **beside_clock.elapsed_ms})

    def _actions(self, observation: Observation, intended_motion: FloatArray | None) -> Tensor:
        """(H, A) what is intended, or what is assumed where nothing is."""
        if intended_motion is None and self.spec.actions is not ActionMeaning.OWN:
            intended_motion = steady_motion(observation.ego, self.spec.horizon, self.spec.dt_s)
        elif intended_motion is None:
            intended_motion = np.zeros((self.spec.horizon, self.spec.action_dim))
        return torch.as_tensor(intended_motion).to(self._memory.newest_ND)

    def _occupancy(self, observation: Observation, latent_ND: Tensor, prediction: Prediction) -> OccupancyForecast:
        """Without a probe, or without the sensors that it needs, the forecast has no cells: "unknown" must not look like "free"."""
        grid = self.spec.grid
        if grid is None or not isinstance(self.model, OccupancyProbe) or not self._shows_what_stands(observation):
            return OccupancyForecast(np.zeros((len(self._times_s), 0, 0), np.float32), self._times_s, 1.0, (0.0, 0.0))
        # Two calls, since joining the latents first would copy all of them.
        parts = [self.model.occupancy(latent_ND[None]), prediction.occupancy()]
        return OccupancyForecast(torch.cat(parts).float().cpu().numpy(), self._times_s, grid.resolution_m, grid.origin_m)

    def _track(self, observation: Observation, anchor_pose: FloatArray, clock: StageClock) -> tuple[TrackedPeople, TrackedVehicles]:
        """Vehicles first: what is of one is nobody."""
        with clock("people"):
            detections = self._vote.judge(observation, self._detector.detect_in(observation))
            vehicles = self._vehicle_tracker.follow(observation.stamp_ns, detections.vehicles or VehicleDetections(), anchor_pose)
            return self._tracker.follow(observation.stamp_ns, outside(detections, vehicles, anchor_pose), anchor_pose), vehicles

    def _forecast(
        self, tracked: Future[tuple[TrackedPeople, TrackedVehicles]], observation: Observation, latent_ND: Tensor, clock: StageClock
    ) -> tuple[Movers, FloatArray | None]:
        """Of everybody who is tracked by now; with `forecast_shares` for the steps to come, where they are read."""
        people, vehicles = tracked.result()
        with clock("forecast"):
            pedestrians = self.forecaster.predict(people.history, self._scene_latents(observation, latent_ND))
            if isinstance(self.traffic_forecaster, ForecastsCyclists):
                boxes, pedestrians = self.traffic_forecaster.predict_with_cyclists(vehicles, people, pedestrians, observation.ego)
            else:
                boxes = self.traffic_forecaster.predict(vehicles, people, observation.ego)
            movers, grid = Movers(people, pedestrians, vehicles, boxes), self.spec.grid
            if grid is None or self.scene_occupancy is None or self.scene_occupancy.fusion is None:
                return movers, None
            return movers, forecast_shares(movers, self._times_s[1:], grid, observation.odom_from_anchor)

    def _judge(self, stamp_ns: int, anchor_pose: FloatArray, encoded: Encoded, prediction: Prediction, clock: StageClock) -> float:
        """How surprising this is, and what is to be expected next."""
        with clock("surprise"):
            judgement = self._surprise.judge(stamp_ns, anchor_pose, encoded)
            self._surprise.take(stamp_ns, anchor_pose, encoded, judgement, prediction)
        return judgement.surprise

    def _shows_what_stands(self, observation: Observation) -> bool:
        return set(self.spec.occupancy_needs) <= set(observation_sensors(observation))

    def _scene_latents(self, observation: Observation, latent_ND: Tensor) -> SceneLatents | None:
        """For the forecaster; None where a sensor is missing without which the latents do not show what stands where."""
        if not self._shows_what_stands(observation):
            return None
        return SceneLatents(latent_ND, observation.odom_from_anchor, self.spec.name)


class StageClock:
    """Times named stages: `with clock("encode"): ...`. On a GPU it waits for the work queued so far, so that a stage pays for its own."""

    def __init__(self, waits: bool = True) -> None:
        """waits: False for stages beside those that queue the work."""
        self.elapsed_ms: dict[str, float] = {}
        self._waits = waits

    @contextmanager
    def __call__(self, stage: str) -> Iterator[None]:
        start_s = time.perf_counter()
        yield
        if self._waits and torch.cuda.is_available():
            torch.cuda.synchronize()
        self.elapsed_ms[stage] = 1e3 * (time.perf_counter() - start_s)


def observation_sensors(observation: Observation) -> tuple[str, ...]:
    """Which of "lidar" and "camera" an observation holds."""
    return (("lidar",) if observation.lidar else ()) + (("camera",) if observation.cameras else ())
