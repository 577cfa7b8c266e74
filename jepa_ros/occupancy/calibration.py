"""Learns from what comes true: how far the probabilities of occupancy are off where this robot drives.

A network that was trained elsewhere says .3 on a street where .5 is right. Every sweep shows what earlier forecasts of this instant were
worth. Two numbers correct the logits, an offset and a factor: Platt scaling, fitted by logistic regression to the last tens of seconds,
held near "nothing to correct" until there is evidence, and within bounds always. Nothing is labelled, and nothing is kept when the stream
ends.
Axes: K step that is judged, N cell, M return, B bin of logits, H step, Y/X grid rows and columns.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from jepa_ros.occupancy.evidence import LEAST
from jepa_ros.sensing.lidar_view import LidarView
from jepa_ros.sensing.sight import Look, centres, reached
from jepa_ros.sensing.voxelize import cell_indices
from jepa_ros.types import NANOSECONDS, FloatArray, GridSpec

JUDGED = (1, 3, 6, 12)  # steps; of forecasts that are a step apart
CELLS = 2000  # of a forecast that are looked at again, drawn at random
LATE = 0.2  # share of a step by which a sweep may miss the instant of a forecast
FADES_S = 20.0  # time constant of the evidence
ALIKE = 50.0  # cells that count as one: neighbours, and the same place a step later, show the same
HELD = 8.0  # how much evidence "nothing to correct" is worth
LEAST_LOGIT = float(np.log(LEAST / (1.0 - LEAST)))  # less is as good as empty, and there is so much of it that nothing else would count
EDGES = np.linspace(-7.0, 7.0, 29)  # of the bins, logits
# Bounds, lest a bad odometry, which puts every wall elsewhere a moment later, should talk walls away: what is said with .9 stays above .5.
OFFSETS, FACTORS = (-1.0, 2.0), (0.5, 2.0)
ROUNDS = 4  # of Newton's method, begun where the last fit ended


@dataclass(frozen=True)
class _Said:
    """Of one instant: what was said of some cells, waiting for the sweeps that tell."""

    stamp_ns: int
    odom_from_anchor: FloatArray
    cell_N: NDArray[np.intp]  # in the flattened grid
    logit_KN: NDArray[np.float32]
    told: set[int] = field(default_factory=set)  # steps that were judged


class OutcomeCalibration:
    """One instance belongs to one stream and one thread."""

    offset: float
    factor: float

    def __init__(self, grid: GridSpec, step_s: float) -> None:
        """step_s: between two steps of a forecast."""
        self._grid, self._step_ns = grid, round(step_s * NANOSECONDS)
        self._centres_N2 = centres(grid)
        self.clear()

    def clear(self) -> None:
        """Forget the stream, and what was learned of it."""
        self._said: deque[_Said] = deque()
        self._count_B, self._hits_B, self._logits_B = np.zeros((3, len(EDGES) - 1))  # judged cells, those of them hit, sum of their logits
        self._last_ns: int | None = None
        self._random = np.random.default_rng(0)
        self.offset, self.factor = 0.0, 1.0

    def correct(self, logits: Tensor) -> Tensor:
        """The same logits, as likely as such cells turned out to be."""
        return torch.add(logits * self.factor, self.offset)

    def remember(self, stamp_ns: int, odom_from_anchor: FloatArray, logits_HYX: Tensor, judged_YX: Tensor) -> None:
        """Keeps what is said now, uncorrected, of the cells that are to be judged; once a step."""
        if self._said and stamp_ns - self._said[-1].stamp_ns < (1.0 - LATE) * self._step_ns:
            return
        cell_N = np.flatnonzero((judged_YX & (logits_HYX.amax(dim=0) >= LEAST_LOGIT)).numpy())
        if len(cell_N) > CELLS:
            cell_N = self._random.choice(cell_N, CELLS, replace=False)
        steps = [step - 1 for step in JUDGED if step <= len(logits_HYX)]
        self._said.append(_Said(stamp_ns, odom_from_anchor, cell_N, logits_HYX[steps].flatten(1)[:, cell_N].numpy()))

    def learn(self, stamp_ns: int, odom_from_anchor: FloatArray, views: Sequence[LidarView], looks: Sequence[Look]) -> None:
        """Compares what was said with a sweep: the returns of each lidar, and how far it saw."""
        if self._last_ns is not None:
            fades = np.exp((self._last_ns - stamp_ns) / NANOSECONDS / FADES_S)
            self._count_B, self._hits_B, self._logits_B = fades * self._count_B, fades * self._hits_B, fades * self._logits_B
        self._last_ns = stamp_ns
        while self._said and stamp_ns - self._said[0].stamp_ns > (JUDGED[-1] + LATE) * self._step_ns:
            self._said.popleft()
        due = [(said, place) for said in self._said for place in range(len(said.logit_KN)) if self._is_due(said, place, stamp_ns)]
        if not due:
            return
        now = odom_from_anchor
        body_m = np.concatenate([view.body_m[:, :2] for view in views]) @ now[:2, :2].T + now[:2, 3]
        for said, place in due:
            self._compare(said, place, body_m, now, looks)
        self._fit()

    def _is_due(self, said: _Said, place: int, stamp_ns: int) -> bool:
        late_ns = stamp_ns - said.stamp_ns - JUDGED[place] * self._step_ns
        return place not in said.told and abs(late_ns) <= LATE * self._step_ns

    def _compare(self, said: _Said, place: int, body_m: FloatArray, now: FloatArray, looks: Sequence[Look]) -> None:
        """body_m: (M, 2) in odom. now: odom_from_anchor of the sweep."""
        said.told.add(place)
        turn, origin_m = said.odom_from_anchor[:2, :2], said.odom_from_anchor[:2, 3]
        hit = np.zeros(self._grid.rows * self._grid.columns, bool)
        hit[cell_indices((body_m - origin_m) @ turn, self._grid)[0]] = True
        hit_N = hit[said.cell_N]
        x_N, y_N = ((self._centres_N2[said.cell_N] @ turn.T + origin_m - now[:2, 3]) @ now[:2, :2]).astype(np.float32).T
        known_N = hit_N | np.any([reached(look, x_N, y_N, 0.0) for look in looks], axis=0)
        logit_N = said.logit_KN[place]
        counts_N = logit_N >= LEAST_LOGIT
        hit_N, known_N = hit_N & counts_N, known_N & counts_N
        bins = np.digitize(logit_N, EDGES[1:-1])
        self._count_B += np.bincount(bins[known_N], minlength=len(EDGES) - 1)
        self._hits_B += np.bincount(bins[hit_N], minlength=len(EDGES) - 1)
        self._logits_B += np.bincount(bins[known_N], logit_N[known_N], minlength=len(EDGES) - 1)

    def _fit(self) -> None:
        """Newton's method on the likelihood of what was seen, and a pull towards an offset of 0 and a factor of 1: one number after the
        other, since each has its bounds."""
        count_B, hits_B = self._count_B / ALIKE, self._hits_B / ALIKE
        logit_B = self._logits_B / np.maximum(self._count_B, 1e-6)

        def step(reads_B: FloatArray, from_none: float) -> float:
            probability_B = 1.0 / (1.0 + np.exp(-(self.offset + self.factor * logit_B)))
            slope = reads_B @ (hits_B - count_B * probability_B) - HELD * from_none
            return float(slope / (reads_B**2 @ (count_B * probability_B * (1.0 - probability_B)) + HELD))

        for _ in range(ROUNDS):
            self.offset = float(np.clip(self.offset + step(np.ones_like(logit_B), self.offset), *OFFSETS))
            self.factor = float(np.clip(self.factor + step(logit_B, self.factor - 1.0), *FACTORS))
