"""What recordings of an arm give, whatever they are stored in: values with stamps, sampled every `dt_s` into runs without a gap.

Axes: T sample, V view (camera), A = 7 action.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from jepa_ros.backends.vjepa2_ac.poses import difference
from jepa_ros.config import param, validate
from jepa_ros.types import FloatArray

JUMP_M = 0.3  # of the hand within one sample: it was put elsewhere, or the recording began anew
FOREVER_NS = 10**18
GRIPPER_WORDS = ("gripper", "finger", "jaw")


@dataclass(frozen=True)
class ArmTopics:
    """Where things are: topics of a bag, features of a LeRobot data set; empty = found by type or name."""

    image: str = param("", "sensor_msgs/Image or CompressedImage of the camera that sees the arm's whole reach")
    wrist: str = param("", "the same of a camera on the wrist that sees the fingers and what they hold; empty = there is none")
    pose: str = param("", "geometry_msgs/PoseStamped of the end effector in the robot's base frame")
    gripper: str = param("", "sensor_msgs/JointState with the gripper's joint")
    joint: str = param("", "name of that joint; its position is the width between the fingers, or grows with it")
    command: str = param("", "std_msgs/Float64 or Float32: the commanded width; without it, the measured one is used")
    outcome: str = param("", "std_msgs/Bool: something is held; without it, inferred from the gripper's width")

    def __post_init__(self) -> None:
        validate(self)


@dataclass
class Run:
    """Samples without a gap."""

    images: list[Any] = field(default_factory=list)  # (V, 64, 64, 3) uint8
    poses: list[FloatArray] = field(default_factory=list)  # (6,) x, y, z m, three Euler angles rad
    widths: list[float] = field(default_factory=list)  # m, as measured
    commands: list[float] = field(default_factory=list)  # m, as told
    held: list[bool | None] = field(default_factory=list)  # what the outcome's topic says

    def __len__(self) -> int:
        return len(self.images)

    def actions(self, closing_of: Callable[[float], float]) -> FloatArray:
        """(T - 1, A)."""
        states = torch.tensor(np.concatenate([np.stack(self.poses), np.zeros((len(self), 1))], axis=1))
        moved = difference(states[:-1], states[1:]).numpy()
        told = np.array([closing_of(width) for width in self.commands])
        moved[:, 6] = np.diff(told)
        return moved


class Stream:
    """Values of one kind, each with its stamp."""

    def __init__(self, stamped: Iterable[tuple[int, Any]] = ()) -> None:
        """stamped: (ns, value) in any order."""
        pairs = sorted(stamped, key=lambda pair: pair[0])
        self.times_ns = [stamp for stamp, _ in pairs]
        self._values = [value for _, value in pairs]

    def __len__(self) -> int:
        return len(self.times_ns)

    def newest(self, at_ns: int, age_ns: int) -> Any:
        """The last value up to an instant; None where it is older than that."""
        index = bisect_right(self.times_ns, at_ns) - 1
        return self._values[index] if index >= 0 and at_ns - self.times_ns[index] <= age_ns else None

    def is_near(self, at_ns: int, within_ns: int) -> bool:
        """Whether there is a value so near."""
        index = bisect_left(self.times_ns, at_ns - within_ns)
        return index < len(self) and self.times_ns[index] <= at_ns + within_ns

    def nearest(self, at_ns: int) -> Any:
        """The value nearest to an instant; of an empty stream there is none."""
        index = bisect_left(self.times_ns, at_ns)
        if index == len(self) or (index and at_ns - self.times_ns[index - 1] < self.times_ns[index] - at_ns):
            index -= 1
        return self._values[index]


@dataclass(frozen=True)
class Streams:
    """What came while the arm worked; empty: nobody said."""

    cameras: tuple[Stream, ...]  # of (64, 64, 3) uint8
    pose: Stream  # of (6,) x, y, z m, three Euler angles rad
    gripper: Stream  # of widths in m, or whatever the joint says
    command: Stream  # of the same
    outcome: Stream  # of bools


@dataclass(frozen=True)
class Recording:
    """What a bag or a data set holds."""

    cameras: tuple[str, ...]  # topics
    runs: list[Run]


def sampled(streams: Streams, dt_ns: int) -> list[Run]:
    """Runs of samples that far apart."""
    images = streams.cameras[0].times_ns
    runs: list[Run] = []
    run = Run()
    at_ns = images[0]
    while at_ns <= images[-1] + dt_ns // 2:
        there = all(camera.is_near(at_ns, dt_ns // 2) for camera in streams.cameras)
        pose, width = (stream.newest(at_ns + dt_ns // 4, 2 * dt_ns) for stream in (streams.pose, streams.gripper))
        jumped = pose is not None and len(run) > 0 and np.linalg.norm(pose[:3] - run.poses[-1][:3]) > JUMP_M
        if not there or pose is None or width is None or jumped:
            runs, run = [*runs, run], Run()
            if not streams.cameras[0].is_near(at_ns, dt_ns // 2):  # go on where images go on
                later = bisect_left(images, at_ns)
                at_ns = images[later] if later < len(images) else at_ns + dt_ns
                continue
        if pose is not None and width is not None:
            run.images.append(np.stack([camera.nearest(at_ns) for camera in streams.cameras]))
            run.poses.append(pose)
            run.widths.append(width)
            told = streams.command.newest(at_ns + dt_ns // 4, FOREVER_NS)
            run.commands.append(width if told is None else float(told))
            held = streams.outcome.newest(at_ns + dt_ns // 4, 4 * dt_ns)
            run.held.append(None if held is None else bool(held))
        at_ns += dt_ns
    return [one for one in [*runs, run] if len(one) > 1]
