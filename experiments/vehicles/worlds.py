"""Simulated streets with the ego at the speed of a car, and what it measures in them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from jepa_ros.sim.sensors.recording import Recorder
from jepa_ros.sim.sensors.rig import Lidar
from jepa_ros.sim.simulation import Agent, Simulation
from jepa_ros.types import NANOSECONDS, EgoState, LidarSweep, Observation

RATE_HZ = 10.0


def drive(
    scenario: str, seed: int, seconds: float, speed_mps: float, rings: int, azimuths: int
) -> Iterator[tuple[Observation, list[Agent]]]:
    """Each observation, and who and what is where in its odom frame. The ego drives its lane at `speed_mps` and waits for nobody."""
    simulation = Simulation(scenario, seed)
    lane = replace(simulation.ego.lane, stop_arc_m=None)
    simulation.ego = replace(simulation.ego, lane=lane, speed_mps=speed_mps, wanted_mps=speed_mps)
    recorder = Recorder(simulation, seed, Lidar(rings, azimuths), None, 0)
    base_from_lidar = recorder.rig.base_from_lidar
    shift = base_from_lidar[:3, 3].astype(np.float32)
    for index in range(round(seconds * RATE_HZ)):
        simulation.ego.speed_mps = speed_mps  # people jump aside; what is measured is what is seen at that speed
        recorder.step(1.0 / RATE_HZ)
        frame, stamp_ns = recorder.frame(), NANOSECONDS + round(index / RATE_HZ * NANOSECONDS)
        if frame.scan is None:
            raise RuntimeError("a recorder with a lidar gave no scan")
        sweep = LidarSweep(stamp_ns, frame.scan.points_m + shift, None, frame.scan.ring.astype(np.int32), None, base_from_lidar)
        ego = EgoState(stamp_ns, frame.odom_from_base, np.array([frame.speed_mps, 0.0]), frame.yaw_rate_radps)
        yield Observation(stamp_ns, ego, sweep), list(frame.agents)
