"""Who is who: constant-velocity Kalman filters, gated assignment and an existence probability per track, in the odom frame.

All tracks live in one set of arrays, so that a crowd costs little more than one person. Axes: P tracks, M detections, L remembered updates.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from jepa_ros.config import param, validate
from jepa_ros.objects import kalman
from jepa_ros.objects.rows import Rows
from jepa_ros.types import NANOSECONDS, FloatArray, TrackedPeople, Tracks

# Evidence for a person, in log-odds. The shape seen in sweep after sweep is not new evidence each time, so it is averaged over
# SHAPE_TIME_S instead of summed. Motion is evidence that no pole or wall gives; standing still speaks against, but people wait too.
SHAPE_TIME_S = 0.6
LARGEST_LOGIT = 4.0
MOVING_LOGIT = 1.2
STANDING_LOGIT = -1.8
MOTION_TIME_S = 1.2  # motion is judged over this time
MOVED_M = 0.5  # a slow walk over MOTION_TIME_S; the centre of a static column seen from a moving robot shifts by less
UNKNOWN_FAR = 1e6  # cost of a pair outside the gate


@dataclass(frozen=True)
class TrackingConfig:
    """How tracks are born, followed, believed and dropped."""

    dt_s: float = param(0.4, "step of the history that forecasters read", at_least=0.01, at_most=5.0)
    history_steps: int = param(8, "steps of that history, the newest is now", at_least=1, at_most=100)
    coast_s: float = param(1.2, "a hidden track is predicted for at most this long", at_least=0.1, at_most=10.0)
    confirm_s: float = param(0.25, "a track is reported once it has been followed for this long", at_least=0.0, at_most=5.0)
    confirm_hits: int = param(3, "and has been seen this often", at_least=1, at_most=100)
    min_existence: float = param(0.5, "and is believed at least this much", at_least=0.0, at_most=1.0)
    max_speed_mps: float = param(12.0, "nothing tracked is faster (a cyclist going downhill)", at_least=0.5, at_most=50.0)
    acceleration_mps2: float = param(1.5, "random acceleration acting over one second, standard deviation", at_least=0.05, at_most=20.0)
    position_noise_m: float = param(0.12, "standard deviation of a detected position", at_least=0.01, at_most=2.0)
    birth_speed_mps: float = param(2.0, "standard deviation of the unknown velocity of a new track", at_least=0.1, at_most=20.0)
    gate: float = param(13.8, "squared Mahalanobis gate; 13.8 keeps 99.9 % of true pairs", at_least=1.0, at_most=100.0)
    max_tracks: int = param(300, "tracks kept at most; the least believed go first", at_least=1, at_most=5000)

    def __post_init__(self) -> None:
        validate(self)


@dataclass(frozen=True)
class _State(Rows):
    """P tracks; every update makes a new one."""

    ids: NDArray[np.int64]  # (P,)
    mean: FloatArray  # (P, 4) x, y, vx, vy
    covariance: FloatArray  # (P, 4, 4)
    logit: FloatArray  # (P,) belief from shape and misses
    radii_m: FloatArray  # (P,)
    hits: NDArray[np.intp]  # (P,)
    first_s: FloatArray  # (P,) time of the first detection
    seen_s: FloatArray  # (P,) time of the last detection
    seen_m: FloatArray  # (P, 2) where that was
    path_m: FloatArray  # (P, L, 2) filtered positions at the remembered times, NaN before birth

    def __len__(self) -> int:
        return len(self.ids)


class PeopleTracker:
    """One `update` a sweep, in order of time."""

    def __init__(self, config: TrackingConfig | None = None) -> None:
        self.config = config or TrackingConfig()
        self._next_id = 1
        self.reset()

    def reset(self) -> None:
        """Forget all people (time jumped back, localisation jumped). Ids go on counting: none is ever used for two people."""
        self._start_ns: int | None = None  # seconds count from here, so that float keeps its precision on wall-clock stamps
        self._times_s = np.zeros(0)
        self._tracks = self._born(np.zeros((0, 2)), np.zeros(0), np.zeros(0), 0.0)

    def update(self, stamp_ns: int, positions_m: FloatArray, radii_m: FloatArray, scores: FloatArray) -> TrackedPeople:
        """Take in (M, 2) positions in odom, (M,) footprint radii and (M,) scores 0-1 seen at `stamp_ns`; say who is there now.

        Raises ValueError when the stamp lies before the last one (call `reset` first) or when the lengths differ.
        """
        positions_m = np.asarray(positions_m, dtype=np.float64).reshape(-1, 2)
        if not len(positions_m) == len(radii_m) == len(scores):
            raise ValueError(f"positions, radii and scores must have one length, got {len(positions_m)}, {len(radii_m)}, {len(scores)}")
        now_s, dt_s = self._advance(stamp_ns)
        track, detection = self._associate(positions_m, now_s)
        self._correct(track, positions_m[detection], np.asarray(radii_m)[detection], np.asarray(scores)[detection], now_s, dt_s)
        free = np.setdiff1d(np.arange(len(positions_m)), detection)
        born = self._born(positions_m[free], np.asarray(radii_m)[free], np.asarray(scores)[free], now_s)
        self._tracks = self._prune(self._tracks.join(born), now_s)
        return self._report(now_s)

    def _advance(self, stamp_ns: int) -> tuple[float, float]:
        """Predict all tracks to now; returns now and the time since the last update."""
        if self._start_ns is None:
            self._start_ns = stamp_ns
        now_s = (stamp_ns - self._start_ns) / NANOSECONDS
        dt_s = now_s - self._times_s[-1] if len(self._times_s) else 0.0
        if dt_s < 0:
            raise ValueError(f"stamp {stamp_ns} lies {-dt_s:.3f} s before the last update; call reset() when time jumps back")
        mean, covariance = kalman.predict(self._tracks.mean, self._tracks.covariance, dt_s, self.config.acceleration_mps2)
        # One moment older than the history reaches is kept, to interpolate the oldest step.
        oldest_s = now_s - max(self.config.dt_s * (self.config.history_steps - 1), MOTION_TIME_S)
        first = max(int(np.searchsorted(self._times_s, oldest_s, side="right")) - 1, 0)
        self._times_s = np.append(self._times_s[first:], now_s)
        path = np.concatenate([self._tracks.path_m[:, first:], mean[:, None, :2]], axis=1)
        self._tracks = replace(self._tracks, mean=mean, covariance=covariance, path_m=path)
        return now_s, dt_s

    def _associate(self, positions_m: FloatArray, now_s: float) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """Pairs (track, detection) of greatest joint likelihood, all within the gate and the speed limit."""
        tracks, config = self._tracks, self.config
        distance, log_volume = kalman.distances(tracks.mean, tracks.covariance, positions_m, config.position_noise_m)
        moved = np.hypot(*(positions_m[None] - tracks.seen_m[:, None]).transpose(2, 0, 1))
        reach = config.max_speed_mps * (now_s - tracks.seen_s) + 3 * config.position_noise_m
        allowed = (distance < config.gate) & (moved < reach[:, None])
        # The likelihood, not the bare distance: a vague track must not take the detection of a certain one.
        track, detection = linear_sum_assignment(np.where(allowed, distance + log_volume[:, None], UNKNOWN_FAR))
        kept = allowed[track, detection]
        return track[kept], detection[kept]

    def _correct(self, track: NDArray, positions_m: FloatArray, radii_m: FloatArray, scores: FloatArray, now_s: float, dt_s: float) -> None:
        """Update the tracks that were seen; the others lose belief at the rate that ends it after `coast_s`."""
        old, config = self._tracks, self.config
        mean, covariance, path = old.mean.copy(), old.covariance.copy(), old.path_m.copy()
        mean[track], covariance[track] = kalman.correct(mean[track], covariance[track], positions_m, config.position_noise_m)
        path[:, -1] = mean[:, :2]
        seen_s, seen_m, hits, radii = old.seen_s.copy(), old.seen_m.copy(), old.hits.copy(), old.radii_m.copy()
        seen_s[track], seen_m[track] = now_s, positions_m
        hits[track] += 1
        radii[track] += 0.2 * (radii_m - radii[track])
        # What was never confirmed and is missed at once was most likely clutter.
        rate = np.where(old.hits < config.confirm_hits, 3.0, 1.0) * LARGEST_LOGIT / config.coast_s
        logit = old.logit - rate * dt_s
        renewal = 1.0 - np.exp(-dt_s / SHAPE_TIME_S)
        logit[track] = old.logit[track] + renewal * (_logit(scores) - old.logit[track])
        self._tracks = replace(
            old, mean=mean, covariance=covariance, path_m=path, seen_s=seen_s, seen_m=seen_m, hits=hits, radii_m=radii, logit=logit
        )

    def _born(self, positions_m: FloatArray, radii_m: FloatArray, scores: FloatArray, now_s: float) -> _State:
        """New tracks, standing still as far as is known. Their ids are given out when they are first reported."""
        count, config = len(positions_m), self.config
        spread = np.array([config.position_noise_m] * 2 + [config.birth_speed_mps] * 2)
        path = np.full((count, len(self._times_s), 2), np.nan)
        path[:, -1:] = positions_m[:, None]
        ids = np.zeros(count, dtype=np.int64)
        mean = np.concatenate([positions_m, np.zeros((count, 2))], axis=1)
        covariance = np.tile(np.diag(spread**2), (count, 1, 1))
        time = np.full(count, now_s)
        return _State(ids, mean, covariance, _logit(scores), radii_m, np.ones(count, dtype=np.intp), time, time, positions_m, path)

    def _prune(self, tracks: _State, now_s: float) -> _State:
        """Drop what was hidden too long, was never confirmed and is missed, or moves as nothing on foot or wheels does."""
        hidden_s = now_s - tracks.seen_s
        tentative = tracks.hits < self.config.confirm_hits
        limit_s = np.where(tentative, 0.25 * self.config.coast_s, self.config.coast_s)
        speed = np.hypot(tracks.mean[:, 2], tracks.mean[:, 3])
        tracks = tracks.take((hidden_s <= limit_s) & (speed < 1.5 * self.config.max_speed_mps))
        if len(tracks) > self.config.max_tracks:
            tracks = tracks.take(np.sort(np.argsort(-tracks.logit, kind="stable")[: self.config.max_tracks]))
        return tracks

    def _report(self, now_s: float) -> TrackedPeople:
        config = self.config
        existence = 1.0 / (1.0 + np.exp(-(self._tracks.logit + self._motion_logit(now_s))))
        followed = self._tracks.seen_s - self._tracks.first_s >= config.confirm_s
        shown = followed & (self._tracks.hits >= config.confirm_hits) & (existence >= config.min_existence)
        nameless = shown & (self._tracks.ids == 0)
        ids = self._tracks.ids.copy()
        ids[nameless] = self._next_id + np.arange(nameless.sum())
        self._next_id += int(nameless.sum())
        self._tracks = replace(self._tracks, ids=ids)
        people = self._tracks.take(shown)
        history = self._history(people.path_m, now_s)
        return TrackedPeople(people.ids, people.mean[:, :2], people.mean[:, 2:], existence[shown], people.radii_m, history)

    def _motion_logit(self, now_s: float) -> FloatArray:
        """(P,) evidence from how far and how straight each track came in the last MOTION_TIME_S; none in the first half of that.

        A piece of wall that is cut differently in every sweep jumps to and fro, a person gets somewhere.
        """
        path = self._tracks.path_m
        recent = self._times_s >= now_s - MOTION_TIME_S
        known = np.isfinite(path[:, :, 0]) & recent
        oldest = known.argmax(axis=1)
        moved = np.hypot(*(path[:, -1] - path[np.arange(len(path)), oldest]).T)
        age_s = now_s - self._times_s[oldest]
        steps = np.where((known[:, 1:] & known[:, :-1])[..., None], np.diff(path, axis=1), 0.0)
        straight = moved / np.maximum(np.hypot(steps[..., 0], steps[..., 1]).sum(axis=1), 1e-6)
        moving = np.clip(moved / MOVED_M - 0.5, 0.0, 1.0) * np.clip((straight - 0.5) / 0.3, 0.0, 1.0)
        certainty = np.clip(2 * age_s / MOTION_TIME_S - 1.0, 0.0, 1.0)
        return MOVING_LOGIT * moving + STANDING_LOGIT * (1.0 - moving) * certainty

    def _history(self, path_m: FloatArray, now_s: float) -> Tracks:
        """Positions at now - k dt_s, oldest first, linear between updates."""
        config = self.config
        wanted_s = now_s - config.dt_s * np.arange(config.history_steps - 1, -1, -1)
        after = np.clip(np.searchsorted(self._times_s, wanted_s - 1e-9), 0, len(self._times_s) - 1)
        before = np.maximum(after - 1, 0)
        gap_s = self._times_s[after] - self._times_s[before]
        share = np.clip((wanted_s - self._times_s[before]) / np.where(gap_s > 0, gap_s, 1.0), 0.0, 1.0)
        share = np.where(gap_s > 0, share, 1.0)[None, :, None]
        # NaN before birth survives the sum, except that 0 * NaN must not spoil a step that falls on an update.
        start = np.where(share < 1.0, path_m[:, before], path_m[:, after])
        positions = (1.0 - share) * start + share * path_m[:, after]
        remembered = wanted_s >= self._times_s[0] - 1e-9
        valid = np.isfinite(positions[..., 0]) & remembered[None]
        return Tracks(np.where(valid[..., None], positions, 0.0), valid, config.dt_s)


def _logit(probability: FloatArray) -> FloatArray:
    clipped = np.clip(probability, 1e-6, 1 - 1e-6)
    return np.clip(np.log(clipped / (1.0 - clipped)), -LARGEST_LOGIT, LARGEST_LOGIT)
