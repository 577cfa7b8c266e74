"""What was known of vehicles and cyclists at an instant, and what they did then.

Axes: N examples, T history step, H future step, M neighbour."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from jepa_ros.forecast.traffic.road_users import CYCLIST, SCALE_M, VEHICLE, Inputs, RoadUsers
from jepa_ros.objects.time_steps import HORIZON, STEP_S
from jepa_ros.training.arrays import write_arrays
from jepa_ros.training.traffic.streams import Moment, World, watch
from jepa_ros.types import FloatArray

SAME_M = 1.8  # a track is of whom it is nearest to, within this
STANDS_M, KEPT_STANDING = 0.3, 0.15  # of those that stand all the time this share is kept: they are many, and all alike
EVERY_S = 0.4
LATE_S = 0.3  # what is known so long after the last step is enough to interpolate it


@dataclass(frozen=True)
class Examples:
    """N of them; what is read as in `Inputs`."""

    past: NDArray[np.float32]
    seen: NDArray[np.bool_]
    own: NDArray[np.float32]
    near: NDArray[np.float32]
    present: NDArray[np.bool_]
    future: NDArray[np.float32]  # (N, H, 2) in the own frame, in SCALE_M
    known: NDArray[np.bool_]  # (N, H)
    world: NDArray[np.int64]  # (N,) seed

    def __len__(self) -> int:
        return len(self.past)

    def take(self, rows: NDArray) -> Examples:
        return Examples(*(getattr(self, field.name)[rows] for field in fields(self)))

    @staticmethod
    def joined(parts: list[Examples]) -> Examples:
        return Examples(*(np.concatenate([getattr(part, field.name) for part in parts]) for field in fields(Examples)))


def future_of(moments: list[Moment], now: int) -> tuple[dict[int, int], FloatArray]:
    """Rows by the ids of who is there at moment `now`, and where each is at every future step (A, H, 2), NaN where gone."""
    here = moments[now]
    times_s = np.array([moment.time_s for moment in moments])
    rows = {int(number): row for row, number in enumerate(here.ids)}
    then_s = here.time_s + STEP_S * np.arange(1, HORIZON + 1)
    last = int(np.searchsorted(times_s, then_s[-1] + LATE_S))
    ways = np.full((len(here.ids), last - now, 2), np.nan)
    for column, moment in enumerate(moments[now:last]):
        same = np.array([rows.get(number, -1) for number in moment.ids.tolist()])
        ways[same[same >= 0], column] = moment.places_m[same >= 0]
    after = np.searchsorted(times_s[now:last], then_s - 1e-6)
    reached = after < last - now
    after = np.where(reached, np.maximum(after, 1), 1) if last - now > 1 else np.zeros(HORIZON, np.intp)
    before = np.maximum(after - 1, 0)
    gap_s = np.maximum(times_s[now + after] - times_s[now + before], 1e-6)
    share = np.clip((then_s - times_s[now + before]) / gap_s, 0.0, 1.0)[:, None]
    places = (1 - share) * ways[:, before] + share * ways[:, after]
    return rows, np.where(reached[:, None], places, np.nan)


def matched(moment: Moment, users: RoadUsers) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Which tracks are of vehicles or cyclists that are there (rows of `users`), and of whom (rows of the truth)."""
    tracks, truths = [], []
    for kind, true in ((VEHICLE, moment.vehicles_too), (CYCLIST, moment.cyclists)):
        own, there = np.flatnonzero(users.kinds == kind), np.flatnonzero(true)
        if not len(own) or not len(there):
            continue
        away = np.linalg.norm(users.poses[own, None, :2] - moment.places_m[there], axis=2)
        near = away.min(axis=1) < SAME_M
        tracks.append(own[near])
        truths.append(there[away.argmin(axis=1)[near]])
    if not tracks:
        return np.zeros(0, np.intp), np.zeros(0, np.intp)
    return np.concatenate(tracks), np.concatenate(truths)


def examples_of(world: World) -> Examples:
    """Of every 0.4 s of a world."""
    moments = list(watch(world))
    generator, parts = np.random.default_rng([world.seed, 9]), []
    every = max(1, round(EVERY_S / (moments[1].time_s - moments[0].time_s)))
    for now in range(every, len(moments) - every, every):
        moment = moments[now]
        users = RoadUsers.of(moment.vehicles, moment.people, moment.ego)
        tracks, truths = matched(moment, users)
        _, future = future_of(moments, now)
        future = future[truths]
        known = np.isfinite(future[..., 0])
        way = np.nanmax(np.where(known, np.linalg.norm(future - moment.places_m[truths, None], axis=2), 0.0), axis=1)
        keep = (known.sum(axis=1) >= 4) & ((way > STANDS_M) | (generator.random(len(way)) < KEPT_STANDING))
        if not keep.any():
            continue
        tracks, future, known = tracks[keep], future[keep], known[keep]
        pose = users.poses[tracks]
        c, s = np.cos(pose[:, 2])[:, None], np.sin(pose[:, 2])[:, None]
        gap = np.where(known[..., None], future - pose[:, None, :2], 0.0)
        own = np.stack((c * gap[..., 0] + s * gap[..., 1], c * gap[..., 1] - s * gap[..., 0]), axis=-1) / SCALE_M
        inputs = Inputs.of(users, tracks)
        read = (inputs.past, inputs.seen, inputs.own, inputs.near, inputs.present)
        parts.append(Examples(*read, own.astype(np.float32), known, np.full(len(tracks), world.seed)))
    return Examples.joined(parts)


def gather(seeds: range, seconds: float, folder: Path) -> Examples:
    """Of all worlds, one file each; finished ones are kept."""
    parts = []
    for seed in tqdm(seeds, desc="worlds", unit="world"):
        path = folder / f"world_{seed:06d}_{seconds:g}.npz"
        if not path.exists():
            write_arrays(path, **vars(examples_of(World.drawn(seed, seconds))))
        with np.load(path) as file:
            parts.append(Examples(*(file[field.name] for field in fields(Examples))))
    return Examples.joined(parts)
