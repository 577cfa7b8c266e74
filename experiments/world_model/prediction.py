"""What is predicted of the scene: latents, occupancy and moving cells, for each sensor and each recording, beside the baselines."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from experiments.world_model.occupancy.cells import CellCounts, Curve, at_false_positive_rate, best_f1, cells_of, plain_cells
from experiments.world_model.table import Row, Section, table
from experiments.world_model.worlds import Boxes, boxes_by_stamp
from jepa_ros.backends.scene_jepa.model import SceneJepa
from jepa_ros.training.metrics import OccupancyScore
from jepa_ros.training.world_model.augment import Augmentation
from jepa_ros.training.world_model.evaluate import METHODS, Evaluation, evaluate, near_cells
from jepa_ros.training.world_model.pretraining_loss import forward
from jepa_ros.training.world_model.shard import Shard
from jepa_ros.training.world_model.windows import Window, Windows, WindowSpec, collate
from jepa_ros.types import NANOSECONDS

BASELINES = METHODS[1:]
TABLE_TIMES_S = (0.4, 0.8, 1.2, 2.4, 3.6, 4.8)
MOVING_TIMES_S = (1.2, 2.4)
FEWEST_FRAMES = 10  # a shorter recording reaches no model step
SHORT_S = 0.2  # what such a one is judged on


@dataclass(frozen=True)
class Example:
    """A window to draw."""

    predicted: dict[str, Tensor]  # method -> (1 + H, Y, X)
    occupied: Tensor  # (1 + H, Y, X)
    moving: Tensor  # (1 + H, Y, X) bool: entered or left


@dataclass
class CellScores:
    """All figures of one set of recordings; `watch` fills it while `evaluate` runs."""

    times: int  # now and every step
    dt_s: float
    in_view: bool = False  # only cells that a camera looks at now; for windows without a lidar
    counts: dict[str, CellCounts] = field(default_factory=dict)
    examples: dict[str, Example] = field(default_factory=dict)  # world -> its window with most moving cells
    _boxes: dict[str, dict[int, Boxes]] = field(default_factory=dict)

    def watch(self, shard: Shard, now: int, batch: Window, predicted: dict[str, Tensor]) -> None:
        """Count the cells of a window; see `evaluate`."""
        if shard.source not in self._boxes:
            self._boxes[shard.source] = boxes_by_stamp(Path(shard.source))
        boxes, frame, reach = self._boxes[shard.source], shard[now], near_cells().numpy() > 0
        if self.in_view:
            places_KYX3 = batch.history.columns_BKYX3[0, -1].numpy()
            reach = reach & (np.abs(places_KYX3[..., :2]) <= 1).all(axis=-1).any(axis=0)
        occupied, visible = batch.occupied[0].numpy() > 0, batch.visible[0].numpy() > 0
        here, anchor_from_odom = boxes.get(frame.stamp_ns), np.linalg.inv(frame.odom_from_anchor)
        moving = torch.zeros(occupied.shape, dtype=torch.bool)
        for time in range(self.times):
            seen = visible[time] & reach
            there = boxes.get(frame.stamp_ns + round(time * self.dt_s * NANOSECONDS))
            cells = plain_cells(occupied[time], seen)
            if here is not None and there is not None:
                cells = cells_of((here, anchor_from_odom), there, occupied[0], occupied[time], seen)
            moving[time] = torch.from_numpy(cells["entered"] | cells["left"])
            for method, maps in predicted.items():
                self.counts.setdefault(method, CellCounts(self.times)).add(shard.source, time, maps[time], cells)
        best = self.examples.get(shard.source)
        if best is None or moving.sum() > best.moving.sum():
            self.examples[shard.source] = Example(predicted, batch.occupied[0], moving)

    def time(self, time_s: float) -> int:
        return round(time_s / self.dt_s)

    def curve(self, method: str, time_s: float) -> Curve:
        return self.counts[method].pooled(self.time(time_s))


def measure(model: SceneJepa, shards: list[Shard], sensors: str, every: int, in_view: bool = False) -> tuple[Evaluation, CellScores]:
    """Run the windows of some recordings through the model and its baselines."""
    scores = CellScores(1 + model.spec.horizon, model.spec.dt_s, in_view)
    return evaluate(model, shards, sensors, every, watch=scores.watch), scores


def prediction_section(
    title: str, result: Evaluation, scores: CellScores, thresholds: CellCounts | None = None, methods: tuple[str, ...] = METHODS
) -> Section:
    """The table of one set of recordings. thresholds: the model's, from other recordings; None = from the other worlds of these."""
    section = Section(title)
    rows, figures = [], {}
    for k, time_s in enumerate(result.times_s):
        precision = {method: scores.curve(method, time_s).average_precision() for method in methods}
        iou = {method: scores.counts[method].iou(k + 1) for method in methods}
        if thresholds is not None:
            here = scores.curve("model", time_s)
            iou["model"] = float(here.iou()[best_f1(thresholds.pooled(k + 1))])
        latent = {"model": result.latent_error[k], "persistence": result.latent_error_persistence[k]}
        figures[f"{time_s}s"] = {"latent_error": latent, "average_precision": precision, "iou": iou}
        if time_s in TABLE_TIMES_S:
            rows.append([f"{time_s} s", *latent.values(), *precision.values(), *iou.values()])
    header = ["time", "latent error", "persistence", *(f"AP {m}" for m in methods), *(f"IoU {m}" for m in methods)]
    spread = result.latent_spread
    section.text.append(
        f"{result.windows} windows; effective rank {spread.effective_rank:.1f} of {result.width}, "
        f"least channel variance {spread.least_variance:.2f}."
    )
    section.text.append(table(header, rows))
    section.figures = {"windows": result.windows, "effective_rank": spread.effective_rank, "by_time": figures}
    return section


def latent_row(name: str, result: Evaluation, at_1_2_s: float | None) -> Row:
    """Below persistence at every step, and at 1.2 s below a share of it."""
    ratio = np.array(result.latent_error) / np.array(result.latent_error_persistence)
    ratio = ratio[np.isfinite(ratio)]
    at = result.times_s.index(1.2)
    wanted = "below persistence at every step" + (f", below {at_1_2_s:g} of it at 1.2 s" if at_1_2_s else "")
    reached = f"{ratio.min():.2f}-{ratio.max():.2f} of persistence, {ratio[at]:.2f} at 1.2 s"
    return Row(name, wanted, reached, bool((ratio < 1).all() and (at_1_2_s is None or ratio[at] < at_1_2_s)))


def occupancy_row(name: str, section: Section, metric: str, baselines: tuple[str, ...], from_s: float = 0.0) -> Row:
    """Above the baselines at every step from a time on."""
    short, margins = [], []
    for label, figures in section.figures["by_time"].items():
        values = figures[metric]
        if float(label[:-1]) < from_s or not np.isfinite(values["model"]):
            continue
        best = max(baselines, key=lambda method: values[method])
        margins.append(values["model"] - values[best])
        if margins[-1] <= 0:
            short.append(f"{label} ({values['model']:.3f}, {best} {values[best]:.3f})")
    reached = f"ahead of the best of them by {min(margins):.3f} to {max(margins):.3f}" if not short else "not at " + ", ".join(short)
    wanted = f"above {', '.join(baselines)} at every step" + (f" from {from_s:g} s" if from_s else "")
    return Row(name, wanted, reached, not short)


def moving_section(scores: CellScores) -> Section:
    """Recall of cells that something moving enters or leaves, at thresholds chosen on the other worlds."""
    section = Section("Moving cells, simulated worlds")
    rows, beside_flow = [], []
    flow = scores.counts["flow"]
    for time_s in MOVING_TIMES_S:
        time = scores.time(time_s)
        of = {method: scores.counts[method].moving_recall(time, best_f1) for method in METHODS}
        same_rate = at_false_positive_rate(of["persistence"]["false_positive_rate"])
        of["model, false positives as persistence"] = scores.counts["model"].moving_recall(time, same_rate)
        section.figures[f"{time_s}s"] = of
        beside_flow.append(tuple(scores.counts[method].entered_beside(time, flow) for method in ("model", "flow")))
        for name, recall in of.items():
            rows.append([f"{time_s} s", name, *(float(recall[key]) for key in ("entered", "left", "both", "false_positive_rate"))])
    counted = ", ".join(f"{section.figures[f'{t}s']['model']['cells']:.0f} at {t} s" for t in MOVING_TIMES_S)
    section.text.append(
        "Of the cells that the future sweep could see: entered = occupied then, not now, and inside the true box of something that moved "
        "more than 0.4 m and did not cover the cell before; left = occupied now, free then, the other way round. Recall: entered cells "
        "that are called occupied, left ones that are called free. Persistence has neither, by definition. Each method at the threshold "
        "of its best F1 over all cells of the *other* worlds; the model also at the threshold where, on the other worlds, it has "
        "persistence's rate of false positives. "
        f"Cells: {counted}."
    )
    section.text.append(table(("time", "method", "entered", "left", "both", "false positive rate"), rows))
    reached = "; ".join(f"{t} s: {model:.2f} (flow {of_flow:.2f})" for t, (model, of_flow) in zip(MOVING_TIMES_S, beside_flow, strict=True))
    wanted = "entered cells at 1.2 and 2.4 s: as many as flow, at its false positives, by the model alone"
    section.rows.append(Row("Moving cells", wanted, reached, all(model >= of_flow for model, of_flow in beside_flow)))
    return section


@torch.inference_mode()
def short_recording(model: SceneJepa, shards: list[Shard], name: str) -> Section:
    """A recording of a few frames, judged at SHORT_S: the model's forecast is the mean of now and its first step, the past is one sweep."""
    section = Section(f"{name}, {SHORT_S:g} s ahead")
    spec = WindowSpec(model.spec.history, 1, SHORT_S, 1, max(len(shard.cameras) for shard in shards))
    windows = Windows(shards, spec, 0, 1, fixed=Augmentation())
    scores = {method: OccupancyScore() for method in ("model", "persistence")}
    for number in range(len(windows)):
        batch = collate([windows[number]])
        motion = batch.actions * (model.spec.dt_s / SHORT_S)
        actions = torch.cat([motion, motion.new_zeros(1, model.spec.horizon - 1, 3)], dim=1)
        out = forward(model, replace(batch, actions=actions))
        now, then = (logits.sigmoid() for logits in (model.occupancy_probe(out.now_BDYX), out.logits_BSYX[:, 0]))
        seen = batch.visible[0, 1] * near_cells()
        for method, maps in (("model", (now + then) / 2), ("persistence", batch.occupied[:, 0].float())):
            scores[method].add(maps[0], batch.occupied[0, 1], seen)
    value = {method: score.average_precision() for method, score in scores.items()}
    section.figures = {"windows": len(windows), "average_precision": value}
    reached = f"AP {value['model']:.3f}, persistence {value['persistence']:.3f} ({len(windows)} window)"
    section.rows.append(
        Row(name, f"above persistence; too short for a model step, so {SHORT_S:g} s", reached, value["model"] > value["persistence"])
    )
    section.text.append(reached)
    return section
