"""The time of each point of a sweep, relative to the header's stamp, for any driver's unit and origin.

Drivers count in seconds, milliseconds, microseconds or nanoseconds, from the header's stamp (velodyne, ouster, livox), from before it
where the stamp is that of the last point, from 1970 (hesai, robosense, livox_ros_driver2), or on a clock of the sensor's own.
"""

from __future__ import annotations

import re
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jepa_ros.types import NANOSECONDS

SUFFIX = re.compile(r"_(ns|nsec|us|usec|ms|s|sec)$")
TICKS_NS = {"s": 10**9, "sec": 10**9, "ms": 10**6, "us": 10**3, "usec": 10**3, "ns": 1, "nsec": 1}
# The units overlap in nothing that a sweep can last: the slowest spinning lidars turn five times a second.
LONGEST_NS = NANOSECONDS // 2
SAME_CLOCK_NS = NANOSECONDS  # a header is no farther from its own points
SAMPLE = 2000  # points that tell the unit
COARSEST_NS = NANOSECONDS // 200  # a float32 counts seconds since 1970 in steps of two minutes
MOST_UNTIMED = 0.05  # share of points whose time may be a filler such as 0


def time_offsets_s(name: str, times: NDArray[Any], stamp_ns: int) -> NDArray[np.float32] | None:
    """(N,) seconds after the header's stamp of each point, from the field `name`; None where the numbers are no times of one sweep.

    Times on another clock than the header's are counted from their first point, which is where most drivers take their stamp.
    """
    if not len(times):
        return np.empty(0, np.float32)
    sample = times[:: max(len(times) // SAMPLE, 1)]
    sample = sample[np.isfinite(sample)] if times.dtype.kind == "f" else sample
    if not len(sample):
        return None
    middle = np.sort(sample)[len(sample) // 2]
    ticks = _relative(times, middle)
    first, last = np.quantile(_relative(sample, middle), (0.02, 0.98))
    unit = _unit(name, times.dtype.kind, float(middle), float(last - first), stamp_ns)
    if unit is None:
        return None
    tick_ns, origin_ns = unit
    if times.dtype.kind == "f" and float(np.spacing(np.abs(middle))) * tick_ns > COARSEST_NS:
        return None
    if origin_ns is None:
        within = ticks[np.abs(ticks) * tick_ns <= LONGEST_NS]
        origin_ns = -float(within.min()) * tick_ns
    untimed = ~(np.abs(ticks) * tick_ns <= LONGEST_NS)
    if untimed.mean() > MOST_UNTIMED:
        return None
    offsets = (ticks * (tick_ns / NANOSECONDS) + origin_ns / NANOSECONDS).astype(np.float32)
    offsets[untimed] = origin_ns / NANOSECONDS
    return offsets


def _relative(times: NDArray[Any], middle: Any) -> NDArray[np.float64]:
    """Ticks after the middle of the sweep; integers are subtracted as such, since 1970 in nanoseconds is beyond float64."""
    if times.dtype.kind == "f":
        with np.errstate(invalid="ignore", over="ignore"):
            return times.astype(np.float64) - float(middle)
    return (times.astype(np.int64) - np.int64(middle)).astype(np.float64)


def _unit(name: str, kind: str, middle: float, span: float, stamp_ns: int) -> tuple[int, float | None] | None:
    """(ns of a tick, ns from the header's stamp to the middle of the sweep or None where the clocks differ), or None for no unit at all."""
    said = SUFFIX.search(name)
    units = [TICKS_NS[said[1]]] if said else sorted(set(TICKS_NS.values()), reverse=True)
    if not said and kind in "iu":
        units.remove(NANOSECONDS)  # whole seconds tell no point from another
    fitting = [tick_ns for tick_ns in units if span * tick_ns <= LONGEST_NS]
    for tick_ns in fitting:
        since_ns = middle * tick_ns - stamp_ns
        if abs(since_ns) <= SAME_CLOCK_NS:  # counted from 1970: that fixes the unit
            return tick_ns, since_ns
    if not fitting:
        return None
    tick_ns = fitting[0]
    return tick_ns, middle * tick_ns if abs(middle * tick_ns) <= SAME_CLOCK_NS else None
