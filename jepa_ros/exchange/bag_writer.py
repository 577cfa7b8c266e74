"""Writes a ROS 2 bag, without ROS 2: complete or absent."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rosbags.interfaces import Connection, Qos, QosDurability, QosHistory, QosLiveliness, QosReliability, QosTime
from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin, Writer

from jepa_ros.exchange.messages import STATIC_TOPIC, STORE

Write = Callable[[int, Iterable[tuple[str, Any]]], None]  # (stamp ns, (topic, message) ...)
_STATIC = Qos(
    QosHistory.KEEP_LAST,
    1,
    QosReliability.RELIABLE,
    QosDurability.TRANSIENT_LOCAL,
    QosTime(0, 0),
    QosTime(0, 0),
    QosLiveliness.AUTOMATIC,
    QosTime(0, 0),
    False,
)


@contextmanager
def new_bag(path: Path, topics: Mapping[str, str], storage: str = "mcap") -> Iterator[Write]:
    """A bag at `path` (a folder that must not exist yet) with these topics -> types; yields what writes to it.

    It is written beside `path` and renamed at the end. Raises ValueError where `path` exists.
    """
    if path.exists():
        raise ValueError(f"{path} exists; choose another folder or remove it")
    partial = path.with_name(path.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    writer = Writer(partial, version=9, storage_plugin=StoragePlugin.MCAP if storage == "mcap" else StoragePlugin.SQLITE3)
    if storage == "mcap":
        writer.set_compression(CompressionMode.STORAGE, CompressionFormat.ZSTD)
    with writer:
        connections = {topic: _connect(writer, topic, kind) for topic, kind in topics.items()}

        def write(stamp_ns: int, messages: Iterable[tuple[str, Any]]) -> None:
            for topic, message in messages:
                writer.write(connections[topic], stamp_ns, STORE.serialize_cdr(message, connections[topic].msgtype))

        yield write
    _rename_data(partial, path)


def _connect(writer: Writer, topic: str, kind: str) -> Connection:
    return writer.add_connection(topic, kind, typestore=STORE, offered_qos_profiles=[_STATIC] if topic == STATIC_TOPIC else [])


def _rename_data(partial: Path, path: Path) -> None:
    """The data file and the metadata that names it carry the bag's own name, not the name it was written under."""
    for file in partial.iterdir():
        if file.name.startswith(partial.name):
            file.rename(file.with_name(file.name.replace(partial.name, path.name)))
    metadata = partial / "metadata.yaml"
    metadata.write_text(metadata.read_text().replace(partial.name, path.name))
    partial.rename(path)
