"""The quickest carry to a goal image that does not drop what is held, beside carries whose speed is fixed beforehand.

The fixed ones know where the goal is; the planner has only its image. Axes: K trial, L step, A action.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from jepa_ros.backends.arm.model import ArmWorldModel
from jepa_ros.sim.arm.arm import ACTION_WIDTH, STEP_S
from jepa_ros.sim.arm.camera import render
from jepa_ros.sim.carry.arm import MAX_MOVE_M, REACH_M, Arm
from jepa_ros.sim.carry.episodes import GRIP_FRAME, MOTION_STEPS, Grip, closing_of, draw_grip, held_from
from jepa_ros.types import FloatArray

FIRST_SEED = 70_000
LIFT_M, ACROSS_M = (0.04, 0.08), 0.03  # of a carry: up, and at most to either side
REACHED_M = 0.025
FIRM = 4.0  # the friction with which a goal image is made: what it shows is held there


@dataclass(frozen=True)
class Carry:
    """A grip and where to."""

    grip: Grip
    way_m: FloatArray  # (3,)
    goal_image: NDArray[np.uint8]


@dataclass(frozen=True)
class Carried:
    """What came of it. Without a plan nothing is moved, and nothing dropped."""

    steps: int  # 0: the planner found nothing that holds so surely
    dropped: bool
    distance_m: float  # of the hand from the goal at the end

    @property
    def seconds(self) -> float:
        return self.steps * STEP_S

    @property
    def arrived(self) -> bool:
        return self.steps > 0 and not self.dropped and self.distance_m <= REACHED_M


def draw_carry(seed: int) -> Carry:
    """A grip that holds still things, and a goal up and to the side."""
    rng = np.random.default_rng((seed, 2))
    for attempt in range(100):
        grip = draw_grip(np.random.default_rng((seed, attempt)))
        if held_gently(grip):
            break
    place = grip.start_m + grip.approach_GA[0, :3]
    goal = np.clip(place + np.append(rng.uniform(-ACROSS_M, ACROSS_M, 2), rng.uniform(*LIFT_M)), *REACH_M)
    firm = replace(grip, box=replace(grip.box, friction=FIRM))
    arm = _gripped(firm)
    arm.model.geom("box").rgba[:3] = grip.box.rgb  # it looks as slippery as it is
    for _ in range(MOTION_STEPS * 2):
        arm.step(np.append((goal - place) / (MOTION_STEPS * 2), np.zeros(ACTION_WIDTH - 3)))
    return Carry(grip, goal - place, render(arm.model, arm.data))


def held_gently(grip: Grip) -> bool:
    """Whether the grip survives a lift of a few centimetres at the slowest speed: else there is nothing to decide."""
    arm = _gripped(grip)
    begin = arm.box_in_hand_m
    for _ in range(MOTION_STEPS):
        arm.step(np.array([0, 0, 0.01, 0, 0, 0, 0]))
    return bool(np.linalg.norm(arm.box_in_hand_m - begin) < 0.005)


def carry_evenly(carry: Carry, steps: int) -> Carried:
    """The straight way in so many equal actions."""
    return _carried(carry, np.repeat(np.append(carry.way_m / steps, np.zeros(ACTION_WIDTH - 3))[None], steps, axis=0))


def fewest_steps(carry: Carry) -> int:
    """That the arm's limits allow."""
    return int(np.ceil(np.abs(carry.way_m).max() / MAX_MOVE_M))


def carry_planned(carry: Carry, world: ArmWorldModel, min_hold: float) -> Carried:
    """Takes images before the fingers close and after, plans once, and executes the plan."""
    latents, states = _looked(carry, world)
    plan = world.plan_holding(latents, states, world.encode_goal(carry.goal_image)[0], 0, float("inf"), min_hold)
    if min_hold > 0 and (plan.hold_L is None or plan.hold_L[-1] < min_hold):
        return Carried(0, False, float(np.linalg.norm(carry.way_m)))
    actions = plan.actions_LA.copy()
    actions[:, 6] = 0.0  # the grip is what it is; only the motion is asked for
    return _carried(carry, actions)


def carry_paced(carry: Carry, world: ArmWorldModel, min_hold: float) -> Carried:
    """The straight way, which is told as to the fixed speeds, in the fewest equal actions that hold so surely; else in the most."""
    latents, states = _looked(carry, world)
    counts = range(fewest_steps(carry), MOTION_STEPS + 1)
    ways = torch.zeros(len(counts), MOTION_STEPS, ACTION_WIDTH)
    for row, count in zip(ways, counts, strict=True):
        row[:count, :3] = torch.from_numpy(carry.way_m / count)
    hold_SL = world.imagine_actions(latents, states, ways).hold_SL
    assert hold_SL is not None
    holding = (count for count, hold_L in zip(counts, hold_SL, strict=True) if hold_L[count - 1] >= min_hold)
    return carry_evenly(carry, next(holding, MOTION_STEPS))


def _looked(carry: Carry, world: ArmWorldModel) -> tuple[Tensor, FloatArray]:
    """Latents and states before the fingers close, and after."""
    arm = Arm(carry.grip.box, carry.grip.start_m)
    latents, states, commanded = [], [], 0.0
    for action in carry.grip.approach_GA:
        commanded = float(np.clip(commanded + arm.step(action)[6], 0, 1))
        latents.append(world.encode_images(list(arm.look())))
        states.append([*arm.hand_m, 0.0, arm.tilt_rad, 0.0, closing_of(arm.width_m), commanded])
    return torch.cat(latents), np.array(states)[-GRIP_FRAME:]


def carry_all(kind: str, carries: list[Carry], world: ArmWorldModel | None = None, min_hold: float = 0.0, steps: int = 0) -> list[Carried]:
    """kind: planned, paced, even (in `steps`) or fastest."""
    done = []
    for carry in tqdm(carries, desc=f"{kind} {min_hold or steps or ''}", unit="carry", mininterval=5):
        if kind == "planned" and world is not None:
            done.append(carry_planned(carry, world, min_hold))
        elif kind == "paced" and world is not None:
            done.append(carry_paced(carry, world, min_hold))
        else:
            done.append(carry_evenly(carry, steps or fewest_steps(carry)))
    return done


def _gripped(grip: Grip) -> Arm:
    arm = Arm(grip.box, grip.start_m)
    for action in grip.approach_GA:
        arm.step(action)
    return arm


def _carried(carry: Carry, actions_LA: FloatArray) -> Carried:
    arm = _gripped(carry.grip)
    goal_m = arm.target[:3] + carry.way_m
    in_hand = [arm.box_in_hand_m] * (GRIP_FRAME + 1)
    for action in actions_LA:
        arm.step(action)
        in_hand.append(arm.box_in_hand_m)
    return Carried(len(actions_LA), not bool(held_from(np.stack(in_hand))[-1]), float(np.linalg.norm(arm.hand_m - goal_m)))
