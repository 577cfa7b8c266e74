"""Bags that are damaged, unusual, or give nothing: all that can be read is read, and the rest is said."""

import logging
import shutil

import numpy as np
import pytest
import sensing_messages as messages
from mcap.writer import IndexType
from mcap.writer import Writer as McapWriter
from rosbags.rosbag2 import Reader, StoragePlugin
from test_bag import FRAMES, NAMES, T, recorded, write_bag

from jepa_ros.sensing import BagError, SensingConfig, bag_info, open_bag


def repacked(path, out, profile="ros2", **how):
    """The messages of a bag in an MCAP file of another writer."""
    with open(out, "wb") as stream, Reader(path) as reader:
        writer, channels = McapWriter(stream, **how), {}
        writer.start(profile=profile, library="test")
        for connection, log_ns, data in reader.messages():
            if connection.topic not in channels:
                schema = writer.register_schema(connection.msgtype, "ros2msg", connection.msgdef.data.encode())
                channels[connection.topic] = writer.register_channel(connection.topic, "cdr", schema)
            writer.add_message(channels[connection.topic], log_ns, data, log_ns)
        writer.finish()
    return out


def stamps(path, **kw):
    return [observation.stamp_ns for observation in open_bag(path, **kw)]


def test_files_without_message_index_or_profile_are_read_whole(tmp_path):
    bag = write_bag(tmp_path / "bag", recorded())
    whole = stamps(bag)
    for name, how in {
        "chunks": {"index_types": IndexType.CHUNK},
        "none": {"index_types": IndexType.NONE},
        "profile": {"profile": ""},
    }.items():
        file = repacked(bag, tmp_path / f"{name}.mcap", **how)
        assert stamps(file) == whole, name
        assert {t.name: t.count for t in bag_info(file).topics} == {t.name: t.count for t in bag_info(bag).topics}


def test_what_a_killed_recorder_has_written_is_read(tmp_path):
    bag = write_bag(tmp_path / "bag", recorded())
    file = repacked(bag, tmp_path / "whole.mcap", chunk_size=500)
    cut = tmp_path / "cut.mcap"
    cut.write_bytes(file.read_bytes()[: round(file.stat().st_size * 0.3)])
    assert 0 < len(stamps(cut, config=SensingConfig(static_transforms=("base_link lidar 1 0 2 0 0 0",)))) < FRAMES
    (note,) = bag_info(cut).notes
    assert "cut off after" in note


@pytest.mark.parametrize("plugin", [StoragePlugin.MCAP, StoragePlugin.SQLITE3])
def test_a_folder_without_metadata_is_read_by_its_files(tmp_path, plugin):
    bag = write_bag(tmp_path / "bag", recorded(), plugin)
    whole = stamps(bag)
    (bag / "metadata.yaml").unlink()
    assert stamps(bag) == whole
    assert "ros2 bag reindex" in bag_info(bag).notes[0]


def test_qos_that_differs_between_metadata_and_file_loses_nothing(tmp_path):
    from rosbags.interfaces import Qos, QosDurability, QosHistory, QosLiveliness, QosReliability, QosTime
    from rosbags.rosbag2 import Writer

    never = QosTime(9223372036, 854775807)
    qos = [
        Qos(
            QosHistory.KEEP_LAST, 1, QosReliability.BEST_EFFORT, QosDurability.VOLATILE, never, never, QosLiveliness.AUTOMATIC, never, False
        )
    ]
    path = tmp_path / "bag"
    with Writer(path, version=8, storage_plugin=StoragePlugin.SQLITE3) as writer:
        connections = {
            topic: writer.add_connection(topic, kind, typestore=messages.STORE, offered_qos_profiles=qos if topic == "/points" else ())
            for topic, kind in NAMES.items()
        }
        for log_s, topic, message in recorded():
            writer.write(connections[topic], round(log_s * 1e9), bytes(messages.STORE.serialize_cdr(message, NAMES[topic])))
    metadata = path / "metadata.yaml"
    text = metadata.read_text()
    changed = text.replace("reliability: 2", "reliability: 1")
    assert changed != text
    metadata.write_text(changed)
    assert len(stamps(path)) == FRAMES
    assert "QoS" in bag_info(path).notes[0]


def test_what_is_no_bag_says_what_it_is_and_what_to_run(tmp_path):
    ros1 = tmp_path / "old.bag"
    ros1.write_bytes(b"#ROSBAG V2.0\n")
    with pytest.raises(BagError, match=r"ROS 1 bag.*rosbags-convert --src"):
        open_bag(ros1)
    folder = tmp_path / "folder"
    folder.mkdir()
    shutil.copy(ros1, folder)
    with pytest.raises(BagError, match="rosbags-convert"):
        open_bag(folder)
    write_bag(tmp_path / "outer", recorded())
    shutil.move(tmp_path / "outer", folder / "inner")
    (folder / "old.bag").unlink()
    with pytest.raises(BagError, match=r"the bag is in its folder .*inner"):
        open_bag(folder)


def without(*topics):
    return [entry for entry in recorded() if entry[1] not in topics]


def test_a_bag_that_gives_nothing_is_an_error_with_topic_count_cause_and_fix(tmp_path):
    for name, script, words in (
        ("motion", without("/odom"), r"/points: 6 of 6 .*missing_pose.*no odometry|no odometry and no /tf"),
        ("mounts", without("/tf_static"), r"/points: 6 of 6 .*missing_transform.*static_transforms"),
    ):
        with pytest.raises(BagError, match=words):
            list(open_bag(write_bag(tmp_path / name, script)))
    scan = messages.STORE.types["std_msgs/msg/String"]("x")
    names = {"/scan": "sensor_msgs/msg/LaserScan"}
    with pytest.raises(BagError, match="LaserScan is not read"):
        open_bag(
            write_bag(tmp_path / "scan", [(T, "/scan", bytes(messages.STORE.serialize_cdr(scan, "std_msgs/msg/String")))], names=names)
        )


def test_what_was_lost_is_in_the_log_and_in_the_report(tmp_path, caplog):
    script = recorded()
    for log_s, topic, message in script:
        if topic == "/points" and log_s > T + 0.25:
            message.header.frame_id = "nowhere"
    observations = open_bag(write_bag(tmp_path / "bag", script))
    with caplog.at_level(logging.INFO, "jepa_ros.sensing"):
        assert 0 < len(list(observations)) < FRAMES + 1
    assert "missing_transform" in caplog.text
    assert "lidar /points: taken" in caplog.text
    assert "missing_transform" in str(observations.report)
    assert observations.report.observations > 0


def test_odometry_that_was_logged_late_is_read_ahead(tmp_path):
    script = sorted(
        ((log_s + (0.7 if topic == "/odom" else 0.0), topic, message) for log_s, topic, message in recorded()), key=lambda entry: entry[0]
    )
    observations = open_bag(write_bag(tmp_path / "late", script))
    assert len(list(observations)) == FRAMES
    assert any("read ahead" in note for note in observations.report.notes)


def test_localisation_alone_gives_the_motion(tmp_path):
    names = {**NAMES, "/tf": "tf2_msgs/msg/TFMessage"}
    script = without("/odom")
    for k in range(-2, 12):
        stamp = T + 0.05 * k
        script.append((stamp, "/tf", messages.transforms((stamp, "map", "base_link", (2.0 * 0.05 * k, 0.0, 0.0), messages.UNIT))))
    found = list(open_bag(write_bag(tmp_path / "map", sorted(script, key=lambda entry: entry[0]), names=names)))
    assert len(found) == FRAMES
    np.testing.assert_allclose(found[-1].ego.velocity_mps, [2.0, 0.0], atol=1e-6)


def test_rows_whose_step_is_zero_are_derived(tmp_path):
    script = recorded()
    for _, topic, message in script:
        if topic == "/points":
            message.height, message.width, message.row_step = 5, 1, 0
    assert len(stamps(write_bag(tmp_path / "bag", script))) == FRAMES


def test_several_lidars_by_role(tmp_path):
    names = {**NAMES, "/rear": "sensor_msgs/msg/PointCloud2"}
    script = recorded()
    script += [(log_s, "/rear", messages.cloud(log_s)) for log_s, topic, _ in script if topic == "/points"]
    path = write_bag(tmp_path / "bag", sorted(script, key=lambda entry: entry[0]), names=names)
    found = list(open_bag(path, {"lidar": ["/points", "/rear"], "odometry": "/odom"}))
    assert len(found) == FRAMES
    assert all(len(observation.lidar.parts) == 2 for observation in found[1:])  # before the first frame is out, the hub knows one lidar
