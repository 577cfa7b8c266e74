"""Occupancy predicted only where it is needed: in a window around the robot's pose at each step of each motion.

Convolutions look no further than a cell or two: a window with a margin gives the same numbers as the whole map, for a small part of the
work. What the motions have in common, the trunk, is computed once.

Axes: S motion, L step, W window (= S * L), C channel, A = (x, y, yaw); y, x: coarse cells, of 2 x 2 tokens, each of 2 x 2 grid cells.
All maps here are channels-last.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import AbstractContextManager

import torch
import torch.nn.functional as F
from torch import Tensor

from jepa_ros.backends.scene_jepa.predictor import EGO_SIGMA_M, ScenePredictor
from jepa_ros.backends.scene_jepa.probe import OccupancyProbe

COARSE = 4  # grid cells along the side of a coarse cell


class OccupancyWindows:
    """See `protocols.OccupancyWindows`."""

    def __init__(
        self,
        predictor: ScenePredictor,
        probe: OccupancyProbe,
        history_TDYX: Tensor,
        precision: Callable[[], AbstractContextManager[object]],
    ) -> None:
        """To be made in the same `precision` that the calls will be in."""
        self._predictor, self._probe, self._precision = predictor, probe, precision
        config = predictor.config
        read_BCYX = predictor.read(history_TDYX[None, :-1], history_TDYX[None, -1])
        shared_yxC = predictor.trunk(read_BCYX)[0].permute(1, 2, 0)
        self._size = (shared_yxC.shape[0], shared_yxC.shape[1])
        self._shared_NC = shared_yxC.flatten(0, 1).contiguous()
        observed_TYXC = history_TDYX[:, : probe.width].permute(0, 2, 3, 1).to(shared_yxC.dtype)
        self._observed_NTC = observed_TYXC.flatten(1, 2).transpose(0, 1).contiguous()
        # Of the change only what is observed matters, and how it is mixed.
        channels = [*range(config.grounded), *range(config.width, config.width + config.history)]
        rows = [4 * channel + place for channel in channels for place in range(4)]
        project = predictor.step[2].project  # of an Up
        self._weight, self._bias = project.weight.flatten(1)[rows], project.bias[rows]  # type: ignore[operator,union-attr,index]

    @torch.inference_mode()
    def __call__(self, actions_SLA: Tensor, corners_SL2: Tensor, cells: int) -> Tensor:
        """(S, L, cells, cells) occupancy; corners_SL2: row and column of the first cell of each window, which lies within the grid."""
        side = math.ceil((cells + 7) / COARSE)  # coarse cells: the window, wherever it begins, and a token more all around
        corners_W2 = corners_SL2.flatten(0, 1).to(self._shared_NC.device)
        first_W2 = (corners_W2 - 2).div(COARSE, rounding_mode="floor")
        actions_SLA = actions_SLA.to(corners_W2.device)
        with self._precision():
            around_WCyx = self._conditioned(actions_SLA, first_W2, side)
            logits_WYX = self._read(self._latents(around_WCyx, first_W2, side))
        begin_W2 = corners_W2 - 2 - COARSE * first_W2
        places = torch.arange(cells, device=begin_W2.device)
        windows = torch.arange(len(begin_W2), device=begin_W2.device)
        asked = logits_WYX[windows[:, None, None], (begin_W2[:, :1] + places)[:, :, None], (begin_W2[:, 1:] + places)[:, None, :]]
        return asked.float().sigmoid().unflatten(0, corners_SL2.shape[:2])

    def _conditioned(self, actions_SLA: Tensor, first_W2: Tensor, side: int) -> Tensor:
        """(W, C, side + 2, side + 2): the trunk under each motion; 0 beyond the map, as convolutions on the whole map see it."""
        steps = torch.arange(actions_SLA.shape[1], device=actions_SLA.device)
        index_Wyx, inside_Wyx1 = _places(first_W2 - 1, side + 2, self._size)
        shared_WyxC = self._shared_NC[index_Wyx]
        scale, shift = self._predictor.motion(actions_SLA, steps, shared_WyxC.dtype)
        rendered_WCyx = self._render(actions_SLA, first_W2 - 2, side + 4).to(shared_WyxC.dtype)
        footprint_WCyx = F.conv2d(rendered_WCyx, self._predictor.footprint.weight)
        shared_WyxC = torch.addcmul(shift.flatten(0, 1)[:, None, None], shared_WyxC, 1 + scale.flatten(0, 1)[:, None, None])
        return (F.relu(shared_WyxC + footprint_WCyx.permute(0, 2, 3, 1)) * inside_Wyx1).permute(0, 3, 1, 2)

    def _render(self, actions_SLA: Tensor, first_W2: Tensor, side: int) -> Tensor:
        """(W, 2, y, x): the ego at the step of the window, and all that it will have swept by then; 0 beyond the map."""
        motions, steps = actions_SLA.shape[:2]
        cell_m = 2 * self._predictor.half_m / self._size[0]
        places = torch.arange(side, device=first_W2.device) + 0.5
        centres_SL2y = ((first_W2[..., None] + places) * cell_m - self._predictor.half_m).unflatten(0, (motions, steps))
        across = (centres_SL2y[:, :, None, 0] - actions_SLA[:, None, :, 1, None]).square()  # (S, window's step, ego's step, y)
        along = (centres_SL2y[:, :, None, 1] - actions_SLA[:, None, :, 0, None]).square()
        distance = across[..., :, None] + along[..., None, :]
        present = distance.diagonal(dim1=1, dim2=2).permute(0, 3, 1, 2)
        later = torch.ones(steps, steps, dtype=torch.bool, device=distance.device).triu(1)[:, :, None, None]
        nearest = distance.masked_fill(later, math.inf).amin(dim=2)
        rendered = torch.exp(torch.stack((present, nearest), dim=2) / (-2 * EGO_SIGMA_M**2)).flatten(0, 1)
        return rendered * _places(first_W2, side, self._size)[1].permute(0, 3, 1, 2)

    def _latents(self, around_WCyx: Tensor, first_W2: Tensor, side: int) -> Tensor:
        """(W, Y, X, C) observed channels of the predicted latents, 2 * side tokens each way; 0 beyond the map."""
        convolution = self._predictor.step[0]
        change = F.relu(F.conv2d(around_WCyx, convolution.weight, convolution.bias)).permute(0, 2, 3, 1)  # type: ignore[arg-type]
        change = F.linear(change, self._weight, self._bias).unflatten(-1, (-1, 2, 2))
        change_WYXC = change.permute(0, 1, 4, 2, 5, 3).reshape(len(change), 2 * side, 2 * side, -1)
        observed = self._probe.width
        past = self._observed_NTC.shape[1]
        fade, older = change_WYXC[..., observed : observed + 1], change_WYXC[..., observed + 1 : observed + past]
        shares = torch.cat((older, 1 - fade - older.sum(dim=-1, keepdim=True)), dim=-1)
        index_WYX, inside_WYX1 = _places(2 * first_W2, 2 * side, (2 * self._size[0], 2 * self._size[1]))
        observed_WYXTC = self._observed_NTC[index_WYX]
        mixed = change_WYXC[..., :observed]
        for k in range(shares.shape[-1]):
            mixed = torch.addcmul(mixed, shares[..., k, None], observed_WYXTC[..., k, :])
        return mixed * inside_WYX1

    def _read(self, latents_WYXC: Tensor) -> Tensor:
        """(W, y, x) logits of the grid cells, without those of the outermost tokens."""
        wide, _, narrow = self._probe.layers
        latents_WCYX = latents_WYXC.permute(0, 3, 1, 2)
        hidden = F.relu(F.conv2d(latents_WCYX, wide.weight, wide.bias))  # type: ignore[arg-type]
        return F.pixel_shuffle(self._probe.direct(latents_WCYX[..., 1:-1, 1:-1]) + narrow(hidden), 2)[:, 0]


def _places(first_W2: Tensor, side: int, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """(W, side, side) index into the flattened map of `size`, and (W, side, side, 1) whether that place is on the map at all."""
    row_WY, column_WX = (first_W2[:, axis, None] + torch.arange(side, device=first_W2.device) for axis in (0, 1))
    inside_WY, inside_WX = (((place >= 0) & (place < most)) for place, most in ((row_WY, size[0]), (column_WX, size[1])))
    index = row_WY.clamp(0, size[0] - 1)[:, :, None] * size[1] + column_WX.clamp(0, size[1] - 1)[:, None]
    return index, (inside_WY[:, :, None] & inside_WX[:, None])[..., None]
