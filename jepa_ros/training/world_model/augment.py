"""What a recording could also have looked like: another heading, a mirrored world, another lidar, a sensor missing."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from jepa_ros.training.world_model.shard import NO_RING, Frame
from jepa_ros.types import FloatArray

USUAL_POINTS = 20_000  # of a sweep of a lidar with 32 rings
SLIGHT_RAD = 0.3


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
    slope: tuple[float, float] = (0.0, 0.0)  # metres per metre, along x and y of the anchor frame of now
    bushes: FloatArray = field(default_factory=lambda: np.zeros((0, 4)))  # x, y, radius, height in that frame, metres
    foliage: float = 1.0  # how dense bushes are: the less, the more they flicker
    seed: int = 0  # of the noise

    def sensors(self, frame: Frame, frame_number: int, now: Frame) -> Frame:
        """The frame as a poorer lidar would have seen it, in a world that is less smooth than a simulated one. now: of the window."""
        now_from_frame = np.linalg.inv(now.odom_from_anchor) @ frame.odom_from_anchor
        rng = np.random.default_rng((self.seed, frame_number))
        kept = np.ones(len(frame.points_m), bool)
        if self.ring_step > 1:
            kept &= (frame.ring % self.ring_step == self.seed % self.ring_step) | (frame.ring == NO_RING)
        if self.keep < 1:
            kept &= rng.random(len(kept), np.float32) < self.keep
        points = frame.points_m[kept]
        ring = frame.ring[kept]
        if len(self.bushes):
            per_sweep = self.foliage * len(frame.points_m) / USUAL_POINTS
            leaves = self._leaves(np.linalg.inv(now_from_frame), per_sweep, rng) + np.array([0, 0, frame.ground_height_m], np.float32)
            points, ring = np.concatenate([points, leaves]), np.concatenate([ring, np.full(len(leaves), NO_RING, np.uint8)])
        if any(self.slope):
            # Heights are above the ground below the vehicle, so the slope counts from the vehicle of each frame.
            tilt = (np.array(self.slope) @ now_from_frame[:2, :2]).astype(np.float32)
            points = points + np.stack([0 * points[:, 0], 0 * points[:, 0], points[:, :2] @ tilt], axis=1)
        if self.noise_m > 0:
            points = points + self.noise_m * rng.standard_normal(points.shape, np.float32)
        return dataclasses.replace(frame, points_m=points, ring=ring)

    def _leaves(self, frame_from_now: FloatArray, per_sweep: float, rng: np.random.Generator) -> NDArray[np.float32]:
        """(P, 3) returns from the bushes, other ones in each sweep: vegetation flickers where walls do not, least so to a dense lidar.

        per_sweep: how many times as many as from thin bushes in a sweep of USUAL_POINTS.
        """
        centre = self.bushes[:, :2] @ frame_from_now[:2, :2].T + frame_from_now[:2, 3]
        density = 400 * per_sweep / np.maximum(np.hypot(*centre.T), 4.0) ** 1.5
        returns = rng.poisson(density * self.bushes[:, 2])
        which = np.repeat(np.arange(len(centre)), returns)
        offset = rng.normal(0, 0.5, (len(which), 2)) * self.bushes[which, 2:3]
        height = rng.random(len(which)) * self.bushes[which, 3]
        return np.column_stack([centre[which] + offset, height]).astype(np.float32)


def draw_augmentation(
    rng: np.random.Generator, batch_rng: np.random.Generator, sensors: tuple[float, float, float], many_rings: bool
) -> Augmentation:
    """A random augmentation: any heading, half of them mirrored; lidars from half the points and half the rings up, or from a quarter
    of many rings; sloping ground and vegetation, which simulated worlds lack.

    batch_rng: draws what all windows of a batch share: lidar alone, both or camera alone, which have these shares of the batches.
    """
    turn = _turn(rng, np.pi)
    count = int(rng.integers(5, 60)) * int(rng.integers(2))
    use_lidar, use_camera = _sensors(batch_rng, sensors)
    return Augmentation(
        turn=turn,
        ground_error_m=float(rng.normal(0, 0.05)),
        ring_step=int(rng.choice([1, 2, 4], p=[0.4, 0.3, 0.3] if many_rings else [0.7, 0.3, 0])),
        keep=float(rng.choice([1.0, rng.uniform(0.5, 1.0)])),
        noise_m=float(rng.choice([0.0, 0.03])),
        foliage=float(rng.choice([1.0, 2.0, 4.0])),
        use_lidar=use_lidar,
        use_camera=use_camera,
        slope=(float(rng.normal(0, 0.01)), float(rng.normal(0, 0.01))),
        bushes=np.column_stack([rng.uniform(-30, 30, (count, 2)), rng.uniform(0.3, 2.5, count), rng.uniform(0.3, 2.5, count)]),
        seed=int(rng.integers(2**31)),
    )


DrawAugmentation = Callable[[np.random.Generator, np.random.Generator, tuple[float, float, float], bool], Augmentation]


def draw_same_place(
    rng: np.random.Generator, batch_rng: np.random.Generator, sensors: tuple[float, float, float], many_rings: bool
) -> Augmentation:
    """A random augmentation for one robot in one kind of place: its own sensors, ground and clutter as they are, mirrored half of the
    time and turned a little."""
    use_lidar, use_camera = _sensors(batch_rng, sensors)
    return Augmentation(turn=_turn(rng, SLIGHT_RAD), use_lidar=use_lidar, use_camera=use_camera, seed=int(rng.integers(2**31)))


def _turn(rng: np.random.Generator, most_rad: float) -> FloatArray:
    """(4, 4) a yaw of at most so much to either side, half of them mirrored."""
    yaw = rng.uniform(-most_rad, most_rad)
    turn = np.eye(4)
    turn[:2, :2] = [[np.cos(yaw), -np.sin(yaw)], [np.sin(yaw), np.cos(yaw)]]
    if rng.random() < 0.5:
        turn[:, 1] *= -1
    return turn


def _sensors(batch_rng: np.random.Generator, shares: tuple[float, float, float]) -> tuple[bool, bool]:
    """(lidar, camera) that the windows of a batch see."""
    kind = batch_rng.choice(["lidar", "both", "camera"], p=np.array(shares) / sum(shares))
    return bool(kind != "camera"), bool(kind != "lidar")
