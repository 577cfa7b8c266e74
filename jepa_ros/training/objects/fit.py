"""Fits the networks of a verifier to examples. Axes: E networks, M examples, F evidence, C classes."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from jepa_ros.objects.columns import EVIDENCE
from jepa_ros.objects.verifier import FORMAT, Verifier
from jepa_ros.training.objects.bodies import CLASSES, PERSON, RIDER
from jepa_ros.training.objects.examples import Examples
from jepa_ros.types import FloatArray


@dataclass(frozen=True)
class FitConfig:
    """How long, how large, how careful."""

    networks: int = 3
    hidden: tuple[int, ...] = (64, 32)
    epochs: int = 12
    batch: int = 512
    rate: float = 2e-3
    decay: float = 0.02
    dropout: float = 0.2
    clutter_share: float = 0.7  # of the weight; the rest is what is looked for
    domain_shares: tuple[float, float, float] = (0.4, 0.4, 0.2)  # real, cast, simulated: of the weight in each class
    smoothing: float = 0.02  # labels by hand and by machine are wrong that often


@dataclass(frozen=True)
class VerifierTask:
    """What is read, and what is looked for."""

    evidence: tuple[str, ...] = EVIDENCE  # names of the columns of the examples
    wanted: tuple[int, ...] = (PERSON, RIDER)
    format: str = FORMAT


PEOPLE = VerifierTask()


def weights_of(examples: Examples, config: FitConfig, wanted: tuple[int, ...] = PEOPLE.wanted) -> FloatArray:
    """(M,) such that in each group of classes each domain has the same share: nothing is gained by telling domains apart."""
    body = np.isin(examples.classes, wanted)
    weights = np.zeros(len(body))
    for of_body, share in ((True, 1 - config.clutter_share), (False, config.clutter_share)):
        for domain, part in enumerate(config.domain_shares):
            group = (body == of_body) & (examples.domain == domain)
            weights[group] = share * part / max(group.sum(), 1)
    return weights / weights.mean()


def fit(examples: Examples, config: FitConfig, seed: int, names: tuple[str, ...] | None = None, task: VerifierTask = PEOPLE) -> Verifier:
    """A verifier that reads the evidence in `names`, None = all; the other is held at its mean."""
    torch.manual_seed(seed)
    weights = weights_of(examples, config, task.wanted)
    evidence = examples.evidence
    mean = np.average(evidence, axis=0, weights=weights).astype(np.float32)
    scale = np.sqrt(np.average((evidence - mean) ** 2, axis=0, weights=weights)).astype(np.float32) + 1e-3
    unread = ~np.isin(task.evidence, task.evidence if names is None else names)
    scale[unread] = 1e9
    inputs = torch.as_tensor(np.clip((evidence - mean) / scale, -5, 5), dtype=torch.float32)
    # The mirror image of a column is the same thing seen from the other side.
    mirrored = [name.startswith("aside") for name in task.evidence]
    mirror = torch.as_tensor(np.where(mirrored, -1.0, 1.0), dtype=torch.float32)
    classes, weight = torch.as_tensor(examples.classes), torch.as_tensor(weights, dtype=torch.float32)
    networks = [_fit_one(inputs, mirror, classes, weight, config) for _ in tqdm(range(config.networks), desc="networks")]
    layers = []
    for stage in zip(*([m for m in network if isinstance(m, nn.Linear)] for network in networks), strict=True):
        weights_EIO = np.stack([linear.weight.detach().numpy().T for linear in stage])
        biases_E1O = np.stack([linear.bias.detach().numpy()[None] for linear in stage])
        layers.append((weights_EIO, biases_E1O))
    return Verifier(task.evidence, mean, scale, tuple(layers), task.format)


def _fit_one(inputs: Tensor, mirror: Tensor, classes: Tensor, weight: Tensor, config: FitConfig) -> nn.Sequential:
    sizes, parts = (inputs.shape[1], *config.hidden), []
    for size, next_size in pairwise(sizes):
        parts += [nn.Linear(size, next_size), nn.ReLU(), nn.Dropout(config.dropout)]
    network = nn.Sequential(*parts, nn.Linear(sizes[-1], len(CLASSES)))
    optimizer = torch.optim.AdamW(network.parameters(), lr=config.rate, weight_decay=config.decay)
    steps = config.epochs * (len(inputs) // config.batch + 1)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, config.rate, total_steps=steps)
    loss_of = nn.CrossEntropyLoss(reduction="none", label_smoothing=config.smoothing)
    for _ in range(config.epochs):
        for index in torch.randperm(len(inputs)).tensor_split(len(inputs) // config.batch + 1):
            flip = torch.rand(len(index), 1) < 0.5
            seen = torch.where(flip, inputs[index] * mirror, inputs[index])
            seen = seen + 0.1 * torch.randn_like(seen)
            loss = (loss_of(network(seen), classes[index]) * weight[index]).mean()
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            schedule.step()
    return network.eval()
