"""Recorded bags (rosbag2: MCAP or SQLite3, a folder or a file) -> the observations that live topics would have given.

The messages go through the same SensorHub, in log order. Sweeps are handed over a little later than they were logged, so that
the nearest image and the odometry around them are there, and each gives one observation: nothing is skipped.
"""

from __future__ import annotations

import heapq
import logging
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jepa_ros.sensing.bags.reading import deserialise, is_static, look_into, transforms_of
from jepa_ros.sensing.bags.records import BagError, BagInfo, RawMessage, TopicInfo
from jepa_ros.sensing.bags.report import BagReport, nothing_came, verdicts_of
from jepa_ros.sensing.bags.storage import bag_info, read_raw
from jepa_ros.sensing.config import SensingConfig
from jepa_ros.sensing.hub.hub import SensorHub
from jepa_ros.sensing.topic_choice.evidence import CloudEvidence, ImageEvidence, OdometryEvidence
from jepa_ros.sensing.topic_choice.message_types import CLOUD, COMPRESSED, IMAGE, INFO, ODOMETRY, ROLES, TF, camera_info_topic
from jepa_ros.sensing.topic_choice.rule import choose
from jepa_ros.sensing.topic_choice.verdicts import Choice, Named, Scene
from jepa_ros.types import NANOSECONDS, Observation

__all__ = [
    "BagError", "BagInfo", "BagObservations", "BagReport", "Choice", "RawMessage", "TopicInfo",
    "bag_info", "camera_info_topic", "choose_topics", "feed_bag", "open_bag", "read_raw",
]  # fmt: skip

LOGGER = logging.getLogger("jepa_ros.sensing")
ALLOWED_LAG_NS = 150_000_000  # sweeps wait for a tenth of a second, and odometry is followed a little way
LONGEST_LEAD_NS = 10 * NANOSECONDS
Topics = Iterable[str] | Mapping[str, "str | Iterable[str]"] | None


class BagObservations(Iterator[Observation]):
    """The observations of a bag, and what became of its messages."""

    def __init__(self, feed: _BagFeed) -> None:
        self._feed = feed
        self._observations = feed.observations()

    def __next__(self) -> Observation:
        return next(self._observations)

    @property
    def report(self) -> BagReport:
        """What was taken, left and lost so far; `str()` of it is for people."""
        return self._feed.report()

    def close(self) -> None:
        """Read no further."""
        self._observations.close()


def open_bag(path: str | Path, topics: Topics = None, config: SensingConfig | None = None, required: Iterable[str] = ()) -> BagObservations:
    """Observations of a bag, one for each sweep (merged, where there are several lidars), in order.

    `topics`: None = found by what they carry; names = only these (CameraInfo and TF are found to fit); a mapping gives roles, such as
    {"lidar": ["/front", "/rear"], "camera": "/image", "odometry": "/odom"}. `required`: inputs that every observation must have, as
    `ModelSpec.required_inputs` names them. What was taken and left is logged, and in `.report`. Raises BagError (a ValueError) where the
    bag or a topic cannot be read, and at the end where no observation came out.
    """
    return BagObservations(feed_bag(path, topics, config, required))


def feed_bag(
    path: str | Path, topics: Topics = None, config: SensingConfig | None = None, required: Iterable[str] = (), cameras: Iterable[str] = ()
) -> _BagFeed:
    """As `open_bag`, for those who also need the hub that the messages go through (frames, counters) and the log time it has come to."""
    info, config = bag_info(path), config or SensingConfig()
    return _BagFeed(info, choose_topics(info, topics, config.base_frame), config, required, cameras)


def choose_topics(info: BagInfo, topics: Topics = None, base_frame: str = "") -> BagChoice:
    """Find the inputs of a bag by what its topics carry (see `topic_choice.rule`), or check those that are named. Raises BagError."""
    named = _named(info, topics) if topics is not None else None
    scene = look_into(info, base_frame).scene
    choice = choose(scene, named)
    if not choice.cameras and not choice.lidars:
        why = "; ".join(str(verdict) for verdict in verdicts_of(info, choice)) or f"its topics are {_listing(info)}"
        raise BagError(f"{info.path}: no camera with a CameraInfo and no PointCloud2 that can be used: {why}")
    return BagChoice(choice.cameras, choice.lidars, choice.odometry, choice.verdicts, _lead_ns(scene, choice))


@dataclass(frozen=True)
class BagChoice(Choice):
    """The inputs of a bag."""

    lead_ns: int = 0  # by so much odometry and transforms are read ahead of the sweeps, since they were logged later


class _BagFeed:
    """Drives a hub by the log time of a bag."""

    def __init__(
        self, info: BagInfo, choice: Choice, config: SensingConfig, required: Iterable[str] = (), cameras: Iterable[str] = ()
    ) -> None:
        self._info, self._choice = info, choice
        self._now_ns = 0
        self._count = 0
        self._delay_ns = round(config.match_tolerance_s * NANOSECONDS)
        self._lead_ns = choice.lead_ns if isinstance(choice, BagChoice) else 0
        self.hub = SensorHub(config, clock_ns=lambda: self._now_ns, required=required, cameras=cameras)
        self._transforms = transforms_of(info)
        self._static = {name for name in self._transforms if is_static(name)}
        self._wanted = choice.topics | self._transforms - self._static
        late = f"odometry is logged up to {self._lead_ns / NANOSECONDS:.1f} s after the sweeps it belongs to: it is read ahead"
        others = sorted(topic.name for topic in info.topics if topic.type_name == TF and topic.count and topic.name not in self._transforms)
        beside = f"transforms on {', '.join(others)} are not used: {', '.join(sorted(self._transforms))} belong to the vehicle"
        self._notes = (*info.notes, *([late] if self._lead_ns else []), *([beside] if others else []))

    @property
    def now_ns(self) -> int:
        """Log time of the newest message that has been read."""
        return self._now_ns

    def report(self) -> BagReport:
        """What was taken, left and lost so far."""
        return BagReport(self._info, verdicts_of(self._info, self._choice), self._notes, self.hub.status(), self._count)

    def observations(self) -> Generator[Observation, None, None]:
        """One for each sweep. Raises BagError at the end where there was none."""
        for line in (*self._notes, *map(str, verdicts_of(self._info, self._choice))):
            LOGGER.info("%s: %s", self._info.path, line)
        for observation in self._observations():
            self._count += 1
            yield observation
        report = self.report()
        if not self._count:
            raise BagError(nothing_came(report, self._choice))
        for line in (*report.losses, *report.notices):
            LOGGER.warning("%s: %s", self._info.path, line)

    def _observations(self) -> Iterator[Observation]:
        for raw in read_raw(self._info.path, self._static) if self._static else ():  # they hold at all times, also before they were logged
            self._put(raw)
        late: list[tuple[int, int, RawMessage]] = []  # sweeps waiting to be handed over
        for index, raw in enumerate(self._messages()):
            while late and late[0][0] <= raw.log_time_ns:
                yield from self._handle(heapq.heappop(late)[2])
            self._now_ns = raw.log_time_ns
            if self._leads(raw.topic):
                heapq.heappush(late, (raw.log_time_ns + self._delay_ns, index, raw))
            else:
                yield from self._handle(raw)
        while late:
            yield from self._handle(heapq.heappop(late)[2])
        yield from self._taken(patient=False)

    def _messages(self) -> Iterator[RawMessage]:
        """In log order; odometry and transforms ahead, where the bag has them late."""
        path = self._info.path
        if not self._lead_ns:
            yield from read_raw(path, self._wanted)
            return
        early = ({self._choice.odometry} - {None}) | (self._transforms - self._static)
        moved = (raw._replace(log_time_ns=raw.log_time_ns - self._lead_ns) for raw in read_raw(path, early))  # type: ignore[arg-type]
        yield from heapq.merge(moved, read_raw(path, self._wanted - early), key=lambda raw: raw.log_time_ns)

    def _leads(self, topic: str) -> bool:
        """Whether an observation may come of a message of this topic: it waits for what belongs to it."""
        return topic in self._choice.cameras if self.hub.cameras_lead else topic == (self.hub.leader or self._choice.lidar)

    def _handle(self, raw: RawMessage) -> Iterator[Observation]:
        self._put(raw)
        yield from self._taken(patient=not self._leads(raw.topic))

    def _taken(self, patient: bool) -> Iterator[Observation]:
        while (observation := self.hub.take(patient)) is not None:
            yield observation

    def _put(self, raw: RawMessage) -> None:
        try:
            message = deserialise(raw)
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


def _lead_ns(scene: Scene, choice: Choice) -> int:
    """How far odometry must be read ahead, so that it is there when its sweep is handed over; 0 where the bag is in order."""
    told = scene.evidence.get(choice.odometry or "")
    sensors = [scene.evidence[topic] for topic in (*choice.lidars, *choice.cameras) if topic in scene.evidence]
    lags = [sensor.lag_ns for sensor in sensors if isinstance(sensor, CloudEvidence | ImageEvidence) and sensor.count]
    if not isinstance(told, OdometryEvidence) or not told.count or not lags:
        return 0
    behind_ns = told.lag_ns + round(min(told.period_s, 1.0) * NANOSECONDS) - min(lags)
    if not 0 < behind_ns <= LONGEST_LEAD_NS:
        return 0  # stamps of another clock are not late
    return behind_ns if behind_ns > ALLOWED_LAG_NS else 0


def _named(info: BagInfo, topics: Iterable[str] | Mapping[str, str | Iterable[str]]) -> Named:
    """The topics that the user named. Raises BagError if a topic is missing or has a type that does not fit its role."""
    types = {topic.name: topic.type_name for topic in info.topics}
    roles = (
        {role: [value] if isinstance(value, str) else list(value) for role, value in topics.items()} if isinstance(topics, Mapping) else {}
    )
    names = [name for values in roles.values() for name in values] if roles else list(topics)
    for name in names:
        if name not in types:
            raise BagError(f"{info.path}: no topic {name!r}; its topics are {_listing(info)}")
    for role, values in roles.items():
        for name in values:
            if types[name] not in ROLES.get(role, ()):
                raise BagError(f"{info.path}: topic {name!r} is a {types[name]}, which is no {role}; roles are {', '.join(ROLES)}")
    of = {role: [name for name in names if types[name] in kinds] for role, kinds in ROLES.items()}
    return Named(cameras=of["camera"], lidars=of["lidar"], odometry=(of["odometry"] or [""])[0])


def _listing(info: BagInfo) -> str:
    return ", ".join(f"{topic.name} ({topic.type_name})" for topic in info.topics) or "none"
