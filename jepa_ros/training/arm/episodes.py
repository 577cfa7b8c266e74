"""What an arm's world model learns from: short stretches of images, actions and gripper, some of them with a grip whose outcome is known.

Axes: E stretch, T frame, V view (camera), A = 7 action; frame t, action t, frame t + 1.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from jepa_ros.training.arrays import write_arrays

UNKNOWN, LOST, HELD = -1, 0, 1


@dataclass(frozen=True)
class ArmEpisodes:
    """Stretches of equal length."""

    images: NDArray[np.uint8]  # (E, T, V, 64, 64, 3)
    actions: NDArray[np.float32]  # (E, T - 1, A) intended: dx, dy, dz m, Euler angles rad, change of closing
    closing: NDArray[np.float32]  # (E, T) as measured: 0 the fingers are wide open, 1 they touch
    grip: NDArray[np.int64]  # (E,) the frame at which the fingers have closed; -1: nothing is gripped
    outcome: NDArray[np.int8]  # (E, T) from that frame on HELD or LOST; UNKNOWN where nobody can tell

    def __post_init__(self) -> None:
        count, frames = self.closing.shape
        shapes = {"images": (count, frames), "actions": (count, frames - 1), "grip": (count,), "outcome": (count, frames)}
        for name, expected in shapes.items():
            if getattr(self, name).shape[: len(expected)] != expected:
                raise ValueError(f"ArmEpisodes.{name} begins with {getattr(self, name).shape}, closing says {expected}")
        if self.images.ndim != 6:
            raise ValueError(f"ArmEpisodes.images must be stretches x frames x views x 64 x 64 x 3, got {self.images.shape}")

    def __len__(self) -> int:
        return len(self.closing)

    @property
    def frames(self) -> int:
        return self.closing.shape[1]

    @property
    def views(self) -> int:
        return self.images.shape[2]

    def part(self, chosen: NDArray[Any]) -> ArmEpisodes:
        """Some of them."""
        return ArmEpisodes(**{field.name: getattr(self, field.name)[chosen] for field in fields(self)})

    @cached_property
    def fingers(self) -> NDArray[np.float32]:
        """(E, T, 2) how far they are closed, and were meant to be. What is touched at the first frame is unknown: there they are equal."""
        commanded = [self.closing[:, 0]]
        for change in self.actions[:, :, 6].T:
            commanded.append(np.clip(commanded[-1] + change, 0, 1))
        return np.stack([self.closing, np.stack(commanded, axis=1)], axis=2)

    def windows(self, generator: torch.Generator, batch: int, frames: int) -> tuple[Tensor, Tensor, Tensor]:
        """(B, T, V, Y, X, 3) uint8 images, (B, T - 1, A) actions and (B, T, 2) fingers, drawn at random."""
        which = torch.randint(len(self), (batch, 1), generator=generator).numpy()
        first = torch.randint(self.frames - frames + 1, (batch, 1), generator=generator).numpy()
        at = first + np.arange(frames)
        chosen = (self.images[which, at], self.actions[which, at[:, :-1]], self.fingers[which, at])
        return tuple(torch.from_numpy(part) for part in chosen)  # type: ignore[return-value]


def save_episodes(episodes: ArmEpisodes, path: Path) -> None:
    """One npz file; written by rename, so that it is never half a file."""
    write_arrays(path, **vars(episodes))


def load_episodes(path: Path) -> ArmEpisodes:
    """What `save_episodes` wrote. Raises ValueError for another kind of file."""
    try:
        with np.load(path) as file:
            return ArmEpisodes(**{field.name: file[field.name] for field in fields(ArmEpisodes)})
    except (OSError, KeyError, ValueError) as error:
        raise ValueError(f"{path}: no arm episodes ({error})") from error
