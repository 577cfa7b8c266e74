"""Bags of an arm -> its runs. Topics are found by type, or named."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from scipy.spatial.transform import Rotation

from jepa_ros.backends.arm.model import model_image
from jepa_ros.sensing.bags.reading import deserialise
from jepa_ros.sensing.bags.records import BagError, RawMessage
from jepa_ros.sensing.bags.storage import bag_info, read_raw
from jepa_ros.sensing.decode.image import decode_compressed_image, decode_image
from jepa_ros.sensing.decode.joints import Joints, joints_of
from jepa_ros.sensing.frames.poses import message_pose
from jepa_ros.training.arm.recording import GRIPPER_WORDS, ArmTopics, Recording, Stream, Streams, sampled
from jepa_ros.types import NANOSECONDS

IMAGES = {"sensor_msgs/msg/Image": decode_image, "sensor_msgs/msg/CompressedImage": decode_compressed_image}
POSE, JOINTS = "geometry_msgs/msg/PoseStamped", "sensor_msgs/msg/JointState"
NUMBERS = {"std_msgs/msg/Float64", "std_msgs/msg/Float32"}
TRUTHS = {"std_msgs/msg/Bool"}


def read_bag(path: Path, topics: ArmTopics, dt_s: float) -> Recording:
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
    cameras = tuple(name for name in (found.image, found.wrist) if name)
    for name in (*cameras, found.pose, found.gripper):
        if not values[name]:
            raise BagError(f"{path}: nothing of use came on {name}")
    streams = [Stream(values[name]) for name in (found.pose, found.gripper, found.command, found.outcome)]
    return Recording(cameras, sampled(Streams(tuple(Stream(values[name]) for name in cameras), *streams), round(dt_s * NANOSECONDS)))


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
