"""Tracks people: constant-velocity Kalman filters, gated assignment and an existence probability per track, in the odom frame.

All tracks live in one set of arrays, so that a crowd costs little more than one person. Axes: P tracks, M detections, L remembered updates.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from jepa_ros.config import param, validate
from jepa_ros.objects import kalman
from jepa_ros.objects.time_steps import HISTORY, STEP_S, positions_at
from jepa_ros.objects.track_state import LARGEST_LOGIT, TrackState, cycling, elapsed_s, logit_of, standing
from jepa_ros.types import Detections, FloatArray, Sight, TrackedPeople, Tracks

FREED_TIME_S = 0.4  # what sight lines say of a motion is averaged over this time
FREED_FROM_M, FREED_RIDING_M = 0.5, 1.4  # a shorter way than this leaves a body, or a bicycle, partly where it was
STANDS_MPS = 0.25  # standard deviation of the speed of what was seen to stand
# Evidence for a person, in log-odds. The shape seen in sweep after sweep is not new evidence each time, so it is averaged over
# SHAPE_TIME_S instead of summed. Motion is evidence that no pole or wall gives; standing still speaks against, but people wait too.
SHAPE_TIME_S = 0.6
LOOKED_TIME_S = 1.0  # the same of what cameras say
MOVING_LOGIT = 1.2
STANDING_LOGIT = -1.8
MOTION_TIME_S = 1.2  # motion is judged over this time
MOVED_M = 0.5  # a slow walk over MOTION_TIME_S; the centre of a static column seen from a moving robot shifts by less
MAY_RIDE = 0.3  # who looks this much like a rider may be faster than `max_walking_mps`
UNKNOWN_FAR = 1e6  # cost of a pair outside the gate


@dataclass(frozen=True)
class TrackingConfig:
    """How tracks are born, followed, believed and dropped."""

    dt_s: float = param(STEP_S, "step of the history that forecasters read", at_least=0.01, at_most=5.0)
    history_steps: int = param(HISTORY, "steps of that history, the newest is now", at_least=1, at_most=100)
    coast_s: float = param(1.2, "a track that is not detected any more is kept for at most this long", at_least=0.1, at_most=10.0)
    confirm_s: float = param(0.15, "a track is reported once it has been followed for this long", at_least=0.0, at_most=5.0)
    confirm_logit: float = param(5.5, "a track is reported once the log-odds of its detections add up to this", at_least=0.0, at_most=100.0)
    max_walking_mps: float = param(4.0, "a faster person is reported only if they look like a rider", at_least=0.5, at_most=20.0)
    min_existence: float = param(0.5, "a track is reported only if it exists with at least this probability", at_least=0.0, at_most=1.0)
    max_speed_mps: float = param(12.0, "nothing tracked is faster (a cyclist going downhill)", at_least=0.5, at_most=50.0)
    acceleration_mps2: float = param(1.5, "random acceleration acting over one second, standard deviation", at_least=0.05, at_most=20.0)
    position_noise_m: float = param(0.12, "standard deviation of a detected position", at_least=0.01, at_most=2.0)
    birth_speed_mps: float = param(2.0, "standard deviation of the unknown velocity of a new track", at_least=0.1, at_most=20.0)
    gate: float = param(13.8, "squared Mahalanobis gate; 13.8 keeps 99.9 % of true pairs", at_least=1.0, at_most=100.0)
    max_tracks: int = param(300, "largest number of tracks; the least likely are dropped first", at_least=1, at_most=5000)

    def __post_init__(self) -> None:
        validate(self)


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
        self._sights: list[Sight | None] = []  # one for each of the times
        self._tracks = self._born(np.zeros((0, 2)), np.zeros(0), np.zeros(0), np.zeros(0), 0.0, np.zeros(0))

    def follow(self, stamp_ns: int, seen: Detections, odom_from_anchor: FloatArray) -> TrackedPeople:
        """`update` with what was detected in the anchor frame, whose pose in odom is (4, 4)."""
        positions_m = seen.positions_m @ odom_from_anchor[:2, :2].T + odom_from_anchor[:2, 3]
        sight = None if seen.sight is None else seen.sight.placed(odom_from_anchor)
        return self.update(stamp_ns, positions_m, seen.radii_m, seen.scores, seen.riding, sight, seen.camera)

    def update(
        self,
        stamp_ns: int,
        positions_m: FloatArray,
        radii_m: FloatArray,
        scores: FloatArray,
        riding: FloatArray | None = None,
        sight: Sight | None = None,
        camera: FloatArray | None = None,
    ) -> TrackedPeople:
        """Take in (M, 2) positions in odom, (M,) footprint radii and (M,) scores 0-1 seen at `stamp_ns`; say who is there now.

        `riding`: (M,) 0-1, how much each looks like a rider; without it nobody is too fast for a person.
        `sight`: what was free and what was not, in odom; without it motion is believed as far as it is steady.
        `camera`: (M,) log-odds that a camera adds; NaN = none looked.

        Raises ValueError when the stamp lies before the last one (call `reset` first) or when the lengths differ.
        """
        positions_m = np.asarray(positions_m, dtype=np.float64).reshape(-1, 2)
        if not len(positions_m) == len(radii_m) == len(scores):
            raise ValueError(f"positions, radii and scores must have one length, got {len(positions_m)}, {len(radii_m)}, {len(scores)}")
        radii_m, scores = np.asarray(radii_m), np.asarray(scores)
        riding = np.ones(len(scores)) if riding is None else np.asarray(riding)
        camera = np.full(len(scores), np.nan) if camera is None else np.asarray(camera)
        now_s, dt_s = self._advance(stamp_ns)
        self._sights = [*self._sights, sight][-len(self._times_s) :]
        track, detection = self._associate(positions_m, now_s)
        self._look_through_cameras(track, camera[detection], now_s)
        self._correct(track, positions_m[detection], radii_m[detection], scores[detection], riding[detection], now_s, dt_s)
        self._gather(track, scores[detection], camera[detection])
        self._look_again(track, now_s, dt_s)
        free = np.ones(len(positions_m), bool)
        free[detection] = False
        if free.any():
            self._tracks = self._tracks.join(self._born(positions_m[free], radii_m[free], scores[free], riding[free], now_s, camera[free]))
        self._tracks = self._prune(self._tracks, now_s)
        return self._report(now_s)

    def _advance(self, stamp_ns: int) -> tuple[float, float]:
        """Predict all tracks to now; returns now and the time since the last update."""
        if self._start_ns is None:
            self._start_ns = stamp_ns
        now_s, dt_s = elapsed_s(stamp_ns, self._start_ns, self._times_s)
        mean, covariance = kalman.predict(self._tracks.mean, self._tracks.covariance, dt_s, self.config.acceleration_mps2)
        # One moment older than the history reaches is kept, to interpolate the oldest step.
        oldest_s = now_s - max(self.config.dt_s * (self.config.history_steps - 1), MOTION_TIME_S)
        first = max(int(np.searchsorted(self._times_s, oldest_s, side="right")) - 1, 0)
        self._times_s = np.append(self._times_s[first:], now_s)
        path = np.concatenate([self._tracks.path_m[:, first:], mean[:, None, :2]], axis=1)
        self._tracks = self._tracks.changed(mean=mean, covariance=covariance, path_m=path)
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

    def _correct(
        self,
        track: NDArray,
        positions_m: FloatArray,
        radii_m: FloatArray,
        scores: FloatArray,
        riding: FloatArray,
        now_s: float,
        dt_s: float,
    ) -> None:
        """Update the tracks that were seen; the others lose belief at the rate that ends it after `coast_s`."""
        old, config = self._tracks, self.config
        mean, covariance, path = old.mean.copy(), old.covariance.copy(), old.path_m.copy()
        mean[track], covariance[track] = kalman.correct(mean[track], covariance[track], positions_m, config.position_noise_m)
        path[:, -1] = mean[:, :2]
        seen_s, seen_m, radii = old.seen_s.copy(), old.seen_m.copy(), old.radii_m.copy()
        seen_s[track], seen_m[track] = now_s, positions_m
        radii[track] += 0.2 * (radii_m - radii[track])
        # What was never confirmed and is missed at once was most likely clutter.
        rate = np.where(old.gathered < config.confirm_logit, 3.0, 1.0) * LARGEST_LOGIT / config.coast_s
        logit, ride = old.logit - rate * dt_s, old.riding.copy()
        renewal = 1.0 - np.exp(-dt_s / SHAPE_TIME_S)
        logit[track] = old.logit[track] + renewal * (logit_of(scores) - old.logit[track])
        ride[track] += renewal * (riding - ride[track])
        seen = {"seen_s": seen_s, "seen_m": seen_m, "radii_m": radii}
        self._tracks = old.changed(mean=mean, covariance=covariance, path_m=path, logit=logit, riding=ride, **seen)

    def _gather(self, track: NDArray[np.intp], scores: FloatArray, told: FloatArray) -> None:
        """Add up what each detection says: a camera that confirms counts once, one that contradicts counts until it looks again."""
        denied = np.minimum(self._tracks.camera[track], 0.0)
        gathered = self._tracks.gathered.copy()
        gathered[track] += np.maximum(logit_of(scores) + np.where(np.isfinite(told), told, denied), 0.0)
        self._tracks = self._tracks.changed(gathered=gathered)

    def _look_through_cameras(self, track: NDArray[np.intp], told: FloatArray, now_s: float) -> None:
        """Take in (K,) log-odds of the tracks that were just seen, NaN where no camera looked."""
        looked = np.isfinite(told)
        track, told, old = track[looked], told[looked], self._tracks
        camera, looks, looked_s = old.camera.copy(), old.looks.copy(), old.looked_s.copy()
        looks[track] = looks[track] * np.exp((looked_s[track] - now_s) / LOOKED_TIME_S) + 1.0
        camera[track] += (told - camera[track]) / looks[track]
        looked_s[track] = now_s
        self._tracks = old.changed(camera=camera, looks=looks, looked_s=looked_s)

    def _look_again(self, track: NDArray[np.intp], now_s: float, dt_s: float) -> None:
        """Compare the motion of the tracks that were just seen with what the sight lines of then and now show.

        Was there nothing where each is now, is there nothing where it was then? What was found to stand loses its speed.
        """
        tracks, now = self._tracks, self._sights[-1]
        if now is None or not len(track):
            return
        freed = tracks.freed.copy()
        start = self._oldest(tracks.path_m, now_s)[track]
        came_m, is_m = tracks.path_m[track, start], tracks.seen_m[track]
        far = np.hypot(*(is_m - came_m).T) > FREED_FROM_M + (FREED_RIDING_M - FREED_FROM_M) * tracks.riding[track]
        evidence = np.zeros(len(track))
        for moment in np.unique(start[far]):
            then = self._sights[moment]
            if then is not None:
                own = far & (start == moment)
                evidence[own] = 0.5 * (then.free(is_m[own]) + now.free(came_m[own]))
        renewal = 1.0 - np.exp(-dt_s / FREED_TIME_S)
        freed[track[far]] += renewal * (evidence - freed[track])[far]
        stands = track[far & (evidence < 0.0)]
        mean, covariance = tracks.mean.copy(), tracks.covariance.copy()
        mean[stands], covariance[stands] = kalman.slow(mean[stands], covariance[stands], STANDS_MPS)
        self._tracks = tracks.changed(freed=freed, mean=mean, covariance=covariance)

    def _oldest(self, path_m: FloatArray, now_s: float) -> NDArray[np.intp]:
        """(P,) the first moment of each path that is no older than MOTION_TIME_S."""
        recent = self._times_s >= now_s - MOTION_TIME_S
        return (np.isfinite(path_m[:, :, 0]) & recent).argmax(axis=1)

    def _born(
        self, positions_m: FloatArray, radii_m: FloatArray, scores: FloatArray, riding: FloatArray, now_s: float, camera: FloatArray
    ) -> TrackState:
        """New tracks, standing still as far as is known. Their ids are given out when they are first reported."""
        count, config = len(positions_m), self.config
        spread = np.array([config.position_noise_m] * 2 + [config.birth_speed_mps] * 2)
        path = np.full((count, len(self._times_s), 2), np.nan)
        path[:, -1:] = positions_m[:, None]
        ids = np.zeros(count, dtype=np.int64)
        mean = np.concatenate([positions_m, np.zeros((count, 2))], axis=1)
        covariance = np.tile(np.diag(spread**2), (count, 1, 1))
        time, logit, freed = np.full(count, now_s), logit_of(scores), np.zeros(count)
        looks, looked_s, camera = np.isfinite(camera) * 1.0, np.where(np.isfinite(camera), now_s, -np.inf), np.nan_to_num(camera)
        gathered = np.maximum(logit + camera, 0.0)
        return TrackState(
            ids, mean, covariance, logit, radii_m, gathered, riding, freed, camera, looks, looked_s, time, time, positions_m, path
        )

    def _prune(self, tracks: TrackState, now_s: float) -> TrackState:
        """Drop what was hidden too long, was never confirmed and is missed, or moves as nothing on foot or wheels does."""
        hidden_s = now_s - tracks.seen_s
        tentative = tracks.gathered < self.config.confirm_logit
        limit_s = np.where(tentative, 0.25 * self.config.coast_s, self.config.coast_s)
        speed = np.hypot(tracks.mean[:, 2], tracks.mean[:, 3])
        tracks = tracks.take((hidden_s <= limit_s) & (speed < 1.5 * self.config.max_speed_mps))
        if len(tracks) > self.config.max_tracks:
            tracks = tracks.take(np.sort(np.argsort(-tracks.logit, kind="stable")[: self.config.max_tracks]))
        return tracks

    def _report(self, now_s: float) -> TrackedPeople:
        config = self.config
        existence = 1.0 / (1.0 + np.exp(-(self._tracks.logit + self._motion_logit(now_s) + self._tracks.camera)))
        followed = self._tracks.seen_s - self._tracks.first_s >= config.confirm_s
        speed = np.hypot(self._tracks.mean[:, 2], self._tracks.mean[:, 3])
        on_foot_or_riding = (speed < config.max_walking_mps) | (self._tracks.riding > MAY_RIDE)
        shown = followed & (self._tracks.gathered >= config.confirm_logit) & (existence >= config.min_existence) & on_foot_or_riding
        nameless = shown & (self._tracks.ids == 0)
        ids = self._tracks.ids.copy()
        ids[nameless] = self._next_id + np.arange(nameless.sum())
        self._next_id += int(nameless.sum())
        self._tracks = self._tracks.changed(ids=ids)
        people = self._tracks.take(shown)
        history = self._history(people.path_m, now_s)
        riding = cycling(speed[shown], people.riding)
        variance = 0.5 * (people.covariance[:, 2, 2] + people.covariance[:, 3, 3])
        came_m = np.hypot(*(people.path_m[:, -1] - people.path_m[np.arange(len(people)), self._oldest(people.path_m, now_s)]).T)
        # What a filter does not know the way may tell, and the other way round: who moves by neither stands.
        stands = (standing(speed[shown], variance, config.birth_speed_mps) > 0.5) & (came_m < MOVED_M)
        velocities = np.where(stands[:, None], 0.0, people.mean[:, 2:])
        return TrackedPeople(people.ids, people.mean[:, :2], velocities, existence[shown], people.radii_m, history, riding)

    def _motion_logit(self, now_s: float) -> FloatArray:
        """(P,) evidence from how far and how straight each track came in the last MOTION_TIME_S; none in the first half of that.

        A piece of wall that is cut differently in every sweep jumps to and fro, a person gets somewhere.
        """
        path = self._tracks.path_m
        known = np.isfinite(path[:, :, 0]) & (self._times_s >= now_s - MOTION_TIME_S)
        oldest = self._oldest(path, now_s)
        moved = np.hypot(*(path[:, -1] - path[np.arange(len(path)), oldest]).T)
        age_s = now_s - self._times_s[oldest]
        steps = np.where((known[:, 1:] & known[:, :-1])[..., None], np.diff(path, axis=1), 0.0)
        straight = moved / np.maximum(np.hypot(steps[..., 0], steps[..., 1]).sum(axis=1), 1e-6)
        moving = np.clip(moved / MOVED_M - 0.5, 0.0, 1.0) * np.clip((straight - 0.5) / 0.3, 0.0, 1.0)
        moving = moving * np.clip(1.0 + 2.0 * self._tracks.freed, 0.0, 1.0)  # against what was seen to stand no steady course helps
        certainty = np.clip(2 * age_s / MOTION_TIME_S - 1.0, 0.0, 1.0)
        return MOVING_LOGIT * moving + STANDING_LOGIT * (1.0 - moving) * certainty

    def _history(self, path_m: FloatArray, now_s: float) -> Tracks:
        """Positions at now - k dt_s, oldest first, linear between updates."""
        wanted_s = now_s - self.config.dt_s * np.arange(self.config.history_steps - 1, -1, -1)
        positions = positions_at(wanted_s, self._times_s, path_m)
        valid = np.isfinite(positions[..., 0])
        return Tracks(np.where(valid[..., None], positions, 0.0), valid, self.config.dt_s)
