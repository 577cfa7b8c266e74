"""A wrong stamp locks nothing out; a jump of time starts a new epoch."""

import numpy as np
import pytest
import sensing_messages as messages
from sensing_rig import Rig, T

from jepa_ros.sensing import SensorHub


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


def test_odometry_that_changes_its_frames_begins_a_new_epoch_once_the_former_ones_are_over():
    """A localiser that starts anew, or two nodes on one topic: poses in other frames jumped, and were joined to those before."""
    hub = SensorHub()
    hub.put_transforms(messages.transforms(*messages.EXTRINSICS), static=True)
    for k in range(40):
        stamp = T + 0.1 * k
        hub.put_odometry("odom", messages.odometry(stamp, x=0.1 * k))
        hub.put_odometry("odom", messages.odometry(stamp + 0.01, x=50.0, frame="odom2"))  # between them
    assert hub.odom_frame == "odom"
    assert hub.status()["odom"].malformed == {"other_frames": 40}
    hub.put_cloud("points", messages.cloud(T + 3.9))
    first = hub.take(patient=False)
    assert first.ego.odom_from_base[0, 3] == pytest.approx(3.9)
    epoch = hub.epoch
    for k in range(40, 60):
        hub.put_odometry("odom", messages.odometry(T + 0.1 * k, x=50.0 + 0.1 * k, frame="odom2"))
    hub.put_cloud("points", messages.cloud(T + 5.9))
    assert hub.take(patient=False).ego.odom_from_base[0, 3] == pytest.approx(55.9)
    assert hub.epoch == epoch + 1
    assert hub.odom_frame == "odom2"
