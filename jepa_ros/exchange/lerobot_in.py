"""A LeRobot data set (v3.0) as bags: each episode is one. Also those of other robots: what is no pose of a base becomes joint states."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow.dataset
import pyarrow.parquet as pq

from jepa_ros.exchange.lerobot_layout import INFO, VERSION
from jepa_ros.exchange.lerobot_out import EXTRA, LIDAR, STATE
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
    info = json.loads((data / INFO).read_text())
    if info["codebase_version"] != VERSION:
        raise ValueError(f"{data}: layout {info['codebase_version']}, this reads {VERSION}: convert it with lerobot's own script")
    table = pq.ParquetDataset(data / "meta" / "episodes").read()
    places = {row["episode_index"]: row for row in table.to_pylist()}
    for index in episodes if episodes is not None else sorted(places):
        if index not in places:
            raise ValueError(f"{data}: no episode {index}; it has {min(places)} to {max(places)}")
        yield _write(data, info, places[index], out / f"episode_{index:06d}", fov_deg)


def _write(data: Path, info: dict[str, Any], place: dict[str, Any], path: Path, fov_deg: float) -> Path:
    features = info["features"]
    pictures = {key: key.removeprefix("observation.images.") for key, one in features.items() if one["dtype"] in ("image", "video")}
    known = info.get(EXTRA, {}).get("cameras", {})
    cameras = {name: _camera(features[key]["shape"], known.get(key), fov_deg) for key, name in pictures.items()}
    drives = features.get("observation.state", {}).get("names") == list(STATE)
    joints = {} if drives else {key: topic for key, topic in JOINTS.items() if key in features}
    films = {key: _film(data, info, place, key) for key in pictures if features[key]["dtype"] == "video"}
    further = dict.fromkeys(joints.values(), "sensor_msgs/msg/JointState")
    with open_robot_bag(path, cameras, BASE if LIDAR in features else None, further) as bag:
        for row in _rows(data, info, place):
            stamp_ns = EPOCH_NS + round(row["timestamp"] * NANOSECONDS)
            x, y, yaw, speed, rate = row["observation.state"] if drives else (0.0,) * 5
            bag.place(stamp_ns, _pose(x, y, yaw), speed, rate)
            for key, name in pictures.items():
                rgb = next(films[key]) if key in films else _picture(data, row[key])
                bag.image(stamp_ns, name, rgb)
            if LIDAR in features:
                points = np.array(row[LIDAR], np.float32)
                points = points[np.isfinite(points[:, :3]).all(axis=1)]
                bag.sweep(stamp_ns, points[:, :3], points[:, 3])
            for key, topic in joints.items():
                bag.say(stamp_ns, topic, _joints(features[key], row[key], stamp_ns))
    return path


def _rows(data: Path, info: dict[str, Any], place: dict[str, Any]) -> Iterator[dict[str, Any]]:
    path = data / info["data_path"].format(chunk_index=place["data/chunk_index"], file_index=place["data/file_index"])
    chosen = pyarrow.dataset.field("episode_index") == place["episode_index"]
    for batch in pyarrow.dataset.dataset(path).to_batches(filter=chosen, batch_size=32):
        yield from batch.to_pylist()


def _camera(shape: Sequence[int], known: dict[str, Any] | None, fov_deg: float) -> Mounted:
    height, width = (shape[1], shape[2]) if shape[0] == 3 else (shape[0], shape[1])
    if known is None:
        focal = 0.5 * width / np.tan(np.radians(0.5 * fov_deg))
        intrinsics = np.array([[focal, 0, 0.5 * width], [0, focal, 0.5 * height], [0, 0, 1]])
        return Mounted(CameraModel(width, height, intrinsics, np.zeros(5)), AHEAD)
    model = CameraModel(width, height, np.array(known["intrinsics"]), np.array(known["distortion"]), known["distortion_model"])
    return Mounted(model, np.array(known["base_from_camera"]))


def _picture(data: Path, value: dict[str, Any]) -> np.ndarray:
    raw = value["bytes"] if value["bytes"] is not None else (data / value["path"]).read_bytes()
    decoded = cv2.imdecode(np.frombuffer(raw, np.uint8), cv2.IMREAD_COLOR)
    if decoded is None:
        raise ValueError("an image of the data set cannot be decoded")
    return decoded[..., ::-1]


def _film(data: Path, info: dict[str, Any], place: dict[str, Any], key: str) -> Iterator[np.ndarray]:
    """The pictures of an episode, out of a film of several."""
    of = {name: place[f"videos/{key}/{name}"] for name in ("chunk_index", "file_index", "from_timestamp")}
    path = data / info["video_path"].format(video_key=key, chunk_index=of["chunk_index"], file_index=of["file_index"])
    film = cv2.VideoCapture(str(path))
    try:
        for _ in range(round(of["from_timestamp"] * info["fps"])):
            film.grab()
        while True:
            read, bgr = film.read()
            if not read:
                raise ValueError(
                    f"{path} cannot be decoded, or is shorter than its episodes; OpenCV's FFmpeg reads AV1, VP9, MPEG-4, H.264"
                )
            yield bgr[..., ::-1]
    finally:
        film.release()


def _joints(feature: dict[str, Any], values: Sequence[float] | float, stamp_ns: int) -> Any:
    numbers = np.atleast_1d(np.array(values, np.float64)).ravel()
    names = feature.get("names")
    names = names.get("motors", []) if isinstance(names, dict) else names or []
    named = [str(name) for name in names] if len(names) == len(numbers) else [f"{index}" for index in range(len(numbers))]
    return new("sensor_msgs/msg/JointState", header("", stamp_ns), named, numbers, np.zeros(0), np.zeros(0))


def _pose(x: float, y: float, yaw: float) -> FloatArray:
    pose = np.eye(4)
    pose[:2, :2] = [[np.cos(yaw), -np.sin(yaw)], [np.sin(yaw), np.cos(yaw)]]
    pose[:2, 3] = x, y
    return pose
