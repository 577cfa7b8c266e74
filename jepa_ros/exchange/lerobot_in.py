"""A LeRobot data set (v3.0) as bags: each episode is one. Also those of other robots: what is no pose of a base becomes joint states."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jepa_ros.exchange.lerobot_out import EXTRA, LIDAR, STATE
from jepa_ros.exchange.lerobot_read import LeRobotData
from jepa_ros.exchange.messages import header, new
from jepa_ros.exchange.robot_bag import Mounted, open_robot_bag
from jepa_ros.types import NANOSECONDS, CameraModel, FloatArray

EPOCH_NS = 1_750_000_000 * NANOSECONDS
AHEAD = np.array([[0.0, 0, 1, 0], [-1, 0, 0, 0], [0, -1, 0, 1.0], [0, 0, 0, 1]])  # an optical frame that looks ahead from 1 m
JOINTS = {"observation.state": "/joint_states", "action": "/action"}
BASE = np.eye(4)


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point of the command line."""
    parser = argparse.ArgumentParser(prog="python -m jepa_ros.exchange import_lerobot", description=__doc__)
    parser.add_argument("data", type=Path, help="folder of the data set, the one that holds meta/ and data/")
    parser.add_argument("out", type=Path, help="folder for the bags: OUT/episode_000000 and so on")
    parser.add_argument("--episodes", type=int, nargs="+", help="which (default: all)")
    parser.add_argument("--fov-deg", type=float, default=70.0, help="horizontal view of cameras without calibration (default: %(default)s)")
    arguments = parser.parse_args(argv)
    try:
        for bag in bags_of(arguments.data, arguments.out, arguments.episodes, arguments.fov_deg):
            print(bag)
    except (ValueError, FileNotFoundError) as error:
        print(f"import_lerobot: {error}", file=sys.stderr)
        return 2
    return 0


def bags_of(data: Path, out: Path, episodes: Sequence[int] | None = None, fov_deg: float = 70.0) -> Iterator[Path]:
    """Writes one bag after the other. Raises ValueError for another layout, FileNotFoundError where there is none."""
    source = LeRobotData.open(data)
    for index in episodes if episodes is not None else sorted(source.places):
        yield _write(source, index, out / f"episode_{index:06d}", fov_deg)


def _write(source: LeRobotData, episode: int, path: Path, fov_deg: float) -> Path:
    features, pictures = source.features, source.cameras
    known = source.info.get(EXTRA, {}).get("cameras", {})
    cameras = {name: _camera(features[key]["shape"], known.get(key), fov_deg) for key, name in pictures.items()}
    drives = features.get("observation.state", {}).get("names") == list(STATE)
    joints = {} if drives else {key: topic for key, topic in JOINTS.items() if key in features}
    frames = source.frames(episode, pictures)
    further = dict.fromkeys(joints.values(), "sensor_msgs/msg/JointState")
    with open_robot_bag(path, cameras, BASE if LIDAR in features else None, further) as bag:
        for row in frames:
            stamp_ns = EPOCH_NS + round(row["timestamp"] * NANOSECONDS)
            x, y, yaw, speed, rate = row["observation.state"] if drives else (0.0,) * 5
            bag.place(stamp_ns, _pose(x, y, yaw), speed, rate)
            for key, name in pictures.items():
                bag.image(stamp_ns, name, row[key])
            if LIDAR in features:
                points = np.array(row[LIDAR], np.float32)
                points = points[np.isfinite(points[:, :3]).all(axis=1)]
                bag.sweep(stamp_ns, points[:, :3], points[:, 3])
            for key, topic in joints.items():
                bag.say(stamp_ns, topic, _joints(source.names(key), row[key], stamp_ns))
    return path


def _camera(shape: Sequence[int], known: dict[str, Any] | None, fov_deg: float) -> Mounted:
    height, width = (shape[1], shape[2]) if shape[0] == 3 else (shape[0], shape[1])
    if known is None:
        focal = 0.5 * width / np.tan(np.radians(0.5 * fov_deg))
        intrinsics = np.array([[focal, 0, 0.5 * width], [0, focal, 0.5 * height], [0, 0, 1]])
        return Mounted(CameraModel(width, height, intrinsics, np.zeros(5)), AHEAD)
    model = CameraModel(width, height, np.array(known["intrinsics"]), np.array(known["distortion"]), known["distortion_model"])
    return Mounted(model, np.array(known["base_from_camera"]))


def _joints(names: list[str], values: Sequence[float] | float, stamp_ns: int) -> Any:
    numbers = np.atleast_1d(np.array(values, np.float64)).ravel()
    return new("sensor_msgs/msg/JointState", header("", stamp_ns), names, numbers, np.zeros(0), np.zeros(0))


def _pose(x: float, y: float, yaw: float) -> FloatArray:
    pose = np.eye(4)
    pose[:2, :2] = [[np.cos(yaw), -np.sin(yaw)], [np.sin(yaw), np.cos(yaw)]]
    pose[:2, 3] = x, y
    return pose
