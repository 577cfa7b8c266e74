"""Cells with what the fusion reads of them, and what a later sweep showed: from bags of any place, without labels.

Axes: N cell at a step, P and M evidence, see `jepa_ros.occupancy.evidence`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from jepa_ros.movers import Bodies
from jepa_ros.occupancy.evidence import Evidence
from jepa_ros.occupancy.network import OccupancyFusion
from jepa_ros.occupancy.scene import SceneOccupancy
from jepa_ros.pipeline import PipelineConfig, WorldModelPipeline
from jepa_ros.sensing import open_bag
from jepa_ros.training.arrays import write_arrays
from jepa_ros.training.occupancy.outcomes import FlatSweep, outcome, step_of
from jepa_ros.types import NANOSECONDS, FloatArray, SceneState

EVERY = 2  # sweeps from one instant that is learned from to the next: neighbours show the same
FIRST = 2  # sweeps of a bag that come before the first: trackers begin to know
KEPT = 0.25  # share of the cells, drawn at random


@dataclass(frozen=True)
class CellExamples:
    """N cells."""

    model: NDArray[np.float16]  # (N,) logit of the world model
    place: NDArray[np.float16]  # (N, P)
    coming: NDArray[np.float16]  # (N, M)
    step: NDArray[np.uint8]  # (N,) 1 = the first after now
    occupied: NDArray[np.bool_]  # (N,)

    def save(self, path: Path) -> None:
        """Whole or not at all."""
        write_arrays(path, **vars(self))

    @staticmethod
    def load(paths: list[Path]) -> CellExamples:
        """Of all these bags together."""
        files = [np.load(path) for path in paths]
        return CellExamples(*(np.concatenate([file[name] for file in files]) for name in CellExamples.__dataclass_fields__))


class RecordedOccupancy(SceneOccupancy):
    """Keeps what the fusion was given."""

    newest: Evidence

    def evidence(self, lately_SYX: FloatArray, state: SceneState, moving: Bodies, shares_HYX: FloatArray | None) -> Evidence:
        self.newest = super().evidence(lately_SYX, state, moving, shares_HYX)
        return self.newest


def make(bags: list[Path], folder: Path, weights: str, seed: int) -> list[Path]:
    """One file of examples for each bag, as far as `folder` does not hold it. weights: of the world model; empty = the shipped ones."""
    folder.mkdir(parents=True, exist_ok=True)
    files = [folder / f"{bag.name}.npz" for bag in bags]
    missing = [(bag, file) for bag, file in zip(bags, files, strict=True) if not file.is_file()]
    for bag, file in tqdm(missing, desc="examples", unit="bag", total=len(files), initial=len(files) - len(missing)):
        of_bag(bag, weights, seed).save(file)
    return files


def of_bag(bag: Path, weights: str, seed: int) -> CellExamples:
    """Raises ValueError where a bag shows no later sweep."""
    pipeline = WorldModelPipeline.load("scene_jepa", device="cpu", config=PipelineConfig(weights=weights, fusion="none"))
    spec, grid = pipeline.spec, pipeline.spec.grid
    assert grid is not None
    recorded = pipeline.scene_occupancy = RecordedOccupancy(grid, PipelineConfig().seen_for_s, OccupancyFusion().eval(), spec.dt_s)
    generator = torch.Generator().manual_seed(seed)
    waiting: list[tuple[FlatSweep, Evidence]] = []
    found: list[tuple[Tensor, ...]] = []
    step_ns = round(spec.dt_s * NANOSECONDS)
    for number, observation in enumerate(open_bag(bag)):
        if observation.lidar is None:
            continue
        pipeline.step(observation)
        then = FlatSweep.of(observation)
        waiting = [entry for entry in waiting if then.stamp_ns - entry[0].stamp_ns <= (spec.horizon + 0.5) * step_ns]
        for now, evidence in waiting:
            step = step_of(now, then, step_ns)
            if step is not None and 1 <= step <= spec.horizon:
                occupied_YX, seen_YX = (torch.from_numpy(cells) for cells in outcome(now, then, grid))
                judged_YX = evidence.read_HYX[step - 1] & seen_YX & (torch.rand(seen_YX.shape, generator=generator) < KEPT)
                row, column = place = judged_YX.nonzero(as_tuple=True)
                cells = (torch.full_like(row, step - 1), row, column)
                of_place = evidence.place_PYX[:, row, column].T
                found.append((evidence.model_HYX[cells], of_place, evidence.coming(cells), cells[0] + 1, occupied_YX[place]))
        if number >= FIRST and number % EVERY == 0:
            waiting.append((then, recorded.newest))
    if not found:
        raise ValueError(f"{bag}: no lidar sweep is followed by another one {spec.dt_s} s later")
    model, place_NP, coming_NM, step_N, occupied = (torch.cat(column) for column in zip(*found, strict=True))
    half = [values.half().numpy() for values in (model, place_NP, coming_NM)]
    return CellExamples(half[0], half[1], half[2], step_N.byte().numpy(), occupied.numpy())
