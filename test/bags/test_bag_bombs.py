"""Bags whose kilobytes expand to gigabytes are refused before the gigabytes are there."""

import struct
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path

import lz4.frame
import pytest
import sensing_messages as messages
from rosbags.rosbag2 import CompressionFormat, CompressionMode, Reader, StoragePlugin, Writer
from test_bag import FRAMES, recorded, write_bag

from jepa_ros.sensing import BagError, bag_info, open_bag
from jepa_ros.sensing.bags import expansion
from jepa_ros.sensing.bags.storage import read_raw

zstd = pytest.importorskip("backports.zstd", reason="Python before 3.14, with rosbags")
GIB = 1 << 30
STEP = 1 << 24
MAGIC = b"\x89MCAP0\r\n"
LITTLE = 96 << 20  # bytes that refusing may take


def text(value: str) -> bytes:
    return struct.pack("<I", len(value)) + value.encode()


def record(opcode: int, body: bytes) -> bytes:
    return struct.pack("<BQ", opcode, len(body)) + body


def message(size: int) -> bytes:
    """The head of a message record of so many bytes, which zeros follow."""
    return struct.pack("<BQHIQQ", 5, 22 + size, 1, 0, 1, 1)


def zeros(head: bytes, size: int) -> Iterator[bytes]:
    yield head
    yield from (bytes(min(STEP, size - at)) for at in range(0, size, STEP))


def by_zstd(head: bytes, size: int) -> bytes:
    packer = zstd.ZstdCompressor()
    return b"".join(packer.compress(part) for part in zeros(head, size)) + packer.flush()


def by_lz4(head: bytes, size: int) -> bytes:
    packer = lz4.frame.LZ4FrameCompressor(compression_level=1)
    return packer.begin() + b"".join(packer.compress(part) for part in zeros(head, size)) + packer.flush()


PACKERS: dict[str, Callable[[bytes, int], bytes]] = {"zstd": by_zstd, "lz4": by_lz4}


def write_mcap(path: Path, compression: str, chunks: list[tuple[bytes, int]], indexed: bool) -> Path:
    """An MCAP with one channel and these chunks (data, size that is declared), by hand: no writer writes what is not so."""
    schema = record(3, struct.pack("<H", 1) + text("std_msgs/msg/String") + text("ros2msg") + text("string data\n"))
    channel = record(4, struct.pack("<HH", 1, 1) + text("/chatter") + text("cdr") + struct.pack("<I", 0))
    data, index = MAGIC + record(1, text("ros2") + text("test")) + schema + channel, b""
    for packed, declared in chunks:
        at = len(data)
        chunk = record(6, struct.pack("<QQQI", 1, 1, declared, 0) + text(compression) + struct.pack("<Q", len(packed)) + packed)
        messages = record(7, struct.pack("<HI", 1, 16) + struct.pack("<QQ", 1, 0))
        offsets = struct.pack("<IHQ", 10, 1, at + len(chunk))
        data += chunk + messages
        tail = text(compression) + struct.pack("<QQ", len(packed), declared)
        index += record(8, struct.pack("<QQQQ", 1, 1, at, len(chunk)) + offsets + struct.pack("<Q", len(messages)) + tail)
    data += record(15, struct.pack("<I", 0))
    counts = struct.pack("<QHIIIIQQIHQ", len(chunks), 1, 1, 0, 0, len(chunks), 1, 1, 10, 1, len(chunks))
    start = len(data) if indexed else 0
    data += (schema + channel + index + record(11, counts) if indexed else b"") + record(2, struct.pack("<QQI", start, 0, 0))
    path.write_bytes(data + MAGIC)
    return path


@pytest.mark.parametrize("compression", PACKERS)
@pytest.mark.parametrize("indexed", [True, False], ids=["with its index", "without an index"])
@pytest.mark.parametrize("honest", [True, False], ids=["declared", "not declared"])
def test_a_chunk_that_expands_to_gigabytes_is_refused(tmp_path, compression, indexed, honest):
    packer = PACKERS[compression]
    good = packer(message(100), 100), len(message(100)) + 100
    bomb = packer(message(2 * GIB), 2 * GIB)
    path = write_mcap(tmp_path / "bomb.mcap", compression, [good, (bomb, 2 * GIB + len(message(0)) if honest else 1 << 20)], indexed)
    assert path.stat().st_size < 16 << 20, "of a few megabytes at most"
    tracemalloc.start()
    with pytest.raises(BagError) as error:
        list(read_raw(path))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < LITTLE, f"{peak / 2**20:.0f} MB"
    assert str(path) in str(error.value)
    assert "chunk 2" in str(error.value)
    assert ("declares 2 GiB" if honest else "expand to more than 1048576") in str(error.value)


def test_what_is_no_bomb_is_read(tmp_path):
    for compression, packer in PACKERS.items():
        chunk = packer(message(100), 100), len(message(100)) + 100
        for indexed in (True, False):
            path = write_mcap(tmp_path / f"{compression}{indexed}.mcap", compression, [chunk, chunk], indexed)
            assert [len(raw.data) for raw in read_raw(path)] == [100, 100]


def test_zstd_in_several_frames_is_read_and_bounded_over_all_of_them():
    data = zstd.compress(b"a" * 10) + zstd.compress(b"b" * 10)
    assert expansion.unpacked("zstd", data, 20, "it") == b"a" * 10 + b"b" * 10
    with pytest.raises(expansion.Expands, match="expand to more than 19"):
        expansion.unpacked("zstd", data, 19, "it")
    with pytest.raises(ValueError, match="end too early"):
        expansion.unpacked("zstd", data[:-3], 20, "it")


def test_chunks_that_overlap_in_time_are_bounded_together(tmp_path, monkeypatch):
    """rosbags holds all of them at once."""
    chunk = by_zstd(message(100), 100), len(message(100)) + 100
    path = write_mcap(tmp_path / "many.mcap", "zstd", [chunk] * 30, indexed=True)
    assert len(list(read_raw(path))) == 30
    monkeypatch.setattr(expansion, "LARGEST", 2000)
    monkeypatch.setattr(expansion, "memory_bytes", lambda: 5000)
    with pytest.raises(BagError, match=r"30 chunks overlap in time.*mcap sort"):
        bag_info(path)


@pytest.mark.parametrize("mode", [CompressionMode.MESSAGE, CompressionMode.FILE])
def test_bags_compressed_by_message_or_as_a_whole_are_bounded_too(tmp_path, monkeypatch, mode):
    bag = tmp_path / "bag"
    packing = Writer(bag, version=9, storage_plugin=StoragePlugin.SQLITE3)
    packing.set_compression(mode, CompressionFormat.ZSTD)
    with Reader(write_bag(tmp_path / "plain", recorded())) as reader, packing as writer:
        channels = {one.topic: writer.add_connection(one.topic, one.msgtype, typestore=messages.STORE) for one in reader.connections}
        for one, log_ns, data in reader.messages():
            writer.write(channels[one.topic], log_ns, data)
    assert len(list(open_bag(bag))) == FRAMES
    monkeypatch.setattr(expansion, "LARGEST", 100)
    monkeypatch.setattr(expansion, "SHARE_OF_DISK", 1e-9)
    expected = "a message: its .* expand to more than 100" if mode is CompressionMode.MESSAGE else "TMPDIR"
    with pytest.raises(BagError, match=expected) as error:
        list(open_bag(bag))
    assert str(bag) in str(error.value)
