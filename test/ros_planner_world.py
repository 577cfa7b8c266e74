"""Stands in for the world_model node beside a planner node under test, and asks the planner."""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np
from geometry_msgs.msg import Pose, PoseStamped, Quaternion
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState
from nav_msgs.msg import Odometry, Path
from planning_scenes import goal_at
from ros_harness import Robot
from tf2_msgs.msg import TFMessage

from jepa_ros.msg import LatentState, OccupancyForecast, PedestrianForecastArray
from jepa_ros.protocols import ModelSpec
from jepa_ros.ros import conversions
from jepa_ros.srv import PlanPath
from jepa_ros.types import SceneState

FRAMES = conversions.Frames("base_link", "odom")
SPEC = ModelSpec("persistence", "1", 0.4, 1, 12, (128 * 128, 2), 3, ("lidar",))
MAX_AGE_S = 2.0  # a busy machine is no world model gone silent
ENCLOSED = ((-2.4, -2.4, 2.4, -2.0), (-2.4, 2.0, 2.4, 2.4), (-2.4, -2.4, -2.0, 2.4), (2.0, -2.4, 2.4, 2.4))


class World:
    """Says what a world_model node would say, and asks the planner."""

    def __init__(self, robot: Robot, spec: ModelSpec = SPEC) -> None:
        self.robot = robot
        self.spec = spec
        node = robot.node
        self.occupancy = node.create_publisher(OccupancyForecast, "/world_model/occupancy", 5)
        self.pedestrians = node.create_publisher(PedestrianForecastArray, "/world_model/pedestrians", 5)
        self.latent = node.create_publisher(LatentState, "/world_model/latent", 5)
        self.transforms = node.create_publisher(TFMessage, "/tf", 5)
        self.paths: list[Path] = []
        self.met = False
        node.create_subscription(Path, "/planner/path", self.paths.append, 5)

    def start(self, **parameters: object) -> None:
        defaults = {"model": self.spec.name, "model_at_start": "true", "inputs__max_age_s": MAX_AGE_S}
        self.robot.start_node("planner", **{**defaults, **parameters})

    def change(self, transition: int) -> bool:
        request = ChangeState.Request(transition=Transition(id=transition))
        return self.robot.call(ChangeState, "/planner/change_state", request).success

    def say(self, scene: SceneState, age_s: float = 0.0, odometry: bool = True, latent: bool = True) -> SceneState:
        """Publish a scene as if it was seen `age_s` ago; wait until it must have come."""
        if not self.met:
            publishers = (self.occupancy, self.pedestrians, *((self.latent,) if latent else ()))
            assert self.robot.spin_until(lambda: all(publisher.get_subscription_count() > 1 for publisher in publishers), 60.0)
            # It listens before it loads its model and offers services after: what is said meanwhile would be old when it is asked.
            self.robot.wait_for_service(PlanPath, "/planner/plan_path")
            self.robot.spin(0.5)  # one of them is the robot's own; that we know the node does not mean that it knows us
            self.met = True
        stamp_ns = time.time_ns() - round(age_s * 1e9)
        scene = replace(scene, stamp_ns=stamp_ns, ego=replace(scene.ego, stamp_ns=stamp_ns), latent=np.zeros(self.spec.latent_shape))
        if odometry:
            message = Odometry(header=conversions.header_message(stamp_ns, "odom"), child_frame_id="base_link")
            message.pose.pose = conversions.pose_message(scene.ego.odom_from_base)
            message.twist.twist.linear.x = float(scene.ego.velocity_mps[0])
            self.robot.publishers["/odom"].publish(message)
        self.pedestrians.publish(conversions.pedestrians_message(scene, "constant_velocity", FRAMES))
        self.occupancy.publish(conversions.occupancy_message(scene, FRAMES))
        if latent:
            self.latent.publish(conversions.latent_state_message(scene, self.spec, FRAMES))
        self.robot.spin(0.15)
        return scene

    def plan(self, goal: PoseStamped, deadline: float = 2.0, **fields: float) -> PlanPath.Response:
        return self.robot.call(PlanPath, "/planner/plan_path", PlanPath.Request(goal=goal, deadline=deadline, **fields))


def goal_message(x: float, y: float, frame: str = "odom", stamp_ns: int = 0) -> PoseStamped:
    pose = Pose(orientation=Quaternion(x=0.0, y=0.0, z=0.0, w=0.0))
    pose.position.x, pose.position.y = x, y
    return PoseStamped(header=conversions.header_message(stamp_ns, frame), pose=pose)


def ahead(scene: SceneState, x_m: float, y_m: float = 0.0) -> PoseStamped:
    goal = goal_at(scene, x_m, y_m)
    return goal_message(float(goal[0]), float(goal[1]))
