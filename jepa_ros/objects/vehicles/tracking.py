"""Vehicles over time: boxes that grow as more is seen, filters of constant turn rate and acceleration, existence by evidence. In odom.

What moves has both its ends move: a parked car of which more is seen from sweep to sweep has one end stay. All tracks live in one set of
arrays. Axes: P tracks, M detections, N pairs of both, L remembered updates.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from jepa_ros.config import param, validate
from jepa_ros.movers import TrackedVehicles, VehicleDetections
from jepa_ros.objects.struct_of_arrays import StructOfArrays
from jepa_ros.objects.track_state import LARGEST_LOGIT, elapsed_s, logit_of, standing
from jepa_ros.objects.vehicles import motion
from jepa_ros.objects.vehicles.box_measurement import Measured, measured
from jepa_ros.objects.vehicles.boxes import LENGTH, YAW, moved, overlaps, vectors
from jepa_ros.objects.vehicles.motion import ACCELERATION, SPEED, YAW_RATE
from jepa_ros.objects.vehicles.position_history import PositionHistory
from jepa_ros.objects.vehicles.proposals import grown
from jepa_ros.types import FloatArray

FIRST_ID = 1_000_001  # people's ids count from 1
SHAPE_TIME_S = 0.6  # what sweeps say of a shape is averaged over this time: each is not new evidence
MEMORY_S, JUDGED_AFTER_S = 1.0, 0.35  # motion is judged over up to this time, once it is known for so long
PROGRESS = 0.35  # both ends of what moves have come at least this share of the way that its speed says
STANDS_MPS, SLOW_MPS = 0.3, 0.3  # deviation of the speed of what was found to stand; what is slower is not asked
STALLED_RENEWAL = 0.3  # one sweep in which something before it hides an end does not stop a vehicle
GROW, SHRINK = 0.35, 0.01  # shares of the difference between a size that is seen and the believed one, taken over in a sweep
SMALLEST_M = (3.4, 1.5)  # length and width of a vehicle, of which there may be more than is seen
REACH_M = 1.0  # beyond what the speed limit allows, a detection may lie this far from a track
UNKNOWN_FAR = 1e6  # cost of a pair that cannot be


@dataclass(frozen=True)
class VehicleTrackingConfig:
    """How vehicles are followed, believed and dropped."""

    coast_s: float = param(1.2, "a vehicle that is not detected any more is kept for at most this long", at_least=0.1, at_most=10.0)
    confirm_s: float = param(0.15, "a vehicle is reported once it has been followed for this long", at_least=0.0, at_most=5.0)
    confirm_logit: float = param(4.0, "a track is reported once the log-odds of its detections add up to this", at_least=0.0, at_most=100.0)
    min_existence: float = param(0.5, "a track is reported only if it exists with at least this probability", at_least=0.0, at_most=1.0)
    max_speed_mps: float = param(40.0, "nothing tracked is faster", at_least=1.0, at_most=100.0)
    birth_speed_mps: float = param(6.0, "standard deviation of the unknown speed of a new track", at_least=0.1, at_most=40.0)
    birth_score: float = param(0.3, "a detection that scores less begins no track", at_least=0.0, at_most=1.0)
    gate: float = param(20.0, "squared Mahalanobis gate of the position and heading", at_least=1.0, at_most=200.0)
    max_tracks: int = param(100, "largest number of tracks; the least likely are dropped first", at_least=1, at_most=2000)

    def __post_init__(self) -> None:
        validate(self)


@dataclass(frozen=True)
class VehicleState(StructOfArrays):
    """P tracks; every update makes a new one."""

    ids: NDArray[np.int64]  # (P,) 0 until it is first reported
    mean: FloatArray  # (P, 6) see `motion`
    covariance: FloatArray  # (P, 6, 6)
    size_m: FloatArray  # (P, 2) length, width
    heights_m: FloatArray  # (P,)
    logit: FloatArray  # (P,) belief from shape and misses
    gathered: FloatArray  # (P,) log-odds of its detections, added up
    first_s: FloatArray  # (P,) time of the first detection
    seen_s: FloatArray  # (P,) time of the last
    stalled: FloatArray  # (P,) 0-1: how often of late its ends did not come along with its speed
    ends_m: FloatArray  # (P, L, 2, 2) front and rear end as they were seen at the remembered times, NaN where they were not

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def boxes(self) -> FloatArray:
        """(P, 5)"""
        return np.concatenate((self.mean[:, :3], self.size_m), axis=1)


class VehicleTracker:
    """One `update` a sweep, in order of time."""

    def __init__(self, config: VehicleTrackingConfig | None = None) -> None:
        self.config = config or VehicleTrackingConfig()
        self._next_id = FIRST_ID
        self.reset()

    def reset(self) -> None:
        """Forget all vehicles (time jumped back, localisation jumped). Ids go on counting."""
        self._start_ns: int | None = None
        self._times_s = np.zeros(0)
        self._past = PositionHistory()
        self._tracks = self._born(VehicleDetections(), np.zeros(0, np.intp), 0.0)

    def follow(self, stamp_ns: int, seen: VehicleDetections, odom_from_anchor: FloatArray) -> TrackedVehicles:
        """`update` with what was detected in the anchor frame, whose pose in odom is (4, 4)."""
        lidar_m = seen.lidar_m @ odom_from_anchor[:2, :2].T + odom_from_anchor[:2, 3]
        return self.update(stamp_ns, replace(seen, boxes=moved(seen.boxes, odom_from_anchor), lidar_m=lidar_m))

    def update(self, stamp_ns: int, seen: VehicleDetections) -> TrackedVehicles:
        """Take in detections in odom; say which vehicles are there now. Raises ValueError when the stamp lies before the last one."""
        now_s, dt_s = self._advance(stamp_ns)
        spread_m = np.sqrt(0.5 * (self._tracks.covariance[:, 0, 0] + self._tracks.covariance[:, 1, 1]))
        pairs = measured(self._tracks.boxes, seen.boxes, seen.lidar_m, spread_m)
        track, detection = self._associate(pairs, seen, now_s)
        self._correct(track, detection, pairs, seen, now_s, dt_s)
        self._judge_motion(track, now_s)
        free = seen.scores >= self.config.birth_score
        free[detection] = False
        if free.any():
            self._tracks = self._tracks.join(self._born(seen, np.flatnonzero(free), now_s))
        self._tracks = self._prune(self._tracks, now_s)
        return self._report(now_s)

    def _advance(self, stamp_ns: int) -> tuple[float, float]:
        """Predict everything to `stamp_ns`: now, and how long after the last sweep."""
        self._start_ns = stamp_ns if self._start_ns is None else self._start_ns
        now_s, dt_s = elapsed_s(stamp_ns, self._start_ns, self._times_s)
        tracks = self._tracks
        mean, covariance = motion.predict(tracks.mean, tracks.covariance, dt_s) if dt_s > 0 else (tracks.mean, tracks.covariance)
        first = int(np.searchsorted(self._times_s, now_s - MEMORY_S))
        self._times_s = np.append(self._times_s[first:], now_s)
        ends = np.concatenate((tracks.ends_m[:, first:], np.full((len(tracks), 1, 2, 2), np.nan)), axis=1)
        self._tracks = tracks.changed(mean=mean, covariance=covariance, ends_m=ends)
        return now_s, dt_s

    def _associate(self, pairs: Measured, seen: VehicleDetections, now_s: float) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """Pairs (track, detection) of greatest joint likelihood and overlap."""
        tracks, config = self._tracks, self.config
        count, others = len(tracks), len(seen.boxes)
        if not count or not others:
            return np.zeros(0, np.intp), np.zeros(0, np.intp)
        innovation = pairs.poses - tracks.mean[:, None, :3]
        moved_m = np.hypot(innovation[..., 0], innovation[..., 1])
        reach = REACH_M + config.max_speed_mps * (now_s - tracks.seen_s)
        within = moved_m < reach[:, None]
        pair = np.nonzero(within)  # the rest of the pairs need no more
        off, spread = innovation[pair], tracks.covariance[pair[0], :3, :3] + pairs.noise[pair]
        off[:, YAW] = motion.wrapped(off[:, YAW])
        distance = (off * np.linalg.solve(spread, off[..., None])[..., 0]).sum(axis=-1)
        volume = np.linalg.slogdet(spread)[1]
        shared = overlaps(tracks.boxes, grown(seen.boxes, seen.lidar_m), within)[pair]
        allowed = (distance < config.gate) & ((shared > 0.05) | (moved_m[pair] < np.minimum(reach, 3.0)[pair[0]]))
        cost = np.full((count, others), UNKNOWN_FAR)
        cost[pair] = np.where(allowed, distance + volume - 4 * np.log(shared + 0.05), UNKNOWN_FAR)
        track, detection = linear_sum_assignment(cost)
        kept = cost[track, detection] < UNKNOWN_FAR
        return track[kept], detection[kept]

    def _correct(
        self, track: NDArray[np.intp], detection: NDArray[np.intp], pairs: Measured, seen: VehicleDetections, now_s: float, dt_s: float
    ) -> None:
        """Update the tracks that were seen; the others lose belief at the rate that ends it after `coast_s`."""
        old, config = self._tracks, self.config
        rate = np.where(old.gathered < config.confirm_logit, 3.0, 1.0) * LARGEST_LOGIT / config.coast_s
        logit = old.logit - rate * dt_s
        mean, covariance, size, heights = old.mean.copy(), old.covariance.copy(), old.size_m.copy(), old.heights_m.copy()
        gathered, seen_s, ends = old.gathered.copy(), old.seen_s.copy(), old.ends_m.copy()
        if len(track):
            own = pairs.take(track, detection)
            mean[track], covariance[track] = motion.correct(mean[track], covariance[track], own.poses, own.noise)
            ends[track, -1] = own.ends_m
            difference = own.size_m - size[track]
            size[track] = np.maximum(size[track] + np.where(difference > 0, GROW, SHRINK) * difference, SMALLEST_M)
            said = logit_of(seen.scores[detection])
            renewal = 1.0 - np.exp(-dt_s / SHAPE_TIME_S)
            logit[track] = old.logit[track] + renewal * (said - old.logit[track])
            gathered[track] += np.maximum(said, 0.0)
            heights[track] += 0.3 * (seen.heights_m[detection] - heights[track])
            seen_s[track] = now_s
        backwards = mean[:, SPEED] < -2.0 * np.sqrt(covariance[:, SPEED, SPEED]) - 0.5
        if backwards.any():
            mean, covariance = motion.turned_round(mean, covariance, backwards)
            ends = np.where(backwards[:, None, None, None], ends[:, :, ::-1], ends)
        new = {"mean": mean, "covariance": covariance, "size_m": size, "heights_m": heights, "ends_m": ends}
        self._tracks = old.changed(**new, logit=logit, gathered=gathered, seen_s=seen_s)

    def _judge_motion(self, track: NDArray[np.intp], now_s: float) -> None:
        """Whose ends did not both come along with the speed that the filter believes stands, and loses it."""
        tracks = self._tracks
        if not len(track):
            return
        known = np.isfinite(tracks.ends_m[track, :, 0, 0]) & (self._times_s <= now_s - JUDGED_AFTER_S)
        then = known.argmax(axis=1)
        ago_s = now_s - self._times_s[then]
        way_m = tracks.ends_m[track, -1] - tracks.ends_m[track, then]  # (N, 2 ends, 2)
        heading, speed = tracks.mean[track, YAW], tracks.mean[track, SPEED]
        along = way_m[..., 0] * np.cos(heading)[:, None] + way_m[..., 1] * np.sin(heading)[:, None]
        expected = speed * ago_s
        progress = (along * np.sign(speed)[:, None]).min(axis=1) / np.maximum(np.abs(expected), 1e-6)
        asked = known.any(axis=1) & (np.abs(speed) > SLOW_MPS)
        stalled = tracks.stalled.copy()
        stalled[track[asked]] += STALLED_RENEWAL * ((progress < PROGRESS)[asked] - stalled[track[asked]])
        tracks = self._tracks = tracks.changed(stalled=stalled)
        stands = track[asked & (progress < PROGRESS) & (stalled[track] > 0.5)]
        if len(stands):
            mean, covariance = tracks.mean.copy(), tracks.covariance.copy()
            noise = np.tile(np.diag([STANDS_MPS**2, 0.1**2]), (len(stands), 1, 1))
            wanted = np.array([SPEED, YAW_RATE])
            mean[stands], covariance[stands] = motion.correct(mean[stands], covariance[stands], np.zeros((len(stands), 2)), noise, wanted)
            self._tracks = tracks.changed(mean=mean, covariance=covariance)

    def _born(self, seen: VehicleDetections, which: NDArray[np.intp], now_s: float) -> VehicleState:
        """New tracks, standing still as far as is known."""
        count = len(which)
        whole = grown(seen.boxes[which], seen.lidar_m)
        mean = np.concatenate((whole[:, :3], np.zeros((count, 3))), axis=1)
        heading = np.where(seen.boxes[which, LENGTH] > 2.5, 0.15, 0.5)
        spread = np.tile(np.array([0.5, 0.5, 0.0, self.config.birth_speed_mps, 1.0, 0.2]), (count, 1))
        spread[:, YAW] = heading
        logit = logit_of(seen.scores[which])
        ends = np.full((count, len(self._times_s), 2, 2), np.nan)
        time = np.full(count, now_s)
        return VehicleState(
            np.zeros(count, np.int64),
            mean,
            spread[:, :, None] ** 2 * np.eye(6),
            whole[:, LENGTH:],
            seen.heights_m[which],
            logit,
            np.maximum(logit, 0.0),
            time,
            time,
            np.full(count, 0.5),
            ends,
        )

    def _prune(self, tracks: VehicleState, now_s: float) -> VehicleState:
        """Drop what was hidden too long, was never confirmed and is missed, is faster than anything, or is tracked twice."""
        tentative = tracks.gathered < self.config.confirm_logit
        limit_s = np.where(tentative, 0.35 * self.config.coast_s, self.config.coast_s)
        keep = (now_s - tracks.seen_s <= limit_s) & (np.abs(tracks.mean[:, SPEED]) < 1.5 * self.config.max_speed_mps)
        tracks = tracks.take(keep)
        worth = tracks.gathered + tracks.logit
        worse = (worth[:, None] < worth) | ((worth[:, None] == worth) & (np.arange(len(worth))[:, None] > np.arange(len(worth))))
        twice = np.flatnonzero((overlaps(tracks.boxes, tracks.boxes, worse) > 0.3).any(axis=1))
        if len(twice):
            tracks = tracks.take(np.delete(np.arange(len(tracks)), twice))
        if len(tracks) > self.config.max_tracks:
            tracks = tracks.take(np.sort(np.argsort(-tracks.logit, kind="stable")[: self.config.max_tracks]))
        return tracks

    def _report(self, now_s: float) -> TrackedVehicles:
        tracks, config = self._tracks, self.config
        existence = 1.0 / (1.0 + np.exp(-tracks.logit))
        followed = tracks.seen_s - tracks.first_s >= config.confirm_s
        shown = followed & (tracks.gathered >= config.confirm_logit) & (existence >= config.min_existence)
        nameless = shown & (tracks.ids == 0)
        ids = tracks.ids.copy()
        ids[nameless] = self._next_id + np.arange(nameless.sum())
        self._next_id += int(nameless.sum())
        self._tracks = tracks.changed(ids=ids)
        own = self._tracks.take(shown)
        stand = standing(own.mean[:, SPEED], own.covariance[:, SPEED, SPEED], config.birth_speed_mps) > 0.5
        states = own.mean.copy()
        for entry in (SPEED, ACCELERATION, YAW_RATE):
            states[stand, entry] = 0.0
        heading, speed = states[:, YAW], states[:, SPEED]
        velocity = speed[:, None] * vectors(np.cos(heading), np.sin(heading))
        past_m = self._past.add(now_s, own.ids, own.mean[:, :2])
        told = (own.ids, own.boxes, velocity, states[:, YAW_RATE], existence[shown], own.heights_m, states, own.covariance, past_m)
        return TrackedVehicles(*told)
