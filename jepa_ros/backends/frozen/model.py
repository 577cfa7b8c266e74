"""`model:=frozen`: the encoder of another back-end, with the predictor and the probes that were trained on its latents.

Axes: B batch, T history step, H future step, N token, D width, Y row, X column, A = (x m, y m, yaw rad).
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor

from jepa_ros.backends.bev import BEV_GRID
from jepa_ros.backends.checkpoints import load_strictly
from jepa_ros.backends.frozen.network import FrozenConfig, FrozenNetwork
from jepa_ros.backends.registry import BACKENDS
from jepa_ros.config import from_dict
from jepa_ros.protocols import ModelSpec, WorldModel
from jepa_ros.types import Observation
from jepa_ros.weights import read_safetensors

WEIGHTS = "frozen.safetensors"


class FrozenWorldModel:
    """The seam around an encoder that is left as it is."""

    def __init__(self, base: WorldModel, network: FrozenNetwork, device: str, trained: str = "untrained") -> None:
        config = network.config
        if base.spec.latent_shape != (config.tokens, config.latent_width) or str(base.spec.version) != config.version:
            raise ValueError(
                f"trained on latents of {config.model} {config.version!r}, {config.tokens} x {config.latent_width}; the back-end here is "
                f"{base.spec.name} {base.spec.version!r}, {base.spec.latent_shape}: train again, or load the weights it was trained on"
            )
        self._base = base
        self._network = network.to(device).eval().requires_grad_(False)
        self.spec = ModelSpec(
            name="frozen",
            version=f"{config.model}-{trained}",
            dt_s=config.dt_s,
            history=config.history,
            horizon=config.horizon,
            latent_shape=base.spec.latent_shape,
            action_dim=3,
            inputs=base.spec.inputs,
            required_inputs=base.spec.required_inputs,
            grid=BEV_GRID if config.probes else None,
            # What the base cannot do without: cameras for an image encoder, a lidar for one that says so.
            occupancy_needs=base.spec.occupancy_needs or base.spec.inputs,
        )

    def encode(self, observation: Observation) -> Tensor:
        """(1, N, D): the base's own."""
        return self._base.encode(observation)

    def align(self, latents_BND: Tensor, new_from_old: np.ndarray) -> Tensor:
        """(B, N, D): the base's own."""
        return self._base.align(latents_BND, new_from_old)

    @torch.no_grad()
    def predict(self, history_BTND: Tensor, actions_BHA: Tensor) -> Tensor:
        """(B, H, N, D). A history shorter than spec.history is filled with its oldest latent. ValueError for other actions."""
        if actions_BHA.shape[2:] != (3,) or not 1 <= actions_BHA.shape[1] <= self.spec.horizon:
            raise ValueError(f"actions must be (B, 1 ... {self.spec.horizon}, 3), got {tuple(actions_BHA.shape)}")
        missing = self.spec.history - history_BTND.shape[1]
        history = torch.cat([history_BTND[:, :1].expand(-1, missing, -1, -1), history_BTND], dim=1)[:, -self.spec.history :]
        return self._network.predict(history.float(), actions_BHA.float())

    @torch.no_grad()
    def occupancy(self, latents_BND: Tensor) -> Tensor:
        """(B, Y, X) probability that a lidar return 0.3-2.0 m above the ground falls in each cell of spec.grid."""
        return self._network.read(latents_BND.float())[:, 0].sigmoid()


def save(network: FrozenNetwork, path: Path, facts: dict[str, Any]) -> None:
    """One safetensors file: weights, sizes, the base back-end, and facts about the training."""
    tensors = {key: value.detach().cpu().contiguous() for key, value in network.state_dict().items()}
    save_file(tensors, path, {"config": json.dumps(dataclasses.asdict(network.config)), "facts": json.dumps(facts)})


def load(device: str, weights: str | Path = "", **options: Any) -> FrozenWorldModel:
    """weights: the file or folder that `python -m jepa_ros.training frozen` wrote. It names the base and its weights.

    Raises ValueError where it is missing, damaged, or of another encoder.
    """
    path = Path(weights).expanduser()
    path = path / WEIGHTS if path.is_dir() else path
    fix = "give frozen weights:=FOLDER, made by python -m jepa_ros.training frozen --model NAME --out FOLDER BAG..."
    metadata, tensors = read_safetensors(path, fix)
    config = from_dict(FrozenConfig, json.loads(metadata.get("config", "{}")), where=f"{path}: config")
    if config.model not in BACKENDS or config.model == "frozen":
        raise ValueError(f"{path}: was trained on the back-end {config.model!r}, which is none of {', '.join(sorted(BACKENDS))}")
    base = BACKENDS[config.model](device, **({"weights": config.weights} if config.weights else {}))
    network = FrozenNetwork(config)
    load_strictly(network, tensors, str(path))
    steps = json.loads(metadata.get("facts", "{}")).get("steps", 0)
    return FrozenWorldModel(base, network, device, trained=f"step-{steps}")
