"""Clouds that were made from another one of the candidates: filtered, cropped, transformed or joined. They are one sweep, seen once."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from jepa_ros.sensing.topic_choice.evidence import CloudEvidence
from jepa_ros.sensing.topic_choice.moving_frames import FrameBook
from jepa_ros.types import NANOSECONDS

NEAR_NS = NANOSECONDS // 10  # a joined cloud carries the stamp of one of its parts
SAMPLES = 300
SAME_M = 0.002  # rounding of a transform; two sensors that see the same wall do not meet its points again so closely
SHARED = 0.25  # of the smaller cloud's points; a voxel filter keeps only lone points where they were
FEWEST = 16


class CopyFinder:
    """Remembers what it has compared: points are looked at once for each pair of topics."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, str], bool] = {}

    def groups(self, clouds: Sequence[CloudEvidence], frames: FrameBook, base: str) -> list[list[CloudEvidence]]:
        """The candidates, those that show the same sweep together."""
        leader = {cloud.topic: cloud.topic for cloud in clouds}

        def top(topic: str) -> str:
            while leader[topic] != topic:
                topic = leader[topic]
            return topic

        for first, second in combinations(sorted(clouds, key=lambda cloud: cloud.topic), 2):
            if self._same(first, second, frames, base):
                leader[top(second.topic)] = top(first.topic)
        grouped: dict[str, list[CloudEvidence]] = {}
        for cloud in clouds:
            grouped.setdefault(top(cloud.topic), []).append(cloud)
        return list(grouped.values())

    def _same(self, first: CloudEvidence, second: CloudEvidence, frames: FrameBook, base: str) -> bool:
        pair = (first.topic, second.topic)
        if pair not in self._known:
            found = compare(first, second, frames, base)
            if found is None:
                return False
            self._known[pair] = found
        return self._known[pair]


def compare(first: CloudEvidence, second: CloudEvidence, frames: FrameBook, base: str) -> bool | None:
    """Whether two topics show the same sweep; None where nothing of theirs can be compared yet."""
    pairs = [(a, b) for a in first.sweeps for b in second.sweeps if abs(a[0] - b[0]) <= NEAR_NS]
    if not pairs:
        return None
    if any(a[0] == b[0] and a[1] == b[1] for a, b in pairs):
        return True  # one sensor has one sweep at one time
    compared = [share for a, b in pairs if (share := _shared(a, b, frames, base)) is not None]
    return max(compared) >= SHARED if compared else None


def _shared(
    first: tuple[int, str, NDArray[np.float32]], second: tuple[int, str, NDArray[np.float32]], frames: FrameBook, base: str
) -> float | None:
    small, large = sorted((first, second), key=lambda sweep: len(sweep[2]))
    large_from_small = frames.pose(large[1], small[1]) if large[1] != small[1] else np.eye(4)
    if large_from_small is None or len(small[2]) < FEWEST:
        return None
    points = small[2][:: max(len(small[2]) // SAMPLES, 1)].astype(np.float64) @ large_from_small[:3, :3].T + large_from_small[:3, 3]
    distance, _ = cKDTree(large[2]).query(points, distance_upper_bound=SAME_M)
    return float(np.isfinite(distance).mean())
