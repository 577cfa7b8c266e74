"""What a start looks like in /diagnostics: a healthy robot is quiet from its first report on, and a fault that lasts is not.

Messages that do not come, and those that come and are not read: which of the two it is, and what to export where.
"""

from __future__ import annotations

import time
from types import SimpleNamespace

import pytest

pytest.importorskip("rclpy", reason="needs ROS 2: run `make build`, then tests through scripts/env.sh")
pytest.importorskip("jepa_ros.msg", reason="needs the built interfaces: run `make build`, then tests through scripts/env.sh")

import rclpy
from diagnostic_msgs.msg import DiagnosticStatus
from nav_msgs.msg import Odometry
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from sensor_msgs.msg import Image, PointCloud2

from jepa_ros.ros.latency import LatencyBook
from jepa_ros.ros.world_model import arrival_monitor
from jepa_ros.ros.world_model.arrival_monitor import ArrivalMonitor
from jepa_ros.ros.world_model.diagnostics import choice_status, input_statuses
from jepa_ros.ros.world_model.subscriptions import InputConfig, Inputs
from jepa_ros.sensing import InputStatus, SensorHub
from jepa_ros.sensing.topic_choice.rule import NOT_YET
from jepa_ros.sensing.topic_choice.verdicts import Verdict

OK, WARN = DiagnosticStatus.OK, DiagnosticStatus.WARN
EXPORT = "export FASTDDS_DEFAULT_PROFILES_FILE=$(ros2 pkg prefix --share jepa_ros)/config/fastdds.xml where the driver starts, too"


def camera(lacking: int) -> dict[str, InputStatus]:
    """One camera of whose images so many came without intrinsics."""
    return {"/cam": InputStatus("camera", 20, 20 - lacking, 0, 0, {"missing_camera_info": lacking}, last_stamp_ns=None, lost=False)}


def test_images_that_came_before_their_camera_info_are_counted_not_warned_of() -> None:
    (first,) = input_statuses(camera(3), {}, {})
    assert first.level == OK
    assert ("malformed.missing_camera_info", "3") in [(pair.key, pair.value) for pair in first.values]
    (then,) = input_statuses(camera(3), camera(3), {})
    assert then.level == OK
    (lasting,) = input_statuses(camera(13), camera(3), {})
    assert lasting.level == WARN
    assert "missing_camera_info" in lasting.message


def test_topics_that_have_shown_nothing_yet_are_no_fault_of_the_choice() -> None:
    waiting = [Verdict("/lidar", "lidar", False, NOT_YET), Verdict("/odom", "odometry", False, NOT_YET)]
    assert choice_status(waiting).level == OK
    assert choice_status([Verdict("/lidar", "lidar", True, ""), waiting[1]]).level == OK
    assert choice_status([Verdict("/map", "lidar", False, "its frame does not move with the vehicle"), waiting[1]]).level == WARN


class Heard:
    """A monitor that hears messages by a clock of its own."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now_s = 100.0
        monkeypatch.setattr(arrival_monitor, "time", SimpleNamespace(monotonic=lambda: self.now_s, time_ns=lambda: round(1e9 * self.now_s)))
        self.watch = ArrivalMonitor()

    def hear(self, topic: str, number: int, waited_s: float = 0.0) -> None:
        received_ns = round(1e9 * (self.now_s - waited_s))
        info = {"publication_sequence_number": number, "publisher_gid": {"data": b"a"}, "received_timestamp": received_ns}
        self.watch.note(topic, info)


@pytest.fixture
def heard(monkeypatch: pytest.MonkeyPatch) -> Heard:
    return Heard(monkeypatch)


def test_messages_that_do_not_arrive_are_counted(heard: Heard) -> None:
    for number in range(1, 21):
        heard.now_s += 0.1
        if number % 5 == 0:
            heard.hear("/lossy", number)
        heard.hear("/good", number, waited_s=0.5)
    assert heard.watch.loss("/good") is None
    assert heard.watch.loss("/lossy") == f"4 of 16 messages arrive: Fast DDS loses large messages: {EXPORT}"
    assert heard.watch.silent_s("/never") is None
    heard.now_s += 2.0
    assert heard.watch.silent_s("/good") == pytest.approx(2.0)


def test_messages_that_are_replaced_before_they_are_read_are_no_fault_of_the_transport(heard: Heard) -> None:
    for number in range(5, 41, 5):
        heard.now_s += 0.3
        heard.hear("/late", number, waited_s=0.2)
    assert "8 of 36 messages are read: this machine is too busy" in str(heard.watch.loss("/late"))


def test_one_message_in_three_seconds_is_counted_from_the_one_before(heard: Heard) -> None:
    """One in forty of ten a second: the window never held two, and nothing was said."""
    for number in (1, 41):
        heard.now_s += 4.0
        heard.hear("/few", number)
    assert "2 of 41 messages arrive" in str(heard.watch.loss("/few"))


@pytest.mark.ros
def test_what_is_published_and_never_arrives_is_told_with_what_to_export(monkeypatch: pytest.MonkeyPatch) -> None:
    """4K images of a driver without the profile: not one came, and the only words were "are the drivers running?"."""
    monkeypatch.setattr(arrival_monitor, "WINDOW_S", 0.5)
    context = Context()
    rclpy.init(context=context)
    executor = SingleThreadedExecutor(context=context)
    driver, node = (Node(name, context=context) for name in ("driver", "arrivals"))
    for one in (driver, node):
        executor.add_node(one)
    for kind, topic in ((PointCloud2, "/roof/points"), (Image, "/roof/image_raw")):
        driver.create_publisher(kind, topic, 1)
    odometry = driver.create_publisher(Odometry, "/odom", 1)
    inputs = Inputs(node, InputConfig(cloud_topics=("/roof/points",)), SensorHub(), True, lambda: None, LatencyBook())
    assert not any("no message arrives" in told for told in inputs.problems().values()), "it has only begun to look"
    deadline_s = time.monotonic() + 20.0
    wanted = {"/roof/points", "/roof/image_raw"}
    while not wanted <= {topic for topic, told in inputs.problems().items() if "no message arrives" in told}:
        assert time.monotonic() < deadline_s, inputs.problems()
        odometry.publish(Odometry())
        executor.spin_once(timeout_sec=0.1)
    told = inputs.problems()
    assert told["/roof/points"].endswith(EXPORT)
    assert "/odom" not in told
    inputs.close()
    for one in (driver, node):
        one.destroy_node()
    rclpy.shutdown(context=context)
