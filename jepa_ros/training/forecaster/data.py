"""Recordings of walking people -> tables of (recent past, neighbours, future), one row per person and instant.

Axes: N row, T history step (8, oldest first), H future step (12), M neighbour, F instant of a recording, P person of a recording.
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from jepa_ros.forecast.history import NEIGHBOURS, nearest_neighbours
from jepa_ros.objects.time_steps import HISTORY, HORIZON

SCENES = ("eth", "hotel", "univ", "zara1", "zara2")
RECORDINGS_OF_SCENE = {
    "eth": ("biwi_eth",),
    "hotel": ("biwi_hotel",),
    "univ": ("students001", "students003"),
    "zara1": ("crowds_zara01",),
    "zara2": ("crowds_zara02",),
}


@dataclass(frozen=True)
class Recording:
    """Positions of all people at every annotated instant."""

    name: str
    positions_m: NDArray[np.float32]  # (F, P, 2); zeros where absent
    present: NDArray[np.bool_]  # (F, P)

    def resampled(self, rate: float) -> Recording:
        """The same people watched every `rate` steps (linear between two annotated instants; absent unless both are)."""
        if rate == 1.0:
            return self
        last = len(self.present) - 1
        instant = np.arange(0.0, last + 1e-9, rate)
        below = np.floor(instant + 1e-9).astype(int)
        above = np.minimum(below + 1, last)
        weight = (instant - below)[:, None, None].astype(np.float32)
        positions = (1 - weight) * self.positions_m[below] + weight * self.positions_m[above]
        present = self.present[below] & (self.present[above] | (weight[..., 0] < 1e-6))
        return Recording(f"{self.name}*{rate:g}", np.where(present[..., None], positions, 0).astype(np.float32), present)

    def reversed(self) -> Recording:
        """Time run backwards."""
        return Recording(f"{self.name}<", self.positions_m[::-1].copy(), self.present[::-1].copy())

    def part(self, instants: slice) -> Recording:
        """Only these instants."""
        return Recording(self.name, self.positions_m[instants], self.present[instants])


@dataclass(frozen=True)
class TrackTable:
    """One row per person and instant; neighbours are rows of the same table."""

    history_m: NDArray[np.float32]  # (N, T, 2)
    seen: NDArray[np.bool_]  # (N, T)
    future_m: NDArray[np.float32]  # (N, H, 2)
    known: NDArray[np.bool_]  # (N, H)
    neighbours: NDArray[np.int64]  # (N, M) row of the table, -1 = none; nearest first
    person: NDArray[np.int64]  # (N,) unique within the recording
    source: NDArray[np.int64]  # (N,) which recording
    instant: NDArray[np.int64]  # (N,)

    def __len__(self) -> int:
        return len(self.source)

    @property
    def complete(self) -> NDArray[np.bool_]:
        """(N,) rows of protocol P2: present for all 8 + 12 steps."""
        return np.logical_and(self.seen.all(axis=1), self.known.all(axis=1))


def read_recording(path: Path, name: str) -> Recording:
    """Read `frame  person  x_m  y_m` rows. The instants are the frames that have somebody, in order, whatever the clock says."""
    if not path.is_file():
        raise ValueError(f"{path}: no such recording; --data must name the folder that holds splits.json and the scenes")
    rows = np.loadtxt(path)
    frames, frame_of_row = np.unique(rows[:, 0], return_inverse=True)
    people, person_of_row = np.unique(rows[:, 1], return_inverse=True)
    positions = np.zeros((len(frames), len(people), 2), np.float32)
    present = np.zeros((len(frames), len(people)), bool)
    positions[frame_of_row, person_of_row] = rows[:, 2:4]
    present[frame_of_row, person_of_row] = True
    return Recording(name, positions, present)


def read_recordings(data: Path) -> dict[str, Recording]:
    """All recordings named in DIR/splits.json, by name."""
    splits = data / "splits.json"
    if not splits.is_file():
        raise ValueError(f"{splits}: not found; --data must name the folder that holds splits.json and the scenes")
    files = json.loads(splits.read_text())["files"]
    return {name: read_recording(data / file, name) for name, file in files.items()}


def table_of(recording: Recording, source: int = 0, complete_only: bool = False) -> TrackTable:
    """Rows for everybody present at each instant; with `complete_only`, instants that have no full past or no full future are left out."""
    count = len(recording.present)
    before, after = HISTORY - 1, HORIZON
    positions = np.pad(recording.positions_m, ((before, after), (0, 0), (0, 0)))
    present = np.pad(recording.present, ((before, after), (0, 0)))
    instants = range(before, count - after) if complete_only else range(count)
    parts: list[TrackTable] = []
    offset = 0
    for instant in instants:
        who = np.flatnonzero(recording.present[instant])
        if not len(who):
            continue
        window = slice(instant, instant + HISTORY + HORIZON)
        path, there = positions[window][:, who].swapaxes(0, 1), present[window][:, who].T
        near = nearest_neighbours(path[:, HISTORY - 1], NEIGHBOURS)
        parts.append(
            TrackTable(
                path[:, :HISTORY],
                there[:, :HISTORY],
                path[:, HISTORY:],
                there[:, HISTORY:],
                np.where(near >= 0, near + offset, -1),
                who,
                np.full(len(who), source),
                np.full(len(who), instant),
            )
        )
        offset += len(who)
    return joined(parts, shift=False)


def joined(tables: list[TrackTable], shift: bool = True) -> TrackTable:
    """One table of many; `shift` moves the neighbour indices of each by the rows before it."""
    starts = np.cumsum([0, *(len(table) for table in tables)])[:-1] if shift else np.zeros(len(tables), int)
    columns = {spec.name: [getattr(table, spec.name) for table in tables] for spec in dataclasses.fields(TrackTable)}
    columns["neighbours"] = [np.where(near >= 0, near + start, -1) for near, start in zip(columns["neighbours"], starts, strict=True)]
    return TrackTable(**{name: np.concatenate(values) for name, values in columns.items()})
