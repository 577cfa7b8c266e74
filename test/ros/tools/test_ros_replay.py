"""Replay: the same bag gives the same bytes, and what differs between two runs is said and nothing else."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

pytest.importorskip("rclpy", reason="needs ROS 2: run `make build`, then tests through scripts/env.sh")
pytest.importorskip("jepa_ros.msg", reason="needs the built interfaces: run `make build`, then tests through scripts/env.sh")
pytestmark = [pytest.mark.ros, pytest.mark.slow, pytest.mark.timeout(600)]

from paths import RESOURCES  # noqa: E402
from rosbags.rosbag2 import Reader, StoragePlugin, Writer  # noqa: E402
from rosbags.typesys import Stores, get_typestore  # noqa: E402

from jepa_ros.replay import main as entry  # noqa: E402
from jepa_ros.ros.tools.replay import cli  # noqa: E402
from jepa_ros.ros.tools.replay.compare import compare, matched, occupied_share, read_limits  # noqa: E402
from jepa_ros.ros.tools.replay.outcome import People  # noqa: E402
from jepa_ros.ros.tools.replay.settings import read_config  # noqa: E402
from jepa_ros.sensing import bag_info, read_raw  # noqa: E402

TINY_BAG = RESOURCES / "tiny_bag"
ALONE = "world_model.pipeline.fusion=none"  # the fusion reads occupancy beside who is tracked
CHANGE = "world_model.pipeline.tracking.confirm_s=0.55"  # a person is reported later


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Two replays of the same; and, with the world model's own occupancy, one as it is and one in which fewer tracks are believed."""
    base, threads = tmp_path_factory.mktemp("replay"), torch.get_num_threads()
    for name, more in (("first", []), ("second", []), ("alone", ["--set", ALONE]), ("changed", ["--set", ALONE, "--set", CHANGE])):
        assert cli.main([str(TINY_BAG), "--out", str(base / name), *more]) == 0
    torch.set_num_threads(threads)
    return SimpleNamespace(**{name: base / name for name in ("first", "second", "alone", "changed")})


def summary(folder: Path) -> dict:
    return json.loads((folder / "summary.json").read_text())


def test_two_replays_are_equal_to_the_byte(folders):
    first, second = summary(folders.first), summary(folders.second)
    assert first["hash"] == second["hash"]
    for name in ("output.mcap", "scene.png", "report.html", "demo.gif", "plans.json", "metadata.yaml"):
        assert (folders.first / name).read_bytes() == (folders.second / name).read_bytes(), name
    assert first["frames_processed"] == first["frames_in"] == 6, "every frame"
    assert first["plan"]["by_status"].get("OK")
    comparison = compare(folders.first, folders.second)
    assert {name for name, value in comparison.figures.items() if value != 0 and np.isfinite(value)} <= {"latency"}


def test_the_recording_has_what_a_demo_records(folders):
    with Reader(folders.first) as reader:
        counts = {connection.topic: connection.msgcount for connection in reader.connections}
        stamps = [stamp_ns for _, stamp_ns, _ in reader.messages()]
        seconds = reader.duration / 1e9
    assert counts["/world_model/occupancy"] == counts["/world_model/pedestrians"] == counts["/lidar/points"] == 6
    assert counts["/planner/path"] >= 1
    assert stamps == sorted(stamps)
    assert seconds == pytest.approx(bag_info(TINY_BAG).duration_s, abs=1.0)


def test_a_change_of_one_threshold_shows_just_that(folders, capsys):
    comparison = compare(folders.alone, folders.changed)
    assert comparison.details["settings"] == ["world_model.pipeline.tracking.confirm_s: 0.15 -> 0.55"]
    assert comparison.figures["people"] > 0
    assert "0 gained" in comparison.details["people"][0]
    assert comparison.figures["frames"] == comparison.figures["people_m"] == 0
    assert comparison.figures["occupancy"] < 0.003, "nobody who is tracked leaves a low obstacle behind; all else stays"
    for limits, code in (("occupancy=0.003,frames=0", 0), ("people=0.001", cli.CHANGED)):
        again = ["--out", str(folders.changed), "--compare", str(folders.alone), "--compare-only", "--fail-above", limits]
        assert cli.main(again) == code
    assert "people" in capsys.readouterr().err
    assert json.loads((folders.changed / "compare.json").read_text())["figures"]["people"] == comparison.figures["people"]
    assert (folders.changed / "compare.png").stat().st_size > 20_000


def test_a_simulation_recorded_by_the_wall_is_planned_in_like_any_other(tmp_path):
    """Receive times 54 years after the stamps: against them every forecast would be stale."""
    types, late_ns = get_typestore(Stores.ROS2_KILTED), 1_700_000_000_000_000_000
    with Writer(tmp_path / "bag", version=9, storage_plugin=StoragePlugin.MCAP) as writer:
        connections = {
            topic.name: writer.add_connection(topic.name, topic.type_name, typestore=types) for topic in bag_info(TINY_BAG).topics
        }
        for raw in read_raw(TINY_BAG):
            writer.write(connections[raw.topic], raw.log_time_ns + late_ns, raw.data)
    threads = torch.get_num_threads()
    assert cli.main([str(tmp_path / "bag"), "--out", str(tmp_path / "out")]) == 0
    torch.set_num_threads(threads)
    answers = summary(tmp_path / "out")["plan"]["by_status"]
    assert "OK" in answers
    assert "STALE_SENSORS" not in answers
    assert abs(bag_info(tmp_path / "out").start_ns - bag_info(TINY_BAG).start_ns) < 1e9, "recorded by the clock of the stamps"


def test_a_bag_that_yields_nothing_is_an_error_with_its_cause(tmp_path, capsys):
    types = get_typestore(Stores.ROS2_KILTED)
    with Writer(tmp_path / "bag", version=9, storage_plugin=StoragePlugin.MCAP) as writer:
        points = writer.add_connection("/lidar/points", "sensor_msgs/msg/PointCloud2", typestore=types)
        for raw in read_raw(TINY_BAG, ["/lidar/points"]):
            writer.write(points, raw.log_time_ns, raw.data)  # no odometry, no TF
    threads = torch.get_num_threads()
    assert cli.main([str(tmp_path / "bag"), "--out", str(tmp_path / "out")]) == 1
    torch.set_num_threads(threads)
    assert "/lidar/points" in capsys.readouterr().err


def people(*places: tuple[float, float]) -> People:
    positions = np.array(places, float).reshape(-1, 2)
    return People(np.arange(len(places)), positions, positions)


def test_the_same_people_are_found_again_and_nobody_is_taken_for_a_far_one():
    old = people((0, 0), (1, 0), (5, 5))
    assert matched(old, people((1.1, 0), (0.1, 0), (9, 9))) == [(0, 1), (1, 0)]
    # A far third person must not push the other two apart: the least sum of distances alone would.
    assert matched(people((0, 0), (0.7, 0)), people((0.7, 0), (40, 0))) == [(1, 0)]
    assert matched(people(), old) == []


def test_occupied_cells_that_only_one_has():
    old, new = np.zeros((1, 4, 4), np.uint8), np.zeros((1, 4, 4), np.uint8)
    assert np.isnan(occupied_share(old, new))
    old[0, 0, :3] = 200
    new[0, 0, 1:4] = 200
    assert occupied_share(old, new) == 0.5
    assert occupied_share(old, new[:, :2]) == 1.0


def test_wrong_words_are_named(tmp_path, capsys):
    assert cli.main([str(TINY_BAG), "--fail-above", "peeple=1"]) == 1
    assert "people" in capsys.readouterr().err
    assert cli.main([str(tmp_path / "nowhere"), "--out", str(tmp_path / "out")]) == 1
    assert "nowhere" in capsys.readouterr().err
    with pytest.raises(ValueError, match="NODE"):
        read_config(None, ["min_existence=0.9"])
    with pytest.raises(ValueError, match="min_existance"):
        read_config(None, ["world_model.pipeline.tracking.min_existance=0.9"])
    assert read_limits("people=0.02, plans=0") == {"people": 0.02, "plans": 0.0}


def test_without_ros_it_says_what_to_do(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "rclpy.serialization", None)
    assert entry() == 1
    assert "make build" in capsys.readouterr().err


def test_parameters_come_from_the_file_that_nodes_take(tmp_path):
    file = tmp_path / "robot.yaml"
    file.write_text("/**/world_model:\n  ros__parameters:\n    outputs:\n      top_modes: 3\n    pipeline.tracking.gate: 9.0\n")
    config = read_config(file, ["planner.planner.robot_radius_m=0.6"])
    assert (config.world_model.outputs.top_modes, config.world_model.pipeline.tracking.gate) == (3, 9.0)
    assert config.planner.planner.robot_radius_m == 0.6


def test_what_the_file_gives_to_every_node_goes_to_those_that_have_it(tmp_path):
    file = tmp_path / "robot.yaml"
    file.write_text(
        "/**:\n  ros__parameters:\n    use_sim_time: true\n    device: cpu\n    planner.robot_radius_m: 0.7\n"
        "world_model:\n  ros__parameters:\n    use_sim_time: true\n    threads: 1\n"
    )
    config = read_config(file, [])
    assert (config.world_model.device, config.planner.device, config.world_model.threads) == ("cpu", "cpu", 1)
    assert config.planner.planner.robot_radius_m == 0.7


@pytest.mark.parametrize("content", ["- 1", "world_model: 3", "a: [", "\x00"])
def test_a_file_that_is_no_parameter_file_is_refused_by_name(tmp_path, content):
    file = tmp_path / "robot.yaml"
    file.write_text(content)
    with pytest.raises(ValueError, match=r"robot\.yaml"):
        read_config(file, [])
