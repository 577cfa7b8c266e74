"""V-JEPA 2-AC behind the seam: encoder and action-conditioned predictor, from the directory that `backends.convert` writes.

Each image is encoded alone, doubled to fill a tubelet. Axes: B batch, T history step, H future step, L planned step, P patch, D width.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import VJEPA2Config
from transformers.models.vjepa2.modeling_vjepa2 import VJEPA2Encoder

from jepa_ros.backends.actions import ActionPlan, ImaginedActions
from jepa_ros.backends.checkpoints import fingerprint, load_strictly
from jepa_ros.backends.frames import square_image
from jepa_ros.backends.vjepa2_ac.predictor import ActionConditionedPredictor, PredictorConfig
from jepa_ros.backends.vjepa2_ac.rollout import Imagination, normalised
from jepa_ros.backends.vjepa2_ac.screening import Screen
from jepa_ros.backends.vjepa2_ac.search import Scorer, SearchConfig, search
from jepa_ros.config import from_dict
from jepa_ros.protocols import ActionMeaning, ModelSpec
from jepa_ros.types import FloatArray, Observation
from jepa_ros.weights import read_safetensors

ENCODER_FILE, PREDICTOR_FILE = "encoder.safetensors", "predictor.safetensors"
DT_S = 0.25  # trained at 4 frames/s
HORIZON = 8  # steps ahead; its training clips were no longer
STATE_WIDTH = 7
WORKING_SET_BYTES = {
    "cpu": 2 << 20,
    "cuda": 256 << 20,
}  # of one layer over a batch of candidates: what fits a core's cache, what fills a GPU


class VJepa2Ac:
    """The seam around a V-JEPA 2 encoder and the action-conditioned predictor. Actions: see `poses`."""

    state_width = STATE_WIDTH

    def __init__(self, encoder: VJEPA2Encoder, predictor: ActionConditionedPredictor, device: str, version: str = "local") -> None:
        self._encoder = encoder.to(device).eval()
        self._predictor = predictor.to(device).eval()
        self._device = torch.device(device)
        sizes = predictor.config
        self.spec = ModelSpec(
            name="vjepa2_ac",
            version=version,
            dt_s=DT_S,
            history=1,
            horizon=min(HORIZON, sizes.max_steps - 1),
            latent_shape=(sizes.grid**2, sizes.encoder_width),
            action_dim=STATE_WIDTH,
            actions=ActionMeaning.OWN,
            inputs=("camera",),
            required_inputs=("camera",),
        )
        self.search = SearchConfig()

    def encode(self, observation: Observation) -> Tensor:
        """(1, P, D) normalised latents of the first camera's image. ValueError without a camera."""
        config = self._encoder.config
        image = square_image(observation, config.crop_size, self.spec.name).to(self._device)
        clip_BTCHW = image.expand(1, config.tubelet_size, -1, -1, -1)
        return normalised(self._encoder(pixel_values_videos=clip_BTCHW).last_hidden_state)

    def align(self, latents_BPD: Tensor, new_from_old: np.ndarray) -> Tensor:
        """Image latents belong to no place on the ground; they stay as they are."""
        return latents_BPD

    def predict(self, history_BTPD: Tensor, actions_BH7: Tensor) -> Tensor:
        """(B, H, P, D) for an arm that starts at the origin, its gripper open. `plan_actions` takes the state that it is in."""
        origin_T7 = history_BTPD.new_zeros(history_BTPD.shape[1], STATE_WIDTH)
        rollouts = [
            Imagination(self._predictor, latents_TPD, origin_T7).rollout(actions_H7[None])
            for latents_TPD, actions_H7 in zip(history_BTPD, actions_BH7, strict=True)
        ]
        return torch.cat(rollouts)

    @torch.inference_mode()
    def plan_actions(
        self, history_TPD: Tensor, states_T7: FloatArray, goal_PD: Tensor, steps: int = 0, deadline_s: float = math.inf
    ) -> ActionPlan:
        """The actions whose predicted last latent comes nearest to the goal's, as in the published cross-entropy method.

        states_T7: end effector's x, y, z m, Euler angles rad and gripper 0-1 at each step of the history; steps: 0 = the search's own.
        Raises ValueError for states of another shape, TimeoutError where the deadline leaves no time for a search.
        """
        imagination = self._imagination(history_TPD, states_T7)
        goal_PD = goal_PD.to(self._device)
        batch = batch_size(self._predictor.config, self._device.type)
        score = Scorer(lambda actions_BL7: imagination.energy(actions_BL7.to(self._device), goal_PD), batch, deadline_s)
        found = search(score, Screen(score), steps or self.search.steps, self.search, deadline_s)
        message = f"{found.iterations} iterations of CEM, {found.predicted} predictions through {self.spec.name}"
        return ActionPlan(found.actions_L7.numpy(), found.energy, message)

    @torch.inference_mode()
    def imagine_actions(self, history_TPD: Tensor, states_T7: FloatArray, actions_SL7: Tensor) -> ImaginedActions:
        """What is seen after each action of each candidate. Of grips it knows nothing.

        Raises ValueError for states or actions of another shape, and for more steps than it predicts.
        """
        if actions_SL7.ndim != 3 or actions_SL7.shape[2] != STATE_WIDTH or not 1 <= actions_SL7.shape[1] <= self.spec.horizon:
            raise ValueError(
                f"actions must be candidates x steps x {STATE_WIDTH} with 1 to {self.spec.horizon} steps, got {tuple(actions_SL7.shape)}"
            )
        imagination = self._imagination(history_TPD, states_T7)
        parts = actions_SL7.to(self._device, torch.float32).split(batch_size(self._predictor.config, self._device.type))
        return ImaginedActions(torch.cat([imagination.rollout(part) for part in parts]), None, None)

    def _imagination(self, history_TPD: Tensor, states_T7: FloatArray) -> Imagination:
        states = torch.as_tensor(np.asarray(states_T7), dtype=torch.float32, device=self._device)
        if states.shape != (len(history_TPD), STATE_WIDTH) or not states.isfinite().all():
            raise ValueError(
                f"the robot's state must be {len(history_TPD)} x {STATE_WIDTH} finite values (x, y, z, three Euler angles, gripper), "
                f"got {states.cpu().numpy().tolist()}"
            )
        return Imagination(self._predictor, history_TPD.to(self._device), states)


def batch_size(sizes: PredictorConfig, device_type: str) -> int:
    """Candidates that are predicted at once."""
    widest = 4 * 4 * sizes.width * (sizes.grid**2 + sizes.conditioning_tokens)  # bytes: the inner layer of an MLP, float32
    return max(1, WORKING_SET_BYTES.get(device_type, WORKING_SET_BYTES["cuda"]) // widest)


def load(device: str, weights: str = "", **options: Any) -> VJepa2Ac:
    """weights: directory that `python -m jepa_ros.backends.convert vjepa2_ac` made. Raises ValueError where anything does not fit."""
    if not weights:
        raise ValueError(
            "vjepa2_ac ships no weights: give weights:=DIRECTORY, made by "
            "python -m jepa_ros.backends.convert vjepa2_ac vjepa2-ac-vitg.pt DIRECTORY"
        )
    folder = Path(weights).expanduser()
    missing = [name for name in ("config.json", ENCODER_FILE, PREDICTOR_FILE) if not (folder / name).is_file()]
    if missing:
        raise ValueError(f"{folder}: no {', '.join(missing)} there; expected what python -m jepa_ros.backends.convert vjepa2_ac writes")
    fix = "convert it again: python -m jepa_ros.backends.convert vjepa2_ac"
    _, encoder_weights = read_safetensors(folder / ENCODER_FILE, fix)
    metadata, predictor_weights = read_safetensors(folder / PREDICTOR_FILE, fix)
    sizes = from_dict(PredictorConfig, json.loads(metadata.get("config", "{}")), where=f"{folder / PREDICTOR_FILE}: config")
    config = VJEPA2Config.from_pretrained(folder, local_files_only=True, attn_implementation="sdpa")
    with torch.device("meta"):  # it has no buffers, and all of its parameters come from the file
        encoder = VJEPA2Encoder(config)
    predictor = ActionConditionedPredictor(sizes)
    load_strictly(encoder, encoder_weights, str(folder / ENCODER_FILE))
    load_strictly(predictor, predictor_weights, str(folder / PREDICTOR_FILE))
    return VJepa2Ac(encoder, predictor, device, version=fingerprint(predictor_weights))
