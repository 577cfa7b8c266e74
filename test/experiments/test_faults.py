"""Files made to do harm are refused with a reason; the gate that spoils a robot's messages spoils them as it says."""

from __future__ import annotations

import multiprocessing

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="needs ROS 2: run `make build`, then tests through scripts/env.sh")
pytest.importorskip("jepa_ros.msg", reason="needs the built interfaces: run `make build`, then tests through scripts/env.sh")

import rclpy
from geometry_msgs.msg import TransformStamped
from nav_msgs.msg import Odometry
from rclpy.serialization import deserialize_message, serialize_message
from tf2_msgs.msg import TFMessage

from experiments.common import busy
from experiments.faults import gate
from experiments.faults.hostile import hostile_files
from jepa_ros.ros.conversions import header_message
from jepa_ros.types import NANOSECONDS

STAMP_NS = 1_700_000_000 * NANOSECONDS + 250_000_000


def test_hostile_weights_and_bags_are_refused_with_a_reason_and_execute_nothing(tmp_path) -> None:
    results = hostile_files(tmp_path)
    assert len(results) > 10
    assert not [one for one in results if not one.held]
    assert not [one.name for one in results if one.said.rstrip().endswith(":")], "a reason is missing"


def test_a_shifted_message_keeps_everything_but_its_stamp() -> None:
    message = Odometry(header=header_message(STAMP_NS, "odom"), child_frame_id="base_link")
    message.twist.twist.linear.x = 1.25
    moved = deserialize_message(gate.shifted(serialize_message(message), 2 * NANOSECONDS), Odometry)
    assert (moved.header.stamp.sec, moved.header.stamp.nanosec) == (1_700_000_002, 250_000_000)
    moved.header.stamp = message.header.stamp
    assert moved == message


def test_transforms_are_shifted_each() -> None:
    edges = [TransformStamped(header=header_message(STAMP_NS, "odom"), child_frame_id=child) for child in ("base_link", "other")]
    data = gate.shifted_transforms(serialize_message(TFMessage(transforms=edges)), -NANOSECONDS)
    moved = deserialize_message(data, TFMessage)
    assert [edge.header.stamp.sec for edge in moved.transforms] == [1_699_999_999] * 2
    assert [edge.child_frame_id for edge in moved.transforms] == ["base_link", "other"]


def test_spoilers_do_what_they_are_named_for() -> None:
    a, b = b"\0\1\0\0first", b"\0\1\0\0second"
    swap = gate.swapped()
    assert [message for data in (a, b) for _, message in swap(data)] == [b, a]
    assert list(gate.doubled(a)) == [(0.0, a), (0.0, a)]
    assert list(gate.delayed(1.0)(a)) == [(1.0, a)]
    assert not list(gate.pulled(a))
    ((_, garbage),) = gate.garbled(np.random.default_rng(0))(a)
    assert garbage[:4] == a[:4]
    assert garbage != a


@pytest.mark.timeout(30)
def test_a_busy_machine_is_idle_again_afterwards() -> None:
    """Also where ROS has taken SIGTERM for itself before."""
    rclpy.init()
    try:
        with busy(2):
            counting = multiprocessing.active_children()
            assert len(counting) == 2
            assert all(process.is_alive() for process in counting)
        assert not any(process.is_alive() for process in counting)
    finally:
        rclpy.try_shutdown()
