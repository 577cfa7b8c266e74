"""A lidar that drives and turns while it scans sees a straight wall where it stands, however its driver writes the time of a point."""

import time

import numpy as np
import pytest
import sensing_messages as messages
from hypothesis import given, settings
from hypothesis import strategies as st

from jepa_ros import types
from jepa_ros.sensing import SensingConfig, SensorHub, anchor_points, decode_cloud
from jepa_ros.sensing.hub import builder
from jepa_ros.sensing.time.deskew import deskewed, is_compensated
from jepa_ros.sensing.time.offsets import time_offsets_s

EPOCH_S = 1_700_000_000.0
SWEEP_S, COLUMNS, BEAMS = 0.1, 720, 8
U32, F32, F64, I32 = 6, 7, 8, 5
WALL_X = 14.0  # in odom; the robot begins at the origin and looks at it
MOUNT = (0.4, 0.0, 0.9)


def pose_at(t, speed, turn):
    """(3,) x, y, yaw on an arc."""
    if abs(turn) < 1e-9:
        return np.array([speed * t, 0.0 * t, 0.0 * t])
    return np.array([speed / turn * np.sin(turn * t), speed / turn * (1 - np.cos(turn * t)), turn * t])


def sweep(speed, turn, start_s):
    """(N, 3) points in the lidar frame of the moment each was measured, and (N,) that moment; what it sees is one wall at WALL_X."""
    t = start_s + np.repeat(np.arange(COLUMNS) / COLUMNS * SWEEP_S, BEAMS)
    azimuth = np.repeat(np.linspace(-np.pi, np.pi, COLUMNS, endpoint=False), BEAMS)
    slope = np.tile(np.linspace(-0.04, 0.04, BEAMS), COLUMNS)
    x, _, yaw = pose_at(t, speed, turn)
    origin_x = x + MOUNT[0] * np.cos(yaw)
    heading = yaw + azimuth
    with np.errstate(divide="ignore"):
        distance = (WALL_X - origin_x) / np.cos(heading)
    seen = (np.cos(heading) > 0.4) & (distance > 0.5)
    points = np.column_stack((np.cos(azimuth) * distance, np.sin(azimuth) * distance, slope * distance))
    return points[seen], t[seen]


# name, datatype, what the driver writes for the moments t when the sweep began at `first` and ended at `last` (s since EPOCH_S), and
# which of the two its header has
CONVENTIONS = {
    "velodyne, float seconds from the start": ("time", F32, lambda t, first, last: t - first, "first"),
    "velodyne, float seconds to the end": ("time", F32, lambda t, first, last: t - last, "last"),
    "ouster, integer ns from the start": ("t", U32, lambda t, first, last: (t - first) * 1e9, "first"),
    "livox, integer ns": ("offset_time", U32, lambda t, first, last: (t - first) * 1e9, "first"),
    "velodyne to_pcl, integer us": ("time", U32, lambda t, first, last: (t - first) * 1e6, "first"),
    "float us": ("time", F32, lambda t, first, last: (t - first) * 1e6, "first"),
    "float ms": ("ts", F32, lambda t, first, last: (t - first) * 1e3, "first"),
    "float ns": ("t", F64, lambda t, first, last: (t - first) * 1e9, "first"),
    "signed ns before the end": ("time_offset_ns", I32, lambda t, first, last: (t - last) * 1e9, "last"),
    "hesai, absolute seconds": ("timestamp", F64, lambda t, first, last: EPOCH_S + t, "first"),
    "robosense, absolute seconds, stamped at the end": ("timestamp", F64, lambda t, first, last: EPOCH_S + t, "last"),
    "livox_ros_driver2, absolute ns": ("timestamp", F64, lambda t, first, last: (EPOCH_S + t) * 1e9, "first"),
    "absolute us": ("timeStamp", F64, lambda t, first, last: (EPOCH_S + t) * 1e6, "last"),
    "absolute, stamped in the middle": ("time_stamp", F64, lambda t, first, last: EPOCH_S + t, "middle"),
    "a clock since power-on, seconds": ("timestamp", F64, lambda t, first, last: 5321.0 + t, "first"),
    "microseconds of the hour": ("time_stamp", U32, lambda t, first, last: (1234.0 + t) * 1e6, "first"),
}


def observe(speed, turn, name, kind, values, header, topic="points", start_s=1.0, **config):
    points, t = sweep(speed, turn, start_s)
    first, last = t.min(), t.max()
    stamp = {"first": first, "last": last, "middle": (first + last) / 2}[header]
    hub = SensorHub(SensingConfig(own_body_m=(-0.5, -0.5, 0.5, 0.5), **config), clock_ns=lambda: 0)
    hub.put_transforms(messages.transforms((0.0, "base_link", "lidar", MOUNT, messages.UNIT)), static=True)
    for moment in np.arange(0.5, 1.5, 0.02):
        x, y, yaw = pose_at(moment, speed, turn)
        message = messages.odometry(EPOCH_S + moment, x=float(x), yaw=float(yaw), speed=speed, yaw_rate=turn)
        message.pose.pose.position.y = float(y)
        hub.put_odometry("odom", message)
    fields = [("x", 7, 0), ("y", 7, 4), ("z", 7, 8), (name, kind, 16)]
    numbers = dict(zip("xyz", points.T, strict=True)) | {name: values(t, first, last)}
    hub.put_cloud(topic, messages.cloud(EPOCH_S + stamp, fields, numbers, point_step=24))
    observation = hub.take(patient=False)
    in_odom = observation.levelled_m.astype(np.float64) @ observation.ego.odom_from_base[:3, :3].T + observation.ego.odom_from_base[:3, 3]
    return observation, in_odom


def off_the_wall(in_odom):
    return np.abs(in_odom[:, 0] - WALL_X).max()


@pytest.mark.parametrize("convention", CONVENTIONS)
@pytest.mark.parametrize(("speed", "turn"), [(10.0, 0.0), (3.0, 1.2), (-6.0, 0.0), (0.0, -1.5)])
def test_a_wall_is_straight_and_in_its_place(convention, speed, turn):
    observation, in_odom = observe(speed, turn, *CONVENTIONS[convention])
    assert observation.lidar.time_offset_s is not None
    assert off_the_wall(in_odom) < 0.03
    _, smeared = observe(speed, turn, *CONVENTIONS[convention], deskew=False)
    assert off_the_wall(smeared) > 0.1, "what this is about"


@pytest.mark.parametrize("topic", ["/lio/cloud_deskewed", "/points_undistorted", "/sensing/lidar/top/rectified/pointcloud_ex"])
def test_clouds_named_as_compensated_are_left_alone(topic):
    assert is_compensated(topic)
    _, in_odom = observe(10.0, 0.0, *CONVENTIONS["velodyne, float seconds from the start"], topic=topic)
    assert off_the_wall(in_odom) > 0.3
    assert not is_compensated("/velodyne_points")


def test_what_the_vehicle_shows_of_itself_is_cut_out_before_it_is_moved():
    """A mast 0.3 m behind base_link, seen late in the sweep at 10 m/s, would come to lie half a metre ahead."""
    hub = SensorHub(SensingConfig(own_body_m=(-0.5, -0.5, 0.5, 0.5)), clock_ns=lambda: 0)
    hub.put_transforms(messages.transforms((0.0, "base_link", "lidar", (0, 0, 1.0), messages.UNIT)), static=True)
    for moment in (0.9, 1.0, 1.1, 1.2):
        hub.put_odometry("odom", messages.odometry(EPOCH_S + moment, x=10.0 * moment, speed=10.0))
    mast, ahead = np.array([[-0.3, 0.0, 0.2]] * 20), np.array([[8.0, 0.0, 0.2]] * 20)
    x, y, z = np.vstack((mast, ahead)).T
    offsets = np.r_[np.linspace(0.08, 0.1, 20), np.linspace(0.0, 0.02, 20)]
    fields = [("x", 7, 0), ("y", 7, 4), ("z", 7, 8), ("time", 7, 12)]
    hub.put_cloud("points", messages.cloud(EPOCH_S + 1.0, fields, {"x": x, "y": y, "z": z, "time": offsets}))
    points = hub.take(patient=False).lidar.points_m
    assert len(points) == 20
    assert points[:, 0].min() > 7.9


def test_without_odometry_at_the_end_of_the_sweep_the_twist_is_followed():
    observation, in_odom = observe(5.0, 0.0, *CONVENTIONS["velodyne, float seconds from the start"], start_s=1.44)
    assert observation.stamp_ns > 0
    assert off_the_wall(in_odom) < 0.03


def test_a_standing_vehicle_changes_no_bit():
    points = np.random.default_rng(0).normal(0, 9, (500, 3)).astype(np.float32)
    still = deskewed(points, np.linspace(0, 0.1, 500, dtype=np.float32), 10**9, lambda stamps: np.tile(np.eye(4), (len(stamps), 1, 1)))
    assert still is points


def test_a_large_sweep_costs_little():
    points = np.random.default_rng(0).normal(0, 30, (100_000, 3)).astype(np.float32)
    offsets = np.linspace(0, 0.1, len(points), dtype=np.float32)

    def base_at(stamps):
        poses = np.tile(np.eye(4), (len(stamps), 1, 1))
        for pose, stamp in zip(poses, stamps, strict=True):
            x, y, yaw = pose_at(stamp / 1e9 - 1.0, 10.0, 0.5)
            pose[:2, :2] = [[np.cos(yaw), -np.sin(yaw)], [np.sin(yaw), np.cos(yaw)]]
            pose[:2, 3] = x, y
        return poses

    reference = min(_timed(lambda: np.linalg.norm(points @ np.eye(3, dtype=np.float32), axis=1)) for _ in range(5))
    spent = min(_timed(lambda: deskewed(points, offsets, 10**9, base_at)) for _ in range(5))
    assert spent < max(3e-3, 12 * reference)  # 3 ms, or as many plain passes where the machine is busy or slow


def _timed(work):
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        ("f4", np.full(50, EPOCH_S)),  # float32 holds no time since 1970
        ("f8", np.full(50, np.nan)),
        ("u4", np.zeros(50)),
        ("f4", np.zeros(50)),
    ],
)
def test_times_that_tell_nothing_move_nothing(kind, values):
    offsets = time_offsets_s("time", values.astype(kind), round(EPOCH_S * 1e9) + 40 * 10**9)
    assert offsets is None or not offsets.any()


def test_fillers_among_the_times_are_left_where_they_are():
    times = EPOCH_S + np.linspace(0, 0.1, 1000)
    times[[3, 500]] = 0.0
    times[7] = np.nan
    offsets = time_offsets_s("timestamp", times, round(EPOCH_S * 1e9))
    np.testing.assert_allclose(np.delete(offsets, [3, 7, 500]), np.delete(np.linspace(0, 0.1, 1000), [3, 7, 500]), atol=1e-6)
    assert np.all(np.abs(offsets) <= 0.11)
    times[::3] = 0.0
    assert time_offsets_s("timestamp", times, round(EPOCH_S * 1e9)) is None


@given(
    duration_s=st.floats(0.01, 0.4), unit=st.sampled_from([1.0, 1e3, 1e6, 1e9]), start_s=st.sampled_from([0.0, -1.0, 0.5, EPOCH_S]),
    kind=st.sampled_from(["f4", "f8", "i8", "u8"]), count=st.integers(2, 300),
)  # fmt: skip
@settings(max_examples=200, deadline=None)
def test_offsets_survive_every_unit_and_origin(duration_s, unit, start_s, kind, count):
    """Start: at the header, before it (the header is at the end), around it, or since 1970."""
    true_s = np.linspace(0, duration_s, count) + (start_s if abs(start_s) < 2 else 0.0) * duration_s
    written = (true_s + (EPOCH_S if start_s == EPOCH_S else 0.0)) * unit
    whole = kind in ("i8", "u8")
    if (whole and unit == 1.0) or (kind == "u8" and written.min() < 0) or (kind == "f4" and start_s == EPOCH_S):
        return
    times = np.round(written).astype(kind) if whole else written.astype(kind)
    offsets = time_offsets_s("t", times, round(EPOCH_S * 1e9))
    rounding_s = 0.6 / unit if whole else 1e-6
    np.testing.assert_allclose(offsets, true_s, atol=max(rounding_s, 1e-6) + (2e-7 if start_s == EPOCH_S else 0.0))


@given(st.binary(min_size=8, max_size=400), st.sampled_from(["f4", "f8", "u4", "i4", "u8", "i8", "u2", "u1"]), st.integers(1, 2**62))
@settings(max_examples=200, deadline=None)
def test_no_times_do_harm(data, kind, stamp_ns):
    times = np.frombuffer(data[: len(data) // 8 * 8], kind)
    with np.errstate(all="ignore"):
        offsets = time_offsets_s("timestamp", times, stamp_ns)
    assert offsets is None or (np.isfinite(offsets).all() and np.abs(offsets).max() < 2.0)


def test_field_names_of_any_case():
    fields = [("X", 7, 0), ("Y", 7, 4), ("Z", 7, 8), ("timeStamp", F64, 16)]
    message = messages.cloud(
        EPOCH_S, fields, {"X": np.ones(5), "Y": np.ones(5), "Z": np.ones(5), "timeStamp": EPOCH_S + np.linspace(0, 0.1, 5)}, 24
    )
    np.testing.assert_allclose(decode_cloud(message).time_offset_s, np.linspace(0, 0.1, 5), atol=1e-6)


def test_a_sweep_is_levelled_once_and_to_the_same_bits(monkeypatch):
    calls, original = [], types.levelled

    def counted(points, pose):
        calls.append(len(points))
        return original(points, pose)

    for module in (builder, types):
        monkeypatch.setattr(module, "levelled", counted)
    observation, _ = observe(6.0, 0.4, *CONVENTIONS["ouster, integer ns from the start"])
    assert anchor_points(observation) is anchor_points(observation)
    assert len([count for count in calls if count > 1]) == 1, "the sweep; the lidar's own place is one point"
    np.testing.assert_array_equal(observation.levelled_m, original(observation.lidar.points_m, observation.ego.odom_from_base))
