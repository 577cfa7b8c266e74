"""Kinds of input that people report for other packages (docs/reliability.md names the reports), and decoders held by random messages."""

import sys

import numpy as np
import pytest
import sensing_messages as messages
from hypothesis import given, settings
from hypothesis import strategies as st

from jepa_ros.sensing import MalformedMessage, SensorHub, TransformTree, camera_model, decode_cloud, decode_image, project
from jepa_ros.sensing.decode.camera_info import calibration
from jepa_ros.sensing.frames.poses import pose_matrix
from jepa_ros.sensing.time.deskew import deskewed

T, SECOND = messages.START_S, 10**9
K = np.array([[420.0, 0, 311.5], [0, 415.0, 236.5], [0, 0, 1]])
POINT = np.array([[0.4, -0.3, 2.0]])


def shift(x):
    return pose_matrix((x, 0.0, 0.0), messages.UNIT)


# -- times of points -------------------------------------------------------------------------------------------------------------------


def test_the_order_of_points_says_nothing_of_their_time():
    """Destaggered clouds (ouster-ros 350) are not in the order of measurement."""
    rng = np.random.default_rng(0)
    points = rng.normal(0, 9, (400, 3)).astype(np.float32)
    offsets = np.linspace(0, 0.1, 400, dtype=np.float32)
    order = rng.permutation(400)

    def base_at(stamps):
        return np.stack([shift(10.0 * (stamp - SECOND) / SECOND) for stamp in stamps])

    moved = deskewed(points, offsets, SECOND, base_at)
    np.testing.assert_allclose(moved[:, 0], points[:, 0] + 10.0 * offsets, atol=0.004)
    np.testing.assert_allclose(deskewed(points[order], offsets[order], SECOND, base_at), moved[order], atol=1e-5)


def test_a_part_of_a_turn_is_moved_by_its_own_time():
    """A sector, or every second sweep (kiss-icp 209): seconds count, not shares of a turn."""
    points = np.full((50, 3), 5.0, np.float32)
    offsets = np.linspace(0.02, 0.03, 50, dtype=np.float32)
    moved = deskewed(points, offsets, SECOND, lambda stamps: np.stack([shift(10.0 * (stamp - SECOND) / SECOND) for stamp in stamps]))
    np.testing.assert_allclose(moved[:, 0], 5.0 + 10.0 * offsets, atol=0.004)


def test_a_cloud_without_times_is_used_as_it_is():
    decoded = decode_cloud(messages.cloud())
    assert decoded.time_offset_s is None
    assert len(decoded.points_m) == 5


# -- layouts ---------------------------------------------------------------------------------------------------------------------------


def test_unaligned_fields_of_a_simulated_velodyne():
    """x, y, z, intensity, then ring (uint16) at 16 and time (float32) at 18 of 22 bytes (cupoch 80)."""
    fields = [("x", 7, 0), ("y", 7, 4), ("z", 7, 8), ("intensity", 7, 12), ("ring", 4, 16), ("time", 7, 18)]
    values = {name: np.arange(6) + index for index, (name, _, _) in enumerate(fields)} | {"time": np.linspace(0, 0.1, 6)}
    decoded = decode_cloud(messages.cloud(fields=fields, values=values, point_step=22))
    np.testing.assert_array_equal(decoded.ring, np.arange(6) + 4)
    np.testing.assert_allclose(decoded.time_offset_s, np.linspace(0, 0.1, 6), atol=1e-6)


@pytest.mark.parametrize("step", [0, 6, 24 * 4])
def test_an_image_whose_step_is_wrong_but_whose_data_fit_is_read(step):
    """Step never set, or copied from another encoding (strands_perception_people 49, moveit 1652, usb_cam 288)."""
    pixels = np.random.default_rng(0).integers(0, 255, (4, 8, 3), np.uint8)
    message = messages.image(pixels=pixels)
    message.step = step
    np.testing.assert_array_equal(decode_image(message), pixels)
    message.data = message.data[:-3]
    with pytest.raises(MalformedMessage, match=r"wrong_step|truncated_data"):
        decode_image(message)


@st.composite
def clouds(draw):
    """Fields of any type, order, gap and byte order around x, y and z; rows with padding."""
    names = draw(st.permutations(["x", "y", "z", *draw(st.lists(st.sampled_from(["intensity", "ring", "rgb", "a", "b"]), unique=True))]))
    offset, fields = draw(st.integers(0, 7)), []
    for name in names:
        kind = draw(st.sampled_from([7, 8])) if name in "xyz" else draw(st.integers(1, 8))
        fields.append((name, kind, offset))
        offset += np.dtype(messages.NUMPY_OF[kind]).itemsize + draw(st.integers(0, 5))
    height, width = draw(st.integers(1, 4)), draw(st.integers(1, 9))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    values = {name: rng.integers(0, 100, height * width).astype(float) for name, _, _ in fields}
    message = messages.cloud(
        fields=fields,
        values=values,
        point_step=offset + draw(st.integers(0, 9)),
        height=height,
        row_padding=draw(st.integers(0, 20)),
        bigendian=draw(st.booleans()),
    )
    return message, values


@given(clouds(), st.booleans())
@settings(max_examples=150, deadline=None)
def test_clouds_of_any_layout_decode_to_their_numbers(cloud, as_bytes):
    message, values = cloud
    if as_bytes:
        message.data = bytes(message.data)
    decoded = decode_cloud(message)
    np.testing.assert_array_equal(decoded.points_m, np.column_stack([values[axis] for axis in "xyz"]).astype(np.float32))
    if "intensity" in values:
        np.testing.assert_array_equal(decoded.intensity, values["intensity"].astype(np.float32))
    if "ring" in values:
        np.testing.assert_array_equal(decoded.ring, values["ring"].astype(np.int32))


@given(
    clouds(), st.sampled_from(["width", "height", "point_step", "row_step", "is_bigendian"]), st.integers(0, 2**31), st.integers(0, 500)
)  # fmt: skip
@settings(max_examples=200, deadline=None)
def test_clouds_that_contradict_themselves_are_named_or_read(cloud, field, value, cut):
    message, _ = cloud
    setattr(message, field, bool(value % 2) if field == "is_bigendian" else value)
    message.data = message.data[: len(message.data) - cut] if cut < len(message.data) else message.data
    with np.errstate(all="ignore"):
        try:
            decoded = decode_cloud(message)
        except MalformedMessage as error:
            assert error.reason in ("wrong_step", "truncated_data", "bad_fields")  # noqa: PT017
        else:
            assert np.isfinite(decoded.points_m).all()


def test_an_empty_cloud_of_impossible_layout_is_empty():
    """NumPy has no type of that size; hypothesis found it."""
    values = {axis: np.zeros(1) for axis in "xyz"}
    message = messages.cloud(fields=[("x", 7, 0), ("y", 7, 4), ("z", 7, 8)], values=values, point_step=12, height=1)
    message.width, message.data, message.point_step = 0, b"", 2**31
    for field in message.fields:
        field.offset, field.count = 2**32 - 1, 2**31
    assert decode_cloud(message).points_m.shape == (0, 3)


ENCODINGS = {
    "mono8": (np.uint8, 1), "mono16": (np.uint16, 1), "rgb8": (np.uint8, 3), "bgr8": (np.uint8, 3), "rgba8": (np.uint8, 4),
    "bgra8": (np.uint8, 4),
    "rgb16": (np.uint16, 3), "bgr16": (np.uint16, 3), "rgba16": (np.uint16, 4), "bgra16": (np.uint16, 4), "8UC1": (np.uint8, 1),
    "8UC3": (np.uint8, 3), "8UC4": (np.uint8, 4), "16UC1": (np.uint16, 1), "16UC3": (np.uint16, 3), "bayer_rggb8": (np.uint8, 1),
    "bayer_bggr8": (np.uint8, 1), "bayer_gbrg8": (np.uint8, 1), "bayer_grbg16": (np.uint16, 1), "yuv422": (np.uint8, 2),
    "uyvy": (np.uint8, 2),
    "yuyv": (np.uint8, 2), "32FC1": (np.float32, 1), "16SC1": (np.int16, 1), "64FC1": (np.float64, 1),
}  # fmt: skip
ORDER = {"rgb": (0, 1, 2), "bgr": (2, 1, 0), "mon": (0, 0, 0)}


@given(
    st.sampled_from(sorted(ENCODINGS)), st.integers(1, 6), st.integers(1, 6), st.integers(0, 13), st.booleans(), st.integers(0, 2**32 - 1)
)  # fmt: skip
@settings(max_examples=200, deadline=None)
def test_images_of_any_encoding_padding_and_byte_order(encoding, half_height, half_width, padding, bigendian, seed):
    kind, channels = ENCODINGS[encoding]
    pixels = np.random.default_rng(seed).integers(0, 200, (2 * half_height, 2 * half_width, channels)).astype(kind)
    step = 2 * half_width * channels * np.dtype(kind).itemsize + padding
    rgb = decode_image(messages.image(encoding=encoding, pixels=pixels, step=step, bigendian=bigendian))
    assert (rgb.shape, rgb.dtype) == ((*pixels.shape[:2], 3), np.uint8)
    packed = decode_image(messages.image(encoding=encoding, pixels=pixels, bigendian=sys.byteorder == "big"))
    np.testing.assert_array_equal(rgb, packed, "padding and byte order change nothing")
    if encoding[:3] in ORDER:
        scaled = pixels if kind == np.uint8 else np.rint(pixels / 257.0)
        np.testing.assert_array_equal(rgb, scaled[:, :, list(ORDER[encoding[:3]])].astype(np.uint8))


@given(
    st.one_of(st.sampled_from([*ENCODINGS, "nv12", "nv21", "nv24"]), st.text(max_size=6)), st.integers(0, 9), st.integers(0, 9),
    st.integers(0, 200), st.binary(max_size=300),
)  # fmt: skip
@settings(max_examples=300, deadline=None)
def test_no_image_does_harm(encoding, height, width, step, data):
    message = messages.image()
    message.encoding, message.height, message.width, message.step = encoding, height, width, step
    message.data = np.frombuffer(data, np.uint8)
    with np.errstate(all="ignore"):
        try:
            rgb = decode_image(message)
        except MalformedMessage:
            return
    assert rgb.shape == (height, width, 3)


# -- calibrations ----------------------------------------------------------------------------------------------------------------------


def info(d, **changes):
    message = messages.camera_info(width=640, height=480, k=K.ravel(), d=d)
    for name, value in changes.items():
        setattr(message, name, np.array(value, float).ravel())
    return message


def test_a_raw_image_has_its_lens_whatever_the_projection_matrix_says():
    """P equal to K beside a lens (Azure_Kinect_ROS_Driver 44)."""
    d = [-0.3, 0.1, 0.001, -0.002, 0.0]
    with_p, _ = project(POINT, camera_model(info(d, p=np.hstack([K, np.zeros((3, 1))]))))
    without_p, _ = project(POINT, camera_model(info(d)))
    np.testing.assert_array_equal(with_p, without_p)
    assert np.linalg.norm(with_p - (POINT[0, :2] / POINT[0, 2] @ K[:2, :2].T + K[:2, 2])) > 1.0


def test_a_rotation_of_zeros_is_none_and_the_baseline_is_not_applied():
    """R of zeros and Tx in P (zed-ros-wrapper 126): the image is in its own camera's frame."""
    p = np.hstack([K, [[-42.0], [0], [0]]])
    known = calibration(info((), r=np.zeros(9), p=p), rectified=True)
    np.testing.assert_array_equal(known.optical_from_image, np.eye(3))
    np.testing.assert_array_equal(known.full.intrinsics, K)


def test_a_lens_that_nobody_knows_names_itself():
    """jetson_nano_csi_cam_ros 9, odin_ros_driver 40."""
    message = info([0.1] * 6)
    message.distortion_model = "custom_poly"
    with pytest.raises(MalformedMessage, match=r"'custom_poly' is unknown.*rectify"):
        camera_model(message)


# -- transforms ------------------------------------------------------------------------------------------------------------------------


def test_a_transform_told_again_for_the_same_time_is_the_newer_one():
    """TF_REPEATED_DATA (geometry2 467, cartographer_ros 1555): a filter corrects what it said."""
    tree = TransformTree()
    tree.add("odom", "base", shift(1.0), SECOND)
    tree.add("odom", "base", shift(1.2), SECOND)
    assert tree.lookup("odom", "base", SECOND)[0, 3] == pytest.approx(1.2)


def test_two_parents_at_the_very_same_time():
    """geometry2 537: tf2 keeps one of the two."""
    tree = TransformTree()
    for index in range(3):
        tree.add("a", "b", shift(1.0), index * SECOND)
        tree.add("c", "b", shift(3.0), index * SECOND)
    assert tree.lookup("a", "b", SECOND)[0, 3] == 1.0
    assert tree.lookup("c", "b", SECOND)[0, 3] == 3.0
    assert tree.lookup("a", "c", SECOND)[0, 3] == pytest.approx(-2.0)


def test_transforms_of_another_day_are_counted_and_left_out():
    """Left over from before a reset of simulated time (geometry2 542): they would hold the place of all that follow."""
    hub = SensorHub(clock_ns=lambda: 0)
    for index in range(4):
        hub.put_odometry("odom", messages.odometry(T + 0.1 * index))
        hub.put_cloud("points", messages.cloud(T + 0.1 * index, frame="base_link"))
    hub.put_transforms(messages.transforms((T + 5000.0, "map", "odom", (9.0, 0, 0), messages.UNIT)), static=False)
    assert hub.status()["tf"].malformed == {"absurd_stamp": 1}
    assert hub.take(patient=False) is not None
