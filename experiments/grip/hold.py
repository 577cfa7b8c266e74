"""Will this grip hold? A small probe reads it off the latents imagined for the intended lift, beside probes that imagine nothing.

Axes: K case, C feature.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from experiments.common import LinearProbe
from experiments.grip.model import GripModel
from experiments.grip.scores import auroc
from jepa_ros.sim.arm.episodes import LIFT_STEPS, Episodes
from jepa_ros.types import FloatArray

WEIGHT_DECAYS = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)  # one is chosen by AUROC on validation episodes, for each probe
RAISED_M = 0.02
BATCH = 64


@dataclass(frozen=True)
class Grips:
    """All gripping episodes of a set, as each probe sees them."""

    features: dict[str, Tensor]  # name -> (K, C)
    held: NDArray[np.bool_]  # (K,)


@torch.no_grad()
def grips_of(model: GripModel, episodes: Episodes) -> Grips:
    """What is known when the fingers have closed: the image, the one before, the closing, and the intended lift."""
    chosen = episodes.grips()
    frame = int(episodes.grip[chosen[0]])  # the same in all
    now, imagined = [], []
    for part in np.array_split(chosen, -(-len(chosen) // BATCH)):
        images = torch.from_numpy(episodes.images[part, frame - 1 : frame + 1])
        latents = model.encode(images.flatten(0, 1)).unflatten(0, images.shape[:2])
        actions = torch.from_numpy(episodes.actions[part, frame - 1 : frame + LIFT_STEPS])
        now.append(latents[:, -1].flatten(1))
        imagined.append(model.roll(latents, actions)[:, -1].flatten(1))
    features = {
        "imagined latent": torch.cat(imagined),
        "latent of now": torch.cat(now),
        "pixels of now": torch.from_numpy(episodes.images[chosen, frame].reshape(len(chosen), -1)).float() / 255,
    }
    return Grips(features, episodes.held[chosen])


def best_probe(train: tuple[Tensor, NDArray[np.bool_]], validation: tuple[Tensor, NDArray[np.bool_]]) -> LinearProbe:
    """The weight decay is the one of the highest AUROC on validation cases."""
    probes = [LinearProbe(*train, weight_decay) for weight_decay in WEIGHT_DECAYS]
    return max(probes, key=lambda probe: auroc(probe.probability(validation[0]), validation[1]))


def judge_grips(model: GripModel, train: Episodes, validation: Episodes, test: Episodes) -> tuple[dict[str, FloatArray], NDArray[np.bool_]]:
    """P(hold) of every test grip by each way of telling, and whether it held."""
    seen = {name: grips_of(model, episodes) for name, episodes in (("train", train), ("validation", validation), ("test", test))}
    told = {
        name: best_probe(*((seen[part].features[name], seen[part].held) for part in ("train", "validation"))).probability(features)
        for name, features in seen["test"].features.items()
    }
    told["raised in the imagined latent"] = raised_probe(model, train, validation).probability(seen["test"].features["imagined latent"])
    told["constant"] = np.full(len(seen["test"].held), seen["train"].held.mean())
    return told, seen["test"].held


@torch.no_grad()
def _latents_at(model: GripModel, episodes: Episodes, frames: list[int]) -> tuple[Tensor, NDArray[np.bool_]]:
    images = torch.from_numpy(episodes.images[:, frames].reshape(-1, *episodes.images.shape[2:]))
    latents = torch.cat([model.encode(part).flatten(1) for part in images.split(BATCH)])
    return latents, (episodes.box_m[:, frames, 2] - episodes.box_m[:, :1, 2]).reshape(-1) > RAISED_M


def raised_probe(model: GripModel, train: Episodes, validation: Episodes) -> LinearProbe:
    """Told from observed latents of any episode whether the box is off the table *in that image*; it never saw the outcome of a grip."""
    frames = [2, 5, 7, 9]
    return best_probe(_latents_at(model, train, frames), _latents_at(model, validation, frames))
