"""From messages back to our types. Whatever a message claims about sizes and values is checked: ValueError names what is wrong."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from geometry_msgs.msg import Pose

from jepa_ros import msg as interfaces
from jepa_ros.planning.scene import Moving
from jepa_ros.ros.conversions import LATENT_DTYPE
from jepa_ros.ros.stamps import stamp_ns_of
from jepa_ros.sensing.frames.poses import message_pose
from jepa_ros.types import FloatArray, OccupancyForecast, PedestrianForecast, TrackedPeople, Tracks


@dataclass(frozen=True)
class Received:
    """What the header of one of our outputs says about its content."""

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
    """The forecast of a message. Raises ValueError where its size and its bytes disagree."""
    shape = (len(message.times_s), message.rows, message.columns)
    if int(np.prod(shape)) != len(message.probability):
        raise ValueError(f"occupancy of {shape} (steps, rows, columns) with {len(message.probability)} bytes: want one byte a cell")
    if shape[1] * shape[2] != len(message.seen):
        raise ValueError(f"occupancy of {shape} (steps, rows, columns) with {len(message.seen)} bytes of `seen`: want rows x columns")
    probability = np.frombuffer(message.probability, np.uint8).reshape(shape).astype(np.float32) / 255
    seen = np.frombuffer(message.seen, np.uint8).reshape(shape[1:]) > 0
    return OccupancyForecast(probability, np.array(message.times_s), message.resolution_m, (message.origin.x, message.origin.y), seen)


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
    )


def people_of(message: interfaces.PedestrianForecastArray) -> tuple[TrackedPeople, PedestrianForecast]:
    """The same with identities and velocities, for drawing. The history is the present position alone."""
    persons, moving = message.pedestrians, moving_of(message)
    people = TrackedPeople(
        ids=np.array([person.id for person in persons], np.int64),
        positions_m=moving.positions_m,
        velocities_mps=np.array([[person.velocity.x, person.velocity.y] for person in persons]).reshape(-1, 2),
        existence=moving.existence,
        radii_m=moving.radii_m,
        history=Tracks(moving.positions_m[:, None], np.ones((len(persons), 1), bool), dt_s=0.4),
    )
    return people, moving.forecast


def _modes_of(person: interfaces.PedestrianForecast, count: int, steps: int) -> tuple[FloatArray, FloatArray, FloatArray]:
    """(K, H, 2), (K,), (K, H, 2, 2) of one person, padded to `count` modes."""
    if not person.modes:
        raise ValueError(f"person {person.id} has no forecast mode: at least one is needed")
    sizes = {(len(mode.positions), len(mode.covariances)) for mode in person.modes}
    if len(person.times_s) != steps or sizes != {(steps, 4 * steps)}:
        raise ValueError(f"person {person.id}: modes of (positions, covariances) {sorted(sizes)}, want ({steps}, {4 * steps}) like times_s")
    padded = [*person.modes, *[person.modes[0]] * (count - len(person.modes))]
    probabilities = np.array([mode.probability for mode in padded], float)
    probabilities[len(person.modes) :] = 0.0
    total = probabilities.sum()
    if not total > 0:
        raise ValueError(f"person {person.id}: mode probabilities {probabilities.tolist()} must have a positive sum")
    positions = np.array([[(p.x, p.y) for p in mode.positions] for mode in padded])
    covariances = np.array([mode.covariances for mode in padded], float).reshape(count, steps, 2, 2)
    place = (person.pose.position.x, person.pose.position.y, person.existence_probability, person.radius)
    if not all(np.isfinite(values).all() for values in (place, positions, probabilities, covariances)):
        raise ValueError(f"person {person.id}: a position, probability, radius or covariance is not finite")
    return positions, probabilities / total, covariances
