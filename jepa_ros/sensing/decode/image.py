"""sensor_msgs/Image and CompressedImage -> (H, W, 3) uint8 rgb.

What only reorders or rescales numbers is done in numpy. What interpolates colour (Bayer, YUV) or decompresses is left to OpenCV: by
cv_bridge where it works (a sourced ROS 2), else by rosbags-image. Both get the image packed and in native byte order, which neither
makes of every message itself. Wherever cv_bridge converts to rgb8, results equal its own to the last bit.
"""

from __future__ import annotations

import functools
import io
import re
import struct
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jepa_ros.sensing.decode.errors import MalformedMessage, byte_view
from jepa_ros.sensing.decode.lens import MOST_PIXELS, opencv

Rgb = NDArray[np.uint8]

# encoding -> numpy type, channels, the channels that are red, green and blue
PLAIN: dict[str, tuple[str, int, tuple[int, int, int]]] = {
    "mono8": ("u1", 1, (0, 0, 0)),
    "mono16": ("u2", 1, (0, 0, 0)),
    **{f"rgb{bits}": (f"u{bits // 8}", 3, (0, 1, 2)) for bits in (8, 16)},
    **{f"bgr{bits}": (f"u{bits // 8}", 3, (2, 1, 0)) for bits in (8, 16)},
    **{f"rgba{bits}": (f"u{bits // 8}", 4, (0, 1, 2)) for bits in (8, 16)},
    **{f"bgra{bits}": (f"u{bits // 8}", 4, (2, 1, 0)) for bits in (8, 16)},
}
# OpenCV's type names say nothing of colour; these guesses mean what cv_bridge's cvtColorForDisplay means.
GUESSED = {"8UC1": "mono8", "8UC3": "bgr8", "8UC4": "bgra8", "16UC1": "mono16", "16UC3": "bgr16", "16UC4": "bgra16"}
SINGLE_CHANNEL = re.compile("(8S|16S|32S|32F|64F)(?:C1)?")
NUMPY_TYPES = {"8S": "i1", "16S": "i2", "32S": "i4", "32F": "f4", "64F": "f8"}
BAYER = re.compile("bayer_(rggb|bggr|gbrg|grbg)(8|16)")
# New names for what cv_bridge and rosbags-image know by the old ones.
PACKED_YUV = {"uyvy": "yuv422", "yuv422": "yuv422", "yuyv": "yuv422_yuy2", "yuv422_yuy2": "yuv422_yuy2"}
PLANAR_YUV = ("nv12", "nv21", "nv24", "i420")
# What drivers write that does not keep to sensor_msgs/image_encodings; letters of any size are read, too.
OTHER_NAMES = {"rgb": "rgb8", "bgr": "bgr8", "mono": "mono8", "yuy2": "yuyv", "yuv420": "i420", "yuv420p": "i420", "yu12": "i420"}


def decode_image(message: Any) -> Rgb:
    """(H, W, 3) rgb of a sensor_msgs/Image in any encoding of sensor_msgs/image_encodings; may share the message's memory.

    16 bits are scaled to 8 with rounding. Single-channel signed and floating-point images (depth in m) are stretched from their own
    smallest to largest value, non-finite pixels black. Raises MalformedMessage: "unknown_encoding", "wrong_step", "truncated_data",
    "bad_size", or "no_decoder" where OpenCV is needed and absent.
    """
    encoding = _encoding(str(message.encoding))
    if encoding in ("8U", "16U"):
        encoding = {"8U": "mono8", "16U": "mono16"}[encoding]
    if encoding in PLAIN:
        kind, channels, order = PLAIN[encoding]
        return _ordered(_eight_bit(_unpack(message, kind, channels)), order)
    if match := SINGLE_CHANNEL.fullmatch(encoding):
        return _ordered(_stretched(_unpack(message, NUMPY_TYPES[match[1]], 1)), (0, 0, 0))
    if match := BAYER.fullmatch(encoding):
        mosaic = _unpack(message, f"u{int(match[2]) // 8}", 1)
        return _eight_bit(_convert(mosaic, encoding, f"rgb{match[2]}"))
    if encoding in PACKED_YUV:
        if message.width % 2:
            raise MalformedMessage("bad_size", f"{encoding} needs an even width, got {message.width}")
        return _convert(_unpack(message, "u1", 2), PACKED_YUV[encoding], "rgb8")
    if encoding in PLANAR_YUV:
        return _planar_yuv(message, encoding)
    raise MalformedMessage("unknown_encoding", repr(message.encoding))


def _encoding(name: str) -> str:
    """The name that stands for it here."""
    large, small = name.strip().upper(), name.strip().lower()
    if large in GUESSED or SINGLE_CHANNEL.fullmatch(large) or large in ("8U", "16U"):
        return GUESSED.get(large, large)
    return OTHER_NAMES.get(small, small)


def decode_compressed_image(message: Any) -> Rgb:
    """(H, W, 3) rgb of a sensor_msgs/CompressedImage (jpeg, png and what else OpenCV reads).

    The bytes say what they are; `format` ("jpeg", "bgr8; jpeg compressed bgr8", ...) is not needed, save that depth
    ("compressedDepth") is refused. Raises MalformedMessage: "undecodable_image", "unknown_encoding".
    """
    if "compresseddepth" in message.format.lower().replace(" ", ""):
        raise MalformedMessage("unknown_encoding", f"{message.format!r} is a depth image")
    data = byte_view(message.data)
    if not len(data):
        raise MalformedMessage("undecodable_image", "no data")
    cv2 = opencv()
    if cv2 is None:
        return _decompress_with_pillow(data)
    # Like cv_bridge: as stored, then to three channels. Not OpenCV's own IMREAD_COLOR, which would turn the image by its EXIF tag
    # and so away from its CameraInfo.
    try:
        image = cv2.imdecode(data, cv2.IMREAD_UNCHANGED)
    except cv2.error as error:
        raise MalformedMessage("undecodable_image", str(error)) from None
    if image is None:
        raise MalformedMessage("undecodable_image", f"{len(data)} bytes of {message.format!r} decode to nothing")
    mosaic = BAYER.search(message.format.lower())
    if mosaic and image.ndim == 2:  # stored as the sensor gave it
        return _eight_bit(_convert(image, f"bayer_{mosaic[1]}{8 * image.itemsize}", f"rgb{8 * image.itemsize}"))
    channels = image.reshape(*image.shape[:2], -1)
    return _ordered(_eight_bit(channels), (2, 1, 0) if channels.shape[2] >= 3 else (0, 0, 0))


def _unpack(message: Any, kind: str, channels: int, rows: int | None = None) -> NDArray[Any]:
    """(rows, W, C) view of the pixels in native byte order, row padding taken out. `rows`: the height, unless planes follow it."""
    height, width, step = int(message.height) if rows is None else rows, int(message.width), int(message.step)
    if height <= 0 or width <= 0:
        raise MalformedMessage("bad_size", f"{width} x {height} pixels")
    dtype = np.dtype(kind).newbyteorder(">" if message.is_bigendian else "<")
    row_bytes = width * channels * dtype.itemsize
    data = byte_view(message.data)
    needed = step * (height - 1) + row_bytes  # the last row may come without its padding
    if (step < row_bytes or len(data) < needed) and len(data) == row_bytes * height:
        step, needed = (
            row_bytes,
            len(data),
        )  # some drivers leave step at zero, or at that of another encoding; the data fit without padding only
    if step < row_bytes:
        raise MalformedMessage("wrong_step", f"step {step} for {width} pixels of {message.encoding} that need {row_bytes} bytes")
    if len(data) < needed:
        raise MalformedMessage("truncated_data", f"{len(data)} bytes, {height} rows of {step} need {needed}")
    strides = (step, channels * dtype.itemsize, dtype.itemsize)
    pixels: NDArray[Any] = np.ndarray((height, width, channels), dtype, buffer=data, strides=strides)
    return pixels.astype(dtype.newbyteorder("="), copy=False)


def _eight_bit(pixels: NDArray[Any]) -> Rgb:
    if pixels.dtype == np.uint16:
        return ((pixels.astype(np.uint32) + 128) // 257).astype(np.uint8)  # 65535 / 255 = 257; rounded
    return pixels


def _stretched(values: NDArray[Any]) -> Rgb:
    finite = np.isfinite(values)
    if not finite.any():
        return np.zeros(values.shape, np.uint8)
    low, high = float(values[finite].min()), float(values[finite].max())
    if low == high:
        return np.where(finite, 128, 0).astype(np.uint8)
    scaled = np.where(finite, values.astype(np.float64) - low, 0) * (255.0 / (high - low))
    return np.rint(scaled).astype(np.uint8)


def _ordered(pixels: Rgb, order: tuple[int, int, int]) -> Rgb:
    """Three of the channels, contiguous."""
    if order == (0, 1, 2) and pixels.shape[2] == 3:
        return np.ascontiguousarray(pixels)
    rgb = np.empty((*pixels.shape[:2], 3), np.uint8)
    for target, source in enumerate(order):
        rgb[:, :, target] = pixels[:, :, source]
    return rgb


def _planar_yuv(message: Any, encoding: str) -> Rgb:
    """A luma plane, then chroma, interleaved but for i420: half as high and wide, full size for nv24."""
    cv2 = opencv()
    if cv2 is None:
        raise _no_decoder(encoding)
    height, width = int(message.height), int(message.width)
    if encoding == "nv24":
        planes = _planes(message, height + 2 * height)
        # As nv12 of twice the size, whose chroma then has one value for each pixel: the same arithmetic without a copy of it.
        luma = planes[:height].repeat(2, axis=0).repeat(2, axis=1)
        doubled = np.concatenate((luma, planes[height:].reshape(height, 2 * width)))
        return np.ascontiguousarray(cv2.cvtColor(doubled, cv2.COLOR_YUV2RGB_NV12)[::2, ::2])
    if height % 2 or width % 2:
        raise MalformedMessage("bad_size", f"{encoding} needs even sides, got {width} x {height}")
    code = {"nv12": cv2.COLOR_YUV2RGB_NV12, "nv21": cv2.COLOR_YUV2RGB_NV21, "i420": cv2.COLOR_YUV2RGB_I420}[encoding]
    return cv2.cvtColor(_planes(message, height + height // 2), code)


def _planes(message: Any, rows: int) -> NDArray[np.uint8]:
    return np.ascontiguousarray(_unpack(message, "u1", 1, rows)[:, :, 0])


@dataclass(frozen=True)
class _PackedImage:
    """What cv_bridge and rosbags-image read of a message."""

    height: int
    width: int
    encoding: str
    is_bigendian: int
    step: int
    data: Any


def _convert(pixels: NDArray[Any], encoding: str, target: str) -> NDArray[Any]:
    converter = _converter()
    if converter is None:
        raise _no_decoder(encoding)
    packed = np.ascontiguousarray(pixels)
    height, width = packed.shape[:2]
    step = packed.nbytes // height
    return converter(_PackedImage(height, width, encoding, int(sys.byteorder == "big"), step, packed.reshape(-1).view(np.uint8)), target)


@functools.cache
def _converter() -> Callable[..., NDArray[Any]] | None:
    """cv_bridge's conversion, or that of rosbags-image, whichever works first; None where OpenCV is absent."""
    probe = _PackedImage(2, 2, "bayer_rggb8", int(sys.byteorder == "big"), 2, np.zeros(4, np.uint8))
    try:
        from cv_bridge import CvBridge

        bridge = CvBridge()
        if bridge.imgmsg_to_cv2(probe, "rgb8").shape == (2, 2, 3):
            return bridge.imgmsg_to_cv2
    except Exception:  # cv_bridge built for another NumPy or OpenCV fails in many ways; then the other one serves
        pass
    try:
        from rosbags.image import image_to_cvimage
    except ImportError:
        return None
    return image_to_cvimage


def _no_decoder(encoding: str) -> MalformedMessage:
    return MalformedMessage("no_decoder", f"{encoding} needs OpenCV: pip install 'rosbags-image[opencv-headless]', or install cv_bridge")


def _decompress_with_pillow(data: NDArray[np.uint8]) -> Rgb:
    try:
        from PIL import Image
    except ImportError:
        raise _no_decoder("a compressed image") from None
    try:
        with Image.open(io.BytesIO(data.tobytes())) as image:
            if image.width * image.height > MOST_PIXELS:
                raise ValueError(f"{image.width} x {image.height} pixels")
            return np.asarray(image.convert("RGB"))
    # Pillow's decoders raise any of these for damaged files.
    except (OSError, ValueError, SyntaxError, IndexError, TypeError, struct.error, Image.DecompressionBombError) as error:
        raise MalformedMessage("undecodable_image", str(error)) from None
