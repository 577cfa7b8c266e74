"""Storage files in odd states: nothing that they hold is lost without a word."""

import shutil
import sqlite3

import pytest
import sensing_messages as messages
import yaml
from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin, Writer
from test_bag import FRAMES, NAMES, T, recorded, write_bag

from jepa_ros.sensing import BagError, bag_info, open_bag
from jepa_ros.sensing.topic_choice.message_types import TF, transform_topics


def stamps(path):
    return [observation.stamp_ns for observation in open_bag(path)]


def with_log(bag):
    """The bag as a killed recorder leaves it: the later half of the messages only in the write-ahead log."""
    database = next(bag.glob("*.db3"))
    connection = sqlite3.connect(database)
    connection.execute("pragma journal_mode=wal")
    connection.execute("pragma wal_autocheckpoint=0")
    rows = connection.execute("select id, topic_id, timestamp, data from messages order by timestamp").fetchall()
    connection.execute("delete from messages")
    half = len(rows) // 2
    connection.executemany("insert into messages values (?, ?, ?, ?)", rows[:half])
    connection.commit()
    connection.execute("pragma wal_checkpoint(truncate)").fetchall()
    connection.executemany("insert into messages values (?, ?, ?, ?)", rows[half:])
    connection.commit()
    left = bag.with_name("left")
    shutil.copytree(bag, left)  # while it is open: closing would write the log back
    connection.close()
    return left


@pytest.mark.parametrize("metadata", [True, False])
def test_a_write_ahead_log_is_read_with_its_database(tmp_path, metadata):
    bag = write_bag(tmp_path / "bag", recorded(), StoragePlugin.SQLITE3)
    whole = stamps(bag)
    left = with_log(bag)
    if not metadata:
        (left / "metadata.yaml").unlink()
    assert next(left.glob("*-wal")).stat().st_size > 0
    assert stamps(left) == whole
    assert any("write-ahead log" in note for note in bag_info(left).notes)
    (static,) = [topic for topic in bag_info(left).topics if topic.name == "/tf_static"]
    assert static.count == 1


def changed_metadata(bag, change):
    file = bag / "metadata.yaml"
    text = yaml.safe_load(file.read_text())
    change(text["rosbag2_bagfile_information"])
    file.write_text(yaml.safe_dump(text))


def test_counts_of_a_recorder_that_never_finished_are_taken_from_the_files(tmp_path):
    bag = write_bag(tmp_path / "bag", recorded())
    whole = stamps(bag)

    def none(info):
        info["message_count"] = 0
        for topic in info["topics_with_message_count"]:
            topic["message_count"] = 0

    changed_metadata(bag, none)
    assert stamps(bag) == whole
    assert "counts 0 messages" in bag_info(bag).notes[0]


def test_files_that_metadata_does_not_name_are_named(tmp_path):
    bag = write_bag(tmp_path / "bag", recorded())
    shutil.copy(next(bag.glob("*.mcap")), bag / "later.mcap")
    assert len(stamps(bag)) == FRAMES  # it may be a copy
    assert "later.mcap: not read" in bag_info(bag).notes[0]


def packed(path, mode):
    writer = Writer(path, version=8, storage_plugin=StoragePlugin.SQLITE3)
    writer.set_compression(mode, CompressionFormat.ZSTD)
    with writer:
        connections = {topic: writer.add_connection(topic, kind, typestore=messages.STORE) for topic, kind in NAMES.items()}
        for log_s, topic, message in recorded():
            writer.write(connections[topic], round(log_s * 1e9), bytes(messages.STORE.serialize_cdr(message, NAMES[topic])))
    (path / "metadata.yaml").unlink()
    return path


def test_messages_compressed_one_by_one_need_no_metadata(tmp_path):
    assert len(stamps(packed(tmp_path / "bag", CompressionMode.MESSAGE))) == FRAMES


def test_a_file_compressed_as_a_whole_says_how_to_unpack_it(tmp_path):
    bag = packed(tmp_path / "bag", CompressionMode.FILE)
    for path in (bag, next(bag.iterdir())):
        with pytest.raises(BagError, match=r"zstd -d .*\.db3\.zstd"):
            open_bag(path)


def test_transforms_of_others_are_not_the_vehicles(tmp_path):
    assert transform_topics(["/tf", "/tf_static", "/truth/tf", "/tf_old"]) == ["/tf", "/tf_static"]
    assert transform_topics(["/b/tf", "/b/tf_static", "/a/tf"]) == ["/b/tf", "/b/tf_static"]
    assert transform_topics(["/poses"]) == ["/poses"]
    truth = messages.transforms((T, "base_link", "lidar", (0.0, 0.0, 9.0), messages.UNIT))
    script = sorted([*recorded(), (T - 0.05, "/truth/tf", truth)], key=lambda entry: entry[0])
    bag = write_bag(tmp_path / "bag", script, names={**NAMES, "/truth/tf": TF})
    found = open_bag(bag)
    assert {observation.lidar.base_from_lidar[2, 3] for observation in found} == {2.0}
    assert any("/truth/tf are not used" in note for note in found.report.notes)


def test_sweeps_whose_stamps_repeat_are_counted_and_told(tmp_path):
    script = recorded()
    for _, topic, message in script:
        if topic == "/points":
            message.header.stamp.nanosec = 100_000_000
    found = open_bag(write_bag(tmp_path / "bag", script))
    assert len(list(found)) == 1
    assert any("/points" in loss and "stale" in loss and "whole seconds" in loss for loss in found.report.losses)


def test_images_that_lead_wait_for_the_sweep_that_belongs_to_them(tmp_path):
    """Drivers of cameras are quicker than those of lidars: a model that steps on camera frames had no lidar beside them."""
    script = [(log_s + (0.05 if topic == "/points" else 0.0), topic, message) for log_s, topic, message in recorded(0.001, 0.0)]
    bag = write_bag(tmp_path / "bag", sorted(script, key=lambda entry: entry[0]))
    found = list(open_bag(bag, required=("camera",)))
    assert len(found) == FRAMES
    assert all(observation.lidar is not None for observation in found)
