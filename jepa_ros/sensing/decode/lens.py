"""Where a point in front of a camera falls in its image. Lenses are bent by OpenCV; what lies beyond a lens's reach is detected here."""

from __future__ import annotations

import functools
import os
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jepa_ros.types import CameraModel, FloatArray

MIN_DEPTH_M = 0.05
# At depth 1. Polynomials of the pinhole models describe no lens wider than 79 degrees off the axis; an equidistant one reaches 89.
WIDEST = {"plumb_bob": 5.0, "rational_polynomial": 5.0, "equidistant": 57.0}
SAMPLES = 2000
BEYOND_CORNER = 1.5  # of the distance of the corners: what tangential distortion and a tilted sensor may add stays below
TANGENTIAL = (2, 3, *range(8, 14))  # coefficients of OpenCV's model that depend on the direction: p1, p2, thin prism, tilt


MOST_PIXELS = 2**26  # of a compressed image, twice 8K: a few kilobytes can claim, and take, gigabytes
os.environ.setdefault("OPENCV_IO_MAX_IMAGE_PIXELS", str(MOST_PIXELS))  # OpenCV reads it once, when it is imported


@functools.cache
def opencv() -> Any:
    """The cv2 module, which comes with cv_bridge and with rosbags-image[opencv-headless]; None where it is absent."""
    try:
        import cv2
    except ImportError:
        return None
    return cv2


def project(points_camera_m: FloatArray, model: CameraModel) -> tuple[FloatArray, NDArray[np.bool_]]:
    """Pixels (N, 2) of points (N, 3) in the camera's optical frame, and which of them are in view (N,).

    Points out of view have meaningless pixels. Pixel centres lie at whole numbers.
    """
    points = np.asarray(points_camera_m, np.float64)
    depth = points[:, 2]
    ahead = depth > MIN_DEPTH_M
    at_depth_one: FloatArray = points[:, :2] / np.where(ahead, depth, 1.0)[:, None]
    if model.distortion.size or model.distortion_model == "equidistant":
        intrinsics = tuple(model.intrinsics.reshape(-1).tolist())
        reach = _reach(model.distortion_model, model.distortion.tobytes(), intrinsics, model.width, model.height)
        # Few points are in view, and OpenCV computes a Jacobian for each that it bends.
        ahead &= (at_depth_one**2).sum(axis=1) < reach**2
        at_depth_one[ahead] = bent(at_depth_one[ahead], model.distortion_model, model.distortion)
    pixels = at_depth_one @ model.intrinsics[:2, :2].T + model.intrinsics[:2, 2]
    inside = (pixels >= -0.5).all(axis=1) & (pixels[:, 0] < model.width - 0.5) & (pixels[:, 1] < model.height - 0.5)
    return pixels, ahead & inside


def bent(at_depth_one: FloatArray, lens: str, distortion: FloatArray) -> FloatArray:
    """(N, 2) where the lens puts rays (N, 2), both at depth 1."""
    if not len(at_depth_one):
        return at_depth_one
    rays, still, identity = np.insert(at_depth_one, 2, 1.0, axis=1)[:, None], np.zeros(3), np.eye(3)
    if lens == "equidistant":
        coefficients = distortion if distortion.size else np.zeros(4)
        return opencv().fisheye.projectPoints(rays, still, still, identity, coefficients)[0].reshape(-1, 2)
    return opencv().projectPoints(rays, still, still, identity, distortion)[0].reshape(-1, 2)


@functools.lru_cache(maxsize=64)
def _reach(lens: str, coefficients: bytes, intrinsics: tuple[float, ...], width: int, height: int) -> float:
    """How far off the axis, at depth 1, rays can be in view: where the bent radius stops growing a lens would see twice, and beyond the
    corners of the image it sees nothing."""
    distortion = np.frombuffer(coefficients).copy()
    if lens != "equidistant":
        distortion[[index for index in TANGENTIAL if index < distortion.size]] = 0.0
    angle = np.linspace(0.0, np.arctan(WIDEST[lens]), SAMPLES)
    radius = np.tan(angle)
    bent_radius = bent(np.stack((radius, 0.0 * radius), axis=1), lens, distortion)[:, 0]
    grows = np.diff(bent_radius) > 0  # False for what is not finite, too
    fx, _, cx, _, fy, cy = intrinsics[:6]
    corner = np.hypot(max(cx, width - cx) / fx, max(cy, height - cy) / fy)
    within = grows & (bent_radius[1:] < BEYOND_CORNER * corner)
    return float(radius[np.argmin(within)]) if not within.all() else WIDEST[lens]
