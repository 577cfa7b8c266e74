"""People who walk, stop, turn, meet and avoid: the social force model with anticipation, vectorised over people.

The interaction has the elliptical form of Johansson, Helbing and Shukla, "Specification of the social force pedestrian model by
evolutionary adjustment to video tracking data" (2007): the repulsion depends on where the other one will be a moment later, so people
start to give way metres ahead. Contacts are resolved after each step, so that nobody overlaps another or enters a wall.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from jepa_ros.sim.layout import Obstacles, WalkGraph
from jepa_ros.types import FloatArray

RADIUS_M = 0.25
RELAXATION_S = 0.5  # time to take up the wanted velocity
ANTICIPATION_S = 0.9
PEOPLE_STRENGTH_MPS2, PEOPLE_RANGE_M = 2.6, 0.45
WALL_STRENGTH_MPS2, WALL_RANGE_M = 4.0, 0.15
REAR_WEIGHT = 0.15  # what happens behind counts this much
KEEP_RIGHT = 0.35  # share of a frontal repulsion that turns into a step to the right
MAX_ACCELERATION_MPS2 = 4.0
STOP_RATE_HZ = 1.0 / 45.0
STUCK_AFTER_S = 4.0


@dataclass(frozen=True)
class Movers:
    """Discs that people avoid and that do not give way: vehicles and the robot."""

    positions_m: FloatArray  # (M, 2)
    velocities_mps: FloatArray  # (M, 2)
    radii_m: FloatArray  # (M,)

    @staticmethod
    def none() -> Movers:
        return Movers(np.zeros((0, 2)), np.zeros((0, 2)), np.zeros(0))


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
    ) -> None:
        """`clear_of_m`: (L, 2) points of the ego's way; standing groups keep 2.5 m from it."""
        self._walk, self._obstacles, self._rng = walk, obstacles, rng
        self.time_s = 0.0
        count = n_people
        self.positions_m = np.zeros((count, 2))
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
        self._separate(Movers.none(), rounds=30)

    @property
    def standing(self) -> np.ndarray:
        """(P,) bool: who stands and means to."""
        return self._pause_until_s > self.time_s

    def step(self, dt_s: float, movers: Movers | None = None) -> None:
        """Advance by dt_s (0.1 s at most, or contacts are missed)."""
        movers = movers or Movers.none()
        self.time_s += dt_s
        self._choose_ways()
        acceleration = self._drive(movers) + self._avoid_people() + self._avoid_movers(movers) + self._avoid_walls()
        size = np.linalg.norm(acceleration, axis=1, keepdims=True)
        acceleration *= np.minimum(1.0, MAX_ACCELERATION_MPS2 / np.maximum(size, 1e-9))
        velocity = self.velocities_mps + acceleration * dt_s
        limit = np.where(self.standing, 0.4, 1.3 * self._wanted_speed_mps)[:, None]
        speed = np.linalg.norm(velocity, axis=1, keepdims=True)
        velocity *= np.minimum(1.0, limit / np.maximum(speed, 1e-9))
        before = self.positions_m.copy()
        self.positions_m = before + velocity * dt_s
        self._separate(movers, rounds=3)
        moved = (self.positions_m - before) / dt_s
        # What contacts took away is gone; what they pushed is not kept as speed.
        moved_speed = np.linalg.norm(moved, axis=1, keepdims=True)
        self.velocities_mps = moved * np.minimum(1.0, np.maximum(limit, 0.2) / np.maximum(moved_speed, 1e-9))
        self._turn_and_stride(dt_s)

    # --- where people want to go

    def _targets(self) -> FloatArray:
        return self._walk.nodes_m[self._node] + self._walk.half_extent_m[self._node] * self._aside

    def _choose_ways(self) -> None:
        to_target = self._targets() - self.positions_m
        distance = np.linalg.norm(to_target, axis=1)
        closer = distance < self._best_distance_m - 0.2
        self._best_distance_m = np.where(closer, distance, self._best_distance_m)
        idle = closer | self.standing
        self._progress_s = np.where(idle, self.time_s, self._progress_s)
        stuck = self.time_s - self._progress_s > STUCK_AFTER_S
        pauses = self._rng.random(len(distance)) < STOP_RATE_HZ * 0.05
        for person in np.flatnonzero((distance < 0.9) | stuck).tolist():
            self._arrive(person, bool(stuck[person]))
        on_crossing = self._on_crossing()
        for person in np.flatnonzero(pauses & ~self.standing & ~on_crossing):
            self._pause_until_s[self._leader == self._leader[person]] = self.time_s + self._rng.uniform(2.0, 8.0)

    def _on_crossing(self) -> np.ndarray:
        return np.array([(a, b) in self._walk.crossings for a, b in zip(self._previous, self._node, strict=True)], dtype=bool)

    def _arrive(self, person: int, stuck: bool) -> None:
        if stuck:
            self._head_for(person, self._previous[person], self._node[person])
        elif self._leader[person] != person:
            leader = self._leader[person]
            ahead = self._previous[leader] == self._node[person]
            if ahead:
                self._head_for(person, self._node[leader], self._previous[leader])
        elif self._node[person] in self._walk.exits:
            members = np.flatnonzero(self._leader == person).tolist()
            exits = [e for e in self._walk.exits if e != self._node[person]]
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
        start = int(self._rng.integers(len(self._walk.nodes_m)))
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
        free = [p for p in range(len(self.serials)) if not np.any(self._leader == p) or np.sum(self._leader == p) == 1]
        free = [p for p in free if self._leader[p] == p]
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

    # --- forces, all (P, 2) m/s^2

    def _drive(self, movers: Movers) -> FloatArray:
        to_target = self._targets() - self.positions_m
        mates = self._leader[self._leader] != np.arange(len(self._leader))
        beside = self.positions_m[self._leader] - self.positions_m
        gap = np.linalg.norm(beside, axis=1, keepdims=True)
        pull = np.where(mates[:, None] & (gap > 0.9), beside / np.maximum(gap, 1e-6) * np.minimum(gap - 0.9, 1.5), 0.0)
        direction = to_target / np.maximum(np.linalg.norm(to_target, axis=1, keepdims=True), 1e-6)
        still = self.standing | self._waits_at_kerb(movers)
        wanted = np.where(still[:, None], 0.0, direction * self._wanted_speed_mps[:, None] + pull)
        return (wanted - self.velocities_mps) / RELAXATION_S

    def _waits_at_kerb(self, movers: Movers) -> np.ndarray:
        """Nobody steps in front of a vehicle that would be there within three seconds."""
        wait = np.zeros(len(self.serials), dtype=bool)
        fast = np.linalg.norm(movers.velocities_mps, axis=1) > 1.0
        if not fast.any():
            return wait
        position, velocity = movers.positions_m[fast], movers.velocities_mps[fast]
        for person in np.flatnonzero(self._on_crossing() & ~self.standing):
            kerb = self._walk.nodes_m[self._previous[person]]
            if np.linalg.norm(self.positions_m[person] - kerb) > 1.2 + np.linalg.norm(self._walk.half_extent_m[self._previous[person]]):
                continue  # already on the carriageway: keep going
            middle = 0.5 * (kerb + self._walk.nodes_m[self._node[person]])
            offset = middle - position
            along = np.einsum("md,md->m", offset, velocity) / np.linalg.norm(velocity, axis=1)
            side = np.sqrt(np.maximum(np.einsum("md,md->m", offset, offset) - along**2, 0.0))
            wait[person] = bool(np.any((along > -3.0) & (along < 3.0 * np.linalg.norm(velocity, axis=1) + 3.0) & (side < 5.0)))
        return wait

    def _avoid_people(self) -> FloatArray:
        strength = _repulsion(self.positions_m, self.velocities_mps, self.positions_m, self.velocities_mps, 2 * RADIUS_M)
        return strength.sum(axis=1)

    def _avoid_movers(self, movers: Movers) -> FloatArray:
        if not len(movers.radii_m):
            return np.zeros_like(self.positions_m)
        reach = RADIUS_M + movers.radii_m[None, :]
        return 1.5 * _repulsion(self.positions_m, self.velocities_mps, movers.positions_m, movers.velocities_mps, reach).sum(axis=1)

    def _avoid_walls(self) -> FloatArray:
        away, gap = self._from_walls()
        push = WALL_STRENGTH_MPS2 * np.exp(np.minimum(RADIUS_M - gap, 0.3) / WALL_RANGE_M)
        return (away * push[..., None]).sum(axis=1)

    def _from_walls(self) -> tuple[FloatArray, FloatArray]:
        """Unit vectors (P, W, 2) away from every wall piece and disc, and the gaps (P, W)."""
        start, end = self._obstacles.segments_m[:, 0], self._obstacles.segments_m[:, 1]
        way = end - start
        share = np.einsum("psd,sd->ps", self.positions_m[:, None] - start, way) / np.maximum(np.einsum("sd,sd->s", way, way), 1e-9)
        nearest = start + np.clip(share, 0.0, 1.0)[..., None] * way
        offset = np.concatenate([self.positions_m[:, None] - nearest, self.positions_m[:, None] - self._obstacles.discs_m[:, :2]], axis=1)
        gap = np.linalg.norm(offset, axis=2)
        thickness = np.concatenate([np.zeros(len(start)), self._obstacles.discs_m[:, 2]])
        return offset / np.maximum(gap, 1e-6)[..., None], gap - thickness

    # --- contacts and bodies

    def _separate(self, movers: Movers, rounds: int) -> None:
        for _ in range(rounds):
            offset = self.positions_m[:, None] - self.positions_m[None, :]
            gap = np.linalg.norm(offset, axis=2)
            np.fill_diagonal(gap, np.inf)
            depth = np.maximum(2 * RADIUS_M - gap, 0.0)
            self.positions_m = self.positions_m + (offset / np.maximum(gap, 1e-6)[..., None] * (0.5 * depth)[..., None]).sum(axis=1)
            if len(movers.radii_m):
                offset = self.positions_m[:, None] - movers.positions_m[None, :]
                gap = np.linalg.norm(offset, axis=2)
                depth = np.maximum(RADIUS_M + movers.radii_m - gap, 0.0)
                deepest = depth.argmax(axis=1)
                rows = np.arange(len(gap))
                unit = offset[rows, deepest] / np.maximum(gap[rows, deepest], 1e-6)[:, None]
                self.positions_m = self.positions_m + unit * depth[rows, deepest][:, None]
            away, gap = self._from_walls()
            if gap.shape[1]:
                rows, worst = np.arange(len(gap)), gap.argmin(axis=1)
                self.positions_m = self.positions_m + away[rows, worst] * np.maximum(RADIUS_M - gap[rows, worst], 0.0)[:, None]

    def _turn_and_stride(self, dt_s: float) -> None:
        speed = np.linalg.norm(self.velocities_mps, axis=1)
        wanted = np.arctan2(self.velocities_mps[:, 1], self.velocities_mps[:, 0])
        turn = (wanted - self.headings_rad + np.pi) % (2 * np.pi) - np.pi
        turn = np.where((speed > 0.25) & ~self.standing, np.clip(turn, -4.0 * dt_s, 4.0 * dt_s), 0.0)
        self.headings_rad = self.headings_rad + turn
        self.gait_rad = self.gait_rad + np.pi * speed / step_length_m(speed) * dt_s


def step_length_m(speed_mps: FloatArray) -> FloatArray:
    """Length of one step at a walking speed; two steps are one turn of the gait."""
    return 0.35 + 0.27 * speed_mps


def _repulsion(
    position: FloatArray, velocity: FloatArray, others: FloatArray, others_velocity: FloatArray, reach_m: float | FloatArray
) -> FloatArray:
    """(P, M, 2): how each of the M others pushes each of the P people. A pair at the same place (a person and itself) pushes nothing."""
    offset = position[:, None] - others[None, :]
    shift = (others_velocity[None, :] - velocity[:, None]) * ANTICIPATION_S
    later = offset - shift
    near, far = np.linalg.norm(offset, axis=2), np.linalg.norm(later, axis=2)
    axis = 0.5 * np.sqrt(np.maximum((near + far) ** 2 - np.einsum("pmd,pmd->pm", shift, shift), 1e-4))
    direction = 0.5 * (offset / np.maximum(near, 1e-6)[..., None] + later / np.maximum(far, 1e-6)[..., None])
    size = PEOPLE_STRENGTH_MPS2 * np.exp(np.minimum(reach_m - axis, 0.4) / PEOPLE_RANGE_M) * (near + far) / (2 * axis)
    speed = np.linalg.norm(velocity, axis=1)
    ahead = -np.einsum("pmd,pd->pm", offset, velocity) / np.maximum(near * speed[:, None], 1e-6)
    size = size * np.where(speed[:, None] > 0.1, REAR_WEIGHT + (1 - REAR_WEIGHT) * (1 + ahead) / 2, 1.0)
    size = np.minimum(size, 2 * MAX_ACCELERATION_MPS2) * (near > 1e-6)
    right = np.stack([velocity[:, 1], -velocity[:, 0]], axis=1) / np.maximum(speed, 1e-6)[:, None]
    frontal = np.maximum(ahead, 0.0) ** 4 * (speed[:, None] > 0.1)
    return size[..., None] * (direction + KEEP_RIGHT * frontal[..., None] * right[:, None])
