"""A live robot in the simulator, and an MCP server that talks to it."""

from __future__ import annotations

import asyncio
import math
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import rclpy
from geometry_msgs.msg import Twist
from nav_msgs.msg import Odometry
from rclpy.context import Context
from rclpy.node import Node
from ros_harness import Robot, stamp_ns
from visualization_msgs.msg import MarkerArray

from jepa_ros.ros.mcp.link import RobotLink
from jepa_ros.ros.mcp.server import make_server
from jepa_ros.sim.people.social_force import RADIUS_M

LIMIT_MPS = 0.6
ROBOT_RADIUS_M = 0.4
MOVING_MPS, BEHIND_COS = 0.05, -0.5  # as in experiments/driving: who comes from behind, or runs into a robot that stands, is at fault
PEOPLE = 6


@dataclass(frozen=True)
class Nearest:
    """The simulator's truth at one instant: the person who is nearest to the robot."""

    at_s: float  # monotonic, when it came
    gap_m: float  # between the discs of the two
    ahead: float  # cosine of their bearing
    speed_mps: float  # of the robot

    @property
    def of_our_making(self) -> bool:
        """Whether the robot moves, and they are not behind it."""
        return abs(self.speed_mps) > MOVING_MPS and self.ahead > BEHIND_COS


class Stage:
    """The live robot, what it was commanded, and a server that talks to it."""

    def __init__(self) -> None:
        self.robot = Robot(publish=False)
        self.commands: list[tuple[float, Twist]] = []
        self.poses: list[Any] = []
        self.robot.node.create_subscription(Twist, "/cmd_vel", lambda m: self.commands.append((time.monotonic(), m)), 50)
        self.truth: list[Nearest] = []
        self.robot.node.create_subscription(Odometry, "/odom", self.poses.append, 20)
        self.robot.node.create_subscription(MarkerArray, "/ground_truth/markers", self._on_truth, 20)
        small = {"lidar_rings": 16, "lidar_azimuths": 360, "camera_width": 64, "camera_height": 36, "people": PEOPLE, "scenario": "hall"}
        self.robot.start_node("simulator", rate_hz=5.0, use_sim_time=True, **small)
        common = {"use_sim_time": True, "autostart": True, "inputs__odometry_topic": "/odom"}
        self.robot.start_node("world_model", **common)
        busy = {
            "inputs__max_age_s": 3.0,
            "controller__max_age_s": 3.0,
            "controller__planning_s": 0.3,
        }  # a busy machine is no sensor gone silent
        limit = {"planner__limits__max_speed_mps": LIMIT_MPS}
        self.robot.start_node("planner", **common, **busy, **limit, controller__enabled=True, model_at_start=True)
        self.context = Context()
        rclpy.init(context=self.context, domain_id=self.robot.domain)
        self.link = RobotLink(Node("mcp", context=self.context))
        self.server = make_server(self.link)
        assert self.robot.spin_until(lambda: len(self.robot.heard["occupancy"]) > 8, 120.0), "no forecast"
        self._over = threading.Event()
        self._spinner = threading.Thread(target=self._spin)
        self._spinner.start()

    def close(self) -> None:
        self._over.set()
        self._spinner.join()
        self.link.close()
        rclpy.shutdown(context=self.context)
        self.robot.close()

    def _on_truth(self, message: MarkerArray) -> None:
        """Boxes of everybody in the odometry's frame, where the robot of the same instant is known, too."""
        people = [marker for marker in message.markers if marker.ns == "person"]
        pose = next((pose for pose in reversed(self.poses) if people and stamp_ns(pose) == stamp_ns(people[0])), None)
        if pose is None:
            return
        here, turn = pose.pose.pose.position, pose.pose.pose.orientation
        offset = np.array([(marker.pose.position.x - here.x, marker.pose.position.y - here.y) for marker in people])
        distance = np.linalg.norm(offset, axis=1)
        nearest = int(distance.argmin())
        yaw = 2.0 * math.atan2(turn.z, turn.w)
        ahead = float(offset[nearest] @ (math.cos(yaw), math.sin(yaw)) / distance[nearest])
        gap = float(distance[nearest]) - ROBOT_RADIUS_M - RADIUS_M
        self.truth.append(Nearest(time.monotonic(), gap, ahead, pose.twist.twist.linear.x))

    def _spin(self) -> None:
        while not self._over.is_set():
            self.robot.spin(0.05)

    def moved_since(self, since_s: float) -> bool:
        return any(at_s > since_s and moving(message) for at_s, message in list(self.commands))

    async def until(self, done: Callable[[], bool], timeout_s: float = 15.0) -> bool:
        deadline_s = time.monotonic() + timeout_s
        while not done() and time.monotonic() < deadline_s:
            await asyncio.sleep(0.05)
        return done()

    async def stands(self) -> bool:
        """For a second, which ends in half a second or soon after: what was commanded already may still be on its way here."""
        await asyncio.sleep(0.5)
        return await self.until(lambda: not self.moved_since(time.monotonic() - 1.0), 6.0)


def moving(message: Twist) -> bool:
    return abs(message.linear.x) > 0.02 or abs(message.linear.y) > 0.02 or abs(message.angular.z) > 0.02
