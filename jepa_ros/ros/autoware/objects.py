"""autoware_perception_msgs/PredictedObjects from our objects, and our objects from another stack's.

Autoware tells a twist in the frame of the object itself, and a path from the present on, at even steps.
"""

from __future__ import annotations

import math
from importlib.util import find_spec
from typing import Any

import numpy as np
from geometry_msgs.msg import Point, Pose, Vector3
from unique_identifier_msgs.msg import UUID

from jepa_ros.msg import ObjectForecast, ObjectForecastArray, ObjectMode
from jepa_ros.ros.conversions import planar_pose_message
from jepa_ros.ros.readers import matrix_of
from jepa_ros.types import NANOSECONDS, FloatArray

MISSING = "autoware_perception_msgs is not installed: source a workspace that has it, or leave the topic empty"
STEPS, STEP_S = 12, 0.4  # of paths that come in: those of our own forecasts
SPREAD_MPS = 0.2  # paths come without covariances; this is how the deviation of a place grows, as that of our own of vehicles does
TOP_PATHS = 6
PERSON, CYCLIST, VEHICLE = range(3)


def predicted_objects_type() -> type | None:
    """PredictedObjects; None where autoware_perception_msgs is not installed."""
    if find_spec("autoware_perception_msgs") is None:
        return None
    from autoware_perception_msgs.msg import PredictedObjects

    return PredictedObjects  # type: ignore[no-any-return]  # of a package that need not be there


def predicted_objects_message(objects: ObjectForecastArray) -> Any:
    """PredictedObjects of the same frame and stamp. Raises ModuleNotFoundError where autoware_perception_msgs is not installed."""
    from autoware_perception_msgs.msg import ObjectClassification, PredictedObject, PredictedObjects, PredictedPath, Shape

    labels = (ObjectClassification.PEDESTRIAN, ObjectClassification.BICYCLE, ObjectClassification.CAR)
    found = PredictedObjects(header=objects.header)
    for told in objects.objects:
        chances = (told.person_probability, told.cyclist_probability, told.vehicle_probability)
        one = PredictedObject(object_id=_uuid(told.id), existence_probability=told.existence_probability)
        one.classification = [
            ObjectClassification(label=labels[number], probability=chances[number])
            for number in np.argsort(-np.array(chances)).tolist()
            if chances[number] > 0.0
        ]
        motion, yaw = one.kinematics, _yaw(told.pose)
        motion.initial_pose_with_covariance.pose = told.pose
        along, across = _turned(told.velocity.x, told.velocity.y, -yaw)
        motion.initial_twist_with_covariance.twist.linear = Vector3(x=along, y=across)
        motion.initial_twist_with_covariance.twist.angular.z = told.yaw_rate
        for mode in told.modes[:TOP_PATHS]:
            ahead = [_at(place.x, place.y, angle, told.pose.position.z) for place, angle in zip(mode.positions, mode.yaws, strict=True)]
            path = PredictedPath(path=[told.pose, *ahead], confidence=min(mode.probability, 1.0))
            step_s = float(np.diff(told.times_s, prepend=0.0).mean()) if told.times_s else STEP_S
            path.time_step.sec, path.time_step.nanosec = divmod(round(step_s * NANOSECONDS), NANOSECONDS)
            motion.predicted_paths.append(path)
        round_ = int(np.argmax(chances)) == PERSON
        one.shape = Shape(type=Shape.CYLINDER if round_ else Shape.BOUNDING_BOX, dimensions=told.size)
        found.objects.append(one)
    return found


def forecasts_of(message: Any, fixed_from_frame: FloatArray, fixed_frame: str) -> ObjectForecastArray:
    """PredictedObjects as our own array. fixed_from_frame: (4, 4), of the message's frame in the fixed one.

    An object without a path keeps its velocity. What can be driven over or under is left out. Raises ValueError for an invalid pose.
    """
    array = ObjectForecastArray(header=message.header, people_forecaster="autoware", vehicle_forecaster="autoware")
    array.header.frame_id = fixed_frame
    array.objects = [told for one in message.objects if (told := _forecast(one, fixed_from_frame)) is not None]
    return array


def _forecast(one: Any, fixed_from_frame: FloatArray) -> ObjectForecast | None:
    chances = _chances(one.classification)
    if chances is None:
        return None
    motion, times_s = one.kinematics, STEP_S * np.arange(1, STEPS + 1)
    now = fixed_from_frame @ matrix_of(motion.initial_pose_with_covariance.pose)
    yaw = math.atan2(now[1, 0], now[0, 0])
    twist = motion.initial_twist_with_covariance.twist
    velocity = _turned(twist.linear.x, twist.linear.y, yaw)
    length, width, height = _size(one.shape)
    told = ObjectForecast(
        id=int.from_bytes(bytes(one.object_id.uuid)[:8], "big") >> 1,
        person_probability=chances[PERSON],
        cyclist_probability=chances[CYCLIST],
        vehicle_probability=chances[VEHICLE],
        existence_probability=float(np.clip(one.existence_probability, 0.0, 1.0)),
        pose=_at(now[0, 3], now[1, 3], yaw, now[2, 3]),
        size=Vector3(x=length, y=width, z=height),
        velocity=Vector3(x=velocity[0], y=velocity[1]),
        yaw_rate=twist.angular.z,
        times_s=times_s.tolist(),
    )
    variance_m2 = max(motion.initial_pose_with_covariance.covariance[0], motion.initial_pose_with_covariance.covariance[7], 0.0)
    covariances = ((variance_m2 + (SPREAD_MPS * times_s) ** 2)[:, None] * np.eye(2).ravel()).ravel().tolist()
    paths = [path for path in motion.predicted_paths if len(path.path) > 1] or [None]
    total = sum(max(path.confidence, 0.0) for path in paths if path is not None)
    for path in paths:
        if path is None:
            poses = np.column_stack((now[:2, 3] + times_s[:, None] * velocity, np.full(STEPS, yaw)))
        else:
            poses = _resampled(path, fixed_from_frame, times_s)
        share = path.confidence / total if path is not None and total > 0.0 else 1.0 / len(paths)
        positions = [Point(x=x, y=y) for x, y in poses[:, :2].tolist()]
        told.modes.append(ObjectMode(probability=share, positions=positions, yaws=poses[:, 2].tolist(), covariances=covariances))
    told.modes.sort(key=lambda mode: -mode.probability)
    return told


def _resampled(path: Any, fixed_from_frame: FloatArray, times_s: FloatArray) -> FloatArray:
    """(STEPS, 3) x m, y m, yaw rad; held after the end of the path."""
    matrices = [fixed_from_frame @ matrix_of(pose) for pose in path.path]
    poses = np.array([(m[0, 3], m[1, 3], math.atan2(m[1, 0], m[0, 0])) for m in matrices])
    poses[:, 2] = np.unwrap(poses[:, 2])
    step_s = path.time_step.sec + path.time_step.nanosec / NANOSECONDS
    if not step_s > 0.0:
        raise ValueError("a predicted path whose time_step is 0 s")
    known_s = step_s * np.arange(len(poses))
    return np.stack([np.interp(times_s, known_s, column) for column in poses.T], axis=-1)


def _chances(classification: Any) -> tuple[float, float, float] | None:
    """Of person, cyclist and vehicle; what is unknown is taken for one that does not step aside. None for what harms nobody."""
    from autoware_perception_msgs.msg import ObjectClassification as Label

    harmless = {getattr(Label, name) for name in ("OVER_DRIVABLE", "UNDER_DRIVABLE") if hasattr(Label, name)}
    kinds = {Label.PEDESTRIAN: PERSON, Label.BICYCLE: CYCLIST, Label.MOTORCYCLE: CYCLIST, getattr(Label, "ANIMAL", None): PERSON}
    likeliest = max(classification, key=lambda one: one.probability, default=None)
    if likeliest is not None and likeliest.label in harmless:
        return None
    chances = np.zeros(3)
    for one in classification:
        if one.label not in harmless:
            chances[kinds.get(one.label, VEHICLE)] += max(one.probability, 0.0)
    if chances.sum() <= 0.0:
        chances[VEHICLE] = 1.0
    person, cyclist, vehicle = (chances / chances.sum()).tolist()
    return person, cyclist, vehicle


def _size(shape: Any) -> tuple[float, float, float]:
    """Length, width and height; of a polygon, of the rectangle around it in the object's own frame."""
    size = shape.dimensions
    if shape.type == shape.POLYGON and shape.footprint.points:
        corners = np.array([(point.x, point.y) for point in shape.footprint.points])
        length, width = (2.0 * np.abs(corners).max(axis=0)).tolist()
        return length, width, size.z
    return size.x, size.y, size.z


def _uuid(number: int) -> UUID:
    return UUID(uuid=list(((number << 1) & (2**64 - 1)).to_bytes(8, "big") + bytes(8)))


def _at(x: float, y: float, yaw: float, z: float) -> Pose:
    pose = planar_pose_message(float(x), float(y), float(yaw))
    pose.position.z = float(z)
    return pose


def _yaw(pose: Pose) -> float:
    turn = matrix_of(pose)
    return math.atan2(turn[1, 0], turn[0, 0])


def _turned(x: float, y: float, angle: float) -> tuple[float, float]:
    return math.cos(angle) * x - math.sin(angle) * y, math.sin(angle) * x + math.cos(angle) * y
