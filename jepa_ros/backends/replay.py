"""Whether sensors still measure, and whether time runs forwards: no two measurements of a noisy sensor are the same."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from jepa_ros.protocols import SensorSample

SAME = 1e-3  # a change below this share is none: what noise alone changes is 20 times that and more
MEMORY = 300  # samples of each sensor remembered
SURE = 1e-6  # the least that a tail probability is said to be
ALIKE = 2.0  # neighbouring cells vote alike: four votes weigh as much as one, so half of the standard score is left


@dataclass(frozen=True)
class _Moment:
    stamp_ns: int
    sensors: Mapping[str, SensorSample]


class ReplayDetector:
    """Compares what each sensor alone gave with what it gave before.

    A sample that repeats an earlier one, though it has a new stamp, is as surprising as such repeats are rare; one that goes on does not
    become usual before it ends. A scene that resembles the one two steps ago more than the one a step ago runs backwards: the cells that
    changed between those two vote.
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

    def judge(self, stamp_ns: int, sensors: Mapping[str, SensorSample]) -> float:
        """Surprise, 0-1, remembering nothing. 0 where there is nothing to compare with."""
        return max((self._judge(stamp_ns, name, sample) for name, sample in sensors.items()), default=0.0)

    def take(self, stamp_ns: int, sensors: Mapping[str, SensorSample]) -> None:
        """Remember a moment."""
        for name, sample in sensors.items():
            if not self._is_repeat(stamp_ns, name, sample):
                history = self._repeats.setdefault(name, deque(maxlen=MEMORY))
                history.extend([True] * self._running.pop(name, 0) + [False])
            else:
                self._running[name] = self._running.get(name, 0) + 1
        self._moments.append(_Moment(stamp_ns, sensors))
        while self._moments[0].stamp_ns < stamp_ns - 3 * self._step_ns:
            self._moments.popleft()

    def _judge(self, stamp_ns: int, name: str, sample: SensorSample) -> float:
        if self._is_repeat(stamp_ns, name, sample):
            history = self._repeats.get(name, ())
            return 1.0 - max(sum(history) / max(len(history), 1), SURE)
        if sample.values.dtype != torch.bool:
            return 0.0
        once, twice = (self._before(stamp_ns, steps, name, sample) for steps in (1, 2))
        if once is None or twice is None or twice.stamp_ns >= once.stamp_ns:
            return 0.0
        return 0.5 * (1 + math.erf(backwards(sample.values, once.values, twice.values) / ALIKE / math.sqrt(2)))

    def _is_repeat(self, stamp_ns: int, name: str, sample: SensorSample) -> bool:
        """Whether a new sample is a copy of the last one, or of one that came one or two steps ago."""
        last = self._moments[-1].sensors.get(name) if self._moments else None
        earlier = [last, *(self._before(stamp_ns, steps, name, sample) for steps in (1, 2))]
        return any(before is not None and _comparable(before, sample) and change(before.values, sample.values) < SAME for before in earlier)

    def _before(self, stamp_ns: int, steps: int, name: str, sample: SensorSample) -> SensorSample | None:
        """What the sensor gave so many steps ago; None where that was not remembered."""
        wanted_ns = stamp_ns - steps * self._step_ns
        nearest = min(self._moments, key=lambda moment: abs(moment.stamp_ns - wanted_ns), default=None)
        if nearest is None or abs(nearest.stamp_ns - wanted_ns) > self._step_ns // 4:
            return None
        before = nearest.sensors.get(name)
        return before if before is not None and _comparable(before, sample) else None


def change(before: Tensor, now: Tensor) -> float:
    """Share of what was there before or is there now that differs, 0-1 for statements; two empty samples do not count as equal."""
    if before.dtype == torch.bool:
        union = int((before | now).sum())
        return int((before ^ now).sum()) / union if union else 1.0
    larger = float(torch.maximum(before.abs(), now.abs()).sum())
    return float((before - now).abs().sum()) / larger if larger else 1.0


def backwards(now: Tensor, once: Tensor, twice: Tensor) -> float:
    """Standard score of the votes for "as it was two steps ago" among the statements in which those two moments differ."""
    voters = once ^ twice
    count = int(voters.sum())
    return (2 * int(((now ^ once) & voters).sum()) - count) / math.sqrt(count) if count else 0.0


def _comparable(before: SensorSample, sample: SensorSample) -> bool:
    """A sample that was merely used again, because the sensor is slower than the observations, repeats nothing."""
    return before.stamp_ns < sample.stamp_ns and before.values.shape == sample.values.shape
