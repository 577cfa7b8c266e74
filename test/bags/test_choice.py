"""Which topics are the sensors: judged by what they carry, whatever they are called and in whatever order they were found."""

import itertools
import random

import numpy as np
import pytest
import sensing_messages as messages

from jepa_ros.sensing.topic_choice.evidence import OdometryEvidence
from jepa_ros.sensing.topic_choice.evidence_book import EvidenceBook
from jepa_ros.sensing.topic_choice.message_types import CLOUD, COMPRESSED, IMAGE, INFO, ODOMETRY, TF
from jepa_ros.sensing.topic_choice.rule import choose

T = messages.START_S
RNG = np.random.default_rng(0)
MOUNTS = (("base_link", "front", (0.5, 0.0, 0.6)), ("base_link", "rear", (-0.5, 0.0, 0.6)), ("base_link", "roof", (0.0, 0.0, 1.2)))


def tf_message(*edges):
    return messages.transforms(*[(T, parent, child, xyz, messages.UNIT) for parent, child, xyz in edges])


def cloud(points, stamp=T, frame="front", extra=()):
    names = ["x", "y", "z", *extra]
    values = {name: points[:, index] if index < 3 else np.zeros(len(points)) for index, name in enumerate(names)}
    return messages.cloud(stamp, [(name, 7, 4 * i) for i, name in enumerate(names)], values, 4 * len(names), frame=frame)


def sweep(count=300, seed=0):
    return np.random.default_rng(seed).uniform(-20, 20, (count, 3)).astype(np.float32)


def judged(script, transforms=(*MOUNTS, ("odom", "base_link", (0.0, 0.0, 0.0)))):
    """`script`: (topic, type, message). The same choice must come out in every order of the topics."""
    choices = []
    topics = list(dict.fromkeys(topic for topic, _, _ in script))
    orders = list(itertools.permutations(topics)) if len(topics) < 4 else [random.Random(i).sample(topics, len(topics)) for i in range(6)]
    for order in orders:
        book = EvidenceBook()
        book.look("/tf", TF, tf_message(*transforms), 0)
        for topic in order:
            for name, kind, message in script:
                if name == topic:
                    book.look(name, kind, message, 0)
        choice = choose(book.scene)
        choices.append((dict(choice.cameras), choice.lidars, choice.odometry))
        verdicts = {verdict.topic: verdict.why for verdict in choice.verdicts}
    assert all(found == choices[0] for found in choices)
    return choice, verdicts


def drive(topic, child="base_link", turn=True, speed=1.0, frame="odom", rate=10, q=None, length=60):
    made = []
    for i in range(length):
        t = i / rate
        yaw = 0.3 * t
        message = messages.odometry(
            T + t, speed=speed, yaw_rate=0.3 if speed else 0.0, yaw=yaw if turn else 0.0, frame=frame, child=child, q=q
        )
        message.pose.pose.position.x, message.pose.pose.position.y = float(np.sin(yaw) / 0.3), float((1 - np.cos(yaw)) / 0.3)
        made.append((topic, ODOMETRY, message))
    return made


def test_a_position_is_no_odometry_however_short_its_name():
    choice, why = judged([*drive("/gps", child="", turn=False, speed=0.0), *drive("/a/very/long/name/of/an/odometry")])
    assert choice.odometry == "/a/very/long/name/of/an/odometry"
    assert "heading never changes" in why["/gps"]
    alone, why = judged(drive("/gps", child="", turn=False, speed=0.0))
    assert alone.odometry is None  # a wrong heading is worse than none


def test_a_robot_that_drives_straight_or_sideways_has_a_heading():
    straight = [("/odom", ODOMETRY, messages.odometry(T + i / 10, x=0.1 * i, speed=1.0)) for i in range(60)]
    assert judged(straight)[0].odometry == "/odom"
    sideways = []
    for i in range(60):
        message = messages.odometry(T + i / 10)
        message.pose.pose.position.y, message.twist.twist.linear.y = 0.1 * i, 1.0
        sideways.append(("/odom", ODOMETRY, message))
    assert judged(sideways)[0].odometry == "/odom"


@pytest.mark.parametrize(
    "mount", [(0.0, 0.0, 0.7071, 0.7071), (-0.5, 0.5, -0.5, 0.5)], ids=["a sensor turned left", "a camera's optical frame"]
)
def test_a_sensor_whose_mount_is_known_drives_straight_on_the_vehicle(mount):
    """Its own heading points elsewhere than its way; the vehicle's does not. As a position without a heading it was refused."""
    for base_frame, parent, taken in (("base_link", "base_link", "/odom"), ("", "base_link", "/odom"), ("", "rack", None)):
        book = EvidenceBook(base_frame)
        book.look("/tf_static", TF, messages.transforms((T, parent, "sensor", (0.2, 0.0, 0.5), mount)), 0)
        for i in range(60):
            book.look("/odom", ODOMETRY, messages.odometry(T + i / 10, x=0.1 * i, q=mount, child="sensor"), 0)
        assert choose(book.scene).odometry == taken


def test_slow_broken_and_standing_odometries_come_last():
    good = drive("/quite/a/long/odometry")
    assert judged([*good, *drive("/slow", rate=2)])[0].odometry == "/quite/a/long/odometry"
    assert judged([*good, *drive("/zero", q=(0.0, 0.0, 0.0, 0.0))])[0].odometry == "/quite/a/long/odometry"
    standing = [("/wheels", ODOMETRY, messages.odometry(T + i / 10)) for i in range(60)]
    choice, why = judged([*good, *standing])
    assert choice.odometry == "/quite/a/long/odometry"
    assert "does not move" in why["/wheels"]
    assert judged([*drive("/odometry"), *drive("/gt", frame="world")])[0].odometry == "/odometry"  # a simulator's truth


def test_all_lidars_that_tf_knows_are_taken_and_a_map_is_not():
    points = [sweep(seed=seed) for seed in range(4)]
    script = [
        ("/x", CLOUD, cloud(points[0], frame="front")),
        ("/lidar/behind", CLOUD, cloud(points[1], frame="rear")),
        ("/top", CLOUD, cloud(points[2], frame="roof")),
        ("/m", CLOUD, cloud(points[3], frame="map")),
        ("/c", CLOUD, cloud(points[3], frame="odom")),
        ("/u", CLOUD, cloud(points[3], frame="nowhere")),
    ]
    choice, why = judged([*script, *drive("/odom")])
    assert choice.lidars == ("/top", "/lidar/behind", "/x")  # the highest leads
    assert "a map" in why["/m"]
    assert "a map" in why["/c"]
    assert "TF does not connect its frame nowhere" in why["/u"]


def test_a_robot_beside_ours_is_not_ours():
    other = ("map", "odom", (0.0, 0.0, 0.0)), ("map", "other/base", (5.0, 0.0, 0.0)), ("other/base", "other/lidar", (0.0, 0.0, 0.5))
    script = [("/mine", CLOUD, cloud(sweep(), frame="front")), ("/other", CLOUD, cloud(sweep(seed=1), frame="other/lidar"))]
    choice, _ = judged([*script, *drive("/odom")], (*MOUNTS, ("odom", "base_link", (0.0, 0.0, 0.0)), *other))
    assert choice.lidars == ("/mine",)


def test_what_was_made_from_a_sweep_is_not_merged_with_it():
    raw = sweep(1000)
    base = raw + np.array([0.5, 0.0, 0.6], np.float32)
    rear = sweep(900, seed=5)
    joined = np.concatenate([base, rear + np.array([-0.5, 0.0, 0.6], np.float32)])
    script = [
        ("/velodyne/points", CLOUD, cloud(raw)),
        ("/f", CLOUD, cloud(raw[::2])),  # filtered: same frame, same stamp
        ("/b", CLOUD, cloud(base[::3], frame="base_link")),  # cropped and transformed
    ]
    choice, why = judged([*script, *drive("/odom")])
    assert choice.lidars == ("/velodyne/points",)
    assert "same sweep as /velodyne/points" in why["/f"]
    assert "same sweep as /velodyne/points" in why["/b"]
    script = [
        ("/front", CLOUD, cloud(raw)),
        ("/rear", CLOUD, cloud(rear, T + 0.03, "rear")),
        ("/all", CLOUD, cloud(joined, T, "base_link")),
    ]
    assert judged([*script, *drive("/odom")])[0].lidars == ("/all",)


def test_radars_depth_cameras_and_handfuls_are_left_where_there_is_a_lidar():
    lidar = ("/some/lidar", CLOUD, cloud(sweep()))
    others = [
        ("/r", CLOUD, cloud(sweep(100, 2), frame="rear", extra=("rcs",))),
        ("/d", CLOUD, cloud(sweep(5000, 3), frame="roof", extra=("rgb",))),
        ("/5", CLOUD, cloud(sweep(5, 4), frame="roof")),
    ]
    for other in others:
        choice, why = judged([lidar, other])
        assert choice.lidars == ("/some/lidar",)
        assert why[other[0]]
        assert judged([other])[0].lidars == (other[0],)  # better than nothing


def picture(encoding="rgb8", seed=0):
    shape = {"rgb8": (4, 6, 3), "mono8": (4, 6), "8UC1": (4, 6)}.get(encoding, (4, 6))
    kind = {"16UC1": np.uint16, "mono16": np.uint16, "32FC1": np.float32}.get(encoding, np.uint8)
    return messages.image(T, encoding, np.random.default_rng(seed).integers(0, 255, shape).astype(kind))


def test_cameras_are_colour_or_grey_with_intrinsics():
    def info(name, **changes):
        return (name, INFO, messages.camera_info(T, **changes))

    zeros = messages.camera_info(T, k=np.zeros(9))
    mask = messages.image(T, "mono8", (np.arange(24).reshape(4, 6) % 2 * 255).astype(np.uint8))
    packed = messages.compressed(T, b"\x00" * 12 + b"\x89PNG", "16UC1; compressedDepth png")
    video = messages.compressed(T, b"\x00\x00\x00\x01", "h264")
    script = [
        ("/long/name/color/image", IMAGE, picture()), info("/long/name/color/camera_info"),
        ("/long/name/color/image/compressed", COMPRESSED, messages.compressed(T, b"\xff\xd8\xff")),
        ("/a/image", IMAGE, picture("16UC1")), info("/a/camera_info"),
        ("/b/image", IMAGE, picture("32FC1")), info("/b/camera_info"),
        ("/c/image", IMAGE, picture()), ("/c/camera_info", INFO, zeros),
        ("/d/image", IMAGE, mask), info("/d/camera_info"),
        ("/e/image", COMPRESSED, packed), info("/e/camera_info"),
        ("/f/image", COMPRESSED, video), info("/f/camera_info"),
        ("/g/image", IMAGE, picture()),
        ("/h/image", IMAGE, picture("mono16")), info("/h/camera_info"),
    ]  # fmt: skip
    choice, why = judged(script)
    assert choice.cameras == {"/long/name/color/image": "/long/name/color/camera_info"}
    for topic, word in {
        "/a/image": "16UC1", "/b/image": "32FC1", "/c/image": "cannot be used", "/d/image": "mask", "/e/image": "16UC1",
        "/f/image": "h264", "/g/image": "no CameraInfo", "/h/image": "16-bit", "/long/name/color/image/compressed": "same camera",
    }.items():  # fmt: skip
        assert word in why[topic], (topic, why[topic])
    thermal = [("/t/image", IMAGE, picture("mono16")), info("/t/camera_info")]
    assert list(judged(thermal)[0].cameras) == ["/t/image"]  # the only one
    grey = [("/t/image", IMAGE, picture("mono8")), info("/t/camera_info")]
    assert list(judged(grey)[0].cameras) == ["/t/image"]


@pytest.mark.parametrize("kind", [CLOUD, IMAGE, COMPRESSED, INFO, ODOMETRY, TF])
def test_nothing_that_is_no_message_raises(kind):
    book = EvidenceBook()
    for message in (None, object(), messages.TYPES["Vector3"](1.0, 2.0, 3.0)):
        book.look("/odd", kind, message, 0)
    book.garbage("/odd", kind, "undeserialisable")
    choose(book.scene)


def test_a_pose_that_jumps_once_has_not_lost_its_heading():
    """Localisation that corrects itself moves a robot that has never turned, sideways and at once."""
    evidence = OdometryEvidence("/odom", ODOMETRY)
    for k in range(20):
        message = messages.odometry(T + 0.1 * k, x=0.1 * k, speed=1.0)
        message.pose.pose.position.y = 2.0 if k >= 10 else 0.0
        evidence.look(message, 0)
    assert sum(evidence.off_course()) == 1
    assert not evidence.has_no_heading()


def test_the_user_is_asked_only_where_nothing_but_names_decides():
    def doubtful(frame):
        book = EvidenceBook()
        for topic, its_frame in (("/odom", "odom"), ("/ground_truth/odom", frame)):
            for k in range(5):
                book.look(topic, ODOMETRY, messages.odometry(T + 0.1 * k, x=0.1 * k, speed=1.0, frame=its_frame), 0)
        verdicts = {verdict.topic: verdict for verdict in choose(book.scene).verdicts}
        assert verdicts["/odom"].taken
        return verdicts["/ground_truth/odom"].doubtful

    assert doubtful("odom")
    assert not doubtful("map")
