"""`prepare`: bags -> shards. Each bag is read once; a killed run goes on where it stopped; what was dropped is reported with its reason."""

from __future__ import annotations

import argparse
import hashlib
import importlib
import json
import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from jepa_ros.backends.scene_jepa.config import IMAGE_SIZE
from jepa_ros.backends.scene_jepa.scene_input import shrink
from jepa_ros.sensing.bag import open_bag
from jepa_ros.training.world_model.shard import CENTIMETRE_M, NO_RING, write_shard
from jepa_ros.types import NANOSECONDS, CameraModel, Observation

REACH_M = 60.0  # a future sweep is looked at from where the vehicle is now: keep what lies beyond the grid too
HEIGHTS_M = (-1.5, 4.0)  # above the ground
LEAST_POINTS = 200
ENGINES = ("processes", "ray")
SHARD_FRAMES = 500  # bounds the memory that a long bag takes: some 200 MB


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of this command."""
    parser.add_argument("bags", nargs="+", type=Path, metavar="BAG", help="bag folders, .mcap or .db3 files")
    parser.add_argument("--out", type=Path, required=True, help="folder of the dataset")
    parser.add_argument(
        "--workers", type=int, default=1, help="processes; each reads one bag at a time (a running Ray cluster: all that it has)"
    )
    parser.add_argument("--engine", choices=ENGINES, default=ENGINES[0], help="processes of this machine, or a Ray cluster")
    parser.add_argument("--max-rate-hz", type=float, default=10.0, help="frames closer in time than this allows are dropped")


def run(args: argparse.Namespace) -> None:
    """Runs the command with these options."""
    prepare(args.bags, args.out, args.workers, args.max_rate_hz, args.engine)


def prepare(bags: list[Path], out: Path, workers: int = 1, max_rate_hz: float = 10.0, engine: str = "processes") -> dict[str, Any]:
    """Prepare all bags that `out` does not hold yet, and write `out`/report.json. Returns the report.

    engine: "processes" of this machine, or "ray": the cluster that RAY_ADDRESS names, or else a local one of `workers` processes. Its
    machines must see the bags and `out` under the same paths. What is written is the same. Raises ValueError where Ray is missing.
    """
    bags, out = [bag.absolute() for bag in bags], out.absolute()
    out.mkdir(parents=True, exist_ok=True)
    waiting = [bag for bag in bags if not (out / f"{shard_name(bag)}.json").is_file()]
    work = partial(prepare_bag, out=out, max_rate_hz=max_rate_hz)
    done = _on_ray(work, waiting, workers) if engine == "ray" and waiting else _in_processes(work, waiting, workers)
    for _ in tqdm(done, total=len(waiting), desc="prepare", unit="bag"):
        pass
    by_bag = {str(bag): json.loads((out / f"{shard_name(bag)}.json").read_text()) for bag in bags}
    total = sum((Counter(counts) for counts in by_bag.values()), Counter())
    report = {"bags": len(bags), "already_there": len(bags) - len(waiting), "frames": dict(total), "by_bag": by_bag}
    (out / "report.json").write_text(json.dumps(report, indent=1))
    print(f"{out}: {report['bags']} bags, {report['already_there']} of them already there; frames: {dict(total)}")
    return report


def _in_processes(work: Callable[[Path], None], bags: list[Path], workers: int) -> Iterator[None]:
    """Yields as bags are done."""
    if workers == 1 or len(bags) < 2:
        yield from map(work, bags)
        return
    with ProcessPoolExecutor(workers) as pool:
        yield from pool.map(work, bags)


def _on_ray(work: Callable[[Path], None], bags: list[Path], workers: int) -> Iterator[None]:
    """The same on a Ray cluster, which is left running where it was running."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        ray: Any = importlib.import_module("ray")  # by name: type checkers need not have it
    except ModuleNotFoundError as error:
        raise ValueError("--engine ray needs Ray, which is not installed: pip install 'jepa_ros[ray]', or leave --engine out") from error
    ours = not ray.is_initialized()
    if ours:
        ray.init(**({} if "RAY_ADDRESS" in os.environ else {"num_cpus": workers, "include_dashboard": False}))
    try:
        run_one = ray.remote(_prepare_remotely)
        pending = [run_one.remote(work, bag) for bag in bags]
        while pending:
            finished, pending = ray.wait(pending)
            yield from ray.get(finished)
    finally:
        if ours:
            ray.shutdown()


def _prepare_remotely(work: Callable[[Path], None], bag: Path) -> None:
    work(bag)


def shard_name(bag: Path) -> str:
    """Readable, and different for bags of the same name in different places."""
    return f"{bag.stem}_{hashlib.sha1(str(bag.resolve()).encode()).hexdigest()[:8]}"


def prepare_bag(bag: Path, out: Path, max_rate_hz: float) -> None:
    """Write the shards of a bag, then the counts of frames kept and dropped by reason, which mark it as done.

    A bag that cannot be read is a reason too, not the end of the run; what came before the fault is kept.
    """
    name, parts = shard_name(bag), 0
    for left_over in out.glob(f"{name}_*"):  # of a run that was killed in this bag
        shutil.rmtree(left_over)
    counts: Counter[str] = Counter()
    frames: list[dict[str, Any]] = []
    cameras: dict[str, CameraModel] = {}
    last_ns = -(10**18)
    try:
        for observation in open_bag(bag):
            reason = _unfit(observation, last_ns, max_rate_hz)
            counts[reason or "kept"] += 1
            if reason is None:
                last_ns = observation.stamp_ns
                frames.append(_frame(observation, cameras))
            if len(frames) == SHARD_FRAMES:
                _flush(out / f"{name}_{parts:03}", bag, cameras, frames)
                parts += 1
    except ValueError as error:
        counts[f"unreadable: {error}"] += 1
    if frames:
        _flush(out / f"{name}_{parts:03}", bag, cameras, frames)
    (out / f"{name}.json").write_text(json.dumps(counts))


def _flush(folder: Path, bag: Path, cameras: dict[str, CameraModel], frames: list[dict[str, Any]]) -> None:
    """Write the frames held so far as a shard and let go of them. Windows do not reach across shards."""
    _pad_cameras(frames, len(cameras))
    write_shard(folder, str(bag), list(cameras.values()), frames)
    frames.clear()


def _unfit(observation: Observation, last_ns: int, max_rate_hz: float) -> str | None:
    """Why a frame is dropped; None = it is kept."""
    if observation.stamp_ns <= last_ns:
        return "back_in_time"
    if observation.stamp_ns - last_ns < 0.8 * NANOSECONDS / max_rate_hz:  # 0.8: stamps jitter
        return "too_soon"
    if observation.lidar is None:
        return "no_lidar"  # nothing to learn occupancy from
    if len(observation.lidar.points_m) < LEAST_POINTS:
        return "too_few_points"
    return None


def _frame(observation: Observation, cameras: dict[str, CameraModel]) -> dict[str, Any]:
    assert observation.lidar is not None
    lidar, points = observation.lidar, observation.flattened_m
    above_m = points[:, 2] - observation.ground_height_m
    kept = (np.abs(points[:, :2]) < REACH_M).all(axis=1) & (above_m > HEIGHTS_M[0]) & (above_m < HEIGHTS_M[1])
    anchor_from_base = np.linalg.inv(observation.odom_from_anchor) @ observation.ego.odom_from_base
    for camera in observation.cameras:
        cameras.setdefault(camera.name, camera.model)
    by_name = {camera.name: camera for camera in observation.cameras}
    images = np.zeros((len(cameras), *IMAGE_SIZE, 3), np.uint8)
    camera_from_anchor = np.full((len(cameras), 4, 4), np.nan)
    for slot, name in enumerate(cameras):
        if name in by_name:
            images[slot] = (shrink(by_name[name]).permute(1, 2, 0).numpy() * 255).round()
            camera_from_anchor[slot] = np.linalg.inv(anchor_from_base @ by_name[name].base_from_camera)
    return {
        "stamp_ns": np.int64(observation.stamp_ns),
        "odom_from_anchor": observation.odom_from_anchor,
        "ground_height_m": np.float32(observation.ground_height_m),
        "points": (points[kept] / CENTIMETRE_M).round().astype(np.int16),
        "ring": np.full(int(kept.sum()), NO_RING, np.uint8)
        if lidar.ring is None
        else lidar.ring[kept].clip(0, NO_RING - 1).astype(np.uint8),
        "lidar_origin_m": (anchor_from_base @ lidar.base_from_lidar)[:3, 3],
        "images": images,
        "camera_from_anchor": camera_from_anchor,
    }


def _pad_cameras(frames: list[dict[str, Any]], count: int) -> None:
    """Frames from before a camera's first image get an empty slot for it."""
    for frame in frames:
        missing = count - len(frame["images"])
        frame["images"] = np.concatenate([frame["images"], np.zeros((missing, *IMAGE_SIZE, 3), np.uint8)])
        frame["camera_from_anchor"] = np.concatenate([frame["camera_from_anchor"], np.full((missing, 4, 4), np.nan)])
