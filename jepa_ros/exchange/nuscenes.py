"""A scene of a folder in nuScenes' layout (v1.0) as a bag. The devkit is not needed.

ROOT/<version>/{scene,sample,sample_data,ego_pose,calibrated_sensor,sensor}.json, and the files that they name in ROOT. base_link is
nuScenes' ego frame, on the ground below the rear axle, x ahead; odom is its global frame. Layout after Caesar et al., nuScenes: a
multimodal dataset for autonomous driving, 2020.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jepa_ros.exchange.kitti import read_image
from jepa_ros.exchange.robot_bag import Mounted, open_robot_bag
from jepa_ros.types import NANOSECONDS, CameraModel, FloatArray

TABLES = ("scene", "sample", "sample_data", "ego_pose", "calibrated_sensor", "sensor")
POINT_FLOATS = 5  # x, y, z, intensity, ring
SPEED_OVER_S = 0.2  # speeds come from places so far apart

Row = dict[str, Any]
Tables = dict[str, dict[str, Row]]  # name -> token -> row


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point of the command line."""
    parser = argparse.ArgumentParser(prog="python -m jepa_ros.exchange import_nuscenes", description=__doc__.splitlines()[0])
    parser.add_argument("root", type=Path, help="the folder that holds samples/, sweeps/ and the tables' folder")
    parser.add_argument("out", type=Path, help="the bag, a folder that must not exist")
    parser.add_argument("--scene", default="", help="its name, such as scene-0061 (default: the first)")
    parser.add_argument("--version", default="", help="the tables' folder, such as v1.0-mini (default: the only one)")
    parser.add_argument("--cameras", nargs="*", default=["CAM_FRONT"], help="which (default: CAM_FRONT)")
    parser.add_argument("--lidar", default="LIDAR_TOP", help="which (default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=math.inf, help="from the beginning (default: all)")
    given = parser.parse_args(argv)
    try:
        tables = read_tables(given.root, given.version)
        data = records(tables, given.scene, (*given.cameras, given.lidar))
        first_us = data[0]["timestamp"]
        data = [row for row in data if row["timestamp"] - first_us <= 1e6 * given.seconds]
        write(given.root, tables, data, given.lidar, given.out)
    except (ValueError, OSError, KeyError) as error:
        print(f"import_nuscenes: {'a row is missing: ' if isinstance(error, KeyError) else ''}{error}", file=sys.stderr)
        return 2
    else:
        print(f"{given.out}: {len(data)} images and sweeps")
        return 0


def read_tables(root: Path, version: str = "") -> Tables:
    """Raises ValueError where they are not there, or not one set of them."""
    found = [root / version] if version else sorted(path.parent for path in root.glob("*/sample_data.json"))
    if len(found) != 1:
        raise ValueError(f"{root}: {len(found)} folders with sample_data.json; name one with --version")
    missing = [name for name in TABLES if not (found[0] / f"{name}.json").is_file()]
    if missing:
        raise ValueError(f"{found[0]} lacks {missing[0]}.json")
    return {name: {row["token"]: row for row in json.loads((found[0] / f"{name}.json").read_text())} for name in TABLES}


def records(tables: Tables, scene: str, channels: Sequence[str]) -> list[Row]:
    """The rows of sample_data of a scene and these channels, in time. Raises ValueError where there are none."""
    scenes = {row["name"]: token for token, row in tables["scene"].items()}
    name = scene or next(iter(scenes), "")
    if name not in scenes:
        raise ValueError(f"scene {name!r} is not there; there are {', '.join(sorted(scenes)[:5])} ({len(scenes)})")
    rows = [
        row
        for row in tables["sample_data"].values()
        if tables["sample"][row["sample_token"]]["scene_token"] == scenes[name] and channel_of(tables, row) in channels
    ]
    if not rows:
        raise ValueError(f"{name} has no data of {', '.join(channels)}")
    return sorted(rows, key=lambda row: (row["timestamp"], row["token"]))


def channel_of(tables: Tables, row: Row) -> str:
    """CAM_FRONT, LIDAR_TOP, ..."""
    return str(tables["sensor"][tables["calibrated_sensor"][row["calibrated_sensor_token"]]["sensor_token"]]["channel"])


def write(root: Path, tables: Tables, data: list[Row], lidar: str, out: Path) -> None:
    """Raises ValueError where a file cannot be read, or `out` exists."""
    mounts = {channel_of(tables, row): tables["calibrated_sensor"][row["calibrated_sensor_token"]] for row in data}
    first = {channel_of(tables, row): row for row in reversed(data)}
    cameras = {}
    for name in sorted(set(mounts) - {lidar}):
        height, width = read_image(root / first[name]["filename"]).shape[:2]
        intrinsics = np.array(mounts[name]["camera_intrinsic"], float)
        cameras[name.lower()] = Mounted(CameraModel(width, height, intrinsics, np.zeros(5)), pose_of(mounts[name]))
    times_s = np.array([1e-6 * (row["timestamp"] - data[0]["timestamp"]) for row in data])
    poses = np.array([pose_of(tables["ego_pose"][row["ego_pose_token"]]) for row in data])
    told_ns = -1
    with open_robot_bag(out, cameras, pose_of(mounts[lidar]) if lidar in mounts else None) as bag:
        for index, row in enumerate(data):
            stamp_ns, name = int(row["timestamp"]) * (NANOSECONDS // 1_000_000), channel_of(tables, row)
            if stamp_ns > told_ns:
                bag.place(stamp_ns, poses[index], *twist(times_s, poses, index))
                told_ns = stamp_ns
            if name != lidar:
                bag.image(stamp_ns, name.lower(), read_image(root / row["filename"]))
                continue
            raw = np.fromfile(root / row["filename"], "<f4")
            if len(raw) % POINT_FLOATS:
                raise ValueError(f"{row['filename']} is cut off: {len(raw)} numbers are no multiple of {POINT_FLOATS}")
            points = raw.reshape(-1, POINT_FLOATS)
            bag.sweep(stamp_ns, points[:, :3], points[:, 3])


def twist(times_s: FloatArray, poses: FloatArray, index: int) -> tuple[float, float]:
    """Speed ahead, m/s, and turn rate, rad/s, at one of (N, 4, 4) poses, by those around it."""
    before = int(np.searchsorted(times_s, times_s[index] - 0.5 * SPEED_OVER_S))
    after = min(int(np.searchsorted(times_s, times_s[index] + 0.5 * SPEED_OVER_S)), len(times_s) - 1)
    passed_s = times_s[after] - times_s[before]
    if passed_s <= 0.0:
        return 0.0, 0.0
    moved = np.linalg.inv(poses[before]) @ poses[after]
    turn_rad = math.atan2(moved[1, 0], moved[0, 0])
    return math.copysign(math.hypot(moved[0, 3], moved[1, 3]), moved[0, 3]) / passed_s, turn_rad / passed_s


def pose_of(row: Row) -> FloatArray:
    """(4, 4) of a row with translation (m) and rotation (w, x, y, z)."""
    w, x, y, z = np.array(row["rotation"], float) / np.linalg.norm(row["rotation"])
    pose = np.eye(4)
    pose[:3, :3] = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
        [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
        [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
    ]
    pose[:3, 3] = row["translation"]
    return pose


if __name__ == "__main__":
    sys.exit(main())
