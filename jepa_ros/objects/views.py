"""Which part of a body the lidars of a sweep can see at each place: a body may continue beyond the field of view.

Axes: N point, M column, L lidar.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from jepa_ros.sensing.terrain import ENOUGH_POINTS, beam_slopes
from jepa_ros.types import FloatArray

FRONT_M = 0.3  # the near side of a body lies so far before its middle
BEAM_GAP_M = 0.1  # the next beam may pass over a head that is no higher than this
SECTORS = 72  # of 5 degrees, in which a lidar looks or does not

Part = tuple[slice, FloatArray]  # which points of a sweep are of one lidar, and (3,) where it is


@dataclass(frozen=True)
class View:
    """Between which heights a lidar sees at each distance. Where nothing is known, everything is in view."""

    lidar_m: FloatArray  # (3,) where it is
    lowest: float  # slope of its lowest beam that met anything, rise per metre of distance
    highest: float  # and of its highest
    looks: NDArray[np.bool_]  # (SECTORS,) directions from it in which it met anything

    @staticmethod
    def of(points_m: FloatArray, lidar_m: FloatArray | None) -> View:
        """From a whole sweep, (N, 3). In a place without anything high, somebody near is met by the highest beam."""
        slopes = beam_slopes(points_m, lidar_m)
        if lidar_m is None or not len(slopes):
            return View(np.zeros(3), -np.inf, np.inf, np.ones(SECTORS, bool))
        step = len(points_m) // ENOUGH_POINTS + 1
        looks = np.zeros(SECTORS, bool)
        looks[_sector(*(points_m[::step, axis] - lidar_m[axis] for axis in (0, 1)))] = True
        return View(np.asarray(lidar_m), float(slopes.min()), float(slopes.max()), looks)

    def towards(self, centres_m: FloatArray) -> NDArray[np.bool_]:
        """(M,) whether it looks in the direction of columns at (M, 2)."""
        return self.looks[_sector(*(centres_m[:, axis] - self.lidar_m[axis] for axis in (0, 1)))]

    def cuts(self, centres_m: FloatArray, tops_m: FloatArray) -> NDArray[np.bool_]:
        """(M,) whether columns at (M, 2) with their tops at this height, in the frame of the points, end with the view."""
        if not np.isfinite(self.highest):
            return np.zeros(len(tops_m), bool)
        return tops_m > self.lidar_m[2] + self.highest * self._front_m(centres_m) - BEAM_GAP_M

    def bottom_m(self, centres_m: FloatArray) -> FloatArray:
        """(M,) height from which columns at (M, 2) are in view, in the frame of the points."""
        if not np.isfinite(self.lowest):
            return np.full(len(centres_m), -np.inf)
        return self.lidar_m[2] + self.lowest * self._front_m(centres_m) + BEAM_GAP_M

    def _front_m(self, centres_m: FloatArray) -> FloatArray:
        return np.maximum(np.hypot(*(centres_m - self.lidar_m[:2]).T) - FRONT_M, 0.0)


@dataclass(frozen=True)
class Views:
    """Those of all lidars of a sweep, the leading one first."""

    each: tuple[View, ...]

    @staticmethod
    def of(points_m: FloatArray, lidar_m: FloatArray | None, parts: Sequence[Part]) -> Views:
        """From a whole sweep, (N, 3), of one lidar, or of several `parts`."""
        if not parts:
            return Views((View.of(points_m, lidar_m),))
        return Views(tuple(View.of(points_m[part], origin_m) for part, origin_m in parts))

    def ends(self, centres_m: FloatArray, tops_m: FloatArray) -> tuple[NDArray[np.bool_], FloatArray]:
        """(M,) whether columns end where every view of them ends, and (M,) the height from which they are in view of any lidar."""
        each = self._towards(centres_m)
        cut = np.all([view.cuts(centres_m, tops_m) | ~towards for view, towards in each], axis=0)
        return cut, np.min([np.where(towards, view.bottom_m(centres_m), np.inf) for view, towards in each], axis=0)

    def _towards(self, centres_m: FloatArray) -> list[tuple[View, NDArray[np.bool_]]]:
        """Which lidars count for each column: those that look there; the leading one where none does."""
        towards_LM = np.array([view.towards(centres_m) for view in self.each])
        towards_LM[0] |= ~towards_LM.any(axis=0)
        return list(zip(self.each, towards_LM, strict=True))


def _sector(x_m: FloatArray, y_m: FloatArray) -> NDArray[np.intp]:
    return ((np.arctan2(y_m, x_m) / (2 * np.pi) + 0.5) * SECTORS).astype(np.intp) % SECTORS
