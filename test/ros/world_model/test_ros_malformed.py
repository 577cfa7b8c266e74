"""Ten thousand messages that no decent driver sends, to the running node: it stays, counts each by name and uses the next good frame."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="needs ROS 2: run `make build`, then tests through scripts/env.sh")
pytest.importorskip("jepa_ros.msg", reason="needs the built interfaces: run `make build`, then tests through scripts/env.sh")
pytestmark = [pytest.mark.ros, pytest.mark.slow]

from lifecycle_msgs.srv import GetState  # noqa: E402
from rclpy.serialization import serialize_message  # noqa: E402
from ros_harness import START_NS, Robot, byte_array, camera_info, cloud, image, odometry, stamp_ns, transform, values  # noqa: E402
from sensor_msgs.msg import CompressedImage  # noqa: E402
from tf2_msgs.msg import TFMessage  # noqa: E402

COUNT = 10_000
LOST = 5  # of a topic: best effort may lose one, or let the next overtake the round trip that follows it, on a busy machine
LISTENED = ("/lidar", "/odom", "/cam/image_raw", "/cam/camera_info", "/zip/image_raw/compressed", "/zip/camera_info", "/tf")


def changed(message, **fields):
    for name, value in fields.items():
        setattr(message, name, value)
    return message


def with_nan_pose(message):
    message.pose.pose.position.x = float("nan")
    return message


def with_stamp(message, seconds: int):
    message.header.stamp.sec = seconds
    return message


def cut(message, rng: np.random.Generator) -> bytes:
    """A serialized message that ends too early, within its first fields."""
    return serialize_message(message)[: int(rng.integers(5, 12))]


def zipped(stamp: int, data: bytes) -> CompressedImage:
    header = image(stamp).header
    return CompressedImage(header=header, format="jpeg", data=byte_array(np.frombuffer(data, np.uint8)))


# topic, the name that it must get in diagnostics, and how it is made
MALFORMED = [
    ("/cam/image_raw", "unknown_encoding", lambda stamp, rng: changed(image(stamp), encoding="rgb9")),
    ("/cam/image_raw", "truncated_data", lambda stamp, rng: changed(image(stamp), data=byte_array(np.zeros(100, np.uint8)))),
    ("/cam/image_raw", "wrong_step", lambda stamp, rng: changed(image(stamp), step=7)),
    ("/cam/image_raw", "bad_size", lambda stamp, rng: changed(image(stamp), height=0)),
    ("/cam/image_raw", "undeserialisable", lambda stamp, rng: cut(image(stamp), rng)),
    ("/cam/image_raw", "absurd_stamp", lambda stamp, rng: with_stamp(image(stamp), -int(rng.integers(1, 2**31)))),
    ("/lidar", "truncated_data", lambda stamp, rng: changed(cloud(stamp), width=10**6)),
    ("/lidar", "wrong_step", lambda stamp, rng: changed(cloud(stamp), point_step=3)),
    ("/lidar", "no_points", lambda stamp, rng: cloud(stamp, np.zeros((0, 3), np.float32))),
    ("/lidar", "no_points", lambda stamp, rng: cloud(stamp, np.full((50, 3), np.nan, np.float32))),
    ("/lidar", "bad_fields", lambda stamp, rng: changed(cloud(stamp), fields=[])),
    ("/lidar", "absurd_stamp", lambda stamp, rng: with_stamp(cloud(stamp), 0 if rng.random() < 0.5 else int(rng.integers(0, 2**30)))),
    ("/lidar", "undeserialisable", lambda stamp, rng: cut(cloud(stamp), rng)),
    ("/odom", "non_finite_pose", lambda stamp, rng: with_nan_pose(odometry(stamp))),
    ("/odom", "undeserialisable", lambda stamp, rng: cut(odometry(stamp), rng)),
    ("/cam/camera_info", "bad_camera_info", lambda stamp, rng: changed(camera_info(stamp), k=[0.0] * 9)),
    ("/cam/camera_info", "undeserialisable", lambda stamp, rng: cut(camera_info(stamp), rng)),
    ("/tf", "undeserialisable", lambda stamp, rng: cut(TFMessage(transforms=[transform("odom", "base_link", stamp)]), rng)),
    ("/zip/image_raw/compressed", "undecodable_image", lambda stamp, rng: zipped(stamp, rng.bytes(200))),
    ("/zip/image_raw/compressed", "undeserialisable", lambda stamp, rng: cut(zipped(stamp, b"\xff\xd8\xff"), rng)),
]


@pytest.fixture
def robot():
    robot = Robot()
    yield robot
    robot.close()


def heard_all(robot: Robot) -> None:
    """A round trip: the node's one thread has taken what was sent before it answers."""
    future = robot.state_client.call_async(GetState.Request())
    assert robot.spin_until(future.done, 20), "the node does not answer any more"


def test_ten_thousand_malformed_messages(robot):
    process = robot.start_node(
        model="persistence", autostart="true", inputs__image_topics="[/cam/image_raw, /zip/image_raw/compressed, /bare/image_raw]"
    )
    robot.state_client = robot.node.create_client(GetState, "/world_model/get_state")
    robot.wait_until_heard_by(*LISTENED)
    last_good_ns = robot.drive(5)[-1]
    assert robot.spin_until(lambda: bool(robot.heard["latent"]))

    rng = np.random.default_rng(5)
    sent: Counter[tuple[str, str]] = Counter()
    while sum(sent.values()) < COUNT:
        for topic, reason, make in MALFORMED:
            robot.publishers[topic].publish(make(last_good_ns + 1, rng))
            sent[topic, reason] += 1
            heard_all(robot)  # the node keeps only the newest: one at a time, so that each is seen
    assert process.poll() is None

    report = robot.next_diagnostics()
    names = {"/cam/camera_info": "/cam/image_raw/camera_info", "/tf": "tf"}
    sent_on: Counter[str] = Counter()
    for (topic, reason), count in sent.items():
        sent_on[topic] += count
        counted = values(report[f"input {names.get(topic, topic)}"])
        assert count - LOST <= int(counted.get(f"malformed.{reason}", 0)) <= count, (topic, reason, counted)
    for topic, count in sent_on.items():
        counted = values(report[f"input {names.get(topic, topic)}"])
        malformed = sum(int(value) for key, value in counted.items() if key.startswith("malformed."))
        assert malformed == int(counted["received"]) - int(counted["used"]), (topic, counted)  # whatever came is accounted for
        assert malformed >= count - LOST, (topic, counted)
    assert values(report["worker"])["errors"] == "0"

    robot.forget()
    stamps = robot.drive(5, last_good_ns + 100_000_000)
    assert robot.spin_until(lambda: bool(robot.heard["latent"])), "good frames are not used any more"
    assert stamp_ns(robot.heard["latent"][0]) in stamps
    assert values(robot.next_diagnostics()["sensors"])["in_use"] == "lidar, camera"


def test_an_image_without_camera_info_is_named_and_the_lidar_goes_on(robot):
    bare = robot.publishers["/zip/image_raw/compressed"]
    robot.start_node(model="persistence", autostart="true", inputs__image_topics="[/zip/image_raw/compressed]")
    robot.wait_until_heard_by("/lidar", "/odom", "/zip/image_raw/compressed")
    for stamp in range(START_NS, START_NS + 10**9, 10**8):
        bare.publish(zipped(stamp, b"\xff\xd8\xff" + bytes(100)))
        robot.drive(1, stamp, camera=False)
    assert robot.spin_until(lambda: bool(robot.heard["latent"]))
    counted = values(robot.next_diagnostics()["input /zip/image_raw/compressed"])
    assert int(counted["malformed.missing_camera_info"]) > 0
