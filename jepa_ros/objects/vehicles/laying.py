"""Which way a vehicle lies of which little is seen: a corner of two metres by two may be of its front or of its side.

Laid either way it goes on where nothing was returned from. If beams went through there and met nothing, it lies the other way.
Axes: W ways to lay a box, G boxes, N points, R beams that went the way of a box.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from jepa_ros.objects.vehicles.boxes import LENGTH, WIDTH, YAW, to_boxes
from jepa_ros.objects.vehicles.proposals import grown
from jepa_ros.types import FloatArray

SIDE_FROM_M = 2.5  # a face longer than this is a side
FRONT_M = 2.0  # a face longer than this is rather a side, as long as no beam tells
WITHIN_M = 0.3  # from its sides: mirrors, rounded corners and a box that is placed roughly
BELOW_M = 1.2  # above the ground; higher up there may be a bonnet, with beams above it
SURE = 2.0  # deviations by which two counts of beams must differ
SOME_BEAMS = 15_000  # of a sweep are enough to tell

Beams = tuple[FloatArray, FloatArray]  # (N, 3) all returns of a lidar, the ground's too, and (3,) where it is


def laid(boxes: FloatArray, ground_m: FloatArray, lidar_m: FloatArray, beams: Sequence[Beams]) -> FloatArray:
    """(G, 5) with the yaw along the vehicle, of boxes whose longer side lies along the yaw and who stand on (G,) `ground_m`.

    `lidar_m`: (2,) from where they were seen: the whole lies behind what was. `beams`: those of each lidar; all in one frame.
    """
    short = np.flatnonzero(boxes[:, LENGTH] < SIDE_FROM_M)
    if not len(short):
        return boxes
    along, across = boxes[short], turned(boxes[short])
    ways = np.stack((grown(along, lidar_m), grown(across, lidar_m)))
    through = sum((passed(ways, ground_m[short], *one) for one in beams), np.zeros((2, len(short))))
    more = through[0] - through[1]
    told = np.abs(more) > SURE * np.sqrt(through.sum(axis=0))
    crosswise = np.where(told, more > 0, along[:, LENGTH] <= FRONT_M)
    whole = boxes.copy()
    whole[short[crosswise]] = across[crosswise]
    return whole


def turned(boxes: FloatArray) -> FloatArray:
    """(G, 5) the same rectangles, with the other side as the length."""
    other = boxes[:, [0, 1, YAW, WIDTH, LENGTH]]
    other[:, YAW] += 0.5 * np.pi
    return other


def passed(ways: FloatArray, ground_m: FloatArray, points: FloatArray, lidar_m: FloatArray) -> FloatArray:
    """(W, G) of some beams from `lidar_m` to (N, 3) points, how many went through each box from side to side.

    `ways`: (W, G, 5). Counted are those that stayed lower than BELOW_M above `ground_m` (G,), on which the box stands.
    """
    step = len(points) // SOME_BEAMS + 1
    away, top_m = points[::step] - lidar_m.astype(points.dtype), BELOW_M + ground_m - lidar_m[2]
    box, beam = _towards(ways, top_m, lidar_m, away)
    x, y, z = (away[:, axis].take(beam) for axis in range(3))
    through = np.zeros(ways.shape[:2])
    for way, boxes in enumerate(ways):
        local = np.column_stack((to_boxes(boxes, lidar_m[None, :2])[:, 0], np.maximum(0.5 * boxes[:, LENGTH:] - WITHIN_M, 0.0)))
        start_x, start_y, half_x, half_y, cos, sin = np.column_stack((local, np.cos(boxes[:, YAW]), np.sin(boxes[:, YAW]))).T.take(
            box, axis=1
        )
        with np.errstate(divide="ignore", invalid="ignore"):
            (enters, leaves), (later, sooner) = _stretch(start_x, cos * x + sin * y, half_x), _stretch(start_y, cos * y - sin * x, half_y)
        enters, leaves = np.maximum(enters, later), np.minimum(leaves, sooner)
        low = np.where(z > 0.0, leaves, enters) * z < top_m.take(box)
        through[way] = np.bincount(box[(enters > 0.0) & (enters < leaves) & (leaves < 1.0) & low], minlength=len(boxes))
    return through


def _stretch(start: FloatArray, run: FloatArray, half: FloatArray) -> tuple[FloatArray, FloatArray]:
    """From which to which share of itself a beam lies between -half and half."""
    one, other = (-half - start) / run, (half - start) / run
    return np.fmin(one, other), np.fmax(one, other)


def _towards(ways: FloatArray, top_m: FloatArray, lidar_m: FloatArray, away: FloatArray) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """(R,) numbers of a box, and of a beam that went where that box may lie, among beams (N, 3) from the lidar; tops (G,) count from it."""
    offset = ways[..., :2] - lidar_m[:2]
    middle = offset.mean(axis=0)
    reach = np.hypot(*(offset - middle).transpose(2, 0, 1)).max(axis=0) + 0.5 * np.hypot(*ways[0, :, LENGTH:].T)
    distance = np.maximum(np.hypot(*middle.T), reach + 1e-3)
    direction = (middle / distance[:, None]).astype(away.dtype)
    forward = direction @ away[:, :2].T  # (G, N)
    aside = np.stack((-direction[:, 1], direction[:, 0]), axis=1) @ away[:, :2].T
    steepest = (reach / np.sqrt(distance**2 - reach**2)).astype(away.dtype)
    near = (distance - reach).astype(away.dtype)
    box, beam = np.nonzero((np.abs(aside) < steepest[:, None] * forward) & (forward > near[:, None]))
    share = (distance + np.where(top_m < 0.0, reach, -reach))[box] / forward[box, beam]  # where it is lowest, if it ever is low enough
    low = away[beam, 2] * share < top_m[box]
    return box[low], beam[low]
