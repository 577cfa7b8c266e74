"""A place in motion: people, vehicles and the ego, stepped together and posed in MuJoCo for the sensors."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import mujoco
import numpy as np

from jepa_ros.sim.bodies import CYCLIST_SIZE_M, compile_model, pose_bodies
from jepa_ros.sim.people.crowd import Crowd
from jepa_ros.sim.people.drivers import Drivers
from jepa_ros.sim.people.recorded_crowd import RecordedCrowd
from jepa_ros.sim.people.social_force import RADIUS_M, Movers
from jepa_ros.sim.people.traffic import Vehicle, advance, populate, restart_if_done
from jepa_ros.sim.places.layout import Layout
from jepa_ros.sim.places.worlds import make_layout
from jepa_ros.types import FloatArray

SUBSTEP_S = 0.05
EGO_STOP_RATE_HZ = 1.0 / 25.0
COMMAND_ACCELERATION_MPS2 = 3.0


@dataclass(frozen=True)
class Agent:
    """Ground truth of one moving thing (or parked car), in the world frame."""

    id: int  # stable for as long as the thing is there
    kind: str  # person | cyclist | car
    position_m: FloatArray  # (3,) centre of the box
    yaw_rad: float
    size_m: FloatArray  # (3,) length, width, height
    velocity_mps: FloatArray  # (2,)


class Simulation:
    """One seeded run. The ego drives its route by itself until `command` is called."""

    def __init__(
        self,
        scenario: str,
        seed: int,
        n_people: int | None = None,
        tracks: str | Path | None = None,
        traffic: float = 1.0,
        lively: bool = False,
    ) -> None:
        """`tracks`: a file of recorded people who take the place of the simulated ones, see RecordedCrowd; `square` leaves them room.
        `traffic`: times the number of vehicles that the place is made for, as far as they find room.
        `lively`: drivers turn, give way, pass, stop and weave, see `drivers`; the place, the people and the first moment stay the same.

        Raises ValueError on an unknown scenario, a negative number of people or vehicles or a file that holds no tracks.
        """
        if n_people is not None and n_people < 0:
            raise ValueError(f"n_people = {n_people}: must be 0 or more")
        if not traffic >= 0.0:
            raise ValueError(f"traffic = {traffic}: must be 0 or more")
        self.layout: Layout = make_layout(scenario, seed)
        crowd_rng, traffic_rng, look_rng, self._ego_rng = (np.random.default_rng([seed, 100 + k]) for k in range(4))
        lane = self.layout.ego_lane
        start = self.layout.ego_start_m
        self.ego = Vehicle(self.layout.ego_platform, lane, start, 0.7 * lane.speed_mps, lane.speed_mps, lane.path.pose(start), ends=True)
        self.vehicles = populate(self.layout.lanes, self.ego, traffic_rng, traffic)
        ways = (*self.layout.lanes, *self.layout.turnings)
        self._drivers = Drivers(self.vehicles, ways, np.random.default_rng([seed, 104])) if lively else None
        count = self.layout.n_people if n_people is None else n_people
        self.crowd: Crowd | RecordedCrowd = (
            RecordedCrowd(tracks, crowd_rng)
            if tracks
            else Crowd(
                self.layout.walk,
                self.layout.obstacles,
                count,
                crowd_rng,
                self.layout.n_standing_groups,
                lane.path.points_m,
                self.layout.start_time_s,
            )
        )
        self.time_s = 0.0
        self.ego_yaw_rate_radps = 0.0
        self._hold_until_s = 0.0
        self._command: tuple[float, float] | None = None
        self.blocked_by: str | None = None  # person | vehicle | wall that a commanded ego ran into in the last substep
        self.model = compile_model(self.layout, self.crowd, self.vehicles, look_rng)
        self.data = mujoco.MjData(self.model)
        self._pose()

    def command(self, speed_mps: float, yaw_rate_radps: float) -> None:
        """From now on the ego is driven by commands, not by its route."""
        self._command = (speed_mps, yaw_rate_radps)

    def step(self, dt_s: float) -> None:
        """Advance by dt_s in substeps of at most 0.05 s."""
        self.advance(dt_s)
        self._pose()

    def advance(self, dt_s: float) -> None:
        """`step` without posing the bodies for the sensors."""
        for _ in range(max(1, round(dt_s / SUBSTEP_S))):
            self._substep(dt_s / max(1, round(dt_s / SUBSTEP_S)))

    def world_from_base(self) -> FloatArray:
        """(4, 4) the true pose of the ego."""
        x, y, yaw = self.ego.pose
        pose = np.eye(4)
        pose[:2, :2] = [[np.cos(yaw), -np.sin(yaw)], [np.sin(yaw), np.cos(yaw)]]
        pose[:2, 3] = x, y
        return pose

    def agents(self) -> list[Agent]:
        """All people and vehicles except the ego; parked cars too."""
        floor = self.layout.ground_height_m(self.crowd.positions_m)
        found = []
        for i in np.flatnonzero(self.crowd.present).tolist():
            height = self.crowd.heights_m[i]
            centre = np.array([*self.crowd.positions_m[i], floor[i] + height / 2])
            found.append(
                Agent(
                    int(self.crowd.serials[i]),
                    "person",
                    centre,
                    self.crowd.headings_rad[i],
                    np.array([0.5, 0.55, height]),
                    self.crowd.velocities_mps[i].copy(),
                )
            )
        for i, vehicle in enumerate(self.vehicles):
            size = np.array(CYCLIST_SIZE_M if vehicle.kind == "cyclist" else (4.3, 1.8, 1.5))
            found.append(
                Agent(i, vehicle.kind, np.array([*vehicle.pose[:2], size[2] / 2]), float(vehicle.pose[2]), size, vehicle.velocity_mps())
            )
        for i, (x, y, yaw) in enumerate(self.layout.parked):
            found.append(Agent(1000 + i, "car", np.array([x, y, 0.75]), yaw, np.array([4.3, 1.8, 1.5]), np.zeros(2)))
        return found

    @contextmanager
    def person_at(self, person: int, position_m: FloatArray) -> Iterator[None]:
        """For the length of a with-block, somebody (an index into the crowd's arrays) stands at (2,) m: for events that cannot be."""
        before = self.crowd.positions_m[person].copy()
        self.crowd.positions_m[person] = position_m
        self._pose()
        try:
            yield
        finally:
            self.crowd.positions_m[person] = before
            self._pose()

    def _pose(self) -> None:
        pose_bodies(self.data, self.layout, self.crowd, self.vehicles)

    def _substep(self, dt_s: float) -> None:
        self.time_s += dt_s
        signals_s = self.layout.start_time_s + self.time_s
        everyone = [self.ego, *self.vehicles]
        if self._drivers is not None:
            self._drivers.decide(everyone, signals_s, dt_s)
        for vehicle in self.vehicles:
            advance(vehicle, everyone, self.crowd.positions_m, self.crowd.velocities_mps, signals_s, dt_s)
            restart_if_done(vehicle, [other for other in everyone if other is not vehicle], self._drivers is not None)
        yaw_before = self.ego.pose[2]
        if self._command is None:
            if self.time_s > self._hold_until_s + 8.0 and self._ego_rng.random() < EGO_STOP_RATE_HZ * dt_s:
                self._hold_until_s = self.time_s + self._ego_rng.uniform(2.0, 5.0)
            advance(
                self.ego, everyone, self.crowd.positions_m, self.crowd.velocities_mps, signals_s, dt_s, self.time_s < self._hold_until_s
            )
        else:
            self._drive_by_command(dt_s)
        self.ego_yaw_rate_radps = float((self.ego.pose[2] - yaw_before) / dt_s)
        self.crowd.step(dt_s, self._movers())

    def _movers(self) -> Movers:
        everyone = [self.ego, *self.vehicles]
        discs = [vehicle.discs() for vehicle in everyone]
        counts = [len(d) for d in discs]
        velocities = np.repeat([vehicle.velocity_mps() for vehicle in everyone], counts, axis=0)
        return Movers(np.concatenate(discs), velocities, np.repeat([v.measures.disc_radius_m for v in everyone], counts))

    def _drive_by_command(self, dt_s: float) -> None:
        """A unicycle that stops short of walls, people and vehicles instead of driving into them."""
        assert self._command is not None
        speed, rate = self._command
        change = np.clip(speed - self.ego.speed_mps, -COMMAND_ACCELERATION_MPS2 * dt_s, COMMAND_ACCELERATION_MPS2 * dt_s)
        self.ego.speed_mps += float(change)
        before = self.ego.pose
        yaw = before[2] + rate * dt_s
        moved = self.ego.speed_mps * dt_s * np.array([np.cos(yaw), np.sin(yaw)])
        self.ego.pose = np.array([*(before[:2] + moved), yaw])
        self.blocked_by = self._touched()
        if self.blocked_by:
            self.ego.pose, self.ego.speed_mps = np.array([*before[:2], yaw]), 0.0
            if self._touched():  # nor can it turn
                self.ego.pose = before

    def _touched(self) -> str | None:
        """What kind of thing the ego would overlap: the one that it overlaps most."""
        radius = self.ego.measures.disc_radius_m
        discs = self.ego.discs()
        walls = self.layout.standing
        start, way = walls.segments_m[:, 0], walls.segments_m[:, 1] - walls.segments_m[:, 0]
        share = np.einsum("dsk,sk->ds", discs[:, None] - start, way) / np.maximum(np.einsum("sk,sk->s", way, way), 1e-9)
        nearest = start + np.clip(share, 0, 1)[..., None] * way
        wall = np.linalg.norm(discs[:, None] - nearest, axis=2) - radius
        pillar = np.linalg.norm(discs[:, None] - walls.discs_m[:, :2], axis=2) - walls.discs_m[:, 2] - radius
        person = np.linalg.norm(discs[:, None] - self.crowd.positions_m, axis=2) - radius - RADIUS_M
        vehicle = [np.linalg.norm(discs[:, None] - v.discs(), axis=2).min() - radius - v.measures.disc_radius_m for v in self.vehicles]
        gaps = {
            "wall": min(wall.min(initial=np.inf), pillar.min(initial=np.inf)),
            "person": person.min(initial=np.inf),
            "vehicle": min(vehicle, default=np.inf),
        }
        kind = min(gaps, key=lambda name: gaps[name])
        return kind if gaps[kind] < 0.0 else None
