"""Recorded bags (rosbag2: MCAP or SQLite3, a folder or a file) -> the observations that live topics would have given.

The messages go through the same SensorHub, in log order. Sweeps are handed over a little later than they were logged, so that
the nearest image and the odometry around them are there, and each gives one observation: nothing is skipped.
"""

from __future__ import annotations

import functools
import heapq
import struct
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from jepa_ros.sensing.config import SensingConfig
from jepa_ros.sensing.hub.hub import SensorHub
from jepa_ros.types import NANOSECONDS, Observation

# rosbags is imported when a bag is opened: a robot with live topics only may do without it.
if TYPE_CHECKING:
    from rosbags.rosbag2 import Reader

IMAGE, COMPRESSED, INFO = "sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage", "sensor_msgs/msg/CameraInfo"
CLOUD, ODOMETRY, TF = "sensor_msgs/msg/PointCloud2", "nav_msgs/msg/Odometry", "tf2_msgs/msg/TFMessage"
ROLES = {"camera": (IMAGE, COMPRESSED), "lidar": (CLOUD,), "odometry": (ODOMETRY,)}


class BagError(ValueError):
    """A bag that cannot be read; the text names the file and the cause."""


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


@dataclass(frozen=True)
class TopicChoice:
    """Which topics feed which input. Cameras: image topic -> its CameraInfo topic, or None."""

    cameras: Mapping[str, str | None]
    lidar: str | None
    odometry: str | None


def open_bag(
    path: str | Path, topics: Iterable[str] | Mapping[str, str] | None = None, config: SensingConfig | None = None
) -> Iterator[Observation]:
    """Observations of a bag, one for each sweep, in order.

    `topics`: None = found by type; names = only these (CameraInfo and TF are found to fit); a mapping gives roles, such as
    {"lidar": "/points", "camera": "/image", "odometry": "/odom"}. Raises BagError (a ValueError) where the bag or a topic cannot be read.
    """
    return feed_bag(path, topics, config).observations()


def feed_bag(path: str | Path, topics: Iterable[str] | Mapping[str, str] | None = None, config: SensingConfig | None = None) -> _BagFeed:
    """As `open_bag`, for those who also need the hub that the messages go through (frames, counters) and the log time it has come to."""
    info = bag_info(path)
    return _BagFeed(info, choose_topics(info, topics), config or SensingConfig())


def bag_info(path: str | Path) -> BagInfo:
    """Topics, types and times of a bag. Raises BagError."""
    path = Path(path)
    with _Opened(path) as reader:
        topics = tuple(
            TopicInfo(connection.topic, connection.msgtype, connection.msgcount, _latched(connection)) for connection in reader.connections
        )
        return BagInfo(path, topics, reader.start_time, reader.duration / NANOSECONDS, reader.message_count)


def read_raw(path: str | Path, topics: Iterable[str] | None = None) -> Iterator[RawMessage]:
    """All messages of a bag, or those of some topics, undecoded, in log order. Raises BagError."""
    path, wanted = Path(path), None if topics is None else set(topics)
    with _Opened(path) as reader:
        connections = [connection for connection in reader.connections if wanted is None or connection.topic in wanted]
        if not connections:
            return
        for connection, log_time_ns, data in reader.messages(connections):
            yield RawMessage(connection.topic, connection.msgtype, bytes(data), log_time_ns)


def choose_topics(info: BagInfo, topics: Iterable[str] | Mapping[str, str] | None = None) -> TopicChoice:
    """Find the inputs of a bag by type: every camera that has a CameraInfo, and of clouds and odometries the one with the shortest name.

    As on a live graph, that is the plain topic (/odom) rather than one made from it or put beside it (/ground_truth/odom). Raises BagError.
    """
    named = _roles_of(info, topics) if topics is not None else None
    infos = {topic.name for topic in info.topics if topic.type_name == INFO}

    def candidates(role: str) -> list[TopicInfo]:
        found = [topic for topic in info.topics if topic.type_name in ROLES[role] and topic.count]
        found = [topic for topic in found if named is None or (topic.name, role) in named]
        return sorted(found, key=lambda topic: (len(topic.name), topic.name))

    cameras: dict[str, str | None] = {}
    # Raw before compressed: of one camera's two streams the first is taken.
    for topic in sorted(candidates("camera"), key=lambda topic: (topic.type_name == COMPRESSED, topic.name)):
        camera_info = camera_info_topic(topic.name, infos)
        if named is None and (camera_info is None or camera_info in cameras.values() or "depth" in topic.name.lower()):
            continue
        cameras[topic.name] = camera_info
    lidar, odometry = candidates("lidar"), candidates("odometry")
    if not cameras and not lidar:
        raise BagError(f"{info.path}: no camera with a CameraInfo and no PointCloud2; its topics are {_listing(info)}")
    return TopicChoice(cameras, lidar[0].name if lidar else None, odometry[0].name if odometry else None)


def camera_info_topic(image_topic: str, known: Iterable[str]) -> str | None:
    """The CameraInfo topic that belongs to an image topic: camera_info beside it, or beside the stream it is a transport of."""
    known = set(known)
    parts = image_topic.split("/")
    for depth in range(len(parts) - 1, 0, -1):
        candidate = "/".join([*parts[:depth], "camera_info"])
        if candidate in known:
            return candidate
    return None


class _BagFeed:
    """Drives a hub by the log time of a bag."""

    def __init__(self, info: BagInfo, choice: TopicChoice, config: SensingConfig) -> None:
        self._path, self._choice = info.path, choice
        self._now_ns = 0
        self._delay_ns = round(config.match_tolerance_s * NANOSECONDS)
        self.hub = SensorHub(config, clock_ns=lambda: self._now_ns)
        tf_topics = [topic.name for topic in info.topics if topic.type_name == TF]
        self._static = {name for name in tf_topics if name.endswith("tf_static")}
        infos = [name for name in choice.cameras.values() if name]
        self._wanted = {*choice.cameras, *infos, *tf_topics, choice.lidar, choice.odometry} - {None}

    @property
    def now_ns(self) -> int:
        """Log time of the newest message that has been read."""
        return self._now_ns

    def observations(self) -> Iterator[Observation]:
        for raw in read_raw(self._path, self._static):  # they hold at all times, also before they were logged
            self._put(raw)
        late: list[tuple[int, int, RawMessage]] = []  # sweeps waiting to be handed over
        for index, raw in enumerate(read_raw(self._path, self._wanted - self._static)):  # type: ignore[arg-type]
            while late and late[0][0] <= raw.log_time_ns:
                yield from self._handle(heapq.heappop(late)[2])
            self._now_ns = raw.log_time_ns
            if raw.topic == self._choice.lidar:
                heapq.heappush(late, (raw.log_time_ns + self._delay_ns, index, raw))
            else:
                yield from self._handle(raw)
        while late:
            yield from self._handle(heapq.heappop(late)[2])
        yield from self._taken(patient=False)

    def _handle(self, raw: RawMessage) -> Iterator[Observation]:
        self._put(raw)
        yield from self._taken(patient=raw.topic != self._choice.lidar)

    def _taken(self, patient: bool) -> Iterator[Observation]:
        while (observation := self.hub.take(patient)) is not None:
            yield observation

    def _put(self, raw: RawMessage) -> None:
        try:
            message = _deserialise(raw)
        except ValueError:
            self.hub.reject(raw.topic, raw.type_name, "undeserialisable")
            return
        if raw.type_name == TF:
            self.hub.put_transforms(message, static=raw.topic in self._static)
        elif raw.type_name == INFO:
            for camera in (name for name, camera_info in self._choice.cameras.items() if camera_info == raw.topic):
                self.hub.put_camera_info(camera, message)
        else:
            self._putters()[raw.type_name](raw.topic, message)

    def _putters(self) -> dict[str, Callable[[str, Any], None]]:
        hub = self.hub
        return {IMAGE: hub.put_image, COMPRESSED: hub.put_compressed_image, CLOUD: hub.put_cloud, ODOMETRY: hub.put_odometry}


@functools.cache
def _typestore() -> Any:
    """The message types that are read here have been the same since Foxy, so the definitions in the bag are not needed."""
    from rosbags.typesys import Stores, get_typestore

    return get_typestore(Stores.LATEST)


def _deserialise(raw: RawMessage) -> Any:
    """The message. Raises ValueError where the bytes are none of its type."""
    from rosbags.serde import SerdeError

    try:
        return _typestore().deserialize_cdr(raw.data, raw.type_name)
    except (SerdeError, struct.error, IndexError) as error:
        raise ValueError(f"{raw.topic}: {error}") from None


class _Opened:
    """A rosbags Reader whose every failure, now and while reading, is a BagError that names the file."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> Reader:
        if not self._path.exists():
            raise BagError(f"{self._path}: no such bag")
        try:
            from rosbags.rosbag2 import Reader
        except ImportError:
            raise BagError(f"{self._path}: reading bags needs rosbags: pip install rosbags") from None
        try:
            self._reader = Reader(self._path)
            self._reader.open()
        except Exception as error:
            raise BagError(f"{self._path}: not a readable rosbag2 bag: {str(error) or type(error).__name__}") from error
        return self._reader

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        self._reader.close()
        # GeneratorExit and the like are not the bag's fault; storage back-ends raise errors of many libraries.
        if isinstance(error, Exception) and not isinstance(error, BagError):
            raise BagError(f"{self._path}: truncated or corrupt: {str(error) or type(error).__name__}") from error


def _roles_of(info: BagInfo, topics: Iterable[str] | Mapping[str, str]) -> set[tuple[str, str]]:
    """(topic, role) of each named topic."""
    types = {topic.name: topic.type_name for topic in info.topics}
    roles = dict(topics) if isinstance(topics, Mapping) else {}
    names = list(roles.values()) if roles else list(topics)
    for name in names:
        if name not in types:
            raise BagError(f"{info.path}: no topic {name!r}; its topics are {_listing(info)}")
    pairs = {(name, role) for name in names for role, kinds in ROLES.items() if types[name] in kinds}
    for role, name in roles.items():
        if (name, role) not in pairs:
            raise BagError(f"{info.path}: topic {name!r} is a {types[name]}, which is no {role}; roles are {', '.join(ROLES)}")
    return pairs


def _latched(connection: Any) -> bool:
    return any(getattr(profile.durability, "name", "") == "TRANSIENT_LOCAL" for profile in connection.ext.offered_qos_profiles)


def _listing(info: BagInfo) -> str:
    return ", ".join(f"{topic.name} ({topic.type_name})" for topic in info.topics) or "none"
