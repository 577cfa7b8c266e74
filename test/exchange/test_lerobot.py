"""A bag becomes a LeRobot data set and a bag again; others' data sets become bags, films and arms among them."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pyarrow.parquet as pq
import pytest
from paths import ROOT

from jepa_ros.exchange import __main__ as exchange
from jepa_ros.exchange import lerobot_in, lerobot_out
from jepa_ros.exchange.lerobot_layout import DataSetWriter
from jepa_ros.sensing import bag_info, open_bag

TINY_BAG = ROOT / "test" / "resources" / "tiny_bag"


@pytest.fixture(scope="module")
def exported(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("lerobot") / "set"
    assert lerobot_out.main([str(out), str(TINY_BAG), str(TINY_BAG), "--points", "20000", "--task", "cross the street"]) == 0
    return out


def test_the_files_are_those_of_the_layout(exported: Path) -> None:
    """As lerobot 0.4.4's own loader reads them; it was tried with it, and is not a dependency."""
    info = json.loads((exported / "meta/info.json").read_text())
    assert (info["codebase_version"], info["total_episodes"], info["video_path"]) == ("v3.0", 2, None)
    episodes = pq.read_table(exported / "meta/episodes/chunk-000/file-000.parquet").to_pylist()
    assert (episodes[0]["dataset_from_index"], episodes[0]["dataset_to_index"]) == (0, episodes[0]["length"])
    assert episodes[1]["dataset_to_index"] == info["total_frames"]
    rows = pq.read_table(exported / info["data_path"].format(chunk_index=0, file_index=1)).to_pylist()
    assert [row["frame_index"] for row in rows] == list(range(len(rows)))
    assert rows[0]["index"] == episodes[0]["length"]
    assert rows[3]["timestamp"] == pytest.approx(3 / info["fps"], abs=1e-6), "the loader allows 0.1 ms"
    assert set(rows[0]) == set(info["features"])
    tasks = pq.read_table(exported / "meta/tasks.parquet")
    assert json.loads(tasks.schema.metadata[b"pandas"])["index_columns"] == ["task"]
    stats = json.loads((exported / "meta/stats.json").read_text())
    assert np.array(stats["observation.images.camera_image_raw"]["mean"]).shape == (3, 1, 1)
    assert stats["action"]["min"][0] <= stats["action"]["mean"][0] <= stats["action"]["max"][0]


def test_the_action_is_what_came_next(exported: Path) -> None:
    rows = pq.read_table(exported / "data/chunk-000/file-000.parquet").to_pylist()
    assert rows[0]["action"] == pytest.approx(rows[1]["observation.state"][3:])


def test_there_and_back_again(exported: Path, tmp_path: Path) -> None:
    """The same pixels, the same points, the same calibration; places and speeds in the plane."""
    assert lerobot_in.main([str(exported), str(tmp_path / "bags"), "--episodes", "1"]) == 0
    before = list(lerobot_out.sampled(open_bag(TINY_BAG), 10.0))
    after = list(open_bag(tmp_path / "bags" / "episode_000001"))
    assert abs(len(after) - len(before)) <= 1
    old, new = before[-1], after[-1]
    assert np.array_equal(old.cameras[0].rgb, new.cameras[0].rgb)
    assert np.allclose(old.cameras[0].model.intrinsics, new.cameras[0].model.intrinsics)
    assert np.allclose(old.cameras[0].base_from_camera, new.cameras[0].base_from_camera, atol=1e-6)
    assert old.lidar is not None
    assert new.lidar is not None
    assert np.allclose(old.lidar.points_m, new.lidar.points_m, atol=1e-4)
    assert np.allclose(old.ego.odom_from_base[:2, 3], new.ego.odom_from_base[:2, 3], atol=0.05)


def test_an_arm_with_a_film_becomes_a_bag_with_joint_states(tmp_path: Path) -> None:
    """Somebody else's data: no calibration, a film instead of pictures, the state of six joints."""
    data = tmp_path / "arm"
    features = {
        "observation.images.top": {"dtype": "video", "shape": [48, 64, 3], "names": ["height", "width", "channels"]},
        "observation.state": {"dtype": "float32", "shape": [6], "names": [f"joint{i}" for i in range(6)]},
        "action": {"dtype": "float32", "shape": [6], "names": None},
    }
    stored = {name: one for name, one in features.items() if one["dtype"] != "video"}
    writer = DataSetWriter(data, 10.0, stored, "pick")
    writer.begin()
    for index in range(5):
        joints = [0.1 * index] * 6
        writer.add({"observation.state": joints, "action": joints}, {})
    writer.end()
    writer.close()
    film = data / "videos/observation.images.top/chunk-000/file-000.mp4"
    film.parent.mkdir(parents=True)
    out = cv2.VideoWriter(str(film), cv2.VideoWriter_fourcc(*"mp4v"), 10.0, (64, 48))
    for index in range(5):
        out.write(np.full((48, 64, 3), 40 * index, np.uint8))
    out.release()
    info = json.loads((data / "meta/info.json").read_text())
    info |= {"features": features, "video_path": "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4"}
    (data / "meta/info.json").write_text(json.dumps(info))
    episodes = data / "meta/episodes/chunk-000/file-000.parquet"
    table = pq.read_table(episodes)
    for name, value in (("chunk_index", 0), ("file_index", 0), ("from_timestamp", 0.1)):
        table = table.append_column(f"videos/observation.images.top/{name}", [[value]])
    pq.write_table(table, episodes)

    with pytest.raises(ValueError, match="shorter"):  # it begins at 0.1 s of the film, which leaves four pictures for five frames
        list(lerobot_in.bags_of(data, tmp_path / "short"))
    pq.write_table(table.set_column(table.num_columns - 1, "videos/observation.images.top/from_timestamp", [[0.0]]), episodes)
    bag = next(iter(lerobot_in.bags_of(data, tmp_path / "bags", fov_deg=90.0)))
    topics = {topic.name: topic.type_name for topic in bag_info(bag).topics}
    assert topics["/joint_states"] == topics["/action"] == "sensor_msgs/msg/JointState"
    seen = list(open_bag(bag, required=("camera",)))
    assert abs(int(seen[3].cameras[0].rgb.mean()) - 120) < 6
    assert seen[0].cameras[0].model.intrinsics[0, 0] == pytest.approx(32.0), "90 degrees of 64 pixels"


def test_what_cannot_be_is_said(exported: Path, tmp_path: Path, capsys) -> None:
    assert lerobot_out.main([str(exported), str(TINY_BAG)]) == 2
    assert "exists" in capsys.readouterr().err
    assert lerobot_in.main([str(exported), str(tmp_path), "--episodes", "7"]) == 2
    assert "0 to 1" in capsys.readouterr().err
    old = tmp_path / "old" / "meta"
    old.mkdir(parents=True)
    (old / "info.json").write_text('{"codebase_version": "v2.1"}')
    assert lerobot_in.main([str(tmp_path / "old"), str(tmp_path / "out")]) == 2
    assert "v2.1" in capsys.readouterr().err


def test_the_command_names_its_tools(capsys) -> None:
    assert exchange.main(["export_rosbag1"]) == 2
    assert "import_kitti" in capsys.readouterr().err
