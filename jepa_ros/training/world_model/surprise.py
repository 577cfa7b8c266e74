"""`surprise`: fit the critic that distinguishes unusual from usual changes, on bags in which nothing unusual happens.

It learns how likely a lidar return is in each cell one model step on, from what a frozen scene_jepa holds of the past and predicts: no
event is ever shown to it. To be fitted anew whenever the weights of scene_jepa change; a critic of other weights is not used.
"""

from __future__ import annotations

import argparse
import copy
import math
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from tqdm import tqdm

from jepa_ros.backends.bev import warp
from jepa_ros.backends.scene_jepa.config import BODY
from jepa_ros.backends.scene_jepa.critic import (
    HALF_M,
    NEAR_YX,
    CriticConfig,
    CriticNetwork,
    SceneCritic,
    critic_path,
    observed,
    save_critic,
    visible,
)
from jepa_ros.backends.scene_jepa.model import SceneJepa, load
from jepa_ros.memory import LatentMemory, steady_motion
from jepa_ros.sensing.bag import open_bag
from jepa_ros.types import NANOSECONDS, FloatArray

BATCH = 6
LEARNING_RATE = 3e-3  # at its highest, after WARM_UP steps; then it falls to 0 along a cosine
WARM_UP = 100
VALIDATION = 0.15  # share of the bags, the last ones
SIMULATED = 40  # worlds that are made where no bag is named


@dataclass(frozen=True)
class Instant:
    """One encoded observation."""

    stamp_ns: int
    odom_from_anchor: FloatArray  # (4, 4)
    latent_ND: Tensor
    motion_1A: Tensor  # what the ego is taken to intend, one model step ahead


@dataclass(frozen=True)
class Sample:
    """One instant and what came one model step later."""

    seen_CYX: Tensor  # uint8, 255 = 1: see SceneCritic.seen
    new_from_old: FloatArray  # (4, 4)
    body_ZYX: Tensor  # bool: returns that came, in the new anchor frame
    visible_YX: Tensor  # bool: cells that the new sweep shows


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of this command."""
    parser.add_argument("bags", nargs="*", type=Path, help=f"bags with a lidar; default: {SIMULATED} simulated worlds, made for this")
    parser.add_argument("--weights", type=Path, help="scene_jepa weights; default: the shipped ones")
    parser.add_argument("--out", type=Path, help="default: beside the weights, where the critic is looked for")
    parser.add_argument("--steps", type=int, default=3000, help="optimiser steps (default: %(default)s)")
    parser.add_argument("--samples", type=int, default=2000, help="instants kept, drawn evenly; 0.4 MB each (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of everything random (default: %(default)s)")


def run(args: argparse.Namespace) -> None:
    """Runs the command with these options."""
    model = load("cpu", args.weights)
    assert model.weights is not None
    with tempfile.TemporaryDirectory() as folder:
        bags = args.bags or simulate(Path(folder), SIMULATED)
        held_out = max(1, round(VALIDATION * len(bags)))
        if len(bags) <= held_out:
            raise ValueError(f"{len(bags)} bags: at least 2 are needed, the last for validation")
        rng = np.random.default_rng(args.seed)
        usual = collect(model, bags[:-held_out], args.samples, rng)
        validation = collect(model, bags[-held_out:], args.samples, rng)
    network = fit(usual, CriticConfig(), args.steps, rng)
    about = {
        "bags": len(bags) - held_out,
        "simulated": not args.bags,
        "samples": len(usual),
        "steps": args.steps,
        "validation_nats_per_visible_cell": round(likelihood(lambda sample: network(seen([sample])), validation), 5),
        "of_the_prediction_itself": round(likelihood(_predicted, validation), 5),
    }
    out = args.out or critic_path(model.weights)
    save_critic(network, model, out, about)
    print(f"{out}: {about}")


def simulate(folder: Path, count: int) -> list[Path]:
    """Bags of 20 s from the first training seeds. A ValueError where MuJoCo is not installed."""
    try:
        from jepa_ros.sim.bag import BagSpec, write_bag
        from jepa_ros.sim.places.worlds import SCENARIOS
    except ModuleNotFoundError as error:
        raise ValueError(f"simulated worlds need {error.name} (pip install 'jepa_ros[sim]'); or name bags") from error
    places = list(SCENARIOS)
    specs = [BagSpec(seed, places[seed % len(places)], rate_hz=2.5, camera_size=(256, 96)) for seed in range(count)]
    return [write_bag(folder / str(spec.seed), spec) for spec in tqdm(specs, desc="simulate", unit="bag")]


@torch.inference_mode()
def collect(model: SceneJepa, bags: Sequence[Path], limit: int, rng: np.random.Generator) -> list[Sample]:
    """Instants of the bags, one model step apart; at most `limit`, each as likely to be kept. Raises ValueError where there is none."""
    kept: list[Sample] = []
    count = 0
    for bag in tqdm(bags, desc="encode", unit="bag"):
        for sample in samples(model, instants(model, bag)):
            count += 1
            if len(kept) < limit:
                kept.append(sample)
            elif (place := int(rng.integers(count))) < limit:
                kept[place] = sample
    if not kept:
        raise ValueError(f"no two lidar sweeps {model.spec.dt_s} s apart in {', '.join(str(bag) for bag in bags)}")
    return kept


def instants(model: SceneJepa, bag: Path) -> Iterator[Instant]:
    """Of one bag, in its order, a model step apart."""
    step_ns = round(model.spec.dt_s * NANOSECONDS)
    last_ns: int | None = None
    for observation in open_bag(bag):
        if observation.lidar is None or (last_ns is not None and observation.stamp_ns - last_ns < step_ns * 0.875):
            continue
        last_ns = observation.stamp_ns
        motion = torch.as_tensor(steady_motion(observation.ego, 1, model.spec.dt_s), dtype=torch.float32)
        yield Instant(observation.stamp_ns, observation.odom_from_anchor, model.encode(observation)[0], motion)


def samples(model: SceneJepa, stream: Iterable[Instant]) -> Iterator[Sample]:
    """What the model predicts at each instant, and what came one model step later."""
    memory, critic = LatentMemory(model), SceneCritic(CriticNetwork(CriticConfig()), model.spec.dt_s)
    step_ns = round(model.spec.dt_s * NANOSECONDS)
    last: tuple[Instant, Tensor] | None = None
    for now in stream:
        if last and now.stamp_ns - last[0].stamp_ns < step_ns * 1.25:
            observed_ZYX = observed(now.latent_ND)
            new_from_old = np.linalg.inv(now.odom_from_anchor) @ last[0].odom_from_anchor
            yield Sample(last[1], new_from_old, observed_ZYX[BODY] > 0.5, visible(observed_ZYX) > 0)
        memory.add(now.stamp_ns, now.odom_from_anchor, now.latent_ND)
        predicted_ND = model.predict(memory.history(), now.motion_1A[None])[0, 0]
        view = critic.seen(now.stamp_ns, now.odom_from_anchor, now.latent_ND, predicted_ND)
        last = now, (255 * view).round().byte()


def fit(
    usual: list[Sample],
    config: CriticConfig,
    steps: int,
    rng: np.random.Generator,
    begin: CriticNetwork | None = None,
    learning_rate: float = LEARNING_RATE,
) -> CriticNetwork:
    """Maximum likelihood of the returns in all cells that the new sweep shows, over scenes that are turned and mirrored at random.

    begin: a network to go on from, which stays as it is; None = a new one.
    """
    torch.manual_seed(int(rng.integers(2**31)))
    network = CriticNetwork(config) if begin is None else copy.deepcopy(begin).requires_grad_(True).train()
    optimizer = torch.optim.AdamW(network.parameters(), learning_rate)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min((step + 1) / WARM_UP, 0.5 * (1 + math.cos(math.pi * min(step / steps, 1))))
    )
    for _ in tqdm(range(steps), desc="fit", unit="step", mininterval=5):
        batch = [turned(usual[index], int(rng.integers(4)), bool(rng.integers(2))) for index in rng.integers(len(usual), size=BATCH)]
        loss = _loss(network(seen(batch)), batch)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        schedule.step()
    return network.eval()


def turned(sample: Sample, quarters: int, mirrored: bool) -> Sample:
    """The same instant in a world that is mirrored left to right, then turned anticlockwise: as likely as before."""
    cos, sin = round(np.cos(quarters * np.pi / 2)), round(np.sin(quarters * np.pi / 2))
    turn = np.eye(4)
    turn[:2, :2] = np.array([[cos, -sin], [sin, cos]]) @ np.diag([1, -1 if mirrored else 1])

    def move(maps: Tensor) -> Tensor:
        return torch.rot90(maps.flip(-2) if mirrored else maps, -quarters, (-2, -1))

    return Sample(move(sample.seen_CYX), turn @ sample.new_from_old @ np.linalg.inv(turn), move(sample.body_ZYX), move(sample.visible_YX))


@torch.no_grad()
def likelihood(logits_of: Callable[[Sample], Tensor], judged: list[Sample]) -> float:
    """Mean nats per cell and height band that the returns cost, cells weighed as in the fit; logits_of: a sample -> (1, Z, Y, X)."""
    return float(np.mean([float(_loss(logits_of(sample), [sample])) for sample in judged]))


def _predicted(sample: Sample) -> Tensor:
    """What the world model itself holds for likely, as logits: the baseline."""
    return (sample.seen_CYX[None, -len(BODY) - 1 : -1].float() / 255).clamp(0.005, 0.995).logit()


def seen(batch: Sequence[Sample]) -> Tensor:
    """(B, C, Y, X) what a critic reads of each."""
    return torch.stack([sample.seen_CYX for sample in batch]).float() / 255


def _loss(logits_BZYX: Tensor, batch: Sequence[Sample]) -> Tensor:
    """Mean over the cells that the new sweep shows and the old map held, near ones first; logits in the old anchor frames."""
    motion = np.stack([sample.new_from_old for sample in batch])
    warped = warp(torch.cat([logits_BZYX, torch.ones_like(logits_BZYX[:, :1])], dim=1), motion, HALF_M)
    body_BZYX = torch.stack([sample.body_ZYX for sample in batch]).float()
    shown_BYX = torch.stack([sample.visible_YX for sample in batch]) | (body_BZYX.amax(dim=1) > 0)
    weight = ((warped[:, -1] > 0.99) & shown_BYX)[:, None] * torch.from_numpy(NEAR_YX)
    loss = F.binary_cross_entropy_with_logits(warped[:, :-1], body_BZYX, reduction="none")
    return (loss.mean(dim=1, keepdim=True) * weight).sum() / weight.sum()
