"""From messages back to our types. All sizes and values of a message are checked: ValueError names what is wrong."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from geometry_msgs.msg import Pose

from jepa_ros import msg as interfaces
from jepa_ros.movers import BoxForecast, TrackedVehicles
from jepa_ros.objects.scene.objects import SceneObject
from jepa_ros.planning.scene import Moving
from jepa_ros.planning.scene import moving_of as scene_moving
from jepa_ros.ros.conversions import LATENT_DTYPE
from jepa_ros.ros.stamps import stamp_ns_of
from jepa_ros.sensing.frames.poses import message_pose
from jepa_ros.types import FloatArray, OccupancyForecast, PedestrianForecast, TrackedPeople, Tracks

SMALLEST_CELL_M, LARGEST_CELL_M = 1e-3, 100.0  # of a grid that comes from anybody
FARTHEST_M = 1e5  # of its corner from the robot


@dataclass(frozen=True)
class Received:
    """The header of one of our outputs."""

    stamp_ns: int
    odom_from_anchor: FloatArray  # (4, 4), in `fixed_frame`
    fixed_frame: str


def matrix_of(pose: Pose) -> FloatArray:
    """(4, 4). Raises ValueError for values that are not finite and for a quaternion that is no rotation."""
    return message_pose(pose)


def received_of(message: Any) -> Received:
    """Of LatentState, LatentForecast and OccupancyForecast messages."""
    return Received(stamp_ns_of(message.header.stamp), matrix_of(message.anchor_pose), message.fixed_frame_id)


def latents_of(message: interfaces.LatentState | interfaces.LatentForecast) -> np.ndarray:
    """(N, D) or (H, N, D) float32."""
    shape = tuple(message.shape)
    if message.dtype != "float16" or int(np.prod(shape)) * LATENT_DTYPE.itemsize != len(message.data):
        raise ValueError(
            f"latent of shape {shape} and dtype {message.dtype!r} with {len(message.data)} bytes: want float16, 2 bytes a value"
        )
    return np.frombuffer(message.data, LATENT_DTYPE).reshape(shape).astype(np.float32)


def occupancy_of(message: interfaces.OccupancyForecast) -> OccupancyForecast:
    """The forecast of a message. Raises ValueError where its size and its bytes disagree, and for a grid or times that cannot be."""
    shape = (len(message.times_s), message.rows, message.columns)
    if int(np.prod(shape)) != len(message.probability):
        raise ValueError(f"occupancy of {shape} (steps, rows, columns) with {len(message.probability)} bytes: want one byte a cell")
    if shape[1] * shape[2] != len(message.seen):
        raise ValueError(f"occupancy of {shape} (steps, rows, columns) with {len(message.seen)} bytes of `seen`: want rows x columns")
    times_s, corner_m = np.array(message.times_s), np.array([message.origin.x, message.origin.y])
    if not (SMALLEST_CELL_M <= message.resolution_m <= LARGEST_CELL_M and np.abs(corner_m).max() < FARTHEST_M):
        raise ValueError(f"occupancy of cells of {message.resolution_m} m from {corner_m.tolist()}: no grid")
    if not (np.isfinite(times_s).all() and (np.diff(times_s) > 0.0).all()):
        raise ValueError(f"occupancy at {times_s.tolist()} s: want finite times that grow")
    if len(message.from_latents) not in (0, len(message.probability)):
        raise ValueError(
            f"occupancy of {shape} (steps, rows, columns) with {len(message.from_latents)} bytes of `from_latents`: want as many"
        )
    probability = np.frombuffer(message.probability, np.uint8).reshape(shape).astype(np.float32) / 255
    alone = np.frombuffer(message.from_latents, np.uint8).reshape(shape).astype(np.float32) / 255 if len(message.from_latents) else None
    seen = np.frombuffer(message.seen, np.uint8).reshape(shape[1:]) > 0
    return OccupancyForecast(probability, times_s, message.resolution_m, (message.origin.x, message.origin.y), seen, alone)


def moving_of(message: interfaces.PedestrianForecastArray) -> Moving:
    """Everyone in the message, in its frame, as a planner sees them.

    Messages carry the likeliest modes only: their probabilities are scaled to sum to 1, and people with fewer modes than others get
    copies of their likeliest with probability 0.
    """
    persons = message.pedestrians
    steps = len(persons[0].times_s) if persons else 0
    count = max([len(person.modes) for person in persons], default=1)
    modes = [_modes_of(person, count, steps) for person in persons]
    return Moving(
        positions_m=np.array([[person.pose.position.x, person.pose.position.y] for person in persons]).reshape(-1, 2),
        existence=np.array([person.existence_probability for person in persons], float),
        radii_m=np.array([person.radius for person in persons], float),
        forecast=PedestrianForecast(
            modes_m=np.array([means for means, _, _ in modes]).reshape(len(persons), count, steps, 2),
            probabilities=np.array([probabilities for _, probabilities, _ in modes]).reshape(len(persons), count),
            covariances_m2=np.array([covariances for _, _, covariances in modes]).reshape(len(persons), count, steps, 2, 2),
            times_s=np.array(persons[0].times_s if persons else ()),
        ),
        ids=np.array([person.id for person in persons], np.int64),
    )


def people_of(message: interfaces.PedestrianForecastArray) -> tuple[TrackedPeople, PedestrianForecast]:
    """The same with identities and velocities, for drawing. The history is the present position alone."""
    persons, moving = message.pedestrians, moving_of(message)
    people = TrackedPeople(
        ids=moving.ids,
        positions_m=moving.positions_m,
        velocities_mps=np.array([[person.velocity.x, person.velocity.y] for person in persons]).reshape(-1, 2),
        existence=moving.existence,
        radii_m=moving.radii_m,
        history=Tracks(moving.positions_m[:, None], np.ones((len(persons), 1), bool), dt_s=0.4),
    )
    return people, moving.forecast


def objects_of(message: interfaces.ObjectForecastArray) -> list[SceneObject]:
    """People and cyclists in the order of the message, then vehicles. Raises ValueError where sizes and values do not fit."""
    told = [_told(one) for one in message.objects]
    return [*(one for one in told if one.kind != "vehicle"), *(one for one in told if one.kind == "vehicle")]


def moving_objects_of(message: interfaces.ObjectForecastArray) -> Moving:
    """All moving people and vehicles, in the frame of the message."""
    told = objects_of(message)
    people = [one for one in told if one.kind != "vehicle"]
    count = max([len(one.probabilities) for one in people], default=1)
    steps = len(people[0].times_s) if people else 0
    index = [np.resize(np.arange(len(one.probabilities)), count) for one in people]
    weights = [one.probabilities[chosen] * (np.arange(count) < len(one.probabilities)) for one, chosen in zip(people, index, strict=True)]
    forecast = PedestrianForecast(
        np.array([one.poses[chosen, :, :2] for one, chosen in zip(people, index, strict=True)]).reshape(len(people), count, steps, 2),
        np.array([share / share.sum() for share in weights]).reshape(len(people), count),
        np.array([one.covariances_m2[chosen] for one, chosen in zip(people, index, strict=True)]).reshape(len(people), count, steps, 2, 2),
        people[0].times_s if people else np.zeros(0),
    )
    places = np.array([one.box[:2] for one in people]).reshape(-1, 2)
    radii = np.array([0.5 * one.box[3] for one in people])
    return scene_moving(places, np.array([one.existence for one in people]), radii, forecast, told)


def vehicles_of(message: interfaces.ObjectForecastArray) -> tuple[TrackedVehicles, BoxForecast]:
    """The vehicles alone, for drawing."""
    told = [one for one in objects_of(message) if one.kind == "vehicle"]
    if not told:
        return TrackedVehicles(), BoxForecast()
    vehicles = TrackedVehicles(
        np.array([one.id for one in told], np.int64),
        np.array([one.box for one in told]),
        np.array([one.velocity_mps for one in told]),
        np.array([one.yaw_rate_radps for one in told]),
        np.array([one.existence for one in told]),
        np.array([one.height_m for one in told]),
    )
    parts = ([one.poses for one in told], [one.probabilities for one in told], [one.covariances_m2 for one in told])
    return vehicles, BoxForecast(*(np.array(part) for part in parts), told[0].times_s)


def _told(one: interfaces.ObjectForecast) -> SceneObject:
    means, probabilities, covariances = _modes_of(one, len(one.modes), len(one.times_s), "object")
    sizes = {len(mode.yaws) for mode in one.modes}
    if sizes != {len(one.times_s)}:
        raise ValueError(f"object {one.id}: modes of {sorted(sizes)} yaws, want {len(one.times_s)} like times_s")
    yaws = np.array([mode.yaws for mode in one.modes], float)
    place, turn = one.pose.position, one.pose.orientation
    box = np.array([place.x, place.y, 2 * np.arctan2(turn.z, turn.w), one.size.x, one.size.y])
    chances = (one.person_probability, one.cyclist_probability, one.vehicle_probability)
    numbers = (*box, one.size.z, one.velocity.x, one.velocity.y, one.yaw_rate, one.existence_probability, *chances)
    if not np.isfinite(yaws).all() or not np.isfinite(numbers).all():
        raise ValueError(f"object {one.id}: a number is not finite")
    if not min(one.size.x, one.size.y) > 0:
        raise ValueError(f"object {one.id}: size {one.size.x} x {one.size.y} m, want both above 0")
    return SceneObject(
        id=one.id,
        chances=chances,
        box=box,
        height_m=one.size.z,
        velocity_mps=np.array([one.velocity.x, one.velocity.y]),
        yaw_rate_radps=one.yaw_rate,
        existence=one.existence_probability,
        poses=np.concatenate((means, yaws[..., None]), axis=-1),
        probabilities=probabilities,
        covariances_m2=covariances,
        times_s=np.array(one.times_s, float),
    )


def _modes_of(
    person: interfaces.PedestrianForecast | interfaces.ObjectForecast, count: int, steps: int, what: str = "person"
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """(K, H, 2), (K,), (K, H, 2, 2) of one person or object, padded to `count` modes."""
    if not person.modes:
        raise ValueError(f"{what} {person.id} has no forecast mode: at least one is needed")
    sizes = {(len(mode.positions), len(mode.covariances)) for mode in person.modes}
    if len(person.times_s) != steps or sizes != {(steps, 4 * steps)}:
        raise ValueError(f"{what} {person.id}: modes of (positions, covariances) {sorted(sizes)}, want ({steps}, {4 * steps}) like times_s")
    padded = [*person.modes, *[person.modes[0]] * (count - len(person.modes))]
    probabilities = np.array([mode.probability for mode in padded], float)
    probabilities[len(person.modes) :] = 0.0
    total = probabilities.sum()
    if not total > 0:
        raise ValueError(f"{what} {person.id}: mode probabilities {probabilities.tolist()} must have a positive sum")
    positions = np.array([[(p.x, p.y) for p in mode.positions] for mode in padded])
    covariances = np.array([mode.covariances for mode in padded], float).reshape(count, steps, 2, 2)
    place = (person.pose.position.x, person.pose.position.y, person.existence_probability, getattr(person, "radius", 0.0))
    if not all(np.isfinite(values).all() for values in (place, positions, probabilities, covariances)):
        raise ValueError(f"{what} {person.id}: a position, probability, radius or covariance is not finite")
    return positions, probabilities / total, covariances
