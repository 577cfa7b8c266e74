"""From a name to a detector: our own, and those of installed packages (entry points `jepa_ros.detectors`)."""

from __future__ import annotations

from jepa_ros.extensions import Registry
from jepa_ros.objects.detection import DetectionConfig, PersonDetector
from jepa_ros.protocols import Detector

DEFAULT = "lidar_columns"


def load_detector(name: str = DEFAULT, config: DetectionConfig | None = None) -> Detector:
    """One of `DETECTORS` by name. Raises ValueError for an unknown one, listing the known ones."""
    if name not in DETECTORS:
        raise ValueError(f"unknown detector {name!r}; choose one of {', '.join(sorted(DETECTORS))}")
    detector: Detector = DETECTORS[name](config or DetectionConfig())
    return detector


# Each is loader(config: DetectionConfig) -> Detector.
DETECTORS = Registry("jepa_ros.detectors", {DEFAULT: PersonDetector})
