"""Objects of all classes as messages and markers, without a running node."""

from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("rclpy")

from rclpy.serialization import deserialize_message, serialize_message
from test_ros_conversions import FRAMES, pose, scene

from jepa_ros.forecast.constant_turn_rate import ConstantTurnRate
from jepa_ros.movers import TrackedVehicles
from jepa_ros.objects.scene.objects import CLASSES, objects_of
from jepa_ros.objects.track_state import cycling
from jepa_ros.planning.scene import PlanningScene
from jepa_ros.ros import readers
from jepa_ros.ros.conversions import occupancy_message, pedestrians_message
from jepa_ros.ros.mcp.answers import Told, scene_at
from jepa_ros.ros.planner.pursue.goal_description import things_of
from jepa_ros.ros.world_model.markers import LARGEST_M, ellipse, marker_array
from jepa_ros.ros.world_model.objects import detections_message, detections_type, objects_message
from jepa_ros.types import SceneState

VAN = np.array([14.0, -3.0, 0.5, 5.2, 2.0])
SPEED_MPS, YAW_RATE = 6.0, 0.4


def street() -> SceneState:
    """Somebody who walks, somebody who rides, and a van that turns."""
    walking = scene(people=2)
    people = replace(walking.people, velocities_mps=np.array([[1.0, 0.5], [4.0, 3.0]]), riding=np.array([0.0, 0.9]))
    states = np.array([[*VAN[:3], SPEED_MPS, 0.0, YAW_RATE]])
    velocity = SPEED_MPS * np.array([[np.cos(VAN[2]), np.sin(VAN[2])]])
    vehicles = TrackedVehicles(
        np.array([1_000_001]), VAN[None], velocity, np.array([YAW_RATE]), np.array([0.9]), np.array([2.1]), states, 0.01 * np.eye(6)[None]
    )
    return replace(walking, people=people, vehicles=vehicles, vehicle_forecast=ConstantTurnRate().predict(vehicles))


def test_objects_of_all_classes_go_over_the_wire() -> None:
    state = street()
    sent = objects_message(state, ("learned", "constant_turn_rate"), FRAMES, top_modes=2)
    message = deserialize_message(serialize_message(sent), type(sent))
    walker, rider, van = message.objects
    assert (walker.person_probability, van.vehicle_probability) == (1.0, 1.0)
    assert rider.cyclist_probability > 0.8
    assert (rider.size.x, rider.size.y) == pytest.approx((1.8, 0.6))
    assert 2 * np.arctan2(rider.pose.orientation.z, rider.pose.orientation.w) == pytest.approx(np.arctan2(3.0, 4.0))
    assert [one.id for one in message.objects] == [*state.people.ids.tolist(), 1_000_001]
    assert (van.size.x, van.size.y, van.size.z) == pytest.approx((5.2, 2.0, 2.1))
    assert van.pose.position.z == pytest.approx(2.1 / 2)
    assert (van.velocity.x, van.velocity.y) == pytest.approx(tuple(state.vehicles.velocities_mps[0]))
    assert van.yaw_rate == pytest.approx(YAW_RATE)
    assert [len(one.modes) for one in message.objects] == [2, 2, 2]
    first = van.modes[0]
    assert len(first.positions) == len(first.yaws) == len(van.times_s) == len(first.covariances) // 4
    assert first.probability > van.modes[1].probability
    # It drives an arc to the left: the heading of each step is beside the way from the last one.
    assert first.yaws[-1] > first.yaws[0] > VAN[2]


def test_who_looks_like_a_rider_and_stands_is_a_person_with_a_bicycle() -> None:
    chance = cycling(np.array([0.2, 1.4, 5.0, 5.0]), np.array([0.9, 0.1, 0.9, 0.0]))
    assert chance[0] == 0.0
    assert chance[1] < 0.1
    assert chance[2] > 0.9
    assert chance[3] == 1.0  # nobody runs so fast


def test_markers_are_boxes_with_headings_and_no_ellipse_fills_the_picture() -> None:
    markers = marker_array(street(), FRAMES).markers
    boxes = [marker for marker in markers if marker.ns == "boxes"]
    assert [round(marker.scale.x, 2) for marker in boxes] == [1.8, 5.2]
    assert len([marker for marker in markers if marker.ns == "headings"]) == 2
    assert [marker.text for marker in markers if marker.ns == "ids"][-1] == "vehicle  6.0 m/s"
    assert ellipse(np.zeros(2), np.diag([400.0, 0.04]))[1].x == LARGEST_M
    assert ellipse(np.zeros(2), np.diag([400.0, 0.04]))[1].y == pytest.approx(0.4)


def test_boxes_of_the_standard_message_where_it_is_installed() -> None:
    if detections_type() is None:
        pytest.skip("vision_msgs is not installed (apt-get install ros-$ROS_DISTRO-vision-msgs)")
    found = detections_message(street(), FRAMES)
    assert [detection.results[0].hypothesis.class_id for detection in found.detections] == ["person", "cyclist", "vehicle"]


def test_everything_is_told_in_odom_whatever_the_anchor() -> None:
    state = street()
    other = replace(state, anchor_pose=pose(-1.0, 7.0, 8.0))
    for one, same in zip(objects_of(state), objects_of(other), strict=True):
        np.testing.assert_allclose(one.box, same.box)
        np.testing.assert_allclose(one.poses, same.poses)


def test_what_a_planner_reads_is_what_was_told() -> None:
    state = street()
    sent = objects_message(state, ("learned", "constant_turn_rate"), FRAMES, top_modes=20)
    message = deserialize_message(serialize_message(sent), type(sent))
    read, told = readers.moving_objects_of(message), PlanningScene.of(state).moving
    assert read.boxes is not None
    assert told.boxes is not None
    for one, other in ((read.positions_m, told.positions_m), (read.radii_m, told.radii_m), (read.existence, told.existence)):
        np.testing.assert_allclose(one, other, atol=1e-5)
    np.testing.assert_allclose(read.boxes.halves_m, told.boxes.halves_m, atol=1e-5)
    np.testing.assert_allclose(np.cos(read.boxes.yaws - told.boxes.yaws), 1.0, atol=1e-5)
    assert read.boxes.vehicles.tolist() == [False, False, True]
    for person in range(3):  # modes are sorted in messages
        ours = (read.forecast.probabilities[person, :, None, None] * read.forecast.modes_m[person]).sum(axis=0)
        theirs = (told.forecast.probabilities[person, :, None, None] * told.forecast.modes_m[person]).sum(axis=0)
        np.testing.assert_allclose(ours, theirs, atol=1e-4)
    assert [thing.name for thing in things_of(read)] == [f"{kind} {one.id}" for kind, one in zip(CLASSES, message.objects, strict=True)]
    vehicles, forecast = readers.vehicles_of(message)
    np.testing.assert_allclose(vehicles.boxes, state.vehicles.boxes, atol=1e-5)
    np.testing.assert_allclose(forecast.poses, state.vehicle_forecast.poses, atol=1e-5)


@pytest.mark.parametrize("fault", ["size", "yaws", "nan", "modes"])
def test_objects_that_cannot_be_are_refused(fault: str) -> None:
    message = objects_message(street(), ("a", "b"), FRAMES)
    van = message.objects[2]
    if fault == "size":
        van.size.y = 0.0
    elif fault == "yaws":
        van.modes[0].yaws = van.modes[0].yaws[:3]
    elif fault == "nan":
        van.yaw_rate = float("nan")
    else:
        van.modes = []
    with pytest.raises(ValueError, match="object 1000001"):
        readers.moving_objects_of(message)


@pytest.mark.parametrize("in_s", [0.0, 2.0])
def test_a_language_model_is_told_classes_and_places_relative_to_the_robot(in_s: float) -> None:
    state, x, y = street(), VAN[0], VAN[1]
    people, objects = pedestrians_message(state, "learned", FRAMES), objects_message(state, ("learned", "constant_turn_rate"), FRAMES)
    scene = scene_at(Told(occupancy_message(state, FRAMES), people, objects, 0.5), in_s)
    kinds = {person.id: person.kind for person in scene.people}
    assert [kinds[int(one)] for one in state.people.ids] == ["person", "cyclist"]
    (van,) = scene.vehicles
    assert (van.id, van.length_m, van.width_m, van.speed_mps) == (1_000_001, 5.2, 2.0, SPEED_MPS)
    if in_s:
        x, y = state.vehicle_forecast.poses[0, 0, int(np.abs(state.vehicle_forecast.times_s - in_s).argmin()), :2]
    ahead, left, *_ = np.linalg.inv(state.anchor_pose) @ [x, y, 0.0, 1.0]
    assert (van.ahead_m, van.left_m) == pytest.approx((ahead, left), abs=0.06)
    assert scene_at(Told(occupancy_message(state, FRAMES), None, None, None), in_s).vehicles == []
