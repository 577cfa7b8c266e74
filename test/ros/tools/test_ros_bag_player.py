"""bag_player: what was recorded comes out over DDS."""

from __future__ import annotations

import pytest

pytest.importorskip("rclpy", reason="needs ROS 2: run `make build`, then tests through scripts/env.sh")
pytest.importorskip("jepa_ros.msg", reason="needs the built interfaces: run `make build`, then tests through scripts/env.sh")
pytestmark = pytest.mark.ros

from rclpy.qos import DurabilityPolicy, QoSProfile  # noqa: E402
from rclpy.serialization import serialize_message  # noqa: E402
from ros_harness import START_NS, Robot, cloud, odometry, transform  # noqa: E402
from rosbags.interfaces import Qos, QosDurability, QosHistory, QosLiveliness, QosReliability, QosTime  # noqa: E402
from rosbags.rosbag2 import StoragePlugin, Writer  # noqa: E402
from rosbags.typesys import Stores, get_types_from_msg, get_typestore  # noqa: E402
from rosgraph_msgs.msg import Clock  # noqa: E402
from sensor_msgs.msg import PointCloud2  # noqa: E402
from tf2_msgs.msg import TFMessage  # noqa: E402

from jepa_ros.ros.entry import WRONG_CONFIGURATION  # noqa: E402
from jepa_ros.ros.stamps import time_message  # noqa: E402

NO_TIME = QosTime(0, 0)
LATCHED = Qos(
    QosHistory.KEEP_LAST,
    1,
    QosReliability.RELIABLE,
    QosDurability.TRANSIENT_LOCAL,
    NO_TIME,
    NO_TIME,
    QosLiveliness.AUTOMATIC,
    NO_TIME,
    False,
)
COUNT, STEP_NS = 10, 50_000_000


@pytest.fixture
def robot():
    robot = Robot(publish=False)
    yield robot
    robot.close()


@pytest.fixture
def bag(tmp_path):
    """Half a second of a lidar, odometry that the robot publishes itself, a static transform, and a type that nobody has."""
    types = get_typestore(Stores.ROS2_KILTED)
    types.register(get_types_from_msg("float64 value", "no_such_package/msg/Thing"))
    path = tmp_path / "bag"
    with Writer(path, version=9, storage_plugin=StoragePlugin.MCAP) as writer:
        static = writer.add_connection("/tf_static", "tf2_msgs/msg/TFMessage", typestore=types, offered_qos_profiles=[LATCHED])
        lidar = writer.add_connection("/points", "sensor_msgs/msg/PointCloud2", typestore=types)
        odom = writer.add_connection("/odom", "nav_msgs/msg/Odometry", typestore=types)
        thing = writer.add_connection("/thing", "no_such_package/msg/Thing", typestore=types)
        writer.write(static, START_NS, serialize_message(TFMessage(transforms=[transform("base_link", "lidar")])))
        for stamp in stamps():
            writer.write(lidar, stamp, serialize_message(cloud(stamp)))
            writer.write(odom, stamp, serialize_message(odometry(stamp)))
            writer.write(thing, stamp, bytes(12))
    return path


def stamps() -> range:
    return range(START_NS, START_NS + COUNT * STEP_NS, STEP_NS)


def test_a_bag_comes_out_as_it_was_recorded(robot, bag):
    own_odometry = robot.node.create_publisher(type(odometry(0)), "/odom", 10)
    clouds, odometries, clocks, static = [], [], [], []
    robot.node.create_subscription(PointCloud2, "/points", clouds.append, 50)
    robot.node.create_subscription(type(odometry(0)), "/odom", odometries.append, 50)
    robot.node.create_subscription(Clock, "/clock", lambda message: clocks.append(message.clock.sec * 10**9 + message.clock.nanosec), 50)
    player = robot.start_node("bag_player", bag=bag, wait_for="robot", loop="true")
    assert robot.spin_until(lambda: len(clouds) >= COUNT + 2, 60), player.poll()
    assert clouds[:COUNT] == [cloud(stamp) for stamp in stamps()]
    assert clouds[COUNT] == clouds[0], "the loop starts again at the beginning"
    assert not odometries, "what a live node publishes is left to it"
    assert own_odometry.get_subscription_count()
    assert START_NS <= min(clocks) < max(clocks) <= stamps()[-1]

    # Somebody who comes late still learns where the sensors are.
    latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
    robot.node.create_subscription(TFMessage, "/tf_static", static.append, latched)
    assert robot.spin_until(lambda: bool(static))


def test_a_bag_without_quality_of_service_latches_its_static_transforms_and_a_recorded_clock_is_played(robot, tmp_path):
    """Bags of other writers say nothing of durability; a simulation's bag has receive times of the wall and a clock of its own."""
    types = get_typestore(Stores.ROS2_KILTED)
    simulated_ns = 12_000_000_000
    with Writer(tmp_path / "bag", version=9, storage_plugin=StoragePlugin.MCAP) as writer:
        static = writer.add_connection("/tf_static", "tf2_msgs/msg/TFMessage", typestore=types)
        clock = writer.add_connection("/clock", "rosgraph_msgs/msg/Clock", typestore=types)
        lidar = writer.add_connection("/points", "sensor_msgs/msg/PointCloud2", typestore=types)
        for child in ("lidar", "camera"):
            writer.write(static, START_NS, serialize_message(TFMessage(transforms=[transform("base_link", child)])))
        for step in range(COUNT):
            now_ns = simulated_ns + step * STEP_NS
            writer.write(clock, START_NS + step * STEP_NS, serialize_message(Clock(clock=time_message(now_ns))))
            writer.write(lidar, START_NS + step * STEP_NS, serialize_message(cloud(now_ns)))
    clouds, clocks, static = [], [], []
    robot.node.create_subscription(PointCloud2, "/points", clouds.append, 50)
    robot.node.create_subscription(Clock, "/clock", lambda message: clocks.append(message.clock.sec * 10**9 + message.clock.nanosec), 50)
    robot.start_node("bag_player", bag=tmp_path / "bag", wait_for="robot", loop="true")
    assert robot.spin_until(lambda: len(clouds) >= COUNT, 60)
    assert set(clocks) <= {simulated_ns + step * STEP_NS for step in range(COUNT)}, "the recorded clock, and no other"
    latched = QoSProfile(depth=10, durability=DurabilityPolicy.TRANSIENT_LOCAL)
    robot.node.create_subscription(TFMessage, "/tf_static", static.append, latched)
    assert robot.spin_until(lambda: len(static) >= 2), "both messages, for whoever comes late"
    assert {edge.child_frame_id for message in static for edge in message.transforms} == {"lidar", "camera"}


def test_a_missing_bag_is_named(robot):
    player = robot.start_node("bag_player", bag="/no/such/bag")
    assert player.wait(30) == WRONG_CONFIGURATION
    assert "/no/such/bag" in player.stderr.read()
