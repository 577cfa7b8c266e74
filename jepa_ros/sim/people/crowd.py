"""People who walk, stop, start, turn, meet and avoid: where they want to go, alone, in pairs and in standing groups."""

from __future__ import annotations

import numpy as np

from jepa_ros.sim.people.signals import people_may_start
from jepa_ros.sim.people.social_force import (
    ENTRY_CLEAR_M,
    MAX_ACCELERATION_MPS2,
    RADIUS_M,
    Movers,
    avoid_movers,
    avoid_people,
    avoid_walls,
    separate,
    step_length_m,
)
from jepa_ros.sim.places.layout import Obstacles, WalkGraph
from jepa_ros.types import FloatArray

RELAXATION_S = 0.5  # time to take up the wanted velocity
STOP_RATE_HZ = 1.0 / 45.0
STUCK_AFTER_S = 4.0
STEP_S = 0.05


class Crowd:
    """A fixed number of walkers on a WalkGraph. One who leaves at an exit comes back at another as a new person (`serials` counts on)."""

    def __init__(
        self,
        walk: WalkGraph,
        obstacles: Obstacles,
        n_people: int,
        rng: np.random.Generator,
        n_standing_groups: int = 0,
        clear_of_m: FloatArray | None = None,
        start_time_s: float = 0.0,
    ) -> None:
        """`clear_of_m`: (L, 2) points of the ego's way; standing groups keep 2.5 m from it. `start_time_s`: of the signals' cycle."""
        self._walk, self._obstacles, self._rng = walk, obstacles, rng
        self.time_s = start_time_s
        count = n_people
        self.positions_m: FloatArray = np.zeros((count, 2))
        self.velocities_mps = np.zeros((count, 2))
        self.headings_rad = np.zeros(count)
        self.gait_rad = rng.uniform(0.0, 2 * np.pi, count)
        self.heights_m = np.clip(rng.normal(1.72, 0.09, count), 1.5, 1.92)
        self.serials = np.arange(count)
        self._next_serial = count
        self._wanted_speed_mps = np.zeros(count)
        self._node = np.zeros(count, dtype=int)  # where the person is going
        self._previous = np.zeros(count, dtype=int)  # where the person comes from
        self._aside = rng.uniform(-1.0, 1.0, (count, 2))  # where in a node's box the person aims
        self._pause_until_s = np.zeros(count)
        self._leader = np.arange(count)  # of the walking group; people alone lead themselves
        self._best_distance_m = np.full(count, np.inf)
        self._progress_s = np.zeros(count)
        for person in range(count):
            self._place_on_edge(person)
        self._form_walking_groups()
        self._form_standing_groups(n_standing_groups, clear_of_m)
        self.positions_m = separate(self.positions_m, Movers.none(), obstacles, rounds=30)

    @property
    def present(self) -> np.ndarray:
        """(P,) bool: who is there; of a crowd that walks by itself, everybody."""
        return np.ones(len(self.serials), dtype=bool)

    @property
    def standing(self) -> np.ndarray:
        """(P,) bool: who stands and means to."""
        return self._pause_until_s > self.time_s

    def step(self, dt_s: float, movers: Movers | None = None) -> None:
        """Advance by dt_s (0.1 s at most, or contacts are missed)."""
        movers = movers or Movers.none()
        self.time_s += dt_s
        self._choose_ways(dt_s, movers)
        position, velocity = self.positions_m, self.velocities_mps
        waits = self._waits_at_kerb(movers)
        self._progress_s[waits] = self.time_s
        acceleration = self._drive(self.standing | waits) + avoid_people(position, velocity) + avoid_movers(position, velocity, movers)
        acceleration += avoid_walls(position, self._obstacles)
        size = np.linalg.norm(acceleration, axis=1, keepdims=True)
        acceleration *= np.minimum(1.0, MAX_ACCELERATION_MPS2 / np.maximum(size, 1e-9))
        velocity = velocity + acceleration * dt_s
        limit = np.where(self.standing | waits, 0.4, 1.3 * self._wanted_speed_mps)[:, None]
        speed = np.linalg.norm(velocity, axis=1, keepdims=True)
        velocity *= np.minimum(1.0, limit / np.maximum(speed, 1e-9))
        self.positions_m = separate(position + velocity * dt_s, movers, self._obstacles, rounds=3)
        moved = (self.positions_m - position) / dt_s
        # What contacts took away is gone; what they pushed is not kept as speed.
        moved_speed = np.linalg.norm(moved, axis=1, keepdims=True)
        self.velocities_mps = moved * np.minimum(1.0, np.maximum(limit, 0.2) / np.maximum(moved_speed, 1e-9))
        self._turn_and_stride(dt_s)

    # --- where people want to go

    def _targets(self) -> FloatArray:
        return self._walk.nodes_m[self._node] + self._walk.half_extent_m[self._node] * self._aside

    def _choose_ways(self, dt_s: float, movers: Movers) -> None:
        to_target = self._targets() - self.positions_m
        distance = np.linalg.norm(to_target, axis=1)
        closer = distance < self._best_distance_m - 0.2
        self._best_distance_m = np.where(closer, distance, self._best_distance_m)
        idle = closer | self.standing
        self._progress_s = np.where(idle, self.time_s, self._progress_s)
        stuck = self.time_s - self._progress_s > STUCK_AFTER_S
        pauses = self._rng.random(len(distance)) < STOP_RATE_HZ * dt_s
        for person in np.flatnonzero((distance < 0.9) | stuck).tolist():
            self._arrive(person, bool(stuck[person]), movers)
        on_crossing = self._on_crossing()
        for person in np.flatnonzero(pauses & ~self.standing & ~on_crossing):
            self._pause_until_s[self._leader == self._leader[person]] = self.time_s + self._rng.uniform(2.0, 8.0)

    def _on_crossing(self) -> np.ndarray:
        return np.array([(a, b) in self._walk.crossings for a, b in zip(self._previous, self._node, strict=True)], dtype=bool)

    def _arrive(self, person: int, stuck: bool, movers: Movers) -> None:
        if stuck:
            self._head_for(person, self._previous[person], self._node[person])
        elif self._leader[person] != person:
            leader = self._leader[person]
            ahead = self._previous[leader] == self._node[person]
            if ahead:
                self._head_for(person, self._node[leader], self._previous[leader])
        elif self._node[person] in self._walk.exits:
            members = np.flatnonzero(self._leader == person).tolist()
            exits = [e for e in self._walk.exits if e != self._node[person] and self._is_clear(e, movers)]
            if not exits:
                return  # leaves when there is a way in
            gate = exits[self._rng.integers(len(exits))]
            for member in members:
                self._enter(member, gate)
        else:
            self._head_for(person, self._next_node(person), self._node[person])

    def _head_for(self, person: int, node: int, previous: int) -> None:
        self._previous[person], self._node[person] = previous, node
        self._best_distance_m[person], self._progress_s[person] = np.inf, self.time_s

    def _next_node(self, person: int) -> int:
        """Rather straight on than round the corner, seldom back; where there is a crossing, often over it."""
        here, origin = self._node[person], self._previous[person]
        options = np.array(self._walk.neighbours[here])
        came = self._walk.nodes_m[here] - self._walk.nodes_m[origin]
        ways = self._walk.nodes_m[options] - self._walk.nodes_m[here]
        cosine = ways @ came / np.maximum(np.linalg.norm(ways, axis=1) * np.linalg.norm(came), 1e-9)
        crosses = np.array([(here, option) in self._walk.crossings for option in options])
        weight = np.exp(1.2 * cosine) * np.where(options == origin, 0.05, 1.0) * np.where(crosses, 2.5, 1.0)
        return int(self._rng.choice(options, p=weight / weight.sum()))

    def _is_clear(self, gate: int, movers: Movers) -> bool:
        reach_m = ENTRY_CLEAR_M + float(np.linalg.norm(self._walk.half_extent_m[gate]))
        return bool((np.linalg.norm(movers.positions_m - self._walk.nodes_m[gate], axis=1) > reach_m + movers.radii_m).all())

    def _enter(self, person: int, gate: int) -> None:
        """Come in at an exit as somebody new, behind whoever came in before."""
        inward = self._walk.neighbours[gate][0]
        way = self._walk.nodes_m[inward] - self._walk.nodes_m[gate]
        way = way / np.linalg.norm(way)
        self._aside[person] = self._rng.uniform(-1.0, 1.0, 2)
        start = self._walk.nodes_m[gate] + self._walk.half_extent_m[gate] * self._aside[person]
        others = np.delete(self.positions_m, person, axis=0)
        while len(others) and np.linalg.norm(others - start, axis=1).min() < 2.2 * RADIUS_M:
            start = start + 0.6 * way
        self.positions_m[person] = start
        self.headings_rad[person] = np.arctan2(way[1], way[0])
        self.velocities_mps[person] = way * self._wanted_speed_mps[person]
        self.serials[person], self._next_serial = self._next_serial, self._next_serial + 1
        self._pause_until_s[person] = 0.0
        self._head_for(person, inward, gate)

    # --- the first moment

    def _place_on_edge(self, person: int) -> None:
        # More often near a crossing: that is where people meet vehicles.
        weight = np.ones(len(self._walk.nodes_m))
        weight[sorted({a for a, _ in self._walk.crossings})] = 3.0
        start = int(self._rng.choice(len(weight), p=weight / weight.sum()))
        end = int(self._rng.choice(self._walk.neighbours[start]))
        share = self._rng.uniform(0.05, 0.9)
        aside = self._aside[person]
        a = self._walk.nodes_m[start] + self._walk.half_extent_m[start] * aside
        b = self._walk.nodes_m[end] + self._walk.half_extent_m[end] * aside
        self.positions_m[person] = a + share * (b - a)
        runs = self._rng.random() < 0.04
        self._wanted_speed_mps[person] = 2.6 if runs else np.clip(self._rng.normal(1.3, 0.25), 0.6, 2.0)
        way = (b - a) / max(float(np.linalg.norm(b - a)), 1e-6)
        self.velocities_mps[person] = way * self._wanted_speed_mps[person]
        self.headings_rad[person] = np.arctan2(way[1], way[0])
        self._previous[person], self._node[person] = start, end

    def _form_walking_groups(self) -> None:
        person, count = 0, len(self.serials)
        while person < count - 1:
            if self._rng.random() < 0.3:
                mate = person + 1
                self._leader[mate] = person
                self._node[mate], self._previous[mate] = self._node[person], self._previous[person]
                self._wanted_speed_mps[mate] = self._wanted_speed_mps[person] = min(self._wanted_speed_mps[person], 1.4)
                heading = self.headings_rad[person]
                beside = 0.65 * np.array([-np.sin(heading), np.cos(heading)])
                self.positions_m[mate] = self.positions_m[person] + beside
                self.velocities_mps[mate], self.headings_rad[mate] = self.velocities_mps[person], heading
                person += 1
            person += 1

    def _form_standing_groups(self, groups: int, clear_of_m: FloatArray | None) -> None:
        """Two to four people in a circle, at a place off the ego's way."""
        alone = np.bincount(self._leader, minlength=len(self._leader)) == 1
        free = np.flatnonzero(alone & (self._leader == np.arange(len(self._leader)))).tolist()
        for _ in range(groups):
            size = int(self._rng.integers(2, 5))
            if len(free) < size:
                return
            for _attempt in range(20):
                node = int(self._rng.integers(len(self._walk.nodes_m)))
                centre = self._walk.nodes_m[node] + self._walk.half_extent_m[node] * self._rng.uniform(-1, 1, 2)
                if clear_of_m is None or np.linalg.norm(clear_of_m - centre, axis=1).min() > 2.5:
                    break
            else:
                return
            until = self.time_s + self._rng.uniform(10.0, 60.0)
            for k in range(size):
                person = free.pop()
                angle = 2 * np.pi * k / size + self._rng.uniform(-0.2, 0.2)
                direction = np.array([np.cos(angle), np.sin(angle)])
                self.positions_m[person] = centre + (0.35 + 0.12 * size) * direction
                self.velocities_mps[person] = 0.0
                self.headings_rad[person] = angle + np.pi
                self._pause_until_s[person] = until
                self._previous[person] = self._walk.neighbours[node][0]
                self._node[person] = node
                self._aside[person] = self._rng.uniform(-1, 1, 2)

    def _drive(self, still: np.ndarray) -> FloatArray:
        to_target = self._targets() - self.positions_m
        mates = self._leader[self._leader] != np.arange(len(self._leader))
        beside = self.positions_m[self._leader] - self.positions_m
        gap = np.linalg.norm(beside, axis=1, keepdims=True)
        pull = np.where(mates[:, None] & (gap > 0.9), beside / np.maximum(gap, 1e-6) * np.minimum(gap - 0.9, 1.5), 0.0)
        direction = to_target / np.maximum(np.linalg.norm(to_target, axis=1, keepdims=True), 1e-6)
        wanted = np.where(still[:, None], 0.0, direction * self._wanted_speed_mps[:, None] + pull)
        return (wanted - self.velocities_mps) / RELAXATION_S

    def _waits_at_kerb(self, movers: Movers) -> np.ndarray:
        """(P,) bool: nobody steps out against the signal, or in front of a vehicle that would be there within three seconds."""
        wait = np.zeros(len(self.serials), dtype=bool)
        fast = np.linalg.norm(movers.velocities_mps, axis=1) > 1.0
        ahead_s = np.arange(0.0, 3.1, 0.5)[:, None, None]
        path = (movers.positions_m[fast] + ahead_s * movers.velocities_mps[fast]).reshape(-1, 2)
        for person in np.flatnonzero(self._on_crossing() & ~self.standing).tolist():
            start, end = self._previous[person], self._node[person]
            kerb, way = self._walk.nodes_m[start], self._walk.nodes_m[end] - self._walk.nodes_m[start]
            if np.linalg.norm(self.positions_m[person] - kerb) > 1.2 + np.linalg.norm(self._walk.half_extent_m[start]):
                continue  # already on the carriageway: keep going
            share = np.clip((path - kerb) @ way / (way @ way), 0.0, 1.0)
            comes = np.linalg.norm(path - kerb - share[:, None] * way, axis=1).min(initial=np.inf) < 2.5
            group = self._walk.crossings[start, end]
            wait[person] = bool(comes) or (group is not None and not people_may_start(group, self.time_s))
        return wait

    def _turn_and_stride(self, dt_s: float) -> None:
        speed = np.linalg.norm(self.velocities_mps, axis=1)
        wanted = np.arctan2(self.velocities_mps[:, 1], self.velocities_mps[:, 0])
        turn = (wanted - self.headings_rad + np.pi) % (2 * np.pi) - np.pi
        turn = np.where((speed > 0.25) & ~self.standing, np.clip(turn, -4.0 * dt_s, 4.0 * dt_s), 0.0)
        self.headings_rad = self.headings_rad + turn
        self.gait_rad = self.gait_rad + np.pi * speed / step_length_m(speed) * dt_s
