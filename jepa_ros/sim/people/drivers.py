"""Drivers who do more than follow their lane: they turn at crossings, give way, overtake, stop at the kerb, weave, and differ.

They set the `Intent` of their vehicles; how these then move is `traffic`. Axes: S instants ahead, V vehicles.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from jepa_ros.sim.people.traffic import Intent, Vehicle
from jepa_ros.sim.places.layout import Lane
from jepa_ros.types import FloatArray

SAME_START_M = 1.0
BRISKNESS, HASTE = (0.75, 1.4), (0.75, 1.15)  # of drivers, and of one driver from one while to the next
MOOD_S = 12.0  # mean length of such a while
STOPS_EVERY_S, STOP_S, KERB_M = 60.0, (3.0, 12.0), -0.5  # cars let somebody out; the last: aside
KEEPS_FROM_TURN_M = 25.0  # nobody stops so shortly before a crossing
WEAVE_M = {"car": (0.03, 0.2), "cyclist": (0.1, 0.45)}  # amplitude across the lane
WEAVE_S = (3.0, 9.0)  # period
SLOW_SHARE, CLOSE_S, CLOSE_M = 0.65, 2.0, 8.0  # what is slower than this share, and so near ahead, is passed
PASS_ROOM_M, PASSED_M, FURTHEST_ASIDE_M = 0.7, 6.0, 4.2
FREE_AHEAD_M, FREE_BEHIND_M = 65.0, 12.0  # where one passes nobody else may be
GIVES_WAY_M, AHEAD_S, ACROSS_M, MARGIN_S = 20.0, 5.0, 1.9, 2.2  # of the way ahead that others may cross, and how near in time
BEFORE_IT_M = 2.5
SLOWEST_MPS = 0.5


@dataclass
class _Mood:
    """What one driver is up to."""

    weave_m: float
    weave_s: float
    phase: float
    haste: float = 1.0
    changes_s: float = 0.0
    stands_until_s: float = -1.0
    passes_m: float = 0.0  # how far aside it drives to pass something


class Drivers:
    """Of all vehicles but the ego."""

    def __init__(self, vehicles: Sequence[Vehicle], lanes: Sequence[Lane], rng: np.random.Generator) -> None:
        """`lanes`: all there are; a vehicle takes one that begins where its own does, each time that it comes in."""
        self._vehicles, self._lanes, self._rng = vehicles, lanes, rng
        self._moods = [_Mood(rng.uniform(*WEAVE_M[v.kind]), rng.uniform(*WEAVE_S), rng.uniform(0, 2 * np.pi)) for v in vehicles]
        for vehicle in vehicles:
            vehicle.briskness = rng.uniform(*BRISKNESS)
            self._choose_way(vehicle)

    def decide(self, everyone: Sequence[Vehicle], time_s: float, dt_s: float) -> None:
        """Set everybody's intent for the next `dt_s`. `everyone`: these vehicles and the ego."""
        for vehicle, mood in zip(self._vehicles, self._moods, strict=True):
            if vehicle.arc_m == 0.0:  # it has come in again
                self._choose_way(vehicle)
                mood.passes_m, vehicle.aside_m, mood.stands_until_s = 0.0, 0.0, -1.0
            if time_s >= mood.changes_s:
                mood.haste = self._rng.uniform(*HASTE)
                mood.changes_s = time_s + self._rng.exponential(MOOD_S)
            others = [other for other in everyone if other is not vehicle]
            if vehicle.kind == "car":
                self._stop_now_and_then(vehicle, mood, time_s, dt_s)
                self._pass(vehicle, mood, others)
            stands = time_s < mood.stands_until_s
            aside = mood.passes_m or (KERB_M if stands else 0.0)
            weave = mood.weave_m * np.sin(2 * np.pi * time_s / mood.weave_s + mood.phase)
            vehicle.intent = Intent(stands, mood.haste, aside + weave, _stop_arc(vehicle, others))

    def _choose_way(self, vehicle: Vehicle) -> None:
        turn = vehicle.lane.path.turns_at_m
        if vehicle.lane.stop_arc_m is None or vehicle.arc_m > min(vehicle.lane.stop_arc_m, turn or np.inf):
            return
        start = vehicle.lane.path.points_m[0]
        ways = [lane for lane in self._lanes if lane.kind == vehicle.kind and np.linalg.norm(lane.path.points_m[0] - start) < SAME_START_M]
        vehicle.lane = ways[self._rng.integers(len(ways))]

    def _stop_now_and_then(self, vehicle: Vehicle, mood: _Mood, time_s: float, dt_s: float) -> None:
        if self._rng.random() > dt_s / STOPS_EVERY_S or time_s < mood.stands_until_s + 5.0 or mood.passes_m:
            return
        stop = vehicle.lane.stop_arc_m
        if stop is None or not -KEEPS_FROM_TURN_M < stop - vehicle.arc_m < 2 * KEEPS_FROM_TURN_M:
            mood.stands_until_s = time_s + self._rng.uniform(*STOP_S)

    def _pass(self, vehicle: Vehicle, mood: _Mood, others: Sequence[Vehicle]) -> None:
        """Pull out where something slow is ahead and the room beside it is free, and in again behind it."""
        path, kind = vehicle.lane.path, vehicle.measures
        if path.turns_at_m is not None and vehicle.arc_m > path.turns_at_m - KEEPS_FROM_TURN_M:
            mood.passes_m = 0.0
            return
        near = [other for other in others if np.abs(other.pose[:2] - vehicle.pose[:2]).max() < FREE_AHEAD_M]
        if not near:
            mood.passes_m = 0.0
            return
        places = np.array([other.pose[:2] for other in near])
        arc, away = path.project(places, max(vehicle.arc_m - FREE_BEHIND_M, 0.0), vehicle.arc_m + FREE_AHEAD_M)
        side, along = path.aside(places, arc), arc - vehicle.arc_m
        on_way = away < FURTHEST_ASIDE_M + 2.0  # else it is beyond the ends of that piece, or in another street
        half = np.array([other.measures.half_width_m for other in near])
        speed = np.array([other.speed_mps * np.cos(other.pose[2] - vehicle.pose[2]) for other in near])
        beside = on_way & (np.abs(side) < kind.half_width_m + half + 0.3) & (along > -PASSED_M)
        if mood.passes_m:
            if not (beside & (along < CLOSE_M + PASSED_M) & (speed < vehicle.wanted_mps)).any():
                mood.passes_m = 0.0
            return
        slow = beside & (along > 0) & (along < CLOSE_M + CLOSE_S * vehicle.speed_mps)
        slow &= (speed > -0.5) & (speed < SLOW_SHARE * mood.haste * vehicle.wanted_mps)
        if not slow.any() or vehicle.speed_mps < SLOWEST_MPS:
            return
        wanted = float((side + half)[slow].max()) + kind.half_width_m + PASS_ROOM_M
        blocked = on_way & ~slow & (np.abs(side - wanted) < kind.half_width_m + half + 0.3) & (along > -FREE_BEHIND_M)
        if not blocked.any() and wanted < FURTHEST_ASIDE_M:
            mood.passes_m = max(wanted, 0.0)


def _stop_arc(vehicle: Vehicle, others: Sequence[Vehicle]) -> float | None:
    """Where a vehicle that turns off gives way to those that come across its way, None where it need not."""
    path = vehicle.lane.path
    turn = path.turns_at_m
    if turn is None or not turn - GIVES_WAY_M < vehicle.arc_m < turn + 0.5 * GIVES_WAY_M:
        return None
    ahead_s = np.arange(0.0, AHEAD_S, 0.25)
    stop = None
    for other in others:
        if other.speed_mps < SLOWEST_MPS or np.abs(other.pose[:2] - vehicle.pose[:2]).max() > 3 * GIVES_WAY_M:
            continue
        if other.lane.path.turns_at_m is not None and other.arc_m < vehicle.arc_m:
            continue  # of two that turn, who is further goes first
        arc_S, away_S = path.project(_will_be(other, ahead_s), vehicle.arc_m + 2.0, vehicle.arc_m + 1.5 * GIVES_WAY_M)
        mine_s = (arc_S - vehicle.arc_m) / max(vehicle.speed_mps, 3.0)
        meets = (away_S < ACROSS_M) & (np.abs(mine_s - ahead_s) < MARGIN_S) & (arc_S > turn)
        if meets.any():
            place = float(arc_S[meets].min()) - vehicle.measures.half_length_m - BEFORE_IT_M
            stop = place if stop is None else min(stop, place)
    if stop is None or stop < vehicle.arc_m - 1.0:  # too late to stop before it
        return None
    return max(stop, vehicle.arc_m)


def _will_be(vehicle: Vehicle, ahead_s: FloatArray) -> FloatArray:
    """(S, 2) where it is in so many seconds if it keeps its speed."""
    path, arc = vehicle.lane.path, vehicle.arc_m + vehicle.speed_mps * ahead_s
    return np.stack([np.interp(arc, path.arc_m, path.points_m[:, k]) for k in (0, 1)], axis=1)
