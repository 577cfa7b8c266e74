"""Train the pedestrian forecaster: `python -m jepa_ros.training forecaster --data DIR [--exclude SCENE]`.

What it writes is not yet calibrated; see `forecaster_calibration`.
"""

from __future__ import annotations

import argparse
import copy
import dataclasses
import json
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from jepa_ros import __version__
from jepa_ros.config import param, validate
from jepa_ros.forecast.learned import LearnedForecaster
from jepa_ros.forecast.network import FutureEncoder, NetworkConfig, TrackNetwork
from jepa_ros.training.forecaster.augment import AugmentConfig, TableTensors, augment
from jepa_ros.training.forecaster.crowds import crowd_recordings
from jepa_ros.training.forecaster.data import RECORDINGS_OF_SCENE, SCENES, Recording, joined, read_recordings, table_of
from jepa_ros.training.forecaster.losses import LossConfig, latent_losses, mixture_losses
from jepa_ros.training.short_loop import Trainer, follow, prepare_out, train


@dataclass(frozen=True)
class TrainConfig:
    """How the forecaster is trained."""

    steps: int = param(6000, "optimiser steps", at_least=1)
    batch: int = param(384, "samples a step", at_least=2)
    learning_rate: float = param(2e-3, "peak of the one-cycle schedule", at_least=0.0)
    weight_decay: float = param(0.02, "AdamW", at_least=0.0)
    average: float = param(0.997, "exponential moving average of the weights", at_least=0.0, at_most=0.9999)
    balance: float = param(
        0.5, "a recording (the simulated crowds count as one) is drawn as often as its rows to this power", at_least=0.0, at_most=1.0
    )
    anneal: float = param(0.4, "part of the training after which only the winner learns", at_least=0.01, at_most=1.0)
    rates: tuple[float, ...] = param((1.0,), "annotated steps per model step, each forwards and backwards in time")
    crowds: int = param(8, "simulated places beside the recordings", at_least=0)
    seed: int = 0
    network: NetworkConfig = field(default_factory=NetworkConfig)
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    loss: LossConfig = field(default_factory=LossConfig)

    def __post_init__(self) -> None:
        validate(self)


class ForecasterTrainer(Trainer):
    """Trains the network on tracks; `averaged` is what is shipped."""

    def __init__(self, config: TrainConfig, recordings: list[Recording]) -> None:
        torch.manual_seed(config.seed)
        generator = torch.Generator().manual_seed(config.seed)
        self.network = TrackNetwork(config.network)
        self.future_encoder = FutureEncoder(config.network)
        self.averaged = copy.deepcopy(self.network).eval()
        self.parameters = [*self.network.parameters(), *self.future_encoder.parameters()]
        optimizer = torch.optim.AdamW(self.parameters, lr=config.learning_rate, weight_decay=config.weight_decay, fused=True)
        modules = {"network": self.network, "future_encoder": self.future_encoder, "averaged": self.averaged}
        super().__init__(config, modules, optimizer, generator)
        crowds = [(len(recordings), crowd) for crowd in crowd_recordings(config.crowds)]  # together one source
        table = joined([table_of(variant, source) for source, variant in _variants(recordings, config.rates) + crowds])
        usable = (table.seen.sum(axis=1) >= 2) & (table.known.sum(axis=1) >= 4)
        self.rows = torch.from_numpy(np.flatnonzero(usable))
        source = table.source[usable]
        counts = np.bincount(source, minlength=len(recordings) + 1).clip(min=1)
        self.cumulative = torch.from_numpy(np.cumsum(counts[source] ** (config.balance - 1.0)))
        self.tensors = TableTensors(table)

    def losses(self, rows: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """The weighted loss and its parts on these rows of the table."""
        config = self.config
        batch = augment(self.tensors.batch(rows), config.augment, self.generator)
        output = self.network(*batch.inputs())
        future = output.frames.to_own(batch.future)
        progress = self.step / (config.anneal * config.steps)
        winners = max(1.0, config.network.modes * 0.5 * (1 - progress))
        parts = mixture_losses(output.mixture, future, batch.known, winners)
        if config.loss.latent > 0:
            whole = batch.known.all(dim=1)
            parts |= latent_losses(output.predicted[whole], self.future_encoder(future[whole]))
        weights = dataclasses.asdict(config.loss)
        for name in ("variance", "covariance"):
            weights[name] *= config.loss.latent
        return sum((weights[name] * value for name, value in parts.items()), torch.zeros(())), parts

    def train_step(self) -> dict[str, float]:
        """One optimiser step; returns the parts of the loss."""
        self.network.train()
        draw = torch.rand(self.config.batch, generator=self.generator, dtype=torch.float64) * self.cumulative[-1]
        loss, parts = self.losses(self.rows[torch.searchsorted(self.cumulative, draw).clamp(max=len(self.rows) - 1)])
        self.descend(loss, self.parameters)
        follow(self.averaged, self.network, self.step, self.config.average)
        return {name: float(value.detach()) for name, value in parts.items()}


def _variants(recordings: list[Recording], rates: tuple[float, ...]) -> list[tuple[int, Recording]]:
    forward = [(source, recording.resampled(rate)) for rate in rates for source, recording in enumerate(recordings)]
    return forward + [(source, recording.reversed()) for source, recording in forward]


def training_recordings(data: Path, exclude: list[str]) -> list[Recording]:
    """All recordings but those of the excluded scenes."""
    unknown = sorted(set(exclude) - set(SCENES))
    if unknown:
        raise ValueError(f"--exclude {unknown[0]!r}: choose of {', '.join(SCENES)}")
    left_out = {name for scene in exclude for name in RECORDINGS_OF_SCENE[scene]}
    return [recording for name, recording in read_recordings(data).items() if name not in left_out]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `python -m jepa_ros.training forecaster`."""
    defaults = TrainConfig()
    parser.add_argument("--data", type=Path, required=True, help="folder with splits.json and the recordings of ETH/UCY")
    parser.add_argument(
        "--exclude", action="append", default=[], metavar="SCENE", help=f"leave a scene out ({', '.join(SCENES)}); repeatable"
    )
    parser.add_argument("--out", type=Path, default=Path("pedestrian_forecaster.safetensors"), help="where the forecaster is written")
    parser.add_argument("--seed", type=int, default=defaults.seed)
    parser.add_argument("--steps", type=int, default=defaults.steps)
    parser.add_argument("--crowds", type=int, default=defaults.crowds, help="simulated places to learn from as well")
    parser.add_argument("--latent-weight", type=float, default=defaults.loss.latent, help="0 trains without the latent objective")
    parser.add_argument("--threads", type=int, default=2, help="torch threads")
    parser.add_argument("--resume", action="store_true", help="continue from the checkpoint beside --out, with the same result")


def run(args: argparse.Namespace) -> None:
    """Train one forecaster and write it, not yet calibrated. Raises ValueError for bad options."""
    torch.set_num_threads(args.threads)
    config = TrainConfig(seed=args.seed, steps=args.steps, crowds=args.crowds, loss=LossConfig(latent=args.latent_weight))
    recordings = training_recordings(args.data, args.exclude)
    trainer = ForecasterTrainer(config, recordings)
    checkpoint = args.out.with_suffix(".ckpt")
    prepare_out(trainer, checkpoint, args.resume)
    started = time.monotonic()
    train(trainer, config.steps, checkpoint, f"forecaster seed {config.seed}")
    facts: dict[str, object] = {
        "recordings": [recording.name for recording in recordings],
        "recordings_left_out": sorted(name for scene in args.exclude for name in RECORDINGS_OF_SCENE[scene]),
        "config": dataclasses.asdict(config),
        "seconds": round(time.monotonic() - started, 1),
        "loss": {name: round(value, 4) for name, value in trainer.running.items()},
        "version": __version__,
    }
    LearnedForecaster(trainer.averaged).save(args.out, facts)
    print(json.dumps({"out": str(args.out), "seconds": facts["seconds"], "loss": facts["loss"]}))
