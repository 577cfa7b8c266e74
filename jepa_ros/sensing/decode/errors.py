"""Errors in messages, with short names that diagnostics can count."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from jepa_ros.types import NANOSECONDS


class MalformedMessage(ValueError):
    """A message that cannot be used. `reason` is a short, stable name such as "truncated_data"; the text gives the values."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason


def stamp_ns(header: Any) -> int:
    """Nanoseconds of a std_msgs/Header. Raises MalformedMessage("absurd_stamp") where it is zero, negative or not a time."""
    seconds, nanoseconds = int(header.stamp.sec), int(header.stamp.nanosec)
    if seconds < 0 or not 0 <= nanoseconds < NANOSECONDS or seconds + nanoseconds == 0:
        raise MalformedMessage("absurd_stamp", f"sec {seconds}, nanosec {nanoseconds}")
    return seconds * NANOSECONDS + nanoseconds


def byte_view(data: Any) -> NDArray[np.uint8]:
    """A uint8 view, without a copy, of message data: array.array (rclpy), ndarray (rosbags) or bytes."""
    try:
        return np.frombuffer(data, np.uint8) if len(data) else np.empty(0, np.uint8)
    except (TypeError, ValueError) as error:
        raise MalformedMessage("truncated_data", f"data is not a byte buffer: {error}") from None
