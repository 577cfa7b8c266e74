"""tf2, where it is installed, answers as our own tree does; where it is not, the node does without."""

from __future__ import annotations

import signal

import numpy as np
import pytest
import sensing_messages as messages
from scipy.spatial.transform import Rotation

pytest.importorskip("rclpy", reason="needs ROS 2: run `make build`, then tests through scripts/env.sh")
pytest.importorskip("jepa_ros.msg", reason="needs the built interfaces: run `make build`, then tests through scripts/env.sh")
pytestmark = pytest.mark.ros

from rclpy.serialization import serialize_message  # noqa: E402
from ros_harness import START_NS, Robot, transform, values  # noqa: E402
from tf2_msgs.msg import TFMessage  # noqa: E402

from jepa_ros.ros import tf as transforms  # noqa: E402
from jepa_ros.sensing import SensingConfig, SensorHub, TransformError, TransformTree  # noqa: E402
from jepa_ros.sensing.frames.poses import pose_matrix  # noqa: E402

needs_tf2 = pytest.mark.skipif(transforms.tf2_ros is None, reason="tf2_ros is not installed; no wheels carry it")
SECOND = 1_000_000_000
STEP = SECOND // 10
T = messages.START_S


def moving_tree(tree, start_ns: int = START_NS):
    """Two moving edges of different rates, one of them in large turns, and two static ones, for two seconds."""
    rng = np.random.default_rng(0)
    tree.add("/base_link", "mast", pose_matrix((0.3, -0.2, 1.5), Rotation.random(rng=rng).as_quat()), None)
    tree.add("mast", "lidar", pose_matrix((0, 0.1, 0.2), Rotation.random(rng=rng).as_quat()), None)
    for index in range(21):
        turned = Rotation.from_euler("xyz", (0.03 * index, -0.05 * index, 0.2 * index)).as_quat()
        tree.add("odom", "base_link", pose_matrix((400.0 + 0.9 * index, -1e3, 0.01 * index), turned), start_ns + index * STEP)
        if index % 2 == 0:
            tree.add("map", "odom", pose_matrix(rng.uniform(-5, 5, 3), Rotation.random(rng=rng).as_quat()), start_ns + index * STEP)
    return tree


@needs_tf2
def test_looks_up_what_our_tree_does():
    ours, tf2 = moving_tree(TransformTree()), moving_tree(transforms.installed_transforms(10.0))
    held = START_NS + 2 * SECOND + STEP
    stamps = [START_NS, START_NS + 3 * STEP, held, *(START_NS + np.random.default_rng(1).integers(0, 2 * SECOND, 50)).tolist(), None]
    for target, source in (("odom", "base_link"), ("base_link", "lidar"), ("lidar", "map"), ("/map", "/lidar"), ("odom", "map")):
        for stamp in stamps:
            np.testing.assert_allclose(tf2.lookup(target, source, stamp), ours.lookup(target, source, stamp), rtol=0, atol=1e-9)
    for tree in (ours, tf2):
        np.testing.assert_array_equal(tree.lookup("unheard_of", "unheard_of", START_NS), np.eye(4))
        for target, source, stamp in (
            ("odom", "nowhere", None),
            ("odom", "base_link", held + 1),
            ("odom", "base_link", START_NS - SECOND),
            ("odom", "base_link", 0),
            ("odom", "base_link", -SECOND),
        ):
            with pytest.raises(TransformError, match=f"'?{source}'?"):
                tree.lookup(target, source, stamp)


@needs_tf2
@pytest.mark.parametrize("told", [True, False], ids=["by the hub", "by its own stamps"])
def test_time_that_falls_back_clears_what_moves(told):
    tf2 = moving_tree(transforms.installed_transforms(10.0))
    early = START_NS - 60 * SECOND
    if told:
        tf2.clear()
        with pytest.raises(TransformError):
            tf2.lookup("odom", "base_link", None)
    tf2.add("odom", "base_link", pose_matrix((7, 0, 0), messages.UNIT), early)
    assert tf2.lookup("odom", "base_link", early)[0, 3] == tf2.lookup("odom", "base_link", None)[0, 3] == 7
    tf2.lookup("base_link", "lidar", early)
    with pytest.raises(TransformError):
        tf2.lookup("odom", "base_link", START_NS + STEP)


@needs_tf2
def test_a_hub_with_tf2_counts_bad_transforms_and_uses_the_good_ones():
    """Motion from transforms, one extrinsic from /tf_static, the other by parameter; then a jump back in time."""
    config = SensingConfig(static_transforms=("base_link lidar 1 0 2 0 0 1.5707963267948966",))
    hub = SensorHub(config, clock_ns=lambda: 0, transforms=transforms.installed_transforms(config.buffer_s))
    hub.put_transforms(messages.transforms(messages.EXTRINSICS[1]), static=True)
    hub.put_camera_info("front", messages.camera_info())
    for start_s in (T, T - 500):
        for index in range(5):
            stamp_s = start_s + 0.1 * index
            for parent, child, position, quaternion in (
                ("odom", "base_link", (np.nan, 0, 0), messages.UNIT),
                ("odom", "base_link", (0, 0, 0), (0.0, 0.0, 0.0, 0.0)),
                ("odom", "base_link", (0, np.inf, 0), messages.UNIT),
                ("odom", "odom", (0, 0, 0), messages.UNIT),
                ("odom", "", (0, 0, 0), messages.UNIT),
            ):
                hub.put_transforms(messages.transforms((stamp_s, parent, child, position, quaternion)), static=False)
            hub.put_cloud("points", messages.cloud(stamp_s))
            hub.put_image("front", messages.image(stamp_s))
            hub.put_transforms(messages.transforms((stamp_s, "odom", "base_link", (2.0 * index, 0, 0), messages.UNIT)), static=False)
        observation = hub.take(patient=False)
        assert observation.stamp_s == pytest.approx(start_s + 0.4)
        assert observation.ego.odom_from_base[0, 3] == pytest.approx(8)
        assert observation.ego.velocity_mps == pytest.approx([20, 0])
        np.testing.assert_allclose(observation.lidar.points_m[0], [1 - 15, 5, 27], atol=1e-5)  # (5, 15, 25), turned to the left
        assert len(observation.cameras) == 1
    assert hub.epoch == 1
    counters = hub.status()["tf"]
    # The third message of a sensor confirms the jump; the transforms before it, one of them good, had absurd stamps.
    assert (counters.used, counters.malformed) == (9, {"non_finite_pose": 32, "transform_loop": 8, "absurd_stamp": 11})


@pytest.mark.parametrize("installed", [pytest.param(True, marks=needs_tf2), False], ids=["tf2", "without tf2"])
def test_the_node_takes_tf2_where_it_is_and_survives_corrupt_transforms(installed, tmp_path, monkeypatch):
    if not installed:
        (tmp_path / "tf2_ros.py").write_text("raise ImportError('not installed')")
        monkeypatch.syspath_prepend(tmp_path)
        monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=":")
    robot = Robot()
    try:
        process = robot.start_node(model="persistence", autostart="true", inputs__image_topics="[/cam/image_raw]")
        robot.wait_until_heard_by("/lidar", "/odom", "/tf", timeout_s=60)
        rng = np.random.default_rng(0)
        whole = serialize_message(TFMessage(transforms=[transform("odom", "base_link")]))
        for _ in range(100):
            robot.publishers["/tf"].publish(whole[: int(rng.integers(5, len(whole) - 8))])
            robot.publishers["/tf"].publish(whole[:4] + rng.bytes(len(whole) - 4))
            robot.spin(0.005)
        robot.drive(8)
        assert robot.spin_until(lambda: bool(robot.heard["latent"])), "nothing comes out"
        assert int(values(robot.next_diagnostics()["input tf"])["malformed.undeserialisable"]) > 50
        process.send_signal(signal.SIGINT)
        log = process.stderr.read()
        assert process.wait(20) == 0
    finally:
        robot.close()
    assert ("transforms are kept by tf2_ros" in log) is installed
    assert ("transforms are kept by jepa_ros" in log) is not installed
