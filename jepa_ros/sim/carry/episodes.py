"""Episodes of an exploring gripper: four of five grip something and carry it about, the fifth wanders. Nothing is rewarded.

Grip and motion are drawn apart: several motions follow from the same grip, and some of them keep what others lose. An episode depends on
its number alone. Axes: E episode, T frame, V view, A action; frame t, action t, frame t + 1.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jepa_ros.sim.arm.arm import ACTION_WIDTH, OPEN_M, SPRING_N_M
from jepa_ros.sim.arm.episodes import generate as write_shards
from jepa_ros.sim.arm.episodes import load_columns, wander
from jepa_ros.sim.carry.arm import MAX_MOVE_M, REACH_M, Arm, Box, draw_box
from jepa_ros.types import FloatArray

GRIP_FRAME = 2  # of a gripping episode: reached, closed, and now the question
MOTION_STEPS = 6
ACTIONS = GRIP_FRAME + MOTION_STEPS
SLIPPED_M = 0.010  # in the hand: what moved less is held
GROUP = 5  # episodes: four carries, then one that wanders
NO_GRIP = -1
SQUEEZE = (1.1, 2.1)  # softest and firmest, as a multiple of what holds a thing still; the hardest motion asks for 2.6
SPEED_M = (0.006, MAX_MOVE_M)  # of an action: slowest and fastest carry


@dataclass(frozen=True)
class Episodes:
    """What was seen and done; hand, box and held are the simulator's truth, never a model's input."""

    images: NDArray[np.uint8]  # (E, T, V, Y, X, 3) by the camera beside the table and the one on the wrist
    actions: NDArray[np.float32]  # (E, T - 1, A) as far as the arm's limits let them
    closing: NDArray[np.float32]  # (E, T) 0 the pads are wide open, 1 they touch: what the gripper measures
    number: NDArray[np.int64]  # (E,)
    grip: NDArray[np.int64]  # (E,) number of the grip; NO_GRIP in those that wander
    hand_m: NDArray[np.float32]  # (E, T, 3)
    box_m: NDArray[np.float32]  # (E, T, 3)
    held: NDArray[np.bool_]  # (E, T) gripped, and not slipped up to here; False throughout in those that wander

    def __len__(self) -> int:
        return len(self.number)

    def part(self, chosen: NDArray[Any]) -> Episodes:
        """Some of them."""
        return Episodes(**{field.name: getattr(self, field.name)[chosen] for field in fields(self)})


@dataclass(frozen=True)
class Grip:
    """A box, where the hand begins, and what it does until the fingers have closed."""

    box: Box
    start_m: FloatArray  # (3,)
    approach_GA: FloatArray  # (GRIP_FRAME, A)


def load_episodes(folder: Path) -> Episodes:
    """All shards of a folder. Raises ValueError where there is none."""
    return Episodes(**load_columns(folder, Episodes, "python -m experiments.carry.report generate"))


def generate(folder: Path, first: int, count: int, motions: int = 2, processes: int = 1) -> None:
    """Write `count` episodes from a number on, several to a file. Files that are there are kept, so a killed run goes on."""
    write_shards(folder, first, count, processes, partial(episode, motions=motions))


def grip_of(number: int, motions: int) -> int:
    """The number of an episode's grip, which `motions` (2 or 4) episodes in a row share; NO_GRIP for one that wanders."""
    group, place = divmod(number, GROUP)
    return NO_GRIP if place == GROUP - 1 else GROUP * group + place - place % motions


def episode(number: int, motions: int = 2) -> Episodes:
    """One episode, without the leading E."""
    rng, which = np.random.default_rng((number, 1)), grip_of(number, motions)
    if which == NO_GRIP:
        arm = Arm(draw_box(rng), rng.uniform(*REACH_M), closing=float(rng.choice([0.0, rng.uniform(0, 1)])))
        plan = wander(rng, ACTIONS, MAX_MOVE_M, tilting=True)
    else:
        grip = draw_grip(np.random.default_rng((which, 0)))
        arm = Arm(grip.box, grip.start_m)
        plan = np.concatenate([grip.approach_GA, draw_motion(rng, MOTION_STEPS)])
    images, actions, closing = [arm.look()], [], [closing_of(arm.width_m)]
    hand, boxes, in_hand = [arm.hand_m], [arm.box_m], [arm.box_in_hand_m]
    for action in plan:
        actions.append(arm.step(action))
        images.append(arm.look())
        closing.append(closing_of(arm.width_m))
        hand.append(arm.hand_m)
        boxes.append(arm.box_m)
        in_hand.append(arm.box_in_hand_m)
    held = np.zeros(len(images), bool) if which == NO_GRIP else held_from(np.stack(in_hand))
    return Episodes(
        np.stack(images), np.stack(actions).astype(np.float32), np.array(closing, np.float32), np.array(number), np.array(which),
        np.stack(hand).astype(np.float32), np.stack(boxes).astype(np.float32), held,
    )  # fmt: skip


def held_from(in_hand_T3: FloatArray) -> NDArray[np.bool_]:
    """(T,) whether the box has kept its place in the hand since the fingers closed, at every frame up to this one."""
    slip = np.linalg.norm(in_hand_T3 - in_hand_T3[GRIP_FRAME], axis=1)
    held = np.logical_and.accumulate(slip[GRIP_FRAME:] < SLIPPED_M)
    return np.concatenate([np.zeros(GRIP_FRAME, bool), held])


def closing_of(width_m: float) -> float:
    """0-1 of the width between the pads."""
    return float(np.clip(1 - width_m / (2 * OPEN_M), 0, 1))


def draw_grip(rng: np.random.Generator) -> Grip:
    """Down beside the box, often off its middle, and closed: by SQUEEZE times of what it takes to hold the box still."""
    box = draw_box(rng)
    off_m = np.array([rng.normal(0, 0.002), rng.uniform(-0.25, 0.25) * (0.3 if box.round else 1.0) * box.half_m[1], 0.0])
    place = np.append(box.place_m, 0.0) + off_m
    place[2] = np.clip(box.half_m[2] * rng.uniform(0.8, 1.4), *REACH_M[:, 2])
    start = np.clip(place + rng.uniform([-0.008, -0.02, 0.02], [0.008, 0.02, 0.05]), *REACH_M)
    squeeze = np.exp(rng.uniform(*np.log(SQUEEZE)))
    gap_m = squeeze * box.least_squeeze_n / SPRING_N_M
    approach = np.zeros((GRIP_FRAME, ACTION_WIDTH))
    approach[0, :3] = place - start
    approach[1, 6] = np.clip(1 - (box.half_m[0] - gap_m) / OPEN_M, 0, 1)
    return Grip(box, start, approach)


def draw_motion(rng: np.random.Generator, steps: int) -> FloatArray:
    """(steps, A) up from the table, then anywhere, at one speed or at changing ones; in two of five the wrist tilts."""
    steady, tilting = rng.random() < 0.6, rng.random() < 0.4
    low, high = np.log(SPEED_M)
    speed_m = np.exp(rng.uniform(low, high))
    motion = np.zeros((steps, ACTION_WIDTH))
    risen_m = 0.0
    for k in range(steps):
        if not steady:
            speed_m = np.exp(rng.uniform(low, high))
        way = rng.normal([0.0, 0.0, 1.0], [0.25, 0.25, 0.05]) if k == 0 else rng.normal(0.0, [0.8, 0.8, 1.2])
        move = np.clip(speed_m * rng.uniform(0.8, 1.2) * way / np.linalg.norm(way), -MAX_MOVE_M, MAX_MOVE_M)
        move[2] = max(move[2], 0.01 - risen_m) if k else move[2]  # not back onto the table
        risen_m += move[2]
        motion[k, :3] = move
        motion[k, 4] = rng.normal(0, 0.12) if tilting else 0.0
    return motion
