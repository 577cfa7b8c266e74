"""Bags of both kinds give what live topics would have given."""

import sqlite3
import subprocess
import sys

import numpy as np
import pytest
import sensing_messages as messages
import yaml
from paths import ROOT
from rosbags.rosbag2 import StoragePlugin, Writer

from jepa_ros.sensing import BagError, SensorHub, bag_info, camera_info_topic, open_bag, read_raw

T = messages.START_S
FRAMES = 6
NAMES = {
    "/cam/image_raw": "sensor_msgs/msg/Image",
    "/cam/camera_info": "sensor_msgs/msg/CameraInfo",
    "/points": "sensor_msgs/msg/PointCloud2",
    "/odom": "nav_msgs/msg/Odometry",
    "/tf_static": "tf2_msgs/msg/TFMessage",
    "/chatter": "std_msgs/msg/String",
}


def recorded(camera_latency_s: float = 0.02, camera_offset_s: float = 0.01):
    """(log time s, topic, message): the image that belongs to a sweep is logged after it, the static transforms last of all."""
    rng = np.random.default_rng(0)
    script = []
    for index in range(FRAMES):
        stamp = T + 0.1 * index
        pixels = rng.integers(0, 255, (4, 6, 3), dtype=np.uint8)
        script += [
            (stamp, "/points", messages.cloud(stamp)),
            (stamp + 0.001, "/odom", messages.odometry(stamp, x=0.5 * index, speed=5.0)),
            (stamp + camera_latency_s, "/cam/image_raw", messages.image(stamp + camera_offset_s, pixels=pixels)),
            (stamp + camera_latency_s, "/cam/camera_info", messages.camera_info(stamp)),
            (stamp, "/chatter", messages.STORE.types["std_msgs/msg/String"]("hello")),
        ]
    script.append((T + 1, "/tf_static", messages.transforms(*messages.EXTRINSICS)))
    return sorted(script, key=lambda entry: entry[0])


def write_bag(path, script, plugin=StoragePlugin.MCAP, version=9, names=NAMES):
    with Writer(path, version=version, storage_plugin=plugin) as writer:
        connections = {topic: writer.add_connection(topic, kind, typestore=messages.STORE) for topic, kind in names.items()}
        for log_s, topic, message in script:
            data = message if isinstance(message, bytes) else bytes(messages.STORE.serialize_cdr(message, names[topic]))
            writer.write(connections[topic], round(log_s * 1e9), data)
    return path


def assert_equal(left, right):
    assert left.stamp_ns == right.stamp_ns
    np.testing.assert_array_equal(left.ego.odom_from_base, right.ego.odom_from_base)
    np.testing.assert_array_equal(left.lidar.points_m, right.lidar.points_m)
    assert len(left.cameras) == len(right.cameras) == 1
    np.testing.assert_array_equal(left.cameras[0].rgb, right.cameras[0].rgb)
    np.testing.assert_array_equal(left.cameras[0].base_from_camera, right.cameras[0].base_from_camera)


@pytest.mark.parametrize("version", [8, 9])
def test_mcap_and_sqlite_give_the_same(tmp_path, version):
    script = recorded()
    mcap = list(open_bag(write_bag(tmp_path / "m", script, StoragePlugin.MCAP, version)))
    sqlite = list(open_bag(write_bag(tmp_path / "s", script, StoragePlugin.SQLITE3, version)))
    assert [o.stamp_s for o in mcap] == pytest.approx([T + 0.1 * index for index in range(FRAMES)])
    for left, right in zip(mcap, sqlite, strict=True):
        assert_equal(left, right)
        assert left.cameras[0].stamp_ns - left.stamp_ns == 10_000_000  # logged later, yet its own


def test_bags_of_humble(tmp_path):
    """SQLite3 as Humble writes it: metadata version 5, no message definitions, no type hashes, QoS as text."""
    script = recorded()
    folder = tmp_path / "humble"
    folder.mkdir()
    database = sqlite3.connect(folder / "humble_0.db3")
    database.execute("CREATE TABLE schema(schema_version INTEGER PRIMARY KEY, ros_distro TEXT NOT NULL)")
    database.execute("INSERT INTO schema VALUES (3, 'humble')")
    database.execute("CREATE TABLE metadata(id INTEGER PRIMARY KEY, metadata_version INTEGER NOT NULL, metadata TEXT NOT NULL)")
    database.execute(
        "CREATE TABLE topics(id INTEGER PRIMARY KEY, name TEXT, type TEXT, serialization_format TEXT, offered_qos_profiles TEXT)"
    )
    database.execute("CREATE TABLE messages(id INTEGER PRIMARY KEY, topic_id INTEGER, timestamp INTEGER, data BLOB)")
    ids = {topic: index + 1 for index, topic in enumerate(NAMES)}
    database.executemany("INSERT INTO topics VALUES (?, ?, ?, 'cdr', '')", [(ids[topic], topic, kind) for topic, kind in NAMES.items()])
    for log_s, topic, message in script:
        data = bytes(messages.STORE.serialize_cdr(message, NAMES[topic]))
        database.execute("INSERT INTO messages(topic_id, timestamp, data) VALUES (?, ?, ?)", (ids[topic], round(log_s * 1e9), data))
    database.commit()
    database.close()
    counts = {topic: sum(entry[1] == topic for entry in script) for topic in NAMES}
    topics = [
        {
            "topic_metadata": {"name": topic, "type": kind, "serialization_format": "cdr", "offered_qos_profiles": ""},
            "message_count": counts[topic],
        }
        for topic, kind in NAMES.items()
    ]
    information = {
        "version": 5,
        "storage_identifier": "sqlite3",
        "duration": {"nanoseconds": 10**9},
        "starting_time": {"nanoseconds_since_epoch": round(T * 1e9)},
        "message_count": len(script),
        "topics_with_message_count": topics,
        "compression_format": "",
        "compression_mode": "",
        "relative_file_paths": ["humble_0.db3"],
    }
    (folder / "metadata.yaml").write_text(yaml.safe_dump({"rosbag2_bagfile_information": information}))
    modern = open_bag(write_bag(tmp_path / "modern", script))
    for left, right in zip(modern, open_bag(folder), strict=True):
        assert_equal(left, right)


def test_the_storage_file_alone_is_enough(tmp_path):
    for plugin, suffix in ((StoragePlugin.MCAP, "mcap"), (StoragePlugin.SQLITE3, "db3")):
        folder = write_bag(tmp_path / suffix, recorded(), plugin)
        file = next(folder.glob(f"*.{suffix}"))
        for left, right in zip(open_bag(folder), open_bag(file), strict=True):
            assert_equal(left, right)


def test_live_topics_give_the_same_as_the_bag(tmp_path):
    script = recorded()
    bagged = list(open_bag(write_bag(tmp_path / "bag", script)))
    hub = SensorHub(clock_ns=lambda: 0)
    hub.put_transforms(messages.transforms(*messages.EXTRINSICS), static=True)
    hub.put_camera_info("/cam/image_raw", messages.camera_info())
    puts = {"/points": hub.put_cloud, "/odom": hub.put_odometry, "/cam/image_raw": hub.put_image}
    live = []
    for _, topic, message in script:
        if topic in puts:
            puts[topic](topic, message)
        live += [observation] if (observation := hub.take()) else []
    assert len(live) == FRAMES
    for left, right in zip(live[1:], bagged[1:], strict=True):  # nobody waits for a camera never heard of
        assert_equal(left, right)


def test_no_sweep_is_skipped_where_images_are_late_or_missing(tmp_path):
    for latency in (0.0, 0.09):
        observations = list(open_bag(write_bag(tmp_path / f"late{latency}", recorded(camera_latency_s=latency))))
        assert [len(o.cameras) for o in observations] == [1] * FRAMES
    blind = [entry for entry in recorded() if not entry[1].startswith("/cam")]
    assert [len(o.cameras) for o in open_bag(write_bag(tmp_path / "blind", blind))] == [0] * FRAMES


def test_topics_by_name_and_by_role(tmp_path):
    names = {**NAMES, "/other_points": "sensor_msgs/msg/PointCloud2"}
    script = [*recorded(), (T + 1, "/other_points", messages.cloud(T + 0.2))]
    path = write_bag(tmp_path / "bag", script, names=names)
    assert len(list(open_bag(path))) == FRAMES  # the busier cloud
    for topics in (["/other_points", "/odom"], {"lidar": "/other_points", "odometry": "/odom"}):
        (only,) = open_bag(path, topics)
        assert only.cameras == ()
        assert only.stamp_s == pytest.approx(T + 0.2)
    with pytest.raises(BagError, match=r"no topic '/nope'.*/points \(sensor_msgs/msg/PointCloud2\)"):
        list(open_bag(path, ["/nope"]))
    with pytest.raises(BagError, match="no lidar"):
        list(open_bag(path, {"lidar": "/odom"}))


def test_camera_info_beside_any_transport():
    known = {"/a/camera_info", "/b/camera_info", "/camera_info"}
    assert camera_info_topic("/a/image_raw", known) == "/a/camera_info"
    assert camera_info_topic("/b/image_raw/compressed", known) == "/b/camera_info"
    assert camera_info_topic("/c/image", {"/b/camera_info"}) is None


def test_damaged_messages_in_a_good_bag_are_skipped(tmp_path):
    script = recorded()
    broken = [(log, topic, b"\x00\x01\x00\x00junk") for log, topic, _ in script if topic in ("/points", "/cam/image_raw", "/odom")]
    observations = list(open_bag(write_bag(tmp_path / "bag", sorted(script + broken, key=lambda entry: entry[0]))))
    assert len(observations) == FRAMES


@pytest.mark.parametrize("plugin", [StoragePlugin.MCAP, StoragePlugin.SQLITE3])
def test_truncated_and_corrupt_bags_name_the_file(tmp_path, plugin):
    path = write_bag(tmp_path / "bag", recorded(), plugin)
    storage = next(file for file in path.iterdir() if file.suffix in (".mcap", ".db3"))
    whole = storage.read_bytes()
    for damaged in (whole[: len(whole) // 2], b"", b"nonsense" * 100, whole[:3000] + b"\xff" * 2000 + whole[5000:]):
        storage.write_bytes(damaged)
        with pytest.raises(BagError, match=str(path)):
            list(open_bag(path))
    with pytest.raises(BagError, match="no such bag"):
        list(open_bag(tmp_path / "absent"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(BagError, match="empty"):
        list(open_bag(tmp_path / "empty"))


def test_info_and_raw_messages(tmp_path):
    script = recorded()
    path = write_bag(tmp_path / "bag", script)
    info = bag_info(path)
    assert {topic.name: (topic.type_name, topic.count) for topic in info.topics}["/points"] == (NAMES["/points"], FRAMES)
    assert (info.message_count, info.start_ns) == (len(script), round(T * 1e9))
    assert info.duration_s == pytest.approx(1.0)
    raw = list(read_raw(path))
    assert [(message.log_time_ns, message.topic) for message in raw] == [(round(log * 1e9), topic) for log, topic, _ in script]
    first = next(message for message in raw if message.topic == "/points")
    assert messages.STORE.deserialize_cdr(first.data, first.type_name).width == 5
    assert {message.topic for message in read_raw(path, ["/odom"])} == {"/odom"}


def test_live_topics_need_neither_rosbags_nor_opencv_nor_ros():
    hidden = "rosbags", "cv2", "cv_bridge", "rclpy", "sensor_msgs"
    script = f"""
import sys
for name in {hidden}:
    sys.modules[name] = None
import jepa_ros.sensing as sensing
sensing.SensorHub()
try:
    list(sensing.open_bag({str(__file__)!r}))
except sensing.BagError as error:
    assert "pip install rosbags" in str(error), error
else:
    raise SystemExit("no error")
"""
    subprocess.run([sys.executable, "-c", script], check=True, cwd=ROOT)
