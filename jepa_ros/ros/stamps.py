"""Stamps in messages, exact: nanoseconds are never rounded through a float."""

from __future__ import annotations

from builtin_interfaces.msg import Time
from std_msgs.msg import Header

from jepa_ros.types import NANOSECONDS


def time_message(stamp_ns: int) -> Time:
    """Nanoseconds as a Time message."""
    return Time(sec=stamp_ns // NANOSECONDS, nanosec=stamp_ns % NANOSECONDS)


def header_message(stamp_ns: int, frame_id: str) -> Header:
    """A header with this stamp in ns and this frame."""
    return Header(stamp=time_message(stamp_ns), frame_id=frame_id)


def stamp_ns_of(stamp: Time) -> int:
    """A Time message in nanoseconds."""
    return stamp.sec * NANOSECONDS + stamp.nanosec
