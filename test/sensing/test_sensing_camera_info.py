"""CameraInfo as drivers publish it: the pixel of a point is where the image shows it, whatever the driver calls its lens."""

import numpy as np
import pytest
import sensing_messages as messages
from hypothesis import given, settings
from hypothesis import strategies as st

from jepa_ros.sensing import MalformedMessage, SensorHub, camera_model, project
from jepa_ros.sensing.decode.camera_info import calibration, is_rectified

cv2 = pytest.importorskip("cv2", reason="OpenCV is the reference for what the images are")
SIZE = (640, 480)
K = np.array([[420.0, 0, 311.5], [0, 415.0, 236.5], [0, 0, 1]])
POINTS = np.column_stack((np.random.default_rng(1).uniform(-0.5, 0.5, (40, 2)), np.ones(40))) * np.linspace(1, 20, 40)[:, None]
STILL = np.zeros(3)
BROWN = [-0.31, 0.12, 0.0008, -0.0011]
RATIONAL = [0.4, 0.1, 0.0008, -0.0011, 0.02, 0.75, 0.2, 0.05]
THIN = [*RATIONAL, 0.002, -0.001, 0.0015, 0.0005]
FISH = [-0.02, 0.01, -0.004, 0.001]


def info(k=K, size=SIZE, **changes):
    message = messages.camera_info(
        width=size[0], height=size[1], k=np.ravel(k), d=changes.pop("d", ()), model=changes.pop("model", "plumb_bob")
    )
    for name, value in changes.items():
        if name == "roi":
            message.roi.x_offset, message.roi.y_offset, message.roi.width, message.roi.height = value
        else:
            setattr(message, name, np.array(value, float).ravel() if name in ("p", "r") else value)
    return message


def by_opencv(d, fisheye=False):
    module = cv2.fisheye if fisheye else cv2
    return module.projectPoints(POINTS[:, None], STILL, STILL, K, np.array(d, float))[0].reshape(-1, 2)


PUBLISHED = [  # name, coefficients as published, those that OpenCV takes, fisheye
    ("plumb_bob", [*BROWN, 0.0], [*BROWN, 0.0], False),
    ("plumb_bob", BROWN, BROWN, False),
    ("plumb_bob", [*BROWN, -0.03, 0, 0, 0], [*BROWN, -0.03], False),
    ("plumb_bob", RATIONAL, RATIONAL, False),
    ("Plumb Bob", [*BROWN, *[0.0] * 10], BROWN, False),
    ("rational_polynomial", [*BROWN, -0.03], [*BROWN, -0.03], False),
    ("rational_polynomial", [*RATIONAL, *[0.0] * 6], RATIONAL, False),
    ("rational_polynomial", THIN, THIN, False),
    ("thin_prism", THIN, THIN, False),
    ("rational_polynomial", [*THIN, 0.01, -0.02], [*THIN, 0.01, -0.02], False),
    ("tilted", [*THIN, 0.01, -0.02], [*THIN, 0.01, -0.02], False),
    ("", [*BROWN, -0.03], [*BROWN, -0.03], False),
    ("", RATIONAL, RATIONAL, False),
    ("radial-tangential", BROWN, BROWN, False),
    ("equidistant", FISH, FISH, True),
    ("equidistant", [*FISH, 0.0], FISH, True),
    ("fisheye", [*FISH, 0.0, 0.0, 0.0, 0.0], FISH, True),
    ("OPENCV_FISHEYE", FISH, FISH, True),
    ("kannala_brandt", FISH, FISH, True),
    ("Kannala-Brandt4", FISH, FISH, True),
    ("equidistant", [0.0, 0.0, 0.0, 0.0], [0.0] * 4, True),
    ("equidistant", [], [0.0] * 4, True),
]


@pytest.mark.parametrize(("name", "published", "taken", "fisheye"), PUBLISHED)
def test_every_lens_that_drivers_publish(name, published, taken, fisheye):
    pixels, in_view = project(POINTS, camera_model(info(d=published, model=name)))
    assert in_view.sum() > 25
    np.testing.assert_allclose(pixels[in_view], by_opencv(taken, fisheye)[in_view], atol=1e-6)


@pytest.mark.parametrize(
    ("name", "d"),
    [
        ("fov", [0.9]),
        ("double_sphere", [0.5, 0.6]),
        ("omnidirectional", [1.0, *BROWN]),
        ("equidistant", [*FISH, 0.1]),
        ("plumb_bob", [0.2]),
    ],
)
def test_lenses_that_opencv_has_not_are_refused_with_a_way_out(name, d):
    with pytest.raises(MalformedMessage, match=r"rectify|coefficients") as caught:
        camera_model(info(d=d, model=name))
    assert caught.value.reason == "bad_camera_info"


NEW = np.array([[360.0, 0, 320.0, 0], [0, 355.0, 240.0, 0], [0, 0, 1, 0]])


def test_rectified_images_have_the_projection_matrix_and_no_lens():
    raw = info(d=[*BROWN, 0.0], p=NEW)
    pixels, _ = project(POINTS, calibration(raw, rectified=True).for_image(*SIZE))
    np.testing.assert_allclose(pixels, (POINTS / POINTS[:, 2:] @ NEW[:, :3].T)[:, :2], atol=1e-9)
    pixels, _ = project(POINTS, calibration(info(d=BROWN, p=np.zeros(12)), rectified=True).for_image(*SIZE))
    np.testing.assert_allclose(pixels, (POINTS / POINTS[:, 2:] @ K.T)[:, :2], atol=1e-9)


@pytest.mark.parametrize(
    ("topic", "expected"),
    [
        ("/camera/image_rect", True), ("/camera/image_rect_color", True), ("/zed/left/image_rect_color/compressed", True),
        ("/camera/infra1/image_rect_raw", True), ("/cam/rectified", True), ("/camera/image_raw", False), ("/direct/image", False),
        ("/camera/image_unrectified", False), ("/rectangle/image", False), ("/cam/undistorted/image", True),
    ],
)  # fmt: skip
def test_the_topic_tells_what_is_rectified(topic, expected):
    assert is_rectified(topic) is expected


def test_a_stereo_camera_is_turned_as_its_rectification_says():
    """Through the hub: the pixel of a point in the base frame equals that of image_geometry: P @ R @ point in the camera."""
    angle = 0.05
    turn = np.array([[np.cos(angle), 0, np.sin(angle)], [0, 1, 0], [-np.sin(angle), 0, np.cos(angle)]])
    hub = SensorHub(clock_ns=lambda: 0)
    hub.put_transforms(messages.transforms((0.0, "base_link", "camera", (0.5, 0.0, 1.5), (-0.5, 0.5, -0.5, 0.5))), static=True)
    hub.put_odometry("odom", messages.odometry())
    message = info(d=BROWN, p=NEW, r=turn)
    hub.put_camera_info("/left/image_rect", message)
    for index in range(9):
        stamp_s = messages.START_S + 0.1 * index
        hub.put_odometry("odom", messages.odometry(stamp_s))
        hub.put_image("/left/image_rect", messages.image(stamp_s, pixels=np.zeros((480, 640, 3), np.uint8)))
    camera = hub.take(patient=False).cameras[0]
    in_base = np.array([4.0, 0.7, 1.9, 1.0])
    in_camera = np.array([-(in_base[1] - 0.0), -(in_base[2] - 1.5), in_base[0] - 0.5])
    expected = NEW[:, :3] @ turn @ in_camera
    pixels, in_view = project((np.linalg.inv(camera.base_from_camera) @ in_base)[None, :3], camera.model)
    assert in_view.all()
    np.testing.assert_allclose(pixels[0], expected[:2] / expected[2], atol=1e-9)


@given(
    x=st.integers(0, 300), y=st.integers(0, 200), width=st.integers(16, 340), height=st.integers(16, 280),
    binning=st.sampled_from([(0, 0), (1, 1), (2, 2), (4, 4), (2, 1)]),
    lens=st.sampled_from([((), "plumb_bob"), (BROWN, "plumb_bob"), (FISH, "fisheye")]),
)  # fmt: skip
@settings(max_examples=60, deadline=None)
def test_a_crop_moves_pixels_and_binning_averages_them(x, y, width, height, binning, lens):
    """The pixel of a point, found in the full image, cropped and binned as the sensor does it."""
    d, name = lens
    known = calibration(info(d=d, model=name, roi=(x, y, width, height), binning_x=binning[0], binning_y=binning[1]))
    by = np.maximum(binning, 1)
    full, _ = project(POINTS, calibration(info(d=d, model=name)).for_image(*SIZE))
    pixels, in_view = project(POINTS, known.for_image(width // by[0], height // by[1]))
    expected = (full - (x, y) + 0.5) / by - 0.5
    np.testing.assert_allclose(pixels[in_view], expected[in_view], atol=1e-6)
    shown = ((expected >= 0) & (expected < (width // by[0] - 1, height // by[1] - 1))).all(axis=1)
    assert in_view[shown].all()


@pytest.mark.parametrize(
    ("changes", "size"),
    [
        ({"roi": (40, 60, 400, 300), "size": (400, 300)}, (400, 300)),  # a region outside the calibrated image is none
        ({"binning_x": 2, "binning_y": 2, "size": (320, 240)}, (320, 240)),  # calibrated on binned images
        ({"roi": (0, 0, 640, 480)}, (640, 480)),
    ],
)
def test_fields_that_contradict_the_image_do_not_count(changes, size):
    pixels, _ = project(POINTS, calibration(info(**changes)).for_image(*size))
    np.testing.assert_allclose(pixels, (POINTS / POINTS[:, 2:] @ K.T)[:, :2], atol=1e-9)


def test_a_crop_that_nothing_tells_of_is_refused():
    with pytest.raises(MalformedMessage, match=r"640 x 480, image is 400 x 200.*roi"):
        calibration(info()).for_image(400, 200)
    shrunk = calibration(info(roi=(40, 60, 400, 300))).for_image(200, 150)  # a region that the driver also shrank
    assert (shrunk.width, shrunk.intrinsics[0, 0]) == (200, K[0, 0] / 2)


@given(
    k=st.lists(st.floats(allow_nan=True, allow_infinity=True), min_size=0, max_size=12),
    d=st.lists(st.floats(allow_nan=True), max_size=16),
    model=st.one_of(st.sampled_from(["plumb_bob", "rational_polynomial", "equidistant", "fisheye", ""]), st.text(max_size=8)),
    p=st.lists(st.floats(), max_size=13),
    size=st.tuples(st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1)),
    roi=st.tuples(*[st.integers(0, 2**32 - 1)] * 4),
    rectified=st.booleans(),
)  # fmt: skip
@settings(max_examples=200, deadline=None)
def test_no_camera_info_does_harm(k, d, model, p, size, roi, rectified):
    message = info(k=k if len(k) else np.zeros(9), d=d, model=model, p=p, size=size, roi=roi)
    try:
        known = calibration(message, rectified)
        model = known.for_image(640, 480)
    except MalformedMessage as error:
        reason = error.reason
    else:
        reason = None
    if reason is not None:
        assert reason in ("bad_camera_info", "other_image_size")
        return
    with np.errstate(all="ignore"):
        pixels, in_view = project(POINTS, model)
    assert np.isfinite(pixels[in_view]).all()
