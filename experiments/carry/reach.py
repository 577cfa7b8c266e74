"""Can the hand reach what an image of the fixed camera shows? Closed loop: look, plan, make the first action, look again.

The trials of the gripper's bench, in this world: an open hand above an object, and a goal above it that is at least 8 cm away.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from jepa_ros.backends.arm.model import ArmWorldModel
from jepa_ros.sim.arm.arm import ACTION_WIDTH
from jepa_ros.sim.carry.arm import MAX_MOVE_M, REACH_M, Arm, Box, draw_box
from jepa_ros.sim.carry.episodes import closing_of
from jepa_ros.types import FloatArray

FIRST_SEED = 30_000
ACTIONS = 8
REACHED_M = 0.025  # of the hand from where the goal image was taken, in space, after the last action
LEAST_WAY_M = 0.08  # a goal is at least this far away
ABOVE_M = 0.02  # the open pads stay above the object


@dataclass(frozen=True)
class Reach:
    """An object, a start and a goal."""

    box: Box
    start_m: FloatArray  # (3,)
    goal_m: FloatArray  # (3,)
    goal_image: NDArray[np.uint8]  # (Y, X, 3) of the fixed camera


def draw_reach(seed: int) -> Reach:
    """The goal image shows the same object in the same place."""
    rng = np.random.default_rng(seed)
    box = draw_box(rng)
    low = np.append(REACH_M[0, :2], 2 * box.half_m[2] + ABOVE_M)
    while True:
        start, goal = rng.uniform(low, REACH_M[1]), rng.uniform(low, REACH_M[1])
        if np.linalg.norm(goal - start) >= LEAST_WAY_M:
            return Reach(box, start, goal, Arm(box, goal).look()[0])


def reach(trial: Reach, world: ArmWorldModel | None, rng: np.random.Generator) -> float:
    """How far from the goal the hand ends, m. world None = random actions within the same limits."""
    arm = Arm(trial.box, trial.start_m)
    goal_ND = None if world is None else world.encode_goal(trial.goal_image)[0]
    latents, states = [], []
    for _ in range(ACTIONS):
        action = np.zeros(ACTION_WIDTH)
        if world is None or goal_ND is None:
            action[:3] = rng.uniform(-MAX_MOVE_M, MAX_MOVE_M, 3)
        else:
            latents.append(world.encode_images(list(arm.look())))
            closing = closing_of(arm.width_m)
            states.append([*arm.hand_m, 0.0, arm.tilt_rad, 0.0, closing, closing])
            plan = world.plan_actions(torch.cat(latents[-2:]), np.array(states[-2:]), goal_ND)
            action[:3] = plan.actions_LA[0, :3]  # the fingers stay open
        arm.step(action)
    return float(np.linalg.norm(arm.hand_m - trial.goal_m))


def reach_all(world: ArmWorldModel | None, trials: int) -> FloatArray:
    """(K,) final distances, m, of the seeds from FIRST_SEED on: the same trials for every policy."""
    name = "random actions" if world is None else "plan_actions"
    seeds = range(FIRST_SEED, FIRST_SEED + trials)
    return np.array(
        [reach(draw_reach(seed), world, np.random.default_rng((seed, 1))) for seed in tqdm(seeds, desc=name, unit="trial", mininterval=5)]
    )
