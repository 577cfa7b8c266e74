"""Bags as a LeRobot data set: one bag is one episode."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from jepa_ros.exchange.lerobot_layout import DataSetWriter
from jepa_ros.sensing import BagError, bag_info, open_bag
from jepa_ros.sensing.bag import choose_topics
from jepa_ros.types import NANOSECONDS, CameraImage, CameraModel, Observation

STATE = ("x_m", "y_m", "yaw_rad", "speed_mps", "yaw_rate_radps")
ACTION = ("speed_mps", "yaw_rate_radps")
LIDAR = "observation.lidar"
EXTRA = "jepa_ros"  # key of info.json for what LeRobot has no place for: calibration


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point of the command line."""
    parser = argparse.ArgumentParser(prog="python -m jepa_ros.exchange export_lerobot", description=__doc__)
    parser.add_argument("out", type=Path, help="folder of the data set; must not exist")
    parser.add_argument("bags", type=Path, nargs="+", help="MCAP or SQLite3 bags with the same cameras; each becomes an episode")
    parser.add_argument("--fps", type=float, default=10.0, help="frames per second (default: %(default)s)")
    parser.add_argument("--points", type=int, default=4096, help="points kept of each sweep, 0 = no lidar (default: %(default)s)")
    parser.add_argument("--task", default="drive", help="what is done in the bags, in words (default: %(default)s)")
    arguments = parser.parse_args(argv)
    try:
        writer = export(arguments.bags, arguments.out, arguments.fps, arguments.points, arguments.task)
    except (BagError, ValueError) as error:
        print(f"export_lerobot: {error}", file=sys.stderr)
        return 2
    print(f"{arguments.out}: {len(writer.episodes)} episodes, {writer.frames} frames, {', '.join(writer.features)}")
    return 0


def export(bags: Sequence[Path], out: Path, fps: float = 10.0, points: int = 4096, task: str = "drive") -> DataSetWriter:
    """Writes the data set. Raises ValueError where bags have other cameras than the first, or `out` exists."""
    writer: DataSetWriter | None = None
    for bag in bags:
        sees = () if choose_topics(bag_info(bag)).lidars else ("camera",)
        frames = list(sampled(open_bag(bag, required=sees), fps))
        if len(frames) < 2:
            raise ValueError(f"{bag}: less than two frames at {fps:g} Hz")
        described = describe(frames[0], points)
        writer = writer or DataSetWriter(out, fps, described[0], task, {EXTRA: described[1]})
        if described[0] != writer.features:
            raise ValueError(f"{bag}: its features are {described[0]}, those of the first bag {writer.features}")
        writer.begin()
        for now, after in pairwise([*frames, frames[-1]]):
            writer.add(*row(now, after, points))
        writer.end()
    assert writer is not None
    writer.close()
    return writer


def sampled(observations: Iterable[Observation], fps: float) -> Iterator[Observation]:
    """The observation nearest to each multiple of 1 / fps since the first; in a gap the last one again."""
    before, due_ns, step_ns = None, 0.0, NANOSECONDS / fps
    for now in observations:
        if before is None:
            before, due_ns = now, float(now.stamp_ns)
        while now.stamp_ns >= due_ns:
            yield now if now.stamp_ns - due_ns <= due_ns - before.stamp_ns else before
            due_ns += step_ns
        before = now


def describe(observation: Observation, points: int) -> tuple[dict[str, dict[str, Any]], dict[str, Any]]:
    """LeRobot's description of the features, and what it has no place for."""
    features: dict[str, dict[str, Any]] = {}
    cameras: dict[str, Any] = {}
    for camera in observation.cameras:
        shape = [camera.model.height, camera.model.width, 3]
        features[key_of(camera)] = {"dtype": "image", "shape": shape, "names": ["height", "width", "channels"]}
        cameras[key_of(camera)] = calibration(camera.model) | {"base_from_camera": camera.base_from_camera.tolist()}
    if observation.lidar is not None and points:
        features[LIDAR] = {"dtype": "float32", "shape": [points, 4], "names": ["point", "x y z intensity, base frame, NaN beyond the last"]}
    features["observation.state"] = {"dtype": "float32", "shape": [len(STATE)], "names": list(STATE)}
    features["action"] = {"dtype": "float32", "shape": [len(ACTION)], "names": list(ACTION)}
    return features, {"cameras": cameras}


def calibration(model: CameraModel) -> dict[str, Any]:
    """JSON of a camera's model."""
    return {"intrinsics": model.intrinsics.tolist(), "distortion": model.distortion.tolist(), "distortion_model": model.distortion_model}


def key_of(camera: CameraImage) -> str:
    """Feature names hold no slash."""
    return "observation.images." + re.sub(r"\W+", "_", camera.name.strip("/"))


def row(now: Observation, after: Observation, points: int) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Values of a frame, and what statistics are made of. The action is what the base did until the next frame."""
    values: dict[str, Any] = {}
    measured: dict[str, np.ndarray] = {}
    for camera in now.cameras:
        done, png = cv2.imencode(".png", camera.rgb[..., ::-1], [cv2.IMWRITE_PNG_COMPRESSION, 1])
        assert done
        values[key_of(camera)] = {"bytes": png.tobytes(), "path": None}
        measured[key_of(camera)] = camera.rgb[::4, ::4].reshape(-1, 3) / 255.0
    if now.lidar is not None and points:
        sweep = np.full((points, 4), np.nan, np.float32)
        every = max(1, -(-len(now.lidar.points_m) // points))
        kept = now.lidar.points_m[::every]
        sweep[: len(kept), :3] = kept
        sweep[: len(kept), 3] = 0.0 if now.lidar.intensity is None else now.lidar.intensity[::every]
        values[LIDAR] = sweep.tolist()
    pose, ego = now.ego.odom_from_base, now.ego
    yaw = np.arctan2(pose[1, 0], pose[0, 0])
    state = np.array([pose[0, 3], pose[1, 3], yaw, ego.velocity_mps[0], ego.yaw_rate_radps], np.float32)
    action = np.array([after.ego.velocity_mps[0], after.ego.yaw_rate_radps], np.float32)
    values |= {"observation.state": state.tolist(), "action": action.tolist()}
    return values, measured | {"observation.state": state[None], "action": action[None]}
