"""People in a lidar sweep: ground removal, vertical-column clustering, and a score from a few deviations from a person's shape.

The body slice that separates people from each other and from what stands beside them is the upper one (hip to head): kerbs, bicycle
wheels, bollards and flower beds end below it, and bodies touch least there. A pedestrian and the rider of a bicycle look alike in it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, partial

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from jepa_ros.config import param, validate
from jepa_ros.objects.blobs import highest, odd, parted
from jepa_ros.objects.columns import Labelled, describe
from jepa_ros.objects.measured_columns import Columns
from jepa_ros.objects.pairs import PERSON, halved, may_be_two
from jepa_ros.objects.shape import Surroundings
from jepa_ros.objects.sightlines import SeveralSights, SightLines
from jepa_ros.objects.struct_of_arrays import picked
from jepa_ros.objects.vehicles.detection import VehicleDetector
from jepa_ros.objects.vehicles.laying import Beams
from jepa_ros.objects.vehicles.proposals import closed
from jepa_ros.objects.verifier import load_verifier
from jepa_ros.objects.views import Part, Views
from jepa_ros.sensing import anchor_lidar, anchor_points
from jepa_ros.sensing.terrain import Terrain
from jepa_ros.sensing.voxelize import lidar_parts
from jepa_ros.types import Detections, FloatArray, Observation, Sight

LIMB_M = 0.2  # arms, legs and wheels reach so far beyond the trunk
NEAR_M, SEAM_M = 4.0, 1.0  # so near, returns lie close enough for finer cells: a person and the wall behind are two
SMOOTH_M, SMOOTH_NEAR_M = 0.12, 0.09  # how far the density is smoothed; less leaves more pairs apart, and more walls in pieces


@dataclass(frozen=True)
class DetectionConfig:
    """What counts as a person, and where to look."""

    max_range_m: float = param(30.0, "look for people up to this distance from the base", at_least=1.0, at_most=100.0)
    min_range_m: float = param(0.5, "ignore returns closer to the base than this (the robot itself)", at_least=0.0, at_most=10.0)
    cell_m: float = param(0.2, "side of a clustering cell", at_least=0.05, at_most=0.5)
    slice_bottom_m: float = param(0.7, "bottom of the slice in which columns are separated, above ground", at_least=0.3, at_most=1.0)
    slice_top_m: float = param(2.1, "top of that slice: no person is taller", at_least=1.5, at_most=2.5)
    min_height_m: float = param(1.0, "lowest top of a column that can be a person", at_least=0.3, at_most=1.5)
    min_points: int = param(5, "fewest returns of a column, beyond `dense_range_m`", at_least=1, at_most=1000)
    min_points_near: int = param(12, "fewest returns of a column nearer than `dense_range_m`", at_least=1, at_most=1000)
    dense_range_m: float = param(12.0, "beyond this range gaps between cells are closed and fewer returns suffice", at_least=1.0)
    verifier: str = param(
        "",
        "weights that separate people from clutter: empty = the shipped ones, 'rules' = thirteen hand-set weights, or a .safetensors file",
        read_only=False,
    )
    vehicles: bool = param(True, "look for vehicles, too", read_only=False)
    vehicle_verifier: str = param(
        "", "weights that distinguish vehicles from other large objects: empty = the shipped ones, or a .safetensors file", read_only=False
    )
    min_score: float = param(0.1, "columns that look less like a person are dropped", at_least=0.0, at_most=1.0)

    def __post_init__(self) -> None:
        validate(self)


@dataclass(frozen=True)
class _Look:
    """Columns are separated on cells of this size between two distances from the base."""

    cell_m: float
    smooth_m: float
    least_m: float
    most_m: float
    dense_m: float  # beyond it gaps between cells are closed

    @property
    def reach_m(self) -> float:
        """Half the side of the square of cells."""
        return self.most_m + SEAM_M

    @property
    def side(self) -> int:
        """How many cells that is across."""
        return int(np.ceil(2 * self.reach_m / self.cell_m)) + 2

    @cached_property
    def far(self) -> NDArray[np.bool_]:
        """(side, side) the cells beyond `dense_m`."""
        axis = (np.arange(self.side) - 0.5) * self.cell_m - self.reach_m
        return np.asarray(axis[None, :] ** 2 + axis[:, None] ** 2 > self.dense_m**2)

    def holds(self, positions_m: FloatArray, seam_m: float = 0.0) -> NDArray[np.bool_]:
        """(N,) whether (N, 2) positions lie within it, or no further outside than `seam_m`."""
        away_m2 = positions_m[:, 0] ** 2 + positions_m[:, 1] ** 2
        return (max(self.least_m - seam_m, 0.0) ** 2 <= away_m2) & (away_m2 < (self.most_m + seam_m) ** 2)


@dataclass(frozen=True)
class _Sweep:
    """What a sweep shows below the height of people, within reach."""

    points: FloatArray  # (N, 3)
    height: FloatArray  # (N,) above the local ground
    ground_m: FloatArray  # (N,)
    looked: tuple[Labelled, ...]
    views: Views
    surroundings: Surroundings
    sight: Sight
    beams: tuple[Beams, ...]  # of each lidar, the whole sweep
    density: float


class PersonDetector:
    """Stateless; one call a sweep."""

    def __init__(self, config: DetectionConfig | None = None) -> None:
        self.config = config or DetectionConfig()
        cell_m, dense_m = self.config.cell_m, self.config.dense_range_m
        self._looks = (
            _Look(0.5 * cell_m, SMOOTH_NEAR_M, 0.0, NEAR_M, dense_m),
            _Look(cell_m, SMOOTH_M, NEAR_M, self.config.max_range_m, dense_m),
        )
        self._verifier = load_verifier(self.config.verifier)
        self._vehicles = VehicleDetector(self.config.max_range_m, verifier=self.config.vehicle_verifier) if self.config.vehicles else None

    def detect_in(self, observation: Observation) -> Detections:
        """`protocols.Detector`: people in the sweep of an observation, in its anchor frame; none where there is no sweep."""
        return self.detect(
            anchor_points(observation),
            observation.ground_height_m,
            anchor_lidar(observation),
            observation.local_ground_m,
            lidar_parts(observation),
        )

    def detect(
        self,
        points_anchor_m: FloatArray,
        ground_height_m: float = 0.0,
        lidar_m: FloatArray | None = None,
        local_ground_m: FloatArray | None = None,
        parts: Sequence[Part] = (),
    ) -> Detections:
        """People among (N, 3) points in a gravity-aligned frame with its origin at the robot.

        `ground_height_m`: height of the ground in that frame, used where no return shows the ground. `lidar_m`: (3,) where the lidar is:
        whoever comes so near that its beams end below their head or above their knees is then not taken for somebody short or for something
        that floats, nor their lowest return for the ground. `local_ground_m`: (N,) height of the ground below each point, where it is known
        already. `parts`: of a sweep of several lidars, which points are whose, and where each is. Raises ValueError on another shape.
        """
        sweep = self._look_around(points_anchor_m, ground_height_m, lidar_m, local_ground_m, parts)
        columns, evidence, numbers = self._described(sweep)
        columns, scores, riding = self._with_pairs(sweep, columns, numbers, *self._verifier(evidence))
        keep = scores >= self.config.min_score
        vehicles = None
        if self._vehicles is not None:
            leading_m = sweep.views.each[0].lidar_m
            around = (leading_m, sweep.surroundings, sweep.density, sweep.beams)
            vehicles = self._vehicles.detect(sweep.points, sweep.height, sweep.ground_m, *around)
        return Detections(
            positions_m=columns.centres_m[keep],
            radii_m=np.clip(0.5 * columns.widths_m[keep], 0.25, 0.6),
            scores=scores[keep],
            heights_m=columns.tops_m[keep],
            ground_m=columns.ground_m[keep],
            riding=riding[keep],
            sight=sweep.sight,
            vehicles=vehicles,
        )

    def columns(
        self, points_anchor_m: FloatArray, ground_height_m: float = 0.0, lidar_m: FloatArray | None = None
    ) -> tuple[Columns, FloatArray]:
        """All person-sized columns and their (M, F) evidence, in the order of `columns.EVIDENCE`, before scoring."""
        return self._described(self._look_around(points_anchor_m, ground_height_m, lidar_m, None, ()))[:2]

    def _look_around(
        self,
        points_anchor_m: FloatArray,
        ground_height_m: float,
        lidar_m: FloatArray | None,
        local_ground_m: FloatArray | None,
        parts: Sequence[Part],
    ) -> _Sweep:
        if points_anchor_m.ndim != 2 or points_anchor_m.shape[1] != 3:
            raise ValueError(f"points_anchor_m must be (N, 3), got {points_anchor_m.shape}")
        config = self.config
        density = len(points_anchor_m) / 60_000
        points_anchor_m = np.asfortranarray(points_anchor_m)  # as sweeps are: coordinate by coordinate
        views = Views.of(points_anchor_m, lidar_m, parts)
        x, y, z = points_anchor_m.T
        range_m2 = x * x + y * y  # several passes over all returns: a square costs a tenth of a hypotenuse
        own = range_m2 <= config.min_range_m**2
        if local_ground_m is None:
            local_ground_m = Terrain.fit(picked(points_anchor_m, np.flatnonzero(~own)), ground_height_m, lidar_m).at(points_anchor_m)
        height = z - local_ground_m
        tall = (height > 0.2) & (height < config.slice_top_m + 0.8)
        body = np.flatnonzero(tall & (range_m2 < config.max_range_m**2) & ~own)
        points, height, ground_m = picked(points_anchor_m, body), height.take(body), local_ground_m.take(body)
        leading = SightLines.of(points, height, points_anchor_m, views.each[0].lidar_m[:2])
        sight: Sight = leading
        beams: tuple[Beams, ...] = () if lidar_m is None else ((points_anchor_m, lidar_m),)
        if parts:
            each = []
            for part, origin_m in parts:  # what each lidar saw from where it is
                seen = np.flatnonzero((body >= part.start) & (body < part.stop))
                each.append(SightLines.of(picked(points, seen), height.take(seen), points_anchor_m[part], origin_m[:2]))
            sight = SeveralSights(tuple(each))
            beams = tuple((points_anchor_m[part], origin_m) for part, origin_m in parts)
        surroundings = Surroundings.of(points, height, config.max_range_m, leading)
        looked = tuple(self._look(look, points, height, ground_m) for look in self._looks)
        return _Sweep(points, height, ground_m, looked, views, surroundings, sight, beams, density)

    def _described(self, sweep: _Sweep) -> tuple[Columns, FloatArray, NDArray[np.intp]]:
        """What may be a person: columns, evidence and numbers."""
        return describe(sweep.looked, partial(self._accept, sweep.looked), sweep.views, sweep.surroundings, sweep.density)

    def _with_pairs(
        self, sweep: _Sweep, columns: Columns, numbers: NDArray[np.intp], scores: FloatArray, riding: FloatArray
    ) -> tuple[Columns, FloatArray, FloatArray]:
        """The same with two people in the place of a column that is none as a whole, but whose halves both are."""
        wide = may_be_two(columns, scores)
        if not len(wide):
            return columns, scores, riding
        halves, evidence, number = describe(
            [halved(sweep.looked, numbers[wide])], self._of_a_body, sweep.views, sweep.surroundings, sweep.density
        )
        said, rides = self._verifier(evidence)
        whole = wide[(number - 1) // 2]
        two = np.bincount(whole[said >= PERSON], minlength=len(scores)) == 2
        new = two[whole]
        joined = columns.take(~two).join(halves.take(new))
        return joined, np.concatenate((scores[~two], said[new])), np.concatenate((riding[~two], rides[new]))

    def _look(self, look: _Look, points: FloatArray, height: FloatArray, ground_m: FloatArray) -> Labelled:
        """Columns within the look, and beyond its edge as far as the points of those at the edge go on."""
        seen = np.flatnonzero(look.holds(points, SEAM_M))
        points, height, ground_m = picked(points, seen), height.take(seen), ground_m.take(seen)
        labels, blobs_m = self._cluster(points, height, look)
        return Labelled(points, height, ground_m, labels, blobs_m)

    def _accept(self, looked: Sequence[Labelled], columns: Columns) -> NDArray[np.bool_]:
        """(M,) False for what is no person whatever its score: not `_of_a_body`, or of the other look."""
        ends = np.cumsum([len(part.blobs_m) for part in looked])
        centres_m = np.split(columns.centres_m, ends[:-1])
        held = np.concatenate([look.holds(own_m) for look, own_m in zip(self._looks, centres_m, strict=True)])
        return held & self._of_a_body(columns)

    def _of_a_body(self, columns: Columns) -> NDArray[np.bool_]:
        """(M,) False for what is too low, too large or hardly hit."""
        config = self.config
        near = np.hypot(*columns.centres_m.T) < config.dense_range_m
        enough = columns.counts >= np.where(near, config.min_points_near, config.min_points)
        compact = (columns.widths_m < 1.4) & (columns.depths_m < 2.2)
        return enough & compact & ((columns.tops_m > config.min_height_m) | columns.cut)

    def _cluster(self, points: FloatArray, height: FloatArray, look: _Look) -> tuple[NDArray[np.intp], FloatArray]:
        """Column number of each point (N,), 0 for none; the sides of the blob that each column is part of (columns + 1, 2).

        Columns are grown by LIMB_M to take in arms, legs and wheels.
        """
        config, cell_m, range_m, side = self.config, look.cell_m, look.reach_m, look.side
        column, row = (((points[:, axis] + range_m) / cell_m).astype(np.intp) + 1 for axis in (0, 1))
        flat = row * side + column
        upper = (height > config.slice_bottom_m) & (height < config.slice_top_m)
        hits = np.bincount(flat.take(np.flatnonzero(upper)), minlength=side * side).reshape(side, side)
        occupied = hits > 0
        # Between two beams of a coarse lidar a far body leaves empty cells.
        joined = occupied | (look.far & closed(occupied)) if look.most_m > look.dense_m else occupied
        cells, count = ndimage.label(joined, np.ones((3, 3)))
        cells, _, blobs_m = parted(cells, count, hits, look.cell_m, look.smooth_m)
        inside, beside = cells.ravel().take(flat), highest(cells, odd(LIMB_M / cell_m)).ravel().take(flat)
        return np.where(inside > 0, inside, beside), blobs_m
