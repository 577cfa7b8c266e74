"""All road users in one table, and the network input for each vehicle and cyclist. Numpy.

Axes: N road users, T history steps (8 of 0.4 s, oldest first, the last = now), B those that are forecast, M neighbours.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from jepa_ros.forecast.history import resample
from jepa_ros.movers import CYCLIST_SIZE_M, TrackedVehicles
from jepa_ros.objects.time_steps import HISTORY
from jepa_ros.types import EgoState, FloatArray, TrackedPeople

VEHICLE, CYCLIST, PERSON, EGO = range(4)
KINDS = 4
NEIGHBOURS, NEAR_M = 8, 40.0
SCALE_M = 5.0  # the unit of length of the network: traffic moves about so many times as fast as people, for whose paths it was made
SPEED_MPS, ACCELERATION_MPS2, TURN_RADPS, LENGTH_M = 8.0, 2.0, 0.4, 5.0  # what is 1 to the network
FAR_M, SOON_S = 20.0, 5.0
MOVES_MPS = 0.5  # a cyclist who is slower keeps the heading of the way there

# +1: as it is in a mirror image of the scene, -1: of the other sign.
OWN_MIRROR = np.array([1, 1, -1, 1, 1, 1], np.float32)
NEAR_MIRROR = np.array([1, -1, 1, -1, 1, 1, -1, 1, 1, 1, 1, 1], np.float32)


@dataclass(frozen=True)
class RoadUsers:
    """N vehicles, cyclists and people, and the robot itself, in odom."""

    poses: FloatArray  # (N, 3) x m, y m, yaw rad: where each heads
    speeds_mps: FloatArray  # (N,) along the heading
    accelerations_mps2: FloatArray  # (N,)
    yaw_rates_radps: FloatArray  # (N,)
    lengths_m: FloatArray  # (N,)
    kinds: NDArray[np.intp]  # (N,)
    past_m: FloatArray  # (N, T, 2) NaN where not known

    def __len__(self) -> int:
        return len(self.poses)

    @staticmethod
    def of(vehicles: TrackedVehicles, people: TrackedPeople | None = None, ego: EgoState | None = None) -> RoadUsers:
        """Vehicles in their order, then people (and cyclists) in theirs, then the robot."""
        parts = [_vehicles(vehicles)]
        if people is not None and len(people.ids):
            parts.append(_people(people))
        if ego is not None:
            parts.append(_ego(ego))
        return RoadUsers(*(np.concatenate([getattr(part, field.name) for part in parts]) for field in fields(RoadUsers)))


def _vehicles(vehicles: TrackedVehicles) -> RoadUsers:
    count = len(vehicles)
    states = vehicles.states
    if len(states) != count:  # told by somebody else's tracker
        speed = np.hypot(*vehicles.velocities_mps.reshape(-1, 2).T)
        states = np.column_stack((vehicles.boxes[:, :3], speed, np.zeros(count), vehicles.yaw_rates_radps))
    past = vehicles.past_m if len(vehicles.past_m) == count else _only_now(vehicles.boxes[:, :2])
    return RoadUsers(states[:, :3], states[:, 3], states[:, 4], states[:, 5], vehicles.boxes[:, 3], np.full(count, VEHICLE), past)


def _people(people: TrackedPeople) -> RoadUsers:
    count = len(people.ids)
    history, seen = resample(people.history)
    past = np.where(seen[..., None], history, np.nan)
    speed = np.hypot(*people.velocities_mps.T)
    first = np.where(seen.any(axis=1), seen.argmax(axis=1), HISTORY - 1)
    came = people.positions_m - np.nan_to_num(past[np.arange(count), first])
    way = np.where((speed > MOVES_MPS)[:, None], people.velocities_mps, came)
    poses = np.column_stack((people.positions_m, np.arctan2(way[:, 1], way[:, 0])))
    kinds, none = np.where(people.cyclists, CYCLIST, PERSON), np.zeros(count)
    return RoadUsers(poses, speed, none, none, np.where(people.cyclists, CYCLIST_SIZE_M[0], 2 * people.radii_m), kinds, past)


def _ego(ego: EgoState) -> RoadUsers:
    pose = ego.odom_from_base
    x, y, yaw = pose[0, 3], pose[1, 3], np.arctan2(pose[1, 0], pose[0, 0])
    one = (np.array([[x, y, yaw]]), np.array([float(ego.velocity_mps[0])]), np.zeros(1), np.array([float(ego.yaw_rate_radps)]))
    length_m = np.array([np.nan])  # read only of those that are forecast, which the robot is not
    return RoadUsers(*one, length_m, np.array([EGO]), _only_now(np.array([[x, y]])))


def _only_now(places_m: FloatArray) -> FloatArray:
    past = np.full((len(places_m), HISTORY, 2), np.nan)
    past[:, -1] = places_m
    return past


@dataclass(frozen=True)
class Inputs:
    """What the network reads of B road users, each in its own frame: origin where it is, x where it heads; lengths in SCALE_M."""

    past: NDArray[np.float32]  # (B, T, 2) 0 where not known
    seen: NDArray[np.bool_]  # (B, T)
    own: NDArray[np.float32]  # (B, 6) speed, acceleration, turn rate, whether it is a cyclist, length, share of the past that is known
    near: NDArray[np.float32]  # (B, M, 12) of each neighbour
    present: NDArray[np.bool_]  # (B, M)

    @staticmethod
    def of(users: RoadUsers, rows: NDArray[np.intp]) -> Inputs:
        """Of the road users in `rows` (B,), each with its nearest neighbours."""
        poses = users.poses[rows]
        past = _turned(users.past_m[rows] - poses[:, None, :2], poses[:, 2]) / SCALE_M
        seen = np.isfinite(past[..., 0])
        cyclist = users.kinds[rows] == CYCLIST
        own = np.column_stack(
            (
                users.speeds_mps[rows] / SPEED_MPS,
                users.accelerations_mps2[rows] / ACCELERATION_MPS2,
                users.yaw_rates_radps[rows] / TURN_RADPS,
                cyclist,
                users.lengths_m[rows] / LENGTH_M,
                seen.mean(axis=1),
            )
        )
        near, present = _neighbours(users, rows)
        numbers = (np.where(seen[..., None], past, 0.0), own, near)
        past, own, near = (part.astype(np.float32) for part in numbers)
        return Inputs(past, seen, own, near, present)


def _turned(vectors: FloatArray, yaw: FloatArray) -> FloatArray:
    """(B, ..., 2) vectors of the world, seen from somebody who heads to `yaw` (B,)."""
    shape = (len(yaw),) + (1,) * (vectors.ndim - 2)
    c, s = np.cos(yaw).reshape(shape), np.sin(yaw).reshape(shape)
    return np.stack((c * vectors[..., 0] + s * vectors[..., 1], c * vectors[..., 1] - s * vectors[..., 0]), axis=-1)


def _neighbours(users: RoadUsers, rows: NDArray[np.intp]) -> tuple[FloatArray, NDArray[np.bool_]]:
    """Where the nearest others are, how they move, and when and where the two come closest at constant velocity."""
    count = len(rows)
    near, present = np.zeros((count, NEIGHBOURS, len(NEAR_MIRROR))), np.zeros((count, NEIGHBOURS), bool)
    if not count or len(users) < 2:
        return near, present
    away = np.linalg.norm(users.poses[rows, None, :2] - users.poses[None, :, :2], axis=-1)
    away[np.arange(count), rows] = np.inf
    taken = min(NEIGHBOURS, len(users) - 1)
    order = np.argsort(away, axis=1, kind="stable")[:, :taken]
    distance = np.take_along_axis(away, order, axis=1)
    yaw = users.poses[rows, 2]
    velocity = users.speeds_mps[:, None] * np.stack((np.cos(users.poses[:, 2]), np.sin(users.poses[:, 2])), axis=1)
    gap = _turned(users.poses[order][..., :2] - users.poses[rows, None, :2], yaw)
    theirs = _turned(velocity[order], yaw)
    drift = theirs - np.stack((users.speeds_mps[rows], np.zeros(count)), axis=1)[:, None]
    when = np.clip(-(gap * drift).sum(axis=-1) / ((drift**2).sum(axis=-1) + 1e-3), 0.0, SOON_S)
    closest = gap + drift * when[..., None]
    one = np.arange(KINDS) == users.kinds[order][..., None]
    parts = (gap / FAR_M, theirs / SPEED_MPS, (when / SOON_S)[..., None], closest / SCALE_M, np.exp(-distance / FAR_M)[..., None], one)
    near[:, :taken] = np.concatenate(parts, axis=-1)
    present[:, :taken] = distance < NEAR_M
    return near * present[..., None], present
