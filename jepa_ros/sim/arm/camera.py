"""The gripper scene's cameras: rays cast by MuJoCo and simple shading with a shadow, so no OpenGL is needed anywhere.

One stands beside the table and sees the whole reach; one sits on the wrist and sees the fingers and what they hold.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import mujoco
import numpy as np
from numpy.typing import NDArray

from jepa_ros.types import FloatArray

SIDE_PX = 64
LAMP_M = np.array([-0.15, -0.10, 0.9])
SKY = np.array([0.55, 0.62, 0.70])
FAR_M = 5.0


@dataclass(frozen=True)
class View:
    """Where a camera is and looks, upright."""

    eye_m: tuple[float, float, float]
    look_m: tuple[float, float, float]
    field_deg: float
    body: str = "world"  # whose frame these are in
    rays_per_px: int = 2  # along each side: edges are smooth, so a shift of a fraction of a pixel shows


SCENE = View((0.16, -0.36, 0.32), (-0.005, 0.01, 0.078), 36.0)
WRIST = View((0.03, -0.10, 0.035), (0.0, 0.0, -0.008), 56.0, "hand", 1)  # what is held stands still in it, what slips moves


def render(model: mujoco.MjModel, data: mujoco.MjData, view: View = SCENE) -> NDArray[np.uint8]:
    """(SIDE_PX, SIDE_PX, 3) what a camera sees now."""
    body = data.body(view.body)
    turn = body.xmat.reshape(3, 3)
    eye = body.xpos + turn @ view.eye_m
    directions = np.ascontiguousarray(_directions(view) @ turn.T)
    geom, distance, normal = _cast(model, data, eye, directions)
    seen = geom >= 0
    rgb = np.tile(SKY, (len(directions), 1))
    points = eye + directions[seen] * distance[seen, None]
    towards = points - LAMP_M
    length = np.linalg.norm(towards, axis=1)
    towards /= length[:, None]
    _, free, _ = _cast(model, data, LAMP_M, np.ascontiguousarray(towards))
    lit = free > length - 2e-3
    diffuse = np.abs(np.einsum("nd,nd->n", normal[seen], towards)) * np.where(lit, 1.0, 0.25)
    rgb[seen] = model.geom_rgba[geom[seen], :3] * (0.35 + 0.65 * diffuse)[:, None]
    fine = rgb.reshape(SIDE_PX, view.rays_per_px, SIDE_PX, view.rays_per_px, 3)
    return (fine.mean(axis=(1, 3)) * 255).round().clip(0, 255).astype(np.uint8)


def _cast(
    model: mujoco.MjModel, data: mujoco.MjData, origin_m: FloatArray, directions: FloatArray
) -> tuple[NDArray[np.int32], FloatArray, FloatArray]:
    count = len(directions)
    geom, distance, normal = np.full(count, -1, np.int32), np.full(count, -1.0), np.zeros(3 * count)
    mujoco.mj_multiRay(model, data, origin_m, directions.reshape(-1), None, 1, -1, geom, distance, normal, count, FAR_M)
    return geom, distance, normal.reshape(-1, 3)


@cache
def _directions(view: View) -> FloatArray:
    """(N, 3) unit rays in the body's frame, row by row from the top left."""
    forward = np.subtract(view.look_m, view.eye_m)
    forward /= np.linalg.norm(forward)
    right = np.cross(forward, [0.0, 0.0, 1.0])
    right /= np.linalg.norm(right)
    down = np.cross(forward, right)
    count = SIDE_PX * view.rays_per_px
    across = ((np.arange(count) + 0.5) / count - 0.5) * 2 * np.tan(np.radians(view.field_deg) / 2)
    rays = forward + across[None, :, None] * right + across[:, None, None] * down
    return np.ascontiguousarray((rays / np.linalg.norm(rays, axis=-1, keepdims=True)).reshape(-1, 3))
