"""What a bag holds, as plain values."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Protocol


class BagError(ValueError):
    """A bag that cannot be read, or gives nothing; the text names the file and the cause."""


class RawMessage(NamedTuple):
    """One message as it was recorded."""

    topic: str
    type_name: str  # "sensor_msgs/msg/Image"
    data: bytes  # CDR, ready to be published
    log_time_ns: int


@dataclass(frozen=True)
class TopicInfo:
    """A topic of a bag."""

    name: str
    type_name: str
    count: int
    latched: bool  # recorded with transient-local durability


@dataclass(frozen=True)
class BagInfo:
    """What a bag holds."""

    path: Path
    topics: tuple[TopicInfo, ...]
    start_ns: int
    duration_s: float
    message_count: int
    notes: tuple[str, ...] = ()  # what is odd about its files, and what was done about that, a sentence each


class Store(Protocol):
    """One storage file, or a whole bag, that is open."""

    topics: tuple[TopicInfo, ...]
    start_ns: int
    end_ns: int
    notes: tuple[str, ...]

    def messages(self, wanted: set[str] | None) -> Iterator[RawMessage]:
        """Those of the wanted topics (None = all), in log order."""
        ...

    def close(self) -> None: ...
