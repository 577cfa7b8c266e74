"""A robot that integrates cmd_vel in a hand-made scene and says where it is, for tests of what drives."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import replace

import numpy as np
from geometry_msgs.msg import Twist, TwistStamped
from planning_scenes import make_scene, pose
from ros_planner_world import World

from jepa_ros.types import EgoState


class Base:
    """A robot in a scene that it drives through: x, y, yaw in odom."""

    def __init__(self, world: World, stamped: bool = True) -> None:
        """stamped: cmd_vel is a TwistStamped."""
        self.world = world
        self.pose = np.zeros(3)
        self.walls: tuple = ()
        self.people: Callable[[], tuple] = tuple  # (x, y, vx, vy) each, now
        self.commands: list[tuple[float, TwistStamped]] = []
        self._at_s = time.monotonic()
        world.robot.node.create_subscription(
            TwistStamped if stamped else Twist, "/cmd_vel", lambda m: self._on_command(m if stamped else TwistStamped(twist=m)), 10
        )
        self._twist = (0.0, 0.0)

    def _on_command(self, message: TwistStamped) -> None:
        self.commands.append((time.monotonic(), message))
        self._twist = (message.twist.linear.x, message.twist.angular.z)

    def step(self) -> None:
        """Moves as it was told last, and says what is around."""
        now_s = time.monotonic()
        dt_s, self._at_s = min(now_s - self._at_s, 0.5), now_s
        speed, turn = self._twist
        self.pose += dt_s * np.array([speed * math.cos(self.pose[2]), speed * math.sin(self.pose[2]), turn])
        scene = make_scene(walls=self.walls, people=self.people(), anchor=pose(0.0, 0.0, 0.0))
        ego = EgoState(scene.stamp_ns, pose(*self.pose), np.array([speed, 0.0]))
        self.world.say(replace(scene, ego=ego), latent=False)

    def until(self, done, timeout_s: float) -> bool:
        end_s = time.monotonic() + timeout_s
        while not done():
            if time.monotonic() > end_s:
                return False
            self.step()
        return True

    def stands(self) -> bool:
        self.world.robot.spin(0.3)
        return bool(self.commands) and abs(self.commands[-1][1].twist.linear.x) + abs(self.commands[-1][1].twist.angular.z) == 0.0
