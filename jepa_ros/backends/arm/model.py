"""An arm's own world model behind the seam: what it will see after a motion, whether its grip holds meanwhile, the quickest that does.

A state is (x, y, z m, three Euler angles rad, closing 0-1 as measured, closing 0-1 as commanded): the two closings differ by the squeeze.
An action is (dx, dy, dz m, three Euler angles rad, change of the commanded closing) over `spec.dt_s`.
Axes: T history frame, S candidate, L step, P token, D latent width, M member.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from jepa_ros.backends.actions import ActionPlan, ImaginedActions
from jepa_ros.backends.arm.file import ArmFacts
from jepa_ros.backends.arm.file import load as load_file
from jepa_ros.backends.arm.hold import GRIP_LATENTS
from jepa_ros.backends.arm.network import GRID, MAX_STEPS, SIDE_PX, ArmModel
from jepa_ros.backends.arm.plan import ArmPlanning, Quickest
from jepa_ros.backends.checkpoints import fingerprint
from jepa_ros.backends.vjepa2_ac.poses import difference
from jepa_ros.protocols import ActionMeaning, ModelSpec
from jepa_ros.types import FloatArray, Observation
from jepa_ros.weights import find_weights

SIMULATED = "simulated"  # names the shipped weights
HISTORY = 2  # before the fingers closed, and after
STATE_WIDTH, ACTION_WIDTH = 8, 7
ROLL_BATCH = 64  # candidates that are imagined at once: what fits a core's cache


class ArmWorldModel:
    """Of weights that `python -m jepa_ros.training arm` made."""

    state_width = STATE_WIDTH

    def __init__(self, model: ArmModel, facts: ArmFacts, device: str = "cpu", planning: ArmPlanning | None = None) -> None:
        self.planning = planning or ArmPlanning()
        self.facts = facts
        self._model = model.to(device).eval().requires_grad_(False)
        self._device = torch.device(device)
        if model.config.views > 1 and len(facts.cameras) != model.config.views:
            raise ValueError(f"the weights have {model.config.views} views and name {len(facts.cameras)} cameras: {facts.cameras}")
        self.spec = ModelSpec(
            name="arm",
            version=fingerprint(model.state_dict()),
            dt_s=facts.dt_s,
            history=HISTORY,
            horizon=min(facts.horizon, MAX_STEPS - HISTORY),
            latent_shape=(GRID**2, model.config.latent_width),
            action_dim=ACTION_WIDTH,
            actions=ActionMeaning.OWN,
            inputs=("camera",),
            required_inputs=("camera",),
            cameras=facts.cameras if model.config.views > 1 else (),
        )

    def encode(self, observation: Observation) -> Tensor:
        """(1, P, D) of the images of the cameras that were there in training. Raises ValueError where one is missing."""
        images = {camera.name: camera.rgb for camera in observation.cameras}
        wanted = self.spec.cameras or tuple(images)[:1]
        if not wanted or set(wanted) - set(images):
            raise ValueError(
                f"arm sees through {' and '.join(self.spec.cameras) or 'a camera'}, and the observation at {observation.stamp_s:.3f} s has "
                f"images of {', '.join(images) or 'no camera'}: remap your topics to the names that they had in the recordings"
            )
        return self.encode_images([images[name] for name in wanted])

    @torch.inference_mode()
    def encode_images(self, images: Sequence[NDArray[np.uint8]]) -> Tensor:
        """(1, P, D) of one image of each camera, (Y, X, 3) of any size."""
        seen = np.stack([model_image(rgb_YX3) for rgb_YX3 in images])
        return self._model.encode(torch.from_numpy(seen)[None].to(self._device)).clone()

    @torch.inference_mode()
    def encode_goal(self, rgb_YX3: NDArray[np.uint8]) -> Tensor:
        """(1, P, D) of what the first camera shall see; what the others shall see is left open."""
        return self._model.encode_goal(torch.from_numpy(model_image(rgb_YX3))[None].to(self._device)).clone()

    def align(self, latents_BPD: Tensor, new_from_old: np.ndarray) -> Tensor:
        """Image latents belong to no place on the ground; they stay as they are."""
        return latents_BPD

    @torch.inference_mode()
    def predict(self, history_BTPD: Tensor, actions_BHA: Tensor) -> Tensor:
        """(B, H, P, D) for an arm that stood still at the origin, its gripper open. `imagine_actions` takes the state that it is in."""
        still = np.zeros((history_BTPD.shape[1], STATE_WIDTH))
        rolled = [self._rolls(history, still, actions[None])[0, 0] for history, actions in zip(history_BTPD, actions_BHA, strict=True)]
        return torch.stack(rolled)

    @torch.inference_mode()
    def imagine_actions(self, history_TND: Tensor, states_TX: FloatArray, actions_SLA: Tensor) -> ImaginedActions:
        """Latents by the first member; holding from what is gripped now, by all. Raises ValueError for what does not fit."""
        if actions_SLA.ndim != 3 or actions_SLA.shape[2] != ACTION_WIDTH or not 1 <= actions_SLA.shape[1] <= self.spec.horizon:
            raise ValueError(
                f"actions must be candidates x steps x {ACTION_WIDTH} with 1 to {self.spec.horizon} steps, got {tuple(actions_SLA.shape)}"
            )
        rolled_MSLPD = self._rolls(history_TND, states_TX, actions_SLA)
        if not self.facts.holds:
            return ImaginedActions(rolled_MSLPD[0], None, None)
        hold_MSL = self._held(rolled_MSLPD, history_TND, states_TX, actions_SLA)
        spread_SL = hold_MSL.std(0, unbiased=False)
        return ImaginedActions(rolled_MSLPD[0], hold_MSL.mean(0).double().cpu().numpy(), spread_SL.double().cpu().numpy())

    def plan_actions(
        self, history_TND: Tensor, states_TX: FloatArray, goal_ND: Tensor, steps: int = 0, deadline_s: float = math.inf
    ) -> ActionPlan:
        """The quickest motion to the goal, without regard to the grip; see `plan_holding`."""
        return self.plan_holding(history_TND, states_TX, goal_ND, steps, deadline_s, 0.0)

    @torch.inference_mode()
    def plan_holding(
        self,
        history_TND: Tensor,
        states_TX: FloatArray,
        goal_ND: Tensor,
        steps: int = 0,
        deadline_s: float = math.inf,
        min_hold: float = 0.0,
    ) -> ActionPlan:
        """The motion of the fewest steps that leads to the goal and keeps the grip with at least this probability.

        steps: exactly so many; 0 = as few as it takes. Where nothing holds so surely, the one that holds best: look at `hold_L`.
        Raises ValueError for states that do not fit, and where a probability is wanted and the model knows nothing of grips.
        """
        if min_hold > 0 and not self.facts.holds:
            raise ValueError(f"min_hold = {min_hold}: these weights were trained without the outcome of grips")
        now_PD = history_TND[-1].to(self._device)
        motion_7 = self._model.infer_motion(now_PD[None], goal_ND[None].to(self._device))[0]
        seen_ND = goal_ND[:, : self._model.config.width].to(self._device)
        quickest = Quickest(
            lambda actions_SLA: self.imagine_actions(history_TND, states_TX, actions_SLA), seen_ND, self.facts, self.spec.horizon,
            self.planning,
        )  # fmt: skip
        return quickest.plan(motion_7.cpu(), steps, deadline_s, min_hold)

    def _rolls(self, history_TPD: Tensor, states_TX: FloatArray, actions_SLA: Tensor) -> Tensor:
        """(M, S, L, P, D). One state alone: the older images are left out."""
        states = torch.as_tensor(np.asarray(states_TX), dtype=torch.float32, device=self._device)
        frames = len(states)
        if states.shape not in ((1, STATE_WIDTH), (len(history_TPD), STATE_WIDTH)) or not states.isfinite().all():
            raise ValueError(
                f"the state must be 1 or {len(history_TPD)} x {STATE_WIDTH} finite values (x, y, z, three Euler angles, closing measured "
                f"and commanded), got {states.cpu().numpy().tolist()}"
            )
        history_TPD = history_TPD[-frames:].to(self._device)
        if not history_TPD[-1].any(dim=0).all():
            raise ValueError("the present latent is one of a goal: encode an image of every camera")
        # Poses are counted from the first image, as in training: where the robot stands in its own frame is nothing to be learned.
        past = difference(states[:-1, :7], states[1:, :7])
        past[:, 6] = states[1:, 7] - states[:-1, 7]
        actions_SLA = actions_SLA.to(self._device, torch.float32)
        parts = [torch.cat([past.expand(len(part), -1, -1), part], dim=1) for part in actions_SLA.split(ROLL_BATCH)]
        fingers = states[None, :, 6:8]
        members = range(self._model.config.members)
        return torch.stack(
            [torch.cat([self._model.roll(history_TPD[None], part, fingers, member) for part in parts]) for member in members]
        )

    def _held(self, rolled_MSLPD: Tensor, history_TPD: Tensor, states_TX: FloatArray, actions_SLA: Tensor) -> Tensor:
        """(M, S, L): a grip that is lost does not come back. A latent from before the fingers closed tells more of the thing."""
        count = rolled_MSLPD.shape[1]
        grip = history_TPD[[max(-GRIP_LATENTS, -len(history_TPD)), -1]].to(self._device).expand(count, -1, -1, -1)
        squeeze = torch.as_tensor(np.asarray(states_TX)[-1, 6:8], dtype=torch.float32, device=self._device).expand(count, -1)
        actions_SLA = actions_SLA.to(self._device, torch.float32)
        return torch.stack([self._model.hold(rolled, grip, actions_SLA, squeeze).sigmoid() for rolled in rolled_MSLPD])


def model_image(rgb_YX3: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """(64, 64, 3) the middle square, area-averaged. The same in training and on the robot."""
    rows, columns = rgb_YX3.shape[:2]
    if (rows, columns) == (SIDE_PX, SIDE_PX):
        return np.array(rgb_YX3)
    side = min(rows, columns)
    top, left = (rows - side) // 2, (columns - side) // 2
    square = torch.from_numpy(np.ascontiguousarray(rgb_YX3[top : top + side, left : left + side])).permute(2, 0, 1)[None].float()
    small = F.interpolate(square, size=(SIDE_PX, SIDE_PX), mode="bilinear", antialias=True, align_corners=False)
    return small[0].permute(1, 2, 0).round().clamp(0, 255).to(torch.uint8).numpy()


def load(device: str, weights: str = "", **options: Any) -> ArmWorldModel:
    """weights: `arm.safetensors`, the folder that holds it, or "simulated": what ships for `arm_simulator`. Raises ValueError where it is
    missing or does not fit."""
    if not weights:
        raise ValueError(
            "arm needs the weights of your arm: weights:=PATH, made by python -m jepa_ros.training arm BAG... (docs/arm.md); "
            "or weights:=simulated, of the simulated arm"
        )
    path = find_weights("arm_simulated.safetensors") if weights == SIMULATED else Path(weights).expanduser()
    return ArmWorldModel(*load_file(path / "arm.safetensors" if path.is_dir() else path), device)
