"""Other ways to predict than scene_jepa's own, to be compared with: step after step, or without being told of the ego's motion.

Axes: B batch, T history step, H future step, S the future steps asked for, D latent width, A = (x, y, yaw).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

from jepa_ros.backends.scene_jepa.model import SceneJepa
from jepa_ros.backends.scene_jepa.predictor import ScenePredictor
from jepa_ros.types import FloatArray


class WithoutActions(ScenePredictor):
    """Believes that the ego stays where it is."""

    def forward(self, history_BTDYX: Tensor, actions_BHA: Tensor, steps: Tensor | None = None, trunk_BsYX: Tensor | None = None) -> Tensor:
        return super().forward(history_BTDYX, torch.zeros_like(actions_BHA), steps, trunk_BsYX)


class RolledOut(nn.Module):
    """A predictor of one step, applied to its own predictions: each step from the anchor frame where the ego will be then."""

    def __init__(self, inner: ScenePredictor, align: Callable[[Tensor, np.ndarray], Tensor]) -> None:
        """inner: predicts one step; align: brings (B, D, Y, X) latents into another anchor frame, given new_from_old."""
        super().__init__()
        self.inner, self._align = inner, align

    @staticmethod
    def model(model: SceneJepa, horizon: int) -> SceneJepa:
        """The model of one step, made to predict `horizon` of them in this way; if it does already, only their number changes."""
        if not isinstance(model.predictor, RolledOut):
            model.occupancy_head = None  # it reads all steps off one trunk, and here each has its own
            model.predictor = RolledOut(model.predictor, model.align_map)  # type: ignore[assignment]
        model.spec = dataclasses.replace(model.spec, horizon=horizon)
        return model

    def forward(self, history_BTDYX: Tensor, actions_BHA: Tensor, steps: Tensor) -> Tensor:
        """(B, S, D, Y, X) in the anchor frame of now, as of `ScenePredictor`."""
        poses = _poses(actions_BHA)
        known: list[tuple[Tensor, FloatArray]] = [
            (latent, np.eye(4)[None].repeat(len(latent), axis=0)) for latent in history_BTDYX.unbind(1)
        ]
        predicted: dict[int, Tensor] = {}
        for step in range(int(steps.max()) + 1):
            now_from_here = poses[:, step]  # where the ego is, one step before the predicted one
            here = np.linalg.inv(now_from_here)
            history = torch.stack([self._align(latent, here @ frame) for latent, frame in known[-history_BTDYX.shape[1] :]], dim=1)
            motion = here @ poses[:, step + 1]
            action = np.stack([motion[:, 0, 3], motion[:, 1, 3], np.arctan2(motion[:, 1, 0], motion[:, 0, 0])], axis=1)
            following = self.inner(history, torch.as_tensor(action, dtype=actions_BHA.dtype)[:, None])[:, 0]
            known.append((following, now_from_here))
            predicted[step] = self._align(following, now_from_here)
        return torch.stack([predicted[step] for step in steps.tolist()], dim=1)


def _poses(actions_BHA: Tensor) -> FloatArray:
    """(B, 1 + H, 4, 4) anchor frame of now from that of each step, now first."""
    x, y, yaw = actions_BHA.detach().double().cpu().numpy().transpose(2, 0, 1)
    poses = np.tile(np.eye(4), (len(x), 1 + x.shape[1], 1, 1))
    poses[:, 1:, 0, 0], poses[:, 1:, 0, 1] = np.cos(yaw), -np.sin(yaw)
    poses[:, 1:, 1, 0], poses[:, 1:, 1, 1] = np.sin(yaw), np.cos(yaw)
    poses[:, 1:, 0, 3], poses[:, 1:, 1, 3] = x, y
    return poses
