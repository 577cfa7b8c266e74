"""Runs of a recorded arm -> stretches of equal length: one from just before each grip, with its outcome, and what lies between.

Axes: T sample of a run, F frame of a stretch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from jepa_ros.config import param, validate
from jepa_ros.training.arm.episodes import HELD, LOST, UNKNOWN, ArmEpisodes
from jepa_ros.training.arm.recording import Run
from jepa_ros.types import FloatArray

GRIP_AT = 2  # frame of a stretch at which the fingers have closed


@dataclass(frozen=True)
class GripRules:
    """How a grip and its end are recognised from the closing of the fingers (0 open, 1 touching)."""

    closes_by: float = param(0.10, "the fingers have closed by at least this much within two samples", at_least=0.0, at_most=1.0)
    rests_within: float = param(0.03, "and then stop: they move by less in one sample", at_least=0.0, at_most=1.0)
    slips_by: float = param(0.05, "fingers that close by this much without a command have lost the object", at_least=0.0, at_most=1.0)
    opens_by: float = param(
        0.10, "a command to open by this much releases the object: no outcome is read after it", at_least=0.0, at_most=1.0
    )

    def __post_init__(self) -> None:
        validate(self)


@dataclass(frozen=True)
class GripperRange:
    """Widths in m, or whatever the joint says: what counts as open, and as closed on nothing."""

    open: float
    closed: float

    def closing(self, width: float) -> float:
        """0-1."""
        return float(np.clip((self.open - width) / (self.open - self.closed), 0.0, 1.0))


def gripper_range(runs: Sequence[Run]) -> GripperRange:
    """What was seen. Raises ValueError where the gripper never moved."""
    widths = np.concatenate([[*run.widths, *run.commands] for run in runs])
    if np.ptp(widths) < 1e-6:
        raise ValueError(f"the gripper's joint stood at {widths[0]:.4f} all the time: name another joint, or give its range")
    return GripperRange(float(widths.max()), float(widths.min()))


def stretches_of(runs: Sequence[Run], gripper: GripperRange, frames: int, rules: GripRules) -> ArmEpisodes:
    """Grips first in each run, then every half stretch without one. Raises ValueError where no run is long enough."""
    parts = []
    for run in runs:
        closing, told = (np.array([gripper.closing(width) for width in row]) for row in (run.widths, run.commands))
        actions = run.actions(gripper.closing)
        grips = [at for at in grips_in(closing, rules) if at >= GRIP_AT and at - GRIP_AT + frames <= len(run)]
        begins = [(at - GRIP_AT, at) for at in grips]
        begins += [(begin, -1) for begin in range(0, len(run) - frames + 1, max(1, frames // 2))]
        for begin, at in begins:
            outcome = np.full(frames, UNKNOWN, np.int8)
            if at >= 0:
                outcome[GRIP_AT:] = outcome_of(closing, told, run.held, at, rules)[: frames - GRIP_AT]
            chosen = slice(begin, begin + frames)
            parts.append((
                np.stack(run.images[chosen]), actions[begin : begin + frames - 1].astype(np.float32), closing[chosen].astype(np.float32),
                np.int64(GRIP_AT if at >= 0 else -1), outcome,
            ))  # fmt: skip
    if not parts:
        longest = max((len(run) for run in runs), default=0)
        raise ValueError(f"no run has {frames} samples without a gap (the longest has {longest}): record longer, or train on fewer frames")
    return ArmEpisodes(*(np.stack(column) for column in zip(*parts, strict=True)))


def grips_in(closing_T: FloatArray, rules: GripRules) -> list[int]:
    """Samples at which fingers that were closing have come to rest."""
    found, closing = [], False
    for t in range(1, len(closing_T)):
        grown = closing_T[t] - closing_T[max(0, t - 2)]
        step = closing_T[t] - closing_T[t - 1]
        closing = closing or grown >= rules.closes_by
        rests = t + 1 == len(closing_T) or abs(closing_T[t + 1] - closing_T[t]) < rules.rests_within
        if closing and rests and step > -rules.rests_within:
            found.append(t)
            closing = False
        elif step < -rules.rests_within:
            closing = False
    return [at for k, at in enumerate(found) if k == 0 or at - found[k - 1] > 2]


def outcome_of(closing_T: FloatArray, told_T: FloatArray, held_T: Sequence[bool | None], grip: int, rules: GripRules) -> NDArray[np.int8]:
    """HELD or LOST at each sample from the grip on, UNKNOWN once it is commanded to open; the outcome's topic decides where it is."""
    outcome = []
    state = HELD
    for t in range(grip, len(closing_T)):
        if told_T[t] < told_T[grip] - rules.opens_by:
            outcome += [UNKNOWN] * (len(closing_T) - t)
            break
        if held_T[t] is not None and t > grip:
            state = HELD if held_T[t] and state == HELD else LOST
        elif held_T[t] is None and (closing_T[t] > closing_T[grip] + rules.slips_by or closing_T[grip] > 1 - rules.slips_by):
            state = LOST
        outcome.append(state)
    return np.array(outcome, np.int8)
