"""Batches of tracks as a tracker would give them: jitter, dropped steps, short histories, id switches; other scales and mirrored worlds."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from jepa_ros.config import param, validate
from jepa_ros.forecast.network import fill
from jepa_ros.objects.time_steps import HISTORY
from jepa_ros.training.forecaster.data import TrackTable


@dataclass(frozen=True)
class AugmentConfig:
    """What is done to how many of the samples."""

    jitter_fraction: float = param(0.6, "samples with jitter", at_least=0.0, at_most=1.0)
    jitter_m: float = param(0.08, "largest standard deviation of the jitter", at_least=0.0)
    jitter_memory: float = param(
        0.95, "largest correlation of the jitter of one step with the next: a smoothing tracker", at_least=0.0, at_most=0.99
    )
    scale_low: float = param(0.6, "smallest scale of the world", at_least=0.1)
    scale_high: float = param(1.9, "largest scale of the world", at_least=1.0)
    short_fraction: float = param(0.12, "samples with two to seven steps of history", at_least=0.0, at_most=1.0)
    gap_fraction: float = param(0.12, "samples with dropped steps", at_least=0.0, at_most=1.0)
    switch_fraction: float = param(0.02, "samples whose older history is somebody else's", at_least=0.0, at_most=1.0)

    def __post_init__(self) -> None:
        validate(self)


@dataclass
class Batch:
    """Axes: B sample, T history step, H future step, M neighbour. World frame with the origin at the true position now."""

    history: Tensor  # (B, T, 2)
    seen: Tensor  # (B, T)
    near: Tensor  # (B, M, T, 2)
    near_seen: Tensor  # (B, M, T)
    future: Tensor  # (B, H, 2)
    known: Tensor  # (B, H)
    world: Tensor  # (B, 1, 2) what x and y were multiplied by

    def inputs(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """What the network reads: histories without holes, and which steps of them were seen."""
        return fill(self.history, self.seen), self.seen, fill(self.near, self.near_seen), self.near_seen


class TableTensors:
    """A TrackTable as tensors, from which batches are gathered."""

    def __init__(self, table: TrackTable) -> None:
        self.history = torch.from_numpy(table.history_m)
        self.seen = torch.from_numpy(table.seen)
        self.future = torch.from_numpy(table.future_m)
        self.known = torch.from_numpy(table.known)
        self.neighbours = torch.from_numpy(table.neighbours)

    def batch(self, rows: Tensor) -> Batch:
        """The rows as they were recorded."""
        near = self.neighbours[rows]
        origin = self.history[rows, -1]
        return Batch(
            self.history[rows] - origin[:, None],
            self.seen[rows],
            self.history[near] - origin[:, None, None],
            self.seen[near] & (near >= 0)[..., None],
            self.future[rows] - origin[:, None],
            self.known[rows],
            torch.ones(len(rows), 1, 2),
        )


def augment(batch: Batch, config: AugmentConfig, generator: torch.Generator) -> Batch:
    """A new batch; the future is scaled and mirrored with the world but never jittered."""
    count = len(batch.history)

    def uniform(*shape: int) -> Tensor:
        return torch.rand(*shape, generator=generator)

    ratio = torch.tensor(config.scale_high / config.scale_low)
    scale = config.scale_low * ratio ** uniform(count)
    world = torch.stack((scale, scale * torch.where(uniform(count) < 0.5, 1.0, -1.0)), dim=-1)[:, None]
    history, future, near = batch.history * world, batch.future * world, batch.near * world[:, None]
    seen, near_seen = batch.seen, batch.near_seen

    switch = (uniform(count) < config.switch_fraction) & near_seen[:, 0].all(dim=-1)
    older = torch.arange(HISTORY) < torch.randint(1, HISTORY - 1, (count, 1), generator=generator)
    taken = (switch[:, None] & older & seen)[..., None]
    history = torch.where(taken, near[:, 0], history)

    jittered = uniform(count) < config.jitter_fraction
    sigma = torch.where(jittered, config.jitter_m * uniform(count), torch.zeros(count))
    memory = config.jitter_memory * uniform(count) * (uniform(count) < 0.3)
    noise = _correlated_noise((count, near.shape[1] + 1), memory, generator) * sigma[:, None, None, None]
    history, near = history + noise[:, 0], near + noise[:, 1:]

    steps = torch.arange(HISTORY)
    keep = 2 + torch.randint(0, HISTORY - 2, (count,), generator=generator)
    short = uniform(count) < config.short_fraction
    seen = seen & ~(short[:, None] & (steps < HISTORY - keep[:, None]))
    gappy = (uniform(count) < config.gap_fraction)[:, None]
    dropped = gappy & (uniform(count, HISTORY) < 0.2)
    # A dropped newest step is rarer: trackers publish what they have just seen.
    dropped[:, -1] &= uniform(count) < 0.3
    left = seen & ~dropped
    seen = torch.where((left.sum(dim=-1) >= 2)[:, None], left, seen)
    near_seen = near_seen & ~(gappy[:, None] & (uniform(*near_seen.shape) < 0.2))
    return Batch(history, seen, near, near_seen, future, batch.known, batch.world * world)


def _correlated_noise(shape: tuple[int, int], memory: Tensor, generator: torch.Generator) -> Tensor:
    """(*shape, T, 2) of unit variance; each step remembers `memory` (B,) of the one before."""
    fresh = torch.randn(*shape, HISTORY, 2, generator=generator)
    memory = memory[:, None, None]
    noise = [fresh[:, :, 0]]
    for step in range(1, HISTORY):
        noise.append(memory * noise[-1] + (1 - memory.square()).sqrt() * fresh[:, :, step])
    return torch.stack(noise, dim=2)
