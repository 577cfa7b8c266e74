"""Sweeps of several lidars, brought to one instant, as one sweep."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jepa_ros.types import LidarPart, LidarSweep


def merged(sweeps: Sequence[tuple[str, LidarSweep]]) -> LidarSweep:
    """One sweep of (name, sweep) of the same stamp, the leading one first. Rings of different lidars are different rings.

    An intensity that a lidar has not is 0 in its points; rings are left out where a lidar has none.
    """
    first = sweeps[0][1]
    if len(sweeps) == 1:
        return first
    parts, begin = [], 0
    for name, sweep in sweeps:
        parts.append(LidarPart(name, begin, len(sweep.points_m), sweep.base_from_lidar))
        begin += len(sweep.points_m)
    each = [sweep for _, sweep in sweeps]
    return replace(
        first,
        points_m=np.concatenate([sweep.points_m for sweep in each]),
        intensity=_joined([sweep.intensity for sweep in each], each),
        ring=_rings([sweep.ring for sweep in each]),
        time_offset_s=_joined([sweep.time_offset_s for sweep in each], each),
        dropped=sum(sweep.dropped for sweep in each),
        parts=tuple(parts),
    )


def _joined(columns: list[NDArray[np.float32] | None], sweeps: list[LidarSweep]) -> NDArray[np.float32] | None:
    if all(column is None for column in columns):
        return None
    sizes = [len(sweep.points_m) for sweep in sweeps]
    return np.concatenate([np.zeros(size, np.float32) if column is None else column for column, size in zip(columns, sizes, strict=True)])


def _rings(columns: list[NDArray[np.int32] | None]) -> NDArray[np.int32] | None:
    rings: list[NDArray[Any]] = []
    above = 0
    for column in columns:
        if column is None:
            return None
        rings.append(column + above)
        above += int(column.max()) + 1 if len(column) else 0
    return np.concatenate(rings)
