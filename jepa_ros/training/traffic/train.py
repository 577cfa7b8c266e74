"""`python -m jepa_ros.training traffic --cache DIR --out FILE`: teaches the forecaster of vehicles and cyclists, in simulated traffic.

Prints what it is worth in worlds that it did not learn from, beside constant velocity, and writes the same as FILE's .json.
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
from jepa_ros.forecast.learned import Calibration, covariances_of
from jepa_ros.forecast.mixture import density_rank, log_density
from jepa_ros.forecast.network import FutureEncoder, Mixture, NetworkConfig
from jepa_ros.forecast.traffic.learned import LearnedTraffic
from jepa_ros.forecast.traffic.network import TrafficConfig, TrafficNetwork, carried_on, shrunk
from jepa_ros.forecast.traffic.road_users import NEAR_MIRROR, OWN_MIRROR, SCALE_M, SPEED_MPS
from jepa_ros.training.forecaster.losses import LossConfig, latent_losses, mixture_losses
from jepa_ros.training.short_loop import Trainer, follow, prepare_out, train
from jepa_ros.training.traffic.examples import Examples, gather

FIRST_SEED, HELD_OUT_SEED = 72_000, 79_000
DRIVES_MPS, JUDGED_STEP, JUDGED_S = 1.0, 5, 2.4
CYCLES = 3  # the column of `Inputs.own` that says so
ITERATIONS = 120


@dataclass(frozen=True)
class TrafficTraining:
    """How it is trained."""

    steps: int = param(4000, "optimiser steps", at_least=1)
    batch: int = param(256, "examples a step", at_least=2)
    learning_rate: float = param(2e-3, "peak of the one-cycle schedule", at_least=0.0)
    weight_decay: float = param(0.02, "AdamW", at_least=0.0)
    average: float = param(0.997, "exponential moving average of the weights", at_least=0.0, at_most=0.9999)
    cyclists: float = param(0.4, "of the examples drawn, share of cyclists", at_least=0.0, at_most=1.0)
    noise: float = param(0.01, "added to what is read", at_least=0.0)
    forgets: float = param(0.25, "share of examples whose past is cut short", at_least=0.0, at_most=1.0)
    anneal: float = param(0.4, "part of the training after which only the winner learns", at_least=0.01, at_most=1.0)
    seed: int = 0
    network: TrafficConfig = field(default_factory=TrafficConfig)
    loss: LossConfig = field(default_factory=LossConfig)

    def __post_init__(self) -> None:
        validate(self)


class Tensors:
    """Examples as tensors, from which batches are drawn."""

    def __init__(self, examples: Examples) -> None:
        self.parts = [torch.from_numpy(getattr(examples, name)) for name in ("past", "seen", "own", "near", "present", "future", "known")]

    def batch(self, rows: Tensor) -> list[Tensor]:
        return [part[rows] for part in self.parts]


def varied(batch: list[Tensor], config: TrafficTraining, generator: torch.Generator) -> list[Tensor]:
    """The same traffic in a mirror, less exactly known, or known for a shorter while."""
    past, seen, own, near, present, future, known = batch
    count, steps = seen.shape
    mirrored = (torch.rand(count, 1, generator=generator) < 0.5).to(past.dtype)
    side = torch.cat((torch.ones_like(mirrored), 1 - 2 * mirrored), dim=1)
    past, future = past * side[:, None], future * side[:, None]
    own = own * torch.where(mirrored > 0, torch.from_numpy(OWN_MIRROR), torch.ones(len(OWN_MIRROR)))
    near = near * torch.where(mirrored[..., None] > 0, torch.from_numpy(NEAR_MIRROR), torch.ones(len(NEAR_MIRROR)))
    kept = torch.where(
        torch.rand(count, generator=generator) < config.forgets, torch.randint(1, steps, (count,), generator=generator), torch.tensor(steps)
    )
    seen = seen & (torch.arange(steps) >= steps - kept[:, None])
    past = (past + config.noise * torch.randn(past.shape, generator=generator)) * seen[..., None]
    own = torch.cat((own[:, :5], seen.float().mean(dim=1, keepdim=True)), dim=1)
    return [past, seen, own, near, present, future, known]


class TrafficTrainer(Trainer):
    """`averaged` is what is shipped."""

    def __init__(self, config: TrafficTraining, examples: Examples) -> None:
        torch.manual_seed(config.seed)
        generator = torch.Generator().manual_seed(config.seed)
        self.network = TrafficNetwork(config.network)
        self.future_encoder = FutureEncoder(NetworkConfig(width=config.network.width, latent=config.network.latent))
        self.averaged = copy.deepcopy(self.network).eval()
        self.parameters = [*self.network.parameters(), *self.future_encoder.parameters()]
        optimizer = torch.optim.AdamW(self.parameters, lr=config.learning_rate, weight_decay=config.weight_decay, fused=True)
        modules = {"network": self.network, "future_encoder": self.future_encoder, "averaged": self.averaged}
        super().__init__(config, modules, optimizer, generator)
        self.tensors = Tensors(examples)
        cycles = examples.own[:, CYCLES] > 0.5
        share = np.where(cycles, config.cyclists / max(cycles.sum(), 1), (1 - config.cyclists) / max((~cycles).sum(), 1))
        self.cumulative = torch.from_numpy(np.cumsum(share))

    def train_step(self) -> dict[str, float]:
        """One optimiser step; returns the parts of the loss."""
        config = self.config
        draw = torch.rand(config.batch, generator=self.generator, dtype=torch.float64) * self.cumulative[-1]
        rows = torch.searchsorted(self.cumulative, draw).clamp(max=len(self.cumulative) - 1)
        *inputs, future, known = varied(self.tensors.batch(rows), config, self.generator)
        self.network.train()
        mixture, predicted = self.network(*inputs)
        winners = max(1.0, config.network.modes * 0.5 * (1 - self.step / (config.anneal * config.steps)))
        parts = mixture_losses(mixture, future, known, winners)
        whole = known.all(dim=1)
        if config.loss.latent > 0 and int(whole.sum()) > 2:
            parts |= latent_losses(predicted[whole], self.future_encoder(future[whole]))
        weights = dataclasses.asdict(config.loss)
        for name in ("variance", "covariance"):
            weights[name] *= config.loss.latent
        self.descend(sum((weights[name] * value for name, value in parts.items()), torch.zeros(())), self.parameters)
        follow(self.averaged, self.network, self.step, config.average)
        return {name: float(value.detach()) for name, value in parts.items()}


@torch.no_grad()
def _mixture(network: TrafficNetwork, examples: Examples) -> tuple[Mixture, Tensor, Tensor]:
    *inputs, future, known = Tensors(examples).parts
    mixture, _ = network.eval()(*inputs)
    return shrunk(mixture, carried_on(inputs[2], network.steps), network.config.trust), future, known


def calibrate(network: TrafficNetwork, examples: Examples) -> Calibration:
    """Factor and addition to the deviations, and temperature, of the least negative log-likelihood; both classes count alike."""
    mixture, future, known = _mixture(network, examples)
    cycles = torch.from_numpy(examples.own[:, CYCLES] > 0.5)
    weight = known / torch.where(cycles, (known[cycles]).sum().clamp(min=1), (known[~cycles]).sum().clamp(min=1))[:, None]
    raw = torch.zeros(3, requires_grad=True)
    optimizer = torch.optim.Adam([raw], lr=0.05)
    for _ in range(ITERATIONS):
        scaled = dataclasses.replace(mixture, log_sigma=mixture.log_sigma + raw[0])
        covariances = covariances_of(scaled, Calibration()) + (0.005 * (2 * raw[1]).exp()).square() * torch.eye(2)
        density = log_density(future[:, None], mixture.means, covariances, (mixture.logits / raw[2].exp()).log_softmax(dim=1))[:, 0]
        loss = -(density * weight).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    scale, added, temperature = raw[0].exp(), 0.005 * (2 * raw[1]).exp(), raw[2].exp()
    values = (scale.clamp(0.2, 5.0), added.clamp(0.0, 0.5), temperature.clamp(0.2, 5.0))
    return Calibration(*(round(float(value.detach()), 4) for value in values))


def judged(forecaster: LearnedTraffic, examples: Examples) -> dict[str, dict[str, float]]:
    """Of each class, who drives now: error of the likeliest way 2.4 s ahead and of constant velocity, m; coverage of all steps."""
    mixture, future, known = _mixture(forecaster.network, examples)
    spread = covariances_of(mixture, forecaster.calibration)
    chances = (mixture.logits / forecaster.calibration.temperature).log_softmax(dim=1)
    ranks = density_rank(future, mixture.means, spread, chances, 99, torch.Generator().manual_seed(0))
    steps = torch.arange(1.0, future.shape[1] + 1) * (JUDGED_S / (JUDGED_STEP + 1) / SCALE_M)
    straight = torch.stack((torch.from_numpy(examples.own[:, :1]) * SPEED_MPS * steps, torch.zeros(len(examples), future.shape[1])), dim=-1)
    errors = [(path - future).norm(dim=-1) * SCALE_M for path in (mixture.means[:, 0], straight)]
    told = {}
    for name, cycles in (("vehicle", False), ("cyclist", True)):
        own = torch.from_numpy((examples.own[:, CYCLES] > 0.5) == cycles)
        own &= torch.from_numpy(np.abs(examples.own[:, 0]) * SPEED_MPS > DRIVES_MPS) & known[:, JUDGED_STEP]
        ours, theirs = (float(error[own, JUDGED_STEP].mean()) for error in errors)
        every = own[:, None] & known
        covered = {f"in_the_{level}_percent_region": round(float((ranks[every] <= level / 100).float().mean()), 3) for level in (50, 90)}
        told[name] = {"examples": int(own.sum()), "FDE_2.4s_m": round(ours, 3), "constant_velocity_m": round(theirs, 3), **covered}
    return told


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Of the command."""
    defaults = TrafficTraining()
    parser.add_argument("--cache", type=Path, required=True, help="folder for the examples of each world; finished ones are not made again")
    parser.add_argument("--out", type=Path, default=Path("traffic_forecaster.safetensors"), help="where the forecaster is written")
    parser.add_argument(
        "--worlds", type=int, default=96, help="simulated worlds to learn from; an eighth as many for calibration, and to judge"
    )
    parser.add_argument("--seconds", type=float, default=40.0, help="of each world")
    parser.add_argument("--seed", type=int, default=defaults.seed)
    parser.add_argument("--steps", type=int, default=defaults.steps)
    parser.add_argument("--resume", action="store_true", help="continue from the checkpoint beside --out, with the same result")


def run(args: argparse.Namespace) -> None:
    """Make examples, train, calibrate on worlds of their own, judge on others, write. Raises ValueError for bad options."""
    torch.set_num_threads(1)
    started_s = time.process_time()
    few = max(1, args.worlds // 8)
    examples = gather(range(FIRST_SEED, FIRST_SEED + args.worlds), args.seconds, args.cache)
    apart = gather(range(HELD_OUT_SEED, HELD_OUT_SEED + 2 * few), args.seconds, args.cache)
    config = TrafficTraining(seed=args.seed, steps=args.steps)
    trainer = TrafficTrainer(config, examples)
    checkpoint = args.out.with_suffix(".ckpt")
    args.out.parent.mkdir(parents=True, exist_ok=True)
    prepare_out(trainer, checkpoint, args.resume)
    train(trainer, config.steps, checkpoint, f"traffic seed {config.seed}")
    first = apart.world < HELD_OUT_SEED + few
    forecaster = LearnedTraffic(trainer.averaged, calibrate(trainer.averaged, apart.take(first)))
    report: dict[str, object] = {"held out": judged(forecaster, apart.take(~first)), "worlds": args.worlds, "seconds": args.seconds}
    report |= {"examples": len(examples), "cyclists": int((examples.own[:, CYCLES] > 0.5).sum()), "config": dataclasses.asdict(config)}
    report |= {"calibration": dataclasses.asdict(forecaster.calibration), "processor_s": round(time.process_time() - started_s)}
    report |= {"parameters": sum(value.numel() for value in trainer.averaged.parameters()), "version": __version__}
    forecaster.save(args.out, report)
    args.out.with_suffix(".json").write_text(json.dumps(report, indent=1) + "\n")
    print(json.dumps(report))
