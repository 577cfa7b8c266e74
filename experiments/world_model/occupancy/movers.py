"""The occupancy that is published, beside its parts: python -m experiments.world_model.occupancy.movers BAG... [--ground-truth CSV]

Runs the whole pipeline over bags at their own rate. Judged are the world model alone, the higher of it and the forecasts of objects, the
fusion (published), the same without what outcomes correct, its shares of what stands (which planners read) and of what moves, and two
baselines: the newest sweep stays, and constant-velocity flow of points; on cells that the later sweep could see. Entered cells: occupied
then and not now, in the box of something that moved and did not cover them before; the threshold is such that in each bag no more free
cells are called occupied than by flow. Strictly: no more than by what flow moves, the cells of flow that are not occupied now. Free near:
of the cells within 5 m that are free now and are called occupied with 0.5 or more, the share that then are. Reliability: mean distance of
what is said from what is found, over cells of 0.1 and more. Boxes: of the simulator, or a labelled CSV as for `make bench-vehicles`.
"""

from __future__ import annotations

import argparse
import csv
import json
from collections import deque
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from experiments.world_model.occupancy.cells import CellCounts, cells_of, plain_cells
from experiments.world_model.table import table
from experiments.world_model.worlds import Boxes, boxes_by_stamp
from jepa_ros.backends.bev import BEV_GRID
from jepa_ros.movers import Bodies
from jepa_ros.objects.scene.cells import with_movers, without_movers
from jepa_ros.occupancy.evidence import Evidence
from jepa_ros.occupancy.network import load_fusion
from jepa_ros.occupancy.scene import Looked, SceneOccupancy, joined
from jepa_ros.pipeline import PipelineConfig, WorldModelPipeline
from jepa_ros.sensing import open_bag
from jepa_ros.sensing.sight import centres
from jepa_ros.sensing.voxelize import occupancy_grid
from jepa_ros.training.occupancy.outcomes import FlatSweep, outcome, step_of
from jepa_ros.training.world_model.evaluate import near_cells
from jepa_ros.training.world_model.flow import extrapolate
from jepa_ros.types import NANOSECONDS, OCCUPIED_FROM, FloatArray, Observation, OccupancyForecast, SceneState

STEP_NS = round(0.4 * NANOSECONDS)
STEPS = (1, 3, 6, 12)
PAST_STEPS = (3, 2, 1)
SETTLED = 10  # observations until trackers and memory are filled
SHARES = ("its standing share", "its moving share")
METHODS = ("fusion", "uncorrected", *SHARES, "higher of both", "world model", "flow", "what flow moves", "persistence")
SURE = ("flow", "what flow moves", "persistence")  # say yes or no
_RANGE_YX = np.hypot(*centres(BEV_GRID).T).reshape(BEV_GRID.rows, BEV_GRID.columns)
NEAR_M, NEAR_STEPS = 5.0, (3, 6)


@dataclass(frozen=True)
class BoxedSweep(FlatSweep):
    """With the true boxes, where they are known."""

    boxes: Boxes | None


@dataclass(frozen=True)
class Forecast:
    """What was said at one instant, waiting for the sweeps that tell."""

    now: BoxedSweep
    maps: dict[str, FloatArray]  # method -> (len(STEPS), Y, X)


class WithParts(SceneOccupancy):
    """Keeps what the fusion began with, and what it says before outcomes correct it."""

    parts: dict[str, OccupancyForecast]

    def update(self, looked: Looked, state: SceneState, shares_HYX: FloatArray | None) -> OccupancyForecast:
        self.parts = {"world model": state.occupancy, "higher of both": with_movers(state).occupancy}
        return super().update(looked, state, shares_HYX)

    def evidence(self, lately_SYX: FloatArray, state: SceneState, moving: Bodies, shares_HYX: FloatArray | None) -> Evidence:
        found = super().evidence(lately_SYX, state, moving, shares_HYX)
        assert self.fusion is not None
        shares = self.fusion.stands(found).sigmoid(), self.fusion.comes(found)
        self.parts["uncorrected"] = joined(state.occupancy, found, *shares, torch.zeros_like(shares[0][0], dtype=torch.bool))
        return found


class Judge:
    """Counts cells of each method, bag by bag."""

    def __init__(self, fusion: str, weights: str = "") -> None:
        """fusion, weights: of the fusion and of the world model, empty = the shipped ones."""
        self.counts = {method: CellCounts(max(STEPS) + 1) for method in METHODS}
        self.near = {method: np.zeros(2) for method in METHODS}  # of free cells nearby that are called occupied: how many, and how many are
        self._config = PipelineConfig(weights=weights, fusion=fusion)
        self._near = near_cells().numpy() > 0

    def watch(self, bag: Path, boxes: dict[int, Boxes], every: int) -> None:
        """One bag through the pipeline."""
        pipeline = WorldModelPipeline.load("scene_jepa", device="cpu", config=self._config)
        fusion = load_fusion(self._config.fusion, "scene_jepa")
        scene = pipeline.scene_occupancy = WithParts(BEV_GRID, self._config.seen_for_s, fusion, pipeline.spec.dt_s)
        past: deque[BoxedSweep] = deque(maxlen=64)
        waiting: list[Forecast] = []
        for number, observation in enumerate(tqdm(open_bag(bag), desc=bag.name, unit="sweep")):
            state = pipeline.step(observation)
            now = _sweep(observation, boxes.get(observation.stamp_ns))
            waiting = [forecast for forecast in waiting if self._tell(bag.name, forecast, now)]
            past.append(now)
            if number < SETTLED or number % every:
                continue
            told = {"fusion": state.occupancy, "its standing share": without_movers(state.occupancy)} | scene.parts
            maps = {method: occupancy.probability[list(STEPS)] for method, occupancy in told.items()}
            maps["its moving share"] = moving_share(maps["fusion"], maps["its standing share"])
            stays = np.repeat(occupancy_grid(now.points_m, 0.0, BEV_GRID)[None].astype(np.float32), len(STEPS), axis=0)
            flow = _flow(past, now).astype(np.float32)
            waiting.append(Forecast(now, maps | {"flow": flow, "what flow moves": flow * (1.0 - stays), "persistence": stays}))

    def _tell(self, bag: str, forecast: Forecast, then: BoxedSweep) -> bool:
        """Count what this sweep says of a forecast; False where nothing later can."""
        now, step = forecast.now, step_of(forecast.now, then, STEP_NS)
        if step in STEPS:
            cells = self._cells(now, then)
            free = ~occupancy_grid(now.points_m, 0.0, BEV_GRID) & (_RANGE_YX <= NEAR_M) & (cells["occupied"] | cells["free"])
            for method, maps in forecast.maps.items():
                said_YX = maps[STEPS.index(step)]
                self.counts[method].add(bag, step, torch.from_numpy(np.ascontiguousarray(said_YX)), cells)
                if step in NEAR_STEPS:
                    called = free & (said_YX >= OCCUPIED_FROM)
                    self.near[method] += called.sum(), (called & cells["occupied"]).sum()
        return then.stamp_ns - now.stamp_ns <= (max(STEPS) + 0.5) * STEP_NS

    def _cells(self, now: BoxedSweep, then: BoxedSweep) -> dict[str, NDArray[np.bool_]]:
        occupied, seen = outcome(now, then, BEV_GRID)
        seen &= self._near
        if now.boxes is None or then.boxes is None:
            return plain_cells(occupied, seen)
        anchor_from_odom = np.linalg.inv(now.odom_from_anchor)
        return cells_of((now.boxes, anchor_from_odom), then.boxes, occupancy_grid(now.points_m, 0.0, BEV_GRID), occupied, seen)

    def figures(self) -> dict[str, dict[str, dict[str, float]]]:
        """Time in s -> method -> figures; AP of what says yes or no is NaN."""
        found: dict[str, dict[str, dict[str, float]]] = {}
        for step in STEPS:
            row = found[f"{0.4 * step:.1f}"] = {}
            for method in METHODS:
                curve = self.counts[method].pooled(step)
                row[method] = {
                    "AP": float("nan") if method in SURE else curve.average_precision(),
                    "IoU": float(curve.iou()[(len(curve.iou()) - 1) // 2]),
                    "best IoU": float(curve.iou().max()),
                    "reliability": curve.calibration_error(),
                    "entered": self.counts[method].entered_beside(step, self.counts["flow"]),
                    "entered strictly": self.counts[method].entered_beside(step, self.counts["what flow moves"]),
                }
        return found

    def table(self) -> str:
        """All figures, and of free cells nearby that are called occupied, the share that are."""
        names = ("AP", "IoU", "best IoU", "reliability", "entered", "entered strictly")
        rows = [
            (f"{time_s} s", method, *(row[name] if np.isfinite(row[name]) else "-" for name in names))
            for time_s, methods in self.figures().items()
            for method, row in methods.items()
        ]
        near = [(method, int(called), f"{right / max(called, 1):.2f}") for method, (called, right) in self.near.items()]
        return "\n\n".join((table(("time", "method", *names), rows), table(("free near, called occupied by", "cells", "right"), near)))


def moving_share(both_HYX: FloatArray, stands_HYX: FloatArray) -> FloatArray:
    """What is left of a forecast that says p = 1 - (1 - stands)(1 - moves)."""
    share: FloatArray = ((both_HYX - stands_HYX) / np.maximum(1.0 - stands_HYX, 1e-3)).clip(0.0, 1.0)
    return share


def _sweep(observation: Observation, boxes: Boxes | None) -> BoxedSweep:
    flat = FlatSweep.of(observation)
    return BoxedSweep(flat.stamp_ns, flat.odom_from_anchor, flat.points_m, boxes)


def _flow(past: deque[BoxedSweep], now: BoxedSweep) -> NDArray[np.uint8]:
    wanted = [now.stamp_ns - steps * STEP_NS for steps in PAST_STEPS]
    older = [min(past, key=lambda sweep: abs(sweep.stamp_ns - stamp_ns)) for stamp_ns in wanted]
    sweeps = [sweep.seen_from(now.odom_from_anchor) for sweep in (*older, now)]
    return extrapolate(sweeps, 0.0, 0.4, 0.4 * np.array(STEPS), BEV_GRID)


def labelled_boxes(path: Path) -> dict[int, Boxes]:
    """Stamp, ns -> the boxes of a CSV with stamp_ns, track_id, class, odom_x, odom_y, odom_yaw, length, width."""
    rows: dict[int, list[dict[str, str]]] = {}
    with path.open(newline="") as file:
        for row in csv.DictReader(file):
            rows.setdefault(int(row["stamp_ns"]), []).append(row)

    def column(here: list[dict[str, str]], *names: str) -> FloatArray:
        return np.array([[float(row[name]) for name in names] for row in here])

    return {
        stamp_ns: Boxes(
            tuple((row["class"], int(row["track_id"])) for row in here),
            column(here, "odom_x", "odom_y"),
            column(here, "odom_yaw")[:, 0],
            column(here, "length", "width"),
        )
        for stamp_ns, here in rows.items()
    }


def main(argv: list[str] | None = None) -> None:
    """Entry point of the command line."""
    parser = argparse.ArgumentParser(prog="python -m experiments.world_model.occupancy.movers", description=__doc__)
    parser.add_argument("bags", type=Path, nargs="+")
    parser.add_argument("--ground-truth", type=Path, help="labels of the one bag that is given")
    parser.add_argument("--fusion", default="", help="weights of the fusion (default: the shipped ones)")
    parser.add_argument("--every", type=int, default=2, help="judge each so many-th sweep (default: %(default)s)")
    arguments = parser.parse_args(argv)
    if arguments.ground_truth and len(arguments.bags) > 1:
        parser.error("--ground-truth holds the labels of one bag; give that one alone")
    torch.set_num_threads(1)
    judge = Judge(arguments.fusion)
    for bag in arguments.bags:
        judge.watch(bag, labelled_boxes(arguments.ground_truth) if arguments.ground_truth else boxes_by_stamp(bag), arguments.every)
    print(judge.table())
    print(json.dumps(judge.figures()))


if __name__ == "__main__":
    main()
