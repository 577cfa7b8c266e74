"""Frames as robots have them: two parents, loops, mounts on a slow /tf, odometry of another frame or in another one, twists that lie."""

import contextlib

import numpy as np
import pytest
import sensing_messages as messages
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from jepa_ros.sensing import SensingConfig, SensorHub, TransformError, TransformTree
from jepa_ros.sensing.frames.ego import EgoHistory, carried
from jepa_ros.sensing.frames.poses import interpolate, invert, pose_matrix
from jepa_ros.sensing.frames.transforms import TransformLoop
from jepa_ros.types import EgoState

SECOND = 10**9
T = messages.START_S


def shift(x=0.0, y=0.0, yaw=0.0):
    return pose_matrix((x, y, 0.0), messages.yaw_quaternion(yaw))


# -- the graph of frames ---------------------------------------------------------------------------------------------------------------


def test_two_parents_told_in_turns_answer_for_both():
    """A localiser tells map -> base_link while odometry tells odom -> base_link: neither forgets the other."""
    tree = TransformTree()
    for index in range(20):
        tree.add("odom", "base_link", shift(0.1 * index), index * SECOND // 10)
        tree.add("map", "base_link", shift(0.1 * index + 5.0), index * SECOND // 10 + SECOND // 20)
    stamp = SECOND  # between samples of both
    assert tree.lookup("odom", "base_link", stamp)[0, 3] == pytest.approx(1.0)
    assert tree.lookup("map", "base_link", stamp)[0, 3] == pytest.approx(5.95)
    assert tree.lookup("map", "odom", stamp)[0, 3] == pytest.approx(4.95)
    assert tree.lookup("map", "odom", None)[0, 3] == pytest.approx(5.0)
    (notice,) = tree.notices.values()
    assert "base_link has several parents: odom leads, map" in notice


def test_a_parent_that_falls_silent_gives_way():
    """What a gripper takes from a table is on the gripper from then on."""
    tree = TransformTree()
    tree.add("world", "table", shift(3.0), None)
    for index in range(10):
        tree.add("table", "cup", shift(0.1), index * SECOND)
    for index in range(10, 20):
        tree.add("gripper", "cup", shift(0.0), index * SECOND)
        tree.add("world", "gripper", shift(1.0 + index), index * SECOND)
    assert tree.lookup("world", "cup", None)[0, 3] == pytest.approx(20.0)
    assert tree.lookup("world", "cup", 9 * SECOND)[0, 3] == pytest.approx(3.1)
    assert tree.lookup("world", "gripper", None)[0, 3] == pytest.approx(20.0), "the way round through the cup is old"


def test_a_mount_that_is_moved_replaces_the_old_one():
    tree = TransformTree()
    tree.add("base_link", "lidar", shift(1.0), None)
    tree.add("mast", "lidar", shift(0.0), None)
    tree.add("base_link", "mast", shift(2.0), None)
    assert tree.lookup("base_link", "lidar", 5)[0, 3] == pytest.approx(2.0)
    assert "now on mast" in " ".join(tree.notices.values())
    tree.add("rack", "lidar", shift(7.0), None)  # nothing joins it to the vehicle
    assert tree.lookup("base_link", "lidar", 5) is not None


def test_loops_are_refused_by_name_and_what_was_there_stays():
    tree = TransformTree()
    tree.add("odom", "base_link", shift(1.0), SECOND)
    with pytest.raises(TransformLoop, match=r"'base_link' -> 'odom'.*loop: odom -> base_link -> odom"):
        tree.add("base_link", "odom", shift(-1.0), SECOND)
    assert tree.lookup("odom", "base_link", SECOND)[0, 3] == 1.0
    assert "closes the loop" in " ".join(tree.notices.values())
    tree.add("base_link", "odom", shift(-2.0), 60 * SECOND)  # the first has long been silent
    assert tree.lookup("odom", "base_link", 60 * SECOND)[0, 3] == pytest.approx(2.0)


def test_the_hub_counts_loops_under_their_name():
    hub = SensorHub(clock_ns=lambda: 0)
    hub.put_transforms(messages.transforms((T, "odom", "base_link", (0, 0, 0), messages.UNIT)), static=False)
    hub.put_transforms(messages.transforms((T, "base_link", "odom", (0, 0, 0), messages.UNIT)), static=False)
    status = hub.status()["tf"]
    assert status.malformed == {"transform_loop": 1}
    assert any("base_link -> odom is left out" in notice for notice in status.notices.values())


def test_mounts_on_a_slow_topic_hold_and_joints_do_not():
    tree = TransformTree()
    for index in range(3):
        tree.add("base_link", "lidar", shift(0.5), index * SECOND)  # a mount, once a second
        tree.add("base_link", "turret", shift(yaw=0.3 * index), index * SECOND)
    for stamp in (0, SECOND // 2, 60 * SECOND):
        assert tree.lookup("base_link", "lidar", stamp, mounted=True)[0, 3] == 0.5
    tree.lookup("base_link", "turret", SECOND // 2, mounted=True)
    with pytest.raises(TransformError, match="turret"):
        tree.lookup("base_link", "turret", 60 * SECOND, mounted=True)
    with pytest.raises(TransformError, match="lidar"):
        tree.lookup("base_link", "lidar", 60 * SECOND)  # of what may move, nothing is known then


def test_sweeps_between_the_messages_of_a_slow_mount_are_used():
    hub = SensorHub(clock_ns=lambda: 0)
    hub.put_transforms(messages.transforms((T, "base_link", "lidar", (1.0, 0, 2.0), messages.UNIT)), static=False)
    for index in range(12):
        hub.put_odometry("odom", messages.odometry(T + 0.1 * index))
        hub.put_cloud("points", messages.cloud(T + 0.1 * index))
        assert hub.take(patient=False) is not None
    assert hub.status()["points"].malformed == {}


@st.composite
def trees(draw):
    """Parent of each frame (the first is the root), random poses, and which edges move."""
    count = draw(st.integers(2, 8))
    parents = [draw(st.integers(0, child - 1)) for child in range(1, count)]
    moving = [draw(st.booleans()) for _ in parents]
    seed = draw(st.integers(0, 2**32 - 1))
    return parents, moving, seed


@given(trees(), st.floats(0.0, 1.0))
@settings(max_examples=60, deadline=None)
def test_random_trees_compose_invert_and_interpolate(tree_of, fraction):
    parents, moving, seed = tree_of
    rng = np.random.default_rng(seed)
    tree, at_stamp = TransformTree(), {0: np.eye(4)}
    stamp = SECOND + round(fraction * SECOND)
    for child, (parent, moves) in enumerate(zip(parents, moving, strict=True), start=1):
        first, second = (pose_matrix(rng.uniform(-9, 9, 3), Rotation.random(rng=rng).as_quat()) for _ in range(2))
        if moves:
            tree.add(f"f{parent}", f"f{child}", first, SECOND)
            tree.add(f"f{parent}", f"f{child}", second, 2 * SECOND)
            turn = Rotation.from_matrix(first[:3, :3]).inv() * Rotation.from_matrix(second[:3, :3])
            pose = np.eye(4)
            share = (stamp - SECOND) / SECOND
            pose[:3, :3] = (Rotation.from_matrix(first[:3, :3]) * Rotation.from_rotvec(share * turn.as_rotvec())).as_matrix()
            pose[:3, 3] = (1 - share) * first[:3, 3] + share * second[:3, 3]
        else:
            tree.add(f"f{parent}", f"f{child}", first, None)
            pose = first
        at_stamp[child] = at_stamp[parent] @ pose
    for target in at_stamp:
        for source in at_stamp:
            found = tree.lookup(f"f{target}", f"f{source}", stamp)
            np.testing.assert_allclose(found, np.linalg.inv(at_stamp[target]) @ at_stamp[source], atol=1e-6)
            np.testing.assert_allclose(found @ tree.lookup(f"f{source}", f"f{target}", stamp), np.eye(4), atol=1e-9)


@given(st.lists(st.tuples(st.sampled_from("abcd"), st.sampled_from("abcd"), st.none() | st.integers(1, 20)), max_size=40))
@settings(max_examples=100, deadline=None)
def test_no_order_of_edges_breaks_the_graph(edges):
    tree = TransformTree()
    for parent, child, stamp_s in edges:
        with contextlib.suppress(TransformLoop):
            tree.add(parent, child, shift(1.0), None if stamp_s is None else stamp_s * SECOND)
    for target in "abcd":
        for source in "abcd":
            for stamp in (None, 5 * SECOND):
                try:
                    pose = tree.lookup(target, source, stamp)
                except TransformError:
                    continue
                np.testing.assert_allclose(pose[:3, :3], np.eye(3), atol=1e-12)


# -- odometry --------------------------------------------------------------------------------------------------------------------------


def test_odometry_in_another_fixed_frame_is_transformed_and_never_renamed():
    hub = SensorHub(SensingConfig(odom_frame="map"), clock_ns=lambda: 0)
    hub.put_transforms(messages.transforms(*messages.EXTRINSICS), static=True)
    hub.put_odometry("odom", messages.odometry(T, x=1.0, speed=2.0))
    hub.put_cloud("points", messages.cloud(T))
    assert hub.take(patient=False) is None, "where odom lies on the map is not known"
    assert hub.status()["points"].malformed == {"missing_pose": 1}
    assert any("'map'" in notice and "'odom'" in notice for notice in hub.status()["odom"].notices.values())
    hub.put_transforms(messages.transforms((T, "map", "odom", (0.0, 5.0, 0.0), messages.yaw_quaternion(np.pi / 2))), static=False)
    hub.put_odometry("odom", messages.odometry(T + 0.1, x=1.2, speed=2.0))
    hub.put_cloud("points", messages.cloud(T + 0.1))
    ego = hub.take(patient=False).ego
    np.testing.assert_allclose(ego.odom_from_base[:2, 3], [0.0, 6.2], atol=1e-6)
    np.testing.assert_allclose(ego.velocity_mps, [2.0, 0.0])
    assert hub.odom_frame == "map"
    assert not hub.status()["odom"].notices


def test_the_state_of_a_sensor_becomes_that_of_the_base():
    """An IMU 2 m ahead and upside down, on a vehicle that turns on the spot: it runs sideways, the base does not."""
    flipped = pose_matrix((2.0, 0.0, 0.0), (1.0, 0.0, 0.0, 0.0))
    turn = 0.5
    imu = EgoState(SECOND, flipped, np.array([0.0, -turn * 2.0]), -turn)
    base = carried(imu, invert(flipped))
    np.testing.assert_allclose(base.odom_from_base, np.eye(4), atol=1e-12)
    np.testing.assert_allclose(base.velocity_mps, [0.0, 0.0], atol=1e-12)
    assert base.yaw_rate_radps == pytest.approx(turn)


SPEED, TURN = 1.5, 0.4
LIES = {
    "never filled": lambda yaw: (0.0, 0.0, 0.0),
    "in the fixed frame": lambda yaw: (SPEED * np.cos(yaw), SPEED * np.sin(yaw), TURN),
    "backwards": lambda yaw: (-SPEED, 0.0, TURN),
    "left is right": lambda yaw: (SPEED, 0.0, -TURN),
    "degrees": lambda yaw: (SPEED, 0.0, np.degrees(TURN)),
    "millimetres": lambda yaw: (1e3 * SPEED, 0.0, TURN),
    "along the optical axis": lambda yaw: (0.0, 0.0, TURN),
    "no number": lambda yaw: (np.nan, np.nan, np.nan),
}


def drive(told, rate_hz=50.0, seconds=4.0, noise_m=0.0, put=None, yaw_0=1.2):
    rng = np.random.default_rng(0)
    for index in range(int(seconds * rate_hz)):
        t = index / rate_hz
        yaw = yaw_0 + TURN * t
        message = messages.odometry(T + t, yaw=yaw)
        x = SPEED / TURN * (np.sin(yaw) - np.sin(yaw_0)), SPEED / TURN * (np.cos(yaw_0) - np.cos(yaw))
        message.pose.pose.position.x, message.pose.pose.position.y = (float(v + rng.normal(0, noise_m)) for v in x)
        twist = message.twist.twist
        twist.linear.x, twist.linear.y, twist.angular.z = map(float, told(yaw))
        put(message)


@pytest.mark.parametrize("lie", LIES)
@pytest.mark.parametrize("rate_hz", [10.0, 50.0, 200.0])
def test_the_poses_outvote_a_twist_that_contradicts_them(lie, rate_hz):
    hub = SensorHub(SensingConfig(base_frame="base_link"), clock_ns=lambda: 0)
    hub.put_transforms(messages.transforms(*messages.EXTRINSICS), static=True)
    drive(LIES[lie], rate_hz, put=lambda message: hub.put_odometry("odom", message))
    for stamp_s in (T + 3.0, T + 3.93):
        hub.put_cloud("points", messages.cloud(stamp_s))
        ego = hub.take(patient=False).ego
        np.testing.assert_allclose(ego.velocity_mps, [SPEED, 0.0], atol=0.03)
        assert ego.yaw_rate_radps == pytest.approx(TURN, abs=0.03)
    assert any("the poses are used" in notice for notice in hub.status()["odom"].notices.values())


@pytest.mark.parametrize("noise_m", [0.0, 0.003, 0.01])
def test_a_twist_that_agrees_is_kept_however_noisy_the_poses_are(noise_m):
    history_notices = []
    hub = SensorHub(clock_ns=lambda: 0)
    hub.put_transforms(messages.transforms(*messages.EXTRINSICS), static=True)

    def put(message):
        hub.put_odometry("odom", message)
        history_notices.extend(hub.status()["odom"].notices.values())

    drive(lambda yaw: (SPEED, 0.0, TURN), noise_m=noise_m, put=put)
    assert not history_notices
    hub.put_cloud("points", messages.cloud(T + 3.0))
    np.testing.assert_array_equal(hub.take(patient=False).ego.velocity_mps, [SPEED, 0.0])


def test_one_jump_of_the_poses_is_no_motion():
    history = EgoHistory()
    for index in range(100):
        jump = 2.0 if index >= 50 else 0.0  # a loop is closed
        history.add(EgoState(index * SECOND // 50, shift(0.02 * index + jump), np.array([1.0, 0.0]), 0.0))
        assert history.twist.believed


def test_a_standing_robot_says_nothing_about_its_twist_and_a_lie_is_remembered_while_it_stands():
    history = EgoHistory()
    for index in range(100):
        history.add(EgoState(index * SECOND // 50, shift(), np.zeros(2), 0.0))
    assert history.twist.believed
    x = 0.0
    for index in range(100, 400):
        x += 0.02 if index < 200 else 0.0
        history.add(EgoState(index * SECOND // 50, shift(x), np.zeros(2), 0.0))
    assert not history.twist.believed


@given(st.integers(0, 2**32 - 1), st.floats(0, 1))
@settings(max_examples=60, deadline=None)
def test_interpolation_goes_the_short_way_at_a_steady_rate(seed, fraction):
    rng = np.random.default_rng(seed)
    first, second = (pose_matrix(rng.uniform(-9, 9, 3), Rotation.random(rng=rng).as_quat()) for _ in range(2))
    between = interpolate(first, second, fraction)
    whole = (Rotation.from_matrix(first[:3, :3]).inv() * Rotation.from_matrix(second[:3, :3])).magnitude()
    part = (Rotation.from_matrix(first[:3, :3]).inv() * Rotation.from_matrix(between[:3, :3])).magnitude()
    assert part == pytest.approx(fraction * whole, abs=1e-6)
    np.testing.assert_allclose(between[:3, 3], (1 - fraction) * first[:3, 3] + fraction * second[:3, 3], atol=1e-9)


def test_a_track_of_poses_equals_single_look_ups():
    history = EgoHistory()
    for index in range(20):
        history.add(EgoState(SECOND + index * SECOND // 20, shift(0.3 * index, 0.02 * index**2, 0.1 * index), np.array([6.0, 0.0]), 2.0))
    stamps = [SECOND + round(s * SECOND) for s in (0.31, 0.3, 0.0, 0.42, 0.9499, 1.02)]
    for pose, stamp in zip(history.track(stamps), stamps, strict=True):
        np.testing.assert_allclose(pose, history.at(stamp).odom_from_base, atol=2e-3)
    for pose, stamp in zip(history.track(stamps[:5]), stamps[:5], strict=True):
        np.testing.assert_allclose(pose, history.at(stamp).odom_from_base, atol=1e-9)
    assert history.track([SECOND, 5 * SECOND]) is None
    np.testing.assert_array_equal(history.track([SECOND])[0], history.at(SECOND).odom_from_base)
