"""Episodes of an exploring gripper: half of them wander at random, half try a random grip and lift. Nothing is rewarded.

An episode depends on its seed alone. Axes: E episode, T frame, A action; frame t, action t, frame t + 1.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import partial
from multiprocessing import Pool
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from jepa_ros.sim.arm.arm import ACTION_WIDTH, MAX_MOVE_M, REACH_M, Arm, Box, draw_box
from jepa_ros.sim.arm.camera import render
from jepa_ros.types import FloatArray

ACTIONS = 12
LIFT_STEPS = 4
HELD_SHARE = 0.5  # a box that rose by half of the intended lift, or more, was held
SHARD = 50  # episodes a file
NO_GRIP = -1


@dataclass(frozen=True)
class Episodes:
    """What was seen and done; the last four columns are the simulator's truth, never a model's input."""

    images: NDArray[np.uint8]  # (E, T, Y, X, 3)
    actions: NDArray[np.float32]  # (E, T - 1, A)
    seed: NDArray[np.int64]  # (E,)
    hand_m: NDArray[np.float32]  # (E, T, 3)
    box_m: NDArray[np.float32]  # (E, T, 3)
    grip: NDArray[np.int64]  # (E,) the frame after the fingers closed, LIFT_STEPS before the end of the lift; NO_GRIP in wandering ones
    held: NDArray[np.bool_]  # (E,) the box came along

    def __len__(self) -> int:
        return len(self.seed)

    def grips(self) -> NDArray[np.int64]:
        """Numbers of the episodes with a grip."""
        return np.flatnonzero(self.grip != NO_GRIP)


def load_episodes(folder: Path) -> Episodes:
    """All shards of a folder. Raises ValueError where there is none."""
    return Episodes(**load_columns(folder, Episodes, "python -m experiments.grip.report generate"))


def load_columns(folder: Path, kind: type, command: str) -> dict[str, Any]:
    """The fields of a dataclass of episodes from all shards of a folder. Raises ValueError that names the command where there is none."""
    shards = [np.load(path) for path in sorted(folder.glob("*.npz"))]
    if not shards:
        raise ValueError(f"{folder} holds no episodes; run: {command}")
    return {field.name: np.concatenate([shard[field.name] for shard in shards]) for field in fields(kind)}


def generate(folder: Path, first_seed: int, count: int, processes: int = 1, make: Callable[[int], Any] | None = None) -> None:
    """Write the episodes of `count` seeds, SHARD to a file. Files that are there are kept, so a killed run goes on.

    make: an episode of a seed, a dataclass; None = `episode`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    seeds = [range(begin, min(begin + SHARD, first_seed + count)) for begin in range(first_seed, first_seed + count, SHARD)]
    waiting = [part for part in seeds if not _shard(folder, part).is_file()]
    bar = tqdm(total=len(seeds), initial=len(seeds) - len(waiting), desc=folder.name, unit="shard")
    write = partial(_write_shard, folder=folder, make=make or episode)
    if processes == 1:
        for part in waiting:
            write(part)
            bar.update()
    else:
        with Pool(processes) as pool:
            for _ in pool.imap_unordered(write, waiting):
                bar.update()
    bar.close()


def _shard(folder: Path, seeds: range) -> Path:
    return folder / f"{seeds.start:06}_{len(seeds)}.npz"


def _write_shard(seeds: range, folder: Path, make: Callable[[int], Any]) -> None:
    episodes = [make(seed) for seed in seeds]
    path = _shard(folder, seeds)
    partial_path = path.with_suffix(".partial")
    columns: dict[str, Any] = {field.name: np.stack([getattr(one, field.name) for one in episodes]) for field in fields(episodes[0])}
    with partial_path.open("wb") as file:
        np.savez(file, **columns)
    partial_path.rename(path)


def episode(seed: int) -> Episodes:
    """One episode, without the leading E."""
    rng = np.random.default_rng(seed)
    box = draw_box(rng)
    gripping = seed % 2 == 1
    start_m, plan = _grip_plan(box, rng) if gripping else (rng.uniform(*REACH_M), wander(rng, ACTIONS))
    arm = Arm(box, start_m, closing=0.0 if gripping else float(rng.choice([0.0, rng.uniform(0, 1)])))
    images, hand, boxes = [render(arm.model, arm.data)], [arm.hand_m], [arm.box_m]
    for action in plan:
        arm.step(action)
        images.append(render(arm.model, arm.data))
        hand.append(arm.hand_m)
        boxes.append(arm.box_m)
    grip = 3 if gripping else NO_GRIP
    lifted = gripping and was_held(boxes[grip], boxes[grip + LIFT_STEPS], plan[grip : grip + LIFT_STEPS])
    return Episodes(
        np.stack(images), plan.astype(np.float32), np.array(seed), np.stack(hand).astype(np.float32),
        np.stack(boxes).astype(np.float32), np.array(grip), np.array(lifted),
    )  # fmt: skip


def was_held(box_before_m: FloatArray, box_after_m: FloatArray, lift_LA: FloatArray) -> bool:
    """Whether the box rose by at least HELD_SHARE of the intended lift."""
    return bool(box_after_m[2] - box_before_m[2] >= HELD_SHARE * lift_LA[:, 2].sum())


def wander(rng: np.random.Generator, steps: int, most_m: float = MAX_MOVE_M, tilting: bool = False) -> FloatArray:
    """(steps, A) random moves that keep their direction for a while; the fingers open or close now and then, and the wrist turns."""
    actions = np.zeros((steps, ACTION_WIDTH))
    move = rng.uniform(-1, 1, 3)
    keep = rng.uniform(0, 0.9)
    for k in range(steps):
        move = np.where(rng.random(3) < keep, move, rng.uniform(-1, 1, 3))
        actions[k, :3] = most_m * move
        if rng.random() < 0.25:
            actions[k, 6] = rng.uniform(-1, 1)
        if tilting and rng.random() < 0.25:
            actions[k, 4] = rng.normal(0, 0.2)
    return actions


def _grip_plan(box: Box, rng: np.random.Generator) -> tuple[FloatArray, FloatArray]:
    """A start and (ACTIONS, A): above the box, down, close by a random amount, lift at a random speed, then wander."""
    top_m = 2 * box.half_m[2]
    place = np.append(box.place_m, 0.0) + np.array([rng.normal(0, 0.003), rng.uniform(-1, 1) * 1.1 * box.half_m[1], 0.0])
    place[2] = np.clip(top_m * rng.uniform(0.5, 1.15), *REACH_M[:, 2])
    above = place + np.append(rng.normal(0, 0.004, 2), rng.uniform(0.03, 0.045))
    start = np.clip(above + rng.uniform(-1, 1, 3) * [0.04, 0.04, 0.03], *REACH_M)
    plan = wander(rng, ACTIONS)
    plan[: 3 + LIFT_STEPS] = 0.0
    plan[0, :3], plan[1, :3] = above - start, place - above
    plan[2, 6] = rng.uniform(0.6, 1.0)
    plan[3 : 3 + LIFT_STEPS, :3] = rng.normal(0, 0.006, 3) + np.array([0, 0, rng.uniform(0.016, 0.028)])
    return start, plan
