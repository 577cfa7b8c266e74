"""Removes people who are parts of a tracked vehicle: a post of its cabin, its mirror, heads behind its windows.

Axes: M detections, V vehicles.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from jepa_ros.movers import TrackedVehicles
from jepa_ros.objects.vehicles.boxes import LENGTH, WIDTH, moved, within
from jepa_ros.types import Detections, FloatArray

INSIDE_M = 0.1  # somebody whose middle lies no deeper in a vehicle than this may stand beside it


def outside(detections: Detections, vehicles: TrackedVehicles, odom_from_anchor: FloatArray) -> Detections:
    """The same detections, each believed as far as it is in no vehicle; the vehicles are in odom, the detections in the anchor frame."""
    if not len(vehicles) or not len(detections.scores):
        return detections
    boxes = moved(vehicles.boxes, np.linalg.inv(odom_from_anchor))
    boxes[:, [LENGTH, WIDTH]] -= 2 * INSIDE_M
    inside_VM = within(boxes, detections.positions_m)
    free_M = 1.0 - (inside_VM * vehicles.existence[:, None]).max(axis=0)
    return replace(detections, scores=detections.scores * free_M)
