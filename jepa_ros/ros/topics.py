"""Which of the topics on a graph are the sensors: found by type, so that any robot's and any bag's names will do."""

from __future__ import annotations

from collections.abc import Mapping

from jepa_ros.sensing import camera_info_topic
from jepa_ros.sensing.bag import CLOUD, COMPRESSED, IMAGE, INFO, ODOMETRY, TF

KINDS = {IMAGE: "camera", COMPRESSED: "camera", INFO: "camera_info", CLOUD: "lidar", ODOMETRY: "odometry", TF: "transforms"}
NOT_A_PICTURE = ("depth", "disparity", "mask", "label", "confidence")  # images whose pixels are not colours


def find_one(kind: str, graph: Mapping[str, str]) -> str | None:
    """The topic of a type with the shortest name: the plain one (/lidar/points) rather than one made from it (/lidar/points/filtered)."""
    return min((topic for topic, its_kind in graph.items() if its_kind == kind), key=lambda topic: (len(topic), topic), default=None)


def find_images(graph: Mapping[str, str]) -> dict[str, str]:
    """Image topic -> CameraInfo topic of every calibrated colour camera; the raw one where there are both raw and compressed images."""
    chosen: dict[str, str] = {}
    for topic in sorted(graph, key=lambda topic: (graph[topic] != IMAGE, topic)):
        if graph[topic] not in (IMAGE, COMPRESSED) or any(word in topic.lower() for word in NOT_A_PICTURE):
            continue
        calibration = find_calibration(topic, graph)
        if calibration is not None:
            chosen.setdefault(calibration, topic)
    return {image: calibration for calibration, image in chosen.items()}


def find_calibration(image: str, graph: Mapping[str, str]) -> str | None:
    """The CameraInfo topic that belongs to an image topic; None where the graph has none."""
    return camera_info_topic(image, [topic for topic, kind in graph.items() if kind == INFO])
