"""The hub survives any message, counts it under its kind, and takes the next good one."""

from types import SimpleNamespace

import numpy as np
import pytest
import sensing_messages as messages
from sensing_rig import Rig, T


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
