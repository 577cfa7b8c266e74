"""sensor_msgs/Image and CompressedImage -> (H, W, 3) uint8 rgb."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jepa_ros.sensing.errors import MalformedMessage, byte_view

# encoding -> channels, and the order in which they make rgb
DIRECT = {
    "rgb8": (3, (0, 1, 2)),
    "bgr8": (3, (2, 1, 0)),
    "rgba8": (4, (0, 1, 2)),
    "bgra8": (4, (2, 1, 0)),
    "mono8": (1, (0, 0, 0)),
}


def decode_image(message: Any) -> NDArray[np.uint8]:
    """Decode a sensor_msgs/Image. Raises MalformedMessage."""
    encoding = message.encoding.lower()
    if encoding not in DIRECT:
        raise MalformedMessage("unknown_encoding", repr(message.encoding))
    channels, order = DIRECT[encoding]
    height, width, step = int(message.height), int(message.width), int(message.step)
    if step < width * channels:
        raise MalformedMessage("wrong_step", f"step {step} for {width} pixels of {encoding}")
    data = byte_view(message.data)
    if len(data) < height * step or not len(data):
        raise MalformedMessage("truncated_data", f"{len(data)} bytes, {height} rows of {step} need {height * step}")
    pixels = data[: height * step].reshape(height, step)[:, : width * channels].reshape(height, width, channels)
    return np.ascontiguousarray(pixels[:, :, order])


def decode_compressed_image(message: Any) -> NDArray[np.uint8]:
    """Decode a sensor_msgs/CompressedImage. Raises MalformedMessage."""
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(io.BytesIO(byte_view(message.data).tobytes())) as image:
            return np.asarray(image.convert("RGB"))
    except (UnidentifiedImageError, OSError, ValueError) as error:
        raise MalformedMessage("undecodable_image", str(error)) from None
