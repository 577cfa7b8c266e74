"""The gripper's model behind the seam of V-JEPA 2-AC: planning and imagination are that back-end's own, only the encoder is another."""

from __future__ import annotations

import dataclasses

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from experiments.grip.model import GripModel
from jepa_ros.backends.vjepa2_ac.model import VJepa2Ac, fingerprint
from jepa_ros.backends.vjepa2_ac.search import SearchConfig
from jepa_ros.types import Observation

SEARCH = SearchConfig(samples=200, iterations=5, elites=10, steps=1)


class GripWorldModel(VJepa2Ac):
    """Images of `sim.arm_camera` in; `plan_actions`, `predict` and their contracts as in VJepa2Ac."""

    def __init__(self, model: GripModel, device: str = "cpu") -> None:
        super().__init__(model.encoder, model.predictor, device, fingerprint(model.state_dict()))
        self.spec = dataclasses.replace(self.spec, name="grip")
        self.search = SEARCH

    def encode(self, observation: Observation) -> Tensor:
        """(1, P, D) of the first camera's image. ValueError without a camera."""
        if not observation.cameras:
            raise ValueError(f"grip sees through a camera only, and the observation at {observation.stamp_s:.3f} s has none")
        return self.encode_image(observation.cameras[0].rgb)

    @torch.inference_mode()
    def encode_image(self, rgb_YX3: NDArray[np.uint8]) -> Tensor:
        """(1, P, D)."""
        return self._encoder(torch.from_numpy(np.ascontiguousarray(rgb_YX3))[None].to(self._device))
