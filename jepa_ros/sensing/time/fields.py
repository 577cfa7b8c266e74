"""Which fields of a cloud hold the time of each point, and their numbers as one column.

PointField has no 64-bit integers in most distributions, so drivers write them as two or eight elements, as seconds and nanoseconds in two
fields, or call their bits a float64.
"""

from __future__ import annotations

import re
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jepa_ros.types import NANOSECONDS

# The common ones, the best first; then whatever is named after time.
NAMES = (
    "t", "time", "timestamp", "timestamps", "time_stamp", "offset_time", "time_offset", "ts", "dt", "point_time_offset", "relative_time",
    "rel_time", "time_offset_ns", "timestamp_ns", "t_ns", "t_us", "offset_ns", "time_ns", "time_us", "timestamp_us", "timeoffset", "stamp",
)  # fmt: skip
NAMED_AFTER_TIME = re.compile("time|stamp")
SECONDS = re.compile(r"(.*?)_?(?:sec|secs|seconds|s)")
FRACTION = re.compile(r"(.*?)_?(?:nsec|nsecs|nanosec|nanosecs|nanoseconds|ns)")
BITS_OF_INTEGERS = 1e-100  # no driver counts so small a time: those are the bits of a whole number, read as a float64


def point_times(points: NDArray[Any], stamp_ns: int) -> tuple[str, NDArray[Any]] | None:
    """(name, (N,) numbers) of a structured array of points (N,); the name ends in `_ns` where the unit is known. None = there are none."""
    known = {name.lower(): name for name in reversed(points.dtype.names or ())}
    for low, name in known.items():
        match = FRACTION.fullmatch(low)
        stem = match[1] if match else None
        whole = next((known[other] for other in known if (m := SECONDS.fullmatch(other)) and m[1] == stem and other != low), None)
        if whole is not None and points[name].ndim == 1 and points[name].dtype.kind in "iu" and points[whole].ndim == 1:
            return f"{stem}_ns", points[whole].astype(np.int64) * NANOSECONDS + points[name].astype(np.int64)
    found = next((low for low in NAMES if low in known), None) or next((low for low in known if NAMED_AFTER_TIME.search(low)), None)
    if found is None:
        return None
    values = points[known[found]]
    if values.ndim == 2:
        return _joined(found, values, stamp_ns)
    if values.dtype.kind == "f" and values.dtype.itemsize == 8 and len(values):
        size = np.abs(values[:: max(len(values) // 100, 1)])
        if (size < BITS_OF_INTEGERS).all() and size.any():
            return found, values.astype(np.float64).view(np.int64)
    return found, values


def _joined(name: str, elements: NDArray[Any], stamp_ns: int) -> tuple[str, NDArray[Any]]:
    """(N, C) elements of one number: seconds and nanoseconds, or the parts of 64 bits, the lowest first."""
    bits = 8 * elements.dtype.itemsize
    if elements.dtype.kind not in "iu" or bits * elements.shape[1] != 64:
        return name, elements[:, 0]
    whole = elements.astype(np.int64)
    if elements.shape[1] == 2 and abs(int(whole[0, 0]) - stamp_ns // NANOSECONDS) <= 1:
        return f"{name}_ns", whole[:, 0] * NANOSECONDS + whole[:, 1]
    parts = (whole & ((1 << bits) - 1)) << (bits * np.arange(elements.shape[1]))
    return name, np.bitwise_or.reduce(parts, axis=1)
