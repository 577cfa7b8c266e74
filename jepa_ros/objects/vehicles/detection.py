"""Vehicles in a sweep: boxes of their size, and how much each looks like one."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from jepa_ros.movers import VehicleDetections
from jepa_ros.objects.shape import Surroundings
from jepa_ros.objects.vehicles.boxes import LENGTH
from jepa_ros.objects.vehicles.evidence import BOX_EVIDENCE, box_evidence
from jepa_ros.objects.vehicles.laying import Beams, laid
from jepa_ros.objects.vehicles.proposals import propose
from jepa_ros.objects.vehicles.verifier import load_box_verifier
from jepa_ros.types import FloatArray

TOP = BOX_EVIDENCE.index("top")


class VehicleDetector:
    """Stateless; one call a sweep."""

    def __init__(self, range_m: float, min_score: float = 0.1, verifier: str = "") -> None:
        """`verifier`: empty = the shipped weights, or a .safetensors file; ValueError where it does not fit."""
        self._range_m, self._min_score = range_m, min_score
        self._verifier = load_box_verifier(verifier)

    def detect(
        self,
        points: FloatArray,
        height: FloatArray,
        ground_m: FloatArray,
        lidar_m: FloatArray,
        surroundings: Surroundings,
        density: float = 1.0,
        beams: Sequence[Beams] = (),
    ) -> VehicleDetections:
        """Among (N, 3) points 0.2-2.9 m above the local ground, whose height is (N,) `ground_m`; `lidar_m` (3,): where the lidar is.

        `beams`: of each lidar, the whole sweep: they tell which way a vehicle lies of which little is seen.
        """
        proposals = propose(points, height, self._range_m)
        if not len(proposals.boxes):
            return VehicleDetections(lidar_m=lidar_m[:2])
        evidence = box_evidence(points, height, proposals, lidar_m, surroundings, density)
        scores = self._verifier(evidence)
        own = proposals.owner >= 0
        ground = np.bincount(proposals.owner[own], ground_m[own], len(scores)) / np.bincount(proposals.owner[own], minlength=len(scores))
        keep = scores >= self._min_score
        boxes = proposals.boxes[keep]
        boxes[:, LENGTH:] = np.maximum(boxes[:, LENGTH:], 0.1)
        boxes = laid(boxes, ground[keep], lidar_m[:2], beams)
        return VehicleDetections(boxes, scores[keep], evidence[keep, TOP].astype(np.float64), ground[keep], lidar_m[:2])
