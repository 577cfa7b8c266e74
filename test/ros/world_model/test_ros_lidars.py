"""Three lidars of different kinds on one robot, over DDS: one observation, each at its own stamp and mount; and one of them dies."""

import numpy as np
import pytest

pytest.importorskip("jepa_ros.msg", reason="needs the built interfaces: run `make build`, then tests through scripts/env.sh")
pytestmark = pytest.mark.ros

from geometry_msgs.msg import TransformStamped, Vector3  # noqa: E402
from lifecycle_msgs.msg import Transition  # noqa: E402
from lifecycle_msgs.srv import ChangeState  # noqa: E402
from nav_msgs.msg import Odometry  # noqa: E402
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy  # noqa: E402
from ros_harness import START_NS, Robot, odometry, values  # noqa: E402
from sensor_msgs.msg import PointCloud2, PointField  # noqa: E402
from tf2_msgs.msg import TFMessage  # noqa: E402

from jepa_ros.ros.conversions import byte_array, header_message  # noqa: E402

MOUNTS = {"front": (1.2, 0.6, 0.0), "rear": (-1.2, 0.6, np.pi), "left": (0.0, 1.1, np.pi / 2)}  # x, z m, yaw rad
DELAYS_NS = {"front": 0, "rear": 37_000_000, "left": 71_000_000}
WALLS_M = {"front": 9.0, "rear": -8.0, "left": 5.0}  # along the axis that it looks along, where odom begins
MPS = 1.0


@pytest.fixture(scope="module")
def robot():
    robot = Robot(publish=False)
    latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
    sensor = QoSProfile(depth=5, reliability=ReliabilityPolicy.BEST_EFFORT)
    robot.publishers = {name: robot.node.create_publisher(PointCloud2, f"/{name}/points", sensor) for name in MOUNTS}
    robot.publishers["odom"] = robot.node.create_publisher(Odometry, "/odom", 10)
    robot.publishers["static"] = robot.node.create_publisher(TFMessage, "/tf_static", latched)
    robot.publishers["static"].publish(TFMessage(transforms=[mount(name) for name in MOUNTS]))
    robot.start_node(model="persistence")
    for transition in (Transition.TRANSITION_CONFIGURE, Transition.TRANSITION_ACTIVATE):
        request = ChangeState.Request(transition=Transition(id=transition))
        assert robot.call(ChangeState, "/world_model/change_state", request).success
    robot.wait_until_heard_by(*MOUNTS, "odom")
    yield robot
    robot.close()


def mount(name: str) -> TransformStamped:
    x, z, yaw = MOUNTS[name]
    message = TransformStamped(header=header_message(START_NS, "base_link"), child_frame_id=f"{name}_lidar")
    message.transform.translation = Vector3(x=x, y=0.0, z=z)
    message.transform.rotation.z, message.transform.rotation.w = np.sin(yaw / 2), np.cos(yaw / 2)
    return message


def sweep(name: str, stamp_ns: int) -> PointCloud2:
    """The ground before it, and its wall, as it is seen from where the robot is at that stamp."""
    x, z, _ = MOUNTS[name]
    at_m = MPS * (stamp_ns - START_NS) / 1e9
    along, across = np.meshgrid(np.arange(0.8, 12.0, 0.25), np.arange(-4.0, 4.01, 0.2))
    wall_y, wall_z = np.meshgrid(np.arange(-3.0, 3.01, 0.1), np.arange(0.4, 1.6, 0.2))
    away = {"front": WALLS_M["front"] - at_m - x, "rear": at_m - WALLS_M["rear"] + x, "left": WALLS_M["left"]}[name]
    ground = np.stack((along[along < away], across[along < away], np.full((along < away).sum(), -z)), axis=1)
    wall = np.stack((np.full(wall_y.size, away), wall_y.ravel(), wall_z.ravel() - z), axis=1)
    points = np.concatenate((ground, wall))
    # Three drivers: packed float32; float64 with padding; organised with NaN where nothing came back.
    kind, step, datatype = (np.float64, 40, PointField.FLOAT64) if name == "rear" else (np.float32, 16, PointField.FLOAT32)
    if name == "left":
        points = np.concatenate((points, np.full((100 - len(points) % 100, 3), np.nan)))
    height = len(points) // 100 if name == "left" else 1
    size = np.dtype(kind).itemsize
    data = np.zeros((len(points), step), np.uint8)
    data[:, : 3 * size] = np.ascontiguousarray(points, kind).view(np.uint8).reshape(len(points), 3 * size)
    return PointCloud2(
        header=header_message(stamp_ns, f"{name}_lidar"),
        height=height,
        width=len(points) // height,
        fields=[PointField(name=axis, offset=size * k, datatype=datatype, count=1) for k, axis in enumerate("xyz")],
        point_step=step,
        row_step=step * (len(points) // height),
        data=byte_array(data),
    )


def drive(robot: Robot, first: int, count: int, lidars=tuple(MOUNTS)) -> None:
    for tick in range(first, first + count):
        stamp_ns = START_NS + 100_000_000 * tick
        for part in range(5):
            robot.publishers["odom"].publish(odometry(stamp_ns + 20_000_000 * part))
        for name in lidars:
            robot.publishers[name].publish(sweep(name, stamp_ns + DELAYS_NS[name]))
        robot.spin(0.12)


def occupied_at(message, odom_x: float, odom_y: float) -> bool:
    """Whether a cell within half a metre of a place of odom is occupied now."""
    grid = np.array(message.probability, np.uint8).reshape(len(message.times_s), message.rows, message.columns)[0]
    x, y = odom_x - message.anchor_pose.position.x, odom_y - message.anchor_pose.position.y
    column, row = (int((place - origin) / message.resolution_m) for place, origin in ((x, message.origin.x), (y, message.origin.y)))
    return bool((grid[row - 1 : row + 2, column - 1 : column + 2] > 127).any())


def test_all_are_one_observation_each_in_its_place(robot):
    drive(robot, 0, 45)  # what is taken is decided after some seconds
    assert robot.spin_until(lambda: len(robot.heard["occupancy"]) > 3)
    newest = robot.heard["occupancy"][-1]
    assert [occupied_at(newest, *place) for place in ((WALLS_M["front"], 0.0), (WALLS_M["rear"], 0.0))] == [True, True]
    assert occupied_at(newest, newest.anchor_pose.position.x, WALLS_M["left"])
    assert not occupied_at(newest, newest.anchor_pose.position.x + 1.0, -3.0), "where none looks nothing is made up"
    report = robot.next_diagnostics()
    for name in MOUNTS:
        assert int(values(report[f"input /{name}/points"])["used"]) > 3, name


def test_one_dies_and_the_rest_goes_on(robot):
    robot.forget()
    drive(robot, 45, 30, lidars=("front", "left"))
    newest = robot.heard["occupancy"][-1]
    assert occupied_at(newest, WALLS_M["front"], 0.0)
    report = robot.next_diagnostics()
    assert "/rear/points" in " ".join(f"{name} {status.message}" for name, status in report.items() if status.level != b"\x00")
