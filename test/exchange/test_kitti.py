"""Folders in KITTI's format, both kinds, become bags in which everything is where it was."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from jepa_ros.exchange import kitti
from jepa_ros.sensing import open_bag

VELO_TO_CAM = np.array([[0.0, -1, 0], [0, 0, -1], [1, 0, 0]])  # optical axes
CAM_AHEAD_M = 0.27
P2 = np.array([[700.0, 0, 60, 42], [0, 700, 20, 0], [0, 0, 1, 0]])  # 6 cm to the left of the first camera
POINTS = np.array([[10.0, 0.0, -1.0, 0.3], [0.0, 5.0, 0.5, 0.7]], "<f4")


def numbers(values: np.ndarray) -> str:
    return " ".join(f"{value:.9f}" for value in np.ravel(values))


def picture(path: Path, grey: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), np.full((40, 120, 3), grey, np.uint8))


@pytest.fixture
def sequence(tmp_path: Path) -> Path:
    """Ahead at 5 m/s, 0.1 s a frame."""
    folder = tmp_path / "sequences" / "04"
    tr = np.hstack([VELO_TO_CAM, [[0.0], [-0.08], [-CAM_AHEAD_M]]])
    (folder / "velodyne").mkdir(parents=True)
    (folder / "calib.txt").write_text(f"P0: {numbers(P2)}\nP2: {numbers(P2)}\nTr: {numbers(tr)}\n")
    (folder / "times.txt").write_text("\n".join(str(0.1 * i) for i in range(6)))
    rows = []
    for index in range(6):
        pose = np.eye(4)[:3]
        pose[2, 3] = 0.5 * index  # z of the camera is ahead
        rows.append(numbers(pose))
        picture(folder / "image_2" / f"{index:06d}.png", 20 * index)
        POINTS.tofile(folder / "velodyne" / f"{index:06d}.bin")
    (tmp_path / "poses").mkdir()
    (tmp_path / "poses" / "04.txt").write_text("\n".join(rows))
    return folder


def test_a_sequence(sequence: Path, tmp_path: Path) -> None:
    assert kitti.main([str(sequence), str(tmp_path / "bag")]) == 0
    seen = list(open_bag(tmp_path / "bag"))
    assert len(seen) >= 5
    last = seen[-1]
    assert last.ego.odom_from_base[:3, 3] == pytest.approx([2.5, 0.0, 0.0], abs=1e-6), "x is ahead, z up"
    assert last.ego.velocity_mps[0] == pytest.approx(5.0, abs=0.01)
    assert last.lidar is not None
    assert np.allclose(last.lidar.points_m, POINTS[:, :3], atol=1e-5)
    camera = last.cameras[0]
    assert camera.base_from_camera[:3, 3] == pytest.approx([CAM_AHEAD_M, 0.06, -0.08], abs=1e-6)
    assert camera.base_from_camera[:3, 2] == pytest.approx([1, 0, 0], abs=1e-6), "looks ahead"
    assert camera.rgb.mean() == pytest.approx(100, abs=1)


def test_a_raw_drive(tmp_path: Path) -> None:
    """Northwards at 10 m/s; the lidar 0.8 m before the IMU and 0.9 m above."""
    drive = tmp_path / "2011_09_26" / "drive_0005_sync"
    (drive.parent).mkdir(parents=True)
    zero = numbers(np.eye(3))
    (drive.parent / "calib_imu_to_velo.txt").write_text(f"calib_time: 25-May-2012 16:47:16\nR: {zero}\nT: -0.8 0 -0.9\n")
    (drive.parent / "calib_velo_to_cam.txt").write_text(f"R: {numbers(VELO_TO_CAM)}\nT: 0 -0.08 -{CAM_AHEAD_M}\n")
    (drive.parent / "calib_cam_to_cam.txt").write_text(f"R_rect_00: {zero}\nP_rect_02: {numbers(P2)}\n")
    (drive / "oxts" / "data").mkdir(parents=True)
    (drive / "velodyne_points" / "data").mkdir(parents=True)
    metre = np.degrees(1.0 / kitti.EARTH_RADIUS_M)
    stamps = []
    for index in range(6):
        values = np.zeros(30)
        values[:6] = 49.0 + index * metre, 8.4, 112.0, 0.0, 0.0, np.pi / 2
        values[8] = 10.0
        (drive / "oxts" / "data" / f"{index:010d}.txt").write_text(numbers(values).replace(f"{values[0]:.9f}", f"{values[0]:.14f}", 1))
        stamps.append(f"2011-09-26 13:02:25.{index}00000000")
        picture(drive / "image_02" / "data" / f"{index:010d}.png", 50)
        POINTS.tofile(drive / "velodyne_points" / "data" / f"{index:010d}.bin")
    (drive / "oxts" / "timestamps.txt").write_text("\n".join(stamps) + "\n")
    assert kitti.main([str(drive), str(tmp_path / "bag")]) == 0
    seen = list(open_bag(tmp_path / "bag"))
    moved = seen[-1].ego.odom_from_base[:3, 3] - seen[0].ego.odom_from_base[:3, 3]
    frames = round((seen[-1].stamp_ns - seen[0].stamp_ns) / 1e8)
    assert moved == pytest.approx([frames * 1.0, 0, 0], abs=0.01), "ahead, since odom begins with the first heading"
    assert seen[-1].lidar is not None
    assert seen[-1].lidar.points_m[0] == pytest.approx([10.8, 0.0, -0.1], abs=1e-4)
    assert seen[-1].cameras[0].base_from_camera[:3, 3] == pytest.approx([0.8 + CAM_AHEAD_M, 0.06, 0.9 - 0.08], abs=1e-6)


@pytest.mark.parametrize(("spoil", "says"), [("poses", "poses"), ("calib.txt", "neither"), ("velodyne", "multiple of 4")])
def test_what_is_missing_is_named(sequence: Path, tmp_path: Path, capsys, spoil: str, says: str) -> None:
    if spoil == "poses":
        (tmp_path / "poses" / "04.txt").unlink()
    elif spoil == "velodyne":
        (sequence / "velodyne" / "000002.bin").write_bytes(POINTS.tobytes()[:20])
    else:
        (sequence / spoil).unlink()
    assert kitti.main([str(sequence), str(tmp_path / "bag")]) == 2
    assert says in capsys.readouterr().err
    assert not (tmp_path / "bag").exists()
