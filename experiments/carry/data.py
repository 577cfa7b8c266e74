"""The simulator's episodes as an arm's world model learns from them: what the camera saw, what was done, how it ended."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from jepa_ros.sim.carry.episodes import GRIP_FRAME, NO_GRIP, Episodes, generate, load_episodes
from jepa_ros.training.arm.episodes import HELD, LOST, UNKNOWN, ArmEpisodes

SPLITS = {  # in the order in which they are made: name -> first number, episodes, motions that follow from a grip
    "train": (0, 10_000, 2),
    "validation": (30_000, 4000, 2),  # the head is calibrated on them: 1,600 grips
    "test": (40_000, 4000, 4),  # 800 grips: with 160 a head that is exact seems 9 points off in the worst bin of one test in twenty
}


def generate_all(folder: Path, processes: int) -> None:
    """Every split below `folder`; goes on where it was stopped."""
    for name, (first, count, motions) in SPLITS.items():
        generate(folder / name, first, count, motions, processes)


def split(folder: Path, name: str) -> Episodes:
    """One of SPLITS, in order of its numbers. Raises ValueError where it is not there."""
    episodes = load_episodes(folder / name)
    first, count, _ = SPLITS[name]
    chosen = np.flatnonzero((episodes.number >= first) & (episodes.number < first + count))
    return episodes.part(chosen[np.argsort(episodes.number[chosen])])


def learnable(episodes: Episodes) -> ArmEpisodes:
    """What a robot would have recorded; of the simulator's truth only whether a grip has held so far."""
    gripped = episodes.grip != NO_GRIP
    outcome = np.where(episodes.held, HELD, LOST).astype(np.int8)
    outcome[~gripped] = UNKNOWN
    outcome[:, :GRIP_FRAME] = UNKNOWN
    return ArmEpisodes(episodes.images, episodes.actions, episodes.closing, np.where(gripped, GRIP_FRAME, -1), outcome)
