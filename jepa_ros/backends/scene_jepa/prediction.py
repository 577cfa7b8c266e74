"""What scene_jepa predicts; each part is computed when it is read: `protocols.Prediction`.

Plans and pictures are made of occupancy, read off the predictor's trunk. The latents themselves, which are made of the same trunk step by
step, only who subscribes to them reads, and of the first step the critic.

Axes: T history step, H future step, N token, D latent width, C observed channel, B batch, Y row, X column.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Protocol

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from jepa_ros.backends.engine import Graph
from jepa_ros.backends.scene_jepa.config import SceneJepaConfig
from jepa_ros.backends.scene_jepa.latents import from_map, to_map
from jepa_ros.backends.scene_jepa.occupancy_head import OccupancyHead
from jepa_ros.backends.scene_jepa.predictor import ScenePredictor
from jepa_ros.backends.scene_jepa.probe import OccupancyProbe


class Model(Protocol):
    """What is needed of a `SceneJepa`."""

    config: SceneJepaConfig
    predictor: ScenePredictor
    occupancy_head: OccupancyHead | None

    def graph(self, part: str) -> Graph | None: ...
    def occupancy(self, latents_BND: Tensor) -> Tensor: ...
    def fast(self) -> AbstractContextManager[object]: ...
    def aligned(self, past: Sequence[Tensor], new_from_old: np.ndarray, channels: int) -> Tensor: ...
    def predict(self, history_BTND: Tensor, actions_BHA: Tensor) -> Tensor: ...


class ScenePrediction:
    """Of one history under one intended motion. Holds the history, and what the trunk made of it."""

    def __init__(self, model: Model, past: Sequence[Tensor], new_from_old: np.ndarray, now_ND: Tensor, actions_BHA: Tensor) -> None:
        """past: T older (N, D) latents, oldest first, each in its own anchor frame, with (T, 4, 4) new_from_old, already checked."""
        self._model = model
        self._past, self._new_from_old, self._now, self._actions = past, new_from_old, now_ND, actions_BHA
        self._trunk_BsYX: Tensor | None = None
        self._older_TCYX: Tensor | None = None

    @torch.inference_mode()
    def occupancy(self) -> Tensor:
        """(H, Y, X) probability in the cells of `spec.grid` at each step."""
        model, config = self._model, self._model.config
        if model.occupancy_head is None:
            return model.occupancy(self.latents())
        newest_DYX = to_map(self._now)
        older_TCYX = model.aligned(self._past, self._new_from_old, config.remembered)
        self._older_TCYX = older_TCYX
        graph = model.graph("predictor")
        if graph is not None:
            trunk_BsYX, probability_HYX = graph(older_TCYX, newest_DYX)
            self._trunk_BsYX = trunk_BsYX.clone()  # a graph's outputs are its own until the next call
            return probability_HYX[: self._actions.shape[1]]
        with model.fast():
            read_BCYX = model.predictor.read(older_TCYX[None], newest_DYX[None])
            self._trunk_BsYX = model.predictor.trunk(read_BCYX)
            logits_BHYX = model.occupancy_head(read_BCYX, self._trunk_BsYX)
            return logits_BHYX[0, : self._actions.shape[1]].float().sigmoid()

    @torch.inference_mode()
    def next_ND(self, channels: int | None = None) -> Tensor:
        """(N, D) latents of the first step, or only their first `channels`."""
        trunk_BsYX, older_TCYX = self._trunk_BsYX, self._older_TCYX
        if channels is None or trunk_BsYX is None or older_TCYX is None or channels > self._model.config.grounded:
            return self.latents()[0, :, :channels]
        history_TCYX = torch.cat([older_TCYX[:, :channels], to_map(self._now)[None, :channels]])
        first = torch.zeros(1, dtype=torch.long, device=self._now.device)
        with self._model.fast():
            next_BSCYX = self._model.predictor(history_TCYX[None], self._actions, first, trunk_BsYX)
        return from_map(next_BSCYX[0, 0].float())

    @torch.inference_mode()
    def latents(self) -> Tensor:
        """(H, N, D) all of every step, by `SceneJepa.predict`."""
        older_TDYX = self._model.aligned(self._past, self._new_from_old, self._model.config.width)
        history_TDYX = torch.cat([older_TDYX, to_map(self._now[None])])
        return self._model.predict(from_map(history_TDYX)[None], self._actions)[0]


def probe_logits(probe: OccupancyProbe, latents_BDYX: Tensor) -> Tensor:
    """`OccupancyProbe` on channels-last maps: narrow convolutions as matrix products, which are twice as fast on a CPU."""
    wide, _, narrow = probe.layers
    observed = latents_BDYX[:, : probe.width]
    hidden = F.relu_(F.conv2d(observed, wide.weight, wide.bias, padding=1))  # type: ignore[arg-type]
    batch, _, rows, columns = observed.shape
    # The few channels that come out as rows, not as columns: three times as fast.
    of_hidden_BPM = narrow.weight.flatten(1) @ hidden.flatten(2)  # type: ignore[operator]
    of_observed_BPM = probe.direct.weight.flatten(1) @ observed.flatten(2)
    logits_BPM = (of_hidden_BPM + of_observed_BPM).add_((narrow.bias + probe.direct.bias)[:, None])  # type: ignore[operator]
    cells = logits_BPM.view(batch, 2, 2, rows, columns).permute(0, 3, 1, 4, 2)
    return cells.reshape(batch, 2 * rows, 2 * columns)
