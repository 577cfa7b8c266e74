"""scene_jepa behind the WorldModel seam: encode once per observation, align, predict all steps in one pass, read occupancy.

Axes: B batch, T history step (oldest first), H future step, N token (= Y * X), D latent width, A = (x, y, yaw).
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor, nn

from jepa_ros.backends.bev import BEV_GRID, half_extent_m, warp
from jepa_ros.backends.engine import EAGER, Graph, Staging, build
from jepa_ros.backends.scene_jepa.blocks import cpu_multiplies_bfloat16
from jepa_ros.backends.scene_jepa.config import BODY, SceneJepaConfig
from jepa_ros.backends.scene_jepa.critic import critic_path, fingerprint, load_critic, observed
from jepa_ros.backends.scene_jepa.encoder import SceneEncoder, SceneInput
from jepa_ros.backends.scene_jepa.graphs import parts
from jepa_ros.backends.scene_jepa.latents import TOKENS, from_cells, from_map, to_cells, to_map
from jepa_ros.backends.scene_jepa.occupancy_head import OccupancyHead
from jepa_ros.backends.scene_jepa.prediction import ScenePrediction, probe_logits
from jepa_ros.backends.scene_jepa.predictor import ScenePredictor
from jepa_ros.backends.scene_jepa.probe import OccupancyProbe
from jepa_ros.backends.scene_jepa.projection import SAMPLE_HEIGHTS_M
from jepa_ros.backends.scene_jepa.scene_input import scene_input
from jepa_ros.backends.scene_jepa.windows import OccupancyWindows
from jepa_ros.config import from_dict
from jepa_ros.protocols import Critic, Encoded, ModelSpec, SensorSample
from jepa_ros.types import Observation
from jepa_ros.weights import find_weights, read_safetensors

WEIGHTS = "scene_jepa.safetensors"


class SceneJepa(nn.Module):
    """A joint-embedding predictive model of the scene around the vehicle, after LeCun 2022 and LeJEPA (Balestriero & LeCun 2025)."""

    def __init__(self, config: SceneJepaConfig, version: str = "untrained") -> None:
        super().__init__()
        self.config = config
        self.half_m = half_extent_m(BEV_GRID)
        self.weights: Path | None = None  # the file they came from
        self._engine, self._staging = EAGER, Staging()
        self.encoder = SceneEncoder(config, config.pillar_channels, len(SAMPLE_HEIGHTS_M))
        self.predictor = ScenePredictor(config, self.half_m)
        self.occupancy_probe = OccupancyProbe(config.grounded, config.probe)
        self.occupancy_head = OccupancyHead(config) if config.head else None
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # missing in torch's stubs
        self.spec = ModelSpec(
            name="scene_jepa",
            version=version,
            dt_s=config.dt_s,
            history=config.history,
            horizon=config.horizon,
            latent_shape=(TOKENS[0] * TOKENS[1], config.width),
            action_dim=3,
            inputs=("lidar", "camera"),
            grid=BEV_GRID,
            occupancy_needs=("lidar",),
        )

    @property
    def device(self) -> torch.device:
        return next(self.parameters()).device

    @torch.inference_mode()
    def encode(self, observation: Observation) -> Tensor:
        """(1, N, D) latents in the anchor frame of the observation; lidar only, cameras only, or both."""
        return self._encode(observation)[0]

    @torch.inference_mode()
    def encode_sensors(self, observation: Observation) -> Encoded:
        """Latents; beside them the returns that the lidar observed, and the features of each image before it is laid on the ground."""
        latents_BND, features = self._encode(observation)
        sensors = {}
        if observation.lidar is not None:
            sensors["lidar"] = SensorSample(observation.lidar.stamp_ns, observed(latents_BND[0])[BODY] > 0.5, self.half_m)
        for index, camera in enumerate(observation.cameras):
            assert features is not None
            sensors[f"camera {index}"] = SensorSample(camera.stamp_ns, features[0, index].float())
        return Encoded(latents_BND[0], sensors)

    def _encode(self, observation: Observation) -> tuple[Tensor, Tensor | None]:
        """(1, N, D) latents, and (1, K, C, H, W) what was made of the images alone; None where there is none."""
        scene = self._staged(scene_input(observation, self.config.pillar_channels))
        graph = self.graph(f"encoder_{len(observation.cameras)}") if observation.lidar else None
        if graph is not None:
            latents_1DYX, of_images = graph(scene.pillars_BCYX, scene.images_BKCHW, scene.pixels_BKZYX2)
            return from_map(latents_1DYX), of_images if observation.cameras else None
        with self.fast():
            features = self.encoder.camera.features(scene.images_BKCHW) if observation.cameras else None
            return from_map(self.encoder(scene, features)).float(), features

    def use_engine(self, engine: str) -> str:
        """See `protocols.RunsOnEngines`; what is built is kept beside the fingerprint of the weights."""
        if engine == "eager":
            self._engine = EAGER
        else:
            head, probe = self.occupancy_head, self.occupancy_probe
            found = parts(self.config, self.encoder, self.predictor, head, probe, len(SAMPLE_HEIGHTS_M), self.device)
            self._engine = build(engine, found, fingerprint(self), self.fast)
        return self._engine.name

    def graph(self, part: str) -> Graph | None:
        """A part of `graphs.parts` where an engine runs it."""
        return self._engine.get(part)

    def critic(self) -> Critic | None:
        """Judges how surprising latents are; None, with a line in the log, if none was trained for these weights."""
        return load_critic(self, critic_path(self.weights), self.spec.dt_s) if self.weights else None

    @torch.inference_mode()
    def align(self, latents_BND: Tensor, new_from_old: np.ndarray) -> Tensor:
        """(B, N, D) in another anchor frame; tokens that were outside the old one become 0, the mean of all latents."""
        return from_map(self.align_map(to_map(latents_BND), new_from_old))

    @torch.inference_mode()
    def predict(self, history_BTND: Tensor, actions_BHA: Tensor) -> Tensor:
        """(B, H, N, D). actions: the intended pose (x m, y m, yaw rad) at each of H <= spec.horizon steps, in the anchor frame of now.

        A history shorter than spec.history is filled with its oldest latent: "nothing moved before that". A wrong shape is a ValueError.
        """
        history_BTND = self._checked_history(history_BTND)
        batch, horizon = actions_BHA.shape[:2]
        self._check_actions(actions_BHA, len(history_BTND))
        history_map = to_map(history_BTND.flatten(0, 1)).unflatten(0, history_BTND.shape[:2])
        with self.fast():
            predicted = self.predictor(history_map, actions_BHA.to(history_BTND)).float()
        return from_map(predicted.flatten(0, 1)).unflatten(0, (batch, horizon))

    @torch.inference_mode()
    def predict_in_parts(self, past: Sequence[Tensor], new_from_old: np.ndarray, now_ND: Tensor, actions_BHA: Tensor) -> ScenePrediction:
        """What `predict` and `occupancy` say, as far as it is read. See `protocols.PredictsInParts`; a wrong shape is a ValueError."""
        self._check_actions(actions_BHA, 1)
        missing = self.spec.history - 1 - len(past)
        wrong = [tuple(latent_ND.shape) for latent_ND in (*past, now_ND) if latent_ND.shape != self.spec.latent_shape]
        if wrong or missing < 0:
            raise ValueError(f"needs at most {self.spec.history} latents of {self.spec.latent_shape}, got {len(past) + 1}, {wrong}")
        if missing:
            oldest, pose = (past[0], new_from_old[:1]) if len(past) else (now_ND, np.eye(4)[None])
            past = [oldest] * missing + list(past)
            new_from_old = np.concatenate([np.repeat(pose, missing, axis=0), new_from_old])
        return ScenePrediction(self, past, new_from_old, now_ND, actions_BHA.to(now_ND))

    @torch.inference_mode()
    def occupancy(self, latents_BND: Tensor) -> Tensor:
        """(B, Y, X) probability that a lidar return 0.3-2.0 m above the ground falls in each cell of spec.grid."""
        return self.probe(to_map(latents_BND))

    @torch.inference_mode()
    def probe(self, latents_BDYX: Tensor) -> Tensor:
        """`occupancy` of (B, D, Y, X) maps, of which only the observed channels are read."""
        graph = self.graph("probe") if len(latents_BDYX) == 1 else None
        if graph is not None:
            return graph(latents_BDYX[:, : self.config.grounded])[0]
        with self.fast():
            return probe_logits(self.occupancy_probe, latents_BDYX).float().sigmoid()

    def futures(self, history_BTDYX: Tensor, actions_BHA: Tensor, steps_S: Tensor, read_through: bool = False) -> tuple[Tensor, Tensor]:
        """(B, S, D, Y, X) latents and (B, S, 2Y, 2X) logits of occupancy at some steps, from aligned latents: for training and its judges.

        read_through: whether a gradient of the logits goes on into what they are read off.
        """
        if self.occupancy_head is None:
            predicted_BSDYX = self.predictor(history_BTDYX, actions_BHA, steps_S)
            latents = predicted_BSDYX if read_through else predicted_BSDYX.detach()
            return predicted_BSDYX, self.occupancy_probe(latents.flatten(0, 1)).unflatten(0, latents.shape[:2])
        read_BCYX = self.predictor.read(history_BTDYX[:, :-1], history_BTDYX[:, -1])
        trunk_BsYX = self.predictor.trunk(read_BCYX)
        predicted_BSDYX = self.predictor(history_BTDYX, actions_BHA, steps_S, trunk_BsYX)
        inputs = (read_BCYX, trunk_BsYX) if read_through else (read_BCYX.detach(), trunk_BsYX.detach())
        return predicted_BSDYX, self.occupancy_head(*inputs)[:, steps_S]

    def _staged(self, scene: SceneInput) -> SceneInput:
        """On the device of the model."""
        return SceneInput(*(self._staging(name, getattr(scene, name), self.device) for name in SceneInput.__dataclass_fields__))

    @torch.inference_mode()
    def occupancy_windows(self, history_TND: Tensor) -> OccupancyWindows:
        """What `predict` and `occupancy` say, in small windows and for many motions: (T, N, D) history, which all motions share."""
        history_BTND = self._checked_history(history_TND[None])
        with self.fast():
            return OccupancyWindows(self.predictor, self.occupancy_probe, to_map(history_BTND[0]), self.fast)

    def fast(self) -> torch.autocast:
        """bfloat16 where the processor multiplies it natively: half the time, 0.4 % of the latents' size in error. Elsewhere float32."""
        kind = self.device.type
        native = torch.cuda.is_bf16_supported() if kind == "cuda" else cpu_multiplies_bfloat16()
        return torch.autocast(kind, torch.bfloat16, enabled=native)

    def align_map(self, latents_BDYX: Tensor, new_from_old: np.ndarray) -> Tensor:
        """`align` for (B, D, Y, X), or for its first channels. Those that hold something of single cells are warped cell by cell, not token
        by token."""
        observed, learned = latents_BDYX[:, : self.config.grounded], latents_BDYX[:, self.config.grounded :]
        aligned = [self._warp_cells(observed, new_from_old)]
        if learned.shape[1]:
            aligned.append(warp(learned, new_from_old, self.half_m))
        return torch.cat(aligned, dim=1)

    def aligned(self, past: Sequence[Tensor], new_from_old: np.ndarray, channels: int) -> Tensor:
        """(T, channels, Y, X) of T (N, D) latents in another anchor frame. Only their first `channels` are read."""
        grounded = self.config.grounded
        observed_TZYX = warp(to_cells([latent_ND[:, :grounded] for latent_ND in past]), new_from_old, self.half_m)
        aligned_TCYX = from_cells(observed_TZYX)
        if channels == grounded:
            return aligned_TCYX
        learned_TCYX = torch.stack([to_map(latent_ND)[grounded:channels] for latent_ND in past])
        return torch.cat([aligned_TCYX, warp(learned_TCYX, new_from_old, self.half_m)], dim=1)

    def _warp_cells(self, observed_BCYX: Tensor, new_from_old: np.ndarray) -> Tensor:
        return F.pixel_unshuffle(warp(F.pixel_shuffle(observed_BCYX, 2), new_from_old, self.half_m), 2)

    def _check_actions(self, actions_BHA: Tensor, batch: int) -> None:
        if actions_BHA.shape[2:] != (3,) or not 1 <= actions_BHA.shape[1] <= self.spec.horizon or batch != len(actions_BHA):
            raise ValueError(f"actions must be ({batch}, 1 ... {self.spec.horizon}, 3), got {tuple(actions_BHA.shape)}")

    def _checked_history(self, history_BTND: Tensor) -> Tensor:
        steps = history_BTND.shape[1] if history_BTND.ndim == 4 else 0
        if history_BTND.shape[2:] != self.spec.latent_shape or not 1 <= steps <= self.spec.history:
            raise ValueError(f"history must be (B, 1 ... {self.spec.history}, {self.spec.latent_shape}), got {tuple(history_BTND.shape)}")
        missing = self.spec.history - steps
        return torch.cat([history_BTND[:, :1].expand(-1, missing, -1, -1), history_BTND], dim=1) if missing else history_BTND


def save(model: SceneJepa, path: str | Path, version: str, about: dict[str, Any]) -> None:
    """Write weights as safetensors, with the configuration, the version and what is worth knowing of their making in the metadata."""
    metadata = {"config": json.dumps(dataclasses.asdict(model.config)), "version": version, "about": json.dumps(about)}
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
    save_file(tensors, str(path), metadata)


def load(device: str, weights: str | Path | None = None) -> SceneJepa:
    """Load weights, by default the shipped ones, for inference. Raises ValueError saying what does not fit and what to do."""
    path = Path(weights) if weights is not None else find_weights(WEIGHTS)
    metadata, tensors = read_safetensors(path, "give scene_jepa a whole .safetensors file, or none for the shipped one")
    if "config" not in metadata:
        raise ValueError(f"{path} holds no scene_jepa configuration; write it with jepa_ros.backends.scene_jepa.model.save")
    sizes = json.loads(metadata["config"])
    _as_of_now(sizes, tensors)
    config = from_dict(SceneJepaConfig, sizes, where=f"{path}: config")
    try:
        with torch.device("meta"):  # costs no memory, whatever sizes the file claims
            SceneJepa(config).load_state_dict(tensors, strict=True, assign=True)
        model = SceneJepa(config, metadata.get("version", "unknown"))
        model.load_state_dict(tensors, strict=True)
    except RuntimeError as error:
        raise ValueError(f"{path} does not fit this version of scene_jepa: {error}. Train again, or use the matching release") from error
    model.weights = path
    return model.to(device).eval().requires_grad_(False)


def _as_of_now(sizes: dict[str, Any], tensors: dict[str, Tensor]) -> None:
    """Files of earlier versions. Up to 0.5.1 they have no occupancy head. Up to 0.5.0 they hold numbers of a rule that moved clusters
    ahead, and an output that said how far to trust it; tracked objects do that now, see `objects.scene`."""
    sizes.setdefault("head", 0)
    for name in ("predictor.moving.arrives", "predictor.moving.leaves"):
        tensors.pop(name, None)
    if sizes.pop("trust", False):
        for name in ("predictor.step.2.project.weight", "predictor.step.2.project.bias"):
            tensors[name] = tensors[name][:-4]  # four cells of one output
