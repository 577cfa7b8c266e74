"""Writes simulated runs as ROS 2 bags, ground truth included; needs no ROS 2."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from jepa_ros.exchange.bag_writer import new_bag
from jepa_ros.sim.branches import MANOEUVRES, set_off
from jepa_ros.sim.messages import frame_messages, static_messages, topics
from jepa_ros.sim.sensors.recording import Recorder
from jepa_ros.sim.sensors.rig import Camera, Lidar
from jepa_ros.sim.simulation import Simulation
from jepa_ros.types import NANOSECONDS

EPOCH_NS = 1_750_000_000 * NANOSECONDS


@dataclass(frozen=True)
class Branch:
    """One of the futures of an instant of a run: what the ego does from then on, while all else is the same up to it."""

    at_s: float
    manoeuvre: str  # one of MANOEUVRES
    past_s: float = 1.2  # recorded before it

    def __post_init__(self) -> None:
        if self.manoeuvre not in MANOEUVRES:
            raise ValueError(f"manoeuvre {self.manoeuvre!r}: choose one of {', '.join(MANOEUVRES)}")
        if not self.at_s >= self.past_s >= 0:
            raise ValueError(f"at_s = {self.at_s}, past_s = {self.past_s}: at_s must be at least past_s, and that at least 0")


@dataclass(frozen=True)
class BagSpec:
    """What to simulate and how to record it."""

    seed: int
    scenario: str = "street"
    duration_s: float = 20.0
    rate_hz: float = 10.0
    lidar_rings: int = 32
    lidar_azimuths: int = 900
    cameras: int = 1
    camera_size: tuple[int, int] = (400, 225)  # width, height
    storage: str = "mcap"  # mcap | sqlite3
    n_people: int | None = None  # None: as many as the place has
    tracks: str | None = None  # file of recorded people who take the place of the simulated ones
    lively: bool = False  # drivers turn, give way, pass, stop and weave
    branch: Branch | None = None  # None: from the first moment, the ego drives its route

    def __post_init__(self) -> None:
        if not self.duration_s > 0 or not self.rate_hz > 0:
            raise ValueError(f"duration_s = {self.duration_s}, rate_hz = {self.rate_hz}: both must be above 0")
        if self.storage not in ("mcap", "sqlite3"):
            raise ValueError(f"storage {self.storage!r}: choose mcap or sqlite3")
        if self.cameras == 0 and self.lidar_rings == 0:
            raise ValueError("a bag needs a lidar or a camera; got lidar_rings = 0 and cameras = 0")

    @property
    def frames(self) -> int:
        return max(1, round(self.duration_s * self.rate_hz))


def write_bag(path: str | Path, spec: BagSpec, progress: Callable[[int], None] = lambda frames: None) -> Path:
    """Simulate and record one bag at `path` (a folder that must not exist yet). The same spec gives the same measurements.

    The bag is complete or absent: it is written beside `path` and renamed at the end. `progress` gets the number of frames done.
    """
    path = Path(path)
    if path.exists():  # before anything is simulated
        raise ValueError(f"{path} exists; choose another folder or remove it")
    simulation = Simulation(spec.scenario, spec.seed, spec.n_people, spec.tracks, lively=spec.lively)
    begin_s = spec.branch.at_s - spec.branch.past_s if spec.branch else 0.0
    if begin_s > 0:
        simulation.step(begin_s)
    lidar = Lidar(spec.lidar_rings, spec.lidar_azimuths) if spec.lidar_rings else None
    camera = Camera(*spec.camera_size) if spec.cameras else None
    recorder = Recorder(simulation, spec.seed, lidar, camera, spec.cameras)
    start_ns = EPOCH_NS + spec.seed * 1000 * NANOSECONDS + round(begin_s * NANOSECONDS)
    with new_bag(path, topics(recorder), spec.storage) as write:
        write(start_ns, static_messages(recorder, start_ns))
        for index in range(spec.frames):
            stamp_ns = start_ns + round(index * NANOSECONDS / spec.rate_hz)
            write(stamp_ns, frame_messages(recorder, recorder.frame(), stamp_ns))
            if spec.branch and index == round(spec.branch.past_s * spec.rate_hz):
                set_off(simulation, spec.branch.manoeuvre)
            recorder.step(1.0 / spec.rate_hz)
            progress(index + 1)
    return path
