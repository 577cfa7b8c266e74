"""The recording of demo and replay: no message at time 0, latched topics latched, and the clock of a bag."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="needs ROS 2: run `make build`, then tests through scripts/env.sh")
pytest.importorskip("jepa_ros.msg", reason="needs the built interfaces: run `make build`, then tests through scripts/env.sh")
pytestmark = pytest.mark.ros

import yaml  # noqa: E402
from diagnostic_msgs.msg import DiagnosticArray  # noqa: E402
from mcap.reader import make_reader  # noqa: E402
from rclpy.serialization import serialize_message  # noqa: E402
from ros_harness import START_NS, cloud, transform  # noqa: E402
from rosbags.rosbag2 import Reader, StoragePlugin, Writer  # noqa: E402
from rosbags.typesys import Stores, get_typestore  # noqa: E402
from rosgraph_msgs.msg import Clock  # noqa: E402
from tf2_msgs.msg import TFMessage  # noqa: E402

from jepa_ros.ros.stamps import time_message  # noqa: E402
from jepa_ros.ros.tools.bag_clock import BagTime, bag_clock  # noqa: E402
from jepa_ros.ros.tools.output_bag import OutputBag  # noqa: E402
from jepa_ros.ros.tools.recorder import Recorder  # noqa: E402
from jepa_ros.sensing import bag_info  # noqa: E402

STEP_NS = 100_000_000
WALL_NS = START_NS
SIMULATED_NS = 12_000_000_000  # a simulator's stamps begin near 0


class FakeNode:
    """Takes subscriptions, and tells simulated time."""

    def __init__(self) -> None:
        self.now_ns = 0
        self.callbacks: dict = {}

    def create_subscription(self, kind, topic, callback, qos, raw):
        self.callbacks[topic] = callback

    def get_clock(self):
        return SimpleNamespace(now=lambda: SimpleNamespace(nanoseconds=self.now_ns))


def recorded(path):
    with Reader(path) as reader:
        return [(connection.topic, stamp_ns) for connection, stamp_ns, _ in reader.messages()], reader.duration


def test_a_recording_begins_when_time_does(tmp_path):
    node = FakeNode()
    recorder = Recorder(node, tmp_path / "output.mcap")
    recorder.add("/diagnostics", "diagnostic_msgs/msg/DiagnosticArray")
    recorder.add("/tf_static", "tf2_msgs/msg/TFMessage")
    recorder.add("/points", "sensor_msgs/msg/PointCloud2")
    node.callbacks["/diagnostics"](serialize_message(DiagnosticArray()))  # said while the model is loaded: there is no time yet
    node.callbacks["/tf_static"](serialize_message(TFMessage(transforms=[transform("base_link", "lidar")])))
    node.callbacks["/points"](serialize_message(cloud(START_NS)))  # a little ahead of the first /clock
    for step in range(1, 4):
        node.now_ns = START_NS + step * STEP_NS
        node.callbacks["/points"](serialize_message(cloud(node.now_ns)))
    recorder.close()
    messages, duration_ns = recorded(tmp_path)
    assert [topic for topic, _ in messages] == ["/tf_static", *["/points"] * 4]
    assert min(stamp for _, stamp in messages) == START_NS + STEP_NS
    assert duration_ns < 3 * STEP_NS
    assert recorder.before_time == 1


def test_a_recording_is_a_rosbag2_folder_with_compressed_chunks_and_latched_transforms(tmp_path):
    bag = OutputBag(tmp_path / "output.mcap")
    bag.add("/tf_static", "tf2_msgs/msg/TFMessage", latched=True)
    bag.add("/points", "sensor_msgs/msg/PointCloud2", latched=False)
    bag.write("/tf_static", START_NS, serialize_message(TFMessage(transforms=[transform("base_link", "lidar")])))
    bag.write("/points", START_NS + STEP_NS, serialize_message(cloud(START_NS)))
    bag.close()
    metadata = yaml.safe_load((tmp_path / "metadata.yaml").read_text())["rosbag2_bagfile_information"]
    assert metadata["relative_file_paths"] == ["output.mcap"]
    with (tmp_path / "output.mcap").open("rb") as stream:
        reader = make_reader(stream)
        summary = reader.get_summary()
        inside = next(iter(reader.iter_metadata())).metadata["serialized_metadata"]
    assert {chunk.compression for chunk in summary.chunk_indexes} == {"zstd"}
    assert "output.mcap" in inside
    qos = {channel.topic: yaml.safe_load(channel.metadata["offered_qos_profiles"])[0] for channel in summary.channels.values()}
    assert qos["/tf_static"]["durability"] in (1, "transient_local")
    assert qos["/points"]["durability"] in (2, "volatile")
    assert [topic.latched for topic in bag_info(tmp_path).topics] == [True, False]


def write_bag(path, with_clock: bool, stamp_ns: int, pace: float = 1.0):
    """2 s of clouds whose stamps begin at `stamp_ns` and advance by `pace` for each second of receive time."""
    types = get_typestore(Stores.ROS2_KILTED)
    with Writer(path, version=9, storage_plugin=StoragePlugin.MCAP) as writer:
        points = writer.add_connection("/points", "sensor_msgs/msg/PointCloud2", typestore=types)
        clock = writer.add_connection("/clock", "rosgraph_msgs/msg/Clock", typestore=types)
        for step in range(20):
            log_ns, now_ns = WALL_NS + step * STEP_NS, stamp_ns + round(pace * step * STEP_NS)
            if with_clock:
                writer.write(clock, log_ns, serialize_message(Clock(clock=time_message(now_ns))))
            writer.write(points, log_ns, serialize_message(cloud(now_ns)))
    return bag_info(path)


@pytest.mark.parametrize("with_clock", [True, False])
@pytest.mark.parametrize("pace", [1.0, 0.5])
def test_a_simulation_recorded_by_the_wall_keeps_its_own_time(tmp_path, with_clock, pace):
    clock = bag_clock(write_bag(tmp_path / "bag", with_clock, SIMULATED_NS, pace))
    assert ("/clock" if with_clock else "/points") in clock.source
    for log_s in (0.0, 0.55, 1.9):
        assert clock.at(WALL_NS + round(log_s * 1e9)) == pytest.approx(SIMULATED_NS + pace * log_s * 1e9, abs=1e3)


def test_an_ordinary_bag_goes_by_its_log_times(tmp_path):
    clock = bag_clock(write_bag(tmp_path / "bag", False, WALL_NS - 200_000_000))  # a sensor is logged a little after its stamp
    assert clock.at(WALL_NS + 5) == WALL_NS + 5


def test_a_player_that_was_held_up_is_late_and_does_not_burst():
    bag_time = BagTime(100.0)
    played = []
    for now_s in (100.04, 100.08, 100.9, 100.94):  # the machine stalled for 0.8 s
        bag_time.advance(now_s, 1.0)
        played.append(bag_time.played_s)
    assert max(np.diff(played)) <= 0.1 + 1e-9, "at most one frame of a 10 Hz sensor comes due in one turn"
    bag_time.advance(101.5, 0.0)
    assert bag_time.played_s == played[-1], "paused"
    bag_time.advance(101.55, 2.0)
    assert bag_time.played_s == pytest.approx(played[-1] + 0.1)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a process that its parent is gone")
def test_a_node_does_not_outlive_the_demo_that_started_it(tmp_path):
    """Killed hard, as by a test's time limit, the demo cannot take its nodes down itself."""
    script = (
        "import os, signal, sys\n"
        "from pathlib import Path\n"
        "from jepa_ros.ros.tools.node_process import NodeProcess\n"
        "process = NodeProcess('planner', {}, Path(sys.argv[1]))\n"
        "process.__enter__()\n"
        "print(process.pid, flush=True)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-c", script, str(tmp_path)], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == -signal.SIGKILL
    pid = int(done.stdout)
    deadline_s = time.monotonic() + 20.0
    while alive(pid) and time.monotonic() < deadline_s:
        time.sleep(0.1)
    assert not alive(pid)


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False
