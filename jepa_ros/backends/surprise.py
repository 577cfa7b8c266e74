"""Surprise: how much the scene differs from what was predicted, on a scale of 0 to 1."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass

import numpy as np
import torch.nn.functional as F
from torch import Tensor

from jepa_ros.backends.liveness import ReplayDetector
from jepa_ros.protocols import Critic, Criticised, Encoded, Prediction, SensorEncoder, WorldModel
from jepa_ros.types import NANOSECONDS, FloatArray, Observation

WARM_UP = 10  # errors seen before a value is given
MEMORY = 300  # errors remembered
WORST_SHARE = 0.005  # of all tokens: a person who steps out covers a few tokens of thousands, and drowns in their mean
SCENE_EVERY = (
    0.5  # model steps between two judgements of the scene: what happens is reported 0.2 s later at most, for half the work at 10 Hz
)
EARLY = 0.125  # model steps by which an observation may come too early
OFF_STEP = 0.5  # model steps by which a judged prediction may be due earlier or later: enough for frames of 1.7 Hz
MAD_TO_SIGMA = 1.4826  # median absolute deviation -> standard deviation of a normal distribution
LEAST_SIGMA = 0.05  # 5 % more than usual is never a surprise
LEAST_SIGMA_CRITIC = 0.4  # the same of a critic's nats: where robot and street have long stood still, the first who walks is no alarm


class ErrorHistory:
    """Places each error in the running history of such errors.

    The history's median and MAD (robust: one shock does not hide the next) standardise the log error; the normal CDF turns that into
    0-1. 0.5 is a usual error; 0.98 lies two standard deviations above the usual.
    """

    def __init__(self, least_sigma: float) -> None:
        self._least_sigma = least_sigma
        self._logs: deque[float] = deque(maxlen=MEMORY)

    def judge(self, error: float) -> float:
        """Surprise, 0-1; NaN until `WARM_UP` errors were added."""
        if len(self._logs) < WARM_UP:
            return math.nan
        history = np.asarray(self._logs)
        median = float(np.median(history))
        sigma = max(MAD_TO_SIGMA * float(np.median(np.abs(history - median))), self._least_sigma)
        return 0.5 * (1 + math.erf((math.log(error + 1e-12) - median) / sigma / math.sqrt(2)))

    def add(self, error: float) -> None:
        """Remember an error, 0 or more."""
        self._logs.append(math.log(error + 1e-12))


@dataclass
class _Moment:
    """An observation of the past and what was predicted from it, both in its own anchor frame."""

    stamp_ns: int
    odom_from_anchor: FloatArray
    latent_ND: Tensor
    prediction: Prediction
    by_lidar: bool
    likely: Tensor | None = None  # what the critic makes of it, once it is asked for


@dataclass(frozen=True)
class Judgement:
    """Of one observation. The error is what the history learns from it: None where the scene was not scored again."""

    surprise: float  # 0-1; NaN where nothing was predicted, or too little was seen yet to say what is usual
    scene: float  # the part of it that says how far the scene is from what was predicted
    error: float | None
    by_critic: bool


class SurpriseWatch:
    """Judges a stream of encoded observations, each by what was predicted of it one model step before.

    Two things surprise: a scene that is not as predicted, against the history of how well scenes were predicted, and a sensor that repeats
    itself, stands still while the robot moves, or runs backwards (`replay`). The larger of the two counts. How strange a scene is says the
    critic where there is one; else the error of the worst places does. Sensors are looked at in each observation; the scene half a model
    step apart, and in between what was last said of it holds.
    """

    def __init__(self, model: WorldModel, critic: Critic | None) -> None:
        self._model, self._critic = model, critic
        self._step_ns = round(model.spec.dt_s * NANOSECONDS)
        self._replay = ReplayDetector(model.spec.dt_s)
        self.reset()

    def reset(self) -> None:
        """Forget the history, as after a jump in time."""
        self._moments: deque[_Moment] = deque()
        self._histories = {True: ErrorHistory(LEAST_SIGMA_CRITIC), False: ErrorHistory(LEAST_SIGMA)}  # by the critic or not
        self._judged_ns: int | None = None
        self._scene = math.nan
        self._replay.reset()
        if self._critic is not None:
            self._critic.reset()

    def judge(self, stamp_ns: int, odom_from_anchor: FloatArray, encoded: Encoded) -> Judgement:
        """Judge an observation that is newer than all that were taken; nothing is remembered."""
        scene, error, by_critic = self._scene, None, False
        if self._is_due(stamp_ns):
            scene, error, by_critic = self._judge_scene(stamp_ns, odom_from_anchor, encoded)
        sensors = math.nan if math.isnan(scene) else self._replay.judge(stamp_ns, odom_from_anchor, encoded.sensors)
        return Judgement(max(scene, sensors), scene, error, by_critic)

    def take(self, stamp_ns: int, odom_from_anchor: FloatArray, encoded: Encoded, judgement: Judgement, prediction: Prediction) -> None:
        """Remember an observation, its judgement, and what is predicted from it, in its own anchor frame."""
        self._replay.take(stamp_ns, odom_from_anchor, encoded.sensors)
        if self._is_due(stamp_ns):
            self._scene = judgement.scene
            if judgement.error is not None:
                self._judged_ns = stamp_ns
                self._histories[judgement.by_critic].add(judgement.error)
        while self._moments and self._moments[0].stamp_ns < stamp_ns - 2 * self._step_ns:
            self._moments.popleft()
        self._moments.append(_Moment(stamp_ns, odom_from_anchor, encoded.latent_ND, prediction, "lidar" in encoded.sensors))

    def _is_due(self, stamp_ns: int) -> bool:
        """Whether the scene is to be scored again; an observation may come a little early."""
        return self._judged_ns is None or stamp_ns - self._judged_ns >= (SCENE_EVERY - EARLY) * self._step_ns

    def _judge_scene(self, stamp_ns: int, odom_from_anchor: FloatArray, encoded: Encoded) -> tuple[float, float | None, bool]:
        """(surprise, error, whether the critic judged)."""
        moment = self._one_step_before(stamp_ns)
        if moment is None:
            return math.nan, None, False
        new_from_old = np.linalg.inv(odom_from_anchor) @ moment.odom_from_anchor
        by_critic = self._critic is not None and moment.by_lidar and "lidar" in encoded.sensors
        if self._critic is not None and by_critic:
            if moment.likely is None:
                moment.likely = self._critic.expect(
                    moment.stamp_ns, moment.odom_from_anchor, moment.latent_ND, moment.prediction.next_ND(self._critic.channels)
                )
            error = self._critic.strangeness(moment.likely, new_from_old, encoded.latent_ND)
        else:
            error = worst_error(encoded.latent_ND, self._model.align(moment.prediction.next_ND()[None], new_from_old[None])[0])
        return self._histories[by_critic].judge(error), error, by_critic

    def _one_step_before(self, stamp_ns: int) -> _Moment | None:
        """The moment nearest to one step before: what it predicted is due, within half a step. None where frames come too seldom.

        At 3 Hz, or where frames were dropped, none lies on the step itself; how much worse a prediction looks for that is in the history.
        """
        due_ns = stamp_ns - self._step_ns
        nearest = min(self._moments, key=lambda moment: abs(moment.stamp_ns - due_ns), default=None)
        if nearest is None or abs(nearest.stamp_ns - due_ns) > OFF_STEP * self._step_ns:
            return None
        # A younger one stands in only where frames are too far apart for a better one: not at the beginning, when it is still to come.
        return nearest if min(nearest.stamp_ns, self._moments[0].stamp_ns) <= due_ns + EARLY * self._step_ns else None


def encode(model: WorldModel, observation: Observation) -> Encoded:
    """Of any world model; what each sensor alone gave is empty where the model does not show it."""
    if isinstance(model, SensorEncoder):
        return model.encode_sensors(observation)
    return Encoded(model.encode(observation)[0], {})


def critic_of(model: WorldModel) -> Critic | None:
    """A new critic for one stream, where the model has one."""
    return model.critic() if isinstance(model, Criticised) else None


def worst_error(observed_ND: Tensor, predicted_ND: Tensor) -> float:
    """Mean squared error of the worst places of a latent, both (N, D) in the same anchor frame. Raises ValueError where the shapes differ.

    Latents that form a square map are averaged over 3 x 3 neighbours, because an event is wrong in one piece while sensor noise is
    scattered, and the worst 0.5 % of the places count.
    """
    if observed_ND.shape != predicted_ND.shape:
        raise ValueError(f"observed {tuple(observed_ND.shape)} and predicted {tuple(predicted_ND.shape)} latents differ in shape")
    # A prediction warped into this frame is zero where it had no data: nothing was predicted there, so nothing surprises there.
    known_N = predicted_ND.abs().amax(dim=1) > 0
    error_N = (observed_ND - predicted_ND).square().mean(dim=1).float() * known_N
    side = math.isqrt(len(error_N))
    if side > 2 and side * side == len(error_N):
        error_N = F.avg_pool2d(error_N.view(1, side, side), 3, stride=1, padding=1).flatten()
    return float(error_N.topk(max(1, round(WORST_SHARE * len(error_N)))).values.mean())
