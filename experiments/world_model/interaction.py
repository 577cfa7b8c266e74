"""Whether two intended ego motions give different futures where people react to them, and the same ones where nothing does.

From one instant a simulated world is continued twice: the ego drives on, and it stands. Where people end up differently they react; those
who do not are the check, and a world without people is another. The model predicts both, from the same past.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from experiments.common import auroc
from experiments.world_model.live import Watcher, live_world, observe, stamp_ns
from experiments.world_model.table import Row, Section, table
from experiments.world_model.worlds import FIRST_SEED, Boxes
from jepa_ros.backends.scene_jepa.model import SceneJepa
from jepa_ros.sim.simulation import Simulation
from jepa_ros.training.world_model.evaluate import near_cells
from jepa_ros.types import FloatArray

INSTANTS = (8, 14, 20, 26, 32, 38, 44)  # model steps
REACTS_M, SAME_M = 0.3, 0.05  # how far apart somebody is in the two futures at their end
AROUND_M = 1.0  # cells this near to a person, in either future, are that person's
EGO_M = 1.5  # cells this near to the ego's own way are left out: there the model is given what differs
MIN_SPEED_MPS = 0.5
REACTING, UNMOVED, NOBODY = "people who react", "people who do not", "world without people"


@dataclass
class Differences:
    """Mean change of occupancy probability between two intended motions, by what is there."""

    values: dict[str, list[float]] = field(default_factory=lambda: {REACTING: [], UNMOVED: [], NOBODY: []})

    def add(self, kind: str, change_HYX: FloatArray, where_HYX: NDArray[np.bool_]) -> None:
        """One person, or one empty world."""
        if where_HYX.any():
            self.values[kind].append(float(change_HYX[where_HYX].mean()))


def section(model: SceneJepa, worlds: int) -> Section:
    """Changes of the predicted occupancy, and how well they tell who reacts."""
    result, found = Section("Interaction"), Differences()
    for seed in tqdm(range(FIRST_SEED, FIRST_SEED + worlds), desc="interaction", unit="world"):
        _run(model, seed, None, found)
        _run(model, seed, 0, found)
    rows: list[list[Any]] = [
        [kind, len(values), float(np.mean(values)) if values else float("nan")] for kind, values in found.values.items()
    ]
    reacting, unmoved, nobody = (np.array(found.values[kind]) for kind in (REACTING, UNMOVED, NOBODY))
    wanted = "change where people react at least twice that elsewhere, and AUROC at least 0.8"
    if not len(reacting) or not len(unmoved):
        result.rows.append(Row("Interaction", wanted, f"{len(reacting)} people react, {len(unmoved)} do not", None))
    else:
        share = auroc(reacting, unmoved)
        result.figures = {"auroc": share, **{row[0]: row[2] for row in rows}}
        reached = (
            f"mean change {reacting.mean():.4f} around {len(reacting)} people who react, {unmoved.mean():.4f} around {len(unmoved)} who do "
            f"not (AUROC {share:.2f}), {nobody.mean():.4f} without people"
        )
        holds = bool(reacting.mean() > 2 * unmoved.mean() and share >= 0.8)
        result.rows.append(Row("Interaction", wanted, reached, holds))
    result.text.append(
        "The ego drives on, or brakes and stands, from the same instant. Mean absolute change of the predicted occupancy probability over "
        f"all steps, in the cells within {AROUND_M:g} m of a person in either true future; cells within {EGO_M:g} m of the ego's way left "
        f"out. Somebody reacts whose two futures end more than {REACTS_M:g} m apart, and does not where they end within {SAME_M:g} m."
    )
    result.text.append(table(("", "count", "mean change of probability"), rows))
    return result


def _run(model: SceneJepa, seed: int, people: int | None, found: Differences) -> None:
    recorder, watcher = live_world(seed, people), Watcher(model)
    for step in range(max(INSTANTS) + 1):
        recent = any(0 <= instant - step < model.spec.history for instant in INSTANTS)
        if recent:
            frame = recorder.frame()
            observation = observe(recorder, frame, stamp_ns(model, step))
            watcher.take(observation, model.encode(observation)[0])
            simulation = recorder.simulation
            if step in INSTANTS and simulation.ego.speed_mps > MIN_SPEED_MPS:
                _compare(model, watcher, simulation, found)
        recorder.step(model.spec.dt_s)


def _compare(model: SceneJepa, watcher: Watcher, simulation: Simulation, found: Differences) -> None:
    anchor_from_world = np.linalg.inv(simulation.world_from_base())
    futures = [_continued(model, simulation, anchor_from_world, stands) for stands in (False, True)]
    actions = torch.as_tensor(np.stack([motion for motion, _ in futures]), dtype=torch.float32)
    predicted = model.predict(watcher.history().expand(2, -1, -1, -1), actions)
    driving, standing = (model.occupancy(latents).numpy() for latents in predicted)
    change = np.abs(driving - standing)
    allowed = near_cells().numpy().astype(bool) & ~_near_way(np.concatenate([motion[:, :2] for motion, _ in futures]))
    where = np.broadcast_to(allowed, change.shape)
    paths_a, paths_b = futures[0][1], futures[1][1]
    if not paths_a:
        found.add(NOBODY, change, where)
    for person in paths_a.keys() & paths_b.keys():
        apart = float(np.hypot(*(paths_a[person][-1] - paths_b[person][-1])))
        around = _around(paths_a[person]) | _around(paths_b[person])
        if apart > REACTS_M:
            found.add(REACTING, change, where & around)
        elif apart < SAME_M:
            found.add(UNMOVED, change, where & around)


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
        places = branch.crowd.positions_m @ anchor_from_world[:2, :2].T + anchor_from_world[:2, 3]
        people.append(dict(zip(branch.crowd.serials.tolist(), places, strict=True)))
    throughout = set(people[0]).intersection(*people[1:]) if people else set()
    return np.array(motion), {person: np.array([places[person] for places in people]) for person in throughout}


def _around(path_H2: FloatArray) -> NDArray[np.bool_]:
    """(H, Y, X) cells near somebody at each step."""
    boxes = Boxes(tuple(("", k) for k in range(len(path_H2))), path_H2, np.zeros(len(path_H2)), np.zeros((len(path_H2), 2)))
    return boxes.cells(np.eye(4), AROUND_M)


def _near_way(way_P2: FloatArray) -> NDArray[np.bool_]:
    """(Y, X) cells that the ego would cover or come near to."""
    boxes = Boxes(tuple(("", k) for k in range(len(way_P2))), way_P2, np.zeros(len(way_P2)), np.zeros((len(way_P2), 2)))
    return np.asarray(boxes.cells(np.eye(4), EGO_M).any(axis=0))
