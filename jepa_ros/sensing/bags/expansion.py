"""Compressed bags are unpacked up to a bound: a few kilobytes of a hostile or broken bag can claim, or be, gigabytes.

A chunk is bounded by what it declares, and what it declares by LARGEST. Chunks whose times overlap are held at the same time: their sum is
bounded, too. rosbags unpacks without a bound, so `bound_rosbags` gives it the functions below.
"""

from __future__ import annotations

import importlib
import os
import tempfile
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

from jepa_ros.sensing.bags.records import BagError

LARGEST = 1 << 30  # bytes of one chunk or message; recorders write chunks of 1 to 4 MB, and the largest messages are tens
SHARE_OF_MEMORY = 0.5  # chunks that overlap in time may take so much of the machine's
SHARE_OF_DISK = 0.5  # a bag compressed as a whole may take so much of what is free in the temporary folder
REWRITE = "if you trust it: mcap filter IN.mcap -o OUT.mcap --chunk-size 4194304 writes smaller ones"
SORT = "if you trust it: mcap sort IN.mcap -o OUT.mcap"


class Expands(BagError):
    """What is compressed here is larger unpacked than it says, or than it may be. Whoever knows the file adds its name."""

    def __init__(self, text: str, packed: int = 0, declared: int = 0) -> None:
        """packed, declared: sizes of the chunk, by which it is found in the index of its file."""
        super().__init__(text)
        self.packed, self.declared = packed, declared

    def located(self, storages: Iterable[Any]) -> Expands:
        """The same with the file and the number of the chunk, where an index of these storages of rosbags knows it."""
        for storage in storages:
            for number, chunk in enumerate(getattr(storage, "chunks", ()), 1):
                if (chunk.compressed_size, chunk.uncompressed_size) == (self.packed, self.declared):
                    return Expands(f"{Path(storage.path).name}, chunk {number} at byte {chunk.chunk_start_offset}: {self}")
        return self


def unpacked(compression: str, data: bytes, largest: int, what: str) -> bytes:
    """zstd or lz4 data, of one frame or several. Raises Expands where it comes to more than `largest` bytes; `what` names it there."""
    new, packed = _decompressor(compression), len(data)
    parts: list[bytes] = []
    left = largest
    while data:
        frame = new()
        part = frame.decompress(data, max_length=left + 1)
        left -= len(part)
        if left < 0:
            raise Expands(f"{what}: its {packed} bytes expand to more than {largest}", packed, largest)
        if not frame.eof:
            raise ValueError(f"{what}: its {compression} data end too early")
        parts.append(part)
        data = frame.unused_data or b""
    return b"".join(parts)


def unpacked_chunk(compression: str, data: bytes, declared: int) -> bytes:
    """A chunk of an MCAP. Raises Expands where it declares more than LARGEST, or comes to more than it declares."""
    if declared > LARGEST:
        raise Expands(too_large(f"a chunk of {len(data)} bytes", declared), len(data), declared)
    return unpacked(compression, data, declared, f"a chunk that declares {declared} bytes: broken or hostile") if compression else data


def too_large(chunk: str, declared: int) -> str:
    """What to say of a chunk that is not unpacked."""
    return f"{chunk} declares {declared / 2**30:.3g} GiB unpacked, at most {LARGEST / 2**30:.3g} are: {REWRITE}"


def check_chunks(path: Path, chunks: Iterable[Any]) -> None:
    """By the index of an MCAP, before anything is unpacked. chunks: rosbags' ChunkInfo. Raises BagError."""
    events: list[tuple[int, int, int]] = []
    count = 0
    for number, chunk in enumerate(chunks, 1):
        size = max(chunk.uncompressed_size, chunk.compressed_size)
        if size > LARGEST:
            raise BagError(f"{path}: {too_large(f'chunk {number} (at byte {chunk.chunk_start_offset})', size)}")
        events += [(chunk.message_start_time, 1, size), (chunk.message_end_time, 2, -size)]
        count = number
    held = most = 0
    for _, _, change in sorted(events):
        held += change
        most = max(most, held)
    room = max(LARGEST, memory_bytes() * SHARE_OF_MEMORY)
    if most > room:
        told = f"{most / 2**30:.3g} GiB of its {count} chunks overlap in time and are held at once, {room / 2**30:.3g} may be"
        raise BagError(f"{path}: {told}: {SORT}")


def memory_bytes() -> int:
    """Of this machine."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


class BoundedZstd:
    """What rosbags uses of the zstd module, for messages and files that are compressed one by one."""

    @staticmethod
    def decompress(data: bytes) -> bytes:
        """A message."""
        return unpacked("zstd", data, LARGEST, "a message")

    @staticmethod
    def open(stream: IO[bytes], mode: str = "rb") -> BoundedFile:
        """A storage file; what comes out of it goes to the temporary folder."""
        return BoundedFile(_zstd().open(stream, mode))


class BoundedFile:
    """A context manager: reads until a share of the free disk is used up, then raises Expands."""

    def __init__(self, file: IO[bytes]) -> None:
        room = os.statvfs(tempfile.gettempdir())
        self._file = file
        self._largest = self._left = int(SHARE_OF_DISK * room.f_bavail * room.f_frsize)

    def __enter__(self) -> BoundedFile:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def read(self, size: int = -1) -> bytes:
        data = self._file.read(min(size, self._left + 1) if size >= 0 else self._left + 1)
        self._left -= len(data)
        if self._left < 0:
            folder = tempfile.gettempdir()
            raise Expands(
                f"a storage file expands to more than {self._largest / 2**30:.3g} GiB, half of what is free in {folder}: if you trust it, "
                "set TMPDIR to a larger disk, or unpack it with zstd -d"
            )
        return data


def bound_rosbags() -> None:
    """From now on rosbags, in this process, unpacks by what stands above."""
    storage: Any
    reader: Any
    storage, reader = (importlib.import_module(f"rosbags.rosbag2.{name}") for name in ("storage_mcap", "reader"))
    for compression in ("zstd", "lz4"):
        storage.DECOMPRESSORS[compression] = lambda data, size, compression=compression: unpacked_chunk(compression, data, size)
    reader.zstd = BoundedZstd


def _decompressor(compression: str) -> Any:
    if compression == "lz4":
        return importlib.import_module("lz4.frame").LZ4FrameDecompressor
    if compression == "zstd":
        return _zstd().ZstdDecompressor
    raise ValueError(f"chunks compressed by {compression!r} are not read: zstd and lz4 are")


def _zstd() -> Any:
    """A module of Python's own from 3.14 on, or its backport, which rosbags brings."""
    with suppress(ImportError):
        return importlib.import_module("compression.zstd")
    with suppress(ImportError):
        return importlib.import_module("backports.zstd")
    raise BagError("what is compressed by zstd needs a package: pip install backports.zstd")
