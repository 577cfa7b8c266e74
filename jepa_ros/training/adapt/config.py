"""What a run of `adapt` does, and which weights it changes."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from jepa_ros.backends.scene_jepa.model import SceneJepa
from jepa_ros.config import param, validate
from jepa_ros.training.world_model.distill import DistillConfig

FAMILIES = ("probe", "norms", "steps", "predictor")


@dataclass(frozen=True)
class AdaptConfig:
    """A run. The encoder never changes, so that latents go on meaning what they meant to all who read them."""

    held_out: float = param(0.3, "share of each bag, its last part, that is judged on and never learned from", at_least=0.01, at_most=0.99)
    part: tuple[float, float] = param((0.0, 1.0), "share of each bag that is used at all, such as [0, 0.5] for the first half")
    learns: str = param("predictor", "which weights change: `learned_parameters`", choices=FAMILIES)
    stored: int = param(48, "batches that are encoded once and then read for many rounds", at_least=1)
    batch: int = param(4, "windows per step", at_least=1)
    targets: int = param(6, "future steps per window", at_least=1)
    sensors: tuple[float, float, float] = param((0.5, 0.5, 0.0), "shares of the batches that see lidar alone, both, camera alone")
    steps: int = param(100, "optimiser steps at most", at_least=1)
    learning_rate: float = param(3e-4, "peak learning rate", at_least=0.0)
    weight_decay: float = param(0.0, "AdamW weight decay", at_least=0.0)
    warmup: int = param(10, "steps to the peak learning rate", at_least=1)
    judge_every: int = param(20, "steps between two looks at the held-out part; a checkpoint is written then", at_least=1)
    patience: int = param(4, "looks in a row without a better one that end the training", at_least=1)
    judged: int = param(24, "held-out windows that are looked at, spread evenly", at_least=1)
    parent_weight: float = param(0.1, "weight of the distance from what the weights begun with predict", at_least=0.0)
    moving_weight: float = param(3.0, "weight, beside 1, of the prediction error where something has entered or left", at_least=0.0)
    occupancy_weight: float = param(1.0, "weight of the occupancy loss, whose gradient goes on into the predictor", at_least=0.0)
    shares: tuple[float, ...] = param(
        (0.25, 0.375, 0.5, 0.625, 0.75, 1.0), "of the way from the weights begun with to those learned, that are tried"
    )
    forgotten: float = param(0.01, "what average precision and IoU in other worlds, means of all steps, may fall by for it", at_least=0.0)
    others: int = param(2, "simulated worlds that show what is forgotten; 0 = none", at_least=0)
    critic_steps: int = param(150, "optimiser steps of the critic of surprise", at_least=0)
    seed: int = param(0, "of everything random", at_least=0)

    def __post_init__(self) -> None:
        validate(self)

    @property
    def objective(self) -> DistillConfig:
        """The weights of the losses, for `distill.loss_of`."""
        return DistillConfig(
            moving_weight=self.moving_weight, wide_weight=self.parent_weight, occupancy_weight=self.occupancy_weight, read_through=True
        )


def learned_parameters(model: SceneJepa, family: str) -> list[nn.Parameter]:
    """Of the predictor, the occupancy head and the probe: head and probe alone, norms and biases, what tells one step from another (and
    head and probe), or all."""
    named = [(name, p) for name, p in model.named_parameters() if not name.startswith("encoder.")]
    wanted = {
        "probe": lambda name: name.startswith("occupancy_"),
        "norms": lambda name: ".norm." in name or name.endswith(".bias"),
        "steps": lambda name: name.startswith(("occupancy_", "predictor.when.", "predictor.step.")),
        "predictor": lambda name: True,
    }[family]
    return [parameter for name, parameter in named if wanted(name)]
