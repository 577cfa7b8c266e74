"""How far the world strayed from what was predicted, on a scale of 0 to 1."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass

import numpy as np
import torch.nn.functional as F
from torch import Tensor

from jepa_ros.backends.replay import ReplayDetector
from jepa_ros.protocols import Critic, Criticised, Encoded, SensorEncoder, WorldModel
from jepa_ros.types import NANOSECONDS, FloatArray, Observation

WARM_UP = 10  # errors seen before a value is given
MEMORY = 300  # errors remembered
WORST_SHARE = 0.005  # of all tokens: a person who steps out covers a few tokens of thousands, and drowns in their mean
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


@dataclass(frozen=True)
class _Foretold:
    """What was predicted for `stamp_ns`, seen from an anchor frame of the past."""

    stamp_ns: int
    odom_from_anchor: FloatArray
    predicted_ND: Tensor
    likely: Tensor | None  # what the critic made of it


@dataclass(frozen=True)
class Judgement:
    """Of one observation. The error is what the history learns from it."""

    surprise: float  # 0-1; NaN where nothing was foretold, or too little was seen yet to say what is usual
    error: float | None
    by_critic: bool


class SurpriseWatch:
    """Judges a stream of encoded observations, each by what was foretold of it one model step before.

    Two things surprise: a scene that is not as foretold, against the history of how well scenes were foretold, and a sensor that repeats
    itself, stands still while the robot moves, or runs backwards (`replay`). The larger of the two counts. How strange a scene is says the
    critic where there is one; else the error of the worst places does.
    """

    def __init__(self, model: WorldModel, critic: Critic | None) -> None:
        self._model, self._critic = model, critic
        self._step_ns = round(model.spec.dt_s * NANOSECONDS)
        self._replay = ReplayDetector(model.spec.dt_s)
        self.reset()

    def reset(self) -> None:
        """Forget the history, as after a jump in time."""
        self._due: deque[_Foretold] = deque()
        self._histories = {True: ErrorHistory(LEAST_SIGMA_CRITIC), False: ErrorHistory(LEAST_SIGMA)}  # by the critic or not
        self._replay.reset()
        if self._critic is not None:
            self._critic.reset()

    def judge(self, stamp_ns: int, odom_from_anchor: FloatArray, encoded: Encoded) -> Judgement:
        """Judge an observation that is newer than all that were taken; nothing is remembered."""
        foretold = self._foretold(stamp_ns)
        if foretold is None:
            return Judgement(math.nan, None, False)
        new_from_old = np.linalg.inv(odom_from_anchor) @ foretold.odom_from_anchor
        by_critic = False
        if self._critic is not None and foretold.likely is not None and "lidar" in encoded.sensors:
            by_critic = True
            error = self._critic.strangeness(foretold.likely, new_from_old, encoded.latent_ND)
        else:
            error = worst_error(encoded.latent_ND, self._model.align(foretold.predicted_ND[None], new_from_old[None])[0])
        surprise = self._histories[by_critic].judge(error)
        if not math.isnan(surprise):
            surprise = max(surprise, self._replay.judge(stamp_ns, odom_from_anchor, encoded.sensors))
        return Judgement(surprise, error, by_critic)

    def take(self, stamp_ns: int, odom_from_anchor: FloatArray, encoded: Encoded, judgement: Judgement, predicted_ND: Tensor) -> None:
        """Remember an observation, its judgement, and what is predicted one model step ahead of it, in its own anchor frame."""
        if judgement.error is not None:
            self._histories[judgement.by_critic].add(judgement.error)
        self._replay.take(stamp_ns, odom_from_anchor, encoded.sensors)
        likely = None
        if self._critic is not None and "lidar" in encoded.sensors:
            likely = self._critic.expect(stamp_ns, odom_from_anchor, encoded.latent_ND, predicted_ND)
        while self._due and self._due[0].stamp_ns <= stamp_ns + self._step_ns // 8:
            self._due.popleft()
        self._due.append(_Foretold(stamp_ns + self._step_ns, odom_from_anchor, predicted_ND, likely))

    def _foretold(self, stamp_ns: int) -> _Foretold | None:
        """The newest prediction that has come due, unless that was long ago."""
        due = [foretold for foretold in self._due if foretold.stamp_ns <= stamp_ns + self._step_ns // 8]
        return due[-1] if due and stamp_ns - due[-1].stamp_ns <= self._step_ns // 4 else None


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
    # A prediction warped into this frame is zero where it had no data: nothing was foretold there, so nothing surprises there.
    foretold_N = predicted_ND.abs().amax(dim=1) > 0
    error_N = (observed_ND - predicted_ND).square().mean(dim=1).float() * foretold_N
    side = math.isqrt(len(error_N))
    if side > 2 and side * side == len(error_N):
        error_N = F.avg_pool2d(error_N.view(1, side, side), 3, stride=1, padding=1).flatten()
    return float(error_N.topk(max(1, round(WORST_SHARE * len(error_N)))).values.mean())
