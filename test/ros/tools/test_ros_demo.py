"""The whole way over DDS: bag -> nodes -> forecasts, plan, recording, picture, summary."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("rclpy", reason="rclpy is not installed: run through scripts/env.sh after make build")
pytest.importorskip("jepa_ros.msg", reason="the interfaces are not built: make build")

import numpy as np
import rclpy
from paths import ROOT
from PIL import Image
from rclpy.context import Context
from rclpy.node import Node
from rosbags.highlevel import AnyReader
from rosgraph_msgs.msg import Clock

from jepa_ros.ros.tools.demo import DEFAULT_SPEC
from jepa_ros.sensing import bag_info
from jepa_ros.sim.simulation import Simulation

TINY_BAG = ROOT / "test" / "resources" / "tiny_bag"

pytestmark = [pytest.mark.ros, pytest.mark.slow, pytest.mark.timeout(180)]


def test_who_opens_the_page_of_the_simulated_bag_finds_the_cyclist() -> None:
    """README says so: one rides ahead of the robot, in view of the camera, two seconds into the run."""
    simulation = Simulation(DEFAULT_SPEC.scenario, DEFAULT_SPEC.seed)
    simulation.step(2.0)
    base_from_world = np.linalg.inv(simulation.world_from_base())
    riders = [base_from_world @ np.append(one.position_m, 1.0) for one in simulation.agents() if one.kind == "cyclist"]
    assert any(5.0 < x < 16.0 and abs(y) < 0.5 * x for x, y, *_ in riders), riders


def run_demo(bag: Path, out: Path, *more: str) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "jepa_ros.ros.tools.demo", "--bag", str(bag), "--out", str(out), *more]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=170)


def test_demo_leaves_recording_picture_and_summary(tmp_path):
    done = run_demo(TINY_BAG, tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert 0 < summary["frames_processed"] <= summary["frames_in"]
    assert summary["plan"]["answered"] > 0
    assert {"encode", "predict", "publish", "end_to_end"} <= set(summary["latency_ms"])
    assert (tmp_path / "scene.png").stat().st_size > 50_000
    page = json.loads((tmp_path / "report.html").read_text().split('type="application/json">')[1].split("</script>")[0])
    assert len(page["moments"]) == summary["frames_processed"] >= len(page["latency_ms"])  # a frame may come here after its answer
    assert len(page["plans"]) == summary["plan"]["answered"]
    assert page["moments"][0]["camera"].startswith("data:image/jpeg")
    assert (tmp_path / "report.html").stat().st_size < 15e6
    assert Image.open(tmp_path / "demo.gif").size == (720, 330)
    with AnyReader([tmp_path / "output.mcap"]) as reader:
        recorded = {connection.topic: connection.msgcount for connection in reader.connections}
        stamps = {
            topic: {message.header.stamp.sec * 10**9 + message.header.stamp.nanosec for message in messages}
            for topic in ("/lidar/points", "/world_model/latent", "/world_model/occupancy", "/world_model/pedestrians")
            for messages in [[reader.deserialize(raw, c.msgtype) for c, _, raw in reader.messages() if c.topic == topic]]
        }
        seconds = reader.duration / 1e9
    assert seconds == pytest.approx(bag_info(TINY_BAG).duration_s, abs=1.0), "no message at time 0"
    assert {topic.name for topic in bag_info(tmp_path).topics if topic.latched} >= {"/tf_static", "/world_model/occupancy_grid"}
    assert summary["run"]["frames_dropped"] == summary["frames_in"] - summary["frames_processed"]
    assert summary["run"]["slowest_stage"] in summary["latency_ms"]
    assert summary["run"]["advice"] in done.stdout
    assert recorded["/lidar/points"] == summary["frames_in"]
    for topic, seen in stamps.items():
        assert seen <= stamps["/lidar/points"], f"{topic} carries stamps that no sensor sample had"


def test_a_back_end_without_shipped_weights_runs_the_whole_way(tmp_path):
    pytest.importorskip("transformers", reason="transformers is not installed: pip install 'jepa_ros[hub]'")
    done = run_demo(TINY_BAG, tmp_path, "--model", "vjepa2", "--no-film")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "have learned nothing" in done.stdout
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert summary["frames_processed"] > 0
    assert (tmp_path / "report.html").exists()
    assert not (tmp_path / "demo.gif").exists()
    assert set(summary["plan"]["by_status"]) <= {"UNSUPPORTED", "STALE_SENSORS"}, "no occupancy is not free space"
    assert (tmp_path / "scene.png").stat().st_size > 50_000


def test_a_demo_without_one_plan_that_can_be_followed_fails_and_says_what_was_asked(tmp_path):
    done = run_demo(TINY_BAG, tmp_path, "--goal-ahead", "inf")
    assert done.returncode == 1
    assert "inf m straight ahead" in done.stderr
    assert "INVALID_GOAL" in done.stderr


def test_a_bag_that_is_not_there_is_named(tmp_path):
    done = run_demo(tmp_path / "nowhere", tmp_path)
    assert done.returncode != 0
    assert "nowhere" in done.stderr


def test_transforms_of_a_namespace_are_heard_where_the_bag_has_no_others():
    from jepa_ros.ros.tools.demo import tf_remappings
    from jepa_ros.sensing import BagInfo
    from jepa_ros.sensing.bag import TopicInfo

    def told(*topics):
        kind = "tf2_msgs/msg/TFMessage"
        return tf_remappings(BagInfo(Path("bag"), tuple(TopicInfo(topic, kind, 5, False) for topic in topics), 0, 1.0, 5))

    assert told("/robot/tf", "/robot/tf_static") == {"/tf": "/robot/tf", "/tf_static": "/robot/tf_static"}
    assert told("/tf", "/tf_static", "/robot/tf") == {}


def test_the_nodes_take_a_parameter_file(tmp_path):
    file = tmp_path / "robot.yaml"
    file.write_text(
        "/**:\n  ros__parameters: {use_sim_time: false, autostart: true, model: persistence}\n"
        "planner:\n  ros__parameters: {planner: {robot_radius_m: 30.0}}\n"
    )
    done = run_demo(TINY_BAG, tmp_path, "--no-film", "--params", str(file))
    assert done.returncode == 1
    assert "robot_radius_m" in done.stderr, "refused before anything starts"
    file.write_text(file.read_text().replace("30.0", "3.0"))
    done = run_demo(TINY_BAG, tmp_path, "--no-film", "--params", str(file))
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert summary["model"] == "persistence"
    assert summary["frames_processed"] > 0, "the demo's clock and start-up stay its own"
    assert summary["plan"]["by_status"].get("NO_SAFE_PATH", 0) > 0, "a robot of 6 m finds hardly a way between these walls"
    assert not summary["plan"]["reaches_goal"]


def test_it_does_not_mix_with_what_runs_already(tmp_path):
    context = Context()
    rclpy.init(context=context)  # in this test's domain
    node = Node("other_player", context=context)
    node.create_publisher(Clock, "/clock", 1)
    done = run_demo(TINY_BAG, tmp_path)
    node.destroy_node()
    rclpy.shutdown(context=context)
    assert done.returncode == 1
    assert "/other_player publishes /clock" in done.stderr
    assert "ROS_DOMAIN_ID=" in done.stderr
    assert not (tmp_path / "bag_player.log").exists(), "nothing was played"
