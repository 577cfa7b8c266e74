"""A small network that reads how likely a cell is occupied, as what stands there or as what moves there.

Two shares: p = 1 - (1 - stands)(1 - moves). Both are trained together. A later sweep says only whether a return fell into the cell, not
whether it belongs to something that stands or moves. A planner that plans around objects itself reads the first share alone.

What stands is the logit of the world model, corrected. How often a place was hit lately decides, once for all steps, how far the model is
trusted there and what is added, each as a linear function of the logarithm of time. So a step costs a product and a sum.
Axes: P evidence of a place, M evidence of an object that comes there, N cell at a step, K coefficient, H step, Y/X rows and columns.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from jepa_ros.occupancy.evidence import COMING, LEAST, PLACE, Evidence
from jepa_ros.weights import filled, find_weights, read_weights

SHIPPED = "occupancy_fusion.safetensors"
FORMAT = "occupancy_fusion 1"
HIDDEN_PLACE, HIDDEN_COMING = 32, 12


class OccupancyFusion(nn.Module):
    """Starts as what the world model and the forecasts of objects say, and learns what to change in that."""

    place_mean: Tensor
    place_scale: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("place_mean", torch.zeros(len(PLACE)))
        self.register_buffer("place_scale", torch.ones(len(PLACE)))
        self.place = nn.Sequential(nn.Linear(len(PLACE), HIDDEN_PLACE), nn.ReLU(), nn.Linear(HIDDEN_PLACE, 4))
        self.coming = nn.Sequential(nn.Linear(len(COMING), HIDDEN_COMING), nn.ReLU(), nn.Linear(HIDDEN_COMING, 1))
        for last in (self.place[2], self.coming[2]):
            nn.init.zeros_(last.weight)  # type: ignore[arg-type]
            nn.init.zeros_(last.bias)  # type: ignore[arg-type]

    def coefficients(self, place_PN: Tensor) -> Tensor:
        """(4, N) trust less 1 at 1 s, its change with the logarithm of time, what is added at 1 s, and its change."""
        first, _, last = self.place
        assert isinstance(first, nn.Linear)
        assert isinstance(last, nn.Linear)
        values_PN = (place_PN - self.place_mean[:, None]) / self.place_scale[:, None]
        # Evidence by evidence, as it lies in maps: to turn it into rows for `self.place`, and back, takes as long again.
        hidden = torch.addmm(first.bias[:, None], first.weight, values_PN).relu_()
        return torch.addmm(last.bias[:, None], last.weight, hidden)

    def moves(self, coming_NM: Tensor) -> Tensor:
        """(N,) logits that an object is there: the first evidence, corrected."""
        correction_N1: Tensor = self.coming(coming_NM)
        return coming_NM[:, 0] + correction_N1[:, 0]

    @torch.inference_mode()
    def stands(self, evidence: Evidence) -> Tensor:
        """(H, Y, X) logits that something stands in each cell."""
        rows, columns = evidence.place_PYX.shape[1:]
        told_K1YX = self.coefficients(evidence.place_PYX.flatten(1)).view(4, 1, rows, columns)
        return stands(evidence.model_HYX, told_K1YX, evidence.log_times_H[:, None, None])

    @torch.inference_mode()
    def comes(self, evidence: Evidence) -> Tensor:
        """(H, Y, X) probabilities that something moves there."""
        moves_HYX = torch.zeros_like(evidence.objects_HYX)
        cells = np.flatnonzero(evidence.objects_HYX.numpy() >= LEAST)  # torch's nonzero takes six times as long
        if len(cells):
            step, row, column = (torch.from_numpy(index) for index in np.unravel_index(cells, evidence.objects_HYX.shape))
            moves_HYX[step, row, column] = self.moves(evidence.coming((step, row, column))).sigmoid_()
        return moves_HYX


def stands(model: Tensor, coefficients_K: Tensor, log_time: Tensor) -> Tensor:
    """Logits of what stands, from those of the world model; coefficients along the first axis, the rest of one shape."""
    trust, trust_with_time, added, added_with_time = coefficients_K
    return torch.addcmul(torch.addcmul(added, added_with_time, log_time), torch.addcmul(1.0 + trust, trust_with_time, log_time), model)


def save(network: OccupancyFusion, path: Path, about: dict[str, Any]) -> None:
    """With the names of the evidence, so that weights are never given other evidence."""
    tensors = {name: tensor.detach().contiguous() for name, tensor in network.state_dict().items()}
    metadata = {"format": FORMAT, "place": json.dumps(PLACE), "coming": json.dumps(COMING), "about": json.dumps(about)}
    save_file(tensors, str(path), metadata)


def load(path: Path | None = None) -> OccupancyFusion:
    """By default the shipped weights. Raises ValueError saying what does not fit."""
    path = path or find_weights(SHIPPED)
    fix = "train it: python -m jepa_ros.training occupancy"
    metadata, tensors = read_weights(path, FORMAT, fix)
    named = (tuple(json.loads(metadata["place"])), tuple(json.loads(metadata["coming"])))
    if named != (PLACE, COMING):
        raise ValueError(f"{path} reads other evidence than this version gathers; {fix}")
    return filled(OccupancyFusion(), tensors, path, fix)


def load_fusion(name: str, model: str) -> OccupancyFusion | None:
    """By the parameter `fusion` and the name of the world model: the shipped weights know scene_jepa alone. None = nothing is fused."""
    if name == "none" or (not name and model != "scene_jepa"):
        return None
    return load(Path(name) if name else None)
