"""The hub matches what belongs together, notices when sensors fall silent, and serves several threads."""

import threading

import numpy as np
import pytest
import sensing_messages as messages
from sensing_rig import Rig, T, broken_cloud

from jepa_ros.sensing import SensingConfig, SensorHub


def test_a_frame_becomes_an_observation():
    rig = Rig()
    rig.frame(T + 1.0)
    observation = rig.hub.take()
    assert observation.stamp_s == pytest.approx(T + 1.0)
    np.testing.assert_allclose(observation.lidar.points_m[0], [6, 15, 27])  # (5, 15, 25) seen from a lidar at (1, 0, 2)
    assert observation.cameras[0].name == "front"
    np.testing.assert_allclose(observation.cameras[0].base_from_camera[:3] @ [0, 0, 1, 1], [1.5, 0, 1.5], atol=1e-12)  # ahead
    assert observation.ego.odom_from_base[0, 3] == pytest.approx(1.0)
    assert rig.hub.take() is None
    assert set(rig.hub.last_timings_ms) == {"receive", "decode"}


def test_odometry_is_interpolated_and_the_camera_moved_to_the_time_of_the_sweep():
    rig = Rig()
    for stamp, x in ((T, 0.0), (T + 0.1, 1.0)):
        rig.hub.put_odometry("odom", messages.odometry(stamp, x=x, speed=10.0))
    rig.hub.put_image("front", messages.image(T + 0.03))
    rig.hub.put_cloud("points", messages.cloud(T + 0.05))
    observation = rig.hub.take(patient=False)
    assert observation.ego.odom_from_base[0, 3] == pytest.approx(0.5)
    assert observation.ego.velocity_mps[0] == pytest.approx(10.0)
    assert observation.cameras[0].base_from_camera[0, 3] == pytest.approx(0.5 - 0.2)


def test_transforms_give_the_motion_without_odometry():
    rig = Rig()
    for index in range(3):
        rig.hub.put_transforms(
            messages.transforms((T + 0.1 * index, "odom", "base_link", (0.2 * index, 0, 0), messages.UNIT)), static=False
        )
    rig.hub.put_cloud("points", messages.cloud(T + 0.15))
    ego = rig.hub.take(patient=False).ego
    assert ego.odom_from_base[0, 3] == pytest.approx(0.3)
    np.testing.assert_allclose(ego.velocity_mps, [2.0, 0.0], atol=1e-9)


def test_a_sweep_waits_for_its_image_and_then_goes_without():
    rig = Rig()
    rig.drive(T, 3)
    rig.wait(0.1)
    rig.frame(T + 0.3, camera=False)
    assert rig.hub.take() is None  # the image of the same stamp is due
    rig.hub.put_image("front", messages.image(T + 0.3))
    assert rig.hub.take().cameras[0].stamp_ns == round((T + 0.3) * 1e9)
    rig.wait(0.1)
    rig.frame(T + 0.45, camera=False)
    assert rig.hub.take() is None
    rig.wait(0.051)
    assert rig.hub.take().cameras == ()  # the last image is 0.15 s old


def test_no_wait_where_the_image_cannot_get_nearer():
    rig = Rig()
    for index in range(3):
        rig.hub.put_image("front", messages.image(T + 0.1 * index - 0.02))
    rig.frame(T + 0.2, camera=False)
    assert len(rig.hub.take().cameras) == 1


def test_newest_wins():
    rig = Rig()
    for index in range(5):
        rig.frame(T + 0.1 * index)
    assert rig.hub.take().stamp_s == pytest.approx(T + 0.4)
    assert rig.hub.take() is None
    status = rig.hub.status()
    assert (status["points"].received, status["points"].used, status["points"].dropped_newest_wins) == (5, 1, 4)
    assert status["front"].dropped_newest_wins == 4
    assert status["odom"].used == 5


def test_late_and_repeated_sweeps_are_stale():
    rig = Rig()
    rig.drive(T, 3)
    rig.hub.put_cloud("points", messages.cloud(T + 0.2))
    rig.hub.put_cloud("points", messages.cloud(T + 0.15))
    assert rig.hub.take(patient=False) is None
    assert rig.hub.status()["points"].stale == 2


def test_lidar_lost_and_found():
    rig = Rig()
    rig.drive(T, 3)
    alone = rig.drive(T + 0.3, 10, lidar=False)
    assert [observation is not None for observation in alone] == [False] * 5 + [True] * 5
    assert all(observation.lidar is None and observation.cameras for observation in alone[5:])
    assert rig.hub.status()["points"].lost
    back = rig.drive(T + 1.3, 2)
    assert all(observation.lidar and observation.cameras for observation in back)
    assert not rig.hub.status()["points"].lost


def test_lidar_never_there_and_lidar_useless():
    rig = Rig()
    assert [o is not None for o in rig.drive(T, 9, lidar=False)] == [False] * 6 + [True] * 3
    rig = Rig()
    rig.hub.put_cloud("points", broken_cloud(T))
    for index in range(9):
        rig.hub.put_cloud("points", broken_cloud(T + 0.1 * index))
        rig.frame(T + 0.1 * index, lidar=False)
        rig.wait(0.1)
        last = rig.hub.take()
    assert last.lidar is None
    assert last.cameras
    assert rig.hub.status()["points"].lost


def test_camera_lost():
    rig = Rig()
    rig.drive(T, 3)
    assert all(observation.lidar and not observation.cameras for observation in rig.drive(T + 0.4, 8, camera=False))
    assert rig.hub.status()["front"].lost


def test_each_sweep_without_a_pose_is_counted():
    rig = Rig()
    assert rig.drive(T, 3, odometry=False, camera=False) == [None] * 3
    assert rig.hub.status()["points"].malformed == {"missing_pose": 3}


def test_what_is_missing_is_named():
    hub = SensorHub(clock_ns=lambda: 0)
    hub.put_odometry("odom", messages.odometry(T))
    hub.put_cloud("points", messages.cloud(T))
    assert hub.take(patient=False) is None
    assert hub.status()["points"].malformed == {"missing_transform": 1}
    hub.put_transforms(messages.transforms(*messages.EXTRINSICS), static=True)
    hub.put_image("front", messages.image(T + 0.1))
    hub.put_cloud("points", messages.cloud(T + 0.1))
    assert hub.take(patient=False).cameras == ()
    assert hub.status()["front"].malformed == {"missing_camera_info": 1}


def test_extrinsics_by_parameter():
    hub = SensorHub(SensingConfig(static_transforms=("base_link lidar 1 0 2 0 0 1.5707963267948966",)), clock_ns=lambda: 0)
    hub.put_odometry("odom", messages.odometry(T))
    hub.put_cloud("points", messages.cloud(T))
    np.testing.assert_allclose(hub.take(patient=False).lidar.points_m[0], [1 - 15, 5, 27], rtol=1e-6)


def test_messages_of_rclpy_serve_as_well():
    import importlib

    pytest.importorskip("sensor_msgs.msg", reason="needs the Python messages of ROS 2", exc_type=ImportError)

    def of_rclpy(message):
        """The same content in the classes that rclpy hands out (array.array for bytes, checked types)."""
        package, _, name = message.__msgtype__.split("/")
        copy = getattr(importlib.import_module(f"{package}.msg"), name)()
        for field in copy.get_fields_and_field_types():
            value = getattr(message, field)
            if hasattr(value, "__msgtype__"):
                value = of_rclpy(value)
            elif isinstance(value, list):
                value = [of_rclpy(element) for element in value]
            elif isinstance(value, np.ndarray):
                value = value.tolist()
            elif field == "is_bigendian" and name == "PointCloud2":
                value = bool(value)
            setattr(copy, field, value)
        return copy

    taken = []
    for convert in (lambda message: message, of_rclpy):
        hub = SensorHub(
            SensingConfig(static_transforms=("base_link lidar 1 0 2 0 0 0", "base_link camera 0 0 1 0 0 0")), clock_ns=lambda: 0
        )
        hub.put_camera_info("front", convert(messages.camera_info()))
        hub.put_odometry("odom", convert(messages.odometry(T, x=3.0, yaw=0.4)))
        hub.put_image("front", convert(messages.image(T, pixels=np.arange(72, dtype=np.uint8).reshape(4, 6, 3))))
        hub.put_cloud("points", convert(messages.cloud(T)))
        taken.append(hub.take())
    left, right = taken
    np.testing.assert_array_equal(left.lidar.points_m, right.lidar.points_m)
    np.testing.assert_array_equal(left.cameras[0].rgb, right.cameras[0].rgb)
    np.testing.assert_array_equal(left.ego.odom_from_base, right.ego.odom_from_base)


def test_threads_may_put_while_one_takes():
    hub = SensorHub()
    hub.put_transforms(messages.transforms(*messages.EXTRINSICS), static=True)
    hub.put_camera_info("front", messages.camera_info())

    def send(put, make):
        for index in range(300):
            put(make(T + 0.01 * index))

    send(lambda m: hub.put_odometry("odom", m), messages.odometry)
    senders = [
        threading.Thread(target=send, args=(lambda m: hub.put_cloud("points", m), messages.cloud)),
        threading.Thread(target=send, args=(lambda m: hub.put_image("front", m), messages.image)),
    ]
    for sender in senders:
        sender.start()
    stamps = []
    sending = True
    while sending:
        sending = any(sender.is_alive() for sender in senders)
        observation = hub.take(patient=False)
        if observation:
            stamps.append(observation.stamp_ns)
    assert stamps == sorted(set(stamps))
    assert stamps
    status = hub.status()["points"]
    assert status.received == 300
