"""Lidar, camera and odometry of the simulated ego. Lidar and camera cast rays with MuJoCo, so no OpenGL is needed anywhere."""

from __future__ import annotations

from dataclasses import dataclass

import mujoco
import numpy as np

from jepa_ros.sim.places.layout import MATERIALS
from jepa_ros.sim.sensors.shading import Shader
from jepa_ros.sim.simulation import Simulation
from jepa_ros.types import CameraModel, FloatArray

RING_FIELDS_DEG = {16: (-15.0, 15.0), 32: (-25.0, 12.0), 64: (-24.8, 4.0)}  # lowest and highest ring
FOLIAGE = MATERIALS.index("foliage")


@dataclass(frozen=True)
class Hits:
    """What rays from one point met; distance -1 where nothing."""

    distance_m: FloatArray  # (N,)
    geom: np.ndarray  # (N,) int32 MuJoCo geom id, -1 = nothing
    normals: FloatArray  # (N, 3) world frame


def cast(simulation: Simulation, origin_m: FloatArray, directions: FloatArray, max_range_m: float) -> Hits:
    """Cast (N, 3) unit directions (world frame) from one origin."""
    count = len(directions)
    geom, distance, normals = np.full(count, -1, np.int32), np.full(count, -1.0), np.zeros(3 * count)
    mujoco.mj_multiRay(
        simulation.model,
        simulation.data,
        origin_m,
        np.ascontiguousarray(directions).reshape(-1),
        None,
        1,
        -1,
        geom,
        distance,
        normals,
        count,
        max_range_m,
    )
    return Hits(distance, geom, normals.reshape(-1, 3))


@dataclass(frozen=True)
class Scan:
    """One lidar sweep in the lidar frame."""

    points_m: np.ndarray  # (N, 3) float32
    intensity: np.ndarray  # (N,) float32, 0-1: reflectivity times the cosine of incidence
    ring: np.ndarray  # (N,) uint16, 0 = lowest
    geom: np.ndarray  # (N,) int32 MuJoCo geom hit: ground truth, not published


@dataclass(frozen=True)
class Lidar:
    """A spinning lidar. The whole sweep is taken at one instant (a sensor whose points are already motion-compensated)."""

    rings: int = 32
    azimuths: int = 900
    max_range_m: float = 80.0
    range_noise_m: float = 0.02
    dropout: float = 0.01

    def __post_init__(self) -> None:
        if self.rings not in RING_FIELDS_DEG:
            raise ValueError(f"lidar rings = {self.rings}: choose 16, 32 or 64")
        if self.azimuths < 8:
            raise ValueError(f"lidar azimuths = {self.azimuths}: must be 8 or more")

    def scan(self, simulation: Simulation, base_from_lidar: FloatArray, rng: np.random.Generator) -> Scan:
        """One sweep at the present moment."""
        directions, ring = self._rays()
        world_from_lidar = simulation.world_from_base() @ base_from_lidar
        directions_world = directions @ world_from_lidar[:3, :3].T
        hits = cast(simulation, world_from_lidar[:3, 3], directions_world, self.max_range_m)
        return self._returns(simulation, hits, directions, directions_world, ring, rng)

    def _rays(self) -> tuple[FloatArray, np.ndarray]:
        low, high = np.radians(RING_FIELDS_DEG[self.rings])
        elevation = np.repeat(np.linspace(low, high, self.rings), self.azimuths)
        azimuth = np.tile(np.linspace(np.pi, -np.pi, self.azimuths, endpoint=False), self.rings)
        level = np.cos(elevation)
        directions = np.stack([level * np.cos(azimuth), level * np.sin(azimuth), np.sin(elevation)], axis=1)
        return directions, np.repeat(np.arange(self.rings, dtype=np.uint16), self.azimuths)

    def _returns(
        self,
        simulation: Simulation,
        hits: Hits,
        directions: FloatArray,
        directions_world: FloatArray,
        ring: np.ndarray,
        rng: np.random.Generator,
    ) -> Scan:
        # Noise is drawn for every ray, hit or not, so that the random stream does not depend on the scene.
        noise, chance = rng.standard_normal(len(ring)), rng.random(len(ring))
        seen = hits.geom >= 0
        distance = hits.distance_m[seen]
        reflectivity, material = simulation.model.geom_user[hits.geom[seen]].T
        cosine = np.abs(np.einsum("nd,nd->n", hits.normals[seen], directions_world[seen]))
        spread = self.range_noise_m * np.where(material == FOLIAGE, 6.0, 1.0)
        measured = distance + spread * noise[seen]
        # Weak echoes get lost: dark, far and grazing surfaces first.
        echo = 300.0 * reflectivity * cosine * (30.0 / np.maximum(distance, 1.0)) ** 2
        kept = (chance[seen] < (1.0 - self.dropout) * (1.0 - np.exp(-echo))) & (measured > 0.3) & (measured < self.max_range_m)
        points = directions[seen][kept] * measured[kept, None]
        intensity = np.clip(reflectivity * (0.15 + 0.85 * cosine) + 0.02 * noise[seen], 0.0, 1.0)[kept]
        return Scan(points.astype(np.float32), intensity.astype(np.float32), ring[seen][kept], hits.geom[seen][kept])


@dataclass(frozen=True)
class Camera:
    """A pinhole camera without distortion."""

    width: int = 400
    height: int = 225
    field_of_view_deg: float = 82.0  # horizontal

    def __post_init__(self) -> None:
        if self.width < 8 or self.height < 8:
            raise ValueError(f"camera size {self.width} x {self.height}: must be 8 x 8 or more")

    @property
    def model(self) -> CameraModel:
        focal = self.width / 2 / np.tan(np.radians(self.field_of_view_deg) / 2)
        intrinsics = np.array([[focal, 0.0, (self.width - 1) / 2], [0.0, focal, (self.height - 1) / 2], [0.0, 0.0, 1.0]])
        return CameraModel(self.width, self.height, intrinsics, np.zeros(5))

    def rays(self) -> FloatArray:
        """(height * width, 3) unit directions in the optical frame, row by row."""
        u, v = np.meshgrid(np.arange(self.width), np.arange(self.height))
        rays = np.stack([u, v, np.ones_like(u)], axis=-1).reshape(-1, 3) @ np.linalg.inv(self.model.intrinsics).T
        return rays / np.linalg.norm(rays, axis=1, keepdims=True)


class Renderer:
    """Takes pictures of one simulation."""

    def __init__(self, simulation: Simulation, camera: Camera, max_range_m: float = 150.0) -> None:
        self._simulation, self._camera, self._max_range_m = simulation, camera, max_range_m
        self._shader, self._rays = Shader(simulation), camera.rays()

    def render(self, base_from_camera: FloatArray, rng: np.random.Generator) -> np.ndarray:
        """(height, width, 3) uint8 rgb at the present moment; `base_from_camera` is the pose of the optical frame."""
        world_from_camera = self._simulation.world_from_base() @ base_from_camera
        directions, origin = self._rays @ world_from_camera[:3, :3].T, world_from_camera[:3, 3]
        hits = self._cast(origin, directions)
        rgb = self._shader.shade(hits.geom, hits.distance_m, hits.normals, origin, directions)
        rgb += rng.normal(0.0, 0.006, (len(rgb), 1))
        return (np.clip(rgb, 0.0, 1.0) * 255).astype(np.uint8).reshape(self._camera.height, self._camera.width, 3)

    def _cast(self, origin: FloatArray, directions: FloatArray) -> Hits:
        """Cast every second pixel of every second row; in between only where the four around do not lie on one plane.

        Halves the time. The plane gives exact distances; only things less than two pixels wide can get lost.
        """
        height, width = self._camera.height, self._camera.width
        index = np.arange(height * width).reshape(height, width)
        coarse = index[::2, ::2]
        sparse = cast(self._simulation, origin, directions[coarse.ravel()], self._max_range_m)
        geom, normals = sparse.geom.reshape(coarse.shape), sparse.normals.reshape(*coarse.shape, 3)
        below, right = (
            np.minimum(np.arange(coarse.shape[0]) + 1, coarse.shape[0] - 1),
            np.minimum(np.arange(coarse.shape[1]) + 1, coarse.shape[1] - 1),
        )
        flat = np.ones(coarse.shape, dtype=bool)
        for rows, columns in ((slice(None), right), (below, slice(None)), (below[:, None], right)):
            flat &= (geom == geom[rows, columns]) & (np.abs(normals - normals[rows, columns]).max(axis=2) < 1e-6)
        # Every pixel takes over the plane of its coarse neighbour up and to the left.
        owner = (np.arange(height) // 2)[:, None] * coarse.shape[1] + (np.arange(width) // 2)
        owner = owner.ravel()
        hits = Hits(np.full(len(owner), -1.0), sparse.geom[owner], sparse.normals[owner])
        offset = np.einsum("nd,nd->n", sparse.normals, directions[coarse.ravel()]) * sparse.distance_m
        facing = np.einsum("nd,nd->n", hits.normals, directions)
        solid = (hits.geom >= 0) & (np.abs(facing) > 1e-9)
        hits.distance_m[solid] = offset[owner[solid]] / facing[solid]
        exact = ~flat.ravel()[owner]
        exact[coarse.ravel()] = False
        fine = cast(self._simulation, origin, directions[exact], self._max_range_m)
        hits.distance_m[exact], hits.geom[exact], hits.normals[exact] = fine.distance_m, fine.geom, fine.normals
        return hits


@dataclass(frozen=True)
class Rig:
    """Where the sensors sit on the ego."""

    base_from_lidar: FloatArray  # (4, 4)
    base_from_cameras: tuple[FloatArray, ...]  # (4, 4) optical frames

    @staticmethod
    def of(platform: str, cameras: int) -> Rig:
        """The rig of a car or a robot with 0-6 cameras; the first looks ahead, the others are spread evenly to the left of it."""
        if not 0 <= cameras <= 6:
            raise ValueError(f"cameras = {cameras}: choose 0 to 6")
        lidar_height, camera_height, forward = (1.73, 1.65, 0.4) if platform == "car" else (0.80, 0.70, 0.15)
        lidar = np.eye(4)
        lidar[2, 3] = lidar_height
        poses = []
        for yaw in 2 * np.pi * np.arange(cameras) / max(cameras, 1):
            pose = np.eye(4)
            c, s = np.cos(yaw), np.sin(yaw)
            # Columns: the optical x (right), y (down) and z (forward) axes in the base frame.
            pose[:3, :3] = np.array([[s, 0.0, c], [-c, 0.0, s], [0.0, -1.0, 0.0]])
            pose[:3, 3] = forward * c, forward * s, camera_height
            poses.append(pose)
        return Rig(lidar, tuple(poses))


class Odometer:
    """Dead reckoning that drifts: a measured twist with a constant scale and bias and white noise, integrated from the identity."""

    def __init__(self, rng: np.random.Generator, speed_noise: float = 0.02, yaw_rate_noise_radps: float = 0.004) -> None:
        """`speed_noise`: relative; the scale and the gyro bias are drawn once, at half of each noise."""
        self._rng, self._speed_noise, self._yaw_noise = rng, speed_noise, yaw_rate_noise_radps
        self._scale = 1.0 + 0.5 * speed_noise * rng.standard_normal()
        self._bias = 0.5 * yaw_rate_noise_radps * rng.standard_normal()
        self.odom_from_base = np.eye(4)
        self.speed_mps = 0.0
        self.yaw_rate_radps = 0.0
        self._previous: FloatArray | None = None

    def update(self, world_from_base: FloatArray, dt_s: float) -> None:
        """Take in the true pose dt_s after the last one (the first call only sets the start)."""
        if self._previous is not None:
            step = np.linalg.inv(self._previous) @ world_from_base
            turn = float(np.arctan2(step[1, 0], step[0, 0]))
            moving = float(np.hypot(step[0, 3], step[1, 3])) > 1e-4 or abs(turn) > 1e-5
            # A wheel encoder at rest says so exactly; only a moving vehicle drifts.
            scale = self._scale + self._speed_noise * self._rng.standard_normal() if moving else 1.0
            drift = (self._bias + self._yaw_noise * self._rng.standard_normal()) * dt_s if moving else 0.0
            c, s = np.cos(turn + drift), np.sin(turn + drift)
            measured = np.eye(4)
            measured[:2, :2] = [[c, -s], [s, c]]
            measured[:2, 3] = step[:2, 3] * scale
            self.odom_from_base = self.odom_from_base @ measured
            self.speed_mps, self.yaw_rate_radps = float(measured[0, 3] / dt_s), (turn + drift) / dt_s
        self._previous = world_from_base.copy()
