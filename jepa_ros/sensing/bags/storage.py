"""Opening bags: rosbag2 folders and storage files, whole or not. Every failure is a BagError that says what it is and what to run."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jepa_ros.sensing.bags.expansion import LARGEST, Expands, bound_rosbags, check_chunks, unpacked
from jepa_ros.sensing.bags.mcap_scan import ScannedMcap
from jepa_ros.sensing.bags.records import BagError, BagInfo, RawMessage, Store, TopicInfo
from jepa_ros.sensing.bags.sqlite_log import LoggedSqlite, has_log
from jepa_ros.types import NANOSECONDS

# rosbags is imported when a bag is opened: a robot with live topics only may do without it.
if TYPE_CHECKING:
    from rosbags.rosbag2 import Reader

STORAGE_SUFFIXES = (".mcap", ".db3")
PACKED_SUFFIXES = (".zstd", ".zst")
MCAP_MAGIC, ROS1_MAGIC, ZSTD_MAGIC = b"\x89MCAP", b"#ROSBAG", b"\x28\xb5\x2f\xfd"


def bag_info(path: str | Path) -> BagInfo:
    """Topics, types and times of a bag. Raises BagError."""
    path = Path(path)
    with opened(path) as stores:
        topics: dict[tuple[str, str], TopicInfo] = {}
        for topic in (topic for store in stores for topic in store.topics):
            known = topics.get((topic.name, topic.type_name))
            count, latched = (known.count, known.latched) if known else (0, False)
            topics[topic.name, topic.type_name] = TopicInfo(topic.name, topic.type_name, count + topic.count, latched or topic.latched)
        total = sum(topic.count for topic in topics.values())
        start_ns = min((store.start_ns for store in stores), default=0)
        duration_ns = max((store.end_ns for store in stores), default=0) - start_ns if total else 0
        notes = tuple(note for store in stores for note in store.notes)
        return BagInfo(path, tuple(topics.values()), start_ns, duration_ns / NANOSECONDS, total, notes)


def read_raw(path: str | Path, topics: Iterable[str] | None = None) -> Iterator[RawMessage]:
    """All messages of a bag, or those of some topics, undecoded, in log order. Raises BagError."""
    path, wanted = Path(path), None if topics is None else set(topics)
    with opened(path) as stores:
        yield from heapq.merge(*(store.messages(wanted) for store in stores), key=lambda message: message.log_time_ns)


class opened:
    """The stores of a bag, while it is open; whatever goes wrong meanwhile is a BagError that names the bag."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._stack = ExitStack()

    def __enter__(self) -> list[Store]:
        if not self._path.exists():
            raise BagError(f"{self._path}: no such bag")
        try:
            import rosbags.rosbag2  # noqa: F401
        except ImportError:
            raise BagError(f"{self._path}: reading bags needs rosbags: pip install rosbags") from None
        bound_rosbags()
        try:
            stores = _folder(self._path) if self._path.is_dir() else [_file(self._path)]
        except Expands as error:
            raise BagError(f"{self._path}: {error}") from error
        except BagError:
            raise
        except Exception as error:
            raise self._told(error) from error
        for store in stores:
            self._stack.callback(store.close)
        return stores

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        self._stack.close()
        if isinstance(error, Expands):
            raise BagError(f"{self._path}: {error}") from error
        # GeneratorExit and the like are not the bag's fault.
        if isinstance(error, Exception) and not isinstance(error, BagError):
            raise self._told(error) from error

    def _told(self, error: Exception) -> BagError:
        """Storage back-ends raise errors of many libraries."""
        return BagError(f"{self._path}: truncated or corrupt: {_said(error)}; {_advice(self._path)}")


class _Indexed:
    """A bag or a storage file that rosbags reads."""

    def __init__(self, reader: Reader, notes: tuple[str, ...] = ()) -> None:
        self._reader = reader
        self.notes = notes
        self.topics = tuple(
            TopicInfo(connection.topic, connection.msgtype, connection.msgcount, is_latched(connection))
            for connection in reader.connections
        )
        self.start_ns, self.end_ns = reader.start_time, reader.start_time + reader.duration

    def messages(self, wanted: set[str] | None) -> Iterator[RawMessage]:
        connections = [connection for connection in self._reader.connections if wanted is None or connection.topic in wanted]
        if not connections:  # rosbags takes none for all
            return
        try:
            for connection, log_time_ns, data in self._reader.messages(connections):
                data = bytes(data)
                if data[:4] == ZSTD_MAGIC:  # no CDR begins so: compressed one by one, which metadata.yaml alone would have told
                    data = unpacked("zstd", data, LARGEST, f"a message on {connection.topic}")
                yield RawMessage(connection.topic, connection.msgtype, data, log_time_ns)
        except Expands as error:
            raise error.located(_storages(self._reader)) from error

    def close(self) -> None:
        self._reader.close()


def _storages(reader: Reader) -> list[Any]:
    """The storage files of a folder, or the one that is read."""
    storages: list[Any] = getattr(reader.storage, "storages", [reader.storage])
    return storages


def _check(reader: Reader) -> None:
    """Raises BagError, and closes the reader, where its index declares more than may be unpacked."""
    try:
        for storage in _storages(reader):
            check_chunks(Path(storage.path), getattr(storage, "chunks", ()))
    except BagError:
        reader.close()
        raise


def is_latched(connection: Any) -> bool:
    """Whether a connection of rosbags was recorded with transient-local durability."""
    return any(getattr(profile.durability, "name", "") == "TRANSIENT_LOCAL" for profile in connection.ext.offered_qos_profiles)


def _folder(path: Path) -> list[Store]:
    files = sorted(file for file in path.iterdir() if file.suffix in STORAGE_SUFFIXES)
    if not (path / "metadata.yaml").exists():
        if not files:
            _refuse_packed(sorted(path.iterdir()))
            raise BagError(_no_bag(path))
        note = f"no metadata.yaml: its {len(files)} storage files were read instead (ros2 bag reindex {path} writes it)"
        return _each(files, note)
    from rosbags.rosbag2 import Reader

    reader = Reader(path)
    try:
        reader.open()
    except Expands:
        raise
    except Exception as error:
        if not files:
            raise BagError(f"{path}: not a readable rosbag2 bag: {_said(error)}; {_advice(path)}") from error
        return _each(files, f"metadata.yaml cannot be used ({_said(error)}): the storage files were read instead")
    storages = _storages(reader)
    _check(reader)
    lost = [connection for storage in storages for connection in storage.connections if not _is_listed(connection, reader)]
    unindexed = any(_lacks_index(storage) for storage in storages) or any(map(has_log, files))
    counted, held = reader.message_count, sum(connection.msgcount for storage in storages for connection in storage.connections)
    if not lost and not unindexed and counted == held:
        return [_Indexed(reader, _unlisted(files, [file.path for file in storages if hasattr(file, "path")]))]
    if reader.compression_mode in ("file", "message"):
        told = ", ".join(f"{connection.topic} ({connection.msgcount})" for connection in lost)
        reader.close()
        raise BagError(f"{path}: metadata.yaml and the compressed storage files differ in {told or 'their index'}: ros2 bag reindex {path}")
    topics = ", ".join(sorted({connection.topic for connection in lost}))
    reader.close()
    note = f"metadata.yaml gives other QoS profiles than the storage files for {topics}: the latter were read" if lost else ""
    if not note and not unindexed:
        note = f"metadata.yaml counts {counted} messages, its storage files hold {held}: the files were read"
    return _each(files, note)


def _unlisted(files: list[Path], listed: Iterable[Path]) -> tuple[str, ...]:
    """A note where files lie beside those that metadata.yaml names: they may be copies, so they are not read."""
    known = {Path(path).name for path in listed}
    names = [file.name for file in files if file.name not in known]
    if not known or not names:
        return ()
    return (f"metadata.yaml does not name {', '.join(names)}: not read (ros2 bag reindex {files[0].parent} takes all files in)",)


def _each(files: list[Path], note: str) -> list[Store]:
    stores: list[Store] = []
    try:
        stores.extend(map(_file, files))  # those that were opened before one fails are closed below
    except BagError:
        for store in stores:
            store.close()
        raise
    if note and stores:
        stores[0].notes = (note, *stores[0].notes)
    return stores


def _file(path: Path) -> Store:
    if not path.is_file():  # a pipe would be waited for, for good
        raise BagError(f"{path}: not a file, but a pipe, a device, or a broken link")
    with path.open("rb") as stream:
        magic = stream.read(16)
    if magic.startswith(ROS1_MAGIC):
        raise BagError(_ros1(path))
    _refuse_packed([path])
    from rosbags.rosbag2 import Reader

    try:
        reader = Reader(path)
        reader.open()
    except Exception as error:
        if not magic.startswith(MCAP_MAGIC):
            raise BagError(f"{path}: not a readable rosbag2 bag: {_said(error)}; {_advice(path)}") from error
        try:
            return ScannedMcap(path, _said(error))
        except Expands:
            raise
        except ValueError as nothing:
            raise BagError(f"{path}: not a readable rosbag2 bag: {nothing}; {_advice(path)}") from error
    _check(reader)
    if _lacks_index(reader.storage):
        reader.close()
        return ScannedMcap(path, "it has no index of its messages")
    if path.suffix == ".db3" and has_log(path):
        reader.close()
        return LoggedSqlite(path)
    return _Indexed(reader)


def _is_listed(connection: Any, reader: Reader) -> bool:
    """Whether rosbags will find the messages of a storage file's connection by what metadata.yaml says of its topic."""
    return not connection.msgcount or any(
        listed.topic == connection.topic
        and listed.msgtype == connection.msgtype
        and listed.ext == connection.ext
        and (not listed.digest or not connection.digest or listed.digest == connection.digest)
        for listed in reader.connections
    )


def _lacks_index(storage: Any) -> bool:
    return any(not chunk.message_index_offsets and chunk.uncompressed_size for chunk in getattr(storage, "chunks", []))


def _said(error: Exception) -> str:
    return (str(error) or type(error).__name__).rstrip(".")


def _ros1(path: Path) -> str:
    return f"{path}: a ROS 1 bag: convert it, rosbags-convert --src {path} --dst {path.with_suffix('')}_ros2"


def _refuse_packed(files: Iterable[Path]) -> None:
    packed = next((file for file in files if file.suffix in PACKED_SUFFIXES and Path(file.stem).suffix in STORAGE_SUFFIXES), None)
    if packed:
        unpack = f"zstd -d {packed} -o {packed.with_suffix('')}"
        raise BagError(f"{packed}: a storage file compressed as a whole, without its metadata.yaml: unpack it, {unpack}")


def _no_bag(path: Path) -> str:
    ros1 = next(iter(sorted(path.glob("*.bag"))), None)
    if ros1:
        return _ros1(ros1)
    inside = next((folder for folder in sorted(path.iterdir()) if folder.is_dir() and (folder / "metadata.yaml").exists()), None)
    hint = (
        f"the bag is in its folder {inside}" if inside else "a bag is a folder with metadata.yaml and .mcap or .db3 files, or one such file"
    )
    return f"{path}: no rosbag2 bag: it holds no .mcap or .db3 file; {hint}"


def _advice(path: Path) -> str:
    if path.suffix == ".mcap" or any(path.glob("*.mcap")):
        return "to save what is readable: mcap recover IN.mcap -o OUT.mcap"
    if path.suffix == ".db3" or any(path.glob("*.db3")):
        return "to save what is readable: sqlite3 IN.db3 .recover | sqlite3 OUT.db3, then ros2 bag reindex"
    return "bags are folders with metadata.yaml, .mcap files or .db3 files"
