"""A tiny folder in nuScenes' layout becomes a bag in which everything is where it was."""

from __future__ import annotations

import json
import math
from pathlib import Path

import cv2
import numpy as np
import pytest

from jepa_ros.exchange import nuscenes
from jepa_ros.exchange.__main__ import main
from jepa_ros.sensing import open_bag

START_US = 1_532_402_927_647_951
AHEAD = [0.5, -0.5, 0.5, -0.5]  # of an optical frame whose z looks along x
LEFT = [math.sqrt(0.5), 0.0, 0.0, -math.sqrt(0.5)]  # nuScenes' lidar: x to the right, y ahead
POINTS = np.array([[0.0, 10.0, -1.0, 30.0, 4.0], [-5.0, 0.0, 0.5, 70.0, 9.0]], "<f4")  # ahead, and to the left
TURNED = 0.5 * math.pi  # the car drives along y of the map, at 5 m/s


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Two scenes; in the first 6 sweeps at 20 Hz, with an image beside every second."""
    sensors = [{"token": name, "channel": name, "modality": "x"} for name in ("LIDAR_TOP", "CAM_FRONT", "RADAR_FRONT")]
    mounts = [
        {"token": "cl", "sensor_token": "LIDAR_TOP", "translation": [0.9, 0.0, 1.8], "rotation": LEFT, "camera_intrinsic": []},
        {"token": "cc", "sensor_token": "CAM_FRONT", "translation": [1.7, 0.0, 1.5], "rotation": AHEAD,
         "camera_intrinsic": [[100.0, 0, 60], [0, 100, 20], [0, 0, 1]]},
        {"token": "cr", "sensor_token": "RADAR_FRONT", "translation": [3.4, 0.0, 0.5], "rotation": [1, 0, 0, 0], "camera_intrinsic": []},
    ]  # fmt: skip
    scenes = [{"token": "s1", "name": "scene-0061"}, {"token": "s2", "name": "scene-0103"}]
    samples = [{"token": "a", "scene_token": "s1"}, {"token": "b", "scene_token": "s2"}]
    data, poses = [], []
    for folder in ("samples/CAM_FRONT", "sweeps/LIDAR_TOP"):
        (tmp_path / folder).mkdir(parents=True)

    def seen(token: str, mount: str, file: str, us: int, sample: str = "a") -> None:
        along_m = 5e-6 * (us - START_US)
        turn = [math.cos(TURNED / 2), 0.0, 0.0, math.sin(TURNED / 2)]
        poses.append({"token": f"p{token}", "translation": [400.0, 1100.0 + along_m, 0.0], "rotation": turn, "timestamp": us})
        data.append({"token": token, "sample_token": sample, "ego_pose_token": f"p{token}", "calibrated_sensor_token": mount,
                     "timestamp": us, "filename": file, "is_key_frame": False})  # fmt: skip

    for index in range(6):
        us = START_US + 50_000 * index
        POINTS.tofile(tmp_path / "sweeps" / "LIDAR_TOP" / f"{index}.pcd.bin")
        seen(f"l{index}", "cl", f"sweeps/LIDAR_TOP/{index}.pcd.bin", us)
        seen(f"r{index}", "cr", "nowhere", us)
        if index % 2 == 0:
            cv2.imwrite(str(tmp_path / "samples" / "CAM_FRONT" / f"{index}.jpg"), np.full((40, 120, 3), 20 * index, np.uint8))
            seen(f"c{index}", "cc", f"samples/CAM_FRONT/{index}.jpg", us)
    seen("other", "cl", "nowhere", START_US + 20_000, "b")
    (tmp_path / "v1.0-mini").mkdir()
    tables = (scenes, samples, data[::-1], poses, mounts, sensors)
    for name, rows in zip(nuscenes.TABLES, tables, strict=True):
        (tmp_path / "v1.0-mini" / f"{name}.json").write_text(json.dumps(rows))
    return tmp_path


def test_a_scene(root: Path, tmp_path: Path) -> None:
    assert main(["import_nuscenes", str(root), str(tmp_path / "bag"), "--scene", "scene-0061"]) == 0
    seen = list(open_bag(tmp_path / "bag"))
    assert len(seen) == 6, "those of the other scene, whose files are nowhere, are left out"
    last = seen[-1]
    assert last.stamp_ns == 1000 * (START_US + 250_000)
    assert last.ego.odom_from_base[:3, 3] == pytest.approx([400.0, 1101.25, 0.0], abs=1e-6)
    assert last.ego.odom_from_base[:2, 0] == pytest.approx([0.0, 1.0], abs=1e-9), "along y of the map"
    assert last.ego.velocity_mps[0] == pytest.approx(5.0, abs=0.01)
    assert last.lidar is not None
    assert last.lidar.points_m[:2] == pytest.approx(np.array([[10.9, 0.0, 0.8], [0.9, 5.0, 2.3]]), abs=1e-5)
    camera = next(one for one in (each.cameras[0] for each in reversed(seen) if each.cameras))
    assert camera.base_from_camera[:3, 2] == pytest.approx([1, 0, 0], abs=1e-9), "looks ahead"
    assert int(camera.rgb.mean()) == pytest.approx(80, abs=2)


def test_what_is_no_such_folder_is_told(root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert nuscenes.main([str(tmp_path / "empty"), str(tmp_path / "bag")]) == 2
    assert "0 folders with sample_data.json" in capsys.readouterr().err
    assert nuscenes.main([str(root), str(tmp_path / "bag"), "--scene", "scene-9999"]) == 2
    assert "scene-0061, scene-0103" in capsys.readouterr().err
    (root / "sweeps" / "LIDAR_TOP" / "2.pcd.bin").write_bytes(b"1234" * 7)
    assert nuscenes.main([str(root), str(tmp_path / "cut"), "--scene", "scene-0061"]) == 2
    assert "2.pcd.bin is cut off" in capsys.readouterr().err
