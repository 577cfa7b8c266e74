"""Rehearsal: the world model predicts, for each of a few good motions, what would then be in their way.

The search judges all samples by one shared forecast, made for the motion that was intended when it was made. People react to what the robot
does; that much the shared forecast cannot know.

Axes: E finalist, L plan step, H model step, X state.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from jepa_ros.planning.footprint import Footprint
from jepa_ros.planning.imagined.motions import occupied_on_way
from jepa_ros.planning.scene import PlanningScene
from jepa_ros.protocols import Rollout, WindowedOccupancy
from jepa_ros.types import NANOSECONDS, FloatArray


@dataclass(frozen=True)
class Rehearsal:
    """What a world model needs for it."""

    model: WindowedOccupancy
    history_TND: Tensor  # in the anchor frame of the newest latent
    odom_from_latent: FloatArray  # (4, 4) that anchor frame
    stamp_ns: int  # of the newest latent

    def occupied(self, scene: PlanningScene, init_X: Tensor, rollout: Rollout, robot: Footprint | float) -> Tensor:
        """(E,) highest occupancy on the way of each motion, which starts at the scene's ego in its anchor frame."""
        spec = self.model.spec
        starts_s = (scene.ego.stamp_ns - self.stamp_ns) / NANOSECONDS
        start_E1X = init_X[:3].expand(len(rollout.states_SLX), 1, 3)
        poses_ELX = torch.cat((start_E1X, rollout.states_SLX[..., :3]), dim=1)
        times_H = spec.dt_s * torch.arange(spec.horizon + 1)
        step_H = ((times_H - starts_s) / rollout.dt_s).clamp(0.0, poses_ELX.shape[1] - 1.0)
        before_H = step_H.long().clamp(max=poses_ELX.shape[1] - 2)
        share_H1 = (step_H - before_H)[:, None]
        poses_EHX = torch.lerp(poses_ELX[:, before_H], poses_ELX[:, before_H + 1], share_H1)
        latent_from_scene = np.linalg.inv(self.odom_from_latent) @ scene.anchor_pose
        return occupied_on_way(self.model, self.history_TND, _moved(poses_EHX, latent_from_scene), robot)


def _moved(poses_EHX: Tensor, target_from_source: FloatArray) -> Tensor:
    """x, y, yaw in another frame."""
    pose = torch.as_tensor(target_from_source, dtype=torch.float32)
    turn_rad = math.atan2(target_from_source[1, 0], target_from_source[0, 0])
    return torch.cat((poses_EHX[..., :2] @ pose[:2, :2].T + pose[:2, 3], poses_EHX[..., 2:] + turn_rad), dim=-1)
