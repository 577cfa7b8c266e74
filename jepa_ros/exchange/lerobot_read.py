"""Reads a data set in LeRobot's layout v3.0: its features and, episode by episode, its frames with decoded pictures."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow.dataset
import pyarrow.parquet as pq

from jepa_ros.exchange.lerobot_layout import INFO, VERSION

CAMERA = "observation.images."  # features of cameras begin with it


@dataclass(frozen=True)
class LeRobotData:
    """A data set on disk."""

    root: Path
    info: dict[str, Any]
    places: dict[int, dict[str, Any]]  # episode -> where it lies in the files

    @classmethod
    def open(cls, root: Path) -> LeRobotData:
        """Raises ValueError for another layout, FileNotFoundError where there is none."""
        info = json.loads((root / INFO).read_text())
        if info["codebase_version"] != VERSION:
            raise ValueError(f"{root}: layout {info['codebase_version']}, this reads {VERSION}: convert it with lerobot's own script")
        table = pq.ParquetDataset(root / "meta" / "episodes").read()
        return cls(root, info, {row["episode_index"]: row for row in table.to_pylist()})

    @property
    def features(self) -> dict[str, dict[str, Any]]:
        """As LeRobot describes them: dtype, shape, names."""
        features: dict[str, dict[str, Any]] = self.info["features"]
        return features

    @property
    def cameras(self) -> dict[str, str]:
        """Feature -> name of the camera."""
        return {key: key.removeprefix(CAMERA) for key, one in self.features.items() if one["dtype"] in ("image", "video")}

    def names(self, feature: str) -> list[str]:
        """What its numbers are called; their index where that is not said."""
        one = self.features[feature]
        names, count = one.get("names"), int(np.prod(one["shape"]))
        if isinstance(names, dict):
            names = next((part for part in names.values() if isinstance(part, list)), None)
        if isinstance(names, list) and len(names) == 1 and isinstance(names[0], list):
            names = names[0]
        return [str(name) for name in names] if names is not None and len(names) == count else [str(k) for k in range(count)]

    def frames(self, episode: int, pictures: Collection[str]) -> Iterator[dict[str, Any]]:
        """The rows of an episode in order; those of `pictures`, features of cameras, as (Y, X, 3) uint8 RGB.

        Raises ValueError for an episode that is not there, and for what cannot be decoded.
        """
        if episode not in self.places:
            raise ValueError(f"{self.root}: no episode {episode}; it has {min(self.places)} to {max(self.places)}")
        place = self.places[episode]
        films = {key: self._film(place, key) for key in pictures if self.features[key]["dtype"] == "video"}
        for row in self._rows(place):
            yield row | {key: next(films[key]) if key in films else self._picture(row[key]) for key in pictures}

    def _rows(self, place: dict[str, Any]) -> Iterator[dict[str, Any]]:
        path = self.root / self.info["data_path"].format(chunk_index=place["data/chunk_index"], file_index=place["data/file_index"])
        chosen = pyarrow.dataset.field("episode_index") == place["episode_index"]
        for batch in pyarrow.dataset.dataset(path).to_batches(filter=chosen, batch_size=32):
            yield from batch.to_pylist()

    def _picture(self, value: dict[str, Any]) -> np.ndarray:
        raw = value["bytes"] if value["bytes"] is not None else (self.root / value["path"]).read_bytes()
        decoded = cv2.imdecode(np.frombuffer(raw, np.uint8), cv2.IMREAD_COLOR)
        if decoded is None:
            raise ValueError(f"{self.root}: an image cannot be decoded")
        return decoded[..., ::-1]

    def _film(self, place: dict[str, Any], key: str) -> Iterator[np.ndarray]:
        """The pictures of an episode, out of a film of several."""
        of = {name: place[f"videos/{key}/{name}"] for name in ("chunk_index", "file_index", "from_timestamp")}
        path = self.root / self.info["video_path"].format(video_key=key, chunk_index=of["chunk_index"], file_index=of["file_index"])
        film = cv2.VideoCapture(str(path))
        try:
            for _ in range(round(of["from_timestamp"] * self.info["fps"])):
                film.grab()
            while True:
                read, bgr = film.read()
                if not read:
                    raise ValueError(
                        f"{path} cannot be decoded, or is shorter than its episodes; OpenCV's FFmpeg reads AV1, VP9, MPEG-4, H.264"
                    )
                yield bgr[..., ::-1]
        finally:
            film.release()
