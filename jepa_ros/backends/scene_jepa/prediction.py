"""What scene_jepa predicts; each part is computed when it is read: `protocols.Prediction`.

Plans and pictures are made of occupancy, read off the observed channels of the predicted latents. What was learned goes on too, yet
only who subscribes to latents reads that. So the learned half of twelve latents is predicted when it is asked for.

One step is taken after the other on a CPU, where a step's maps stay in the cache; all at once on a GPU.
Axes: T history step, H future step, S steps of a chunk, N token, D latent width, C observed channel,
P place in a coarse cell of 2 x 2 tokens, M coarse cell, Y row, X column.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Protocol

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from jepa_ros.backends.engine import Graph
from jepa_ros.backends.scene_jepa.config import SceneJepaConfig
from jepa_ros.backends.scene_jepa.latents import from_map, to_map
from jepa_ros.backends.scene_jepa.predictor import ScenePredictor
from jepa_ros.backends.scene_jepa.probe import OccupancyProbe


class Model(Protocol):
    """What is needed of a `SceneJepa`."""

    config: SceneJepaConfig
    predictor: ScenePredictor
    occupancy_probe: OccupancyProbe

    def graph(self, part: str) -> Graph | None: ...
    def probe(self, latents_BDYX: Tensor) -> Tensor: ...
    def fast(self) -> AbstractContextManager[object]: ...
    def aligned_observed(self, past_TND: Tensor, new_from_old: np.ndarray) -> Tensor: ...
    def aligned_learned(self, past_TND: Tensor, new_from_old: np.ndarray) -> Tensor: ...
    def aligned_history(self, past_TND: Tensor, new_from_old: np.ndarray, now_ND: Tensor) -> Tensor: ...
    def predict(self, history_BTND: Tensor, actions_BHA: Tensor) -> Tensor: ...


class ScenePrediction:
    """Of one history under one intended motion. Holds the history, and of what it predicts the observed channels of the first step."""

    def __init__(self, model: Model, past_TND: Tensor, new_from_old: np.ndarray, now_ND: Tensor, actions_BHA: Tensor) -> None:
        """past_TND: older latents, oldest first, each in its own anchor frame, with (T, 4, 4) new_from_old, already checked."""
        self._model = model
        self._past, self._new_from_old, self._now, self._actions = past_TND, new_from_old, now_ND, actions_BHA
        self._next_NC = torch.empty(0)

    @torch.inference_mode()
    def occupancy(self) -> Tensor:
        """(H, Y, X) probability in the cells of `spec.grid` at each step."""
        model, predictor = self._model, self._model.predictor
        observed, newest_DYX = model.config.grounded, to_map(self._now)
        older_TCYX = model.aligned_observed(self._past, self._new_from_old)
        learned_TCYX = model.aligned_learned(self._past, self._new_from_old) if model.config.recall else older_TCYX[:, :0]
        observed_TCYX = torch.cat([older_TCYX, newest_DYX[None, :observed]])
        steps = torch.arange(self._actions.shape[1], device=newest_DYX.device)
        graph = model.graph("predictor") if len(steps) == model.config.horizon else None
        if graph is not None:
            (latents_HCYX,) = graph(torch.cat([older_TCYX, learned_TCYX], dim=1), newest_DYX, observed_TCYX, self._actions)
            self._next_NC = latents_HCYX[0].flatten(1).T.clone()
            return model.probe(latents_HCYX)
        with model.fast():
            shared = predictor.trunk_from(self._read_by_trunk(older_TCYX, learned_TCYX, newest_DYX))
            return self._read(ObservedSteps(predictor, shared, observed_TCYX, self._actions))

    @staticmethod
    def _read_by_trunk(observed_TCYX: Tensor, learned_TCYX: Tensor, newest_DYX: Tensor) -> Tensor:
        """(1, C, Y, X), channels-last: each map is laid out once, where it belongs."""
        past, observed, rows, columns = observed_TCYX.shape
        width = observed + learned_TCYX.shape[1]
        read = observed_TCYX.new_empty((1, rows, columns, past * width + len(newest_DYX))).permute(0, 3, 1, 2)
        for step in range(past):
            read[0, step * width : step * width + observed] = observed_TCYX[step]
            read[0, step * width + observed : (step + 1) * width] = learned_TCYX[step]
        read[0, past * width :] = newest_DYX
        return read

    def _read(self, maps: ObservedSteps) -> Tensor:
        model, horizon = self._model, self._actions.shape[1]
        chunk = 1 if self._now.device.type == "cpu" else horizon
        occupancy = []
        for begin in range(0, horizon, chunk):
            latents_SCYX = maps(slice(begin, begin + chunk))
            if begin == 0:
                self._next_NC = latents_SCYX[0].flatten(1).T.float()
            occupancy.append(probe_logits(model.occupancy_probe, latents_SCYX))
        return torch.cat(occupancy).float().sigmoid_()

    @torch.inference_mode()
    def next_ND(self, channels: int | None = None) -> Tensor:
        """(N, D) latents of the first step, or only their first `channels`."""
        if channels is not None and channels <= self._next_NC.shape[-1]:
            return self._next_NC[:, :channels]
        return self.latents()[0, :, :channels]

    @torch.inference_mode()
    def latents(self) -> Tensor:
        """(H, N, D) all of every step, by `SceneJepa.predict`."""
        history_TDYX = self._model.aligned_history(self._past, self._new_from_old, self._now)
        return self._model.predict(from_map(history_TDYX)[None], self._actions)[0]


class ObservedSteps:
    """`ScenePredictor` for the observed channels alone: a few steps at a time."""

    def __init__(self, predictor: ScenePredictor, shared_1CYX: Tensor, observed_TCYX: Tensor, actions_BHA: Tensor) -> None:
        config = predictor.config
        self._predictor, self._shared, self._observed = predictor, shared_1CYX, config.grounded
        rows, columns = shared_1CYX.shape[-2:]
        self._size = (rows, columns)
        steps = torch.arange(actions_BHA.shape[1], device=shared_1CYX.device)
        scale_1SC, shift_1SC = predictor.motion(actions_BHA, steps, shared_1CYX.dtype)
        self._scale_SC11, self._shift_SC11 = (1 + scale_1SC[0])[..., None, None], shift_1SC[0][..., None, None]
        rendered_S2YX = predictor.render(actions_BHA, steps, shared_1CYX.shape[-2:])[0].to(shared_1CYX.dtype)
        # Of two channels: as a product of matrices, which a convolution is slow at.
        around_SKM = F.unfold(rendered_S2YX, 3, padding=1)
        weight_KC = predictor.footprint.weight.flatten(1).T.to(rendered_S2YX.dtype)
        self._footprint_SCYX = (around_SKM.transpose(1, 2) @ weight_KC).transpose(1, 2).unflatten(-1, self._size)
        # Of the change only what is observed is computed, and how it is mixed.
        channels = [*range(config.grounded), *range(config.width, config.width + config.history)]
        project = predictor.step[2].project  # of an Up
        weight_PCK = project.weight.flatten(1).unflatten(0, (-1, 4))[channels].transpose(0, 1)  # type: ignore[union-attr,operator]
        self._weight_CK = weight_PCK.flatten(0, 1).to(shared_1CYX.dtype)
        self._bias_C1 = project.bias.unflatten(0, (-1, 4))[channels].T.flatten()[:, None].to(shared_1CYX.dtype)  # type: ignore[union-attr,operator]
        # Mixed where the projection leaves it, place by place, so that nothing is laid out anew but the result.
        places = observed_TCYX.to(shared_1CYX.dtype).unflatten(-1, (columns, 2)).unflatten(-3, (rows, 2)).permute(0, 3, 5, 1, 2, 4)
        self._past_TPCM = places.reshape(len(observed_TCYX), 4, config.grounded, rows * columns)

    def __call__(self, steps: slice) -> Tensor:
        """(S, C, Y, X), channels-last in memory."""
        convolution = self._predictor.step[0]
        entering = torch.addcmul(self._shift_SC11[steps], self._shared, self._scale_SC11[steps]).add_(self._footprint_SCYX[steps]).relu_()
        hidden = F.relu_(convolution(entering.contiguous(memory_format=torch.channels_last)))
        flat_SMK = hidden.permute(0, 2, 3, 1).flatten(1, 2)
        weight_SCK = self._weight_CK.expand(len(flat_SMK), -1, -1)
        change_SPCM = torch.baddbmm(self._bias_C1, weight_SCK, flat_SMK.transpose(1, 2)).unflatten(1, (4, -1))
        return self._lay(self._mix(change_SPCM))

    def _mix(self, change_SPCM: Tensor) -> Tensor:
        """(S, P, C, M), as `ScenePredictor._mix` does."""
        observed, past = self._observed, len(self._past_TPCM)
        fade_and_older = change_SPCM[:, :, observed : observed + past]
        mixed = torch.addcmul(change_SPCM[:, :, :observed], 1 - fade_and_older.sum(dim=2, keepdim=True), self._past_TPCM[-1])
        for k in range(past - 1):
            mixed.addcmul_(fade_and_older[:, :, k + 1 : k + 2], self._past_TPCM[k])
        return mixed

    def _lay(self, maps_SPCM: Tensor) -> Tensor:
        """(S, C, Y, X), channels-last in memory. Transposed first, then laid: two quick copies, where one of all axes takes four times."""
        rows, columns = self._size
        steps, places, channels, _ = maps_SPCM.shape
        maps = maps_SPCM.reshape(steps * places * channels, -1).T.contiguous().view(rows, columns, steps, 2, 2, channels)
        return maps.permute(2, 0, 3, 1, 4, 5).reshape(steps, 2 * rows, 2 * columns, channels).permute(0, 3, 1, 2)


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
