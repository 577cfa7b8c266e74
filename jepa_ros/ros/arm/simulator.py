"""A simulated arm over DDS: two cameras, end effector's pose, gripper, what is held, /clock. It explores by itself, or follows commands."""

from __future__ import annotations

import sys
import time
from collections import deque
from dataclasses import dataclass
from typing import Any

import numpy as np
from geometry_msgs.msg import PoseStamped
from rclpy.clock import Clock as SteadyClock
from rclpy.clock import ClockType
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import CameraInfo, Image, JointState
from std_msgs.msg import Bool, Float32MultiArray, Float64, Header

from jepa_ros.config import param, validate
from jepa_ros.ros.conversions import byte_array, time_message
from jepa_ros.ros.entry import run
from jepa_ros.ros.parameters import Parameters
from jepa_ros.sim.arm.arm import ACTION_WIDTH, OPEN_M, STEP_S
from jepa_ros.sim.arm.camera import SIDE_PX, View
from jepa_ros.sim.carry import episodes
from jepa_ros.sim.carry.arm import REACH_M, VIEWS, Arm, draw_box
from jepa_ros.types import NANOSECONDS

PAUSE_S = 2.0  # of simulated time between two episodes: what comes after is another scene
KEPT = 50  # messages of each topic for a recorder that is held up; an episode with gaps teaches nothing
BASE, JOINT = "base_link", "gripper"
CAMERAS = {"camera": VIEWS[0], "wrist_camera": VIEWS[1]}


@dataclass(frozen=True)
class ArmSimulatorConfig:
    """The pace and the scenes."""

    seed: int = param(40_000, "number of the first episode; each has another object to grip", at_least=0, at_most=2**31 - 1)
    explore: bool = param(True, "grip and carry objects by itself; false: wait above an object for ~/action")
    rate_factor: float = param(1.0, "simulated seconds per second, where the machine keeps up", at_least=0.01, at_most=100.0)

    def __post_init__(self) -> None:
        validate(self)


class ArmSimulator(Node):
    """One action a step. ~/action (7 numbers: dx, dy, dz m, Euler angles rad, change of closing) ends the exploring for good."""

    def __init__(self) -> None:
        super().__init__("arm_simulator")
        self._config = Parameters(self, ArmSimulatorConfig).config
        self._number = self._config.seed
        self._time_ns = time.time_ns()
        self._waiting: deque[np.ndarray] = deque()
        self._explores = self._config.explore
        self._publishers = {
            name: self.create_publisher(kind, name, QoSProfile(depth=KEPT, reliability=ReliabilityPolicy.RELIABLE))
            for name, kind in {
                **{f"{camera}/image_raw": Image for camera in CAMERAS}, **{f"{camera}/camera_info": CameraInfo for camera in CAMERAS},
                "arm/pose": PoseStamped, "joint_states": JointState, "arm/gripper_command": Float64, "arm/held": Bool, "/clock": Clock,
            }.items()
        }  # fmt: skip
        self.create_subscription(Float32MultiArray, "~/action", self._on_action, 20)
        self._begin()
        period_s = STEP_S / self._config.rate_factor
        self._timer = self.create_timer(period_s, self._on_timer, clock=SteadyClock(clock_type=ClockType.STEADY_TIME))

    def _begin(self) -> None:
        """The next thing to grip; those that wander in the training data are left out."""
        while episodes.grip_of(self._number, 2) == episodes.NO_GRIP:
            self._number += 1
        grip = episodes.draw_grip(np.random.default_rng((episodes.grip_of(self._number, 2), 0)))
        rng = np.random.default_rng((self._number, 1))
        self._number += 1
        if self._explores:
            self._arm = Arm(grip.box, grip.start_m)
            self._waiting = deque(np.concatenate([grip.approach_GA, episodes.draw_motion(rng, episodes.MOTION_STEPS)]))
        else:
            self._arm = Arm(draw_box(rng), np.array([0.0, 0.0, REACH_M[1, 2]]))
        self._commanded_m = 2 * OPEN_M
        self._gripped_at: np.ndarray | None = None

    def _on_action(self, message: Float32MultiArray) -> None:
        action = np.array(message.data, float)
        if action.shape != (ACTION_WIDTH,) or not np.isfinite(action).all():
            self.get_logger().warning(f"an action is {ACTION_WIDTH} finite numbers, got {list(message.data)}", throttle_duration_sec=5.0)
            return
        if self._explores:
            self._explores = False
            self._waiting.clear()
        self._waiting.append(action)

    def _on_timer(self) -> None:
        self._tell()
        self._time_ns += round(STEP_S * NANOSECONDS)
        if self._waiting:
            done = self._arm.step(self._waiting.popleft())
            self._commanded_m = float(np.clip(self._commanded_m - 2 * OPEN_M * done[6], 0.0, 2 * OPEN_M))
            if done[6] > 0.1:
                self._gripped_at = self._arm.box_in_hand_m
            elif done[6] < -0.1:
                self._gripped_at = None
        elif self._explores:
            self._begin()
            self._time_ns += round(PAUSE_S * NANOSECONDS)
        else:
            self._arm.step(np.zeros(ACTION_WIDTH))

    def _tell(self) -> None:
        arm, stamp = self._arm, time_message(self._time_ns)
        base = Header(stamp=stamp, frame_id=BASE)
        pose = PoseStamped(header=base)
        pose.pose.position.x, pose.pose.position.y, pose.pose.position.z = arm.hand_m.tolist()
        pose.pose.orientation.y, pose.pose.orientation.w = float(np.sin(arm.tilt_rad / 2)), float(np.cos(arm.tilt_rad / 2))
        held = self._gripped_at is not None and np.linalg.norm(arm.box_in_hand_m - self._gripped_at) < episodes.SLIPPED_M
        self._publish("/clock", Clock(clock=stamp))
        self._publish("arm/pose", pose)
        self._publish("joint_states", JointState(header=base, name=[JOINT], position=[arm.width_m]))
        self._publish("arm/gripper_command", Float64(data=self._commanded_m))
        self._publish("arm/held", Bool(data=bool(held)))
        for (camera, view), image in zip(CAMERAS.items(), arm.look(), strict=True):
            optical = Header(stamp=stamp, frame_id=f"{camera}_optical_frame")
            self._publish(f"{camera}/camera_info", _camera_info(optical, view))
            self._publish(
                f"{camera}/image_raw",
                Image(header=optical, height=SIDE_PX, width=SIDE_PX, encoding="rgb8", step=3 * SIDE_PX, data=byte_array(image)),
            )

    def _publish(self, name: str, message: Any) -> None:
        self._publishers[name].publish(message)


def _camera_info(header: Header, view: View) -> CameraInfo:
    focal = SIDE_PX / (2 * np.tan(np.radians(view.field_deg) / 2))
    centre = SIDE_PX / 2
    return CameraInfo(
        header=header, height=SIDE_PX, width=SIDE_PX, distortion_model="plumb_bob", d=[0.0] * 5,
        k=[focal, 0.0, centre, 0.0, focal, centre, 0.0, 0.0, 1.0], r=np.eye(3).flatten().tolist(),
        p=[focal, 0.0, centre, 0.0, 0.0, focal, centre, 0.0, 0.0, 0.0, 1.0, 0.0],
    )  # fmt: skip


def main() -> int:
    """Entry point of the `arm_simulator` executable."""
    return run("arm_simulator", ArmSimulator)


if __name__ == "__main__":
    sys.exit(main())
