"""Counts of cells by predicted probability, world by world, so that a threshold for one world is chosen on the others.

Kinds of cells, all within reach of the vehicle: "occupied" and "free" are what the future sweep could see; "entered" and "left" are those
of them that a moving person, cyclist or car entered (occupied then, nothing there now) or left (occupied now, free then).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from experiments.world_model.worlds import Boxes
from jepa_ros.training.metrics import BINS
from jepa_ros.types import FloatArray

KINDS = ("occupied", "free", "entered", "left")
MOVED_M = 0.4  # one cell: what moved less between two stamps enters and leaves nothing
Rule = Callable[["Curve"], int]


class Curve:
    """Counts at each threshold. Index b stands for the threshold 1 - b / (BINS - 1): from sure to everything."""

    def __init__(self, counts_KB: FloatArray) -> None:
        self.total = dict(zip(KINDS, counts_KB.sum(axis=1), strict=True))
        self.above = dict(zip(KINDS, np.cumsum(counts_KB[:, ::-1], axis=1), strict=True))

    def iou(self) -> FloatArray:
        """(BINS,) intersection over union of the occupied class."""
        return self.above["occupied"] / np.maximum(self.total["occupied"] + self.above["free"], 1)

    def false_positive_rate(self) -> FloatArray:
        """(BINS,) share of the free cells that are called occupied."""
        return self.above["free"] / max(self.total["free"], 1)

    def average_precision(self) -> float:
        """Area under the precision-recall curve, as a step function; NaN without occupied cells."""
        if not self.total["occupied"]:
            return float("nan")
        precision = self.above["occupied"] / np.maximum(self.above["occupied"] + self.above["free"], 1)
        return float((precision * np.diff(self.above["occupied"], prepend=0)).sum() / self.total["occupied"])

    def calibration_error(self) -> float:
        """Mean distance of what is said from what is found, in tenths from 0.1 up: most of the rest is empty street. NaN without cells."""
        occupied, free = (np.diff(self.above[kind], prepend=0)[::-1] for kind in ("occupied", "free"))
        said = np.linspace(0.0, 1.0, BINS)
        tenth = np.minimum((10 * said).astype(int), 9)
        cells, found, told = (np.bincount(tenth, values, 10)[1:] for values in (occupied + free, occupied, said * (occupied + free)))
        return float(np.abs(told - found).sum() / cells.sum()) if cells.sum() else float("nan")


class CellCounts:
    """Cells of one method: `add` window by window, then ask."""

    def __init__(self, times: int) -> None:
        self._times = times
        self._worlds: dict[str, FloatArray] = {}  # world -> (times, KINDS, BINS)

    def add(self, world: str, time: int, probability_YX: Tensor, cells: dict[str, NDArray[np.bool_]]) -> None:
        """cells: kind -> (Y, X), for all of KINDS."""
        counts = self._worlds.setdefault(world, np.zeros((self._times, len(KINDS), BINS)))
        bins = (probability_YX.float() * (BINS - 1)).round().long().numpy()
        for row, kind in zip(counts[time], KINDS, strict=True):
            row += np.bincount(bins[cells[kind]], minlength=BINS)

    def pooled(self, time: int) -> Curve:
        """Of all worlds together."""
        return Curve(sum((counts[time] for counts in self._worlds.values()), np.zeros((len(KINDS), BINS))))

    def folds(self, time: int) -> list[tuple[Curve, Curve]]:
        """Each world, and all the others. A single world stands for the others too."""
        total = sum((counts[time] for counts in self._worlds.values()), np.zeros((len(KINDS), BINS)))
        return [(Curve(c[time]), Curve(total - c[time] if len(self._worlds) > 1 else total)) for c in self._worlds.values()]

    def iou(self, time: int) -> float:
        """At the threshold that is best on the other worlds."""
        union = intersection = 0.0
        for here, others in self.folds(time):
            b = int(others.iou().argmax())
            intersection += here.above["occupied"][b]
            union += here.total["occupied"] + here.above["free"][b]
        return float(intersection / max(union, 1))

    def moving_recall(self, time: int, rule: Rule) -> dict[str, float]:
        """Share of the entered cells called occupied, of the left ones called free, of both; the false positive rate; how many cells.

        rule: the threshold (an index of `Curve`) given the curve of the other worlds.
        """
        hits = dict.fromkeys(KINDS, 0.0)
        total = dict.fromkeys(KINDS, 0.0)
        for here, others in self.folds(time):
            b = rule(others)
            for kind in KINDS:
                hits[kind] += here.above[kind][b]
                total[kind] += here.total[kind]
        left = total["left"] - hits["left"]
        return {
            "entered": hits["entered"] / max(total["entered"], 1),
            "left": left / max(total["left"], 1),
            "both": (hits["entered"] + left) / max(total["entered"] + total["left"], 1),
            "false_positive_rate": hits["free"] / max(total["free"], 1),
            "cells": total["entered"] + total["left"],
        }

    def entered_beside(self, time: int, other: CellCounts) -> float:
        """Share of the entered cells called occupied where, world by world, no more free cells are called so than by `other`, which says
        yes or no."""
        hits = total = 0.0
        for world, counts in self._worlds.items():
            curve, rate = Curve(counts[time]), float(Curve(other._worlds[world][time]).false_positive_rate()[1])
            hits += curve.above["entered"][at_false_positive_rate(rate)(curve)]
            total += curve.total["entered"]
        return hits / max(total, 1)


def best_f1(curve: Curve) -> int:
    """F1 and IoU rank thresholds alike."""
    return int(curve.iou().argmax())


def at_false_positive_rate(rate: float) -> Rule:
    """The lowest threshold that stays within a false positive rate."""
    return lambda curve: max(0, int(np.searchsorted(curve.false_positive_rate(), rate, side="right")) - 1)


def cells_of(
    now: tuple[Boxes, FloatArray], then: Boxes, occupied_now: NDArray[np.bool_], occupied_then: NDArray[np.bool_], seen: NDArray[np.bool_]
) -> dict[str, NDArray[np.bool_]]:
    """kind -> (Y, X). now: boxes and the anchor frame of now from odom; seen: cells that the later sweep could tell, within reach.

    A thing counts as moving if it is there at both times, more than MOVED_M apart; a cell is entered by what did not cover it before.
    Where something else stands now, as a car that drives off before a cyclist, persistence would be right for a wrong reason.
    """
    boxes, anchor_from_odom = now
    before = dict(zip(boxes.keys, range(len(boxes.keys)), strict=True))
    pairs = [(before[key], g) for g, key in enumerate(then.keys) if key in before]
    pairs = [(a, b) for a, b in pairs if np.hypot(*(then.centres_m[b] - boxes.centres_m[a])) > MOVED_M]
    first, last = [a for a, _ in pairs], [b for _, b in pairs]
    covered, covers = boxes.cells(anchor_from_odom)[first], then.cells(anchor_from_odom)[last]
    return {
        "occupied": seen & occupied_then,
        "free": seen & ~occupied_then,
        "entered": seen & occupied_then & ~occupied_now & (covers & ~covered).any(axis=0),
        "left": seen & occupied_now & ~occupied_then & (covered & ~covers).any(axis=0),
    }


def plain_cells(occupied_then: NDArray[np.bool_], seen: NDArray[np.bool_]) -> dict[str, NDArray[np.bool_]]:
    """The same where nobody knows what moves."""
    nothing = np.zeros_like(seen)
    return {"occupied": seen & occupied_then, "free": seen & ~occupied_then, "entered": nothing, "left": nothing}
