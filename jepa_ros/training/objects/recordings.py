"""Real sweeps to learn from: which files, how they are read, and what is known of what stands in them.

A folder holds any of: `logictronix_*.npz` (sweeps with boxes), `ika_*.npz` (sweeps with a label for each return),
`frames/*.npz` (unlabelled sweeps).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from jepa_ros.objects.vehicles.boxes import moved
from jepa_ros.sensing import GroundEstimator, anchor_lidar, anchor_points, bag_info, open_bag
from jepa_ros.training.detection_score import truth_from_markers
from jepa_ros.training.objects.bodies import CLUTTER, PERSON, RIDER, VEHICLE
from jepa_ros.types import FloatArray

UNKNOWN = -1
SAME_M, APART_M = 0.4, 1.0  # a column is of a labelled body within the one, of something else beyond the other
IKA_PERSON, IKA_CYCLE, IKA_CAR = 5, 6, 7
VLP16_STEP_RAD, VLP16_LOWEST_RAD = np.radians(2.0), np.radians(-15.0)
FEW_RETURNS = 500
ROOMS = (  # of the single sweeps those of rooms, looked at one by one: no vehicle is in them, and nothing of theirs is one
    "mrpt_sample_velodyne_vlp16_gps", "nebula_40p", "nebula_64", "nebula_at128", "nebula_bag_vlp16", "nebula_bag_vlp32", "nebula_ot128",
    "nebula_qt128", "nebula_qt64", "nebula_vlp16", "nebula_vlp32", "nebula_xt16", "nebula_xt32",
)  # fmt: skip
LOWEST_LIDAR_M, HIGHEST_LIDAR_M = 0.25, 3.0  # otherwise no ground was in view, and heights would mean nothing


@dataclass(frozen=True)
class Sweep:
    """One sweep in a frame whose origin lies on the ground below the lidar."""

    source: str
    points_m: FloatArray  # (N, 3)
    ring: NDArray[np.intp] | None  # (N,)
    lidar_m: FloatArray  # (3,)
    bodies_m: FloatArray  # (G, 2) where labelled bodies are
    body_class: NDArray[np.intp]  # (G,)
    point_class: NDArray[np.intp] | None  # (N,) where each return is labelled
    simulated: bool = False
    vehicles: FloatArray = field(default_factory=lambda: np.zeros((0, 5)))  # (V, 5) labelled boxes of vehicles, as in `vehicles.boxes`
    all_vehicles: bool = False  # every vehicle in it is labelled, or there is none

    def classes(self, centres_m: FloatArray) -> NDArray[np.intp]:
        """(M,) class of columns at (M, 2) as far as it is known."""
        found = np.full(len(centres_m), CLUTTER)
        if self.point_class is not None:
            upper = self.points_m[:, 2] > 0.5
            points, labels = self.points_m[upper, :2], self.point_class[upper]
            for i, centre in enumerate(centres_m):
                near = labels[((points - centre) ** 2).sum(axis=1) < SAME_M**2]
                share = np.bincount(near, minlength=4) / max(len(near), 1)
                found[i] = share[1:].argmax() + 1 if share[1:].max() > 0.5 else CLUTTER if share[1:].max() < 0.1 else UNKNOWN
        if len(self.bodies_m):
            away = np.linalg.norm(centres_m[:, None] - self.bodies_m, axis=2)
            nearest, least = away.argmin(axis=1), away.min(axis=1)
            found = np.where(least < SAME_M, self.body_class[nearest], np.where(least < APART_M, UNKNOWN, found))
        return found


def _level(points: FloatArray) -> FloatArray:
    """(3,) the lidar above the ground that it sees; points are in its own frame."""
    ground = GroundEstimator(-1.8)
    ground.update(points)
    return np.array([0.0, 0.0, -ground.height_m])


def _sweep(
    source: str, points: FloatArray, ring: NDArray | None, labels: NDArray | None = None, lidar_m: FloatArray | None = None
) -> Sweep:
    use = np.isfinite(points).all(axis=1) & (np.linalg.norm(points, axis=1) > 0.3)
    points = points[use]
    lidar_m = _level(points) if lidar_m is None else lidar_m
    ring = None if ring is None else ring[use].astype(np.intp)
    point_class = None if labels is None else labels[use]
    return Sweep(source, (points + lidar_m).astype(np.float32), ring, lidar_m, np.zeros((0, 2)), np.zeros(0, np.intp), point_class)


def yard(path: Path) -> Iterator[Sweep]:
    """A VLP-16 that stands; people and cars are boxes."""
    data = np.load(path)
    starts, boxes, first = data["offsets"], data["boxes"], data["box_offsets"]
    points, classes = data["points"], data["box_class"]
    lidar_m = _level(points[: starts[1], :3])
    for i in range(len(starts) - 1):
        cloud = points[starts[i] : starts[i + 1], :3]
        elevation = np.arctan2(cloud[:, 2], np.hypot(cloud[:, 0], cloud[:, 1]))
        ring = np.clip(np.rint((elevation - VLP16_LOWEST_RAD) / VLP16_STEP_RAD), 0, 15)
        plain = _sweep("yard", cloud, ring, lidar_m=lidar_m)
        own = slice(first[i], first[i + 1])
        kind = np.where(classes[own] == "pedestrian", PERSON, VEHICLE)
        people = kind == PERSON  # a car's middle is no column
        cars = boxes[own][~people][:, [0, 1, 6, 3, 4]].astype(float)
        yield Sweep("yard", plain.points_m, plain.ring, lidar_m, boxes[own][people, :2].astype(float), kind[people], None, vehicles=cars)


def car_view(path: Path) -> Iterator[Sweep]:
    """A VLP-32C on a moving car, each return labelled by a machine."""
    data = np.load(path)
    known = np.full(256, CLUTTER)
    known[[IKA_PERSON, IKA_CYCLE, IKA_CAR]] = PERSON, RIDER, VEHICLE
    rings = np.repeat(np.arange(data["grid"].shape[1]), data["grid"].shape[2])
    grids, labels = data["grid"], data["label"]
    for grid, label in zip(grids, labels, strict=True):
        yield replace(_sweep("car view", grid[..., :3].reshape(-1, 3), rings, known[label.ravel()]), all_vehicles=True)


def frames(folder: Path) -> Iterator[Sweep]:
    """Single sweeps of many sensors, without labels."""
    for path in sorted(folder.glob("*.npz")):
        data = np.load(path)
        for name in [name for name in data.files if name.startswith("xyz")][:4]:
            points, ring = data[name], None
            number = name.removeprefix("xyz")
            if points.ndim == 3:
                ring = np.repeat(np.arange(points.shape[0]), points.shape[1])
            elif f"ring{number}" in data.files:
                ring = data[f"ring{number}"]
            if points.size > FEW_RETURNS * 3:
                yield replace(_sweep(path.stem, points.reshape(-1, 3), ring), all_vehicles=path.stem in ROOMS)


def bag(path: Path, every: int = 2) -> Iterator[Sweep]:
    """A bag of the simulator (`python -m jepa_ros.sim bags`), or a recording of one's own in which nobody is: clutter only."""
    truths = truth_from_markers(path)
    topics = [topic.name for topic in bag_info(path).topics if not topic.name.startswith("/ground_truth")]
    for i, observation in enumerate(open_bag(path, topics)):
        lidar_m = anchor_lidar(observation)
        if i % every or lidar_m is None:
            continue
        drop, pose = np.array([0.0, 0.0, observation.ground_height_m]), observation.odom_from_anchor
        points = (anchor_points(observation) - drop).astype(np.float32)
        truth = truths.get(observation.stamp_ns)
        bodies = np.zeros((0, 2)) if truth is None else (truth.positions_m - pose[:2, 3]) @ pose[:2, :2]
        kinds = (
            np.zeros(0, np.intp) if truth is None else np.array([RIDER if kind == "cyclist" else PERSON for kind in truth.kinds], np.intp)
        )
        cars = np.zeros((0, 5)) if truth is None else moved(truth.vehicles, np.linalg.inv(pose))
        if not truths or truth is not None:
            known = bool(truths)
            yield Sweep(path.name, points, None, lidar_m - drop, bodies, kinds, None, simulated=known, vehicles=cars, all_vehicles=known)


def sweeps(folder: Path, bags: tuple[Path, ...] = ()) -> list[Sweep]:
    """All sweeps of a folder, and of bags. Raises ValueError where there are none."""
    found: list[Sweep] = []
    for path in sorted(folder.glob("logictronix_*.npz")):
        found += list(yard(path))
    for path in sorted(folder.glob("ika_*.npz")):
        found += list(car_view(path))
    found += list(frames(folder / "frames"))
    for path in bags:
        found += list(bag(path))
    found = [sweep for sweep in found if LOWEST_LIDAR_M < sweep.lidar_m[2] < HIGHEST_LIDAR_M]
    if not found:
        raise ValueError(
            f"{folder} holds no sweeps: expected logictronix_*.npz, ika_*.npz or frames/*.npz (weights/README.md says where they come from)"
        )
    return found
