"""Where in an image somebody would appear who stands where the lidar proposes somebody. Axes: M candidates."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from jepa_ros.movers import VehicleDetections
from jepa_ros.objects.struct_of_arrays import StructOfArrays
from jepa_ros.objects.vehicles.boxes import corners
from jepa_ros.sensing.decode.lens import project
from jepa_ros.types import CameraModel, Detections, FloatArray

LOWEST_M, HIGHEST_M = 1.4, 1.95  # of a body: what the lidar sees of it may be less, and more of what stands behind
HALF_WIDTH_M = 0.3
AROUND = 12  # points on the outline of the cylinder that stands for a body


@dataclass(frozen=True)
class Candidates(StructOfArrays):
    """What may be people, in odom."""

    places_m: FloatArray  # (M, 3) on the ground
    heights_m: FloatArray  # (M,) of the body that would stand there
    scores: FloatArray  # (M,) of the lidar

    @classmethod
    def of(cls, found: Detections, odom_from_anchor: FloatArray) -> Candidates:
        """From what was detected in the anchor frame."""
        places = np.column_stack((found.positions_m, found.ground_m)) @ odom_from_anchor[:3, :3].T + odom_from_anchor[:3, 3]
        return cls(places, np.clip(found.heights_m, LOWEST_M, HIGHEST_M), found.scores)

    @classmethod
    def none(cls) -> Candidates:
        """Nobody."""
        return cls(np.zeros((0, 3)), np.zeros(0), np.zeros(0))


@dataclass(frozen=True)
class Outlines(StructOfArrays):
    """How candidates would look in one image."""

    boxes_px: FloatArray  # (M, 4) left, top, right, bottom; what lies beyond the image is cut off
    ranges_m: FloatArray  # (M,) from the camera
    in_view: FloatArray  # (M,) share of the outline that falls into the image


def outlines(candidates: Candidates, camera_from_odom: FloatArray, model: CameraModel) -> Outlines:
    """Bodies as upright cylinders, by the camera's own lens."""
    count = len(candidates.scores)
    angle = np.linspace(0.0, 2 * np.pi, AROUND, endpoint=False)
    ring = HALF_WIDTH_M * np.stack((np.cos(angle), np.sin(angle)), axis=-1)
    around = np.zeros((count, 2, AROUND, 3))
    around[..., :2] = candidates.places_m[:, None, None, :2] + ring
    around[:, 0, :, 2] = candidates.places_m[:, 2, None]
    around[:, 1, :, 2] = (candidates.places_m[:, 2] + candidates.heights_m)[:, None]
    boxes, in_view = _boxes_around(around.reshape(count, 2 * AROUND, 3), camera_from_odom, model)
    feet = candidates.places_m @ camera_from_odom[:3, :3].T + camera_from_odom[:3, 3]
    return Outlines(boxes, np.linalg.norm(feet, axis=-1), in_view)


def vehicle_boxes(vehicles: VehicleDetections, camera_from_anchor: FloatArray, model: CameraModel) -> FloatArray:
    """(V, 4) where vehicles would appear, of those that lie whole in the image."""
    count = len(vehicles.scores)
    around = np.zeros((count, 2, 4, 3))
    around[..., :2] = corners(vehicles.boxes)[:, None]
    around[:, 0, :, 2] = vehicles.ground_m[:, None]
    around[:, 1, :, 2] = (vehicles.ground_m + vehicles.heights_m)[:, None]
    boxes, in_view = _boxes_around(around.reshape(count, 8, 3), camera_from_anchor, model)
    return boxes[in_view == 1.0]


def _boxes_around(points: FloatArray, camera_from_points: FloatArray, model: CameraModel) -> tuple[FloatArray, FloatArray]:
    """Of N bodies of K points each, (N, K, 3): (N, 4) the boxes around them in the image, and (N,) which share of the points it shows."""
    count, each = points.shape[:2]
    camera = points.reshape(-1, 3) @ camera_from_points[:3, :3].T + camera_from_points[:3, 3]
    # Just outside of the image the lens is asked all the same: a box that is cut by the edge has its other side there.
    margin_px = np.array([0.5 * model.width, 0.5 * model.height])
    wide = model.intrinsics.copy()
    wide[:2, 2] += margin_px
    pixels, shown = project(camera, CameraModel(2 * model.width, 2 * model.height, wide, model.distortion, model.distortion_model))
    pixels, shown = (pixels - margin_px).reshape(count, each, 2), shown.reshape(count, each)
    inside = shown & (pixels >= -0.5).all(axis=-1) & (pixels < np.array([model.width, model.height]) - 0.5).all(axis=-1)
    boxes = np.concatenate(
        (
            np.where(shown[..., None], pixels, np.inf).min(axis=1, initial=np.inf),
            np.where(shown[..., None], pixels, -np.inf).max(axis=1, initial=-np.inf),
        ),
        axis=-1,
    )
    boxes[~shown.all(axis=1)] = 0.0  # in part behind the camera or beyond the lens
    in_view = np.where(shown.all(axis=1), inside.mean(axis=1), 0.0)
    return np.clip(boxes, -0.5, np.tile((model.width - 0.5, model.height - 0.5), 2)), in_view
