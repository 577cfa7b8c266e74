"""Any PointCloud2 layout gives the same points."""

import array
import time

import numpy as np
import pytest
import sensing_messages as messages

from jepa_ros.sensing import MalformedMessage, SensorHub, decode_cloud

RNG = np.random.default_rng(0)
COUNT = 12
X, Y, Z = (RNG.uniform(-50, 50, COUNT).astype(np.float32) for _ in range(3))
POINTS = np.stack((X, Y, Z), axis=1)


@pytest.mark.parametrize("bigendian", [False, True])
@pytest.mark.parametrize("height", [1, 3])
@pytest.mark.parametrize("row_padding", [0, 5])
@pytest.mark.parametrize(
    ("fields", "point_step"),
    [
        ([("x", 7, 0), ("y", 7, 4), ("z", 7, 8)], 12),
        ([("x", 7, 4), ("y", 7, 8), ("z", 7, 12)], 32),
        ([("x", 8, 0), ("y", 8, 8), ("z", 8, 16)], 24),
        ([("x", 7, 1), ("y", 8, 7), ("z", 7, 19)], 23),
        ([("z", 7, 0), ("x", 7, 4), ("y", 7, 8)], 12),
    ],
)
def test_layouts(fields, point_step, row_padding, height, bigendian):
    message = messages.cloud(
        fields=fields, values={"x": X, "y": Y, "z": Z}, point_step=point_step, height=height, row_padding=row_padding, bigendian=bigendian
    )
    decoded = decode_cloud(message)
    assert decoded.points_m.dtype == np.float32
    np.testing.assert_array_equal(decoded.points_m, POINTS)
    assert (decoded.dropped, decoded.intensity, decoded.ring, decoded.time_offset_s) == (0, None, None, None)


@pytest.mark.parametrize("kind", [1, 2, 3, 4, 5, 6, 7, 8])
def test_intensity_and_ring_of_any_type(kind):
    fields = [("x", 7, 0), ("y", 7, 4), ("z", 7, 8), ("intensity", kind, 12), ("ring", kind, 20)]
    values = {"x": X, "y": Y, "z": Z, "intensity": np.arange(COUNT), "ring": np.arange(COUNT)[::-1]}
    decoded = decode_cloud(messages.cloud(fields=fields, values=values, point_step=28, bigendian=True))
    np.testing.assert_array_equal(decoded.intensity, np.arange(COUNT, dtype=np.float32))
    np.testing.assert_array_equal(decoded.ring, np.arange(COUNT)[::-1])
    assert (decoded.intensity.dtype, decoded.ring.dtype) == (np.float32, np.int32)


@pytest.mark.parametrize(
    ("name", "kind", "values"),
    [
        ("t", 6, np.arange(COUNT) * 8_000_000),  # Ouster: ns
        ("time", 7, np.arange(COUNT) * 0.008),  # Velodyne: s
        ("timestamp", 8, messages.START_S * 1e6 + np.arange(COUNT) * 0.008),  # Hesai: absolute s
        ("timestamp", 8, (messages.START_S * 1e6 + np.arange(COUNT) * 0.008) * 1e9),  # Livox: absolute ns
    ],
)
def test_time_of_each_point(name, kind, values):
    fields = [("x", 7, 0), ("y", 7, 4), ("z", 7, 8), (name, kind, 16)]
    message = messages.cloud(messages.START_S * 1e6, fields, {"x": X, "y": Y, "z": Z, name: values}, point_step=24)
    np.testing.assert_allclose(decode_cloud(message).time_offset_s, np.arange(COUNT) * 0.008, atol=2e-6)


def test_time_in_an_unknown_unit_is_left_out():
    fields = [("x", 7, 0), ("y", 7, 4), ("z", 7, 8), ("time", 7, 12)]
    decoded = decode_cloud(messages.cloud(fields=fields, values={"x": X, "y": Y, "z": Z, "time": np.arange(COUNT) * 1e9}))
    assert decoded.time_offset_s is None
    np.testing.assert_array_equal(decoded.points_m, POINTS)


def test_non_finite_points_are_dropped_from_every_column():
    x, z = X.copy(), Z.astype(np.float64)
    x[2], z[4], z[7] = np.nan, np.inf, 1e300
    fields = [("x", 7, 0), ("y", 7, 4), ("z", 8, 8), ("intensity", 7, 16)]
    decoded = decode_cloud(messages.cloud(fields=fields, values={"x": x, "y": Y, "z": z, "intensity": np.arange(COUNT)}, point_step=20))
    keep = np.delete(np.arange(COUNT), [2, 4, 7])
    assert decoded.dropped == 3
    np.testing.assert_array_equal(decoded.points_m, POINTS[keep])
    np.testing.assert_array_equal(decoded.intensity, keep)


def test_rclpy_buffers_decode_alike():
    message = messages.cloud()
    expected = decode_cloud(message).points_m
    message.data = array.array("B", message.data.tobytes())
    np.testing.assert_array_equal(decode_cloud(message).points_m, expected)


def test_empty_cloud():
    message = messages.cloud()
    message.width, message.data = 0, np.empty(0, np.uint8)
    assert decode_cloud(message).points_m.shape == (0, 3)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"data": np.zeros(10, np.uint8)}, "truncated_data"),
        ({"data": np.zeros(0, np.uint8)}, "truncated_data"),
        ({"width": 2**32 - 1}, "truncated_data"),
        ({"point_step": 0}, "wrong_step"),
        ({"point_step": 8}, "wrong_step"),
        ({"height": 5, "width": 1, "row_step": 3}, "wrong_step"),
        ({"fields": []}, "bad_fields"),
        ({"fields": [messages.TYPES["PointField"](name="x", offset=0, datatype=99, count=1)]}, "bad_fields"),
    ],
)
def test_malformed_clouds_are_named(change, reason):
    message = messages.cloud()
    for name, value in change.items():
        setattr(message, name, value)
    with pytest.raises(MalformedMessage) as caught:
        decode_cloud(message)
    assert caught.value.reason == reason


@pytest.mark.parametrize("kind", [3, 5])
def test_whole_numbers_are_no_metres(kind):
    """Millimetres: taken for metres, all that is near the robot would have been seen through, and free."""
    fields = [("x", kind, 0), ("y", kind, 4), ("z", kind, 8)]
    with pytest.raises(MalformedMessage, match="x, y, z are integers, so not in metres"):
        decode_cloud(messages.cloud(fields=fields, values={"x": 1000 * X, "y": 1000 * Y, "z": 1000 * Z}))


def test_equal_to_sensor_msgs_py():
    point_cloud2 = pytest.importorskip("sensor_msgs_py.point_cloud2", reason="sensor_msgs_py comes with a sourced ROS 2")
    from sensor_msgs.msg import PointCloud2, PointField

    x = X.copy()
    x[3] = np.nan
    for kind, step, bigendian, height in ((7, 4, False, 1), (8, 8, False, 3), (7, 4, True, 1)):
        fields = [("x", kind, 0), ("y", kind, step), ("z", kind, 2 * step), ("intensity", 7, 3 * step)]
        ours = messages.cloud(
            fields=fields, values={"x": x, "y": Y, "z": Z, "intensity": X}, point_step=3 * step + 8, height=height, bigendian=bigendian
        )
        theirs = PointCloud2(
            height=ours.height, width=ours.width, is_bigendian=bigendian, point_step=ours.point_step, row_step=ours.row_step, is_dense=False
        )
        theirs.fields = [PointField(name=name, datatype=datatype, offset=offset, count=1) for name, datatype, offset in fields]
        theirs.data = array.array("B", ours.data.tobytes())
        decoded = decode_cloud(theirs)  # first: the other one swaps the bytes of big-endian messages in place
        expected = point_cloud2.read_points(theirs, field_names=["x", "y", "z", "intensity"], skip_nans=True)
        assert decoded.dropped == 1
        np.testing.assert_array_equal(decoded.points_m, np.stack([expected[axis] for axis in "xyz"], axis=1).astype(np.float32))
        np.testing.assert_array_equal(decoded.intensity, expected["intensity"])


def test_a_dense_sweep_decodes_in_milliseconds():
    count = 60_000
    values = {name: RNG.uniform(-50, 50, count) for name in ("x", "y", "z", "intensity")}
    message = messages.cloud(values=values)
    took = []
    for _ in range(9):
        started = time.perf_counter()
        decode_cloud(message)
        took.append(time.perf_counter() - started)
    # 0.2 ms on an idle core; a loop over the points would take 100 ms.
    assert min(took) < 0.01


def test_zeros_that_stand_for_no_return_are_no_points():
    """Organised clouds of many drivers; a lidar at the front of a vehicle would have an obstacle in itself."""
    x = np.array([0.0, 4.0, 0.0, 5.0, 0.0])
    cloud = decode_cloud(messages.cloud(values={"x": x, "y": 0 * x, "z": 0 * x, "intensity": x}))
    np.testing.assert_array_equal(cloud.points_m[:, 0], [4.0, 5.0])
    assert cloud.dropped == 3


def test_millimetres_as_floats_are_refused():
    hub = SensorHub()
    hub.put_transforms(messages.transforms(*messages.EXTRINSICS), static=True)
    for scale in (1000.0, 1.0):
        stamp = messages.START_S + 0.1 / scale
        hub.put_odometry("odom", messages.odometry(stamp))
        spread = np.random.default_rng(0).uniform(1.0, 30.0, (4, 200)) * scale
        hub.put_cloud("points", messages.cloud(stamp, values=dict(zip(("x", "y", "z", "intensity"), spread, strict=True))))
        observation = hub.take(patient=False)
        assert (observation is None) == (scale > 1.0)
    assert hub.status()["points"].malformed == {"bad_fields": 1}


MOMENTS = 1_700_000_000_123_456_789 + np.linspace(0, 10**8, 50).astype(np.int64)
PARTS = {"a": (MOMENTS // 10**9).astype("u4"), "b": (MOMENTS % 10**9).astype("u4")}


def timed(fields, values):
    """The time offsets of a cloud whose further fields hold MOMENTS. fields: (name, datatype, offset, count)."""
    formats, offsets = ["f4", *(column.dtype for column in values.values())], [0, *(field[2] for field in fields)]
    dtype = np.dtype({"names": ["x", *values], "formats": formats, "offsets": offsets[: len(formats)], "itemsize": 40})
    points = np.ones(len(MOMENTS), dtype)
    for name, column in values.items():
        points[name] = column
    described = [("x", 7, 0, 1), ("y", 7, 0, 1), ("z", 7, 0, 1), *fields]
    message = messages.cloud(MOMENTS[0] / 1e9)
    message.header.stamp.sec, message.header.stamp.nanosec = (int(part) for part in divmod(MOMENTS[0], 10**9))
    message.fields = [messages.TYPES["PointField"](name=n, offset=o, datatype=d, count=c) for n, d, o, c in described]
    message.height, message.width, message.point_step, message.row_step = 1, len(points), 40, 40 * len(points)
    message.data = points.view(np.uint8).reshape(-1)
    return decode_cloud(message).time_offset_s


@pytest.mark.parametrize(
    ("fields", "values"),
    [
        ([("timestamp", 6, 8, 2)], {"timestamp": MOMENTS.astype("u8")}),  # 64 bits as two elements,
        ([("t", 2, 8, 8)], {"t": MOMENTS.astype("u8")}),  # as eight,
        ([("time", 8, 8, 1)], {"time": MOMENTS.astype("u8")}),  # called a float64,
        ([("time_stamp", 10, 8, 1)], {"time_stamp": MOMENTS.astype("u8")}),  # and as PCL has them
        ([("timestampSec", 6, 8, 1), ("timestampNsec", 6, 12, 1)], PARTS),
        ([("time_s", 6, 8, 1), ("time_ns", 6, 12, 1)], PARTS),
        ([("stamp", 6, 8, 2)], {"stamp": (MOMENTS // 10**9 + (MOMENTS % 10**9 << 32)).astype("u8")}),  # seconds, then nanoseconds
        ([("GpsTime", 8, 8, 1)], {"GpsTime": MOMENTS / 1e9}),  # a name that is not in the list
        ([("acquisition_time", 8, 8, 1), ("flags", 77, 16, 1)], {"acquisition_time": MOMENTS / 1e9, "b": np.zeros(50, "u1")}),
    ],
)  # fmt: skip
def test_times_of_64_bits_in_any_disguise(fields, values):
    np.testing.assert_allclose(timed(fields, values), np.linspace(0, 0.1, 50), atol=1e-6)


def test_a_float32_holds_no_time_since_1970():
    assert timed([("timestamp", 7, 8, 1)], {"timestamp": (MOMENTS / 1e9).astype("f4")}) is None
