"""A simulated world that the model watches as it happens: what a bag cannot give, since other things happen than would have."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from experiments.world_model.worlds import scenario_of
from jepa_ros.backends.scene_jepa.model import SceneJepa
from jepa_ros.memory import LatentMemory, steady_motion
from jepa_ros.sim.sensors.recording import Frame, Recorder
from jepa_ros.sim.sensors.rig import Camera, Lidar
from jepa_ros.sim.simulation import Simulation
from jepa_ros.types import NANOSECONDS, CameraImage, EgoState, LidarSweep, Observation


def live_world(seed: int, people: int | None = None) -> Recorder:
    """The world of a held-out seed, before its first moment."""
    simulation = Simulation(scenario_of(seed), seed, people)
    return Recorder(simulation, seed, Lidar(32, 900), Camera(256, 96), 1)


def observe(recorder: Recorder, frame: Frame, stamp_ns: int, scan_of: Frame | None = None, image_of: Frame | None = None) -> Observation:
    """What sensing would have made of a frame; scan_of, image_of: frames whose sweep or image takes the place of this one's."""
    scan, image = (scan_of or frame).scan, (image_of or frame).images[0]
    assert scan is not None
    assert recorder.camera is not None
    base_from_lidar = recorder.rig.base_from_lidar
    points = scan.points_m @ base_from_lidar[:3, :3].T.astype(np.float32) + base_from_lidar[:3, 3].astype(np.float32)
    ego = EgoState(stamp_ns, frame.odom_from_base, np.array([frame.speed_mps, 0.0]), frame.yaw_rate_radps)
    sweep = LidarSweep(stamp_ns, points, scan.intensity, scan.ring.astype(np.int32), None, base_from_lidar)
    camera = CameraImage(stamp_ns, "camera", image, recorder.camera.model, recorder.rig.base_from_cameras[0])
    return Observation(stamp_ns, ego, sweep, (camera,))


class Watcher:
    """Encodes a stream one model step apart and says what it expects next."""

    def __init__(self, model: SceneJepa) -> None:
        self.model = model
        self._memory = LatentMemory(model)

    def take(self, observation: Observation, latent_ND: Tensor) -> Tensor:
        """Add an instant to the past; (N, D) the next one in this anchor frame, the ego keeping its speed."""
        self._memory.add(observation.stamp_ns, observation.odom_from_anchor, latent_ND)
        motion = steady_motion(observation.ego, self.model.spec.horizon, self.model.spec.dt_s)
        predicted = self.model.predict(self._memory.history(), torch.as_tensor(motion, dtype=latent_ND.dtype)[None])
        expected_ND: Tensor = predicted[0, 0]
        return expected_ND

    def history(self) -> Tensor:
        """(1, T, N, D) in the anchor frame of the newest instant."""
        return self._memory.history()


def stamp_ns(model: SceneJepa, step: int) -> int:
    """Of the n-th instant."""
    return round((1 + step) * model.spec.dt_s * NANOSECONDS)
