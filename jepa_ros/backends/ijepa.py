"""I-JEPA (Assran et al. 2023): an image encoder, through `transformers`. It knows no time: its prediction is that nothing changes.

Axes: B batch, T history step, H future step, N patch, D width, A action.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from torch import Tensor
from transformers import IJepaModel

from jepa_ros.backends.frames import square_image
from jepa_ros.backends.pretrained import load_pretrained
from jepa_ros.protocols import ActionMeaning, ModelSpec
from jepa_ros.types import Observation


class IJepa:
    """The seam around an IJepaModel; a base for predictors trained on its frozen latents."""

    def __init__(self, model: IJepaModel, device: str) -> None:
        self._model = model.to(device).eval()
        self._device = device
        config = model.config
        self.spec = ModelSpec(
            name="ijepa",
            version=str(getattr(config, "name_or_path", "") or "local"),
            dt_s=0.4,
            history=1,
            horizon=12,
            latent_shape=((config.image_size // config.patch_size) ** 2, config.hidden_size),
            action_dim=0,
            actions=ActionMeaning.NONE,
            inputs=("camera",),
            required_inputs=("camera",),
        )

    def encode(self, observation: Observation) -> Tensor:
        """(1, N, D) latents of the first camera's image. ValueError without a camera."""
        image = square_image(observation, self._model.config.image_size, self.spec.name).to(self._device)
        return self._model(pixel_values=image[None]).last_hidden_state

    def align(self, latents_BND: Tensor, new_from_old: np.ndarray) -> Tensor:
        """Image latents belong to no place on the ground; they stay as they are."""
        return latents_BND

    def predict(self, history_BTND: Tensor, actions_BHA: Tensor) -> Tensor:
        """(B, H, N, D): the newest latent, again and again."""
        return history_BTND[:, -1:].expand(-1, actions_BHA.shape[1], -1, -1)


def load(device: str, weights: str = "", **options: Any) -> IJepa:
    """weights: local directory in Hugging Face format, or a hub id. Raises ValueError where it is missing or does not fit."""
    return IJepa(load_pretrained(IJepaModel, weights, "ijepa", add_pooling_layer=False), device)
