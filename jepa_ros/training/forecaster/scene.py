"""Trains the scene adapter of a forecaster: `python -m jepa_ros.training.forecaster.scene --forecaster FILE --cache DIR`.

The forecaster stays as it is; a `SceneAdapter` beside it learns, from simulated places and from your own bags, what the scene latents
change in its forecasts. Without latents the forecaster then says exactly what it said before. One that has an adapter already is taught on.

Axes: B sample, G point of a crop, K mode, H future step.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from jepa_ros import __version__
from jepa_ros.config import param, validate
from jepa_ros.forecast.learned import LearnedForecaster, read_metadata
from jepa_ros.forecast.network import Encoded
from jepa_ros.forecast.scene import SceneAdapter, sample, split_people
from jepa_ros.sim.places.worlds import SCENARIOS
from jepa_ros.training.forecaster.augment import AugmentConfig, Batch, TableTensors, augment
from jepa_ros.training.forecaster.data import joined
from jepa_ros.training.forecaster.losses import LossConfig, mixture_losses
from jepa_ros.training.forecaster.worlds import CELL_M, FARTHEST_CM, World, worlds
from jepa_ros.training.short_loop import Trainer, follow, prepare_out, train

FIRST_SEED = 6000  # of the range for training; see jepa_ros.sim


@dataclass(frozen=True)
class SceneTrainConfig:
    """How the adapter is trained."""

    steps: int = param(4000, "optimiser steps", at_least=1)
    batch: int = param(128, "samples a step", at_least=2)
    learning_rate: float = param(1.5e-3, "peak of the one-cycle schedule", at_least=0.0)
    weight_decay: float = param(0.02, "AdamW", at_least=0.0)
    average: float = param(0.995, "exponential moving average of the weights", at_least=0.0, at_most=0.9999)
    obstacles: float = param(30.0, "weight of paths through obstacles", at_least=0.0)
    clearance_m: float = param(0.25, "paths nearer to an obstacle cost", at_least=0.0, at_most=1.0)
    deepest_m: float = param(0.5, "paths deeper inside an obstacle cost no more", at_least=0.0, at_most=1.0)
    seed: int = 0
    augment: AugmentConfig = field(default_factory=lambda: AugmentConfig(scale_low=0.8, scale_high=1.25))
    loss: LossConfig = field(default_factory=lambda: LossConfig(latent=0.0))

    def __post_init__(self) -> None:
        validate(self)


class Surroundings:
    """The maps of all worlds, to be read at any place of any of them."""

    def __init__(self, places: list[World]) -> None:
        frames = np.cumsum([0, *(len(place.poses) for place in places)])
        self.first_frame = torch.from_numpy(frames[:-1])
        self.maps = torch.from_numpy(np.concatenate([_maps_with_people(place) for place in places]))
        self.poses = torch.from_numpy(np.concatenate([place.poses for place in places]))
        known = [
            place if place.distance_cm.size else dataclasses.replace(place, distance_cm=np.full((1, 1), FARTHEST_CM, np.int8))
            for place in places
        ]
        self.shape = torch.tensor([place.distance_cm.shape for place in known])
        self.corner = torch.from_numpy(np.stack([place.origin_m for place in known]))
        sizes = np.cumsum([0, *(place.distance_cm.size for place in known)])
        self.first_cell = torch.from_numpy(sizes[:-1])
        self.distance = torch.from_numpy(np.concatenate([place.distance_cm.ravel() for place in known]))

    def crops(self, source: Tensor, instant: Tensor, points: Tensor) -> Tensor:
        """(B, CHANNELS, *CROP) at fixed-frame crop points (B, G, 2), as seen at that instant of that world."""
        frame = self.first_frame[source] + instant
        pose = self.poses[frame]
        there = (points - pose[:, None, :2, 3]) @ pose[:, :2, :2]
        crops = [sample(self.maps[at].float(), points[None]) for at, points in zip(frame.tolist(), there.float(), strict=True)]
        return torch.cat(crops)

    def distance_m(self, source: Tensor, points: Tensor) -> Tensor:
        """(B, ...) metres to the nearest obstacle, negative inside, bilinear, at fixed-frame points (B, ..., 2)."""
        shape = (len(source),) + (1,) * (points.dim() - 2)
        place = (points - self.corner[source].view(*shape, 2)) / CELL_M - 0.5
        low = place.floor()
        share = (place - low).float()
        x, y = low.long().unbind(-1)
        rows, columns = self.shape[source].view(*shape, 2).unbind(-1)
        total = torch.zeros(points.shape[:-1])
        for dx, weight_x in ((0, 1 - share[..., 0]), (1, share[..., 0])):
            for dy, weight_y in ((0, 1 - share[..., 1]), (1, share[..., 1])):
                column, row = torch.minimum((x + dx).clamp(min=0), columns - 1), torch.minimum((y + dy).clamp(min=0), rows - 1)
                index = self.first_cell[source].view(shape) + row * columns + column
                total = total + weight_x * weight_y * self.distance[index].float()
        return total / 100


def _maps_with_people(place: World) -> np.ndarray:
    """(F, Y, X, CHANNELS) uint8."""
    recording = place.recording
    maps = []
    for frame, (returns, pose) in enumerate(zip(place.maps(), place.poses, strict=True)):
        there = recording.positions_m[frame, recording.present[frame] & place.visible[frame]].astype(np.float64)
        maps.append(split_people(torch.from_numpy(returns), (there - pose[:2, 3]) @ pose[:2, :2]).numpy())
    return np.stack(maps)


class SceneTrainer(Trainer):
    """Trains an adapter beside a frozen network; `averaged` is what is shipped."""

    def __init__(self, config: SceneTrainConfig, base: LearnedForecaster, places: list[World]) -> None:
        self.network = base.network.requires_grad_(False)
        torch.manual_seed(config.seed)
        generator = torch.Generator().manual_seed(config.seed)
        self.adapter = SceneAdapter(base.network.config)
        if base.adapter is not None:
            self.adapter.load_state_dict(base.adapter.state_dict())
        self.averaged = SceneAdapter(base.network.config)
        self.averaged.load_state_dict(self.adapter.state_dict())
        optimizer = torch.optim.AdamW(self.adapter.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay)
        super().__init__(config, {"adapter": self.adapter, "averaged": self.averaged}, optimizer, generator)
        table = joined([place.table(source) for source, place in enumerate(places)])
        self.rows = torch.from_numpy(np.flatnonzero((table.seen.sum(axis=1) >= 2) & (table.known.sum(axis=1) >= 4)))
        if not len(self.rows):
            raise ValueError("nobody was seen twice and followed for 1.6 s; give more worlds, or bags with people in them")
        self.tensors, self.origin = TableTensors(table), torch.from_numpy(table.history_m[:, -1])
        self.source, self.instant = torch.from_numpy(table.source), torch.from_numpy(table.instant)
        self.surroundings = Surroundings(places)

    def losses(self, rows: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """The weighted loss and its parts on these rows of the table."""
        config = self.config
        batch = augment(self.tensors.batch(rows), config.augment, self.generator)
        with torch.no_grad():
            encoded = self.network.encode(*batch.inputs())
            points = self._fixed(batch, rows, self.adapter.points_of(encoded.frames))
            crops = self.surroundings.crops(self.source[rows], self.instant[rows], points)
        output = self.network.decode(encoded, self.adapter(crops, encoded))
        parts = mixture_losses(output.mixture, encoded.frames.to_own(batch.future), batch.known, winners=1.0)
        parts["obstacles"] = self._obstacles(batch, rows, encoded, output.mixture.means, output.mixture.logits)
        weights = {**dataclasses.asdict(config.loss), "obstacles": config.obstacles}
        return sum((weights[name] * value for name, value in parts.items()), torch.zeros(())), parts

    def _fixed(self, batch: Batch, rows: Tensor, points: Tensor) -> Tensor:
        """(B, ..., 2) places of the augmented batch -> the fixed frame of their world."""
        shape = (len(points),) + (1,) * (points.dim() - 2) + (2,)
        return points / batch.world.view(shape) + self.origin[rows].double().view(shape)

    def _obstacles(self, batch: Batch, rows: Tensor, encoded: Encoded, means: Tensor, logits: Tensor) -> Tensor:
        """How deep paths reach into obstacles at worst: half by the most likely path, half by all modes by their probability."""
        halfway = torch.cat((0.5 * means[:, :, :1], 0.5 * (means[:, :, 1:] + means[:, :, :-1])), dim=2)
        paths = encoded.frames.to_world(torch.cat((halfway, means), dim=2))
        depth = self.config.clearance_m - self.surroundings.distance_m(self.source[rows], self._fixed(batch, rows, paths))
        cost = depth.amax(dim=2).clamp(0.0, self.config.clearance_m + self.config.deepest_m)
        return (0.5 * cost[:, 0] + 0.5 * (cost * logits.detach().softmax(dim=1)).sum(dim=1)).mean()

    def train_step(self) -> dict[str, float]:
        """One optimiser step; returns the parts of the loss."""
        loss, parts = self.losses(self.rows[torch.randint(len(self.rows), (self.config.batch,), generator=self.generator)])
        self.descend(loss, self.adapter.parameters())
        follow(self.averaged, self.adapter, self.step, self.config.average)
        return {name: float(value.detach()) for name, value in parts.items()}


def simulated(count: int, first_seed: int = FIRST_SEED) -> list[tuple[str, int]]:
    """`count` places, the scenarios of the simulator in turn."""
    names = list(SCENARIOS)
    return [(names[index % len(names)], first_seed + index) for index in range(count)]


def main(argv: Sequence[str] | None = None) -> None:
    """Train an adapter for a forecaster and write both to one file. Raises ValueError for bad options."""
    defaults = SceneTrainConfig()
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--forecaster", type=Path, required=True, help="a trained forecaster; stays as it is unless --out names it")
    parser.add_argument("--cache", type=Path, required=True, help="folder that keeps what was simulated or read from bags")
    parser.add_argument("--worlds", type=int, default=128, help="simulated places")
    parser.add_argument("--bags", type=Path, nargs="*", default=[], help="your own recordings, with a lidar")
    parser.add_argument("--out", type=Path, required=True, help="where the forecaster with its adapter is written")
    parser.add_argument("--steps", type=int, default=defaults.steps)
    parser.add_argument("--seed", type=int, default=defaults.seed)
    parser.add_argument("--threads", type=int, default=1, help="torch threads")
    parser.add_argument("--resume", action="store_true", help="continue from the checkpoint beside --out, with the same result")
    args = parser.parse_args(argv)
    torch.set_num_threads(args.threads)
    config = SceneTrainConfig(steps=args.steps, seed=args.seed)
    base = LearnedForecaster.load(args.forecaster)
    facts = json.loads(read_metadata(args.forecaster)["training"])
    trainer = SceneTrainer(config, base, worlds(args.cache, simulated(args.worlds), args.bags))
    checkpoint = args.out.with_suffix(".scene.ckpt")
    prepare_out(trainer, checkpoint, args.resume)
    started = time.monotonic()
    train(trainer, config.steps, checkpoint, "scene adapter")
    about = {
        "worlds": args.worlds,
        "bags": [bag.name for bag in args.bags],
        "config": dataclasses.asdict(config),
        "seconds": round(time.monotonic() - started, 1),
        "loss": {name: round(value, 4) for name, value in trainer.running.items()},
        "version": __version__,
    }
    LearnedForecaster(base.network, base.calibration, trainer.averaged).save(args.out, facts | {"scene": [*facts.get("scene", []), about]})
    print(json.dumps({"out": str(args.out), "seconds": about["seconds"], "loss": about["loss"]}))


if __name__ == "__main__":
    main()
