"""What the simulated ego measures at one instant, free of any message format: `Recorder.frame()`."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from jepa_ros.sim.sensors.rig import Camera, Lidar, Odometer, Renderer, Rig, Scan
from jepa_ros.sim.simulation import Agent, Simulation
from jepa_ros.types import FloatArray


@dataclass(frozen=True)
class Frame:
    """All measurements of one instant, and the truth."""

    time_s: float
    scan: Scan | None
    images: tuple[np.ndarray, ...]  # (height, width, 3) uint8 each
    odom_from_base: FloatArray  # (4, 4) measured: drifts
    start_from_base: FloatArray  # (4, 4) true pose relative to the first one
    speed_mps: float  # measured
    yaw_rate_radps: float  # measured
    agents: tuple[Agent, ...]  # in the odom frame, where the sensors of this instant see them


class Recorder:
    """Steps a simulation and measures it."""

    def __init__(self, simulation: Simulation, seed: int, lidar: Lidar | None, camera: Camera | None, cameras: int) -> None:
        self.simulation, self.lidar, self.camera = simulation, lidar, camera
        self.rig = Rig.of(simulation.layout.ego_platform, cameras)
        self._renderer = Renderer(simulation, camera) if camera else None
        self._lidar_rng, self._camera_rng, odometer_rng = (np.random.default_rng([seed, 200 + k]) for k in range(3))
        self.odometer = Odometer(odometer_rng)
        self._start = simulation.world_from_base()
        self.odometer.update(self._start, 1.0)

    def step(self, dt_s: float) -> None:
        """Let time pass without measuring, odometry excepted."""
        self.simulation.step(dt_s)
        self.odometer.update(self.simulation.world_from_base(), dt_s)

    def frame(self) -> Frame:
        """Measure now."""
        simulation, odometer = self.simulation, self.odometer
        world_from_base = simulation.world_from_base()
        odom_from_world = odometer.odom_from_base @ np.linalg.inv(world_from_base)
        return Frame(
            simulation.time_s,
            self.lidar.scan(simulation, self.rig.base_from_lidar, self._lidar_rng) if self.lidar else None,
            tuple(self._renderer.render(pose, self._camera_rng) for pose in self.rig.base_from_cameras) if self._renderer else (),
            odometer.odom_from_base,
            np.linalg.inv(self._start) @ world_from_base,
            odometer.speed_mps,
            odometer.yaw_rate_radps,
            tuple(_moved(agent, odom_from_world) for agent in simulation.agents()),
        )


def _moved(agent: Agent, target_from_world: FloatArray) -> Agent:
    turn = float(np.arctan2(target_from_world[1, 0], target_from_world[0, 0]))
    position = target_from_world[:3, :3] @ agent.position_m + target_from_world[:3, 3]
    return replace(agent, position_m=position, yaw_rad=agent.yaw_rad + turn, velocity_mps=target_from_world[:2, :2] @ agent.velocity_mps)
