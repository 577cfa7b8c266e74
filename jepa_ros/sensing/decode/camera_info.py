"""sensor_msgs/CameraInfo -> CameraModel of the images that come with it: raw, rectified, cropped or binned.

Meaning of the fields: the comments of sensor_msgs/CameraInfo. Distortion: OpenCV's two models, distinguished by name; of its pinhole model
the number of coefficients says the rest.
"""

from __future__ import annotations

import dataclasses
import re
from dataclasses import dataclass
from typing import Any

import numpy as np

from jepa_ros.sensing.decode.errors import MalformedMessage
from jepa_ros.sensing.decode.lens import opencv, project
from jepa_ros.types import CameraModel, FloatArray

__all__ = ["Calibration", "calibration", "camera_model", "is_rectified", "project", "resized"]

PINHOLE_COUNTS = (4, 5, 8, 12, 14)  # of OpenCV's pinhole model: Brown-Conrady, k3, rational, thin prism, tilt
FISHEYE_COUNT = 4
# Names, in small letters and digits only, that drivers and calibrators write.
PINHOLE = {
    "", "plumbbob", "rationalpolynomial", "radtan", "radialtangential", "brownconrady", "brown", "pinhole", "perspective", "opencv",
    "fullopencv", "standard", "thinprism", "rationalthinprism", "rationalpolynomialthinprism", "tilted", "tiltedmodel", "none",
    "nodistortion", "undistorted", "rectified", "ideal",
}  # fmt: skip
FISHEYE = {
    "equidistant", "equi", "equidist", "fisheye", "opencvfisheye", "kannalabrandt", "kannalabrandt4", "kannalabrandt8", "kb", "kb4", "kb8",
}  # fmt: skip
RECTIFIED = re.compile(r"(?:^|[/_])rect(?:ified)?(?:$|[/_])|(?:^|[/_])undistorted(?:$|[/_])")
SAME_ASPECT = 0.02


@dataclass(frozen=True)
class Calibration:
    """What a CameraInfo says, before the size of an image tells which part of it holds."""

    full: CameraModel  # of the whole sensor at full resolution
    region: tuple[int, int, int, int] | None  # x, y, width, height of the part that is read out, in pixels of `full`
    binning: tuple[int, int]
    optical_from_image: FloatArray  # (3, 3) rotation: how rectification has turned the view; the identity for raw images

    def for_image(self, width: int, height: int) -> CameraModel:
        """The model of an image of this size. Raises MalformedMessage("other_image_size") where no reading of the CameraInfo gives it."""
        full, region = self.full, self.region
        part = full if region is None else cropped(full, region)
        binned = (part.width // self.binning[0], part.height // self.binning[1])
        if (width, height) == binned:
            return scaled(part, width, height, 1 / self.binning[0], 1 / self.binning[1])
        if (width, height) == (full.width, full.height):
            return full  # neither has been done to this image
        for model in (part, full):
            if _same_aspect(model, width, height):
                return scaled(model, width, height, width / model.width, height / model.height)
        shown = f", of which {part.width} x {part.height} are read out" if region else ""
        raise MalformedMessage(
            "other_image_size",
            f"calibrated for {full.width} x {full.height}{shown}, image is {width} x {height}: a crop needs its roi in the CameraInfo",
        )


def is_rectified(topic: str) -> bool:
    """Whether the name of an image topic says that lens distortion has been taken out (image_proc: image_rect, image_rect_color)."""
    return RECTIFIED.search(topic.lower()) is not None


def camera_model(message: Any) -> CameraModel:
    """Intrinsics of the raw images of a sensor_msgs/CameraInfo. Raises MalformedMessage("bad_camera_info") like `calibration`."""
    known = calibration(message)
    part = known.full if known.region is None else cropped(known.full, known.region)
    return known.for_image(part.width // known.binning[0], part.height // known.binning[1])


def calibration(message: Any, rectified: bool = False) -> Calibration:
    """A sensor_msgs/CameraInfo, read; with `rectified` for images without distortion: P holds, and D does not.

    Raises MalformedMessage: "bad_camera_info" where K, P or D make no camera, "no_decoder" where a lens needs OpenCV, which is absent.
    """
    width, height = int(message.width), int(message.height)
    if width <= 0 or height <= 0:
        raise MalformedMessage("bad_camera_info", f"size {width} x {height} must be positive")
    projection: FloatArray = np.array(message.p, np.float64).reshape(-1)
    intrinsics: FloatArray
    distortion: FloatArray
    lens, distortion = "plumb_bob", np.empty(0)
    if rectified and _is_camera(projection[[0, 1, 2, 4, 5, 6, 8, 9, 10]] if projection.size == 12 else projection):
        # P's last column is the second camera's offset in the first one's frame; the frame of a message is its own camera's.
        intrinsics = projection.reshape(3, 4)[:, :3]
    else:
        intrinsics = _camera_matrix(message.k)
        if not rectified:
            lens, distortion = _lens(message)
    turned = np.array(message.r, np.float64).reshape(-1)
    model = CameraModel(width, height, intrinsics.copy(), distortion, lens)
    return Calibration(model, _region(message.roi, width, height), _binning(message), _rotation(turned).T if rectified else np.eye(3))


def resized(model: CameraModel, width: int, height: int) -> CameraModel:
    """The model of the same view at another image size. Raises MalformedMessage("other_image_size") where the aspect differs by > 2 %."""
    return Calibration(model, None, (1, 1), np.eye(3)).for_image(width, height)


def cropped(model: CameraModel, region: tuple[int, int, int, int]) -> CameraModel:
    """The model of a part of the image: the same rays, counted from another corner."""
    x, y, width, height = region
    intrinsics = model.intrinsics.copy()
    intrinsics[:2, 2] -= (x, y)
    return dataclasses.replace(model, width=width, height=height, intrinsics=intrinsics)


def scaled(model: CameraModel, width: int, height: int, scale_x: float, scale_y: float) -> CameraModel:
    """The model of the same view with another number of pixels."""
    if (width, height, scale_x, scale_y) == (model.width, model.height, 1.0, 1.0):
        return model
    # Pixel centres lie at whole numbers: the corner (-0.5, -0.5) is what scales.
    intrinsics = model.intrinsics.copy()
    intrinsics[0] *= scale_x
    intrinsics[1] *= scale_y
    intrinsics[:2, 2] += (0.5 * scale_x - 0.5, 0.5 * scale_y - 0.5)
    return dataclasses.replace(model, width=width, height=height, intrinsics=intrinsics)


def _same_aspect(model: CameraModel, width: int, height: int) -> bool:
    return abs(width * model.height / (height * model.width) - 1) <= SAME_ASPECT


def _is_camera(values: FloatArray) -> bool:
    """Whether nine numbers are a camera matrix."""
    if values.size != 9 or not np.isfinite(values).all():
        return False
    matrix = values.reshape(3, 3)
    return bool(matrix[0, 0] > 0 and matrix[1, 1] > 0 and np.allclose(matrix[2], (0, 0, 1)))


def _camera_matrix(values: Any) -> FloatArray:
    intrinsics: FloatArray = np.array(values, np.float64).reshape(-1)
    if not _is_camera(intrinsics):
        raise MalformedMessage("bad_camera_info", f"K = {intrinsics.tolist()} is not a camera matrix; calibrate the camera")
    return intrinsics.reshape(3, 3)


def _lens(message: Any) -> tuple[str, FloatArray]:
    """Model and coefficients, as OpenCV takes them."""
    name = re.sub("[^a-z0-9]", "", message.distortion_model.lower())
    distortion = np.array(message.d, np.float64).reshape(-1)
    if name not in PINHOLE | FISHEYE:
        raise MalformedMessage(
            "bad_camera_info",
            f"distortion model {message.distortion_model!r} is unknown; plumb_bob, rational_polynomial and equidistant are known, under "
            "many names: calibrate with one of these, or rectify the images (image_proc)",
        )
    filled = np.trim_zeros(distortion, "b")
    fits = filled.size <= FISHEYE_COUNT if name in FISHEYE else filled.size <= PINHOLE_COUNTS[-1]
    # A lone k1 is what no calibrator writes; of OpenCV's models the shortest has four coefficients.
    if not (np.isfinite(distortion).all() and fits and (not filled.size or distortion.size >= FISHEYE_COUNT)):
        counts = (FISHEYE_COUNT,) if name in FISHEYE else PINHOLE_COUNTS
        raise MalformedMessage(
            "bad_camera_info", f"{message.distortion_model or 'plumb_bob'} takes {counts} finite coefficients, got {distortion.tolist()}"
        )
    if name in FISHEYE:
        # It bends rays even with all coefficients zero; the others do not, and project faster without.
        lens, distortion = "equidistant", np.pad(filled, (0, FISHEYE_COUNT - filled.size))
    else:
        count = next(count for count in PINHOLE_COUNTS if filled.size <= count)
        lens = "plumb_bob" if count <= 5 else "rational_polynomial"
        distortion = np.pad(filled, (0, count - filled.size)) if filled.size else np.empty(0)
    if distortion.size and opencv() is None:
        raise MalformedMessage("no_decoder", f"{lens} needs OpenCV: pip install opencv-python-headless, or use rectified images")
    return lens, distortion


def _region(roi: Any, width: int, height: int) -> tuple[int, int, int, int] | None:
    """The part of the sensor that is read out; None = all of it. One that does not fit is no region of this calibration."""
    x, y = int(roi.x_offset), int(roi.y_offset)
    # Zero means "to the far edge", and that is what some drivers write beside an offset.
    region = (x, y, int(roi.width) or width - x, int(roi.height) or height - y)
    fits = x >= 0 and y >= 0 and region[2] > 0 and region[3] > 0 and x + region[2] <= width and y + region[3] <= height
    return region if fits and region != (0, 0, width, height) else None


def _binning(message: Any) -> tuple[int, int]:
    return max(int(message.binning_x), 1), max(int(message.binning_y), 1)


def _rotation(values: FloatArray) -> FloatArray:
    """R of a stereo camera; zeros, or what is no rotation, mean none."""
    if values.size != 9 or not np.isfinite(values).all():
        return np.eye(3)
    matrix = values.reshape(3, 3)
    return matrix if np.allclose(matrix @ matrix.T, np.eye(3), atol=1e-3) and np.linalg.det(matrix) > 0 else np.eye(3)
