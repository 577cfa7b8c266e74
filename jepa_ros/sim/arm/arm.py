"""A gantry gripper over a table, in MuJoCo: three slides, two sprung fingers, one box. What a grip is worth can be seen.

The fingers are driven apart and together by motors that carry their pads on springs. Once a pad touches, the motor goes on and the spring
gives way: the gap between motor and pad *is* the squeeze. The box's colour is its friction (blue slips, red grips) and its size its weight.
World frame: x right (fingers close along it), y away from the camera, z up from the table; metres.
"""

from __future__ import annotations

from dataclasses import dataclass

import mujoco
import numpy as np

from jepa_ros.types import FloatArray

STEP_S = 0.25  # one action
PHYSICS_S = 0.0025
REACH_M = np.array([[-0.08, -0.08, 0.03], [0.08, 0.08, 0.15]])  # lowest and highest place of the point between the pads
OPEN_M = 0.045  # of each motor from the middle, closing = 0; closing = 1 brings it to the middle
PAD_M = (0.004, 0.012, 0.016)  # half sizes
MOTOR_M = (0.006, 0.012, 0.016)
SPRING_N_M = 130.0
ACTION_WIDTH = 7  # dx, dy, dz in metres, three Euler angles (unused: the gantry does not turn), change of closing
MAX_MOVE_M = 0.05  # per axis and action


@dataclass(frozen=True)
class Box:
    """The thing to grip."""

    half_m: FloatArray  # (3,)
    place_m: FloatArray  # (2,) at the start
    yaw_rad: float
    friction: float
    density_kg_m3: float = 900.0

    @property
    def rgb(self) -> FloatArray:
        """(3,) 0-1: from blue (friction 0.15) over violet to red (0.9)."""
        share = np.clip((self.friction - 0.15) / 0.75, 0, 1)
        return np.array([0.15 + 0.75 * share, 0.15, 0.95 - 0.85 * share])


def draw_box(rng: np.random.Generator) -> Box:
    """A random box, its long side across the fingers."""
    half = rng.uniform([0.012, 0.022, 0.020], [0.022, 0.034, 0.032])
    return Box(half, rng.uniform(-0.055, 0.055, 2), float(rng.normal(0, 0.08)), float(rng.uniform(0.15, 0.9)))


class Arm:
    """The scene of one episode. The same box, start and actions give the same episode."""

    def __init__(self, box: Box, hand_m: FloatArray, closing: float = 0.0) -> None:
        """hand_m: (3,) the point between the pads, kept inside REACH_M. closing: 0 open to 1."""
        self.box = box
        self.model = mujoco.MjModel.from_xml_string(scene_xml(box))
        self.data = mujoco.MjData(self.model)
        self.target = np.append(np.clip(hand_m, *REACH_M), np.clip(closing, 0, 1))
        self.data.qpos[7:10] = self.target[:3]
        self.data.qpos[[10, 12]] = self._motors(self.target)
        self.data.ctrl[:] = self._controls(self.target)
        for _ in range(20):  # the box settles on the table
            mujoco.mj_step(self.model, self.data)

    @property
    def hand_m(self) -> FloatArray:
        """(3,) where the hand is; it follows `target` closely unless something is in the way."""
        return self.data.qpos[7:10].copy()

    @property
    def box_m(self) -> FloatArray:
        """(3,) centre of the box."""
        return self.data.qpos[:3].copy()

    @property
    def raised_m(self) -> float:
        """How far the box's centre is above where it would lie flat."""
        return float(self.data.qpos[2] - self.box.half_m[2])

    def step(self, action_A: FloatArray) -> FloatArray:
        """Move for STEP_S towards the target changed by an action (ACTION_WIDTH,); returns the action within the arm's limits.

        Raises ValueError for another shape.
        """
        if np.shape(action_A) != (ACTION_WIDTH,):
            raise ValueError(f"an action has shape ({ACTION_WIDTH},), got {np.shape(action_A)}")
        begin = self.target
        move = np.clip(action_A[:3], -MAX_MOVE_M, MAX_MOVE_M)
        self.target = np.append(np.clip(begin[:3] + move, *REACH_M), np.clip(begin[3] + action_A[6], 0, 1))
        steps = round(STEP_S / PHYSICS_S)
        for k in range(steps):
            share = min(1.0, (k + 1) / (0.7 * steps))  # then it rests: the image shows where the action led
            self.data.ctrl[:] = self._controls(begin + share * (self.target - begin))
            mujoco.mj_step(self.model, self.data)
        x, y, z, closing = self.target - begin
        return np.array([x, y, z, 0.0, 0.0, 0.0, closing])

    @staticmethod
    def _motors(target: FloatArray) -> float:
        return float((1 - target[3]) * OPEN_M)

    def _controls(self, target: FloatArray) -> FloatArray:
        return np.array([*target[:3], self._motors(target), self._motors(target)])


def scene_xml(box: Box, shape: str = "box", gains: tuple[int, int] = (3000, 120), wrist_joint: str = "", wrist_motor: str = "") -> str:
    """The scene. shape: of the thing, box or cylinder. gains: of the slides' motors. wrist: a further joint of the hand and its motor."""
    contact = f'condim="4" friction="{box.friction:.4f} 0.003 0.0001" solref="0.006 1"'
    sides = "\n".join(finger(name, side, contact) for name, side in (("left", -1), ("right", 1)))
    red, green, blue = box.rgb
    half_yaw = box.yaw_rad / 2
    slides = "".join(
        f'<joint name="hand_{axis}" type="slide" axis="{unit}" damping="40"/>'
        for axis, unit in zip("xyz", ("1 0 0", "0 1 0", "0 0 1"), strict=True)
    )
    sizes = box.half_m[[0, 2]] if shape == "cylinder" else box.half_m
    slide_motors = "".join(f'<position joint="hand_{axis}" kp="{gains[0]}" kv="{gains[1]}"/>' for axis in "xyz")
    finger_motors = "".join(f'<position joint="{name}_motor" kp="2000" kv="40" forcerange="-60 60"/>' for name in ("left", "right"))
    return f"""
<mujoco>
  <option timestep="{PHYSICS_S}" integrator="implicitfast" cone="elliptic" impratio="20"/>
  <worldbody>
    <geom name="table" type="box" size="0.3 0.3 0.02" pos="0 0 -0.02" rgba="0.80 0.78 0.72 1" condim="4" friction="0.6 0.003 0.0001"/>
    <body name="box" pos="{box.place_m[0]} {box.place_m[1]} {box.half_m[2]}" quat="{np.cos(half_yaw)} 0 0 {np.sin(half_yaw)}">
      <freejoint/>
      <geom name="box" type="{shape}" size="{" ".join(map(str, sizes))}" density="{box.density_kg_m3}"
            rgba="{red} {green} {blue} 1" {contact}/>
    </body>
    <body name="hand" gravcomp="1">{slides}{wrist_joint}
      <geom name="palm" type="box" size="0.055 0.012 0.006" pos="0 0 0.040" mass="0.5" rgba="0.25 0.27 0.30 1" contype="0" conaffinity="0"/>
      <geom name="mast" type="box" size="0.008 0.008 0.12" pos="0 0 0.166" mass="0.1" rgba="0.40 0.42 0.46 1" contype="0" conaffinity="0"/>
      {sides}
    </body>
  </worldbody>
  <actuator>{slide_motors}{wrist_motor}{finger_motors}</actuator>
</mujoco>"""


def finger(name: str, side: int, contact: str) -> str:
    """A motor that slides along x and carries its pad on a spring. The pad's rest is flush with the motor."""
    rest = -side * (PAD_M[0] + MOTOR_M[0])
    size = {part: " ".join(map(str, half)) for part, half in (("motor", MOTOR_M), ("pad", PAD_M))}
    return f"""
      <body name="{name}_motor" pos="{side * (2 * PAD_M[0] + MOTOR_M[0])} 0 0" gravcomp="1">
        <joint name="{name}_motor" type="slide" axis="{side} 0 0" damping="5"/>
        <geom type="box" size="{size["motor"]}" pos="0 0 0.012" mass="0.08" rgba="0.10 0.30 0.32 1" contype="0" conaffinity="0"/>
        <body name="{name}_pad" pos="{rest} 0 0" gravcomp="1">
          <joint name="{name}_pad" type="slide" axis="{side} 0 0" stiffness="{SPRING_N_M}" damping="3" range="-0.001 0.03" limited="true"/>
          <geom type="box" size="{size["pad"]}" mass="0.02" rgba="0.95 0.80 0.20 1" {contact}/>
        </body>
      </body>"""
