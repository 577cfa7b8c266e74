"""Questions to the rule, and its answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from jepa_ros.sensing.topic_choice.derived_clouds import CopyFinder
from jepa_ros.sensing.topic_choice.evidence import Evidence
from jepa_ros.sensing.topic_choice.moving_frames import FrameBook


@dataclass(frozen=True)
class Verdict:
    """What became of one candidate."""

    topic: str
    role: str  # camera | lidar | odometry
    taken: bool
    why: str
    doubtful: bool = False  # nothing it carries decides: the user may know better
    fix: str = ""  # where it is broken, rather than not what is wanted: what to do

    def __str__(self) -> str:
        return f"{self.role} {self.topic}: {'taken' if self.taken else 'left'}{': ' if self.why else ''}{self.why}"


@dataclass(frozen=True)
class Choice:
    """Which topics feed which input. Cameras: image topic -> its CameraInfo topic, or None."""

    cameras: Mapping[str, str | None] = field(default_factory=dict)
    lidars: tuple[str, ...] = ()  # all of them are merged
    odometry: str | None = None
    verdicts: tuple[Verdict, ...] = ()

    @property
    def lidar(self) -> str | None:
        """The lidar that leads: the one mounted highest, of several the first by name."""
        return self.lidars[0] if self.lidars else None

    @property
    def frame_topic(self) -> str | None:
        """The topic whose messages count as frames: the leading lidar, else a camera."""
        return self.lidar or next(iter(self.cameras), None)

    @property
    def topics(self) -> set[str]:
        """All that is taken, CameraInfo included."""
        infos = {info for info in self.cameras.values() if info}
        return {*self.cameras, *infos, *self.lidars, *([self.odometry] if self.odometry else [])}


@dataclass(frozen=True)
class Named:
    """What the user has named. None = found by the rule; an empty collection = none of that kind."""

    cameras: Sequence[str] | None = None
    lidars: Sequence[str] | None = None
    odometry: str | None = None
    infos: Mapping[str, str] = field(default_factory=dict)  # image topic -> CameraInfo topic


@dataclass
class Scene:
    """All that is known of the candidates."""

    evidence: dict[str, Evidence] = field(default_factory=dict)
    frames: FrameBook = field(default_factory=FrameBook)
    base_frame: str = ""  # named by the user
    silent: frozenset[str] = frozenset()  # topics that have stopped sending while others go on
    copies: CopyFinder = field(default_factory=CopyFinder)

    def of(self, kind: type[Evidence]) -> list[Evidence]:
        return [found for found in self.evidence.values() if isinstance(found, kind)]
