"""The critic of surprise belongs to one set of weights: for adapted ones it is kept or fitted on, whichever tells the held-out part better.

A stream is read from prepared bags; its latents are those of the encoder that stays, so they are made once for all predictors.
"""

from __future__ import annotations

import copy
import dataclasses
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from jepa_ros.backends.bev import warp
from jepa_ros.backends.scene_jepa.critic import HALF_M, CriticNetwork, strangest
from jepa_ros.backends.scene_jepa.encoder import SceneInput
from jepa_ros.backends.scene_jepa.latents import from_map
from jepa_ros.backends.scene_jepa.model import SceneJepa
from jepa_ros.backends.surprise import LEAST_SIGMA_CRITIC, ErrorHistory
from jepa_ros.training.adapt.learn import mixed
from jepa_ros.training.world_model.augment import Augmentation
from jepa_ros.training.world_model.shard import Shard
from jepa_ros.training.world_model.surprise import Instant, Sample, fit, likelihood, samples, seen
from jepa_ros.training.world_model.windows import FrameView, model_steps

GOING_ON = 1e-3  # peak learning rate of a critic that knows much already
MOST_INSTANTS = 200  # of each part, the ones nearest to the cut
SHARES = (0.5, 1.0)  # of the way from the parent's critic to the fitted one, that are tried
COSTS = 0.02  # how much more nats other worlds may cost for it
ALARM = 0.98  # surprise that robots stop at; of usual instants 2 % should be above it


@dataclass(frozen=True)
class Surprise:
    """What a critic is worth where nothing unusual happens."""

    instants: int
    nats: float  # that the returns of an instant cost, a visible cell and height band, near ones weighing more
    judged: int  # instants that had enough before them
    mean: float  # surprise of these, 0.5 if calibrated
    above_alarm: float  # share of them, 0.02 if calibrated

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return dict(vars(self))


def stream(model: SceneJepa, shards: list[Shard]) -> list[list[Instant]]:
    """Encoded instants of each shard, a model step apart; the newest where there are many."""
    most = max(2, MOST_INSTANTS // max(1, len(shards)))
    return [
        list(_instants(model, shard, model_steps(shard, model.spec.dt_s)[-most:]))
        for shard in tqdm(shards, desc="encode", unit="shard", mininterval=1)
    ]


@torch.inference_mode()
def _instants(model: SceneJepa, shard: Shard, frames: list[int]) -> Iterator[Instant]:
    for place, index in enumerate(frames):
        frame = shard[index]
        view = FrameView(shard, frame, Augmentation(), len(shard.cameras))
        scene = view.scene(frame, frame, True)
        with model.fast():
            latent_1DYX = model.encoder(SceneInput(*(getattr(scene, name)[None] for name in SceneInput.__dataclass_fields__))).float()
        # What the ego did is what it had intended; at the end it keeps its motion.
        begin, end = (index, frames[place + 1]) if place + 1 < len(frames) else (frames[place - 1], index)
        moved = np.linalg.inv(shard[begin].odom_from_anchor) @ shard[end].odom_from_anchor
        motion = torch.tensor([[moved[0, 3], moved[1, 3], math.atan2(moved[1, 0], moved[0, 0])]], dtype=torch.float32)
        yield Instant(frame.stamp_ns, frame.odom_from_anchor, from_map(latent_1DYX)[0], motion)


def predicted(model: SceneJepa, streams: list[list[Instant]]) -> list[Sample]:
    """What these weights predict at each instant, and what came."""
    with torch.inference_mode():
        return [sample for instants in streams for sample in samples(model, instants)]


@torch.inference_mode()
def judge(network: CriticNetwork, before: list[Sample], held: list[Sample]) -> Surprise:
    """Figures on the held-out samples; those before them tell what is usual, as they would on the robot."""
    history, values = ErrorHistory(LEAST_SIGMA_CRITIC), []
    for place, sample in enumerate([*before, *held]):
        nats = _strangeness(network, sample)
        surprise = history.judge(nats)
        history.add(nats)
        if place >= len(before) and math.isfinite(surprise):
            values.append(surprise)
    cells = likelihood(lambda sample: network(seen([sample])), held) if held else math.nan
    mean, above = (float(np.mean(values)), float(np.mean(np.array(values) > ALARM))) if values else (math.nan, math.nan)
    return Surprise(len(held), cells, len(values), mean, above)


def _strangeness(network: CriticNetwork, sample: Sample) -> float:
    """Nats of the strangest place, as at run time."""
    logits_ZYX = network(seen([sample]))[0]
    warped = warp(torch.cat([logits_ZYX, torch.ones_like(logits_ZYX[:1])])[None], sample.new_from_old[None], HALF_M)[0]
    view = torch.cat([sample.body_ZYX.float(), sample.visible_YX.float()[None]])
    return strangest(warped[:-1], warped[-1] > 0.99, view)


@dataclass(frozen=True)
class Fitted:
    """The critic for adapted weights."""

    network: CriticNetwork
    held: Surprise
    others: Surprise | None  # in simulated worlds; None where there are none
    said: str  # how it was come by


def fit_on(parent: CriticNetwork, learn: list[Sample], held: list[Sample], others: list[Sample], steps: int, seed: int) -> Fitted:
    """Goes on from the parent's critic on what the adapted weights predict of the part that is learned from, and keeps the share of that
    which tells the held-out part best, of those that cost little in other worlds."""

    def judged(network: CriticNetwork, said: str) -> Fitted:
        return Fitted(network, judge(network, learn, held), judge(network, [], others) if others else None, said)

    kept = judged(parent, "kept as it was")
    if not steps or not learn:
        return kept
    learned = fit(learn, parent.config, steps, np.random.default_rng(seed), parent, GOING_ON)
    tried = [kept]
    for share in SHARES:
        network = copy.deepcopy(parent)
        network.load_state_dict(mixed(parent.state_dict(), learned.state_dict(), share))
        tried.append(judged(network, f"{share:g} of {steps} steps of fitting on"))
    allowed = [f for f in tried if f.others is None or kept.others is None or f.others.nats <= (1 + COSTS) * kept.others.nats]
    best = min(allowed, key=lambda f: f.held.nats)
    return dataclasses.replace(best, said=f"{best.said} (nats a cell, {', '.join(f'{f.said}: {f.held.nats:.5f}' for f in tried)})")
