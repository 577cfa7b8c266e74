"""How one bag lies on disk once prepared: flat arrays that are memory-mapped, so a training reads only the frames that it draws.

A shard is a folder: `points.npy` (P, 3) int16 centimetres, `ring.npy` (P,) uint8, `offsets.npy` (F + 1,), `images.npy` (F, K, H, W, 3)
uint8, `frames.npz` (the small per-frame arrays) and `meta.json`. Points and cameras are in the anchor frame of their own frame.
Axes: F frame, P point, K camera.
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jepa_ros.types import CameraModel, FloatArray

CENTIMETRE_M = 0.01
NO_RING = 255


@dataclass(frozen=True)
class Frame:
    """One instant, as it is stored."""

    stamp_ns: int
    odom_from_anchor: FloatArray  # (4, 4)
    ground_height_m: float
    points_m: NDArray[np.float32]  # (P, 3); empty where there was no lidar
    ring: NDArray[np.uint8]  # (P,) NO_RING where unknown
    lidar_origin_m: FloatArray  # (3,) NaN where there was no lidar
    images: NDArray[np.uint8]  # (K, H, W, 3)
    camera_from_anchor: FloatArray  # (K, 4, 4) NaN where a camera gave no image


class Shard:
    """A prepared bag. Arrays are mapped on first use, so that a dataset of thousands costs nothing to open."""

    def __init__(self, folder: Path, part: tuple[float, float] = (0.0, 1.0)) -> None:
        """part: which share of the frames, such as (0.5, 1) for the second half."""
        self.folder = folder
        meta = json.loads((folder / "meta.json").read_text())
        self.source: str = meta["source"]
        self.cameras = [
            CameraModel(**{**camera, "intrinsics": np.array(camera["intrinsics"]), "distortion": np.array(camera["distortion"])})
            for camera in meta["cameras"]
        ]
        with np.load(folder / "frames.npz") as frames:
            self._frames = dict(frames)
        count = len(self._frames["stamp_ns"])
        self._begin, self._end = round(part[0] * count), round(part[1] * count)

    def __len__(self) -> int:
        return len(self.stamps_ns)

    @property
    def stamps_ns(self) -> NDArray[np.int64]:
        return self._frames["stamp_ns"][self._begin : self._end]

    def poses(self, newest: int) -> FloatArray:
        """(newest + 1, 4, 4) odom_from_anchor of the first frames."""
        return self._frames["odom_from_anchor"][self._begin : self._begin + newest + 1]

    @cached_property
    def rings(self) -> int:
        """Of the lidar, as far as the first frame shows; 0 where rings are unknown."""
        known = self[0].ring[self[0].ring != NO_RING]
        return int(known.max()) + 1 if len(known) else 0

    @cached_property
    def _points(self) -> NDArray[np.int16]:
        return np.load(self.folder / "points.npy", mmap_mode="r")

    @cached_property
    def _ring(self) -> NDArray[np.uint8]:
        return np.load(self.folder / "ring.npy", mmap_mode="r")

    @cached_property
    def _images(self) -> NDArray[np.uint8]:
        return np.load(self.folder / "images.npy", mmap_mode="r")

    def __getitem__(self, number: int) -> Frame:
        index = self._begin + number
        begin, end = self._frames["offsets"][index : index + 2]
        return Frame(
            stamp_ns=int(self.stamps_ns[number]),
            odom_from_anchor=self._frames["odom_from_anchor"][index],
            ground_height_m=float(self._frames["ground_height_m"][index]),
            points_m=self._points[begin:end].astype(np.float32) * np.float32(CENTIMETRE_M),
            ring=np.array(self._ring[begin:end]),
            lidar_origin_m=self._frames["lidar_origin_m"][index],
            images=np.array(self._images[index]),
            camera_from_anchor=self._frames["camera_from_anchor"][index],
        )


def write_shard(folder: Path, source: str, cameras: list[CameraModel], frames: list[dict[str, Any]]) -> None:
    """Write a shard; `frames`: the fields of `Frame`, points as int16 centimetres. The folder appears whole or not at all."""
    partial = folder.with_name(folder.name + ".partial")
    partial.mkdir(parents=True, exist_ok=True)
    lengths = [len(frame["points"]) for frame in frames]
    np.save(partial / "points.npy", np.concatenate([frame["points"] for frame in frames]))
    np.save(partial / "ring.npy", np.concatenate([frame["ring"] for frame in frames]))
    np.save(partial / "images.npy", np.stack([frame["images"] for frame in frames]))
    small = ("stamp_ns", "odom_from_anchor", "ground_height_m", "lidar_origin_m", "camera_from_anchor")
    columns: dict[str, Any] = {key: np.stack([frame[key] for frame in frames]) for key in small}
    np.savez(partial / "frames.npz", offsets=np.cumsum([0, *lengths]), **columns)
    described = [
        {**dataclasses.asdict(camera), "intrinsics": camera.intrinsics.tolist(), "distortion": camera.distortion.tolist()}
        for camera in cameras
    ]
    (partial / "meta.json").write_text(json.dumps({"source": source, "frames": len(frames), "cameras": described}))
    partial.rename(folder)


def open_shards(root: Path, part: tuple[float, float] = (0.0, 1.0)) -> list[Shard]:
    """Every shard below `root`, by name. Raises ValueError where there is none."""
    folders = sorted(path.parent for path in Path(root).glob("*/meta.json"))
    folders = [folder for folder in folders if not folder.name.endswith(".partial")]
    if not folders:
        raise ValueError(f"{root} holds no prepared bags; run: python -m jepa_ros.training prepare BAG... --out {root}")
    return [Shard(folder, part) for folder in folders]
