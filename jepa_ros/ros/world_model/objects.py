"""People, cyclists and vehicles as messages: our own array, and that of vision_msgs where it is installed."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

import numpy as np
from geometry_msgs.msg import Point, Pose, Vector3

from jepa_ros.msg import ObjectForecast, ObjectForecastArray, ObjectMode
from jepa_ros.objects.scene.objects import CLASSES, SceneObject, objects_of
from jepa_ros.ros.conversions import Frames, likeliest, planar_pose_message
from jepa_ros.ros.stamps import header_message
from jepa_ros.types import SceneState


def objects_message(state: SceneState, forecasters: tuple[str, str], frames: Frames, top_modes: int = 6) -> ObjectForecastArray:
    """All tracked objects with their `top_modes` most probable futures. `forecasters`: names of those of people and of vehicles."""
    ground_m = float(state.anchor_pose[2, 3])
    return ObjectForecastArray(
        header=header_message(state.stamp_ns, frames.fixed),
        people_forecaster=forecasters[0],
        vehicle_forecaster=forecasters[1],
        objects=[_object(told, ground_m, top_modes) for told in objects_of(state)],
    )


def _object(told: SceneObject, ground_m: float, top_modes: int) -> ObjectForecast:
    person, cyclist, vehicle = told.chances
    return ObjectForecast(
        id=told.id,
        person_probability=person,
        cyclist_probability=cyclist,
        vehicle_probability=vehicle,
        existence_probability=told.existence,
        pose=box_pose(told, ground_m),
        size=box_size(told),
        velocity=Vector3(x=float(told.velocity_mps[0]), y=float(told.velocity_mps[1])),
        yaw_rate=told.yaw_rate_radps,
        times_s=told.times_s.tolist(),
        modes=[_mode(told, mode) for mode in likeliest(told.probabilities, top_modes)],
    )


def _mode(told: SceneObject, mode: int) -> ObjectMode:
    return ObjectMode(
        probability=float(told.probabilities[mode]),
        positions=[Point(x=x, y=y) for x, y in told.poses[mode, :, :2].astype(float).tolist()],
        yaws=told.poses[mode, :, 2].astype(float).tolist(),
        covariances=told.covariances_m2[mode].astype(float).ravel().tolist(),
    )


def box_pose(told: SceneObject, ground_m: float) -> Pose:
    """The middle of the box, which stands on the ground at that height of the fixed frame."""
    pose = planar_pose_message(*told.box[:3])
    pose.position.z = ground_m + 0.5 * told.height_m
    return pose


def box_size(told: SceneObject) -> Vector3:
    """Length, width and height."""
    return Vector3(x=float(told.box[3]), y=float(told.box[4]), z=told.height_m)


def detections_type() -> type | None:
    """vision_msgs/Detection3DArray; None where vision_msgs is not installed."""
    if find_spec("vision_msgs") is None:
        return None
    from vision_msgs.msg import Detection3DArray

    return Detection3DArray  # type: ignore[no-any-return]  # of a package that need not be there


def detections_message(state: SceneState, frames: Frames) -> Any:
    """vision_msgs/Detection3DArray: the boxes of now. Raises ModuleNotFoundError where vision_msgs is not installed."""
    from vision_msgs.msg import BoundingBox3D, Detection3D, Detection3DArray, ObjectHypothesis, ObjectHypothesisWithPose

    header, ground_m = header_message(state.stamp_ns, frames.fixed), float(state.anchor_pose[2, 3])
    found = Detection3DArray(header=header)
    for told in objects_of(state):
        box = BoundingBox3D(center=box_pose(told, ground_m), size=box_size(told))
        detection = Detection3D(header=header, bbox=box, id=str(told.id))
        for number in np.argsort(-np.array(told.chances)):
            if told.chances[number] > 0:
                hypothesis = ObjectHypothesis(class_id=CLASSES[number], score=told.existence * told.chances[number])
                result = ObjectHypothesisWithPose(hypothesis=hypothesis)
                result.pose.pose = box.center
                detection.results.append(result)
        found.detections.append(detection)
    return found
