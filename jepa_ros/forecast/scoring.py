"""Online scoring: every forecast is compared with what the track then did, on the robot that runs it. ROS-free.

Axes: P person, K mode, H future step.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from jepa_ros.config import param, validate
from jepa_ros.forecast.mixture import density_rank
from jepa_ros.types import NANOSECONDS, FloatArray, PedestrianForecast, TrackedPeople

Ranked = Callable[[FloatArray, NDArray[np.bool_]], None]


@dataclass(frozen=True)
class OnlineScoreConfig:
    """How much is remembered, and when a track's position at an instant counts as known."""

    window: int = param(500, "newest scored forecasts (one person at one stamp each) in the rolling figures", at_least=1)
    longest_gap_s: float = param(0.6, "between two sightings further apart nothing is known", at_least=0.05, at_most=5.0)
    rank_samples: int = param(39, "draws per step that find the highest-density regions; one less than a multiple of 20", at_least=19)

    def __post_init__(self) -> None:
        validate(self)


@dataclass
class _Pending:
    """One forecast that waits for its future."""

    stamp_ns: int
    ids: np.ndarray  # (P,)
    forecast: PedestrianForecast
    straight_m: FloatArray  # (P, H, 2) constant velocity, to compare with


class OnlineScore:
    """Feed it each stage of people and forecast, in the order of their stamps; ask for the summary at any time. Not thread-safe."""

    def __init__(self, config: OnlineScoreConfig | None = None, ranked: Ranked | None = None) -> None:
        """ranked: called with, for each scored instant, the (N, H) mass of the region that just held the outcome, and where it is known."""
        self.config = config or OnlineScoreConfig()
        self._ranked = ranked
        self._pending: deque[_Pending] = deque()
        self._sightings: dict[int, list[tuple[int, float, float]]] = {}
        self._rows: deque[tuple[float, ...]] = deque(maxlen=self.config.window)
        self._generator = torch.Generator().manual_seed(0)
        self._newest_ns: int | None = None
        self.scored = 0  # forecasts scored since the start

    def update(self, stamp_ns: int, people: TrackedPeople, forecast: PedestrianForecast) -> None:
        """Remember positions and forecasts, and score the forecasts that are due.

        `forecast` row i belongs to `people` row i and both are in the same fixed frame. A person whose newest history step is not valid
        was not seen now: the position is then the tracker's guess, and is not held against the forecast. Time that runs backwards
        (a bag that is played again) starts anew. Raises ValueError where the rows do not match.
        """
        if len(forecast.probabilities) != len(people.ids):
            raise ValueError(f"{len(forecast.probabilities)} forecasts for {len(people.ids)} people; rows must match")
        if self._newest_ns is not None and stamp_ns < self._newest_ns:
            self._pending.clear()
            self._sightings.clear()
        self._newest_ns = stamp_ns
        seen = people.history.valid[:, -1]
        for person, position in zip(people.ids[seen].tolist(), people.positions_m[seen].tolist(), strict=True):
            self._sightings.setdefault(person, []).append((stamp_ns, position[0], position[1]))
        if seen.any():
            ahead = people.velocities_mps[:, None] * forecast.times_s[:, None]
            self._pending.append(_Pending(stamp_ns, people.ids, forecast, people.positions_m[:, None] + ahead))
        grace_ns = int(self.config.longest_gap_s * NANOSECONDS)
        while self._pending and stamp_ns >= self._pending[0].stamp_ns + _horizon_ns(self._pending[0].forecast) + grace_ns:
            self._score(self._pending.popleft())
        self._forget(self._pending[0].stamp_ns if self._pending else stamp_ns)

    def begin(self, window: int) -> None:
        """Clear the figures and set a new window; forecasts that are not due yet stay."""
        self._rows = deque(maxlen=window)

    def summary(self) -> dict[str, float]:
        """Rolling means over the newest scored forecasts; only the counts where nothing has been scored yet.

        minADE and minFDE are over all modes, ADE and FDE of the most likely path, in metres; coverages are shares of steps. A forecast
        counts once the person was seen at its last step; the steps before it at which nothing is known are left out.
        """
        counts = {"scored": float(self.scored), "waiting": float(sum(len(one.ids) for one in self._pending))}
        if not self._rows:
            return counts
        names = (
            "minADE_m",
            "minFDE_m",
            "ADE_m",
            "FDE_m",
            "constant_velocity_ADE_m",
            "constant_velocity_FDE_m",
            "coverage_50",
            "coverage_90",
        )
        return counts | dict(zip(names, np.mean(np.array(self._rows), axis=0).tolist(), strict=True))

    def _score(self, one: _Pending) -> None:
        due_ns = one.stamp_ns + np.round(one.forecast.times_s * NANOSECONDS).astype(np.int64)
        truth = np.stack([self._path(person, due_ns) for person in one.ids.tolist()])
        rows = np.flatnonzero(np.isfinite(truth[:, -1, 0]))
        if not len(rows):
            return
        truth, forecast = truth[rows], one.forecast
        known = np.isfinite(truth[..., 0])
        truth = np.nan_to_num(truth)
        share = known / known.sum(axis=1, keepdims=True)  # (P, H): weights of the mean over the known steps
        error = np.linalg.norm(forecast.modes_m[rows] - truth[:, None], axis=-1)  # (P, K, H)
        single = np.linalg.norm(forecast.most_likely()[rows] - truth, axis=-1)
        straight = np.linalg.norm(one.straight_m[rows] - truth, axis=-1)
        rank = density_rank(
            torch.from_numpy(truth),
            torch.from_numpy(np.asarray(forecast.modes_m[rows], np.float64)),
            torch.from_numpy(np.asarray(forecast.covariances_m2[rows], np.float64)),
            torch.from_numpy(np.log(np.maximum(forecast.probabilities[rows], 1e-12))),
            self.config.rank_samples,
            self._generator,
        ).numpy()
        if self._ranked is not None:
            self._ranked(rank, known)
        columns = (
            (error * share[:, None]).sum(axis=2).min(axis=1),
            error[..., -1].min(axis=1),
            (single * share).sum(axis=1),
            single[:, -1],
            (straight * share).sum(axis=1),
            straight[:, -1],
            ((rank <= 0.5) * share).sum(axis=1),
            ((rank <= 0.9) * share).sum(axis=1),
        )
        self._rows.extend(zip(*(column.tolist() for column in columns), strict=True))
        self.scored += len(rows)

    def _path(self, person: int, due_ns: np.ndarray) -> FloatArray:
        """(H, 2) where the person was at these instants, NaN where that is not known."""
        sightings = self._sightings.get(person, [])
        if len(sightings) < 2:
            return np.full((len(due_ns), 2), np.nan)
        stamps = np.array([stamp for stamp, _, _ in sightings], np.int64)
        places = np.array([(x, y) for _, x, y in sightings])
        after = np.searchsorted(stamps, due_ns).clip(1, len(stamps) - 1)
        before = after - 1
        span = stamps[after] - stamps[before]
        weight = ((due_ns - stamps[before]) / np.maximum(span, 1))[:, None]
        near = (span <= self.config.longest_gap_s * NANOSECONDS) | (due_ns == stamps[after])
        known = (due_ns >= stamps[0]) & (due_ns <= stamps[-1]) & near
        return np.where(known[:, None], (1 - weight) * places[before] + weight * places[after], np.nan)

    def _forget(self, before_ns: int) -> None:
        """Drop sightings that no waiting forecast can ask for."""
        for person, sightings in list(self._sightings.items()):
            kept = [sighting for sighting in sightings if sighting[0] >= before_ns]
            if kept:
                self._sightings[person] = kept
            else:
                del self._sightings[person]


def _horizon_ns(forecast: PedestrianForecast) -> int:
    return round(float(forecast.times_s[-1]) * NANOSECONDS)
