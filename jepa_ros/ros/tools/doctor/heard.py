"""Messages that arrive while the doctor listens: how often, how large, and how old."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from statistics import median
from typing import Any

from jepa_ros.sensing import SensingConfig, SensorHub
from jepa_ros.sensing.frames.transforms import Transforms
from jepa_ros.types import NANOSECONDS


@dataclass
class Heard:
    """Of one input, or of one frame that /tf moves."""

    count: int = 0
    first_s: float = 0.0  # steady
    last_s: float = 0.0
    ages_s: deque[float] = field(default_factory=lambda: deque(maxlen=200))  # the clock's time on arrival less the stamp
    largest_bytes: int = 0
    frame: str = ""

    @property
    def rate_hz(self) -> float | None:
        """None where too few came to tell."""
        return (self.count - 1) / (self.last_s - self.first_s) if self.count > 2 and self.last_s > self.first_s else None

    @property
    def age_s(self) -> float:
        """Half of the messages were older on arrival: one that was held up, or a clock that jumps once, says little."""
        return median(self.ages_s)

    def note(self, stamp: Any, clock_ns: int, size: int, frame: str) -> None:
        """One more message."""
        self.last_s = time.monotonic()
        self.first_s = self.first_s or self.last_s
        self.count += 1
        self.ages_s.append((clock_ns - stamp.sec * NANOSECONDS - stamp.nanosec) / NANOSECONDS)
        self.largest_bytes = max(self.largest_bytes, size)
        self.frame = frame.lstrip("/")


class ListeningHub(SensorHub):
    """The nodes' own hub, which also notes what passes through it."""

    def __init__(self, config: SensingConfig, transforms: Transforms | None, clock_ns: Callable[[], int]) -> None:
        """clock_ns: the time by which stamps are judged: the wall's, or /clock with use_sim_time."""
        super().__init__(config, transforms=transforms)
        self._now_ns = clock_ns
        self.heard: dict[str, Heard] = {}
        self.edges: dict[str, Heard] = {}  # child on /tf -> its edge
        self.parents: dict[str, str] = {}  # child -> parent, /tf_static included
        self.claims: dict[str, set[str]] = {}  # child -> everything that was told to be its parent

    def put_image(self, name: str, message: Any) -> None:
        self._note(name, message)
        super().put_image(name, message)

    def put_compressed_image(self, name: str, message: Any) -> None:
        self._note(name, message)
        super().put_compressed_image(name, message)

    def put_cloud(self, name: str, message: Any) -> None:
        self._note(name, message)
        super().put_cloud(name, message)

    def put_odometry(self, name: str, message: Any) -> None:
        self._note(name, message)
        super().put_odometry(name, message)

    def put_transforms(self, message: Any, static: bool) -> None:
        for edge in message.transforms:
            child = edge.child_frame_id.lstrip("/")
            self.parents[child] = edge.header.frame_id.lstrip("/")
            self.claims.setdefault(child, set()).add(self.parents[child])
            if not static:
                self.edges.setdefault(child, Heard()).note(edge.header.stamp, self._now_ns(), 0, child)
        super().put_transforms(message, static)

    def above(self, frame: str) -> list[str]:
        """The frame and those that carry it, as far as /tf and /tf_static have told."""
        chain = [frame]
        while chain[-1] in self.parents and self.parents[chain[-1]] not in chain:
            chain.append(self.parents[chain[-1]])
        return chain

    def _note(self, name: str, message: Any) -> None:
        size = len(getattr(message, "data", ()))
        self.heard.setdefault(name, Heard()).note(message.header.stamp, self._now_ns(), size, str(message.header.frame_id))
