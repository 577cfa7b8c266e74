"""A gantry gripper over a table, in MuJoCo: three slides, a wrist that tilts, two sprung fingers, one thing to grip.

The fingers are driven apart and together by motors that carry their pads on springs. Once a pad touches, the motor goes on and the spring
gives way: the gap between motor and pad *is* the squeeze. A thing's colour is its friction (blue slips, red grips) and its density (the
more green, the heavier). An action is one smooth motion from rest to rest: a longer one accelerates harder, and asks more of the grip.
World frame: x right (fingers close along it), y away from the camera, z up from the table; metres.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import mujoco
import numpy as np
from numpy.typing import NDArray

from jepa_ros.sim.arm.arm import ACTION_WIDTH, OPEN_M, PHYSICS_S, STEP_S, scene_xml
from jepa_ros.sim.arm.arm import Arm as PlainArm
from jepa_ros.sim.arm.arm import Box as PlainBox
from jepa_ros.sim.arm.camera import SCENE, WRIST, render
from jepa_ros.types import FloatArray

MOVING_SHARE = 0.6  # of an action; then it rests: the image shows where the action led
REACH_M = np.array([[-0.08, -0.08, 0.03], [0.08, 0.08, 0.16]])  # lowest and highest place of the point between the pads
MAX_MOVE_M = 0.06  # per axis and action
MAX_TILT_RAD = 0.5  # of the wrist, either way
GRAVITY_M_S2 = 9.81
WRIST_JOINT = '<joint name="hand_tilt" type="hinge" axis="0 1 0" damping="0.5"/>'
WRIST_MOTOR = '<position joint="hand_tilt" kp="60" kv="1"/>'
FRICTION = (0.25, 0.80)  # lowest and highest
DENSITY_KG_M3 = (300.0, 800.0)
VIEWS = (replace(SCENE, rays_per_px=1), WRIST)  # one ray a pixel: most of an episode's time is in its images


@dataclass(frozen=True)
class Box(PlainBox):
    """The thing to grip: a box, or an upright cylinder whose radius is the first of the half sizes."""

    density_kg_m3: float = 500.0
    round: bool = False

    @property
    def rgb(self) -> FloatArray:
        """(3,) 0-1: from blue (low friction) over violet to red; green tells the density."""
        slip = np.clip((self.friction - FRICTION[0]) / (FRICTION[1] - FRICTION[0]), 0, 1)
        weight = np.clip((self.density_kg_m3 - DENSITY_KG_M3[0]) / (DENSITY_KG_M3[1] - DENSITY_KG_M3[0]), 0, 1)
        return np.array([0.10 + 0.85 * slip, 0.05 + 0.75 * weight, 0.95 - 0.85 * slip])

    @property
    def mass_kg(self) -> float:
        x, y, z = self.half_m
        return float(self.density_kg_m3 * 2 * z * (np.pi * x * x if self.round else 4 * x * y))

    @property
    def least_squeeze_n(self) -> float:
        """Of each pad, that keeps the thing from slipping while nothing moves."""
        return self.mass_kg * GRAVITY_M_S2 / (2 * self.friction)


def draw_box(rng: np.random.Generator) -> Box:
    """A random box, its long side across the fingers; every third is a cylinder."""
    half = rng.uniform([0.013, 0.022, 0.020], [0.022, 0.034, 0.032])
    place, yaw = rng.uniform(-0.055, 0.055, 2), float(rng.normal(0, 0.08))
    return Box(half, place, yaw, float(rng.uniform(*FRICTION)), float(rng.uniform(*DENSITY_KG_M3)), bool(rng.random() < 1 / 3))


class Arm(PlainArm):
    """The scene of one episode. The same box, start and actions give the same episode."""

    def __init__(self, box: Box, hand_m: FloatArray, closing: float = 0.0) -> None:
        """hand_m: (3,) the point between the pads, kept inside REACH_M. closing: 0 open to 1."""
        self.box: Box = box
        self.model = mujoco.MjModel.from_xml_string(
            scene_xml(box, "cylinder" if box.round else "box", (8000, 140), WRIST_JOINT, WRIST_MOTOR)
        )
        self.data = mujoco.MjData(self.model)
        self.target = np.array([*np.clip(hand_m, *REACH_M), 0.0, np.clip(closing, 0, 1)])  # x, y, z, tilt, closing
        self.data.qpos[7:10] = self.target[:3]
        self.data.qpos[[11, 13]] = _motors(self.target)
        self.data.ctrl[:] = _controls(self.target)
        for _ in range(20):  # the box settles on the table
            mujoco.mj_step(self.model, self.data)

    @property
    def tilt_rad(self) -> float:
        """Of the wrist about y."""
        return float(self.data.qpos[10])

    @property
    def width_m(self) -> float:
        """Between the pads, as the gripper measures it."""
        motors, pads = self.data.qpos[[11, 13]], self.data.qpos[[12, 14]]
        return float((motors + pads).sum())

    def look(self) -> NDArray[np.uint8]:
        """(V, Y, X, 3) what the cameras of VIEWS see now."""
        return np.stack([render(self.model, self.data, view) for view in VIEWS])

    @property
    def box_in_hand_m(self) -> FloatArray:
        """(3,) centre of the box as the hand sees it: it stays where it is as long as the grip holds."""
        x, y, z = self.box_m - self.hand_m
        c, s = np.cos(self.tilt_rad), np.sin(self.tilt_rad)
        return np.array([c * x - s * z, y, s * x + c * z])

    def step(self, action_A: FloatArray) -> FloatArray:
        """Move for STEP_S towards the target changed by an action (ACTION_WIDTH,); returns the action within the arm's limits.

        Raises ValueError for another shape.
        """
        if np.shape(action_A) != (ACTION_WIDTH,):
            raise ValueError(f"an action has shape ({ACTION_WIDTH},), got {np.shape(action_A)}")
        begin, change = self.target, np.array([*np.clip(action_A[:3], -MAX_MOVE_M, MAX_MOVE_M), action_A[4], action_A[6]])
        self.target = np.clip(begin + change, [*REACH_M[0], -MAX_TILT_RAD, 0.0], [*REACH_M[1], MAX_TILT_RAD, 1.0])
        steps = round(STEP_S / PHYSICS_S)
        for k in range(steps):
            self.data.ctrl[:] = _controls(begin + minimum_jerk((k + 1) / (MOVING_SHARE * steps)) * (self.target - begin))
            mujoco.mj_step(self.model, self.data)
        x, y, z, tilt, closing = self.target - begin
        return np.array([x, y, z, 0.0, tilt, 0.0, closing])


def minimum_jerk(share: float) -> float:
    """Of the way after a share of the time (Flash & Hogan 1985): from rest to rest, its peak acceleration 5.77 way / time^2."""
    t = min(share, 1.0)
    return t**3 * (10 - 15 * t + 6 * t * t)


def _motors(target: FloatArray) -> float:
    return float((1 - target[4]) * OPEN_M)


def _controls(target: FloatArray) -> FloatArray:
    return np.array([*target[:4], _motors(target), _motors(target)])
