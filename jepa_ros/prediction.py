"""`protocols.Prediction` for any world model that has none of its own: all latents are predicted at once.

Axes: T history step, H future step, N latent token, D latent width, A action.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from jepa_ros.memory import LatentMemory
from jepa_ros.protocols import OccupancyProbe, Prediction, PredictsInParts, WorldModel


@dataclass(frozen=True)
class WholePrediction:
    """All latents, predicted already."""

    model: WorldModel
    latents_HND: Tensor

    def occupancy(self) -> Tensor:
        assert isinstance(self.model, OccupancyProbe)  # nobody reads it else
        return self.model.occupancy(self.latents_HND)

    def next_ND(self, channels: int | None = None) -> Tensor:
        return self.latents_HND[0, :, :channels]

    def latents(self) -> Tensor:
        return self.latents_HND


def predict_in_parts(model: WorldModel, memory: LatentMemory, actions_HA: Tensor) -> Prediction:
    """From all that a memory holds, under (H, A) actions."""
    if isinstance(model, PredictsInParts):
        now_ND, past, new_from_old = memory.parts()
        return model.predict_in_parts(past, new_from_old, now_ND, actions_HA[None])
    return WholePrediction(model, model.predict(memory.history(), actions_HA[None])[0])
