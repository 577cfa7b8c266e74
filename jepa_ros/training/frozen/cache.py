"""Latents of bags on disk: each frame goes through the frozen encoder once, and is read back memory-mapped.

Axes: F frame, N token, D latent width.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from jepa_ros.objects.detection import PersonDetector
from jepa_ros.objects.tracking import PeopleTracker
from jepa_ros.protocols import WorldModel
from jepa_ros.sensing.bag import open_bag
from jepa_ros.training.world_model.dataset import HEIGHTS_M, REACH_M, shard_name
from jepa_ros.training.world_model.shard import CENTIMETRE_M
from jepa_ros.types import NANOSECONDS, FloatArray, Observation

PART_FRAMES = 200  # bounds the memory that a long bag takes: 66 MB of latents of scene_jepa
SURE_PERSON = 0.5  # existence from which on a track is a label


@dataclass(frozen=True)
class CachedFrame:
    """What the labels of a frame are made of."""

    odom_from_anchor: FloatArray  # (4, 4)
    ground_height_m: float
    points_m: NDArray[np.float32]  # (P, 3) anchor frame; empty without a lidar
    lidar_origin_m: FloatArray  # (3,)
    people_m: FloatArray  # (K, 2) in odom, of the package's own detector and tracker


class CachedPart:
    """Consecutive frames of a bag. Nothing is read before it is asked for."""

    def __init__(self, folder: Path, begin: int = 0, end: int | None = None) -> None:
        """begin, end: frames of the part that are looked at."""
        self.folder = folder
        with np.load(folder / "frames.npz") as frames:
            self._frames = dict(frames)
        self._begin = begin
        self.stamps_ns: NDArray[np.int64] = self._frames["stamp_ns"][begin:end]

    def __len__(self) -> int:
        return len(self.stamps_ns)

    def between(self, begin: int, end: int) -> CachedPart:
        """Some of its frames; bounds outside are moved inside."""
        inside = np.clip([begin, max(begin, end)], 0, len(self))
        return CachedPart(self.folder, self._begin + int(inside[0]), self._begin + int(inside[1]))

    def latents(self, numbers: list[int]) -> NDArray[np.float32]:
        """(K, N, D), each in its own anchor frame."""
        return self._latents[np.add(numbers, self._begin)].astype(np.float32)

    @cached_property
    def _latents(self) -> NDArray[np.float16]:
        return np.load(self.folder / "latents.npy", mmap_mode="r")

    @cached_property
    def _points(self) -> NDArray[np.int16]:
        return np.load(self.folder / "points.npy", mmap_mode="r")

    def odom_from_anchor(self, number: int) -> FloatArray:
        """(4, 4)."""
        return self._frames["odom_from_anchor"][self._begin + number]

    def has_lidar(self, number: int) -> bool:
        begin, end = self._frames["points_at"][self._begin + number :][:2]
        return bool(end > begin)

    def frame(self, number: int) -> CachedFrame:
        row = self._begin + number
        begin, end = self._frames["points_at"][row : row + 2]
        first, last = self._frames["people_at"][row : row + 2]
        return CachedFrame(
            self.odom_from_anchor(number),
            float(self._frames["ground_height_m"][row]),
            self._points[begin:end].astype(np.float32) * np.float32(CENTIMETRE_M),
            self._frames["lidar_origin_m"][row],
            self._frames["people_m"][first:last],
        )


def cache_bags(model: WorldModel, bags: list[Path], out: Path, max_rate_hz: float) -> list[list[CachedPart]]:
    """Encode every bag that `out` does not hold yet; a killed run goes on. Returns the parts of each bag.

    Raises ValueError where `out` holds latents of another encoder, or no bag gave a frame.
    """
    out.mkdir(parents=True, exist_ok=True)
    whose = {"model": model.spec.name, "version": str(model.spec.version), "latent_shape": list(model.spec.latent_shape)}
    owner = out / "encoder.json"
    if owner.is_file() and json.loads(owner.read_text()) != whose:
        raise ValueError(f"{out} holds latents of {json.loads(owner.read_text())}, not of {whose}; name another --out")
    owner.write_text(json.dumps(whose))
    for bag in tqdm(bags, desc="encode", unit="bag"):
        if not (out / f"{shard_name(bag)}.json").is_file():
            _cache_bag(model, bag, out, max_rate_hz)
    parts = [[CachedPart(folder) for folder in sorted(out.glob(f"{shard_name(bag)}_[0-9][0-9][0-9]"))] for bag in bags]
    if not any(parts):
        dropped = {str(bag): json.loads((out / f"{shard_name(bag)}.json").read_text()) for bag in bags}
        raise ValueError(f"no frame of these bags can be encoded by {model.spec.name}: {dropped}")
    return parts


def _cache_bag(model: WorldModel, bag: Path, out: Path, max_rate_hz: float) -> None:
    """Write the parts of a bag, then the counts of frames kept and dropped, which mark it as done."""
    name, part = shard_name(bag), 0
    for left_over in out.glob(f"{name}_*"):  # of a run that was killed in this bag
        shutil.rmtree(left_over)
    detector, tracker = PersonDetector(), PeopleTracker()
    counts: Counter[str] = Counter()
    frames: list[dict[str, Any]] = []
    last_ns = -(10**18)
    try:
        for observation in open_bag(bag):
            reason = _unfit(model, observation, last_ns, max_rate_hz)
            counts[reason or "kept"] += 1
            if reason is None:
                last_ns = observation.stamp_ns
                frames.append(_frame(model, observation, detector, tracker))
            if len(frames) == PART_FRAMES:
                _write(out / f"{name}_{part:03}", frames)
                frames, part = [], part + 1
    except ValueError as error:
        counts[f"unreadable: {error}"] += 1
    if frames:
        _write(out / f"{name}_{part:03}", frames)
    (out / f"{name}.json").write_text(json.dumps(counts))


def _unfit(model: WorldModel, observation: Observation, last_ns: int, max_rate_hz: float) -> str | None:
    """Why a frame is dropped; None = it is kept."""
    if observation.stamp_ns <= last_ns:
        return "back_in_time"
    if observation.stamp_ns - last_ns < 0.8 * NANOSECONDS / max_rate_hz:  # 0.8: stamps jitter
        return "too_soon"
    seen = {"lidar": observation.lidar is not None, "camera": bool(observation.cameras)}
    if not any(seen[sensor] for sensor in model.spec.inputs):
        return f"no_{'_or_'.join(model.spec.inputs)}"
    return None


@torch.inference_mode()
def _frame(model: WorldModel, observation: Observation, detector: PersonDetector, tracker: PeopleTracker) -> dict[str, Any]:
    odom_from_anchor = observation.odom_from_anchor
    points: FloatArray = np.zeros((0, 3), np.float32)
    people: FloatArray = np.zeros((0, 2))
    origin = np.zeros(3)
    if observation.lidar is not None:
        points = observation.flattened_m
        found = detector.detect_in(observation)
        tracked = tracker.follow(observation.stamp_ns, found, odom_from_anchor)
        people = tracked.positions_m[tracked.existence > SURE_PERSON]
        anchor_from_lidar = np.linalg.inv(odom_from_anchor) @ observation.ego.odom_from_base @ observation.lidar.base_from_lidar
        origin = anchor_from_lidar[:3, 3]
        above_m = points[:, 2] - observation.ground_height_m
        points = points[(np.abs(points[:, :2]) < REACH_M).all(axis=1) & (above_m > HEIGHTS_M[0]) & (above_m < HEIGHTS_M[1])]
    return {
        "stamp_ns": np.int64(observation.stamp_ns),
        "odom_from_anchor": odom_from_anchor,
        "ground_height_m": np.float32(observation.ground_height_m),
        "lidar_origin_m": origin,
        "latent": model.encode(observation)[0].half().cpu().numpy(),
        "points": (points / CENTIMETRE_M).round().astype(np.int16),
        "people": people,
    }


def _write(folder: Path, frames: list[dict[str, Any]]) -> None:
    """The folder appears whole or not at all."""
    partial = folder.with_name(folder.name + ".partial")
    partial.mkdir(parents=True, exist_ok=True)
    np.save(partial / "latents.npy", np.stack([frame["latent"] for frame in frames]))
    np.save(partial / "points.npy", np.concatenate([frame["points"] for frame in frames]))
    columns: dict[str, Any] = {
        key: np.stack([frame[key] for frame in frames]) for key in ("stamp_ns", "odom_from_anchor", "ground_height_m", "lidar_origin_m")
    }
    for key in ("points", "people"):
        columns[f"{key}_at"] = np.cumsum([0, *(len(frame[key]) for frame in frames)])
    np.savez(partial / "frames.npz", people_m=np.concatenate([frame["people"] for frame in frames]), **columns)
    partial.rename(folder)


def fingerprint(parts: list[list[CachedPart]]) -> str:
    """Of which frames there are: a training may only go on over the same ones."""
    return hashlib.sha1(b"".join(part.stamps_ns.tobytes() for bag in parts for part in bag)).hexdigest()[:12]
