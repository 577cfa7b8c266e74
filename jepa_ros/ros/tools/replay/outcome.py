"""A replay's folder, read back as numbers. Types come from the file itself, so that runs of different versions can be compared."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rosbags.highlevel import AnyReader

from jepa_ros.types import FloatArray

OCCUPANCY, PEDESTRIANS, LATENT = "/world_model/occupancy", "/world_model/pedestrians", "/world_model/latent"


@dataclass(frozen=True)
class People:
    """Tracked people of one stamp, in the fixed frame."""

    ids: np.ndarray  # (P,)
    positions_m: FloatArray  # (P, 2)
    ends_m: FloatArray  # (P, 2) where the likeliest mode ends


@dataclass(frozen=True)
class Outcome:
    """The output of one replay, by stamp in ns."""

    folder: Path
    summary: dict[str, Any]
    plans: list[dict[str, Any]]
    people: dict[int, People]
    occupancy: dict[int, np.ndarray]  # (steps, rows, columns) uint8, of all that is told
    surprise: dict[int, float]


def read_outcome(folder: Path) -> Outcome:
    """Raises FileNotFoundError where the folder holds no replay."""
    for name in ("summary.json", "plans.json", "output.mcap"):
        if not (folder / name).is_file():
            raise FileNotFoundError(f"{folder / name}: not there; is {folder} the OUT of a replay?")
    people, occupancy, surprise = {}, {}, {}
    with AnyReader([folder / "output.mcap"]) as reader:
        wanted = [connection for connection in reader.connections if connection.topic in (OCCUPANCY, PEDESTRIANS, LATENT)]
        for connection, _, data in reader.messages(wanted):
            message = reader.deserialize(data, connection.msgtype)
            stamp_ns = message.header.stamp.sec * 10**9 + message.header.stamp.nanosec
            if connection.topic == OCCUPANCY:
                occupancy[stamp_ns] = np.asarray(message.probability).reshape(len(message.times_s), message.rows, message.columns)
            elif connection.topic == PEDESTRIANS:
                people[stamp_ns] = _people(message)
            else:
                surprise[stamp_ns] = float(message.surprise)
    return Outcome(
        folder,
        json.loads((folder / "summary.json").read_text()),
        json.loads((folder / "plans.json").read_text()),
        people,
        occupancy,
        surprise,
    )


def _people(message: Any) -> People:
    persons = message.pedestrians
    positions = [(person.pose.position.x, person.pose.position.y) for person in persons]
    ends = [
        (person.modes[0].positions[-1].x, person.modes[0].positions[-1].y) if person.modes and person.modes[0].positions else place
        for person, place in zip(persons, positions, strict=True)
    ]
    return People(np.array([person.id for person in persons]), np.array(positions).reshape(-1, 2), np.array(ends).reshape(-1, 2))
