"""What the robot is, told to a running planner node: its footprint, shown to viewers, and its limits, kept on cmd_vel."""

from __future__ import annotations

import math

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="needs ROS 2: run `make build`, then tests through scripts/env.sh")
pytest.importorskip("jepa_ros.msg", reason="needs the built interfaces: run `make build`, then tests through scripts/env.sh")
pytestmark = pytest.mark.ros

from geometry_msgs.msg import PolygonStamped, Pose, PoseStamped  # noqa: E402
from nav_msgs.msg import Path  # noqa: E402
from planning_scenes import make_scene  # noqa: E402
from ros_driven_robot import Base  # noqa: E402
from ros_harness import Robot, stamp_ns  # noqa: E402
from ros_planner_world import World, ahead, goal_message  # noqa: E402
from visualization_msgs.msg import Marker, MarkerArray  # noqa: E402

from jepa_ros.planning.footprint import Footprint  # noqa: E402
from jepa_ros.ros import conversions  # noqa: E402
from jepa_ros.ros.planner.publishers.plan_display import LATCHED, markers_along  # noqa: E402
from jepa_ros.types import PlanStatus  # noqa: E402

CAR = "[[3.6, 0.9], [3.6, -0.9], [-0.9, -0.9], [-0.9, 0.9]]"
FASTER, SLOWER, LATERAL = 0.8, 1.5, 0.3
JITTER_S = 0.02  # between the moment that a step is reckoned for and its stamp
GAP = ((4.0, 1.6, 8.0, 12.0), (4.0, -12.0, 8.0, -1.6))  # walls with 3.2 m between them


def test_the_outline_is_drawn_along_the_path_and_taken_away_with_it() -> None:
    path = Path()
    path.header.frame_id = "odom"
    for step in range(4):
        pose = conversions.planar_pose_message(2.0 * step, 1.0, np.pi / 2)
        path.poses.append(_stamped(pose))
    (marker,) = markers_along(path, Footprint.parse(CAR)).markers
    points = np.array([(point.x, point.y) for point in marker.points]).reshape(-1, 4, 2, 2)  # shape, side, end
    assert (marker.type, marker.header.frame_id, len(points)) == (Marker.LINE_LIST, "odom", 2)
    at_end = points[0, :, 0] - (6.0, 1.0)
    np.testing.assert_allclose(np.sort(at_end, 0)[[0, -1]], [[-0.9, -0.9], [0.9, 3.6]], atol=1e-9)
    (marker,) = markers_along(Path(), Footprint.parse(CAR)).markers
    assert marker.action == Marker.DELETEALL


def _stamped(pose: Pose) -> PoseStamped:
    return PoseStamped(pose=pose)


def test_a_node_plans_for_its_footprint_and_tells_it() -> None:
    robot = Robot()
    try:
        world = World(robot)
        shapes: list[PolygonStamped] = []
        drawn: list[MarkerArray] = []
        robot.node.create_subscription(PolygonStamped, "/planner/footprint", shapes.append, LATCHED)
        robot.node.create_subscription(MarkerArray, "/planner/markers", drawn.append, 5)
        world.start(planner__kinematics="bicycle", planner__footprint=f"'{CAR}'", model="''", autostart="true")
        scene = world.say(make_scene(walls=GAP), latent=False)
        assert robot.spin_until(lambda: world.plan(ahead(world.say(scene, latent=False), 6.0)).status.code == PlanStatus.OK, 60.0)
        assert robot.spin_until(lambda: shapes and drawn, 30.0)
        corners = [(round(point.x, 3), round(point.y, 3)) for point in shapes[-1].polygon.points]
        assert sorted(corners) == [(-0.9, -0.9), (-0.9, 0.9), (3.6, -0.9), (3.6, 0.9)]
        assert shapes[-1].header.frame_id == "base_link"
        assert len(drawn[-1].markers[0].points) % 8 == 0
        assert len(drawn[-1].markers[0].points) > 8
    finally:
        robot.close()


def test_commands_to_a_goal_keep_the_limits_until_the_robot_stands() -> None:
    robot = Robot()
    try:
        world = World(robot)
        base = Base(world)
        limits = {"max_acceleration_mps2": FASTER, "max_deceleration_mps2": SLOWER, "max_lateral_acceleration_mps2": LATERAL}
        world.start(
            autostart="true", model="''", controller__enabled="true", controller__stamped="true", controller__max_age_s=5.0,
            **{f"planner__limits__{name}": value for name, value in limits.items()},
        )  # fmt: skip
        goals = robot.node.create_publisher(PoseStamped, "/planner/goal_pose", 1)
        base.step()
        assert robot.spin_until(lambda: goals.get_subscription_count() > 0, 60.0)
        goals.publish(goal_message(5.0, 2.5))
        there = lambda: math.dist(base.pose[:2], (5.0, 2.5)) < 0.6 and base.commands[-1][1].twist.linear.x == 0.0  # noqa: E731
        assert base.until(there, 60.0), robot.next_diagnostics()["planner: controller"].message
    finally:
        robot.close()
    at_s = np.array([1e-9 * stamp_ns(message) for _, message in base.commands])
    speed = np.array([message.twist.linear.x for _, message in base.commands])
    turn = np.array([message.twist.angular.z for _, message in base.commands])
    change, passed = np.diff(speed), np.diff(at_s) + JITTER_S
    assert (change <= FASTER * passed).all(), (change / passed).max()
    assert (-change <= SLOWER * passed).all(), (-change / passed).max()
    assert speed.max() > 0.8
    assert np.abs(turn).max() > 0.1
    assert np.abs(speed * turn).max() <= LATERAL + 1e-4
