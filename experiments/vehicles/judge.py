"""By which rule a tracked vehicle is right, and a table of how many are.

A track is right where its box shares at least SHARED of the area with a labelled vehicle's (intersection over union, on the ground).
Axes: G labels, V tracks.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from jepa_ros.objects.vehicles.boxes import YAW, moved, overlaps, wrapped
from jepa_ros.types import FloatArray, SceneState

SHARED, MOVING_MPS = 0.3, 0.5
FIELD_M = (3.0, 30.0)


@dataclass
class Tally:
    """Counts over a recording; `add` takes one instant."""

    frames: int = 0
    labelled: int = 0
    found: int = 0
    tracks: int = 0
    right: int = 0
    wrong_moving: int = 0
    standing_moves: int = 0  # of labelled vehicles that stand
    yaw_deg: list[float] = field(default_factory=list)
    heading_deg: list[float] = field(default_factory=list)  # of those that move: which end is the front counts
    centre_m: list[float] = field(default_factory=list)
    speed_mps: list[float] = field(default_factory=list)

    def add(
        self,
        labels: FloatArray,
        wanted: FloatArray,
        boxes: FloatArray,
        velocities_mps: FloatArray,
        judged: FloatArray,
        truth_mps: FloatArray | None = None,
    ) -> None:
        """(G, 5) labels, of which `wanted` (G,) count as missed when not found, and (V, 5) tracks, of which `judged` (V,) count as wrong.

        `truth_mps` (G, 2): the true velocities, where they are known. All in one frame.
        """
        shared = overlaps(labels, boxes)
        self.frames += 1
        self.labelled += int(wanted.sum())
        self.tracks += int(judged.sum())
        right_V = shared.max(axis=0, initial=0.0) >= SHARED
        moving_V = np.hypot(*velocities_mps.reshape(-1, 2).T) > MOVING_MPS
        self.right += int((right_V & judged).sum())
        self.wrong_moving += int((~right_V & judged & moving_V).sum())
        for row in np.flatnonzero(wanted):
            if not len(boxes) or shared[row].max() < SHARED:
                continue
            best = int(shared[row].argmax())
            self.found += 1
            off = float(wrapped(boxes[best, YAW] - labels[row, YAW]))
            self.yaw_deg.append(float(np.degrees(abs((off + np.pi / 2) % np.pi - np.pi / 2))))
            self.centre_m.append(float(np.hypot(*(boxes[best, :2] - labels[row, :2]))))
            if truth_mps is None:
                continue
            self.speed_mps.append(float(np.hypot(*(velocities_mps[best] - truth_mps[row]))))
            if np.hypot(*truth_mps[row]) > MOVING_MPS:
                self.heading_deg.append(float(np.degrees(abs(off))))
            else:
                self.standing_moves += bool(moving_V[best])

    def result(self) -> dict[str, float]:
        """Shares, errors (medians) and what is wrong in a frame."""
        frames = max(self.frames, 1)

        def median(values: list[float]) -> float:
            return round(float(np.median(values)), 3) if values else float("nan")

        return {
            "frames": self.frames,
            "labelled": self.labelled,
            "recall": round(self.found / max(self.labelled, 1), 3),
            "precision": round(self.right / max(self.tracks, 1), 3),
            "wrong_in_a_frame": round((self.tracks - self.right) / frames, 3),
            "wrong_and_moving": round(self.wrong_moving / frames, 3),
            "standing_but_moving": round(self.standing_moves / frames, 3),
            "yaw_error_deg": median(self.yaw_deg),
            "heading_error_deg": median(self.heading_deg),
            "centre_error_m": median(self.centre_m),
            "velocity_error_mps": median(self.speed_mps),
        }


def in_anchor(state: SceneState) -> FloatArray:
    """(V, 5) tracked boxes of a state in its anchor frame."""
    return moved(state.vehicles.boxes, np.linalg.inv(state.anchor_pose))


def in_field(boxes: FloatArray, half_angle_deg: float = 180.0) -> FloatArray:
    """(N,) whether the middles of boxes in the anchor frame lie in FIELD_M and so far off straight ahead at most."""
    away, angle = np.hypot(*boxes[:, :2].T), np.degrees(np.arctan2(boxes[:, 1], boxes[:, 0]))
    inside: FloatArray = (away > FIELD_M[0]) & (away < FIELD_M[1]) & (np.abs(angle) < half_angle_deg)
    return inside
