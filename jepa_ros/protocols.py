"""The protocols between stages. Any implementation of one can replace ours without other changes.

Axes: B batch, T history step (oldest first, last = now), H future step, N latent token, D latent width, A action, S candidate.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from torch import Tensor

from jepa_ros.movers import BoxForecast, ImageBoxes, TrackedVehicles
from jepa_ros.types import CameraImage, Detections, EgoState, FloatArray, GridSpec, Observation, PedestrianForecast, TrackedPeople, Tracks


class ActionMeaning(enum.Enum):
    """What the actions are that a model predicts under."""

    NONE = "none"  # it takes none
    POSE = "pose"  # of a mobile base: x m, y m, yaw rad at each future step in the anchor frame of now
    OWN = "own"  # its own; nobody else knows what they mean


@dataclass(frozen=True)
class ModelSpec:
    """What a caller must know of a world model."""

    name: str
    version: str
    dt_s: float  # time between history steps and between predicted steps
    history: int  # T: latents that predict() takes
    horizon: int  # H: the longest prediction
    latent_shape: tuple[int, int]  # (N, D)
    action_dim: int  # A; what they mean: `actions`
    inputs: tuple[str, ...]  # of "lidar", "camera"
    grid: GridSpec | None = None  # of `OccupancyProbe.occupancy`; None = the model has no such probe
    occupancy_needs: tuple[str, ...] = ()  # inputs without which occupancy() says nothing that may be planned on
    required_inputs: tuple[str, ...] = ()  # those without which encode() fails: observations that lack one are not handed to it
    actions: ActionMeaning = ActionMeaning.POSE
    cameras: tuple[str, ...] = ()  # names of those that encode() needs, where it is not any one

    def __post_init__(self) -> None:
        fits = {ActionMeaning.NONE: self.action_dim == 0, ActionMeaning.POSE: self.action_dim == 3, ActionMeaning.OWN: self.action_dim > 0}
        if not fits[self.actions]:
            how = "actions=ActionMeaning.NONE has 0, POSE 3 (x, y, yaw), OWN the width of the model's own"
            raise ValueError(f"{self.name}: action_dim = {self.action_dim} with actions {self.actions.value!r}: {how}")


@runtime_checkable
class WorldModel(Protocol):
    """Encodes an observation into latents and predicts the latents of the future under an intended motion."""

    spec: ModelSpec

    def encode(self, observation: Observation) -> Tensor:
        """(1, N, D) latents of one observation, in its own anchor frame. Each observation is encoded once."""

    def align(self, latents_BND: Tensor, new_from_old: np.ndarray) -> Tensor:
        """(B, N, D): the same latents in another anchor frame, given (B, 4, 4) new_from_old; non-spatial latents stay as they are."""

    def predict(self, history_BTND: Tensor, actions_BHA: Tensor) -> Tensor:
        """(B, H, N, D): the latents of the next H <= spec.horizon steps, in the anchor frame of now.

        What an action is says spec.actions.
        """


@runtime_checkable
class OccupancyProbe(Protocol):
    """A world model whose latents show occupancy offers this besides `WorldModel`; spec.grid is given then."""

    spec: ModelSpec

    def occupancy(self, latents_BND: Tensor) -> Tensor:
        """(B, Y, X) occupancy probability on spec.grid, of observed or predicted latents."""


@dataclass(frozen=True)
class SensorSample:
    """What one sensor alone gave, before sensors were joined: shows whether it still measures."""

    stamp_ns: int  # of the measurement itself
    values: Tensor  # any shape
    half_m: float | None = None  # of statements about the surroundings, (Z, Y, X) bool maps that reach so far from the anchor each way


@dataclass(frozen=True)
class Encoded:
    """An observation as a world model sees it."""

    latent_ND: Tensor  # in the anchor frame of the observation
    sensors: Mapping[str, SensorSample]  # "lidar", "camera 0" ...


@runtime_checkable
class SensorEncoder(Protocol):
    """What a world model offers besides `WorldModel` where its latents are made of parts that each come from one sensor."""

    def encode_sensors(self, observation: Observation) -> Encoded:
        """The same latents as `encode`, and what each sensor gave to them."""


class Critic(Protocol):
    """Knows how likely what it sees is, given what came before. One instance belongs to one stream."""

    channels: int | None  # so many of the first channels of predicted latents are read; None = all

    def expect(self, stamp_ns: int, odom_from_anchor: FloatArray, latent_ND: Tensor, predicted_ND: Tensor) -> Tensor:
        """What is likely one model step on, in a form of its own; remembers the latent. Stamps rise."""

    def strangeness(self, expected: Tensor, new_from_old: FloatArray, latent_ND: Tensor) -> float:
        """0 or more: how far a latent strays from what was expected when the anchor frame was `old`; remembers nothing."""

    def reset(self) -> None:
        """Forget the stream."""


@runtime_checkable
class Criticised(Protocol):
    """What a world model offers besides `WorldModel` where something knows which of its errors are usual."""

    def critic(self) -> Critic | None:
        """A new critic; None if these weights have none."""


class Prediction(Protocol):
    """What a world model predicts from one history under one intended motion. Only what is read is computed."""

    def occupancy(self) -> Tensor:
        """(H, Y, X) `WorldModel.occupancy` of each predicted latent; to be read once, and first."""

    def next_ND(self, channels: int | None = None) -> Tensor:
        """(N, D) the latents of the first step, or only their first `channels`."""

    def latents(self) -> Tensor:
        """(H, N, D) `WorldModel.predict`."""


@runtime_checkable
class PredictsInParts(Protocol):
    """What a world model offers besides `WorldModel` where its occupancy takes less than all of the predicted latents."""

    def predict_in_parts(self, past: Sequence[Tensor], new_from_old: np.ndarray, now_ND: Tensor, actions_BHA: Tensor) -> Prediction:
        """From T older (N, D) latents, oldest first, each in its own anchor frame, (T, 4, 4) new_from_old, the newest latent, and actions
        (1, H, A)."""


@runtime_checkable
class RunsOnEngines(Protocol):
    """What a world model offers besides `WorldModel` where its static parts can run as graphs, see `backends.engine`."""

    def use_engine(self, engine: str) -> str:
        """Run on an engine of `backends.engine.ENGINES` from now on; returns which it is in the end."""


class OccupancyWindows(Protocol):
    """The occupancy that a world model predicts from one history, read only in small windows: for many motions, at little cost."""

    def __call__(self, actions_SHA: Tensor, corners_SH2: Tensor, cells: int) -> Tensor:
        """(S, H, cells, cells): at each step of each motion, the part of `occupancy(predict(...))` that begins at this row and column.

        Actions as in `WorldModel.predict`; the windows lie within spec.grid.
        """


@runtime_checkable
class WindowedOccupancy(Protocol):
    """What a world model offers besides `WorldModel` where it need not predict the whole scene to say what is along a way."""

    spec: ModelSpec

    def occupancy_windows(self, history_TND: Tensor) -> OccupancyWindows: ...


@dataclass(frozen=True)
class SceneLatents:
    """The surroundings of people as a world model sees them now, and where: without the pose the latents could not be laid under tracks."""

    latents_ND: Tensor  # of the newest observation, in its anchor frame
    tracks_from_scene: FloatArray  # (4, 4) the anchor frame in the frame of the tracks
    model: str  # ModelSpec.name of the world model: latents mean nothing without it

    def __post_init__(self) -> None:
        if self.latents_ND.ndim != 2 or self.tracks_from_scene.shape != (4, 4):
            shapes = f"{tuple(self.latents_ND.shape)} and {self.tracks_from_scene.shape}"
            raise ValueError(f"SceneLatents takes latents (N, D) and a pose (4, 4), got {shapes}")


class Detector(Protocol):
    """Finds people in what the sensors see."""

    def detect_in(self, observation: Observation) -> Detections:
        """People in one observation, each once, in its anchor frame."""


class Detector2D(Protocol):
    """Finds people, two-wheelers and vehicles in images."""

    side_px: int  # of its input; a region is scaled to that

    def detect(self, image: CameraImage, regions_px: FloatArray) -> ImageBoxes:
        """What is in (R, 4) square regions of an image: left, top, right, bottom. May be called from another thread."""


class Forecaster(Protocol):
    """Forecasts where people will walk."""

    def predict(self, tracks: Tracks, scene: SceneLatents | None = None) -> PedestrianForecast:
        """Mixture forecast for every row of `tracks`, in their frame; `scene` is used by forecasters that know its model."""


class TrafficForecaster(Protocol):
    """Forecasts where vehicles will drive."""

    @property
    def name(self) -> str: ...

    def predict(self, vehicles: TrackedVehicles, people: TrackedPeople | None = None, ego: EgoState | None = None) -> BoxForecast:
        """Mixture of poses for every row of `vehicles`, in odom. Implementations may use people and the robot itself as context."""


@runtime_checkable
class ForecastsCyclists(Protocol):
    """A forecaster of traffic that also forecasts cyclists, who are tracked as people."""

    def predict_with_cyclists(
        self, vehicles: TrackedVehicles, people: TrackedPeople, pedestrians: PedestrianForecast, ego: EgoState | None = None
    ) -> tuple[BoxForecast, PedestrianForecast]:
        """The forecast of vehicles, and that of all people with the rows of cyclists replaced; row i stays row i."""


@dataclass(frozen=True)
class Rollout:
    """S candidate motions of the robot over L steps, in the frame that the planning is done in (the scene's anchor frame)."""

    states_SLX: Tensor  # x m, y m, yaw rad, speed m/s at the end of each step
    commands_SLU: Tensor  # forward speed m/s, yaw rate rad/s (holonomic: vx, vy, yaw rate)
    dt_s: float


class Dynamics(Protocol):
    """Turns commands into motion within the limits, and gives starting points for a search."""

    dt_s: float
    low_U: Tensor  # bounds of each command
    high_U: Tensor

    def rollout(self, init_X: Tensor, commands_SLU: Tensor) -> Rollout: ...

    def guesses(self, init_X: Tensor, steps: int) -> Tensor:
        """(G, L, U) commands worth trying with any objective; the first is to do nothing."""


class Objective(Protocol):
    """What a motion costs; lower is better. Objectives compose by addition."""

    def __call__(self, rollout: Rollout) -> Tensor:
        """(S,) cost."""


@dataclass(frozen=True)
class Solution:
    """The best candidate found in time."""

    commands_LU: Tensor
    rollout: Rollout  # S = 1
    cost: float
    iterations: int
    timed_out: bool
    finalists_SLU: Tensor | None = None  # other good commands, unlike each other where there are such


class Solver(Protocol):
    """Anytime search: returns the best found when the deadline comes."""

    def solve(
        self,
        dynamics: Dynamics,
        objective: Objective,
        init_X: Tensor,
        deadline_s: float,
        guesses_GLU: Tensor | None = None,
        steps: int = 24,
    ) -> Solution:
        """`deadline_s`: seconds from the call. guesses_GLU: commands to begin with; None = the dynamics' own, for `steps` steps."""
