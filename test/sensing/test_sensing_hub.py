"""The hub matches what belongs together, survives anything, and notices when time jumps and sensors fall silent."""

import threading
from types import SimpleNamespace

import numpy as np
import pytest
import sensing_messages as messages

from jepa_ros.sensing import SensingConfig, SensorHub

T = messages.START_S


class Rig:
    """A hub with a hand-moved clock and a rig that sends good messages at 10 Hz."""

    def __init__(self, **config):
        self.now_ns = 0
        self.hub = SensorHub(SensingConfig(**config), clock_ns=lambda: self.now_ns)
        self.hub.put_transforms(messages.transforms(*messages.EXTRINSICS), static=True)
        self.hub.put_camera_info("front", messages.camera_info())

    def wait(self, seconds: float) -> None:
        self.now_ns += round(seconds * 1e9)

    def frame(self, stamp_s: float, lidar: bool = True, camera: bool = True, odometry: bool = True) -> None:
        if odometry:
            self.hub.put_odometry("odom", messages.odometry(stamp_s, x=stamp_s - T))
        if camera:
            self.hub.put_image("front", messages.image(stamp_s))
        if lidar:
            self.hub.put_cloud("points", messages.cloud(stamp_s))

    def drive(self, start_s: float, frames: int, **sensors):
        taken = []
        for index in range(frames):
            self.wait(0.1)
            self.frame(start_s + 0.1 * index, **sensors)
            self.wait(0.06)
            taken.append(self.hub.take())
            self.wait(-0.06)
        return taken


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


# -- time ------------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("offset_s", [1e6, 5.0, -5.0, -900.0])
@pytest.mark.parametrize("put", ["put_cloud", "put_image", "put_odometry"])
def test_one_wrong_stamp_locks_nothing_out(put, offset_s):
    rig = Rig()
    rig.drive(T, 5)
    message = {"put_cloud": messages.cloud, "put_image": messages.image, "put_odometry": messages.odometry}[put](T + 0.5 + offset_s)
    getattr(rig.hub, put)({"put_cloud": "points", "put_image": "front", "put_odometry": "odom"}[put], message)
    taken = rig.drive(T + 0.5, 8)
    assert all(o and o.lidar and o.cameras for o in taken[4:])
    assert taken[-1].stamp_s == pytest.approx(T + 1.2)
    assert np.isclose(taken[-1].ego.odom_from_base[0, 3], 1.2)


@pytest.mark.parametrize("offset_s", [1e6, -900.0])
def test_one_absurd_stamp_costs_no_frame_and_no_history(offset_s):
    rig = Rig()
    rig.drive(T, 5)
    rig.hub.put_cloud("points", messages.cloud(T + 0.5 + offset_s))
    assert None not in rig.drive(T + 0.5, 3)
    assert rig.hub.epoch == 0
    assert rig.hub.status()["points"].malformed == {"absurd_stamp": 1}


@pytest.mark.parametrize("stamp", [(0, 0), (-5, 0), (1000, 2**32 - 1)])
def test_stamps_that_are_none(stamp):
    rig = Rig()
    message = messages.cloud()
    message.header.stamp.sec, message.header.stamp.nanosec = stamp
    rig.hub.put_cloud("points", message)
    assert rig.hub.status()["points"].malformed == {"absurd_stamp": 1}


def test_a_wrong_first_stamp_is_forgotten():
    rig = Rig()
    rig.hub.put_cloud("points", messages.cloud(T * 1e5))
    taken = rig.drive(T, 4)
    assert all(taken[1:])
    assert taken[-1].stamp_s == pytest.approx(T + 0.3)


@pytest.mark.parametrize("back_s", [0.3, 60.0])
def test_a_jump_back_starts_a_new_epoch(back_s):
    rig = Rig()
    rig.drive(T + 100, 6)
    rig.hub.put_transforms(messages.transforms((T + 100, "odom", "base_link", (0, 0, 0), messages.UNIT)), static=False)
    taken = rig.drive(T + 100.6 - back_s, 4)
    assert rig.hub.epoch == 1
    assert all(taken[1:])
    assert [o.stamp_s for o in taken[1:]] == pytest.approx([T + 100.6 - back_s + 0.1 * i for i in (1, 2, 3)])
    assert taken[1].ego.odom_from_base[0, 3] == pytest.approx(100.7 - back_s)


def test_a_jump_is_known_from_its_first_frame():
    rig = Rig()
    rig.drive(T + 100, 6)
    assert rig.drive(T, 1)[0].stamp_s == pytest.approx(T)  # sweep, image and odometry agree
    assert rig.hub.epoch == 1


def test_a_short_bag_in_a_loop_loses_no_frame():
    rig = Rig()
    for loop in range(4):
        assert None not in rig.drive(T, 3)
        assert rig.hub.epoch == loop


def test_a_lidar_alone_can_jump_too():
    rig = Rig()
    hub = rig.hub
    hub.put_transforms(messages.transforms((T, "odom", "base_link", (0, 0, 0), messages.UNIT)), static=True)
    rig.drive(T + 100, 4, camera=False, odometry=False)
    taken = rig.drive(T, 5, camera=False, odometry=False)
    assert hub.epoch == 1
    assert [o is not None for o in taken] == [False, False, True, True, True]


def test_a_long_pause_is_no_jump():
    rig = Rig()
    rig.drive(T, 3)
    rig.wait(3600)
    assert None not in rig.drive(T + 3600.3, 3)
    assert rig.hub.epoch == 0


def test_one_camera_with_a_wrong_clock_does_not_disturb_the_others():
    rig = Rig()
    rig.drive(T, 3)
    for index in range(20):
        rig.wait(0.1)
        rig.frame(T + 0.3 + 0.1 * index, camera=False)
        rig.hub.put_image("front", messages.image(T - 500 + 0.1 * index))
        assert rig.hub.take(patient=False).lidar
    assert rig.hub.epoch == 0
    assert rig.hub.status()["front"].malformed["absurd_stamp"] == 20
    assert rig.hub.status()["front"].lost


# -- messages of rclpy ------------------------------------------------------------------------------------------------------------------


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


# -- malformed messages ----------------------------------------------------------------------------------------------------------------


def broken_cloud(stamp_s: float):
    message = messages.cloud(stamp_s)
    message.data = message.data[:10]
    return message


def mutations(rng):
    """(put, input name, message): a good message with one thing wrong, and the reason it should be counted by (None: any)."""
    stamp = T + rng.uniform(0, 0.4)
    numbers = [np.nan, np.inf, -np.inf]
    cloud, image, info, odometry = messages.cloud(stamp), messages.image(stamp), messages.camera_info(stamp), messages.odometry(stamp)

    def changed(message, **changes):
        for path, value in changes.items():
            *parents, last = path.split("__")
            owner = message
            for parent in parents:
                owner = getattr(owner, parent)
            setattr(owner, last, value)
        return message

    rotten = np.full((5, 4), rng.choice(numbers), np.float32)
    return [
        ("put_cloud", "points", changed(cloud, data=cloud.data[: rng.integers(0, len(cloud.data))]), "truncated_data"),
        ("put_cloud", "points", changed(messages.cloud(stamp), point_step=int(rng.integers(0, 15))), "wrong_step"),
        ("put_cloud", "points", changed(messages.cloud(stamp), data=rotten.view(np.uint8).reshape(-1)), "no_points"),
        ("put_cloud", "points", changed(messages.cloud(stamp), width=0, data=np.empty(0, np.uint8)), "no_points"),
        ("put_cloud", "points", changed(messages.cloud(stamp), fields=[]), "bad_fields"),
        ("put_cloud", "points", changed(messages.cloud(stamp), header__frame_id="nowhere"), "missing_transform"),
        ("put_image", "front", changed(image, data=image.data[: rng.integers(0, len(image.data))]), "truncated_data"),
        ("put_image", "front", changed(messages.image(stamp), step=int(rng.integers(0, 18)), data=image.data[:-1]), "wrong_step"),
        ("put_image", "front", changed(messages.image(stamp), encoding=str(rng.choice(["", "rgb9", "\x00", "h265"]))), "unknown_encoding"),
        ("put_compressed_image", "front", messages.compressed(stamp, rng.bytes(20)), "undecodable_image"),
        ("put_camera_info", "front", changed(info, k=rng.choice(numbers, 9)), "bad_camera_info"),
        ("put_camera_info", "front", changed(messages.camera_info(stamp), k=np.zeros(9)), "bad_camera_info"),
        ("put_odometry", "odom", changed(odometry, pose__pose__position__x=rng.choice(numbers)), "non_finite_pose"),
        ("put_odometry", "odom", messages.odometry(stamp, q=(0.0, 0.0, 0.0, 0.0)), "non_finite_pose"),
        ("put_odometry", "odom", messages.odometry(stamp, speed=float(rng.choice([1e5, -1e9]))), "non_finite_pose"),
        (
            "put_cloud",
            "points",
            changed(messages.cloud(stamp), header__stamp__sec=int(rng.choice([-(2**31), 0, 2**31 - 1])), header__stamp__nanosec=0),
            "absurd_stamp",
        ),
        ("put_image", "front", changed(messages.image(stamp), header__stamp__sec=int(rng.integers(10**6, 2**31))), "absurd_stamp"),
        ("put_cloud", "points", None, "unreadable"),
        ("put_image", "front", SimpleNamespace(header=None), "unreadable"),
    ]


def test_each_kind_of_malformed_message_has_its_name():
    for index in range(len(mutations(np.random.default_rng(0)))):
        rig = Rig()
        rig.drive(T - 0.3, 3)
        put, name, message, reason = mutations(np.random.default_rng(0))[index]
        # Alone in its slot, with all that it needs beside it.
        if name != "odom":
            rig.hub.put_odometry("odom", messages.odometry(T))
            rig.hub.put_odometry("odom", messages.odometry(T + 0.5))
        getattr(rig.hub, put)(name, message)
        if name == "front":  # an image is looked at when a sweep needs it
            stamp = message.header.stamp.sec + message.header.stamp.nanosec / 1e9 if reason not in ("unreadable", "absurd_stamp") else T
            rig.hub.put_cloud("points", messages.cloud(stamp))
        rig.hub.take(patient=False)
        counted = rig.hub.status()[f"{name}/camera_info" if put == "put_camera_info" else name].malformed
        assert counted == {reason: 1}, (put, reason)


def test_a_storm_of_malformed_messages_and_then_a_good_frame():
    rng = np.random.default_rng(1)
    rig = Rig()
    rig.drive(T - 0.5, 3)
    sent = 0
    while sent < 10_000:
        for put, name, message, _ in rng.permutation(np.array(mutations(rng), dtype=object)):
            getattr(rig.hub, put)(name, message)
            sent += 1
            if sent % 7 == 0:
                rig.hub.take(patient=False)
        rig.wait(0.01)
    rig.wait(0.1)
    rig.hub.take(patient=False)
    good = rig.drive(T + 0.6, 1)[0]
    assert good.stamp_s == pytest.approx(T + 0.6)
    assert good.lidar
    assert good.cameras
    counted = sum(sum(status.malformed.values()) for status in rig.hub.status().values())
    assert counted > 5000  # the rest were replaced by newer ones before anyone looked


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
