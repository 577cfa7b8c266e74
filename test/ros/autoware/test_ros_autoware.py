"""A planner node among Autoware's topics, over DDS: others' objects in, in their own frame, and a trajectory out."""

from __future__ import annotations

import math
import sys

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="needs ROS 2: run `make build`, then tests through scripts/env.sh")
pytest.importorskip("jepa_ros.msg", reason="needs the built interfaces: run `make build`, then tests through scripts/env.sh")
pytest.importorskip("autoware_perception_msgs", reason="autoware_perception_msgs is not installed (an Autoware workspace has it)")
pytest.importorskip("autoware_planning_msgs", reason="autoware_planning_msgs is not installed (an Autoware workspace has it)")
pytestmark = pytest.mark.ros

from paths import ROOT  # noqa: E402

sys.path.append(str(ROOT / "test" / "ros" / "planner"))

from autoware_perception_msgs.msg import PredictedObjects  # noqa: E402
from autoware_planning_msgs.msg import Trajectory  # noqa: E402
from geometry_msgs.msg import TransformStamped  # noqa: E402
from planning_scenes import make_scene, pose  # noqa: E402
from ros_harness import Robot  # noqa: E402
from ros_planner_world import World, ahead  # noqa: E402
from test_autoware_messages import array, told  # noqa: E402
from tf2_msgs.msg import TFMessage  # noqa: E402

from jepa_ros.ros import conversions  # noqa: E402
from jepa_ros.ros.autoware.objects import predicted_objects_message  # noqa: E402
from jepa_ros.types import PlanStatus  # noqa: E402

TOPIC = "/perception/object_recognition/objects"
MAP_FROM_ODOM = pose(5.0, -3.0, math.pi / 2)
PERSON = (3.0, 0.3)  # in odom, beside the straight way, less than the robot's radius away


def test_objects_of_another_stack_are_planned_around_and_the_plan_is_a_trajectory() -> None:
    robot = Robot()
    try:
        world = World(robot)
        trajectories: list[Trajectory] = []
        objects = robot.node.create_publisher(PredictedObjects, TOPIC, 1)
        robot.node.create_subscription(Trajectory, "/planner/trajectory", trajectories.append, 5)
        world.start(autostart="true", model="''", inputs__predicted_objects_topic=TOPIC, planner__kinematics="bicycle",
                    planner__limits__wheelbase_m=0.6)  # fmt: skip
        scene = world.say(make_scene(anchor=pose(0.0, 0.0, 0.0)), latent=False)
        answer = world.plan(ahead(scene, 6.0))
        assert answer.status.code == PlanStatus.STALE_SENSORS
        assert TOPIC in answer.status.message
        assert robot.spin_until(lambda: objects.get_subscription_count() > 0, 30.0)

        def plan():
            now = world.say(scene, latent=False)
            edge = TransformStamped(header=conversions.header_message(now.stamp_ns, "map"), child_frame_id="odom")
            there = conversions.pose_message(MAP_FROM_ODOM)
            edge.transform.translation.x, edge.transform.translation.y = there.position.x, there.position.y
            edge.transform.rotation = there.orientation
            world.transforms.publish(TFMessage(transforms=[edge]))
            x, y = MAP_FROM_ODOM[:2, :2] @ PERSON + MAP_FROM_ODOM[:2, 3]
            person = told(3, 0, (float(x), float(y), 0.0), (0.0, 0.0))
            person.size.x = person.size.y = 0.6
            message = predicted_objects_message(array(person))
            message.header = conversions.header_message(now.stamp_ns, "map")
            objects.publish(message)
            robot.spin(0.2)
            return world.plan(ahead(now, 6.0))

        paths: list[np.ndarray] = []

        def passes() -> bool:
            answer = plan()
            paths.append(np.array([(stamped.pose.position.x, stamped.pose.position.y) for stamped in answer.path.poses]))
            return answer.status.code == PlanStatus.OK and paths[-1][-1, 0] > 4.5

        assert robot.spin_until(passes, 60.0), plan().status.message
        assert np.linalg.norm(paths[-1] - PERSON, axis=1).min() > 0.8, "around them: they stand in odom where the map's objects are"
        assert robot.spin_until(lambda: trajectories and trajectories[-1].points, 10.0)
        assert trajectories[-1].header.frame_id == "odom"
        assert max(abs(point.front_wheel_angle_rad) for point in trajectories[-1].points) > 0.01
    finally:
        robot.close()
