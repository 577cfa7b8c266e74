"""The forces between people: the social force model with anticipation, vectorised over people.

The interaction has the elliptical form of Johansson, Helbing and Shukla, "Specification of the social force pedestrian model by
evolutionary adjustment to video tracking data" (2007): the repulsion depends on where the other one will be a moment later, so people
start to give way metres ahead. Contacts are resolved after each step, so that nobody overlaps another or enters a wall.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from jepa_ros.sim.places.layout import Obstacles
from jepa_ros.types import FloatArray

RADIUS_M = 0.25
ENTRY_CLEAR_M = 4.0  # nobody steps out of thin air so near to a vehicle or a robot
ANTICIPATION_S = 0.9
PEOPLE_STRENGTH_MPS2, PEOPLE_RANGE_M = 2.6, 0.45
WALL_STRENGTH_MPS2, WALL_RANGE_M = 4.0, 0.15
REAR_WEIGHT = 0.15  # what happens behind counts this much
KEEP_RIGHT = 0.35  # share of a frontal repulsion that turns into a step to the right
MAX_ACCELERATION_MPS2 = 4.0


@dataclass(frozen=True)
class Movers:
    """Discs that people avoid and that do not give way: vehicles and the robot."""

    positions_m: FloatArray  # (M, 2)
    velocities_mps: FloatArray  # (M, 2)
    radii_m: FloatArray  # (M,)

    @staticmethod
    def none() -> Movers:
        return Movers(np.zeros((0, 2)), np.zeros((0, 2)), np.zeros(0))


def avoid_people(position: FloatArray, velocity: FloatArray) -> FloatArray:
    """(P, 2) m/s^2: how each is pushed by all the others."""
    return _repulsion(position, velocity, position, velocity, 2 * RADIUS_M).sum(axis=1)


def avoid_movers(position: FloatArray, velocity: FloatArray, movers: Movers) -> FloatArray:
    """(P, 2) m/s^2: how each is pushed by vehicles and the robot."""
    reach = RADIUS_M + movers.radii_m[None, :]
    return 1.5 * _repulsion(position, velocity, movers.positions_m, movers.velocities_mps, reach).sum(axis=1)


def avoid_walls(position: FloatArray, obstacles: Obstacles) -> FloatArray:
    """(P, 2) m/s^2: how each is pushed by walls and other obstacles."""
    away, gap = away_from_walls(position, obstacles)
    push = WALL_STRENGTH_MPS2 * np.exp(np.minimum(RADIUS_M - gap, 0.3) / WALL_RANGE_M)
    return (away * push[..., None]).sum(axis=1)


def away_from_walls(position: FloatArray, obstacles: Obstacles) -> tuple[FloatArray, FloatArray]:
    """Unit vectors (P, W, 2) away from every wall piece and disc, and the gaps (P, W) from a person's middle."""
    start, end = obstacles.segments_m[:, 0], obstacles.segments_m[:, 1]
    way = end - start
    share = np.einsum("psd,sd->ps", position[:, None] - start, way) / np.maximum(np.einsum("sd,sd->s", way, way), 1e-9)
    nearest = start + np.clip(share, 0.0, 1.0)[..., None] * way
    offset = np.concatenate([position[:, None] - nearest, position[:, None] - obstacles.discs_m[:, :2]], axis=1)
    gap = np.linalg.norm(offset, axis=2)
    thickness = np.concatenate([np.zeros(len(start)), obstacles.discs_m[:, 2]])
    return offset / np.maximum(gap, 1e-6)[..., None], gap - thickness


def separate(position: FloatArray, movers: Movers, obstacles: Obstacles, rounds: int) -> FloatArray:
    """(P, 2) positions with overlaps taken apart: people share the way, vehicles and walls do not give."""
    rows = np.arange(len(position))
    for _ in range(rounds):
        offset = position[:, None] - position[None, :]
        gap = np.linalg.norm(offset, axis=2)
        np.fill_diagonal(gap, np.inf)
        depth = np.maximum(2 * RADIUS_M - gap, 0.0)
        position = position + (offset / np.maximum(gap, 1e-6)[..., None] * (0.5 * depth)[..., None]).sum(axis=1)
        if len(movers.radii_m):
            offset = position[:, None] - movers.positions_m[None, :]
            gap = np.linalg.norm(offset, axis=2)
            depth = np.maximum(RADIUS_M + movers.radii_m - gap, 0.0)
            deepest = depth.argmax(axis=1)
            unit = offset[rows, deepest] / np.maximum(gap[rows, deepest], 1e-6)[:, None]
            position = position + unit * depth[rows, deepest][:, None]
        away, gap = away_from_walls(position, obstacles)
        if gap.shape[1]:
            worst = gap.argmin(axis=1)
            position = position + away[rows, worst] * np.maximum(RADIUS_M - gap[rows, worst], 0.0)[:, None]
    return position


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
