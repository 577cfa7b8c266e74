"""The recordings as a tracker would give them: with jitter, at other periods, with short histories; and people seen from a moving car."""

from __future__ import annotations

import csv
import dataclasses
import gzip
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from jepa_ros.objects.time_steps import HISTORY, STEP_S
from jepa_ros.training.forecaster.data import Recording, TrackTable, joined, table_of


def windows_of(recordings: list[Recording], noise_m: float = 0.0, seed: int = 0) -> TrackTable:
    """The windows of these recordings; the histories are jittered, position by position, and the futures are not."""
    rng = np.random.default_rng(seed)
    tables = []
    for source, recording in enumerate(recordings):
        clean = table_of(recording, source, complete_only=True)
        if noise_m:
            jitter = noise_m * rng.standard_normal(recording.positions_m.shape).astype(np.float32)
            noisy = table_of(dataclasses.replace(recording, positions_m=recording.positions_m + jitter), source, complete_only=True)
            clean = dataclasses.replace(clean, history_m=noisy.history_m)
        tables.append(clean)
    return joined(tables)


def thinned(table: TrackTable, every: int) -> NDArray[np.bool_]:
    """(N,) the complete rows of every so many instants."""
    return table.complete & (table.instant % every == 0)


def with_steps(table: TrackTable, steps: int) -> TrackTable:
    """Only the newest `steps` of each history are seen."""
    seen = table.seen.copy()
    seen[:, : HISTORY - steps] = False
    return dataclasses.replace(table, seen=seen)


def with_period(table: TrackTable, dt_s: float, noise_m: float = 0.0, seed: int = 0) -> TrackTable:
    """The same histories sampled every `dt_s` seconds (linear between annotations), each sample jittered by itself."""
    count = int((HISTORY - 1) * STEP_S / dt_s + 1e-6) + 1
    position = (HISTORY - 1) + (np.arange(count) - (count - 1)) * dt_s / STEP_S
    below = np.clip(np.floor(position + 1e-6).astype(int), 0, HISTORY - 1)
    above = np.minimum(below + 1, HISTORY - 1)
    weight = np.clip(position - below, 0.0, 1.0)[:, None].astype(np.float32)
    path = (1 - weight) * table.history_m[:, below] + weight * table.history_m[:, above]
    jitter = noise_m * np.random.default_rng(seed).standard_normal(path.shape).astype(np.float32)
    seen = table.seen[:, below] & (table.seen[:, above] | (weight[:, 0] < 1e-6))
    return dataclasses.replace(table, history_m=path + jitter, seen=seen)


def read_av2(folder: Path) -> list[Recording]:
    """Pedestrians of Argoverse 2 logs (FOLDER/*/tracks_city.csv.gz, city frame, 10 Hz), every fourth sweep."""
    recordings = []
    for path in sorted(folder.glob("*/tracks_city.csv.gz")):
        with gzip.open(path, "rt", newline="") as file:
            rows = [row for row in csv.DictReader(file) if row["category"] == "PEDESTRIAN"]
        stamps = sorted({int(row["timestamp_ns"]) for row in rows})
        names = sorted({row["track_uuid"] for row in rows})
        people = {name: at for at, name in enumerate(names)}
        index = {stamp: at for at, stamp in enumerate(stamps)}
        where = [(index[int(row["timestamp_ns"])], people[row["track_uuid"]], float(row["city_x"]), float(row["city_y"])) for row in rows]
        centre = np.mean([(x, y) for _, _, x, y in where], axis=0)  # float32 loses millimetres far from the origin
        positions = np.zeros((len(stamps), len(people), 2), np.float32)
        present = np.zeros((len(stamps), len(people)), bool)
        for at, person, x, y in where:
            positions[at, person] = (x - centre[0], y - centre[1])
            present[at, person] = True
        recordings += [Recording(path.parent.name, positions[phase::4], present[phase::4]) for phase in range(4)]
    return recordings
