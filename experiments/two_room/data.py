"""Frames and actions of expert episodes on disk, in parts, so that a stopped collection goes on where it was; images stay memory-mapped."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from experiments.two_room.environment import Episode, Images
from jepa_ros.types import FloatArray

PART = 50  # episodes


@dataclass(frozen=True)
class Frames:
    """Episodes laid end to end."""

    images: list[Images]  # memory-mapped parts of (F, Y, X, 3)
    actions: FloatArray  # (all F, 2): of the step that follows; zero after an episode's last frame
    positions_px: FloatArray  # (all F, 2): for judging and probes only
    lengths: NDArray[np.int64]  # frames of each episode

    @property
    def last(self) -> NDArray[np.int64]:
        """(all F,) the last frame of the episode that each frame is of."""
        return np.repeat(np.cumsum(self.lengths) - 1, self.lengths)

    def at(self, frames: NDArray[np.int64]) -> Images:
        """(..., Y, X, 3) images of these frames."""
        begins = np.cumsum([0, *(len(part) for part in self.images)])
        part = np.searchsorted(begins, frames.ravel(), side="right") - 1
        chosen = np.stack([self.images[p][frame - begins[p]] for p, frame in zip(part, frames.ravel(), strict=True)])
        return chosen.reshape(*frames.shape, *chosen.shape[1:])

    def windows(self, rng: np.random.Generator, batch: int, frames: int) -> tuple[Tensor, Tensor]:
        """(B, T, Y, X, 3) uint8 images and (B, T - 1, 2) actions, at random."""
        starts = np.flatnonzero(np.arange(len(self.actions)) + frames - 1 <= self.last)
        if not len(starts):
            raise ValueError(f"no episode is {frames} frames long; collect more episodes")
        window = rng.choice(starts, batch)[:, None] + np.arange(frames)
        return torch.from_numpy(self.at(window)), torch.from_numpy(self.actions[window[:, :-1]])

    def episodes(self) -> list[Episode]:
        """Each on its own."""
        ends = np.cumsum(self.lengths)
        return [
            Episode(self.at(np.arange(end - length, end)), self.actions[end - length : end - 1], self.positions_px[end - length : end])
            for end, length in zip(ends, self.lengths, strict=True)
        ]


def generate(folder: Path, count: int, seed: int, collect: Callable[[int, int], list[Episode]]) -> Frames:
    """`count` episodes in parts of PART, each from a seed of its own; parts that are there stay as they are."""
    folder.mkdir(parents=True, exist_ok=True)
    parts = range((count + PART - 1) // PART)
    for part in tqdm(parts, desc=f"collect {folder.name}", unit="part"):
        if not (folder / f"{part}_images.npy").is_file():
            # stable-worldmodel counts rooms up from the seed.
            _write(folder, part, collect(min(PART, count - part * PART), seed + 10 * PART * part))
    columns = {
        name: np.concatenate([np.load(folder / f"{part}_{name}.npy") for part in parts]) for name in ("actions", "positions_px", "lengths")
    }
    return Frames([np.load(folder / f"{part}_images.npy", mmap_mode="r") for part in parts], **columns)


def _write(folder: Path, part: int, episodes: list[Episode]) -> None:
    columns = {
        "actions": np.concatenate([np.pad(episode.actions, ((0, 1), (0, 0))) for episode in episodes]),
        "positions_px": np.concatenate([episode.positions_px for episode in episodes]),
        "lengths": np.array([len(episode.images) for episode in episodes]),
        "images": np.concatenate([episode.images for episode in episodes]),
    }
    for name, column in columns.items():  # the images last: they tell that the part is whole
        partial = folder / f"{part}_{name}.partial.npy"
        np.save(partial, column)
        partial.replace(folder / f"{part}_{name}.npy")
