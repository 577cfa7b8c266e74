"""What forecasts of tracked objects add to the occupancy: python -m experiments.world_model.occupancy.movers BAG... [--ground-truth CSV]

Runs the whole pipeline over bags at their own rate. Judged are the world model alone, the same joined with the forecasts (which
the node publishes) and constant-velocity flow of points, on cells that the later sweep could see. Entered cells: occupied then, within the
true box of something that moved and did not cover them before; the threshold is such that no more free cells are called occupied than by
flow. Boxes: of the simulator, or a labelled CSV as for `make bench-vehicles`.
"""

from __future__ import annotations

import argparse
import csv
from collections import deque
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from experiments.world_model.occupancy.cells import CellCounts, at_false_positive_rate, cells_of, plain_cells
from experiments.world_model.table import table
from experiments.world_model.worlds import Boxes, boxes_by_stamp
from jepa_ros.backends.bev import BEV_GRID
from jepa_ros.objects.scene.cells import with_movers, without_movers
from jepa_ros.pipeline import WorldModelPipeline
from jepa_ros.sensing import open_bag
from jepa_ros.sensing.voxelize import occupancy_grid, visible_cells
from jepa_ros.training.world_model.evaluate import near_cells
from jepa_ros.training.world_model.flow import extrapolate
from jepa_ros.types import NANOSECONDS, FloatArray, Observation

STEP_NS = round(0.4 * NANOSECONDS)
STEPS = (1, 3, 6, 12)
PAST_STEPS = (3, 2, 1)
LATE_NS = 60_000_000  # a later sweep may be so far from its step
SETTLED = 10  # observations until trackers and memory are filled
METHODS = ("world model", "joined", "flow")


@dataclass(frozen=True)
class Sweep:
    """One sweep, over flattened ground, in its anchor frame."""

    stamp_ns: int
    odom_from_anchor: FloatArray
    points_m: FloatArray  # (N, 3), heights above the ground
    boxes: Boxes | None

    def seen_from(self, odom_from_other: FloatArray) -> FloatArray:
        """(N, 3) in another anchor frame; heights stay."""
        other_from_anchor = np.linalg.inv(odom_from_other) @ self.odom_from_anchor
        places = self.points_m[:, :2] @ other_from_anchor[:2, :2].T + other_from_anchor[:2, 3]
        return np.column_stack((places, self.points_m[:, 2])).astype(np.float32)


@dataclass(frozen=True)
class Forecast:
    """What was said at one instant, waiting for the sweeps that tell."""

    now: Sweep
    maps: dict[str, FloatArray]  # method -> (len(STEPS), Y, X)


class Judge:
    """Counts cells of each method, bag by bag."""

    def __init__(self) -> None:
        self.counts = {method: CellCounts(max(STEPS) + 1) for method in METHODS}
        self._near = near_cells().numpy() > 0

    def watch(self, bag: Path, boxes: dict[int, Boxes], every: int) -> None:
        """One bag through the pipeline."""
        pipeline = WorldModelPipeline.load("scene_jepa", device="cpu")
        past: deque[Sweep] = deque(maxlen=64)
        waiting: list[Forecast] = []
        for number, observation in enumerate(tqdm(open_bag(bag), desc=bag.name, unit="sweep")):
            state = pipeline.step(observation)
            now = _sweep(observation, boxes.get(observation.stamp_ns))
            waiting = [forecast for forecast in waiting if self._tell(bag.name, forecast, now)]
            past.append(now)
            if number < SETTLED or number % every:
                continue
            joined = with_movers(state).occupancy
            steps = list(STEPS)
            maps = {"world model": without_movers(joined).probability[steps], "joined": joined.probability[steps]}
            waiting.append(Forecast(now, maps | {"flow": _flow(past, now).astype(np.float32)}))

    def _tell(self, bag: str, forecast: Forecast, then: Sweep) -> bool:
        """Count what this sweep says of a forecast; False where nothing later can."""
        now, passed_ns = forecast.now, then.stamp_ns - forecast.now.stamp_ns
        step = round(passed_ns / STEP_NS)
        if step in STEPS and abs(passed_ns - step * STEP_NS) <= LATE_NS:
            cells = self._cells(now, then)
            for method, maps in forecast.maps.items():
                self.counts[method].add(bag, step, torch.from_numpy(np.ascontiguousarray(maps[STEPS.index(step)])), cells)
        return passed_ns <= max(STEPS) * STEP_NS + LATE_NS

    def _cells(self, now: Sweep, then: Sweep) -> dict[str, NDArray[np.bool_]]:
        points = then.seen_from(now.odom_from_anchor)
        sensor_m = (np.linalg.inv(now.odom_from_anchor) @ then.odom_from_anchor)[:2, 3]
        occupied = occupancy_grid(points, 0.0, BEV_GRID)
        seen = visible_cells(points, 0.0, BEV_GRID, tuple(sensor_m)) & self._near
        if now.boxes is None or then.boxes is None:
            return plain_cells(occupied, seen)
        anchor_from_odom = np.linalg.inv(now.odom_from_anchor)
        return cells_of((now.boxes, anchor_from_odom), then.boxes, occupancy_grid(now.points_m, 0.0, BEV_GRID), occupied, seen)

    def table(self) -> str:
        """AP, IoU at 0.5, and entered cells recalled at flow's rate of false positives."""
        rows = []
        for step in STEPS:
            rate = float(self.counts["flow"].pooled(step).false_positive_rate()[1])
            for method in METHODS:
                curve = self.counts[method].pooled(step)
                entered = self.counts[method].moving_recall(step, at_false_positive_rate(rate))["entered"]
                precision = "-" if method == "flow" else curve.average_precision()
                rows.append((f"{0.4 * step:.1f} s", method, precision, float(curve.iou()[(len(curve.iou()) - 1) // 2]), entered))
        return table(("time", "method", "AP", "IoU at 0.5", "entered"), rows)


def _sweep(observation: Observation, boxes: Boxes | None) -> Sweep:
    points = observation.flattened_m - np.array([0.0, 0.0, observation.ground_height_m])
    return Sweep(observation.stamp_ns, observation.odom_from_anchor, points.astype(np.float32), boxes)


def _flow(past: deque[Sweep], now: Sweep) -> NDArray[np.uint8]:
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
    parser.add_argument("--every", type=int, default=2, help="judge each so many-th sweep (default: %(default)s)")
    arguments = parser.parse_args(argv)
    if arguments.ground_truth and len(arguments.bags) > 1:
        parser.error("--ground-truth holds the labels of one bag; give that one alone")
    torch.set_num_threads(1)
    judge = Judge()
    for bag in arguments.bags:
        judge.watch(bag, labelled_boxes(arguments.ground_truth) if arguments.ground_truth else boxes_by_stamp(bag), arguments.every)
    print(judge.table())


if __name__ == "__main__":
    main()
