"""Frames, motion and cameras."""

import numpy as np
import pytest
import sensing_messages as messages
from scipy.spatial.transform import Rotation, Slerp

from jepa_ros.sensing import MalformedMessage, TransformError, TransformTree, camera_model, project
from jepa_ros.sensing.decode.camera_info import resized
from jepa_ros.sensing.frames.ego import EgoHistory, read_odometry
from jepa_ros.sensing.frames.poses import invert, pose_matrix, static_transform
from jepa_ros.types import EgoState

RNG = np.random.default_rng(0)
SECOND = 1_000_000_000


def random_pose():
    return pose_matrix(RNG.uniform(-5, 5, 3), Rotation.random(rng=RNG).as_quat())


# -- transforms ------------------------------------------------------------------------------------------------------------------------


def test_chains_up_and_down_the_tree():
    a, b, c = random_pose(), random_pose(), random_pose()
    tree = TransformTree()
    tree.add("base", "mast", a, None)
    tree.add("/mast", "/lidar", b, None)
    tree.add("base", "camera", c, 5 * SECOND)
    np.testing.assert_allclose(tree.lookup("base", "lidar", 123), a @ b, atol=1e-12)
    np.testing.assert_allclose(tree.lookup("camera", "lidar", 5 * SECOND), np.linalg.inv(c) @ a @ b, atol=1e-12)
    np.testing.assert_allclose(tree.lookup("base", "base", None), np.eye(4))


def test_interpolates_like_scipy():
    tree = TransformTree()
    poses = [random_pose() for _ in range(8)]
    for index in RNG.permutation(8):  # order of arrival does not matter
        tree.add("odom", "base", poses[index], int(index) * SECOND)
    slerp = Slerp(range(8), Rotation.from_matrix([pose[:3, :3] for pose in poses]))
    for stamp_s in RNG.uniform(0, 7, 50):
        pose = tree.lookup("odom", "base", round(stamp_s * SECOND))
        np.testing.assert_allclose(pose[:3, :3], slerp(stamp_s).as_matrix(), atol=1e-7)
        expected = [np.interp(stamp_s, range(8), [pose[axis, 3] for pose in poses]) for axis in range(3)]
        np.testing.assert_allclose(pose[:3, 3], expected, atol=1e-7)


def test_holds_a_pose_only_a_little_way():
    tree = TransformTree(buffer_s=10, tolerance_s=0.1)
    tree.add("odom", "base", np.eye(4), SECOND)
    tree.lookup("odom", "base", SECOND + 100_000_000)
    with pytest.raises(TransformError, match=r"'odom' -> 'base'.*1\.000.*1\.200"):
        tree.lookup("odom", "base", SECOND + 200_000_000)


def test_errors_name_both_frames_and_what_is_known():
    tree = TransformTree()
    tree.add("base", "lidar", np.eye(4), None)
    with pytest.raises(TransformError, match=r"'camera' to 'base'; known: base -> lidar"):
        tree.lookup("base", "camera", None)


def test_buffer_is_bounded_and_forgets_after_a_fall():
    tree = TransformTree(buffer_s=1.0)
    for index in range(300):
        tree.add("odom", "base", np.eye(4), index * SECOND // 100)
    with pytest.raises(TransformError):
        tree.lookup("odom", "base", SECOND)
    tree.add("odom", "base", 2 * np.eye(4), SECOND)  # two seconds back
    assert tree.lookup("odom", "base", None)[0, 0] == 2
    tree.add("base", "lidar", np.eye(4), None)
    tree.clear()
    tree.lookup("base", "lidar", None)
    with pytest.raises(TransformError):
        tree.lookup("odom", "base", None)


def test_what_is_no_transform_is_refused():
    tree = TransformTree()
    tree.add("a", "b", np.eye(4), None)
    tree.add("b", "c", np.eye(4), None)
    for parent, child, matrix in (("c", "a", np.eye(4)), ("a", "a", np.eye(4)), ("a", "", np.eye(4)), ("a", "d", np.full((4, 4), np.nan))):
        with pytest.raises(ValueError, match="transform"):
            tree.add(parent, child, matrix, None)
    for quaternion in ((0, 0, 0, 0), (0, 0, 0, 1.2), (0, 0, 0, np.nan), (np.inf, 0, 0, 1)):
        with pytest.raises(ValueError, match="quaternion"):
            pose_matrix((0, 0, 0), quaternion)
    np.testing.assert_allclose(pose_matrix((0, 0, 0), (0, 0, 0.72, 0.72))[:2, :2], [[0, -1], [1, 0]], atol=1e-12)


def test_static_transform_from_text():
    parent, child, pose = static_transform("base lidar 1 2 3 0.1 -0.2 0.3")
    assert (parent, child) == ("base", "lidar")
    np.testing.assert_allclose(pose[:3, :3], Rotation.from_euler("xyz", [0.1, -0.2, 0.3]).as_matrix())
    np.testing.assert_allclose(pose[:3, 3], [1, 2, 3])
    with pytest.raises(ValueError, match="parent child x y z roll pitch yaw"):
        static_transform("base lidar 1 2 3")


# -- ego motion ------------------------------------------------------------------------------------------------------------------------


def test_ego_follows_its_twist_a_little_beyond_the_newest_sample():
    history = EgoHistory(extrapolation_s=0.2)
    history.add(read_odometry(messages.odometry(10.0, x=3.0, yaw=0.5, speed=8.0, yaw_rate=1.0)).state)
    ahead = history.at(round(10.15 * SECOND))
    heading = np.arctan2(ahead.odom_from_base[1, 0], ahead.odom_from_base[0, 0])
    assert heading == pytest.approx(0.65)
    # On a circle of radius 8 m.
    expected = [3 + 8 * (np.sin(0.65) - np.sin(0.5)), 8 * (np.cos(0.5) - np.cos(0.65))]
    np.testing.assert_allclose(ahead.odom_from_base[:2, 3], expected, atol=2e-3)
    assert history.at(round(10.3 * SECOND)) is None
    assert history.at(round(9.7 * SECOND)) is None


def test_ego_does_not_bridge_long_gaps():
    history = EgoHistory()
    for stamp in (10, 15):
        history.add(EgoState(stamp * SECOND, np.eye(4), np.zeros(2)))
    assert history.at(12 * SECOND) is None
    assert history.at(15 * SECOND - 1) is not None


# -- cameras ---------------------------------------------------------------------------------------------------------------------------

K = [500.0, 0, 320, 0, 510.0, 240, 0, 0, 1]
LENSES = {
    "plumb_bob": [-0.3, 0.1, 0.001, -0.002, 0.01],
    "rational_polynomial": [0.3, 0.1, 0.001, -0.002, 0.01, 0.4, 0.2, 0.03],
    "equidistant": [-0.02, 0.01, -0.003, 0.0005],
}


def test_pinhole_by_hand():
    model = camera_model(messages.camera_info(width=640, height=480, k=K))
    points = np.array([[0.0, 0, 10], [1, 2, 10], [0, 0, -10], [100, 0, 10], [0, 0, 0]])
    pixels, in_view = project(points, model)
    np.testing.assert_array_equal(in_view, [True, True, False, False, False])
    np.testing.assert_allclose(pixels[:2], [[320, 240], [370, 342]])


@pytest.mark.parametrize("lens", LENSES)
def test_distortion_equals_opencv(lens):
    cv2 = pytest.importorskip("cv2", reason="OpenCV is the reference for the distortion models")
    model = camera_model(messages.camera_info(width=640, height=480, k=K, d=LENSES[lens], model=lens))
    points = np.stack((RNG.uniform(-2, 2, 200), RNG.uniform(-1.5, 1.5, 200), RNG.uniform(3, 20, 200)), axis=1)
    module = cv2.fisheye if lens == "equidistant" else cv2
    expected, _ = module.projectPoints(points.reshape(-1, 1, 3), np.zeros(3), np.zeros(3), model.intrinsics, model.distortion)
    pixels, in_view = project(points, model)
    assert in_view.sum() > 100
    np.testing.assert_allclose(pixels[in_view], expected.reshape(-1, 2)[in_view], atol=1e-6)


@pytest.mark.parametrize("lens", LENSES)
def test_distortion_by_its_formula(lens):
    """One point, worked out from the published polynomials."""
    d = LENSES[lens]
    x, y = 0.3, -0.2
    r = np.hypot(x, y)
    if lens == "equidistant":
        theta = np.arctan(r)
        scale = theta * (1 + sum(k * theta ** (2 * i + 2) for i, k in enumerate(d))) / r
        expected = [x * scale, y * scale]
    else:
        k = [d[0], d[1], d[4]]
        radial = 1 + sum(value * r ** (2 * i + 2) for i, value in enumerate(k))
        radial /= 1 + sum(value * r ** (2 * i + 2) for i, value in enumerate(d[5:8]))
        expected = [x * radial + 2 * d[2] * x * y + d[3] * (r * r + 2 * x * x), y * radial + d[2] * (r * r + 2 * y * y) + 2 * d[3] * x * y]
    pixels, in_view = project(np.array([[x, y, 1.0]]) * 7, camera_model(messages.camera_info(width=640, height=480, k=K, d=d, model=lens)))
    assert in_view.all()
    np.testing.assert_allclose(pixels[0], [500 * expected[0] + 320, 510 * expected[1] + 240])


def test_points_far_off_the_axis_are_not_folded_back_into_the_image():
    model = camera_model(messages.camera_info(width=640, height=480, k=K, d=LENSES["plumb_bob"]))
    x = np.linspace(0, 6, 600)
    pixels, in_view = project(np.stack((x, np.zeros_like(x), np.ones_like(x)), axis=1), model)
    assert in_view[0]
    assert np.all(np.diff(pixels[in_view, 0]) > 0)
    assert not in_view[x > 1.5].any()


def test_resized_camera_sees_the_same():
    model = camera_model(messages.camera_info(width=640, height=480, k=K))
    half = resized(model, 320, 240)
    pixels, _ = project(np.array([[1.0, 2, 10]]), model)
    small, _ = project(np.array([[1.0, 2, 10]]), half)
    np.testing.assert_allclose(small + 0.5, (pixels + 0.5) / 2)
    with pytest.raises(MalformedMessage, match="320 x 320"):
        resized(model, 320, 320)


@pytest.mark.parametrize(
    "changes",
    [
        {"k": np.zeros(9)},
        {"k": [np.nan, *K[1:]]},
        {"width": 0},
        {"model": "mystery"},
        {"d": [1.0, 2.0]},
        {"d": [np.inf] * 5},
        {"d": [0.1] * 15, "model": "rational_polynomial"},
        {"d": [0.1] * 5, "model": "equidistant"},
    ],
)
def test_bad_camera_infos_are_named(changes):
    with pytest.raises(MalformedMessage) as caught:
        camera_model(messages.camera_info(**{"width": 640, "height": 480, "k": K, **changes}))
    assert caught.value.reason == "bad_camera_info"


def test_inverse():
    pose = random_pose()
    np.testing.assert_allclose(invert(pose) @ pose, np.eye(4), atol=1e-12)
