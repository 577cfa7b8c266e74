"""Goals and odometry in frames of all kinds, through the planner node: a place on a map stays there, odometry may tell of any frame."""

from __future__ import annotations

import math
import time
from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="needs ROS 2: run `make build`, then tests through scripts/env.sh")
pytest.importorskip("jepa_ros.msg", reason="needs the built interfaces: run `make build`, then tests through scripts/env.sh")
pytestmark = pytest.mark.ros

from geometry_msgs.msg import TransformStamped  # noqa: E402
from nav_msgs.msg import Odometry  # noqa: E402
from planning_scenes import make_scene  # noqa: E402
from ros_harness import Robot  # noqa: E402
from ros_planner_world import World, goal_message  # noqa: E402
from tf2_msgs.msg import TFMessage  # noqa: E402

from jepa_ros.ros import conversions  # noqa: E402
from jepa_ros.sensing.frames.poses import pose_matrix  # noqa: E402
from jepa_ros.types import PlanStatus  # noqa: E402

MINUTE_NS = 60 * 10**9


class Place(World):
    """A robot whose localisation, mounts and odometry are published by hand."""

    def join(self, parent: str, child: str, x: float, y: float = 0.0, yaw: float = 0.0) -> None:
        edge = TransformStamped(header=conversions.header_message(time.time_ns(), parent), child_frame_id=child)
        edge.transform.translation.x, edge.transform.translation.y = x, y
        edge.transform.rotation.z, edge.transform.rotation.w = math.sin(yaw / 2), math.cos(yaw / 2)
        self.transforms.publish(TFMessage(transforms=[edge]))
        self.robot.spin(0.1)

    def tell(self, pose, speed_mps: float, frame: str = "odom", child: str = "base_link") -> None:
        message = Odometry(header=conversions.header_message(time.time_ns(), frame), child_frame_id=child)
        message.pose.pose = conversions.pose_message(pose)
        message.twist.twist.linear.x = speed_mps
        self.robot.publishers["/odom"].publish(message)
        self.robot.spin(0.05)


@pytest.fixture(scope="module")
def place():
    robot = Robot()
    place = Place(robot)
    place.start(autostart="true", model="''")
    place.say(make_scene(), latent=False)
    robot.spin_until(lambda: place.transforms.get_subscription_count() > 0)
    yield place
    robot.close()


def end_of(answer):
    assert answer.status.code == PlanStatus.OK, answer.status.message
    end = answer.path.poses[-1].pose.position
    return np.array([end.x, end.y])


def test_a_goal_on_a_map_follows_the_newest_transform_however_old_the_click_is(place: Place) -> None:
    scene = make_scene()
    goal = (scene.anchor_pose @ [3.0, 0.0, 0.0, 1.0])[:2]
    for shift_m in (10.0, 11.0):  # localisation corrects itself between the two
        place.join("map", "odom", shift_m)
        place.say(scene, latent=False)
        answer = place.plan(goal_message(float(goal[0]) + 10.0, float(goal[1]), "map", time.time_ns() - MINUTE_NS))
        assert np.hypot(*(end_of(answer) - goal - (10.0 - shift_m, 0.0))) < 0.4


def test_a_goal_in_a_frame_of_the_robot_is_meant_from_where_the_robot_was(place: Place) -> None:
    scene = make_scene()
    place.join("base_link", "camera", 0.5, yaw=math.pi / 2)
    scene = place.say(scene, latent=False)
    expected = (scene.anchor_pose @ [3.0, 0.0, 0.0, 1.0])[:2]
    for stamp_ns in (0, scene.stamp_ns):
        answer = place.plan(goal_message(0.0, -2.5, "camera", stamp_ns))
        assert np.hypot(*(end_of(answer) - expected)) < 0.4
    answer = place.plan(goal_message(0.0, -2.5, "camera", scene.stamp_ns - MINUTE_NS))
    assert answer.status.code == PlanStatus.UNKNOWN_FRAME
    assert "no longer known" in answer.status.message


def test_odometry_of_another_frame_in_another_frame(place: Place) -> None:
    """Of a sensor 2 m ahead of the base, in the frame of a mapper that lies 5 m off the forecasts' own."""
    scene = make_scene()
    place.join("base_link", "imu", 2.0)
    place.join("odom", "mapper", 5.0)
    moved = pose_matrix((1.0, 0.0, 0.0), (0, 0, 0, 1)) @ scene.anchor_pose  # the forecast is older than the odometry: 1 m ago
    mapper_from_imu = pose_matrix((-5.0, 0, 0), (0, 0, 0, 1)) @ moved @ pose_matrix((2.0, 0, 0), (0, 0, 0, 1))
    place.say(scene, latent=False, odometry=False)
    place.tell(mapper_from_imu, 0.0, "mapper", "imu")
    goal = (scene.anchor_pose @ [4.0, 0.0, 0.0, 1.0])[:2]
    answer = place.plan(goal_message(float(goal[0]), float(goal[1])))
    first = answer.path.poses[0].pose.position
    np.testing.assert_allclose((first.x, first.y), moved[:2, 3], atol=0.05)
    place.tell(replace(scene.ego).odom_from_base, 0.0, "nowhere", "imu")
    answer = place.plan(goal_message(float(goal[0]), float(goal[1])))
    assert answer.status.code == PlanStatus.STALE_SENSORS
    assert "'nowhere'" in answer.status.message
