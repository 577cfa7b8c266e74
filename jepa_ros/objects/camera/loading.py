"""From a name to a detector in images: the one that `make camera-detector` fetches, an ONNX file, or those of installed packages (entry
points `jepa_ros.camera_detectors`)."""

from __future__ import annotations

import logging
import os
from pathlib import Path

from jepa_ros.extensions import Registry
from jepa_ros.objects.camera.onnx_detector import OnnxDetector
from jepa_ros.objects.camera.vote import CameraConfig, CameraVote
from jepa_ros.protocols import Detector2D

log = logging.getLogger(__name__)


def fetched_detector() -> Path:
    """Where `make camera-detector` leaves its file: in the user's cache (XDG), never in the package."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "jepa_ros" / "camera" / "nanodet_g.onnx"


def load_camera_detector(name: str) -> Detector2D:
    """An .onnx file, or one of `CAMERA_DETECTORS` by name. Raises ValueError for an unknown one, listing the known ones."""
    if name.endswith(".onnx"):
        return OnnxDetector(name)
    if name not in CAMERA_DETECTORS:
        raise ValueError(f"unknown camera detector {name!r}; give an .onnx file, or one of: {', '.join(sorted(CAMERA_DETECTORS))}")
    detector: Detector2D = CAMERA_DETECTORS[name]()
    return detector


def load_vote(config: CameraConfig, min_score: float, others: bool = False) -> CameraVote:
    """One that changes nothing where nobody votes. `others`: other detectors do.

    `min_score`: of the lidar, below which only a camera makes somebody of a candidate.
    """
    if config.detector:
        log.info("cameras vote on people: %s, %g looks per second; what that is worth: docs/camera.md", config.detector, config.rate_hz)
        return CameraVote(load_camera_detector(config.detector), config.rate_hz, min_score)
    if not others and fetched_detector().is_file():
        log.info("cameras do not vote on people, though a detector was fetched: set pipeline.camera.detector to 'nanodet'")
    return CameraVote(None, config.rate_hz, min_score, others)


def _nanodet() -> Detector2D:
    return OnnxDetector(fetched_detector())


# Each is loader() -> Detector2D.
CAMERA_DETECTORS = Registry("jepa_ros.camera_detectors", {"nanodet": _nanodet})
