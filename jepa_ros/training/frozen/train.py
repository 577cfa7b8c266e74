"""`frozen`: a predictor and probes of one's own on any back-end's frozen latents, from bags.

The start is persistence: an untrained predictor answers with the newest latent. Whenever validation is worse than that start, it is said at
once, and what is saved is the best predictor so far; where none was ever better, the start.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from jepa_ros.backends import load_world_model
from jepa_ros.backends.frozen.model import WEIGHTS, save
from jepa_ros.backends.frozen.network import FrozenConfig, FrozenNetwork
from jepa_ros.config import load as load_config
from jepa_ros.config import param, validate
from jepa_ros.protocols import WorldModel
from jepa_ros.training import checkpoint as checkpoints
from jepa_ros.training.frozen.cache import CachedPart, cache_bags, fingerprint
from jepa_ros.training.frozen.report import evaluate, latent_error
from jepa_ros.training.frozen.windows import Batch, FrozenWindows
from jepa_ros.training.losses import occupancy_loss

VALIDATION_WINDOWS = 48


@dataclass(frozen=True)
class FrozenTraining:
    """A training run."""

    steps: int = param(1500, "optimiser steps", at_least=1)
    batch: int = param(4, "windows per step", at_least=1)
    targets: int = param(3, "future steps per window that are predicted", at_least=1)
    learning_rate: float = param(1.5e-3, "peak learning rate", at_least=0.0)
    weight_decay: float = param(0.02, "AdamW weight decay", at_least=0.0)
    warmup: int = param(50, "steps to the peak learning rate", at_least=1)
    people_weight: float = param(10.0, "weight of the people's loss beside the occupancy's", at_least=0.0)
    history: int = param(4, "steps that the predictor sees", at_least=1)
    horizon: int = param(12, "steps that it predicts", at_least=1)
    width: int = param(128, "width of predictor and probe", at_least=8)
    depth: int = param(3, "blocks of the predictor", at_least=1)
    max_rate_hz: float = param(10.0, "frames closer in time than this allows are dropped", at_least=0.01)
    validation: float = param(
        0.2, "share of the bags, the last ones, that is validated on; of a single bag its end", at_least=0.01, at_most=0.9
    )
    validate_every: int = param(100, "steps between validations and checkpoints", at_least=1)
    seed: int = param(0, "of everything random", at_least=0)

    def __post_init__(self) -> None:
        validate(self)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of this command."""
    parser.add_argument("bags", nargs="+", type=Path, metavar="BAG", help="bag folders, .mcap or .db3 files; the last ones validate")
    parser.add_argument("--model", required=True, help="the back-end that is left as it is")
    parser.add_argument("--weights", default="", help="what that back-end is loaded with; default: its shipped weights")
    parser.add_argument("--out", type=Path, required=True, help="folder for latents, checkpoint and result")
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda")
    parser.add_argument("--config", type=Path, help="YAML file of FrozenTraining fields")
    parser.add_argument("--steps", type=int, help="optimiser steps, instead of the file's")


def run(args: argparse.Namespace) -> None:
    """Runs the command with these options."""
    training = load_config(FrozenTraining, args.config) if args.config else FrozenTraining()
    training = dataclasses.replace(training, steps=args.steps) if args.steps else training
    base = load_world_model(args.model, args.device, **({"weights": args.weights} if args.weights else {}))
    parts = cache_bags(base, args.bags, args.out / "latents", training.max_rate_hz)
    trainer = Trainer(base, args.model, args.weights, parts, training)
    network = trainer.train(args.out)
    report = evaluate(base, network, trainer.validation)
    print(report.table())
    print(f"start it: ros2 run jepa_ros world_model --ros-args -p autostart:=true -p model:=frozen -p pipeline.weights:={args.out}")
    print(json.dumps({**report.as_dict(), "best_over_start": trainer.best}))


def _sees_lidar(part: CachedPart) -> bool:
    """Whether a part of a bag has sweeps; every tenth frame is looked at."""
    return any(part.has_lidar(frame) for frame in range(0, len(part), 10))


class Trainer:
    """Holds what a training needs; `train` is the loop."""

    def __init__(self, base: WorldModel, model: str, weights: str, parts: list[list[CachedPart]], training: FrozenTraining) -> None:
        self.training = training
        self.best = 1.0  # lowest validation error over that of the frozen start
        self._parts = fingerprint(parts)
        lidar = any(_sees_lidar(part) for bag in parts for part in bag)
        tokens, width = base.spec.latent_shape
        self.config = FrozenConfig(
            model=model,
            weights=weights,
            version=str(base.spec.version),
            tokens=tokens,
            latent_width=width,
            on_grid=base.spec.grid is not None,
            dt_s=base.spec.dt_s,
            history=training.history,
            horizon=training.horizon,
            width=training.width,
            depth=training.depth,
            probes=lidar,
        )
        train, validation = split(parts, training.validation)
        self.windows = FrozenWindows(base, self.config, train)
        self.validation = FrozenWindows(base, self.config, validation)
        for name, windows in (("train", self.windows), ("validate", self.validation)):
            if not windows.anchors:
                raise ValueError(f"nothing to {name} on: no frame has another one {base.spec.dt_s} s later; give longer or more bags")

    def train(self, out: Path) -> FrozenNetwork:
        """Train, going on from `out`/checkpoint.pt where there is one; returns the best network, also left in `out`."""
        torch.manual_seed(self.training.seed)
        network = FrozenNetwork(self.config)
        standardise(network, self.windows.parts)
        optimizer = torch.optim.AdamW(network.parameters(), self.training.learning_rate, weight_decay=self.training.weight_decay)
        start = {key: value.clone() for key, value in network.predictor.state_dict().items()}
        best, begin = start, 0
        identity = {"training": dataclasses.asdict(self.training), "network": dataclasses.asdict(self.config), "frames": self._parts}
        if (out / "checkpoint.pt").is_file():
            state = checkpoints.read(out / "checkpoint.pt")
            if {key: state.config[key] for key in identity} != identity:
                raise ValueError(f"{out}/checkpoint.pt is of other bags or another configuration; name another --out")
            network.load_state_dict(state.model)
            optimizer.load_state_dict(state.optimizer)
            begin, best, self.best = state.step, state.config["best_predictor"], state.config["best"]
        bar = tqdm(range(begin, self.training.steps), total=self.training.steps, initial=begin, desc="frozen", unit="step", mininterval=5)
        for step in bar:
            bar.set_postfix({key: f"{value:.3f}" for key, value in self._step(network, optimizer, step).items()}, refresh=False)
            if (step + 1) % self.training.validate_every and step + 1 < self.training.steps:
                continue
            ratio = self.over_start(network)
            self._say(step + 1, ratio)
            if ratio < self.best:
                self.best, best = ratio, {key: value.clone() for key, value in network.predictor.state_dict().items()}
            held = {**identity, "best": self.best, "best_predictor": best}
            checkpoints.write(out / "checkpoint.pt", checkpoints.Checkpoint(step + 1, network.state_dict(), optimizer.state_dict(), held))
        network.predictor.load_state_dict(best)
        save(network, out / WEIGHTS, {"steps": self.training.steps, "best_over_start": self.best})
        return network.eval()

    def _say(self, step: int, ratio: float) -> None:
        tqdm.write(f"step {step}: validation error {ratio:.3f} of the frozen start's")
        if ratio > 1:
            tqdm.write(
                f"WARNING: at step {step} the predictor predicts worse than the frozen start, for which nothing changes "
                f"({ratio:.2f} of its error). Lower learning_rate (now {self.training.learning_rate}), or give more bags. "
                f"What is kept is the best so far ({self.best:.3f})."
            )

    def _step(self, network: FrozenNetwork, optimizer: torch.optim.Optimizer, step: int) -> dict[str, float]:
        rate = min(1.0, (step + 1) / self.training.warmup) * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * step / self.training.steps)))
        for group in optimizer.param_groups:
            group["lr"] = self.training.learning_rate * rate
        rng = np.random.default_rng((self.training.seed, step))
        # One step from each of equal parts of the horizon: every batch has near and far ones.
        steps = np.array([rng.choice(part) for part in np.array_split(np.arange(self.config.horizon), self.training.targets)])
        anchors = self.windows.anchors
        batch = self.windows.batch([anchors[k] for k in rng.integers(len(anchors), size=self.training.batch)], steps)
        predicted = network.predict(batch.history_BTND, batch.actions_BHA, batch.steps_S)
        prediction = latent_error(network, predicted, batch.target_BSND, batch.valid_BSN)
        unchanged = latent_error(network, batch.history_BTND[:, -1:].expand_as(batch.target_BSND), batch.target_BSND, batch.valid_BSN)
        scalars = {"prediction_over_start": float(prediction.detach() / unchanged.clamp(min=1e-9))}
        loss = prediction
        if self.config.probes:
            # A probe that knows observed latents only fails on imagined ones. Its gradient stays its own.
            read = torch.cat([batch.history_BTND[:, -1:], predicted.detach()], dim=1)
            probe = probe_loss(network, read, batch, self.training.people_weight)
            scalars["probe"] = float(probe.detach())
            loss = loss + probe
        if not torch.isfinite(loss):
            raise ValueError(f"the loss is {loss.item()} at step {step}; lower learning_rate (now {self.training.learning_rate})")
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        return scalars

    @torch.no_grad()
    def over_start(self, network: FrozenNetwork) -> float:
        """Validation error over that of the frozen start, on the same windows each time."""
        anchors = self.validation.anchors
        chosen = [anchors[k] for k in np.linspace(0, len(anchors) - 1, min(VALIDATION_WINDOWS, len(anchors))).astype(int)]
        steps = np.unique(np.linspace(0, self.config.horizon - 1, 4).astype(np.int64))
        error = start = 0.0
        for anchor in chosen:
            batch = self.validation.batch([anchor], steps)
            weight = float(batch.valid_BSN.sum())
            predicted = network.predict(batch.history_BTND, batch.actions_BHA, batch.steps_S)
            error += weight * float(latent_error(network, predicted, batch.target_BSND, batch.valid_BSN))
            unchanged = batch.history_BTND[:, -1:].expand_as(batch.target_BSND)
            start += weight * float(latent_error(network, unchanged, batch.target_BSND, batch.valid_BSN))
        return error / max(start, 1e-12)


def probe_loss(network: FrozenNetwork, latents_BSND: Tensor, batch: Batch, people_weight: float) -> Tensor:
    """Cross-entropy of occupancy and people, over what the sweeps could see."""
    logits = network.read(latents_BSND.flatten(0, 1))
    labels, visible = batch.labels_BSCYX.flatten(0, 1), batch.visible_BSYX.flatten(0, 1)
    occupancy = occupancy_loss(logits[:, 0], labels[:, 0], visible)
    return occupancy + people_weight * occupancy_loss(logits[:, 1], labels[:, 1], visible)


def split(parts: list[list[CachedPart]], share: float) -> tuple[list[CachedPart], list[CachedPart]]:
    """(train, validation): the last bags validate; of a single bag the last part or the end of the only one."""
    if len(parts) > 1:
        last = max(1, round(share * len(parts)))
        return [part for bag in parts[:-last] for part in bag], [part for bag in parts[-last:] for part in bag]
    (bag,) = parts
    frames = sum(len(part) for part in bag)
    border = round((1 - share) * frames)
    return [part.between(0, border - begin) for part, begin in _begins(bag)], [
        part.between(border - begin, len(part)) for part, begin in _begins(bag)
    ]


def _begins(bag: list[CachedPart]) -> list[tuple[CachedPart, int]]:
    return list(zip(bag, np.cumsum([0, *(len(part) for part in bag)])[:-1].tolist(), strict=True))


def standardise(network: FrozenNetwork, parts: list[CachedPart], samples: int = 64) -> None:
    """Set the network's mean and scale of each channel from frames spread over the training parts."""
    every = [(part, k) for part in parts for k in range(len(part))]
    chosen = [every[k] for k in np.linspace(0, len(every) - 1, min(samples, len(every))).astype(int)]
    latents = torch.cat([torch.from_numpy(part.latents([k])[0]) for part, k in chosen])
    network.mean.copy_(latents.mean(0))
    network.scale.copy_(latents.std(0).clamp(min=1e-3))
