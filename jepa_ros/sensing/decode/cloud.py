"""sensor_msgs/PointCloud2 of any layout -> plain arrays, vectorised.

Axes: N point, in the order of the message (row by row for organised clouds).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jepa_ros.sensing.decode.errors import MalformedMessage, byte_view
from jepa_ros.sensing.time.fields import point_times
from jepa_ros.sensing.time.offsets import time_offsets_s
from jepa_ros.types import NANOSECONDS

# Datatype of sensor_msgs/PointField -> numpy type, without byte order. Numbers from 9 on are used by PCL and by later releases.
DATATYPES = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 8: "f8", 9: "i8", 10: "u8", 11: "u1"}
INTENSITY_NAMES = ("intensity", "intensities", "i", "reflectivity")
RING_NAMES = ("ring", "channel", "line", "laser_id")
FARTHEST_M = 1e5  # numbers beyond are garbage, and overflow in later arithmetic
NEAREST_M = 0.001  # drivers of organised clouds write zeros where nothing returned; no sensor measures itself


@dataclass(frozen=True)
class Cloud:
    """Points in the frame of the message's header; those non-finite, at zero or beyond any range are left out and counted in `dropped`."""

    points_m: NDArray[np.float32]  # (N, 3)
    intensity: NDArray[np.float32] | None  # (N,) sensor units
    ring: NDArray[np.int32] | None  # (N,)
    time_offset_s: NDArray[np.float32] | None  # (N,) relative to the header's stamp
    dropped: int


def decode_cloud(message: Any) -> Cloud:
    """Read x, y, z and, where present, intensity, ring and time of each point.

    Any offsets, padding, byte order and numeric type (coordinates: float32 or float64); names in any case. Times in any unit and from
    any origin that drivers use, see `sensing.time.offsets`; numbers that are no times of one sweep are left out.
    Raises MalformedMessage: "wrong_step", "truncated_data", "bad_fields".
    """
    points = _structured(message)
    known = {name.lower(): name for name in reversed(points.dtype.names or ())}
    if not {"x", "y", "z"} <= set(known):
        raise MalformedMessage("bad_fields", f"a cloud needs x, y and z, got {[field.name for field in message.fields]}")
    whole = [axis for axis in "xyz" if points.dtype[known[axis]].base.kind in "iu"]
    if whole:
        raise MalformedMessage("bad_fields", f"{', '.join(whole)} are integers, so not in metres (REP-103): convert them to float32 metres")

    axes = _coordinates([points[known[axis]] for axis in "xyz"])
    x, y, z = np.abs(axes)
    real = (x <= FARTHEST_M) & (y <= FARTHEST_M) & (z <= FARTHEST_M)  # False for NaN and infinity too
    kept = real & ((x > NEAREST_M) | (y > NEAREST_M) | (z > NEAREST_M))
    total, keep = len(kept), None if kept.all() else np.flatnonzero(kept)

    def some(values: NDArray[Any]) -> NDArray[Any]:
        return values if keep is None else values.take(keep)

    xyz = np.empty((total if keep is None else len(keep), 3), np.float32)
    for axis, along in enumerate(axes):
        xyz[:, axis] = some(along)

    def column(candidates: tuple[str, ...]) -> NDArray[Any] | None:
        name = next((known[name] for name in candidates if name in known), None)
        return None if name is None else some(_first(points[name]))

    intensity, ring = column(INTENSITY_NAMES), column(RING_NAMES)
    stamp_ns = int(message.header.stamp.sec) * NANOSECONDS + int(message.header.stamp.nanosec)
    timed = point_times(points, stamp_ns)
    return Cloud(
        points_m=xyz,
        intensity=None if intensity is None else np.nan_to_num(intensity.astype(np.float32)),
        ring=None if ring is None else np.nan_to_num(ring).astype(np.int32),
        time_offset_s=None if timed is None else time_offsets_s(timed[0], some(timed[1]), stamp_ns),
        dropped=total - len(xyz),
    )


def _structured(message: Any) -> NDArray[Any]:
    """(N,) structured view of the message's bytes; a copy only where rows are padded."""
    width, height, step, row_step = int(message.width), int(message.height), int(message.point_step), int(message.row_step)
    count = width * height
    row_step = derived_row_step(width, height, step, row_step)
    if count and (step <= 0 or row_step < width * step):
        raise MalformedMessage("wrong_step", f"point_step {step}, row_step {message.row_step} for {width} x {height} points")
    data = byte_view(message.data)
    needed = row_step * (height - 1) + width * step if count else 0
    if len(data) < needed:  # before a type is made of that step: NumPy has none beyond 2 GiB
        raise MalformedMessage("truncated_data", f"{len(data)} bytes for {width} x {height} points that need {needed}")
    if not count:
        return np.empty(0, _dtype(message.fields, None, bool(message.is_bigendian)))
    dtype = _dtype(message.fields, step, bool(message.is_bigendian))
    rows: NDArray[Any] = np.ndarray((height, width), dtype, buffer=data, strides=(row_step, step))
    return rows.reshape(-1)


def derived_row_step(width: int, height: int, point_step: int, row_step: int) -> int:
    """Bytes from row to row. Drivers leave it at zero, or at another cloud's value where there is one row: it says nothing there."""
    return row_step if height > 1 and row_step else width * point_step


def _dtype(fields: Any, step: int | None, bigendian: bool) -> np.dtype[Any]:
    """Of one point of `step` bytes; None: of no point, packed."""
    names, formats, offsets = [], [], []
    for field in fields:
        kind, offset, count = DATATYPES.get(int(field.datatype)), int(field.offset), max(int(field.count), 1)
        if field.name in names or not field.name:  # some drivers name padding "" or "_"
            continue
        if kind is None and field.name.lower() not in ("x", "y", "z"):  # of a later release of PointField; it is not needed
            continue
        if kind is None:
            raise MalformedMessage("bad_fields", f"field {field.name!r} has unknown datatype {field.datatype}")
        if step is None:
            count = 1
        elif offset + int(kind[1]) * count > step:
            raise MalformedMessage("wrong_step", f"field {field.name!r} at offset {offset} reaches beyond point_step {step}")
        names.append(field.name)
        formats.append((">" if bigendian else "<") + kind if count == 1 else f"({count},){'>' if bigendian else '<'}{kind}")
        offsets.append(offset)
    if step is None:
        return np.dtype({"names": names, "formats": formats})
    return np.dtype({"names": names, "formats": formats, "offsets": offsets, "itemsize": step})


def _coordinates(axes: list[NDArray[Any]]) -> NDArray[np.float32]:
    """(3, N), axis by axis in memory: what is asked of each is three times as quick."""
    xyz = np.empty((3, len(axes[0])), np.float32)
    with np.errstate(over="ignore"):  # a float64 beyond float32 becomes infinite and is dropped as such
        for axis, values in enumerate(axes):
            xyz[axis] = _first(values)
    return xyz


def _first(values: NDArray[Any]) -> NDArray[Any]:
    """Of a field with several elements a point, the first."""
    return values if values.ndim == 1 else values[:, 0]
