"""The files of a LeRobot data set, layout v3.0, written with pyarrow alone: data, episodes, tasks, statistics and what the features are."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

VERSION = "v3.0"
FILES_PER_CHUNK = 1000
ROWS_AT_ONCE = 32
DATA = "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
EPISODES = "meta/episodes/chunk-000/file-000.parquet"
TASKS = "meta/tasks.parquet"
INFO, STATS = "meta/info.json", "meta/stats.json"
INDICES = ("frame_index", "episode_index", "index", "task_index")


@dataclass
class Statistics:
    """Of one feature, channel by channel, over all frames."""

    low: np.ndarray
    high: np.ndarray
    total: np.ndarray
    squares: np.ndarray
    count: int = 0
    frames: int = 0

    @classmethod
    def of_size(cls, size: int) -> Statistics:
        return cls(np.full(size, np.inf), np.full(size, -np.inf), np.zeros(size), np.zeros(size))

    def add(self, values: np.ndarray) -> None:
        """values: (N, C) of one frame."""
        self.low, self.high = np.minimum(self.low, values.min(axis=0)), np.maximum(self.high, values.max(axis=0))
        self.total += values.sum(axis=0)
        self.squares += (values.astype(np.float64) ** 2).sum(axis=0)
        self.count += len(values)
        self.frames += 1

    def told(self, shape: tuple[int, ...]) -> dict[str, Any]:
        mean = self.total / self.count
        std = np.sqrt(np.maximum(self.squares / self.count - mean**2, 0.0))
        numbers = {"min": self.low, "max": self.high, "mean": mean, "std": std}
        return {name: value.reshape(shape).tolist() for name, value in numbers.items()} | {"count": [self.frames]}


@dataclass
class Episode:
    """One that is written."""

    length: int
    from_index: int
    file_index: int


@dataclass
class DataSetWriter:
    """Writes `features` (name -> LeRobot's description) frame by frame; `begin`, `add` ..., `end` for each episode, then `close`."""

    root: Path
    fps: float
    features: dict[str, dict[str, Any]]
    task: str
    about: Mapping[str, Any] = field(default_factory=dict)  # what else belongs into info.json
    episodes: list[Episode] = field(default_factory=list)
    stats: dict[str, Statistics] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.root.exists():
            raise ValueError(f"{self.root} exists; choose another folder or remove it")
        self._schema = pa.schema(
            [(name, arrow_type(feature)) for name, feature in self.features.items()]
            + [("timestamp", pa.float32())]
            + [(name, pa.int64()) for name in INDICES]
        )
        self._rows: list[dict[str, Any]] = []
        self._writer: pq.ParquetWriter | None = None
        self._count = 0

    @property
    def frames(self) -> int:
        return sum(episode.length for episode in self.episodes)

    def begin(self) -> None:
        chunk, file = divmod(len(self.episodes), FILES_PER_CHUNK)
        path = self.root / DATA.format(chunk_index=chunk, file_index=file)
        path.parent.mkdir(parents=True, exist_ok=True)
        self._writer, self._count = pq.ParquetWriter(path, self._schema), 0

    def add(self, values: dict[str, Any], measured: dict[str, np.ndarray]) -> None:
        """values: as they go into the file. measured: (N, C) of each feature that statistics are kept of."""
        for name, each in measured.items():
            self.stats.setdefault(name, Statistics.of_size(each.shape[1])).add(each)
        place = {"timestamp": self._count / self.fps, "frame_index": self._count, "episode_index": len(self.episodes)}
        self._rows.append(values | place | {"index": self.frames + self._count, "task_index": 0})
        self._count += 1
        if len(self._rows) >= ROWS_AT_ONCE:
            self._flush()

    def end(self) -> None:
        self._flush()
        assert self._writer is not None
        self._writer.close()
        self.episodes.append(Episode(self._count, self.frames, len(self.episodes) % FILES_PER_CHUNK))

    def close(self) -> None:
        """Writes what is in meta/."""
        _write(self.root / TASKS, tasks_table([self.task]))
        _write(self.root / EPISODES, pa.Table.from_pylist(self._episode_rows()))
        _write_json(self.root / INFO, self._info())
        shapes = {name: (3, 1, 1) if feature["dtype"] == "image" else (-1,) for name, feature in self.features.items()}
        _write_json(self.root / STATS, {name: stats.told(shapes[name]) for name, stats in self.stats.items()})

    def _episode_rows(self) -> list[dict[str, Any]]:
        """Where each episode lies in the data files."""
        return [
            {
                "episode_index": index,
                "tasks": [self.task],
                "length": episode.length,
                "data/chunk_index": index // FILES_PER_CHUNK,
                "data/file_index": episode.file_index,
                "dataset_from_index": episode.from_index,
                "dataset_to_index": episode.from_index + episode.length,
                "meta/episodes/chunk_index": 0,
                "meta/episodes/file_index": 0,
            }
            for index, episode in enumerate(self.episodes)
        ]

    def _info(self) -> dict[str, Any]:
        """What a reader must know before it opens a data file."""
        scalars = {"timestamp": {"dtype": "float32", "shape": [1], "names": None}}
        scalars |= {name: {"dtype": "int64", "shape": [1], "names": None} for name in INDICES}
        return {
            "codebase_version": VERSION,
            "robot_type": "mobile_base",
            "total_episodes": len(self.episodes),
            "total_frames": self.frames,
            "total_tasks": 1,
            "chunks_size": FILES_PER_CHUNK,
            "data_files_size_in_mb": 100,
            "video_files_size_in_mb": 200,
            "fps": self.fps,
            "splits": {"train": f"0:{len(self.episodes)}"},
            "data_path": DATA,
            "video_path": None,
            "features": self.features | scalars,
            **self.about,
        }

    def _flush(self) -> None:
        if self._rows:
            assert self._writer is not None
            self._writer.write_table(pa.Table.from_pylist(self._rows, self._schema))
            self._rows = []


def arrow_type(feature: Mapping[str, Any]) -> pa.DataType:
    """Of a column, by LeRobot's description of its feature."""
    if feature["dtype"] == "image":
        return pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    kind: pa.DataType = pa.type_for_alias(feature["dtype"])
    for size in reversed(feature["shape"] if list(feature["shape"]) != [1] else []):
        kind = pa.list_(kind, size) if len(feature["shape"]) == 1 else pa.list_(kind)
    return kind


def tasks_table(tasks: list[str]) -> pa.Table:
    """As pandas writes a frame whose index are the tasks: that is how the loader wants it."""
    table = pa.table({"task_index": pa.array(range(len(tasks)), pa.int64()), "task": pa.array(tasks)})
    columns = [
        {"name": name, "field_name": name, "pandas_type": kind, "numpy_type": numpy, "metadata": None}
        for name, kind, numpy in (("task_index", "int64", "int64"), ("task", "unicode", "object"))
    ]
    about = {"index_columns": ["task"], "column_indexes": [], "columns": columns, "pandas_version": "2.0.0"}
    return table.replace_schema_metadata({"pandas": json.dumps(about)})


def _write(path: Path, table: pa.Table) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path)


def _write_json(path: Path, content: Any) -> None:
    path.write_text(json.dumps(content, indent=2) + "\n")
