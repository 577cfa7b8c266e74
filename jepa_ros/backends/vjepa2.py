"""V-JEPA 2 (Assran et al. 2025): video encoder and mask predictor, through `transformers`.

Every image fills one tubelet on its own, so each is encoded exactly once as the stream goes on; the mask predictor then fills in the
tubelets of the future from those of the past.

Axes: B batch, T history step, H future step, N patch of one tubelet, D width, A action.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import VJEPA2Model

from jepa_ros.backends.frames import square_image
from jepa_ros.backends.pretrained import load_pretrained
from jepa_ros.protocols import ActionMeaning, ModelSpec
from jepa_ros.types import Observation

DT_S = 0.5  # a tubelet is two frames, and the encoder was trained at 4 frames/s
HISTORY, HORIZON = 4, 8


class VJepa2:
    """The seam around a VJEPA2Model. It is not conditioned on actions: it predicts the same future for any actions."""

    def __init__(self, model: VJEPA2Model, device: str) -> None:
        self._model = model.to(device).eval()
        self._device = device
        config = model.config
        side = config.crop_size // config.patch_size
        self._patches = side * side
        tubelets = config.frames_per_clip // config.tubelet_size
        if tubelets < HISTORY + 1:
            raise ValueError(
                f"frames_per_clip = {config.frames_per_clip} leaves {tubelets} tubelets; {HISTORY + 1} at least are needed to predict"
            )
        self.spec = ModelSpec(
            name="vjepa2",
            version=str(getattr(config, "name_or_path", "") or "local"),
            dt_s=DT_S,
            history=HISTORY,
            horizon=min(HORIZON, tubelets - HISTORY),
            latent_shape=(self._patches, config.hidden_size),
            action_dim=0,
            actions=ActionMeaning.NONE,
            inputs=("camera",),
            required_inputs=("camera",),
        )

    def encode(self, observation: Observation) -> Tensor:
        """(1, N, D) latents of the first camera's image. ValueError without a camera."""
        image = square_image(observation, self._model.config.crop_size, self.spec.name).to(self._device)
        clip_BTCHW = image.expand(1, self._model.config.tubelet_size, -1, -1, -1)
        return self._model(pixel_values_videos=clip_BTCHW, skip_predictor=True).last_hidden_state

    def align(self, latents_BND: Tensor, new_from_old: np.ndarray) -> Tensor:
        """Image latents belong to no place on the ground; they stay as they are."""
        return latents_BND

    def predict(self, history_BTND: Tensor, actions_BHA: Tensor) -> Tensor:
        """(B, H, N, D): the tubelets after the history, filled in by the mask predictor."""
        batch, steps = history_BTND.shape[:2]
        horizon = actions_BHA.shape[1]
        known, wanted = steps * self._patches, (steps + horizon) * self._patches
        positions = torch.arange(wanted, device=history_BTND.device).expand(batch, -1)
        predicted = self._model.predictor(
            encoder_hidden_states=history_BTND.flatten(1, 2), context_mask=[positions[:, :known]], target_mask=[positions[:, known:]]
        )
        return predicted.last_hidden_state.unflatten(1, (horizon, self._patches))


def load(device: str, weights: str = "", **options: Any) -> VJepa2:
    """weights: local directory in Hugging Face format, or a hub id. Raises ValueError where it is missing or does not fit."""
    return VJepa2(load_pretrained(VJEPA2Model, weights, "vjepa2"), device)
