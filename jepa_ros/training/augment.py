"""What a recording could also have looked like: another heading, a mirrored world, another lidar, a sensor missing."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field

import numpy as np

from jepa_ros.training.shard import NO_RING, Frame
from jepa_ros.types import FloatArray


@dataclass(frozen=True)
class Augmentation:
    """One draw for a whole window: sensors and world stay the same from frame to frame. The default changes nothing."""

    turn: FloatArray = field(default_factory=lambda: np.eye(4))  # augmented from real anchor frame: a yaw, perhaps a mirror
    ground_error_m: float = 0.0
    ring_step: int = 1  # every n-th ring is kept
    keep: float = 1.0  # share of points kept
    noise_m: float = 0.0
    use_lidar: bool = True
    use_camera: bool = True
    seed: int = 0  # of the noise

    def sensors(self, frame: Frame, frame_number: int) -> Frame:
        """The frame as a poorer lidar would have seen it."""
        rng = np.random.default_rng((self.seed, frame_number))
        kept = np.ones(len(frame.points_m), bool)
        if self.ring_step > 1:
            kept &= (frame.ring % self.ring_step == self.seed % self.ring_step) | (frame.ring == NO_RING)
        if self.keep < 1:
            kept &= rng.random(len(kept), np.float32) < self.keep
        points = frame.points_m[kept]
        if self.noise_m > 0:
            points = points + self.noise_m * rng.standard_normal(points.shape, np.float32)
        return dataclasses.replace(frame, points_m=points, ring=frame.ring[kept])


def draw_augmentation(rng: np.random.Generator, batch_rng: np.random.Generator) -> Augmentation:
    """A random augmentation: any heading, half of them mirrored; lidars from half the rings and points up.

    batch_rng: draws what all windows of a batch share: lidar and camera, lidar alone (two batches in five) or camera alone (one in five).
    """
    yaw = rng.uniform(-np.pi, np.pi)
    turn = np.eye(4)
    turn[:2, :2] = [[np.cos(yaw), -np.sin(yaw)], [np.sin(yaw), np.cos(yaw)]]
    if rng.random() < 0.5:
        turn[:, 1] *= -1
    sensors = batch_rng.choice(["lidar", "both", "camera"], p=[0.4, 0.4, 0.2])
    return Augmentation(
        turn=turn,
        ground_error_m=float(rng.normal(0, 0.05)),
        ring_step=int(rng.choice([1, 2], p=[0.7, 0.3])),
        keep=float(rng.choice([1.0, rng.uniform(0.5, 1.0)])),
        noise_m=float(rng.choice([0.0, 0.03])),
        use_lidar=bool(sensors != "camera"),
        use_camera=bool(sensors != "lidar"),
        seed=int(rng.integers(2**31)),
    )
