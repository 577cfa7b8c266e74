"""Our objects as Autoware's and back, and plans as its trajectories: its own conventions, without a running node."""

from __future__ import annotations

import math

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="needs ROS 2: run `make build`, then tests through scripts/env.sh")
pytest.importorskip("jepa_ros.msg", reason="needs the built interfaces: run `make build`, then tests through scripts/env.sh")

from geometry_msgs.msg import Point, Vector3
from planning_scenes import pose

from jepa_ros.msg import ObjectForecast, ObjectForecastArray, ObjectMode
from jepa_ros.ros import readers
from jepa_ros.ros.autoware import objects as autoware
from jepa_ros.ros.autoware.source import objects_source
from jepa_ros.ros.autoware.trajectory import trajectory_of
from jepa_ros.ros.conversions import path_message, planar_pose_message
from jepa_ros.types import Plan, PlanStatus

TIMES_S = 0.4 * np.arange(1, 13)


def needs(package: str) -> None:
    pytest.importorskip(package, reason=f"{package} is not installed (an Autoware workspace has it)")


def told(number: int, kind: int, place: tuple[float, float, float], velocity: tuple[float, float]) -> ObjectForecast:
    """One object with two ways: straight on, and standing."""
    one = ObjectForecast(id=number, existence_probability=0.9, pose=planar_pose_message(*place), size=Vector3(x=4.5, y=1.8, z=1.5))
    one.person_probability, one.cyclist_probability, one.vehicle_probability = np.eye(3)[kind].tolist()
    one.velocity, one.times_s, one.yaw_rate = Vector3(x=velocity[0], y=velocity[1]), TIMES_S.tolist(), 0.1
    for share, probability in ((1.0, 0.75), (0.0, 0.25)):
        positions = [Point(x=place[0] + share * t * velocity[0], y=place[1] + share * t * velocity[1]) for t in TIMES_S]
        covariances = np.tile(0.01 * np.eye(2).ravel(), len(TIMES_S)).tolist()
        one.modes.append(ObjectMode(probability=probability, positions=positions, yaws=[place[2]] * 12, covariances=covariances))
    return one


def array(*objects: ObjectForecast) -> ObjectForecastArray:
    message = ObjectForecastArray(objects=list(objects))
    message.header.frame_id = "odom"
    return message


NORTH = told(7, 2, (3.0, -2.0, math.pi / 2), (0.0, 5.0))  # a car that drives along y


def test_without_autoware_its_topic_is_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    assert objects_source("", "world_model") == (ObjectForecastArray, "world_model/objects")
    monkeypatch.setattr(autoware, "find_spec", lambda name: None)
    assert autoware.predicted_objects_type() is None
    with pytest.raises(ValueError, match=r"/perception/objects.*autoware_perception_msgs is not installed"):
        objects_source("/perception/objects", "world_model")


def test_twists_are_told_in_the_frame_of_the_object_and_paths_from_now_on() -> None:
    needs("autoware_perception_msgs")
    from autoware_perception_msgs.msg import ObjectClassification, Shape

    car, walker = autoware.predicted_objects_message(array(NORTH, told(8, 0, (1.0, 1.0, 0.0), (1.0, 0.0)))).objects
    twist = car.kinematics.initial_twist_with_covariance.twist
    assert (twist.linear.x, twist.linear.y, twist.angular.z) == pytest.approx((5.0, 0.0, 0.1))
    path = car.kinematics.predicted_paths[0]
    assert len(path.path) == 13
    assert (path.path[0].position.x, path.path[0].position.y) == (3.0, -2.0)
    assert path.path[-1].position.y == pytest.approx(-2.0 + 4.8 * 5.0)
    assert path.time_step.sec + 1e-9 * path.time_step.nanosec == pytest.approx(0.4)
    assert [way.confidence for way in car.kinematics.predicted_paths] == [0.75, 0.25]
    assert (car.classification[0].label, walker.classification[0].label) == (ObjectClassification.CAR, ObjectClassification.PEDESTRIAN)
    assert (car.shape.type, walker.shape.type) == (Shape.BOUNDING_BOX, Shape.CYLINDER)
    assert bytes(car.object_id.uuid) != bytes(walker.object_id.uuid)


def test_what_went_out_comes_back_in_another_frame() -> None:
    needs("autoware_perception_msgs")
    sent = autoware.predicted_objects_message(array(NORTH))
    sent.header.frame_id = "map"
    (car,) = autoware.forecasts_of(sent, pose(10.0, 20.0, -math.pi / 2), "odom").objects  # the map's y is our x
    assert car.id == 7
    assert (car.pose.position.x, car.pose.position.y) == pytest.approx((8.0, 17.0))
    assert (car.velocity.x, car.velocity.y) == pytest.approx((5.0, 0.0), abs=1e-6)
    assert car.vehicle_probability == 1.0
    assert car.modes[0].positions[-1].x == pytest.approx(8.0 + 4.8 * 5.0)
    assert car.modes[0].yaws[0] == pytest.approx(0.0, abs=1e-6)
    moving = readers.moving_objects_of(ObjectForecastArray(objects=[car]))
    assert moving.boxes is not None
    assert moving.boxes.vehicles.all()
    np.testing.assert_allclose(moving.forecast.most_likely()[0, -1], (32.0, 17.0), atol=1e-5)


def test_objects_without_paths_go_on_and_what_harms_nobody_is_left_out() -> None:
    needs("autoware_perception_msgs")
    from autoware_perception_msgs.msg import ObjectClassification

    sent = autoware.predicted_objects_message(array(NORTH, NORTH, NORTH))
    bare, leaf, slow = sent.objects
    bare.kinematics.predicted_paths.clear()
    bare.classification = [ObjectClassification(label=ObjectClassification.UNKNOWN, probability=1.0)]
    leaf.classification = [ObjectClassification(label=ObjectClassification.OVER_DRIVABLE, probability=1.0)]
    slow.kinematics.predicted_paths[0].path = slow.kinematics.predicted_paths[0].path[:3]
    slow.kinematics.predicted_paths[0].time_step.sec = 1
    slow.kinematics.predicted_paths[0].time_step.nanosec = 0
    onward, slower = autoware.forecasts_of(sent, np.eye(4), "odom").objects
    assert onward.vehicle_probability == 1.0, "the unknown steps aside for nobody"
    assert onward.modes[0].positions[-1].y == pytest.approx(-2.0 + 4.8 * 5.0)
    assert slower.modes[0].positions[0].y == pytest.approx(-2.0 + 0.4 * 2.0), "two metres in a second"
    assert slower.modes[0].positions[-1].y == pytest.approx(2.0), "held after its end"


def test_a_trajectory_tells_speeds_and_the_angle_of_the_wheels() -> None:
    needs("autoware_planning_msgs")
    commands = np.array([[1.0, 0.0], [2.0, 0.3], [2.0, 0.4], [1.0, 0.0]])
    path = np.column_stack((np.arange(5.0), np.zeros(5), np.zeros(5)))
    plan = Plan(PlanStatus.OK, "", path, commands, 0.5, 0.0, 0.0, 0.0)
    message = trajectory_of(path_message(plan, 2_000_000_000, "odom"), plan, 0.5, 2.7)
    points = message.points
    assert message.header.frame_id == "odom"
    assert [point.longitudinal_velocity_mps for point in points] == [0.5, 1.0, 2.0, 2.0, 1.0]
    assert [point.acceleration_mps2 for point in points] == pytest.approx([1.0, 2.0, 0.0, -2.0, 0.0])
    assert [point.time_from_start.sec + 1e-9 * point.time_from_start.nanosec for point in points] == pytest.approx([0, 0.5, 1, 1.5, 2])
    assert points[2].front_wheel_angle_rad == pytest.approx(math.atan(2.7 * 0.4 / 2.0))
    assert trajectory_of(path_message(plan, 0, "odom"), plan, 0.5, 0.0).points[2].front_wheel_angle_rad == 0.0
    assert trajectory_of(path_message(plan, 0, "odom"), None, 0.0, 2.7).points == []
