"""Messages that arrive while the doctor listens: how often, how large, and how old."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from statistics import median
from typing import Any

import numpy as np

from jepa_ros.sensing import SensingConfig, SensorHub
from jepa_ros.sensing.frames.poses import message_pose
from jepa_ros.sensing.frames.transforms import Transforms
from jepa_ros.types import NANOSECONDS

ARM_M = 1.0  # a frame's turn is looked at as what it does to a place so far ahead of it
SWING_M, BACK = 0.1, -0.5  # a place that jumps so far and at once as far back (cosine of the two steps) was told by two nodes
SWINGS, SWING_SHARE = 3, 0.05  # of the messages, at least


@dataclass
class Heard:
    """Of one input, or of one frame that /tf moves."""

    count: int = 0
    first_s: float = 0.0  # steady
    last_s: float = 0.0
    ages_s: deque[float] = field(default_factory=lambda: deque(maxlen=200))  # the clock's time on arrival less the stamp
    largest_bytes: int = 0
    frame: str = ""
    slashed: bool = False  # its frame begins with a slash
    places_m: deque[np.ndarray] = field(default_factory=lambda: deque(maxlen=200))  # (3,) of a frame that /tf moves, see ARM_M

    @property
    def rate_hz(self) -> float | None:
        """None where too few came to tell."""
        return (self.count - 1) / (self.last_s - self.first_s) if self.count > 2 and self.last_s > self.first_s else None

    @property
    def age_s(self) -> float:
        """Half of the messages were older on arrival: one that was held up, or a clock that jumps once, says little."""
        return median(self.ages_s)

    @property
    def swings_m(self) -> float | None:
        """How far apart two nodes put it in turn, m; None where one does: a robot does not jump and jump back."""
        if len(self.places_m) < SWINGS + 2:
            return None
        steps = np.diff(np.array(self.places_m), axis=0)
        there, back = steps[:-1], steps[1:]
        long = np.minimum(np.linalg.norm(there, axis=1), np.linalg.norm(back, axis=1)) > SWING_M
        swings = long & (np.einsum("sk,sk->s", there, back) < BACK * np.linalg.norm(there, axis=1) * np.linalg.norm(back, axis=1))
        if swings.sum() < max(SWINGS, SWING_SHARE * len(swings)):
            return None
        return float(np.percentile(np.linalg.norm(there - back, axis=1)[swings] / 2, 90))  # the smaller ones leave out the own way

    def note(self, stamp: Any, clock_ns: int, size: int, frame: str) -> None:
        """One more message."""
        self.last_s = time.monotonic()
        self.first_s = self.first_s or self.last_s
        self.count += 1
        self.ages_s.append((clock_ns - stamp.sec * NANOSECONDS - stamp.nanosec) / NANOSECONDS)
        self.largest_bytes = max(self.largest_bytes, size)
        self.frame, self.slashed = frame.lstrip("/"), frame.startswith("/")

    def note_place(self, transform: Any) -> None:
        """Of a geometry_msgs/Transform; one that is no pose is left out."""
        try:
            pose = message_pose(transform)
        except (ValueError, AttributeError, TypeError):
            return
        self.places_m.append(pose[:3, 3] + ARM_M * pose[:3, 0])


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
                heard = self.edges.setdefault(child, Heard())
                heard.note(edge.header.stamp, self._now_ns(), 0, edge.header.frame_id)
                heard.note_place(edge.transform)
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
