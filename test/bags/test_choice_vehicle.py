"""Whose motion an odometry tells, and what does not ride on the vehicle, is drawn, or shows nothing while the vehicle stands."""

import numpy as np
import pytest
import sensing_messages as messages
from scipy.spatial.transform import Rotation
from test_bag import write_bag
from test_choice import T, drive, judged, sweep
from test_choice import cloud as cloud_of

from jepa_ros.sensing import SensorHub, bag_info, open_bag
from jepa_ros.sensing.bag import choose_topics
from jepa_ros.sensing.frames.poses import invert, message_pose, pose_matrix, quaternion_of
from jepa_ros.sensing.topic_choice.evidence import OdometryEvidence
from jepa_ros.sensing.topic_choice.evidence_book import EvidenceBook
from jepa_ros.sensing.topic_choice.message_types import CLOUD, COMPRESSED, IMAGE, INFO, ODOMETRY, TF
from jepa_ros.sensing.topic_choice.rule import choose

OPTICAL = (-0.5, 0.5, -0.5, 0.5)
SENSORS = {
    "an optical frame": pose_matrix((0.3, 0.1, 0.7), OPTICAL),
    "an IMU turned to the left": pose_matrix((0.1, 0.0, 0.3), messages.yaw_quaternion(np.pi / 2)),
    "an IMU upside down": pose_matrix((0.1, 0.0, 0.3), (1.0, 0.0, 0.0, 0.0)),
}


def odometry_of(base_from_child, length=30, turn=0.5, tf=True, child="sensor"):
    """(stamp, Odometry) of a sensor on a vehicle that drives on a circle at 1 m/s; its twist is not filled."""
    made = []
    for k in range(length):
        t = 0.1 * k
        yaw = turn * t
        base = pose_matrix((np.sin(yaw) / turn, (1 - np.cos(yaw)) / turn, 0.0), messages.yaw_quaternion(yaw))
        pose = base @ base_from_child
        message = messages.odometry(T + t, child=child, q=tuple(quaternion_of(pose[:3, :3]).tolist()))
        message.pose.pose.position = messages.TYPES["Point"](*pose[:3, 3].tolist())
        made.append((T + t, message, base))
    return made


@pytest.mark.parametrize("name", SENSORS)
def test_odometry_of_a_sensor_that_lies_or_is_turned_is_brought_to_the_vehicle(name):
    mount = SENSORS[name]
    hub = SensorHub()
    edge = ("base_link", "sensor", tuple(mount[:3, 3]), tuple(quaternion_of(mount[:3, :3])))
    hub.put_transforms(messages.transforms((0.0, *edge), *messages.EXTRINSICS), static=True)
    told = odometry_of(mount)
    for _, message, _ in told:
        hub.put_odometry("/odom", message)
    stamp, _, base = told[-1]
    hub.put_cloud("/points", messages.cloud(stamp))
    ego = hub.take(patient=False).ego
    assert hub.base_frame == "base_link"
    np.testing.assert_allclose(ego.odom_from_base, base, atol=1e-6)
    np.testing.assert_allclose(ego.velocity_mps, [1.0, 0.0], atol=0.03)
    assert ego.yaw_rate_radps == pytest.approx(0.5, abs=0.02)
    book = EvidenceBook()
    book.look("/tf_static", TF, messages.transforms((0.0, *edge)), 0)
    for _, message, _ in told:
        book.look("/odom", ODOMETRY, message, 0)
    assert choose(book.scene).odometry == "/odom"


def test_a_frame_that_lies_and_that_tf_does_not_know_is_no_vehicle():
    book = EvidenceBook()
    hub = SensorHub()
    for _, message, _ in odometry_of(SENSORS["an optical frame"]):
        book.look("/odom", ODOMETRY, message, 0)
        hub.put_odometry("/odom", message)
    choice = choose(book.scene)
    assert choice.odometry is None
    (verdict,) = choice.verdicts
    assert "lies on its side" in verdict.why
    assert "base_link" in verdict.fix
    hub.put_cloud("/points", messages.cloud(T + 2.0, frame="base_link"))
    assert hub.take(patient=False) is None
    assert hub.status()["/odom"].malformed["tilted_frame"] == 30


def test_an_upright_sensor_that_looks_ahead_stands_for_the_vehicle_as_before():
    hub = SensorHub()
    hub.put_transforms(messages.transforms((0.0, "base_link", "body", (0.2, 0.0, 0.5), messages.UNIT)), static=True)
    hub.put_odometry("/odom", messages.odometry(T, child="body"))
    assert hub.base_frame == "body"


def camera_axes(length=40, turn=0.0):
    """Poses as visual odometry gives them: x to the right, z ahead, from the first camera's view."""
    made = []
    for _, message, _ in odometry_of(np.eye(4), length, turn or 1e-9):
        axes = pose_matrix((0.0, 0.0, 0.0), OPTICAL)
        pose = invert(axes) @ message_pose(message.pose.pose) @ axes
        message.pose.pose.orientation = messages.quaternion(tuple(quaternion_of(pose[:3, :3]).tolist()))
        message.pose.pose.position = messages.TYPES["Point"](*pose[:3, 3].tolist())
        made.append(("/vo", ODOMETRY, message))
    return made


@pytest.mark.parametrize("turn", [0.0, 0.5])
def test_poses_with_z_ahead_are_no_vehicles(turn):
    choice, why = judged(camera_axes(turn=turn), transforms=())
    assert choice.odometry is None
    assert "not move straight ahead" in why["/vo"]


def test_a_position_whose_tilt_trembles_has_no_heading_still():
    rng = np.random.default_rng(1)
    script = drive("/gps", turn=False, speed=1.0)
    for _, _, message in script:
        message.pose.pose.orientation = messages.quaternion(tuple(Rotation.from_euler("xy", rng.normal(0, 0.02, 2)).as_quat()))
        message.twist.twist.linear.x = 1.0
    choice, why = judged([*script, *drive("/odometry/filtered")])
    assert choice.odometry == "/odometry/filtered"
    assert "heading never changes" in why["/gps"]


def test_what_says_that_it_was_not_measured_comes_after_what_was():
    script = drive("/fix")
    for _, _, message in script:
        message.pose.covariance[0] = -1.0
    choice, why = judged([*script, *drive("/odometry/filtered")])
    assert choice.odometry == "/odometry/filtered"
    assert "not measured" in why["/fix"]


def picture(topic, stamp, frame, pixels):
    info = f"{topic.rsplit('/', 1)[0]}/camera_info"
    image = messages.image(stamp, pixels=pixels, frame=frame)
    return [(topic, IMAGE, image), (info, INFO, messages.camera_info(stamp, frame=frame))]


def noise(seed=0):
    return np.random.default_rng(seed).integers(0, 255, (24, 32, 3), dtype=np.uint8)


def test_cameras_that_do_not_ride_on_the_vehicle_are_left():
    script = [
        *picture("/front/image", T, "camera", noise()),
        *picture("/b/image", T, "robot2/camera", noise(1)),
        *picture("/wall/image", T, "cctv", noise(2)),
        *drive("/odom"),
    ]
    edges = (
        ("map", "odom", (0.0, 0.0, 0.0)), ("odom", "base_link", (0.0, 0.0, 0.0)), ("base_link", "camera", (0.0, 0.0, 1.0)),
        ("map", "robot2/base_link", (3.0, 0.0, 0.0)), ("robot2/base_link", "robot2/camera", (0.0, 0.0, 1.0)),
        ("map", "cctv", (9.0, 0.0, 4.0)),
    )  # fmt: skip
    choice, why = judged(script, edges)
    assert list(choice.cameras) == ["/front/image"]
    assert "does not move with the vehicle" in why["/b/image"]
    assert "does not move with the vehicle" in why["/wall/image"]


def test_masks_depths_and_painted_classes_are_no_pictures_compressed_or_not():
    cv2 = pytest.importorskip("cv2")

    def png(image):
        return cv2.imencode(".png", image)[1].tobytes()

    classes = np.zeros((24, 32), np.uint8)
    classes[5:9, 5:9], classes[15:, :9] = 3, 7
    painted = np.zeros((24, 32, 3), np.uint8)
    painted[5:9] = 128, 0, 64
    script = [*picture("/front/image", T, "camera", noise()), *picture("/painted/image", T, "camera", painted)]
    for topic, layout, image in (
        ("/a/out/compressed", "mono8; png compressed mono8", classes),
        ("/b/out/compressed", "png", np.full((24, 32), 3000, np.uint16)),
        ("/c/out/compressed", "png", painted),
        ("/d/out/compressed", "bgr8; png compressed bgr8", noise(3)),
    ):
        script += [
            (topic, COMPRESSED, messages.compressed(T, png(image), layout)),
            (f"{topic[:2]}/camera_info", INFO, messages.camera_info()),
        ]
    choice, why = judged(script)
    assert sorted(choice.cameras) == ["/d/out/compressed", "/front/image"]
    assert all("values" in why[topic] or "16-bit" in why[topic] for topic in why if topic not in choice.cameras)


def test_a_vehicle_that_stands_for_a_minute_is_waited_for(tmp_path):
    """A position with a short name beside an odometry: while both stand nothing tells which is which."""
    names = {"/fix": ODOMETRY, "/odometry/filtered": ODOMETRY, "/points": CLOUD, "/tf_static": TF}
    script = [(T, "/tf_static", messages.transforms(*messages.EXTRINSICS))]
    for k in range(320):
        t = 0.2 * k
        yaw = 0.3 * max(t - 50.0, 0.0)
        for topic, heading in (("/fix", 0.0), ("/odometry/filtered", yaw)):
            message = messages.odometry(T + t, yaw=heading, speed=1.0 if yaw else 0.0)
            message.pose.pose.position.x, message.pose.pose.position.y = float(np.sin(yaw) / 0.3), float((1 - np.cos(yaw)) / 0.3)
            script.append((T + t, topic, message))
        if k % 5 == 0:
            script.append((T + t, "/points", cloud_of(sweep(), T + t, "lidar")))
    bag = write_bag(tmp_path / "bag", sorted(script, key=lambda entry: entry[0]), names=names)
    assert choose_topics(bag_info(bag)).odometry == "/odometry/filtered"


def test_a_lidar_upside_down_and_one_on_a_mast_that_rises_show_the_same_wall():
    hub = SensorHub()
    down = (1.0, 0.0, 0.0, 0.0)
    mounts = ((0.0, "base_link", "down", (-0.4, 0.0, 0.6), down), (0.0, "mast", "top", (0.1, 0.0, 0.2), messages.UNIT))
    hub.put_transforms(messages.transforms(*mounts), static=True)
    mast = [(1.0 + 0.3 * 0.02 * k, 0.8 * 0.02 * k) for k in range(-10, 60)]
    for k, (height, yaw) in zip(range(-10, 60), mast, strict=True):
        hub.put_odometry("/odom", messages.odometry(T + 0.02 * k, x=0.02 * k, speed=1.0))
        joint = (T + 0.02 * k, "base_link", "mast", (0.0, 0.0, height), messages.yaw_quaternion(yaw))
        hub.put_transforms(messages.transforms(joint), static=False)
    wall = np.column_stack((np.full(40, 8.0), np.linspace(-2, 2, 40), np.linspace(0.2, 2.0, 40)))
    for name, stamp_s, frame in (("/down", 0.53, "down"), ("/top", 0.5, "top")):
        base = pose_matrix((stamp_s, 0.0, 0.0), messages.UNIT)
        joint = pose_matrix((0.0, 0.0, 1.0 + 0.3 * stamp_s), messages.yaw_quaternion(0.8 * stamp_s))
        mount = pose_matrix((-0.4, 0.0, 0.6), down) if frame == "down" else joint @ pose_matrix((0.1, 0.0, 0.2), messages.UNIT)
        lidar_from_odom = invert(base @ mount)
        hub.put_cloud(name, cloud_of(wall @ lidar_from_odom[:3, :3].T + lidar_from_odom[:3, 3], T + stamp_s, frame))
    observation = hub.take(patient=False)
    assert [part.name for part in observation.lidar.parts] == ["/top", "/down"]
    moved = np.concatenate((wall, wall)) - (0.5, 0.0, 0.0)
    np.testing.assert_allclose(observation.lidar.points_m, moved, atol=2e-3)


def test_open_bag_says_that_a_lying_frame_is_no_vehicle(tmp_path):
    from jepa_ros.sensing import BagError

    script = [(T, "/tf_static", messages.transforms((0.0, "elsewhere", "lidar", (0.0, 0.0, 1.0), messages.UNIT)))]
    for stamp, message, _ in odometry_of(SENSORS["an optical frame"]):
        script += [(stamp, "/odom", message), (stamp, "/points", messages.cloud(stamp))]
    names = {"/odom": ODOMETRY, "/points": CLOUD, "/tf_static": TF}
    with pytest.raises(BagError, match="lies on its side"):
        list(open_bag(write_bag(tmp_path / "bag", script, names=names)))


def test_two_metres_straight_ahead_are_not_enough_to_know_a_heading():
    """A live node looks at an odometry until it is known; what drives straight on first would have been taken for good."""
    evidence = OdometryEvidence("/gps", ODOMETRY)
    for k in range(120):
        yaw = 0.03 * max(k - 50, 0)
        message = messages.odometry(T + 0.1 * k, x=0.1 * min(k, 50) + 3.3 * float(np.sin(yaw)), speed=1.0)
        message.pose.pose.position.y = 3.3 * (1 - float(np.cos(yaw)))
        evidence.look(message, 0)
        assert not evidence.enough or evidence.has_no_heading()
    assert evidence.has_no_heading()
