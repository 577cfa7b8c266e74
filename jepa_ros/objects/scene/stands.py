"""What stands, told from what moves: of a cell's probability only the part that nobody who is tracked explains.

A world model sees a scene as a whole. It predicts occupied cells where people and vehicles are, and, blurred, where they may go. Trackers
and forecasters name them, with their shapes at each step. Both speak of the same bodies. A reader that plans around those who move would
count them twice, so their part is taken out here, once, where both come together.

Axes: H step after now, Y/X grid rows and columns.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from jepa_ros.movers import Bodies, cells_near
from jepa_ros.objects.scene.objects import SceneObject
from jepa_ros.types import FloatArray, GridSpec

EMPTY = 1e-6  # movers are never so sure that nothing could be told beside them


def unexplained(said_HYX: Tensor, moves_HYX: Tensor) -> Tensor:
    """The probability s that something stands, if movers and what stands together make what was said: said = 1 - (1 - s)(1 - moves).

    Where movers alone say as much it is 0. A wall in somebody's way stays: .95 with movers of .5 is .9.
    """
    left_HYX = (said_HYX - moves_HYX).clamp_(min=0.0)
    return left_HYX.div_((1.0 - moves_HYX).clamp_(min=EMPTY))


def movers_among(things: Sequence[SceneObject]) -> list[SceneObject]:
    """Everybody, and the vehicles that surely drive: those whom a planner plans around. Other vehicles are part of what stands."""
    return [thing for thing in things if thing.kind != "vehicle" or thing.surely_drives]


def bodies_of(things: Sequence[SceneObject], odom_from_anchor: FloatArray) -> Bodies:
    """Their shapes now, in the anchor frame. People are discs."""
    boxes = np.array([thing.box for thing in things]).reshape(-1, 5)
    round_M = np.array([thing.kind == "person" for thing in things], bool)
    radii_m = np.where(round_M, 0.5 * boxes[:, 3], 0.0)
    boxes[round_M, 3:] = 0.0
    boxes[:, :2] = (boxes[:, :2] - odom_from_anchor[:2, 3]) @ odom_from_anchor[:2, :2]
    boxes[:, 2] -= np.arctan2(odom_from_anchor[1, 0], odom_from_anchor[0, 0])
    return Bodies(boxes, radii_m)


def cells_around(bodies: Bodies, grid: GridSpec) -> NDArray[np.bool_]:
    """(Y, X) cells whose centres lie in a body or within half a cell of it."""
    x, y = (origin + grid.resolution_m * (np.arange(n) + 0.5) for origin, n in zip(grid.origin_m, (grid.columns, grid.rows), strict=True))
    return cells_near(x, y, bodies.boxes[:, :3], 0.5 * bodies.boxes[:, 3:], bodies.radii_m + 0.5 * grid.resolution_m)[0]
