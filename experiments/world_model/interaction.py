"""Whether two intended ego motions give different futures where people react to them, and the same ones where nothing does.

From one instant a simulated world is continued twice: the ego drives on, and it stands. Where people end up differently they react; those
who do not are the check, and a world without people is another. The model predicts both, from the same past.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from experiments.world_model.live import Watcher, live_world, observe, stamp_ns
from experiments.world_model.table import Row, Section, table
from experiments.world_model.worlds import FIRST_SEED, Boxes
from jepa_ros.backends.scene_jepa.model import SceneJepa
from jepa_ros.forecast import load_forecaster
from jepa_ros.pipeline import WorldModelPipeline
from jepa_ros.planning.footprint import Footprint
from jepa_ros.planning.imagined.giving_way import load, moved
from jepa_ros.planning.people import people_future
from jepa_ros.planning.scene import PlanningScene
from jepa_ros.sim.people.traffic import Kind
from jepa_ros.sim.simulation import Simulation
from jepa_ros.training.metrics import auroc
from jepa_ros.training.world_model.evaluate import near_cells
from jepa_ros.types import FloatArray, SceneState

INSTANTS = (8, 14, 20, 26, 32, 38, 44)  # model steps
REACTS_M, SAME_M = 0.3, 0.05  # how far apart somebody is in the two futures at their end
AROUND_M = 1.0  # cells this near to a person, in either future, are that person's
EGO_M = 1.5  # cells this near to the ego's own way are left out: there the model is given what differs
MIN_SPEED_MPS = 0.5
TRACKED_M = 0.7  # a track this near to somebody is of that person
REACTING, UNMOVED, NOBODY = "people who react", "people who do not", "world without people"


@dataclass
class Differences:
    """What two intended motions change, by what is there: mean occupancy probability, and mean m by which somebody is moved."""

    values: dict[str, list[float]] = field(default_factory=lambda: {REACTING: [], UNMOVED: [], NOBODY: []})
    moved_m: dict[str, list[float]] = field(default_factory=lambda: {REACTING: [], UNMOVED: []})

    def add(self, kind: str, change_HYX: FloatArray, where_HYX: NDArray[np.bool_]) -> None:
        """One person, or one empty world."""
        if where_HYX.any():
            self.values[kind].append(float(change_HYX[where_HYX].mean()))


def section(model: SceneJepa, worlds: int) -> Section:
    """Who is moved, and by which motion: told by `giving_way` and by the predicted occupancy."""
    result, found = Section("Interaction"), Differences()
    asked = Asked(model)
    for seed in tqdm(range(FIRST_SEED, FIRST_SEED + worlds), desc="interaction", unit="world"):
        _run(asked, seed, None, found)
        _run(asked, seed, 0, found)
    moved_m = {kind: np.array(found.moved_m[kind]) for kind in (REACTING, UNMOVED)}
    changes = {kind: np.array(found.values[kind]) for kind in (REACTING, UNMOVED, NOBODY)}
    wanted = "AUROC at least 0.8 for people who react"
    if min(map(len, moved_m.values())) == 0 or min(len(changes[REACTING]), len(changes[UNMOVED])) == 0:
        result.rows.append(Row("Interaction", wanted, f"{len(moved_m[REACTING])} people react, {len(moved_m[UNMOVED])} do not", None))
    else:
        told, by_occupancy = (auroc(of[REACTING], of[UNMOVED]) for of in (moved_m, changes))
        result.figures = {"auroc": told, "auroc_of_occupancy": by_occupancy}
        reached = (
            f"{len(moved_m[REACTING])} people who react, moved by {moved_m[REACTING].mean():.2f} m on average, and {len(moved_m[UNMOVED])} "
            f"who do not, {moved_m[UNMOVED].mean():.2f} m: AUROC {told:.2f}; by the predicted occupancy alone {by_occupancy:.2f}"
        )
        result.rows.append(Row("Interaction", wanted, reached, bool(told >= 0.8)))
    result.text.append(
        f"The ego drives on, or brakes and stands, from the same instant. Somebody reacts whose two futures end more than {REACTS_M:g} m "
        f"apart, and does not where they end within {SAME_M:g} m. Moved: mean difference over all steps of how far `giving_way` moves a "
        "tracked person under the one motion and under the other; 0 for people whom the pipeline does not track. Occupancy: mean absolute "
        f"change of the predicted probability over all steps, in the cells within {AROUND_M:g} m of a person in either true future; cells "
        f"within {EGO_M:g} m of the ego's way left out, and people who have no others."
    )
    means = [[kind, len(values), float(values.mean()) if len(values) else float("nan")] for kind, values in moved_m.items()]
    result.text.append(table(("", "count", "moved, m"), means))
    means = [[kind, len(values), float(values.mean()) if len(values) else float("nan")] for kind, values in changes.items()]
    result.text.append(table(("", "count", "mean change of probability"), means))
    return result


class Asked:
    """All that says what a motion changes."""

    def __init__(self, model: SceneJepa) -> None:
        self.model = model
        self.pipeline = WorldModelPipeline(model, load_forecaster())
        self.giving_way = load()


def _run(asked: Asked, seed: int, people: int | None, found: Differences) -> None:
    model = asked.model
    recorder, watcher = live_world(seed, people), Watcher(model)
    asked.pipeline.reset()
    for step in range(max(INSTANTS) + 1):
        observation = observe(recorder, recorder.frame(), stamp_ns(model, step))
        watcher.take(observation, model.encode(observation)[0])
        state = asked.pipeline.step(observation)
        simulation = recorder.simulation
        if step in INSTANTS and simulation.ego.speed_mps > MIN_SPEED_MPS:
            _compare(asked, watcher, state, simulation, found)
        recorder.step(model.spec.dt_s)


def _compare(asked: Asked, watcher: Watcher, state: SceneState, simulation: Simulation, found: Differences) -> None:
    model = asked.model
    anchor_from_world = np.linalg.inv(simulation.world_from_base())
    now_m = dict(zip(simulation.crowd.serials.tolist(), _in_anchor(simulation.crowd.positions_m, anchor_from_world), strict=True))
    futures = [_continued(model, simulation, anchor_from_world, stands) for stands in (False, True)]
    actions = torch.as_tensor(np.stack([motion for motion, _ in futures]), dtype=torch.float32)
    predicted = model.predict(watcher.history().expand(2, -1, -1, -1), actions)
    driving, standing = (model.occupancy(latents).numpy() for latents in predicted)
    change = np.abs(driving - standing)
    measures = simulation.ego.measures
    people = people_future(PlanningScene.of(state), measures.disc_radius_m)
    moved_SPL = moved(asked.giving_way, people, actions, _footprint(measures)).numpy()
    moved_P = np.abs(moved_SPL[0] - moved_SPL[1]).mean(axis=1)
    tracked_P2 = people.means_PKT2[:, 0, 0].numpy()
    allowed = near_cells().numpy().astype(bool) & ~_near_way(np.concatenate([motion[:, :2] for motion, _ in futures]))
    where = np.broadcast_to(allowed, change.shape)
    paths_a, paths_b = futures[0][1], futures[1][1]
    if not paths_a:
        found.add(NOBODY, change, where)
    for person in paths_a.keys() & paths_b.keys() & now_m.keys():
        apart = float(np.hypot(*(paths_a[person][-1] - paths_b[person][-1])))
        kind = REACTING if apart > REACTS_M else UNMOVED if apart < SAME_M else None
        if kind is None:
            continue
        found.add(kind, change, where & (_around(paths_a[person]) | _around(paths_b[person])))
        away_P = np.hypot(*(tracked_P2 - now_m[person]).T)
        found.moved_m[kind].append(float(moved_P[away_P.argmin()]) if away_P.min(initial=np.inf) < TRACKED_M else 0.0)


def _footprint(measures: Kind) -> Footprint:
    """Of the simulated ego."""
    if len(measures.disc_offsets_m) == 1:
        return Footprint.of(measures.disc_radius_m)
    x, y = measures.half_length_m, measures.half_width_m
    return Footprint(corners=((-x, -y), (x, -y), (x, y), (-x, y)))


def _continued(
    model: SceneJepa, simulation: Simulation, anchor_from_world: FloatArray, stands: bool
) -> tuple[FloatArray, dict[int, FloatArray]]:
    """((H, 3) ego poses, person -> (H, 2) places), all in the anchor frame, of a copy of the world that goes on without being seen."""
    branch = copy.deepcopy(simulation)
    branch.command(0.0 if stands else max(branch.ego.speed_mps, MIN_SPEED_MPS), 0.0)
    motion, people = [], []
    for _ in range(model.spec.horizon):
        branch.step(model.spec.dt_s)
        pose = anchor_from_world @ branch.world_from_base()
        motion.append((pose[0, 3], pose[1, 3], np.arctan2(pose[1, 0], pose[0, 0])))
        places = _in_anchor(branch.crowd.positions_m, anchor_from_world)
        people.append(dict(zip(branch.crowd.serials.tolist(), places, strict=True)))
    throughout = set(people[0]).intersection(*people[1:]) if people else set()
    return np.array(motion), {person: np.array([places[person] for places in people]) for person in throughout}


def _in_anchor(points_m: FloatArray, anchor_from_world: FloatArray) -> FloatArray:
    """(P, 2)"""
    places: FloatArray = points_m @ anchor_from_world[:2, :2].T + anchor_from_world[:2, 3]
    return places


def _around(path_H2: FloatArray) -> NDArray[np.bool_]:
    """(H, Y, X) cells near somebody at each step."""
    boxes = Boxes(tuple(("", k) for k in range(len(path_H2))), path_H2, np.zeros(len(path_H2)), np.zeros((len(path_H2), 2)))
    return boxes.cells(np.eye(4), AROUND_M)


def _near_way(way_P2: FloatArray) -> NDArray[np.bool_]:
    """(Y, X) cells that the ego would cover or come near to."""
    boxes = Boxes(tuple(("", k) for k in range(len(way_P2))), way_P2, np.zeros(len(way_P2)), np.zeros((len(way_P2), 2)))
    return np.asarray(boxes.cells(np.eye(4), EGO_M).any(axis=0))
