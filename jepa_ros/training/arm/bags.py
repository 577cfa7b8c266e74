"""Bags of an arm -> what its world model learns from: images, intended motions, gripper, and how each grip ended.

Topics are found by type, or named. Everything is sampled every `dt_s`; a gap or a jump of the hand begins a new run.
Axes: T sample, A = 7 action.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.spatial.transform import Rotation

from jepa_ros.backends.arm.model import model_image
from jepa_ros.backends.vjepa2_ac.poses import difference
from jepa_ros.config import param, validate
from jepa_ros.sensing.bags.reading import deserialise
from jepa_ros.sensing.bags.records import BagError, RawMessage
from jepa_ros.sensing.bags.storage import bag_info, read_raw
from jepa_ros.sensing.decode.image import decode_compressed_image, decode_image
from jepa_ros.sensing.decode.joints import Joints, joints_of
from jepa_ros.sensing.frames.poses import message_pose
from jepa_ros.types import NANOSECONDS, FloatArray

IMAGES = {"sensor_msgs/msg/Image": decode_image, "sensor_msgs/msg/CompressedImage": decode_compressed_image}
POSE, JOINTS = "geometry_msgs/msg/PoseStamped", "sensor_msgs/msg/JointState"
NUMBERS = {"std_msgs/msg/Float64", "std_msgs/msg/Float32"}
TRUTHS = {"std_msgs/msg/Bool"}
GRIPPER_WORDS = ("gripper", "finger", "jaw")
JUMP_M = 0.3  # of the hand within one sample: it was put elsewhere, or the recording began anew


@dataclass(frozen=True)
class ArmTopics:
    """Where things are; empty = found by type."""

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


def read_runs(path: Path, topics: ArmTopics, dt_s: float) -> list[Run]:
    """What a bag holds, in order. Raises BagError where a topic is missing or nothing comes of it."""
    found, kinds = find_topics(path, topics)
    values: dict[str, list[tuple[int, Any]]] = defaultdict(list)
    for raw in read_raw(path, set(kinds)):
        try:
            stamp_ns, value = _value(raw, found)
        except ValueError:
            continue  # a damaged message is one sample less
        if value is not None:
            values[raw.topic].append((stamp_ns, value))
    for name in filter(None, (found.image, found.wrist, found.pose, found.gripper)):
        if not values[name]:
            raise BagError(f"{path}: nothing of use came on {name}")
        values[name].sort(key=lambda pair: pair[0])
    return _sampled({name: sorted(pairs, key=lambda pair: pair[0]) for name, pairs in values.items()}, found, round(dt_s * NANOSECONDS))


def find_topics(path: Path, topics: ArmTopics) -> tuple[ArmTopics, dict[str, str]]:
    """The topics with the empty ones filled in, and the type of each. Raises BagError with what is there."""
    there = {topic.name: topic.type_name for topic in bag_info(path).topics if topic.count}

    def choose(named: str, wanted: Iterable[str], what: str, needed: bool = True) -> str:
        if named and there.get(named) not in set(wanted):
            raise BagError(f"{path}: {named} is {there.get(named, 'not there')}, as {what} it must be {' or '.join(sorted(wanted))}")
        fitting = [name for name, kind in there.items() if kind in set(wanted)]
        if not named and needed and len(fitting) != 1:
            listed = ", ".join(f"{name} ({kind})" for name, kind in sorted(there.items())) or "nothing"
            raise BagError(f"{path}: {len(fitting)} topics could be the {what}; name it. There is {listed}")
        return named or (fitting[0] if needed else "")

    found = ArmTopics(
        image=choose(topics.image, IMAGES, "camera"),
        wrist=choose(topics.wrist, IMAGES, "camera on the wrist", needed=False) if topics.wrist else "",
        pose=choose(topics.pose, {POSE}, "end effector's pose"),
        gripper=choose(topics.gripper, {JOINTS}, "gripper"),
        joint=topics.joint,
        command=choose(topics.command, NUMBERS, "gripper's command", needed=False),
        outcome=choose(topics.outcome, TRUTHS, "outcome", needed=False),
    )
    used = {name for name in (found.image, found.wrist, found.pose, found.gripper, found.command, found.outcome) if name}
    return found, {name: there[name] for name in used}


def _value(raw: RawMessage, topics: ArmTopics) -> tuple[int, Any]:
    """(stamp, what is kept of a message); messages without a stamp count from when they were recorded. Raises ValueError."""
    if raw.type_name == JOINTS:
        joints = joints_of(raw.data)
        return joints.stamp_ns, _width(joints, topics.joint)
    message = deserialise(raw)
    header = getattr(message, "header", None)
    if header is None:
        return raw.log_time_ns, message.data
    stamp_ns = header.stamp.sec * NANOSECONDS + header.stamp.nanosec
    if raw.type_name in IMAGES:
        return stamp_ns, model_image(IMAGES[raw.type_name](message))
    matrix = message_pose(message.pose)
    return stamp_ns, np.concatenate([matrix[:3, 3], Rotation.from_matrix(matrix[:3, :3]).as_euler("xyz")])


def _width(joints: Joints, joint: str) -> float | None:
    named = {joint} if joint else {name for name in joints.names if any(word in name.lower() for word in GRIPPER_WORDS)}
    return next((position for name, position in zip(joints.names, joints.positions, strict=False) if name in named), None)


def _sampled(values: dict[str, list[tuple[int, Any]]], topics: ArmTopics, dt_ns: int) -> list[Run]:
    times = {name: [stamp for stamp, _ in pairs] for name, pairs in values.items()}

    def newest(name: str, at_ns: int, age_ns: int) -> Any:
        """The last value up to an instant; None where it is older than that."""
        index = bisect_right(times.get(name, []), at_ns) - 1
        return values[name][index][1] if index >= 0 and at_ns - times[name][index] <= age_ns else None

    cameras = [name for name in (topics.image, topics.wrist) if name]
    runs: list[Run] = []
    run = Run()
    at_ns = times[topics.image][0]
    while at_ns <= times[topics.image][-1] + dt_ns // 2:
        there = all(_near(times[name], at_ns, dt_ns // 2) for name in cameras)
        pose, width = (newest(name, at_ns + dt_ns // 4, 2 * dt_ns) for name in (topics.pose, topics.gripper))
        jumped = pose is not None and len(run) > 0 and np.linalg.norm(pose[:3] - run.poses[-1][:3]) > JUMP_M
        if not there or pose is None or width is None or jumped:
            runs, run = [*runs, run], Run()
            if not _near(times[topics.image], at_ns, dt_ns // 2):  # go on where images go on
                later = bisect_left(times[topics.image], at_ns)
                at_ns = times[topics.image][later] if later < len(times[topics.image]) else at_ns + dt_ns
                continue
        if pose is not None and width is not None:
            run.images.append(np.stack([values[name][_nearest(times[name], at_ns)][1] for name in cameras]))
            run.poses.append(pose)
            run.widths.append(width)
            told = newest(topics.command, at_ns + dt_ns // 4, 10**18) if topics.command else None
            run.commands.append(width if told is None else float(told))
            held = newest(topics.outcome, at_ns + dt_ns // 4, 4 * dt_ns) if topics.outcome else None
            run.held.append(None if held is None else bool(held))
        at_ns += dt_ns
    return [one for one in [*runs, run] if len(one) > 1]


def _near(times_ns: list[int], at_ns: int, within_ns: int) -> bool:
    index = bisect_left(times_ns, at_ns - within_ns)
    return index < len(times_ns) and times_ns[index] <= at_ns + within_ns


def _nearest(times_ns: list[int], at_ns: int) -> int:
    index = bisect_left(times_ns, at_ns)
    if index == len(times_ns) or (index and at_ns - times_ns[index - 1] < times_ns[index] - at_ns):
        return index - 1
    return index
