"""A LeRobot data set of an arm -> the same runs as from bags. Features are found by the names of their numbers, or named.

A camera's feature `observation.images.NAME` is the topic `/NAME/image_raw`, as `import_lerobot` writes it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy.spatial.transform import Rotation
from tqdm import tqdm

from jepa_ros.backends.arm.model import model_image
from jepa_ros.exchange.lerobot_layout import INFO
from jepa_ros.exchange.lerobot_read import CAMERA, LeRobotData
from jepa_ros.training.arm.recording import GRIPPER_WORDS, ArmTopics, Recording, Stream, Streams, sampled
from jepa_ros.types import NANOSECONDS, FloatArray

PLACE = ("x", "y", "z")
TURNS: dict[tuple[str, ...], Callable[[FloatArray], Rotation]] = {  # names of the numbers that tell a turn
    ("roll", "pitch", "yaw"): lambda numbers: Rotation.from_euler("xyz", numbers),
    ("wx", "wy", "wz"): Rotation.from_rotvec,
    ("qx", "qy", "qz", "qw"): Rotation.from_quat,
}
STAMP = "timestamp"


@dataclass(frozen=True)
class _Number:
    """One of a feature's numbers."""

    feature: str
    index: int

    def of(self, row: dict[str, Any]) -> float:
        return float(np.ravel(row[self.feature])[self.index])


@dataclass(frozen=True)
class _Pose:
    """The numbers of a feature that tell where the end effector is, and how it is turned."""

    feature: str
    place: Sequence[int]
    turn: Sequence[int]
    meaning: Callable[[FloatArray], Rotation]

    def of(self, row: dict[str, Any]) -> FloatArray:
        """(6,) x, y, z m, three Euler angles rad. Raises ValueError for a quaternion of zeros."""
        numbers = np.ravel(np.asarray(row[self.feature], dtype=np.float64))
        return np.concatenate([numbers[list(self.place)], self.meaning(numbers[list(self.turn)]).as_euler("xyz")])


def is_data_set(path: Path) -> bool:
    """Whether it is a folder in LeRobot's layout."""
    return (path / INFO).is_file()


def read_data_set(path: Path, topics: ArmTopics, dt_s: float) -> Recording:
    """Every episode, in order. Raises ValueError where a feature is missing, with those that there are."""
    data = LeRobotData.open(path)
    images = [_camera(data, topics.image, needed=True), *([_camera(data, topics.wrist)] if topics.wrist else [])]
    pose = _pose(data, topics.pose)
    width = _gripper(data, topics.gripper, topics.joint, pose.feature)
    command = _one(data, topics.command, topics.joint, "gripper's command") if topics.command else None
    outcome = _one(data, topics.outcome, "", "outcome") if topics.outcome else None
    numbers = (pose, width, command, outcome)
    runs = []
    for episode in tqdm(sorted(data.places), desc=path.name, unit="episode"):
        rows = [(round(row[STAMP] * NANOSECONDS), _kept(row, images)) for row in data.frames(episode, images)]
        cameras = tuple(Stream((stamp, row[key]) for stamp, row in rows) for key in images)
        if rows:
            runs += sampled(Streams(cameras, *(_stream(rows, one) for one in numbers)), round(dt_s * NANOSECONDS))
    return Recording(tuple(f"/{key.removeprefix(CAMERA)}/image_raw" for key in images), runs)


def _stream(rows: Sequence[tuple[int, dict[str, Any]]], told: _Pose | _Number | None) -> Stream:
    """What a feature says, frame by frame; a damaged frame, with NaN or a quaternion of zeros, says nothing."""
    values = [(stamp, _value(told, row)) for stamp, row in rows] if told else []
    return Stream((stamp, value) for stamp, value in values if np.isfinite(value).all())


def _value(told: _Pose | _Number, row: dict[str, Any]) -> FloatArray | float:
    try:
        return told.of(row)
    except ValueError:
        return np.nan


def _kept(row: dict[str, Any], images: Sequence[str]) -> dict[str, Any]:
    return row | {key: model_image(row[key]) for key in images}


def _camera(data: LeRobotData, named: str, needed: bool = False) -> str:
    if named in data.cameras:
        return named
    if named or not needed or len(data.cameras) != 1:
        raise ValueError(_refused(data, named, "a camera", len(data.cameras)))
    return next(iter(data.cameras))


def _pose(data: LeRobotData, named: str) -> _Pose:
    found = {key: pose for key in data.features if (pose := _pose_in(data, key)) and (key == named if named else key.startswith("obs"))}
    if not found and named in data.features and int(np.prod(data.features[named]["shape"])) == len(PLACE) + 3:
        return _Pose(named, range(3), range(3, 6), TURNS["roll", "pitch", "yaw"])  # six numbers without names
    if len(found) != 1:
        raise ValueError(_refused(data, named, f"the end effector's pose ({', '.join(PLACE)} and {_turns()})", len(found)))
    return next(iter(found.values()))


def _pose_in(data: LeRobotData, feature: str) -> _Pose | None:
    """A feature that has each of the names once, alone or behind a dot or a line: x, ee.x, ee_x."""
    if feature in data.cameras:
        return None
    names = [re.split(r"[._/ ]", name.lower())[-1] for name in data.names(feature)]
    for turn, meaning in TURNS.items():
        if all(names.count(name) == 1 for name in (*PLACE, *turn)):
            return _Pose(feature, [names.index(name) for name in PLACE], [names.index(name) for name in turn], meaning)
    return None


def _gripper(data: LeRobotData, named: str, joint: str, pose: str) -> _Number:
    """Of the feature that is named; else of the one that tells the pose, else of the only one that has such a number."""
    found = {key: _index(data, key, joint) for key in data.features if key == named or (not named and key.startswith("obs"))}
    fitting = {key: index for key, index in found.items() if index is not None}
    if pose in fitting:
        return _Number(pose, fitting[pose])
    if len(fitting) != 1:
        raise ValueError(_refused(data, named, f"the gripper ({joint or ', '.join(GRIPPER_WORDS)})", len(fitting)))
    return _Number(*next(iter(fitting.items())))


def _index(data: LeRobotData, feature: str, joint: str) -> int | None:
    """Where the gripper's number is: by its name, or as the only one of a feature whose name says so."""
    if feature in data.cameras:
        return None
    names = data.names(feature)
    wanted = [k for k, name in enumerate(names) if (name == joint if joint else any(word in name.lower() for word in GRIPPER_WORDS))]
    alone = len(names) == 1 and any(word in feature.lower() for word in GRIPPER_WORDS)
    return wanted[0] if wanted else 0 if alone else None


def _one(data: LeRobotData, named: str, joint: str, what: str) -> _Number:
    index = None if named not in data.features else _index(data, named, joint)
    if index is None and named in data.features and len(data.names(named)) == 1:
        index = 0
    if index is None:
        raise ValueError(_refused(data, named, f"the {what}", 0))
    return _Number(named, index)


def _refused(data: LeRobotData, named: str, what: str, count: int) -> str:
    there = "; ".join(f"{key}: {', '.join(data.names(key)) if key not in data.cameras else 'a camera'}" for key in data.features)
    problem = f"{named} is not {what}" if named else f"{count} features could be {what}; name it"
    return f"{data.root}: {problem}. There is {there}"


def _turns() -> str:
    return " or ".join(", ".join(names) for names in TURNS)
