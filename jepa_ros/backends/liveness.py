"""Detects a frozen sensor and time that runs backwards: two measurements of a noisy sensor are never the same."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from jepa_ros.backends.bev import warp
from jepa_ros.protocols import SensorSample
from jepa_ros.types import FloatArray

SAME = 1e-3  # a change below this share is none: what noise alone changes is 20 times that and more
MEMORY = 300  # samples of each sensor remembered
SURE = 1e-6  # the least that a tail probability is said to be
ALIKE = 2.0  # neighbouring cells vote alike: four votes weigh as much as one, so half of the standard score is left


@dataclass(frozen=True)
class _Moment:
    stamp_ns: int
    odom_from_anchor: FloatArray
    sensors: Mapping[str, SensorSample]


class ReplayDetector:
    """Compares what each sensor alone gave with what it gave before.

    A sample that repeats an earlier one, though it has a new stamp, is as surprising as such repeats are rare; one that goes on does not
    become usual before it ends. On maps, cells also vote. Between the scene one and two steps ago: whether time runs backwards. Between the
    last scene as it was and as it should look from here: whether the sensor stands still while the robot moves; for a frozen sweep is no
    exact copy once it was levelled by another pose.
    """

    def __init__(self, dt_s: float) -> None:
        self._step_ns = round(dt_s * 1e9)
        self._moments: deque[_Moment] = deque()
        self._repeats: dict[str, deque[bool]] = {}
        self._running: dict[str, int] = {}

    def reset(self) -> None:
        """Forget everything, as after a jump in time."""
        self._moments.clear()
        self._repeats.clear()
        self._running.clear()

    def judge(self, stamp_ns: int, odom_from_anchor: FloatArray, sensors: Mapping[str, SensorSample]) -> float:
        """Surprise, 0-1, remembering nothing. 0 where there is nothing to compare with."""
        return max((self._judge(stamp_ns, odom_from_anchor, name, sample) for name, sample in sensors.items()), default=0.0)

    def take(self, stamp_ns: int, odom_from_anchor: FloatArray, sensors: Mapping[str, SensorSample]) -> None:
        """Remember a moment."""
        for name, sample in sensors.items():
            if not self._is_repeat(stamp_ns, name, sample):
                history = self._repeats.setdefault(name, deque(maxlen=MEMORY))
                history.extend([True] * self._running.pop(name, 0) + [False])
            else:
                self._running[name] = self._running.get(name, 0) + 1
        self._moments.append(_Moment(stamp_ns, odom_from_anchor, sensors))
        while self._moments[0].stamp_ns < stamp_ns - 3 * self._step_ns:
            self._moments.popleft()

    def _judge(self, stamp_ns: int, odom_from_anchor: FloatArray, name: str, sample: SensorSample) -> float:
        if self._is_repeat(stamp_ns, name, sample):
            history = self._repeats.get(name, ())
            return 1.0 - max(sum(history) / max(len(history), 1), SURE)
        if sample.half_m is None:
            return 0.0
        before = self._before(stamp_ns, name, sample)
        lately = {moment.stamp_ns: moment for moment in before[:2] if moment is not None}
        scores = [_stands_still(odom_from_anchor, sample, moment, moment.sensors[name]) for moment in lately.values()]
        if before[1] is not None and before[2] is not None:
            once, twice = (moment.sensors[name].values for moment in before[1:] if moment is not None)
            scores.append(votes(sample.values, twice, once))
        return 0.5 * (1 + math.erf(max(scores, default=-math.inf) / ALIKE / math.sqrt(2)))

    def _is_repeat(self, stamp_ns: int, name: str, sample: SensorSample) -> bool:
        """Whether a new sample is a copy of the last one, or of one that came one or two steps ago."""
        before = self._before(stamp_ns, name, sample)
        return any(moment is not None and change(moment.sensors[name].values, sample.values) < SAME for moment in before)

    def _before(self, stamp_ns: int, name: str, sample: SensorSample) -> list[_Moment | None]:
        """The last moment, those one and two steps ago; None where the sensor gave nothing then that the sample could be compared with."""
        found = [self._moments[-1] if self._moments else None]
        for steps in (1, 2):
            wanted_ns = stamp_ns - steps * self._step_ns
            nearest = min(self._moments, key=lambda moment: abs(moment.stamp_ns - wanted_ns), default=None)
            found.append(nearest if nearest and abs(nearest.stamp_ns - wanted_ns) <= self._step_ns // 4 else None)
        return [moment if moment and name in moment.sensors and _comparable(moment.sensors[name], sample) else None for moment in found]


def change(before: Tensor, now: Tensor) -> float:
    """Share of what was there before or is there now that differs, 0-1 for statements; two empty samples do not count as equal."""
    if before.dtype == torch.bool:
        union = _count(before | now)
        return _count(before ^ now) / union if union else 1.0
    larger = float(torch.maximum(before.abs(), now.abs()).sum())
    return float((before - now).abs().sum()) / larger if larger else 1.0


def votes(now: Tensor, claim: Tensor, other: Tensor) -> float:
    """Standard score of the votes for one claim about statements against another, among those in which the claims differ."""
    voters = claim ^ other
    count = _count(voters)
    return (2 * _count(~(now ^ claim) & voters) - count) / math.sqrt(count) if count else 0.0


def _count(statements: Tensor) -> int:
    """How many are true; torch's sum of them takes ten times as long."""
    return int(np.count_nonzero(statements.cpu().numpy()))


def _stands_still(odom_from_anchor: FloatArray, now: SensorSample, moment: _Moment, before: SensorSample) -> float:
    """Votes for "nothing moved" against "the robot moved as odometry says"; 0 unless it moved so far that cells can tell."""
    assert now.half_m is not None
    new_from_old = np.linalg.inv(odom_from_anchor) @ moment.odom_from_anchor
    if np.hypot(*new_from_old[:2, 3]) < 2 * now.half_m / now.values.shape[-1]:
        return 0.0
    return votes(now.values, before.values, warp(before.values[None].float(), new_from_old[None], now.half_m)[0] > 0.5)


def _comparable(before: SensorSample, sample: SensorSample) -> bool:
    """A sample that was merely used again, because the sensor is slower than the observations, repeats nothing."""
    return before.stamp_ns < sample.stamp_ns and before.values.shape == sample.values.shape
