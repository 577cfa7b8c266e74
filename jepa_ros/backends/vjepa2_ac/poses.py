"""The end effector's pose and what an action does to it, for a whole batch at once, on the device that it is on.

A state is (x, y, z m, three Euler angles rad, gripper 0-1) in the robot's base frame; an action is (delta x, y, z, Euler angles of
R_next R_now^T, delta gripper). Euler angles turn about the fixed x, y, z axes in this order: R = Rz Ry Rx.
Axes: any leading ones, then 7, or 3 x 3 for rotations.
"""

from __future__ import annotations

import torch
from torch import Tensor

LOCKED = 1e-6  # cosine of the pitch below which roll and yaw cannot be distinguished


def advance(state: Tensor, action: Tensor) -> Tensor:
    """(..., 7): the state after an action. The gripper stays in 0-1; in gimbal lock the yaw is taken as 0."""
    # In double precision: near gimbal lock single precision would lose half of the digits.
    rotation = matrix_of(action[..., 3:6].double()) @ matrix_of(state[..., 3:6].double())
    gripper = (state[..., 6:] + action[..., 6:]).clamp(0.0, 1.0)
    return torch.cat([state[..., :3] + action[..., :3], euler_of(rotation).to(state.dtype), gripper], dim=-1)


def difference(start: Tensor, end: Tensor) -> Tensor:
    """(..., 7): the action that leads from one state to another."""
    turn = matrix_of(end[..., 3:6].double()) @ matrix_of(start[..., 3:6].double()).transpose(-1, -2)
    return torch.cat([end[..., :3] - start[..., :3], euler_of(turn).to(start.dtype), end[..., 6:] - start[..., 6:]], dim=-1)


def matrix_of(euler: Tensor) -> Tensor:
    """(..., 3) rad -> (..., 3, 3)."""
    (sx, sy, sz), (cx, cy, cz) = euler.sin().unbind(-1), euler.cos().unbind(-1)
    rows = (
        (cz * cy, cz * sy * sx - sz * cx, cz * sy * cx + sz * sx),
        (sz * cy, sz * sy * sx + cz * cx, sz * sy * cx - cz * sx),
        (-sy, cy * sx, cy * cx),
    )
    return torch.stack([torch.stack(row, dim=-1) for row in rows], dim=-2)


def euler_of(rotation: Tensor) -> Tensor:
    """(..., 3, 3) -> (..., 3) rad, the pitch in +-pi/2."""
    cos_pitch = torch.hypot(rotation[..., 0, 0], rotation[..., 1, 0])
    pitch = torch.atan2(-rotation[..., 2, 0], cos_pitch)
    locked = cos_pitch < LOCKED
    roll = torch.where(
        locked, torch.atan2(-rotation[..., 1, 2], rotation[..., 1, 1]), torch.atan2(rotation[..., 2, 1], rotation[..., 2, 2])
    )
    yaw = torch.where(locked, torch.zeros_like(pitch), torch.atan2(rotation[..., 1, 0], rotation[..., 0, 0]))
    return torch.stack([roll, pitch, yaw], dim=-1)
