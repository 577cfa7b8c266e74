"""sensor_msgs/CameraInfo -> CameraModel, and projection with distortion.

Formulas: OpenCV's camera calibration reference (plumb_bob = Brown-Conrady, rational_polynomial) and Kannala & Brandt 2006 (equidistant).
"""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jepa_ros.sensing.decode.errors import MalformedMessage
from jepa_ros.types import CameraModel, FloatArray

COEFFICIENTS = {"plumb_bob": (4, 5), "rational_polynomial": (8, 12, 14), "equidistant": (4,)}
ALIASES = {"fisheye": "equidistant", "radtan": "plumb_bob", "pinhole": "plumb_bob", "none": "plumb_bob", "": "plumb_bob"}
MIN_DEPTH_M = 0.05
MAX_RADIUS = 5.0  # at depth 1: 79 degrees off the axis; polynomial models describe no lens that wide


def camera_model(message: Any) -> CameraModel:
    """Intrinsics of a sensor_msgs/CameraInfo. Raises MalformedMessage("bad_camera_info") where K or D make no camera."""
    intrinsics: FloatArray = np.array(message.k, np.float64).reshape(-1)
    width, height = int(message.width), int(message.height)
    if intrinsics.size != 9 or not np.isfinite(intrinsics).all():
        raise MalformedMessage("bad_camera_info", f"K = {intrinsics.tolist()} must be 9 finite numbers")
    intrinsics = intrinsics.reshape(3, 3)
    if not (intrinsics[0, 0] > 0 and intrinsics[1, 1] > 0 and np.allclose(intrinsics[2], (0, 0, 1))):
        raise MalformedMessage("bad_camera_info", f"K = {intrinsics.tolist()} is not a camera matrix; calibrate the camera")
    if width <= 0 or height <= 0:
        raise MalformedMessage("bad_camera_info", f"size {width} x {height} must be positive")
    name = message.distortion_model.lower()
    name = ALIASES.get(name, name)
    if name not in COEFFICIENTS:
        raise MalformedMessage("bad_camera_info", f"distortion model {name!r} is unknown; known are {', '.join(COEFFICIENTS)}")
    distortion = np.array(message.d, np.float64).reshape(-1)
    if not np.isfinite(distortion).all() or (distortion.any() and distortion.size not in COEFFICIENTS[name]):
        raise MalformedMessage("bad_camera_info", f"{name} takes {COEFFICIENTS[name]} finite coefficients, got {distortion.tolist()}")
    if distortion[12:].any():
        raise MalformedMessage(
            "bad_camera_info", f"tilted sensors (tau = {distortion[12:].tolist()}) are not supported; rectify the image first"
        )
    # Fisheye bends rays even with all coefficients zero; the others do not, and project faster without.
    if name != "equidistant" and not distortion.any():
        distortion = np.empty(0)
    return CameraModel(width, height, intrinsics, distortion, name)


def resized(model: CameraModel, width: int, height: int) -> CameraModel:
    """The model of the same view at another image size. Raises MalformedMessage("bad_camera_info") where the aspect differs by > 2 %."""
    if (width, height) == (model.width, model.height):
        return model
    scale_x, scale_y = width / model.width, height / model.height
    if abs(scale_x / scale_y - 1) > 0.02:
        raise MalformedMessage("bad_camera_info", f"calibrated for {model.width} x {model.height}, image is {width} x {height}")
    # Pixel centres lie at whole numbers: the corner (-0.5, -0.5) is what scales.
    intrinsics = model.intrinsics.copy()
    intrinsics[0] *= scale_x
    intrinsics[1] *= scale_y
    intrinsics[:2, 2] += (0.5 * scale_x - 0.5, 0.5 * scale_y - 0.5)
    return dataclasses.replace(model, width=width, height=height, intrinsics=intrinsics)


def project(points_camera_m: FloatArray, model: CameraModel) -> tuple[FloatArray, NDArray[np.bool_]]:
    """Pixels (N, 2) of points (N, 3) in the camera's optical frame, and which of them are in view (N,).

    Points out of view have meaningless pixels. Pixel centres lie at whole numbers.
    """
    points = np.asarray(points_camera_m, np.float64)
    depth = points[:, 2]
    ahead = depth > MIN_DEPTH_M
    safe = np.where(ahead, depth, 1.0)
    x: FloatArray = points[:, 0] / safe
    y: FloatArray = points[:, 1] / safe
    if model.distortion_model == "equidistant":
        x, y = _equidistant(x, y, model.distortion)
        valid = ahead
    elif model.distortion.size:
        x, y, valid = _brown_conrady(x, y, model.distortion)
        valid &= ahead
    else:
        valid = ahead
    pixels = np.stack((x, y, np.ones_like(x)), axis=1) @ model.intrinsics[:2].T
    inside = (pixels >= -0.5).all(axis=1) & (pixels[:, 0] < model.width - 0.5) & (pixels[:, 1] < model.height - 0.5)
    return pixels, valid & inside


def _equidistant(x: FloatArray, y: FloatArray, distortion: FloatArray) -> tuple[FloatArray, FloatArray]:
    k1, k2, k3, k4 = distortion if distortion.size else np.zeros(4)
    radius = np.hypot(x, y)
    angle = np.arctan(radius)
    squared = angle * angle
    bent = angle * (1 + squared * (k1 + squared * (k2 + squared * (k3 + squared * k4))))
    scale = np.where(radius > 1e-9, bent / np.maximum(radius, 1e-9), 1.0)
    return x * scale, y * scale


def _brown_conrady(x: FloatArray, y: FloatArray, distortion: FloatArray) -> tuple[FloatArray, FloatArray, NDArray[np.bool_]]:
    """Distorted x, y and where the model still holds: beyond the radius at which it folds back, far points would land in the image."""
    k1, k2, p1, p2, k3, k4, k5, k6, s1, s2, s3, s4 = np.pad(distortion[:12], (0, max(12 - distortion.size, 0)))
    r2 = x * x + y * y
    numerator, denominator = 1 + r2 * (k1 + r2 * (k2 + r2 * k3)), 1 + r2 * (k4 + r2 * (k5 + r2 * k6))
    radial = numerator / np.where(np.abs(denominator) > 1e-9, denominator, 1e-9)
    distorted_x = x * radial + 2 * p1 * x * y + p2 * (r2 + 2 * x * x) + r2 * (s1 + s2 * r2)
    distorted_y = y * radial + p1 * (r2 + 2 * y * y) + 2 * p2 * x * y + r2 * (s3 + s4 * r2)
    return distorted_x, distorted_y, r2 < _one_to_one_radius(distortion.tobytes()) ** 2


@functools.lru_cache(maxsize=64)
def _one_to_one_radius(distortion: bytes) -> float:
    """Distance from the axis, at depth 1, up to which the radial distortion grows: what lies beyond would be seen twice."""
    k1, k2, _, _, k3, k4, k5, k6 = np.pad(np.frombuffer(distortion), (0, 8))[:8]
    radius = np.linspace(0, MAX_RADIUS, 2000)
    r2 = radius * radius
    denominator = 1 + r2 * (k4 + r2 * (k5 + r2 * k6))
    bent = radius * (1 + r2 * (k1 + r2 * (k2 + r2 * k3))) / np.where(np.abs(denominator) > 1e-9, denominator, 1e-9)
    falls = np.flatnonzero(np.diff(bent) <= 0)
    return float(radius[falls[0]]) if len(falls) else MAX_RADIUS
