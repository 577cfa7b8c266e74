"""Can the gripper reach what an image shows? Closed loop: look, plan, do the first action, look again."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from experiments.grip.world_model import GripWorldModel
from jepa_ros.sim.arm.arm import ACTION_WIDTH, MAX_MOVE_M, REACH_M, Arm, Box, draw_box
from jepa_ros.sim.arm.camera import render
from jepa_ros.types import FloatArray

FIRST_SEED = 30_000
ACTIONS = 8
REACHED_M = 0.025  # of the hand from where the goal image was taken, in space, after the last action
LEAST_WAY_M = 0.08  # a goal is at least this far away


@dataclass(frozen=True)
class Trial:
    """A box, a start and a goal."""

    box: Box
    start_m: FloatArray
    goal_m: FloatArray
    goal_image: NDArray[np.uint8]


@dataclass(frozen=True)
class Reached:
    """What came of a trial."""

    distance_m: FloatArray  # (ACTIONS + 1,) hand to goal
    images: NDArray[np.uint8]  # (ACTIONS + 1, Y, X, 3)

    @property
    def success(self) -> bool:
        return bool(self.distance_m[-1] <= REACHED_M)


def draw_trial(seed: int) -> Trial:
    """Start and goal above the box, far enough from each other; the goal image shows the same box in the same place."""
    rng = np.random.default_rng(seed)
    box = draw_box(rng)
    low = np.append(REACH_M[0, :2], 2 * box.half_m[2] + 0.02)
    while True:
        start, goal = rng.uniform(low, REACH_M[1]), rng.uniform(low, REACH_M[1])
        if np.linalg.norm(goal - start) >= LEAST_WAY_M:
            break
    arm = Arm(box, goal)
    return Trial(box, start, goal, render(arm.model, arm.data))


def reach(trial: Trial, world: GripWorldModel | None, rng: np.random.Generator) -> Reached:
    """Act ACTIONS times; world None = the random policy, which draws each action within the same limits."""
    arm = Arm(trial.box, trial.start_m)
    images, distance = [render(arm.model, arm.data)], [float(np.linalg.norm(arm.hand_m - trial.goal_m))]
    goal_PD = None if world is None else world.encode_image(trial.goal_image)[0]
    for _ in range(ACTIONS):
        if world is None or goal_PD is None:
            action = np.zeros(ACTION_WIDTH)
            action[:3] = rng.uniform(-MAX_MOVE_M, MAX_MOVE_M, 3)
        else:
            # The model counts its states from the image that it looks at.
            plan = world.plan_actions(world.encode_image(images[-1]), np.zeros((1, ACTION_WIDTH)), goal_PD)
            action = np.asarray(plan.actions_LA[0], float)
        arm.step(action)
        images.append(render(arm.model, arm.data))
        distance.append(float(np.linalg.norm(arm.hand_m - trial.goal_m)))
    return Reached(np.array(distance), np.stack(images))


def reach_all(world: GripWorldModel | None, trials: int) -> list[Reached]:
    """Seeds FIRST_SEED onwards, the same for every policy."""
    name = "random policy" if world is None else "plan_actions"
    seeds = range(FIRST_SEED, FIRST_SEED + trials)
    return [
        reach(draw_trial(seed), world, np.random.default_rng((seed, 1))) for seed in tqdm(seeds, desc=name, unit="trial", mininterval=5)
    ]
