"""An MCAP file read from front to back, without its index: for files that have none, or whose recorder was killed."""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import IO, Any

from jepa_ros.sensing.bags.expansion import LARGEST, Expands, unpacked_chunk
from jepa_ros.sensing.bags.qos import says_latched
from jepa_ros.sensing.bags.records import RawMessage, TopicInfo
from jepa_ros.types import NANOSECONDS

UNSORTED_NS = NANOSECONDS  # recorders write nearly in log order


class ScannedMcap:
    """The messages of an MCAP file as far as it can be read. Raises ValueError where not one of them can."""

    def __init__(self, path: Path, why: str) -> None:
        """why: what is wrong with the file's index, for the notes."""
        self._path = path
        counts: dict[tuple[str, str], int] = {}
        latched: set[str] = set()
        first, last, total = 2**63 - 1, 0, 0
        self._cut = ""
        self._foreign: set[str] = set()  # encodings that are not read
        for message, is_latched in self._scan(None, bodies=False):
            counts[message.topic, message.type_name] = counts.get((message.topic, message.type_name), 0) + 1
            latched |= {message.topic} if is_latched else set()
            first, last, total = min(first, message.log_time_ns), max(last, message.log_time_ns), total + 1
        if not total:
            foreign = (
                f"its messages are encoded as {', '.join(sorted(self._foreign))}, not as CDR of ROS 2" if self._foreign else "it holds none"
            )
            raise ValueError(f"{why}; no message can be read: {self._cut or foreign}")
        self.topics = tuple(TopicInfo(topic, kind, count, topic in latched) for (topic, kind), count in counts.items())
        self.start_ns, self.end_ns = first, last + 1
        cut = f", cut off after {total} messages (a recorder that was killed?)" if self._cut else f", {total} messages"
        self.notes: tuple[str, ...] = (f"{path.name}: {why}; read from front to back{cut}",)

    def messages(self, wanted: set[str] | None) -> Iterator[RawMessage]:
        waiting: list[tuple[int, int, RawMessage]] = []
        newest = 0
        for index, (message, _) in enumerate(self._scan(wanted)):
            heapq.heappush(waiting, (message.log_time_ns, index, message))
            newest = max(newest, message.log_time_ns)
            while waiting[0][0] <= newest - UNSORTED_NS:
                yield heapq.heappop(waiting)[2]
        while waiting:
            yield heapq.heappop(waiting)[2]

    def close(self) -> None:
        """Nothing stays open between reads."""

    def _scan(self, wanted: set[str] | None, bodies: bool = True) -> Iterator[tuple[RawMessage, bool]]:
        with self._path.open("rb") as stream:
            try:
                yield from self._records(stream, wanted, bodies)
            except (GeneratorExit, KeyboardInterrupt, Expands):
                raise
            except Exception as error:  # a cut-off file ends in whatever its decompressor or parser says
                self._cut = str(error) or type(error).__name__

    def _records(self, stream: IO[bytes], wanted: set[str] | None, bodies: bool) -> Iterator[tuple[RawMessage, bool]]:
        from mcap.records import Channel, Message, Schema

        schemas: dict[int, str] = {}
        channels: dict[int, tuple[str, str, bool]] = {}
        for record in _unchunked(stream):
            if isinstance(record, Schema):
                schemas[record.id] = record.name
            elif isinstance(record, Channel):
                if record.message_encoding != "cdr":
                    self._foreign.add(record.message_encoding or "nothing")
                else:
                    latched = says_latched(record.metadata.get("offered_qos_profiles", ""))
                    channels[record.id] = (record.topic, schemas.get(record.schema_id, ""), latched)
            elif isinstance(record, Message) and record.channel_id in channels:
                topic, kind, is_latched = channels[record.channel_id]
                if wanted is None or topic in wanted:
                    yield RawMessage(topic, kind, bytes(record.data) if bodies else b"", record.log_time), is_latched


def _unchunked(stream: IO[bytes]) -> Iterator[Any]:
    """The records of a file and of its chunks, which are unpacked up to their bound. Raises Expands."""
    from mcap.records import Chunk
    from mcap.stream_reader import StreamReader, breakup_chunk

    number = 0
    for record in StreamReader(stream, emit_chunks=True, record_size_limit=LARGEST).records:
        if not isinstance(record, Chunk):
            yield record
            continue
        number += 1
        try:
            data = unpacked_chunk(record.compression, record.data, record.uncompressed_size)
        except Expands as error:
            raise Expands(f"chunk {number}: {error}") from error
        yield from breakup_chunk(replace(record, compression="", data=data))
