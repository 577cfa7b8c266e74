"""Several lidars become one observation; models that need a camera step with it; whatever comes in, the hub keeps its promises."""

import numpy as np
import pytest
import sensing_messages as messages
from hypothesis import given, settings
from hypothesis import strategies as st

from jepa_ros.sensing import SensorHub
from jepa_ros.sensing.lidar_view import lidar_views
from jepa_ros.sensing.sight import looks_of
from jepa_ros.types import GridSpec

T = messages.START_S
HALF_TURN = (0.0, 0.0, 1.0, 0.0)
MOUNTS = (
    (0.0, "base_link", "front", (1.0, 0.0, 0.5), messages.UNIT),
    (0.0, "base_link", "rear", (-1.0, 0.0, 0.5), HALF_TURN),
    (0.0, "base_link", "roof", (0.0, 0.0, 1.2), messages.UNIT),
    (0.0, "base_link", "camera", (0.5, 0.0, 1.5), (-0.5, 0.5, -0.5, 0.5)),
)


def seen(x, frame, stamp, y=0.0, intensity=None):
    """A sweep of a lidar that sees one thing, 40 points of it."""
    fields = [("x", 7, 0), ("y", 7, 4), ("z", 7, 8)] + ([("intensity", 7, 12)] if intensity is not None else [])
    values = {"x": np.full(40, x), "y": np.full(40, y), "z": np.linspace(0, 1, 40), "intensity": np.full(40, intensity or 0.0)}
    return messages.cloud(stamp, fields, values, frame=frame)


def rig(**config):
    now = [0]
    hub = SensorHub(clock_ns=lambda: now[0], **config)
    hub.put_transforms(messages.transforms(*MOUNTS), static=True)
    hub.put_camera_info("cam", messages.camera_info())
    for k in range(-2, 40):
        hub.put_odometry("odom", messages.odometry(T + 0.05 * k, x=0.5 * k, speed=10.0))
    return hub, now


def test_sweeps_of_three_lidars_are_one_each_at_its_own_time():
    hub, _ = rig()
    wall_m = 20.0  # in odom, ahead; the robot drives towards it at 10 m/s
    for name, frame, mount_x, late_s in (("/f", "front", 1.0, 0.04), ("/t", "roof", 0.0, 0.0), ("/r", "rear", -1.0, -0.05)):
        stamp = T + 0.5 + late_s
        base_x = 10.0 * (0.5 + late_s)
        ahead = wall_m - base_x - mount_x if frame != "rear" else -(wall_m - base_x - mount_x)
        hub.put_cloud(name, seen(ahead, frame, stamp, intensity=7.0 if frame == "front" else None))
    observation = hub.take(patient=False)
    assert observation.stamp_s == pytest.approx(T + 0.5)  # the roof's, which is the highest
    assert len(observation.lidar.points_m) == 120
    np.testing.assert_allclose(observation.lidar.points_m[:, 0], wall_m - 5.0, atol=0.01)  # all three see the wall where it is
    assert [part.name for part in observation.lidar.parts] == ["/t", "/f", "/r"]
    assert observation.lidar.parts[1].base_from_lidar[0, 3] == pytest.approx(1.0 + 0.4)  # 40 ms later it had come 0.4 m farther
    assert sorted(set(observation.lidar.intensity)) == [0.0, 7.0]
    assert hub.take(patient=False) is None
    assert {name: status.used for name, status in hub.status().items() if status.kind == "lidar"} == {"/f": 1, "/t": 1, "/r": 1}
    views = lidar_views(observation)
    assert [view.origin_m[0] for view in views] == pytest.approx([0.0, 1.4, -1.5])
    assert len(looks_of(observation, views, np.zeros((4, 4), bool), GridSpec(4, 4, 1.0, (-2.0, -2.0)))) == 3


def test_points_of_the_own_body_leave_the_parts_right():
    hub, _ = rig()
    hub.put_cloud("/t", seen(0.1, "roof", T + 0.5))  # all on the robot
    hub.put_cloud("/f", seen(5.0, "front", T + 0.5))
    sweep = hub.take(patient=False).lidar
    assert [(part.first, part.count) for part in sweep.parts] == [(0, 0), (0, 40)]


def test_when_the_leading_lidar_falls_silent_another_leads():
    hub, now = rig()
    led = []
    for k in range(20):
        now[0] += 100_000_000
        stamp = T + 0.1 * k
        if k < 5:
            hub.put_cloud("/t", seen(5.0, "roof", stamp))
        hub.put_cloud("/f", seen(5.0, "front", stamp + 0.02))
        hub.put_odometry("odom", messages.odometry(stamp + 0.02))
        observation = hub.take(patient=False)
        led.append(None if observation is None else round(observation.stamp_s - stamp, 3))
    assert led[:5] == [0.0] * 5
    assert led[-8:] == [0.02] * 8
    assert hub.status()["/t"].lost
    assert not hub.status()["/f"].lost


def test_a_lidar_without_a_mount_is_counted_and_costs_the_others_nothing():
    hub, _ = rig()
    for k in range(5):
        hub.put_cloud("/n", seen(5.0, "nowhere", T + 0.1 * k))
        hub.put_cloud("/f", seen(5.0, "front", T + 0.1 * k))
        assert len(hub.take(patient=False).lidar.points_m) == 40
    assert hub.status()["/n"].malformed["missing_transform"] >= 4


def test_a_model_that_needs_a_camera_steps_with_its_images():
    hub, now = rig(required=("camera",))
    stamps = []
    for k in range(30):
        now[0] += 33_000_000
        if k % 3 == 0:
            hub.put_cloud("/f", seen(5.0, "front", T + 0.033 * k + 0.005))
        if k % 2 == 0:
            hub.put_image("cam", messages.image(T + 0.033 * k))
        now[0] += 60_000_000
        observation = hub.take()
        now[0] -= 60_000_000
        if observation is not None:
            assert observation.cameras
            assert observation.stamp_ns == observation.cameras[0].stamp_ns
            stamps.append(observation.stamp_s)
    assert len(stamps) == 15  # each image, once
    lidar_only, _ = rig(required=("camera",))
    lidar_only.put_cloud("/f", seen(5.0, "front", T))
    assert lidar_only.take(patient=False) is None
    with pytest.raises(ValueError, match="sonar"):
        SensorHub(required=("sonar",))


def test_a_model_of_two_cameras_waits_for_both_images():
    hub, now = rig(required=("camera",), cameras=("cam", "wrist"))
    hub.put_camera_info("wrist", messages.camera_info())
    for k in range(4):
        now[0] += 240_000_000
        hub.put_image("wrist", messages.image(T + 0.3 * k))
        assert hub.take() is None, "the other image is on its way"
        if k != 2:
            hub.put_image("cam", messages.image(T + 0.3 * k))
        now[0] += 60_000_000
        observation = hub.take()
        assert (observation is None) == (k == 2), "without its image nothing is made"
        if observation is not None:
            assert {camera.name for camera in observation.cameras} == {"cam", "wrist"}


def test_a_model_that_needs_a_lidar_gets_no_frame_without():
    hub, now = rig(required=("lidar",))
    for k in range(20):
        now[0] += 100_000_000
        hub.put_image("cam", messages.image(T + 0.1 * k))
        assert hub.take(patient=False) is None


def test_another_odometry_begins_a_new_epoch():
    hub, _ = rig()
    hub.put_cloud("/f", seen(5.0, "front", T + 0.5))
    assert hub.take(patient=False) is not None
    hub.forget("odom")
    hub.put_odometry("other", messages.odometry(T + 0.6, x=-3.0))
    hub.put_cloud("/f", seen(5.0, "front", T + 0.6))
    observation = hub.take(patient=False)
    assert hub.epoch == 1
    assert observation.ego.odom_from_base[0, 3] == pytest.approx(-3.0)
    hub.forget("never heard of")


# -- properties ------------------------------------------------------------------------------------------------------------------------

STEP = st.tuples(
    st.sampled_from(["/f", "/t", "/r", "/n", "cam", "odom", "tf", "garbage", "take", "patient", "forget"]),
    st.sampled_from([0.0, 0.01, 0.03, 0.1, 0.4, 2.0]),  # how much time passes before
    st.sampled_from([0.0, 0.0, 0.0, -0.02, -0.3, 5.0, -5.0, 1e6, -900.0]),  # how wrong the stamp is
)


def message_of(name, stamp):
    frames = {"/f": "front", "/t": "roof", "/r": "rear", "/n": "nowhere"}
    return messages.image(stamp) if name == "cam" else seen(5.0, frames[name], stamp)


@settings(max_examples=150, deadline=None)
@given(st.lists(STEP, max_size=60), st.sampled_from([(), ("camera",), ("lidar",), ("camera", "lidar")]))
def test_whatever_comes_in_whatever_order(steps, required):
    hub, now = rig(required=required)
    last, time_s, sent = {}, T, dict.fromkeys(("/f", "/t", "/r", "/n", "cam"), 0)

    def take(patient):
        while (observation := hub.take(patient)) is not None:
            assert observation.stamp_ns > last.get(hub.epoch, -1)
            last[hub.epoch] = observation.stamp_ns
            assert np.isfinite(observation.ego.odom_from_base).all()
            assert set(required) <= {kind for kind, there in (("lidar", observation.lidar), ("camera", observation.cameras)) if there}
            if observation.lidar:
                assert np.isfinite(observation.lidar.points_m).all()
                assert sum(part.count for part in observation.lidar.parts) in (0, len(observation.lidar.points_m))

    for name, passed_s, wrong_s in steps:
        time_s += passed_s
        now[0] += round(passed_s * 1e9)
        stamp = max(time_s + wrong_s, 0.0)
        if name in sent:
            message = message_of(name, stamp)
            (hub.put_image if name == "cam" else hub.put_cloud)(name, message)
            sent[name] += 1
        elif name == "odom":
            hub.put_odometry("odom", messages.odometry(stamp, x=stamp - T))
        elif name == "tf":
            hub.put_transforms(messages.transforms((stamp, "odom", "base_link", (0.0, 0.0, 0.0), messages.UNIT)), static=False)
        elif name == "garbage":
            hub.put_cloud("/f", None)
            sent["/f"] += 1
        elif name == "forget":
            hub.forget("/t")
        else:
            take(patient=name == "patient")
    take(patient=False)
    for name, count in sent.items():
        status = hub.status().get(name)
        if status is not None:
            assert status.received == count
            told = status.used + status.dropped_newest_wins + status.stale + sum(status.malformed.values())
            assert told <= count + sum(status.malformed.values())  # one image can fail for two sweeps; nothing is used or dropped twice
            assert status.used + status.dropped_newest_wins + status.stale <= count
    inbox = hub._inbox
    assert all(len(waiting) <= 8 for waiting in inbox.sweeps.values())
    assert all(len(waiting) <= 32 for waiting in inbox.images.values())


@pytest.mark.parametrize("off_s", [-0.4, 0.8])
def test_a_clock_that_is_a_little_off_is_named_and_a_slow_or_dead_sensor_is_not(off_s):
    """The stamps are plausible, and no sweep or image of it ever belongs to an observation: it was said to be merged."""
    hub, now = rig()
    for k in range(16):
        now[0] += 100_000_000
        hub.put_cloud("/t", seen(5.0, "roof", T + 0.1 * k))
        hub.put_cloud("/f", seen(5.0, "front", T + 0.1 * k + (off_s if off_s < 0 else 0.0)))
        hub.put_image("cam", messages.image(T + 0.1 * k + off_s))
        if k % 7 == 6:  # slow, and late in coming
            hub.put_cloud("/r", seen(5.0, "rear", T + 0.1 * k + 0.02))
        hub.take(patient=False)
    notices = {name: status.notices.get("match", "") for name, status in hub.status().items()}
    assert "not used; synchronise its clock" in notices["cam"]
    assert ("not used" in notices["/f"]) == (off_s < 0)
    assert not notices["/t"]
    assert not notices["/r"]
    for k in range(-2, 20):
        hub.put_odometry("odom", messages.odometry(T + 2.0 + 0.05 * k, x=20.0 + 0.5 * k, speed=10.0))
    hub.put_image("cam", messages.image(T + 2.5))
    hub.put_cloud("/t", seen(5.0, "roof", T + 2.5))
    hub.take(patient=False)
    assert "match" not in hub.status()["cam"].notices
