"""Messages of other detectors as values: hand-made stand-ins where their packages are absent, since only fields are read."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace as Message

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="needs ROS 2: run `make build`, then tests through scripts/env.sh")
pytest.importorskip("jepa_ros.msg", reason="needs the built interfaces: run `make build`, then tests through scripts/env.sh")

from builtin_interfaces.msg import Time
from geometry_msgs.msg import Point, Pose, Quaternion, Vector3
from rclpy.serialization import serialize_message

from jepa_ros.movers import Kind
from jepa_ros.objects.camera.classes import kind_of
from jepa_ros.objects.camera.vote import CameraConfig
from jepa_ros.pipeline import PipelineConfig
from jepa_ros.ros.detections.inputs import Detections, DetectionsConfig, check_types
from jepa_ros.ros.detections.reading import boxes_3d, detected_objects, image_boxes
from jepa_ros.ros.stamps import header_message
from jepa_ros.ros.world_model.session import WorldModelConfig, wants_images
from jepa_ros.sensing.frames.transforms import TransformError
from jepa_ros.types import CameraImage, CameraModel, EgoState, Observation

HEADER = Message(stamp=Time(sec=5, nanosec=7), frame_id="/lidar")


def result(name: str, score: float) -> Message:
    return Message(hypothesis=Message(class_id=name, score=score))


def box_2d(x: float, y: float, width: float, height: float, *results: Message) -> Message:
    centre = Message(position=Message(x=x, y=y), theta=0.0)
    return Message(results=list(results), bbox=Message(center=centre, size_x=width, size_y=height))


def pose(x: float, y: float, yaw: float) -> Pose:
    turn = Quaternion(z=math.sin(yaw / 2), w=math.cos(yaw / 2))
    return Pose(position=Point(x=x, y=y), orientation=turn)


def test_boxes_in_pixels_come_with_their_likeliest_class() -> None:
    message = Message(
        header=HEADER,
        detections=[
            box_2d(100.0, 50.0, 20.0, 40.0, result("car", 0.2), result("person", 0.7)),
            box_2d(200.0, 60.0, 50.0, 30.0, result("2", 0.9)),
            box_2d(300.0, 60.0, 5.0, 30.0, result("traffic light", 0.9)),
            box_2d(math.nan, 60.0, 5.0, 30.0, result("person", 0.9)),
            box_2d(10.0, 60.0, -5.0, 30.0, result("person", 0.9)),
            box_2d(10.0, 60.0, 5.0, 30.0),
        ],
    )
    boxes = image_boxes(message, "/front/image_raw", kind_of)
    assert (boxes.stamp_ns, boxes.camera, len(boxes.regions_px)) == (5_000_000_007, "/front/image_raw", 0)
    assert boxes.kinds.tolist() == [Kind.PERSON, Kind.VEHICLE]
    np.testing.assert_allclose(boxes.boxes_px, [[90, 30, 110, 70], [175, 45, 225, 75]])
    assert boxes.scores.tolist() == [0.7, 0.9]
    assert len(image_boxes(Message(header=HEADER, detections=[]), "", kind_of).scores) == 0


def test_boxes_in_space_are_placed_by_their_frame() -> None:
    person = Message(results=[result("Pedestrian", 0.6)], bbox=Message(center=pose(4.0, 1.0, 0.0), size=Vector3(x=0.5, y=0.6, z=1.8)))
    flat = Message(results=[result("vehicle.car", 0.0)], bbox=Message(center=Pose(position=Point(x=9.0)), size=Vector3(x=4.0, y=1.8)))
    flat.bbox.center.orientation.w = 0.0  # never set
    found = boxes_3d(Message(header=HEADER, detections=[person, flat]), kind_of)
    assert (found.frame, found.kinds) == ("lidar", [Kind.PERSON, Kind.VEHICLE])
    assert found.scores.tolist() == [0.6, 0.5]
    quarter = np.array([[0, -1.0, 0, 10], [1, 0, 0, 20], [0, 0, 1, 0], [0, 0, 0, 1]])
    seen = found.placed(quarter)
    np.testing.assert_allclose(seen.boxes[0], [9.0, 24.0, math.pi, 0.6, 0.5], atol=1e-9)  # its longer side lies along y
    np.testing.assert_allclose(seen.boxes[1], [10.0, 29.0, math.pi / 2, 4.0, 1.8], atol=1e-9)
    assert seen.heights_m.tolist() == [1.8, 1.6]


def test_a_car_in_an_optical_frame_lies_on_its_wheels() -> None:
    """x right, y down, z ahead: width, height, length."""
    size = Vector3(x=1.8, y=1.5, z=4.5)
    car = Message(results=[result("car", 0.6)], bbox=Message(center=Pose(position=Point(z=12.0)), size=size))
    optical = np.array([[0, 0, 1.0, 0], [-1, 0, 0, 0], [0, -1, 0, 1.5], [0, 0, 0, 1]])
    seen = boxes_3d(Message(header=HEADER, detections=[car]), kind_of).placed(optical)
    np.testing.assert_allclose(seen.boxes, [[12.0, 0.0, 0.0, 4.5, 1.8]], atol=1e-9)
    assert seen.heights_m.tolist() == [1.5]


def test_a_score_that_is_no_number_is_left_out_and_one_never_set_is_the_usual() -> None:
    boxes = [box_2d(100.0, 50.0, 20.0, 40.0, *results) for results in (
        [result("person", math.nan)], [result("car", math.nan), result("person", 0.7)], [result("person", 0.0)],
    )]  # fmt: skip
    assert image_boxes(Message(header=HEADER, detections=boxes), "", kind_of).scores.tolist() == [0.7, 0.5]


def test_objects_of_autoware_without_its_package() -> None:
    def one(label: int, chance: float) -> Message:
        kinematics = Message(pose_with_covariance=Message(pose=pose(3.0, 0.0, 0.0)))
        shape = Message(dimensions=Vector3(x=1.0, y=1.0, z=1.7))
        return Message(
            existence_probability=chance, classification=[Message(label=label, probability=1.0)], kinematics=kinematics, shape=shape
        )

    found = detected_objects(
        Message(header=HEADER, objects=[one(7, 0.8), one(1, 0.7), one(6, 0.6), one(0, 0.9), one(99, 0.9), one(7, 0.0)])
    )
    assert found.kinds == [Kind.PERSON, Kind.VEHICLE, Kind.RIDER, Kind.PERSON]
    assert found.scores.tolist() == [0.8, 0.7, 0.6, 0.5]  # the last never filled


def test_a_topic_whose_type_is_missing_is_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jepa_ros.ros.detections.inputs.find_spec", lambda name: None)
    check_types(DetectionsConfig())
    with pytest.raises(ValueError, match=r"detections.topic_2d = '/yolo/detections': vision_msgs is not installed"):
        check_types(DetectionsConfig(topic_2d="/yolo/detections"))
    with pytest.raises(ValueError, match="write NAME=KIND"):
        DetectionsConfig(classes="forklift")


class StillHub:
    """A robot that stands, or drives on, and sees nothing itself."""

    epoch, last_timings_ms, odom_frame = 0, {}, "odom"

    def __init__(self, *cameras: str) -> None:
        self.now_ns, self.x_m, self.cameras = 10_000_000_000, 3.0, cameras or ("front",)

    def take(self) -> Observation:
        there = np.eye(4)
        there[0, 3] = self.x_m
        model = CameraModel(4, 4, np.eye(3), np.zeros(0))
        images = tuple(CameraImage(self.now_ns, name, np.zeros((4, 4, 3), np.uint8), model, np.eye(4)) for name in self.cameras)
        return Observation(self.now_ns, EgoState(self.now_ns, there, np.zeros(2)), None, images)

    def base_from(self, frame: str, stamp_ns: int) -> np.ndarray:
        if frame != "lidar":
            raise TransformError(f"no transform from {frame!r}")
        raised = np.eye(4)
        raised[2, 3] = 1.5
        return raised


class QuietNode:
    """As much of a node as subscriptions need, without DDS."""

    def __init__(self) -> None:
        self.callbacks: dict[str, Callable[[bytes], None]] = {}
        self.said: list[str] = []

    def resolve_topic_name(self, name: str) -> str:
        return f"/{name.lstrip('/')}"

    def create_subscription(self, kind: type, topic: str, callback: Callable[[bytes], None], *rest: object, **more: object) -> str:
        self.callbacks[topic] = callback
        return topic

    def destroy_subscription(self, subscription: str) -> None:
        del self.callbacks[subscription]

    def get_logger(self) -> QuietNode:
        return self

    def warning(self, text: str, **more: object) -> None:
        self.said.append(text)


@pytest.fixture
def plain_messages(monkeypatch: pytest.MonkeyPatch) -> None:
    """Subscriptions that take stand-ins as they are, without the packages of their types."""
    monkeypatch.setattr("jepa_ros.ros.detections.inputs.message_class", lambda name: object)
    monkeypatch.setattr("jepa_ros.ros.detections.inputs.deserialize_message", lambda data, kind: data)


def person_in_image(stamp_ns: int) -> Message:
    return Message(header=header_message(stamp_ns, "front"), detections=[box_2d(10.0, 60.0, 5.0, 30.0, result("person", 0.8))])


@pytest.mark.usefixtures("plain_messages")
@pytest.mark.parametrize(
    ("named", "cameras", "used", "warning"),
    [
        ("", ("/cam/image_raw",), "/cam/image_raw", None),
        ("/cam/image_raw", ("/cam/image_raw/compressed", "/back/image_raw"), "/cam/image_raw/compressed", None),
        ("/cam/image_raw/compressed", ("/cam/image_raw",), "/cam/image_raw", None),
        ("", ("/a/image_raw", "/b/image_raw"), None, "detections.camera: it must be set.*one of: /a/image_raw, /b/image_raw"),
        ("/front", ("/a/image_raw",), None, "detections.camera: '/front' is none of the cameras.*one of: /a/image_raw"),
    ],
)
def test_boxes_belong_to_the_camera_that_is_named(named: str, cameras: tuple[str, ...], used: str | None, warning: str | None) -> None:
    hub, node = StillHub(*cameras), QuietNode()
    detections = Detections(node, DetectionsConfig(topic_2d="/yolo", camera=named), hub)
    told = []
    for _ in range(20):
        hub.now_ns += 100_000_000
        node.callbacks["/yolo"](person_in_image(hub.now_ns))
        told += [boxes.camera for boxes in detections.take().detected]
    assert told == ([used] * 20 if used else [])
    assert len(node.said) == bool(warning)
    if warning:
        assert re.search(warning, node.said[0])


@pytest.mark.usefixtures("plain_messages")
def test_after_a_jump_in_time_nothing_from_before_is_used() -> None:
    hub, node = StillHub(), QuietNode()
    detections = Detections(node, DetectionsConfig(topic_2d="/yolo", topic_3d="/boxes"), hub)
    detections.take()
    node.callbacks["/yolo"](person_in_image(hub.now_ns + 500_000_000))  # waits for its sweep
    hub.now_ns, hub.epoch, hub.x_m = hub.now_ns + 480_000_000, 1, 50.0
    assert detections.take().detected == ()
    person = Message(results=[result("person", 0.6)], bbox=Message(center=pose(4.0, 1.0, 0.0), size=Vector3(x=0.5, y=0.6, z=1.8)))
    node.callbacks["/boxes"](Message(header=header_message(hub.now_ns - 450_000_000, "lidar"), detections=[person]))
    (seen,) = detections.take().detected
    assert seen.boxes[0, 0] == pytest.approx(54.0)  # from where the robot is in this epoch


def test_images_are_wanted_where_cameras_vote_on_what_a_lidar_model_sees() -> None:
    lidar_only, config = Message(inputs=("lidar",)), WorldModelConfig()
    assert not wants_images(config, lidar_only)
    assert wants_images(config, Message(inputs=("lidar", "camera")))
    assert wants_images(replace(config, detections=DetectionsConfig(topic_2d="/yolo")), lidar_only)
    assert not wants_images(replace(config, detections=DetectionsConfig(topic_3d="/boxes")), lidar_only)
    assert wants_images(replace(config, pipeline=PipelineConfig(camera=CameraConfig(detector="nanodet"))), lidar_only)


def test_what_is_new_comes_with_the_next_observation_and_bad_messages_cost_only_themselves() -> None:
    vision = pytest.importorskip("vision_msgs.msg", reason="vision_msgs is not installed")
    hub, node = StillHub(), QuietNode()
    detections = Detections(node, DetectionsConfig(topic_2d="/yolo", topic_3d="/boxes", camera="front"), hub)

    def message(kind: type, seconds: float, frame: str, name: str) -> bytes:
        header = header_message(round(seconds * 1e9), frame)
        guess = vision.ObjectHypothesisWithPose(hypothesis=vision.ObjectHypothesis(class_id=name, score=0.8))
        if kind is vision.Detection3DArray:
            box = vision.BoundingBox3D(center=pose(4.0, 1.0, 0.0), size=Vector3(x=0.5, y=0.5, z=1.7))
            return serialize_message(kind(header=header, detections=[vision.Detection3D(bbox=box, results=[guess])]))
        box = vision.BoundingBox2D(size_x=2.0, size_y=3.0)
        return serialize_message(kind(header=header, detections=[vision.Detection2D(bbox=box, results=[guess])]))

    assert detections.take().detected == ()
    node.callbacks["/boxes"](message(vision.Detection3DArray, 9.9, "lidar", "person"))
    node.callbacks["/yolo"](message(vision.Detection2DArray, 10.0, "front", "person"))
    node.callbacks["/yolo"](b"\x00\x01")  # no message at all
    image, boxes = detections.take().detected
    assert (image.camera, image.kinds.tolist()) == ("front", [Kind.PERSON])
    np.testing.assert_allclose(boxes.boxes[0, :2], [7.0, 1.0])  # the base is 3 m ahead of odom's origin
    assert detections.take().detected == ()  # each is told once
    assert any("/yolo: a message cannot be read" in text for text in node.said)

    node.callbacks["/boxes"](message(vision.Detection3DArray, 10.0, "nowhere", "person"))
    node.callbacks["/boxes"](message(vision.Detection3DArray, 9.0, "lidar", "person"))  # a second late
    for _ in range(3):
        node.callbacks["/boxes"](message(vision.Detection3DArray, 10.0, "lidar", "pallet_jack"))
    assert [len(told.scores) for told in detections.take().detected] == [0, 0, 0]
    assert len([text for text in node.said if "pallet_jack" in text]) == 1
    assert any("'nowhere'" in text for text in node.said)
    assert any("detections.max_age_s = 0.5" in text for text in node.said)

    node.callbacks["/boxes"](message(vision.Detection3DArray, 10.4, "lidar", "person"))  # of the sweep after the next
    assert detections.take().detected == ()
    hub.now_ns = 10_400_000_000
    assert len(detections.take().detected) == 1
    detections.close()
    assert node.callbacks == {}
