"""Every encoding comes out as the same rgb, whatever the padding and the byte order."""

import array
import io
import struct
from types import SimpleNamespace

import numpy as np
import pytest
import sensing_messages as messages

from jepa_ros.sensing import MalformedMessage, decode_compressed_image, decode_image
from jepa_ros.sensing.decode import image as image_module

RNG = np.random.default_rng(0)
RGB = RNG.integers(0, 256, (6, 8, 3), dtype=np.uint8)
ALPHA = np.full((6, 8, 1), 9, np.uint8)
# One colour over the whole image survives demosaicing and chroma subsampling, so the answer is known without OpenCV.
ORANGE = (200, 100, 50)


def sixteen(pixels: np.ndarray) -> np.ndarray:
    """16-bit values that round to the 8-bit ones, half of them upwards."""
    return np.clip(pixels.astype(np.int32) * 257 + RNG.integers(-128, 129, pixels.shape), 0, 65535).astype(np.uint16)


PLAIN = {
    "rgb8": RGB,
    "bgr8": RGB[..., ::-1],
    "rgba8": np.concatenate((RGB, ALPHA), axis=2),
    "bgra8": np.concatenate((RGB[..., ::-1], ALPHA), axis=2),
    "8UC3": RGB[..., ::-1],
    "8UC4": np.concatenate((RGB[..., ::-1], ALPHA), axis=2),
    "rgb16": sixteen(RGB),
    "bgr16": sixteen(RGB[..., ::-1]),
    "rgba16": sixteen(np.concatenate((RGB, ALPHA), axis=2)),
    "bgra16": sixteen(np.concatenate((RGB[..., ::-1], ALPHA), axis=2)),
    "16UC3": sixteen(RGB[..., ::-1]),
}
GREY = {"mono8": RGB[..., 0], "8UC1": RGB[..., 0], "mono16": sixteen(RGB[..., 0]), "16UC1": sixteen(RGB[..., 0])}


@pytest.mark.parametrize("bigendian", [False, True])
@pytest.mark.parametrize("padding", [0, 7])
@pytest.mark.parametrize("encoding", [*PLAIN, *GREY])
def test_reordered_encodings(encoding, padding, bigendian):
    pixels = np.ascontiguousarray({**PLAIN, **GREY}[encoding])
    expected = RGB if encoding in PLAIN else np.repeat(RGB[..., :1], 3, axis=2)
    step = pixels[0].nbytes + padding
    decoded = decode_image(messages.image(encoding=encoding, pixels=pixels, step=step, bigendian=bigendian))
    assert decoded.dtype == np.uint8
    np.testing.assert_array_equal(decoded, expected)


@pytest.mark.parametrize(("encoding", "kind"), [("32FC1", "f4"), ("64FC1", "f8"), ("16SC1", "i2"), ("32SC1", "i4")])
def test_depth_is_stretched_over_its_own_range(encoding, kind):
    depth = np.array([[-2, 0, 2, 8]], kind)
    decoded = decode_image(messages.image(encoding=encoding, pixels=depth, bigendian=True))
    np.testing.assert_array_equal(decoded[0, :, 0], [0, 51, 102, 255])


def test_non_finite_depth_is_black():
    depth = np.array([[np.nan, 1, np.inf, 3]], np.float32)
    np.testing.assert_array_equal(decode_image(messages.image(encoding="32FC1", pixels=depth))[0, :, 1], [0, 0, 0, 255])
    assert not decode_image(messages.image(encoding="32FC1", pixels=np.full((2, 2), np.nan, np.float32))).any()


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("pattern", ["rggb", "bggr", "gbrg", "grbg"])
def test_bayer(pattern, bits):
    cv2 = pytest.importorskip("cv2", reason="Bayer needs OpenCV")
    mosaic = np.array([ORANGE["rgb".index(colour)] for colour in pattern], np.uint8).reshape(2, 2)
    mosaic = np.tile(mosaic, (4, 5))
    mosaic = mosaic if bits == 8 else mosaic.astype(np.uint16) * 257
    encoding = f"bayer_{pattern}{bits}"
    decoded = decode_image(messages.image(encoding=encoding, pixels=mosaic, step=mosaic[0].nbytes + 6, bigendian=True))
    np.testing.assert_array_equal(decoded[2:-2, 2:-2], np.broadcast_to(ORANGE, (4, 6, 3)))

    noise = RNG.integers(0, 256 if bits == 8 else 65536, (8, 10)).astype(mosaic.dtype)
    code = {"rggb": cv2.COLOR_BayerBG2RGB, "bggr": cv2.COLOR_BayerRG2RGB, "gbrg": cv2.COLOR_BayerGR2RGB, "grbg": cv2.COLOR_BayerGB2RGB}[
        pattern
    ]
    reference = cv2.cvtColor(noise, code)
    reference = reference if bits == 8 else np.rint(reference * (255 / 65535)).astype(np.uint8)
    np.testing.assert_array_equal(decode_image(messages.image(encoding=encoding, pixels=noise, step=noise[0].nbytes + 3)), reference)


def yuv_of(rgb):
    """BT.601, studio range."""
    red, green, blue = (value / 255 for value in rgb)
    luma = 0.299 * red + 0.587 * green + 0.114 * blue
    return [round(16 + 219 * luma), round(128 + 224 * (blue - luma) / 1.772), round(128 + 224 * (red - luma) / 1.402)]


@pytest.mark.parametrize("encoding", ["uyvy", "yuv422", "yuyv", "yuv422_yuy2"])
def test_packed_yuv(encoding):
    pytest.importorskip("cv2", reason="YUV needs OpenCV")
    y, u, v = yuv_of(ORANGE)
    pair = [u, y, v, y] if encoding in ("uyvy", "yuv422") else [y, u, y, v]
    pixels = np.tile(np.array(pair, np.uint8), (4, 4)).reshape(4, 8, 2)
    decoded = decode_image(messages.image(encoding=encoding, pixels=pixels, step=20))
    assert decoded.shape == (4, 8, 3)
    assert np.abs(decoded.astype(int) - ORANGE).max() <= 2


@pytest.mark.parametrize("encoding", ["nv12", "nv21", "nv24"])
def test_planar_yuv(encoding):
    pytest.importorskip("cv2", reason="YUV needs OpenCV")
    y, u, v = yuv_of(ORANGE)
    height, width = 4, 8
    chroma_rows = 2 * height if encoding == "nv24" else height // 2
    chroma = np.tile([v, u] if encoding == "nv21" else [u, v], (chroma_rows, width // 2))
    planes = np.concatenate((np.full((height, width), y), chroma)).astype(np.uint8)
    message = messages.image(encoding=encoding, pixels=planes, step=width + 4)
    message.height = height
    decoded = decode_image(message)
    assert decoded.shape == (height, width, 3)
    assert np.abs(decoded.astype(int) - ORANGE).max() <= 2


def test_nv24_keeps_the_colour_of_each_pixel():
    pytest.importorskip("cv2", reason="YUV needs OpenCV")
    colours = [ORANGE, (30, 60, 220), (20, 180, 40), (250, 250, 250)]
    yuv = np.array([yuv_of(colour) for colour in colours], np.uint8)
    planes = np.concatenate((yuv[:, 0], yuv[:, 1:].reshape(-1))).reshape(3, 4)
    message = messages.image(encoding="nv24", pixels=planes)
    message.height = 1
    assert np.abs(decode_image(message)[0].astype(int) - colours).max() <= 2


def test_rclpy_buffers_and_bytes_decode_alike():
    message = messages.image(pixels=RGB)
    for data in (array.array("B", message.data.tobytes()), message.data.tobytes()):
        copy = SimpleNamespace(
            **{name: getattr(message, name) for name in ("header", "height", "width", "encoding", "is_bigendian", "step")}, data=data
        )
        np.testing.assert_array_equal(decode_image(copy), RGB)


def test_rgb8_is_not_copied():
    message = messages.image(pixels=RGB)
    assert np.shares_memory(decode_image(message), message.data)


def test_last_row_may_lack_its_padding():
    message = messages.image(pixels=RGB, step=30)
    message.data = message.data[: -(30 - 24)]
    np.testing.assert_array_equal(decode_image(message), RGB)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"encoding": "h264"}, "unknown_encoding"),
        ({"encoding": "32FC3"}, "unknown_encoding"),
        ({"step": 3, "data": np.zeros(31, np.uint8)}, "wrong_step"),
        ({"data": np.zeros(10, np.uint8)}, "truncated_data"),
        ({"data": np.zeros(0, np.uint8)}, "truncated_data"),
        ({"height": 10**6}, "truncated_data"),
        ({"width": 0}, "bad_size"),
        ({"encoding": "nv12", "height": 3}, "bad_size"),
    ],
)
def test_malformed_images_are_named(change, reason):
    if change.get("encoding") == "nv12":
        pytest.importorskip("cv2", reason="YUV needs OpenCV")
    message = messages.image(pixels=RGB)
    for name, value in change.items():
        setattr(message, name, value)
    with pytest.raises(MalformedMessage) as caught:
        decode_image(message)
    assert caught.value.reason == reason


def test_without_opencv_the_fix_is_named(monkeypatch):
    monkeypatch.setattr(image_module, "_converter", lambda: None)
    with pytest.raises(MalformedMessage, match="opencv-headless") as caught:
        decode_image(messages.image(encoding="bayer_rggb8", pixels=RGB[..., 0]))
    assert caught.value.reason == "no_decoder"


def picture(layout: str, mode: str = "RGB") -> tuple[bytes, np.ndarray]:
    pillow = pytest.importorskip("PIL.Image")
    smooth = np.stack(np.meshgrid(np.linspace(0, 255, 40), np.linspace(255, 0, 30)), axis=2)
    rgb = np.dstack((smooth, smooth.mean(axis=2))).astype(np.uint8)
    buffer = io.BytesIO()
    pillow.fromarray(rgb).convert(mode).save(buffer, layout, **({"quality": 95} if layout == "jpeg" else {}))
    return buffer.getvalue(), rgb


@pytest.mark.parametrize("opencv", [True, False])
@pytest.mark.parametrize(("layout", "tolerance"), [("png", 0), ("jpeg", 12)])
def test_compressed(layout, tolerance, opencv, monkeypatch):
    if opencv:
        pytest.importorskip("cv2", reason="the other parameter shows Pillow in its place")
    else:
        monkeypatch.setattr(image_module, "opencv", lambda: None)
    data, rgb = picture(layout)
    decoded = decode_compressed_image(messages.compressed(0.0, data, f"bgr8; {layout} compressed bgr8"))
    assert decoded.shape == rgb.shape
    assert np.abs(decoded.astype(int) - rgb).max() <= tolerance


@pytest.mark.parametrize("mode", ["L", "RGBA"])
def test_compressed_grey_and_alpha(mode):
    decoded = decode_compressed_image(messages.compressed(0.0, picture("png", mode)[0], "png"))
    assert decoded.shape == (30, 40, 3)


@pytest.mark.parametrize("opencv", [True, False])
def test_malformed_compressed_images_are_named(opencv, monkeypatch):
    if not opencv:
        monkeypatch.setattr(image_module, "opencv", lambda: None)
    for data in (b"", b"\xff\xd8\xff", struct.pack("<12f", *range(12)), picture("png")[0][:60]):
        with pytest.raises(MalformedMessage) as caught:
            decode_compressed_image(messages.compressed(0.0, data))
        assert caught.value.reason == "undecodable_image"
    with pytest.raises(MalformedMessage, match="depth"):
        decode_compressed_image(messages.compressed(0.0, b"1", "16UC1; compressedDepth"))


def test_equal_to_rosbags_image():
    rosbags_image = pytest.importorskip(
        "rosbags.image", reason="rosbags-image needs OpenCV: pip install 'rosbags-image[opencv-headless]'", exc_type=ImportError
    )
    cases = {
        **PLAIN,
        **GREY,
        **{f"bayer_{p}8": RGB[..., 0] for p in ("rggb", "bggr", "gbrg", "grbg")},
        "uyvy": RGB[..., :2],
        "yuyv": RGB[..., :2],
    }
    for encoding in [name for name in cases if "UC" not in name]:
        message = messages.image(encoding=encoding, pixels=np.ascontiguousarray(cases[encoding]))
        reference = rosbags_image.message_to_cvimage(message, "rgb8")
        # It cuts 16 bits down where cv_bridge, and so we, round.
        tolerance = 1 if encoding.endswith("16") else 0
        assert np.abs(decode_image(message).astype(int) - reference).max() <= tolerance, encoding


def test_equal_to_cv_bridge():
    bridge = pytest.importorskip("cv_bridge", reason="cv_bridge comes with a sourced ROS 2", exc_type=ImportError).CvBridge()
    cases = {
        **PLAIN,
        **GREY,
        **{f"bayer_{p}8": RGB[..., 0] for p in ("rggb", "bggr", "gbrg", "grbg")},
        "yuv422": RGB[..., :2],
        "yuv422_yuy2": RGB[..., :2],
    }
    cases |= {f"bayer_{p}16": sixteen(RGB[..., 0]) for p in ("rggb", "bggr", "gbrg", "grbg")}
    for encoding in [name for name in cases if "UC" not in name]:
        message = messages.image(encoding=encoding, pixels=np.ascontiguousarray(cases[encoding]))
        np.testing.assert_array_equal(decode_image(message), bridge.imgmsg_to_cv2(message, "rgb8"), err_msg=encoding)
    for layout, mode in (("png", "RGB"), ("jpeg", "RGB")):
        message = messages.compressed(0.0, picture(layout, mode)[0], layout)
        np.testing.assert_array_equal(decode_compressed_image(message), bridge.compressed_imgmsg_to_cv2(message, "rgb8"))


@pytest.mark.parametrize(("name", "known"), [("RGB8", "rgb8"), ("Bgr8", "bgr8"), ("bgr", "bgr8"), ("MONO8", "mono8"), ("8uc3", "8UC3")])
def test_names_of_any_case_and_short_ones_are_read(name, known):
    shape = (4, 6) if "mono" in known else (4, 6, 3)
    pixels = np.random.default_rng(0).integers(0, 255, shape, dtype=np.uint8)
    left, right = (decode_image(messages.image(encoding=encoding, pixels=pixels)) for encoding in (name, known))
    np.testing.assert_array_equal(left, right)


def test_planar_yuv_of_webcams():
    pytest.importorskip("cv2")
    luma, blue, red = np.full((4, 6), 120, np.uint8), np.full(6, 90, np.uint8), np.full(6, 200, np.uint8)
    images = {}
    planes, pairs = np.concatenate((blue, red)), np.stack((blue, red), 1).ravel()
    for encoding, chroma in (("i420", planes), ("YUV420P", planes), ("nv12", pairs)):
        message = messages.image(encoding=encoding, pixels=luma)
        message.data = np.concatenate((luma.ravel(), chroma))
        images[encoding] = decode_image(message)
    assert all(np.array_equal(image, images["nv12"]) for image in images.values())


def test_a_mosaic_that_was_compressed_as_the_sensor_gave_it_has_colours():
    cv2 = pytest.importorskip("cv2")
    mosaic = np.zeros((8, 12), np.uint8)
    mosaic[0::2, 0::2], mosaic[0::2, 1::2], mosaic[1::2, 0::2], mosaic[1::2, 1::2] = 200, 100, 100, 30
    message = messages.compressed(messages.START_S, cv2.imencode(".png", mosaic)[1].tobytes(), "bayer_rggb8; png compressed bayer_rggb8")
    np.testing.assert_array_equal(decode_compressed_image(message)[4, 6], [200, 100, 30])
