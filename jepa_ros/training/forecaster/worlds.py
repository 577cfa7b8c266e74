"""Places with people in them as the adapter of the forecaster learns from: who was seen where, and the scene latents beside it.

From the simulator, with the true paths of everybody and the true distance to whatever stands; or from bags, with what the tracker made of
them. Either is worked out once and kept in a folder.

Axes: F instant (0.4 s apart), P person, Y row and X column of the bird's-eye view, R row and C column of the map of obstacles.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from tqdm import tqdm

from jepa_ros.backends import load_world_model
from jepa_ros.backends.bev import BEV_GRID
from jepa_ros.forecast.scene import BANDS, MODEL, latents_of, returns_map
from jepa_ros.objects.time_steps import HORIZON, STEP_S
from jepa_ros.pipeline import WorldModelPipeline
from jepa_ros.protocols import SceneLatents, WorldModel
from jepa_ros.sensing import open_bag
from jepa_ros.sim.places.layout import Layout, Obstacles
from jepa_ros.sim.places.worlds import make_layout
from jepa_ros.sim.sensors.recording import Recorder
from jepa_ros.sim.sensors.rig import Lidar
from jepa_ros.sim.simulation import Simulation
from jepa_ros.training.arrays import write_arrays
from jepa_ros.training.forecaster.data import Recording, TrackTable, table_of
from jepa_ros.training.world_model.dataset import shard_name
from jepa_ros.types import NANOSECONDS, EgoState, FloatArray, LidarSweep, Observation

FRAMES = 50
SETTLING_S = 4.0
RINGS = (16, 32, 64)  # in turn
AZIMUTHS = 720
SEEN_RANGE_M = 25.0  # people further away are not seen, and are beyond the bird's-eye view
SEEN_RETURNS = 3  # within SEEN_RADIUS_M
SEEN_RADIUS_M = 0.4
CELL_M = 0.2  # of the map of obstacles
FARTHEST_CM = 127


@dataclass(frozen=True)
class World:
    """One place over some time. Positions and poses are in one fixed frame."""

    name: str
    recording: Recording  # where people truly were, or were tracked
    visible: NDArray[np.bool_]  # (F, P) in view of the lidar
    poses: FloatArray  # (F, 4, 4) fixed frame from the anchor frame of the latents
    returns: NDArray[np.uint8]  # (F, Y * X * BANDS / 8) bits of `returns_map`
    distance_cm: NDArray[np.int8]  # (R, C) to the nearest obstacle, negative inside of one; (0, 0) where that is not known
    origin_m: FloatArray  # (2,) x, y of the corner of cell [0, 0]

    def maps(self) -> NDArray[np.uint8]:
        """(F, Y, X, BANDS) 0 or 1."""
        return np.unpackbits(self.returns, axis=1).reshape(len(self.returns), BEV_GRID.rows, BEV_GRID.columns, BANDS)

    def scene(self, frame: int) -> SceneLatents:
        """What the adapter reads of the latents of an instant; the channels that it does not read are left out."""
        returns = torch.from_numpy(np.unpackbits(self.returns[frame]).reshape(BEV_GRID.rows, BEV_GRID.columns, BANDS))
        return SceneLatents(latents_of(returns.float()), self.poses[frame], MODEL)

    def table(self, source: int) -> TrackTable:
        """One row per person in view and instant; the past as seen, the future as it was."""
        seen = Recording(self.name, self.recording.positions_m, self.recording.present & self.visible)
        table = table_of(seen, source)
        present = np.pad(self.recording.present, ((0, HORIZON), (0, 0)))
        known = present[table.instant[:, None] + np.arange(1, HORIZON + 1), table.person[:, None]]
        return dataclasses.replace(table, known=known)

    def obstacles(self) -> Obstacles:
        """The exact cells that nobody can enter. Raises ValueError for a world that was not simulated."""
        scenario, _, seed = self.name.partition(" ")
        if not seed.isdigit():
            raise ValueError(f"{self.name}: the obstacles of a recorded place are not known")
        return make_layout(scenario, int(seed)).obstacles

    def distance_m(self, points_m: FloatArray) -> FloatArray:
        """(...,) metres to the nearest obstacle from (..., 2) points, negative inside; far outside the map."""
        column, row = np.moveaxis(np.floor((points_m - self.origin_m) / CELL_M).astype(int), -1, 0)
        rows, columns = self.distance_cm.shape
        inside = (row >= 0) & (row < rows) & (column >= 0) & (column < columns)
        found = self.distance_cm[row.clip(0, rows - 1), column.clip(0, columns - 1)]
        return np.where(inside, found, FARTHEST_CM) / 100.0


def simulated_world(scenario: str, seed: int, model: WorldModel) -> World:
    """20 s of one simulated place. People are in view where the lidar met them; poses are exact."""
    simulation = Simulation(scenario, seed)
    recorder = Recorder(simulation, seed, Lidar(RINGS[seed % len(RINGS)], AZIMUTHS), None, 0)
    recorder.step(SETTLING_S)
    seen: list[dict[int, tuple[FloatArray, bool]]] = []
    poses, returns = [], []
    for frame in range(FRAMES):
        scan = recorder.frame().scan
        assert scan is not None
        pose = simulation.world_from_base()
        points = (scan.points_m @ recorder.rig.base_from_lidar[:3, :3].T + recorder.rig.base_from_lidar[:3, 3]).astype(np.float32)
        sweep = LidarSweep(frame, points, None, None, None, recorder.rig.base_from_lidar)
        returns.append(_bits(model, Observation(frame, EgoState(frame, pose, np.zeros(2)), lidar=sweep)))
        poses.append(pose)
        people = [agent for agent in simulation.agents() if agent.kind == "person"]
        places = np.array([agent.position_m[:2] for agent in people]).reshape(-1, 2)
        view = _in_view(points, (places - pose[:2, 3]) @ pose[:2, :2])
        seen.append({agent.id: (place, bool(v)) for agent, place, v in zip(people, places, view, strict=True)})
        recorder.step(STEP_S)
    recording, visible = _recording(f"{scenario} {seed}", seen)
    distance_cm, origin_m = obstacle_map(simulation.layout, recording.positions_m[recording.present])
    return World(recording.name, recording, visible, np.stack(poses), np.stack(returns), distance_cm, origin_m)


def bag_world(bag: Path, model: WorldModel) -> World:
    """A bag as the pipeline sees it: people as tracked, in odom, every 0.4 s. Nothing is known of obstacles but the latents."""
    pipeline = WorldModelPipeline.load(model.spec.name)
    seen: list[dict[int, tuple[FloatArray, bool]]] = []
    poses, returns = [], []
    due_ns: int | None = None
    for observation in open_bag(bag):
        state = pipeline.step(observation)
        if observation.lidar is None or (due_ns is not None and observation.stamp_ns < due_ns):
            continue
        due_ns = (due_ns or observation.stamp_ns) + round(STEP_S * NANOSECONDS)
        there = state.people.history.valid[:, -1]
        people = zip(state.people.ids[there].tolist(), state.people.positions_m[there], strict=True)
        seen.append({person: (place, True) for person, place in people})
        poses.append(state.anchor_pose)
        returns.append(_packed(SceneLatents(torch.from_numpy(state.latent), state.anchor_pose, model.spec.name)))
    if not any(seen):
        raise ValueError(f"{bag}: nobody was tracked in it; nothing to learn from")
    recording, visible = _recording(str(bag), seen)
    return World(recording.name, recording, visible, np.stack(poses), np.stack(returns), np.zeros((0, 0), np.int8), np.zeros(2))


def _bits(model: WorldModel, observation: Observation) -> NDArray[np.uint8]:
    return _packed(SceneLatents(model.encode(observation)[0], observation.odom_from_anchor, model.spec.name))


def _packed(scene: SceneLatents) -> NDArray[np.uint8]:
    returns = returns_map(scene)
    if returns is None:
        raise ValueError(f"the adapter reads latents of {MODEL}, got those of {scene.model} of shape {tuple(scene.latents_ND.shape)}")
    return np.packbits(returns.numpy() > 0.5)


def _in_view(points_m: FloatArray, people_m: FloatArray) -> NDArray[np.bool_]:
    """(P,) which people at (P, 2) the lidar met; both in the base frame, on level ground."""
    body = points_m[(points_m[:, 2] > 0.4) & (points_m[:, 2] < 2.0)][:, :2]
    body = body[np.hypot(*body.T) < SEEN_RANGE_M + 1.0]
    met = (np.square(body[None] - people_m[:, None]).sum(axis=-1) < SEEN_RADIUS_M**2).sum(axis=1) if len(people_m) else np.zeros(0)
    return (met >= SEEN_RETURNS) & (np.hypot(*people_m.T) < SEEN_RANGE_M)


def _recording(name: str, seen: list[dict[int, tuple[FloatArray, bool]]]) -> tuple[Recording, NDArray[np.bool_]]:
    people = {person: column for column, person in enumerate(sorted(set().union(*seen)))}
    positions = np.zeros((len(seen), len(people), 2), np.float32)
    present, visible = np.zeros((2, len(seen), len(people)), bool)
    for instant, there in enumerate(seen):
        for person, (place, view) in there.items():
            positions[instant, people[person]] = place
            present[instant, people[person]], visible[instant, people[person]] = True, view
    return Recording(name, positions, present), visible


def obstacle_map(layout: Layout, walked_m: FloatArray) -> tuple[NDArray[np.int8], FloatArray]:
    """Signed distance in cm at the cells of a map, and its corner. Occupied is every cell that holds a part of a wall, a pole, furniture
    or a parked car, and what lies behind: all that no way leads to from where people walked, (N, 2)."""
    segments, discs = layout.obstacles.segments_m, layout.obstacles.discs_m
    corners = np.concatenate([segments.reshape(-1, 2), discs[:, :2]])
    origin = corners.min(axis=0)
    columns, rows = (np.ceil((corners.max(axis=0) - origin) / CELL_M).astype(int) + 1).tolist()
    occupied = np.zeros((rows, columns), bool)
    length = np.linalg.norm(segments[:, 1] - segments[:, 0], axis=1)
    for (start, end), metres in zip(segments, length, strict=True):
        points = start + np.linspace(0, 1, int(metres / 0.05) + 2)[:, None] * (end - start)
        column, row = ((points - origin) / CELL_M).astype(int).T
        occupied[row, column] = True
    centre_x, centre_y = (origin[0] + (np.arange(columns) + 0.5) * CELL_M, origin[1] + (np.arange(rows) + 0.5) * CELL_M)
    for x, y, radius in discs:
        near = (np.abs(centre_y - y)[:, None] <= CELL_M / 2) & (np.abs(centre_x - x) <= CELL_M / 2)
        occupied |= near | (np.hypot((centre_y - y)[:, None], centre_x - x) <= radius)
    label, _ = ndimage.label(~occupied)
    column, row = ((walked_m - origin) / CELL_M).astype(int).T
    inside = (row >= 0) & (row < rows) & (column >= 0) & (column < columns)
    reached = np.setdiff1d(np.unique(label[row[inside], column[inside]]), [0])
    free = np.isin(label, reached)
    signed = np.where(free, ndimage.distance_transform_edt(free) - 0.5, 0.5 - ndimage.distance_transform_edt(~free)) * 100 * CELL_M
    return signed.clip(-FARTHEST_CM, FARTHEST_CM).astype(np.int8), origin


def worlds(folder: Path, simulated: Iterable[tuple[str, int]], bags: Iterable[Path] = ()) -> list[World]:
    """All of these, made now or read from `folder` where they have been made before."""
    folder.mkdir(parents=True, exist_ok=True)
    model = load_world_model(MODEL)
    jobs = [(folder / f"{scenario}_{seed:05d}.npz", scenario, seed, Path()) for scenario, seed in simulated]
    jobs += [(folder / f"bag_{shard_name(bag)}.npz", "", 0, bag) for bag in bags]
    found = []
    for path, scenario, seed, bag in tqdm(jobs, desc="worlds"):
        if not path.is_file():
            world = simulated_world(scenario, seed, model) if scenario else bag_world(bag, model)
            recording = world.recording
            arrays = {name: getattr(world, name) for name in ("visible", "poses", "returns", "distance_cm", "origin_m")}
            write_arrays(path, name=world.name, positions_m=recording.positions_m, present=recording.present, **arrays)
        with np.load(path) as file:
            read = {name: file[name] for name in file.files}
        recording = Recording(str(read.pop("name")), read.pop("positions_m"), read.pop("present"))
        found.append(World(recording.name, recording, **read))
    return found
