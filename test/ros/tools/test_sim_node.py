"""The simulator node as a process of its own, over real DDS."""

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="needs ROS 2: run `make build`, then tests through scripts/env.sh")
pytest.importorskip("jepa_ros.msg", reason="needs the built interfaces: run `make build`, then tests through scripts/env.sh")
pytestmark = pytest.mark.ros

from geometry_msgs.msg import Twist  # noqa: E402
from nav_msgs.msg import Odometry  # noqa: E402
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy  # noqa: E402
from ros_harness import Robot, stamp_ns  # noqa: E402
from rosgraph_msgs.msg import Clock  # noqa: E402
from sensor_msgs.msg import CameraInfo, Image, PointCloud2  # noqa: E402
from tf2_msgs.msg import TFMessage  # noqa: E402
from visualization_msgs.msg import MarkerArray  # noqa: E402

TOPICS = {
    "/lidar/points": PointCloud2,
    "/camera/image_raw": Image,
    "/camera/camera_info": CameraInfo,
    "/odom": Odometry,
    "/tf": TFMessage,
    "/ground_truth/markers": MarkerArray,
}


@pytest.fixture
def robot():
    robot = Robot()
    for topic, kind in TOPICS.items():
        robot.node.create_subscription(kind, topic, robot.heard[topic].append, 20)
    best_effort = QoSProfile(depth=20, reliability=ReliabilityPolicy.BEST_EFFORT)
    robot.node.create_subscription(Clock, "/clock", robot.heard["/clock"].append, best_effort)
    latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
    robot.node.create_subscription(TFMessage, "/tf_static", robot.heard["/tf_static"].append, latched)
    yield robot
    robot.close()


def start(robot, **parameters):
    small = {"lidar_rings": 16, "lidar_azimuths": 90, "camera_width": 32, "camera_height": 18, "scenario": "hall", "people": 4}
    return robot.start_node("simulator", **(small | parameters))


def test_sensors_come_out_together_and_commands_drive(robot):
    start(robot, rate_hz=10.0, use_sim_time=True)
    assert robot.spin_until(lambda: all(len(robot.heard[topic]) >= 3 for topic in [*TOPICS, "/clock"]), 60)
    stamps = [{stamp_ns(message) for message in robot.heard[topic]} for topic in ("/lidar/points", "/camera/image_raw", "/odom")]
    assert len(stamps[0] & stamps[1] & stamps[2]) >= 2
    sensors = {t.child_frame_id for message in robot.heard["/tf_static"] for t in message.transforms}
    assert {"lidar", "camera_optical_frame"} <= sensors
    cloud = robot.heard["/lidar/points"][-1]
    assert cloud.width * cloud.point_step == len(cloud.data) > 0
    assert sum(marker.ns == "person" for marker in robot.heard["/ground_truth/markers"][-1].markers) == 4

    driver = robot.node.create_publisher(Twist, "/cmd_vel", 1)
    turn = Twist()
    turn.angular.z = 0.8

    def turns():
        driver.publish(turn)
        return bool(robot.heard["/odom"]) and robot.heard["/odom"][-1].twist.twist.angular.z == pytest.approx(0.8, abs=0.1)

    assert robot.spin_until(turns, 20)
    robot.forget()

    def stands():
        return bool(robot.heard["/odom"]) and robot.heard["/odom"][-1].twist.twist.angular.z == pytest.approx(0.0, abs=0.02)

    assert robot.spin_until(stands, 20)  # no command for longer than the timeout
    clock = [message.clock.sec + 1e-9 * message.clock.nanosec for message in robot.heard["/clock"]]
    assert (np.diff(clock) > 0).all()


def test_a_wrong_parameter_is_named_and_ends_the_node(robot):
    process = start(robot, scenario="moon")
    assert process.wait(60) == 78  # launch does not start it again
    assert "moon" in process.stderr.read()
