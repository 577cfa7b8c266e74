"""Columns with their evidence and their class, from real sweeps as they are and with synthetic objects cast into them.

Axes: M columns, F evidence.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from jepa_ros.objects.detection import DetectionConfig, PersonDetector
from jepa_ros.objects.vehicles.boxes import moved
from jepa_ros.training.arrays import write_arrays
from jepa_ros.training.objects.bodies import PERSON, RIDER, VEHICLE, random_thing
from jepa_ros.training.objects.casting import Beams, cast
from jepa_ros.training.objects.recordings import UNKNOWN, Sweep
from jepa_ros.types import FloatArray

REAL, CAST, SIMULATED = range(3)
ON_IT_M, BESIDE_M = 0.45, 1.0
ENOUGH_RETURNS = 6
THINGS_IN_SWEEP = 14
SHARD = 20


@dataclass(frozen=True)
class Examples:
    """M columns."""

    evidence: FloatArray  # (M, F)
    classes: NDArray[np.intp]  # (M,)
    domain: NDArray[np.intp]  # (M,) REAL, CAST into a real sweep, or SIMULATED
    source: NDArray[np.str_]  # (M,)
    sweep: NDArray[np.intp]  # (M,) number of the sweep

    def save(self, path: Path) -> None:
        write_arrays(path, **vars(self))

    @staticmethod
    def load(paths: list[Path]) -> Examples:
        files = [np.load(path) for path in paths]
        return Examples(*(np.concatenate([file[name] for file in files]) for name in Examples.__dataclass_fields__))

    def take(self, keep: NDArray) -> Examples:
        return Examples(*(getattr(self, name)[keep] for name in Examples.__dataclass_fields__))


ExamplesOf = Callable[[Sweep, int, np.random.Generator], Examples]  # of a sweep with its number


def varied(sweep: Sweep, generator: np.random.Generator) -> Sweep:
    """The sweep turned, and of a lidar with 16 or more rings perhaps only every second or fourth."""
    g, ring, keep = generator, sweep.ring, np.ones(len(sweep.points_m), bool)
    rings = 0 if ring is None else int(ring.max()) + 1
    if ring is not None and rings > 16:
        every = int(g.choice([1, 2, 4] if rings > 48 else [1, 1, 2]))
        keep = ring % every == g.integers(every)
        ring = ring // every
    turn = g.uniform(-np.pi, np.pi)
    flat = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    points = sweep.points_m.copy()
    points[:, :2] = points[:, :2] @ flat.T
    return replace(
        sweep,
        points_m=points[keep],
        ring=None if ring is None else ring[keep],
        bodies_m=sweep.bodies_m @ flat.T,
        vehicles=moved(sweep.vehicles, np.block([[flat, np.zeros((2, 2))], [np.zeros((2, 2)), np.eye(2)]])),
        point_class=None if sweep.point_class is None else sweep.point_class[keep],
    )


def worn(points: FloatArray, lidar_m: FloatArray, generator: np.random.Generator) -> tuple[FloatArray, NDArray[np.bool_]]:
    """Points (N, 3) as a worse lidar would give them, and which (N,) are left: noisier ranges, returns lost, perhaps every second beam."""
    g, offset = generator, points - lidar_m
    away = np.maximum(np.linalg.norm(offset, axis=1, keepdims=True), 1e-6)
    returns = lidar_m + offset * (1 + g.normal(0.0, g.uniform(0.0, 0.02), (len(points), 1)) / away)
    keep = g.random(len(points)) > g.uniform(0.0, 0.08)
    if g.random() < 0.3:
        step = np.radians(g.uniform(0.2, 0.5))
        keep &= np.floor(np.arctan2(points[:, 1], points[:, 0]) / step).astype(int) % 2 == 0
    return returns[keep].astype(np.float32), keep


def _free(points: FloatArray, place: FloatArray) -> bool:
    near = ((points[:, :2] - place) ** 2).sum(axis=1) < 0.3**2
    return not ((points[near, 2] > 0.3) & (points[near, 2] < 2.0)).any()


def _with_things(sweep: Sweep, generator: np.random.Generator) -> tuple[FloatArray, FloatArray, NDArray[np.intp]]:
    """Points with things cast among them, where those are (T, 2), and what (T,)."""
    points, ring = sweep.points_m.astype(np.float64), sweep.ring
    places: list[FloatArray] = []
    classes: list[int] = []
    if ring is None:
        return points, np.zeros((0, 2)), np.zeros(0, np.intp)
    beams, noise_m = Beams.of(points, sweep.lidar_m, ring), float(generator.uniform(0.005, 0.03))
    angles, range_m = np.arctan2(points[:, 1], points[:, 0]), np.hypot(points[:, 0], points[:, 1])
    standing = points[(points[:, 2] > 0.8) & (points[:, 2] < 1.8) & (range_m > 1.5) & (range_m < 25.0), :2]
    for _ in range(THINGS_IN_SWEEP):
        thing, kind = random_thing(generator)
        away = 0.7 + 27.0 * generator.random() ** 1.4
        chance = generator.random()
        if places and chance < 0.35:  # beside another: crowds, and people among things
            place = places[-1] + generator.uniform(0.5, 0.9) * np.array([np.cos(a := generator.uniform(0, 7)), np.sin(a)])
        elif len(standing) and chance < 0.55:  # before a wall, a hedge, a car
            place = standing[generator.integers(len(standing))]
            place = place * (1 - generator.uniform(0.35, 0.8) / max(np.hypot(*place), 1.0))
        else:
            angle = angles[generator.integers(len(angles))]
            place = away * np.array([np.cos(angle), np.sin(angle)])
        if any(np.hypot(*(place - other)) < 0.45 for other in places) or not _free(points, place):
            continue
        near = ((points[:, :2] - place) ** 2).sum(axis=1) < 1.5**2
        ground = float(np.percentile(points[near, 2], 5)) if near.sum() > 5 else 0.0
        spot = np.array([*place, ground if abs(ground) < 0.8 else 0.0])
        cloud, rings, _, seen = cast(points, ring, sweep.lidar_m, beams, thing, spot, generator.uniform(0, 2 * np.pi), generator, noise_m)
        if seen >= ENOUGH_RETURNS:
            points, ring = cloud.astype(np.float64), rings
            places.append(place)
            classes.append(kind)
    return points, np.array(places).reshape(-1, 2), np.array(classes, np.intp)


def columns_of(sweep: Sweep, number: int, generator: np.random.Generator, detector: PersonDetector) -> Examples:
    """Examples of one sweep, varied and with things cast into it."""
    seen = varied(sweep, generator)
    points, places, kinds = _with_things(seen, generator)
    columns, evidence = detector.columns(worn(points, seen.lidar_m, generator)[0], 0.0, seen.lidar_m)
    classes = seen.classes(columns.centres_m)
    made_up = np.zeros(len(classes), bool)
    if len(places):
        away = np.linalg.norm(columns.centres_m[:, None] - places, axis=2)
        nearest, least = away.argmin(axis=1), away.min(axis=1)
        large = np.where(kinds == VEHICLE, 2.6, ON_IT_M)[nearest]
        made_up = least < large
        beside = ~made_up & (least < BESIDE_M) & np.isin(kinds[nearest], (PERSON, RIDER))
        classes = np.where(made_up, kinds[nearest], np.where(beside, UNKNOWN, classes))
    known = classes != UNKNOWN
    count = int(known.sum())
    domain = np.where(made_up, CAST, SIMULATED if sweep.simulated else REAL)
    return Examples(evidence[known].astype(np.float32), classes[known], domain[known], np.full(count, sweep.source), np.full(count, number))


def make_examples(
    sweeps: list[Sweep], folder: Path, rounds: dict[str, int], seed: int, examples_of: ExamplesOf | None = None
) -> list[Path]:
    """Examples of all sweeps, each in as many variations as `rounds` says for its source, in shards; finished ones are kept.

    `examples_of`: what makes those of a sweep; None = columns.
    """
    folder.mkdir(parents=True, exist_ok=True)
    work = [
        number for number, sweep in enumerate(sweeps) for _ in range(1 if sweep.simulated else rounds.get(sweep.source, rounds.get("", 1)))
    ]
    np.random.default_rng(seed).shuffle(work)
    if examples_of is None:
        examples_of = partial(columns_of, detector=PersonDetector(DetectionConfig(verifier="rules")))
    paths = []
    for first in tqdm(range(0, len(work), SHARD), desc="examples", unit="shard"):
        path = folder / f"examples_{first:05d}.npz"
        paths.append(path)
        if path.exists():
            continue
        generator = np.random.default_rng((seed, first))
        parts = [examples_of(sweeps[number], number, generator) for number in work[first : first + SHARD]]
        joined = Examples(*(np.concatenate([getattr(part, name) for part in parts]) for name in Examples.__dataclass_fields__))
        joined.save(path)
    return paths
