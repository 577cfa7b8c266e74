"""sensor_msgs/JointState from its bytes: names and positions. Velocities and efforts are left alone.

Read here and not by rosbags, which (0.11) refuses messages with an empty list of numbers, as DDS writes them: many drivers send no efforts.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

from jepa_ros.types import NANOSECONDS

MOST_JOINTS = 1000


class Joints(NamedTuple):
    """One message."""

    stamp_ns: int
    names: tuple[str, ...]
    positions: tuple[float, ...]  # rad or m; none where the driver sends none


def joints_of(data: bytes) -> Joints:
    """Of a CDR-encoded message. Raises ValueError for bytes that are none."""
    try:
        return _read(bytes(data))
    except (struct.error, UnicodeDecodeError) as error:
        raise ValueError(f"no JointState: {error}") from None


def _read(data: bytes) -> Joints:
    order = "<" if data[1:2] == b"\x01" else ">"
    at = 4  # behind the encapsulation header, from which alignment is counted

    def number(code: str, size: int) -> float:
        nonlocal at
        at += -(at - 4) % size
        (value,) = struct.unpack_from(order + code, data, at)
        at += size
        return value

    def text() -> str:
        nonlocal at
        length = int(number("I", 4))
        if at + length > len(data):
            raise ValueError(f"no JointState: a name of {length} bytes in a message of {len(data)}")
        value = data[at : at + length]
        at += length
        return value.rstrip(b"\x00").decode()

    stamp_ns = int(number("i", 4)) * NANOSECONDS + int(number("I", 4))
    text()  # frame_id
    count = int(number("I", 4))
    if count > MOST_JOINTS:
        raise ValueError(f"no JointState: {count} names")
    names = tuple(text() for _ in range(count))
    positions = int(number("I", 4))
    if positions not in (0, count):
        raise ValueError(f"no JointState: {positions} positions of {count} joints")
    return Joints(stamp_ns, names, tuple(float(number("d", 8)) for _ in range(positions)))
