"""A quick check of images and clouds as they arrive, so that a useless one never replaces a good one that waits.

Sizes, encodings and a first sign of life; what only decoding can tell is left to the hub, under the same names.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from jepa_ros.sensing.bag import CLOUD, COMPRESSED, IMAGE
from jepa_ros.sensing.decode.cloud import DATATYPES, derived_row_step
from jepa_ros.sensing.decode.image import BAYER, GUESSED, PACKED_YUV, PLAIN, PLANAR_YUV, SINGLE_CHANNEL

MAGIC = (b"\xff\xd8\xff", b"\x89PNG", b"BM", b"RIFF", b"II*\0", b"MM\0*", b"\0\0\0\x0cjP")  # jpeg, png, bmp, webp, tiff, tiff, jpeg 2000


def refusal(kind: str, message: Any) -> str | None:
    """Why a message cannot be used, as a short name; None = nothing speaks against it."""
    screen = {IMAGE: _image, COMPRESSED: _compressed, CLOUD: _cloud}.get(kind)
    return screen(message) if screen else None


def _image(message: Any) -> str | None:
    encoding = GUESSED.get(message.encoding, message.encoding)
    known = encoding in PLAIN or encoding in PACKED_YUV or encoding in PLANAR_YUV or encoding in ("8U", "16U")
    if not (known or BAYER.fullmatch(encoding) or SINGLE_CHANNEL.fullmatch(encoding)):
        return "unknown_encoding"
    if message.height <= 0 or message.width <= 0:
        return "bad_size"
    kind, channels, _ = PLAIN.get(encoding, ("u1", 1, None))
    row_bytes = message.width * channels * np.dtype(kind).itemsize
    if message.step < row_bytes:
        return "wrong_step"
    return "truncated_data" if len(message.data) < message.step * (message.height - 1) + row_bytes else None


def _compressed(message: Any) -> str | None:
    return None if bytes(message.data[:12]).startswith(MAGIC) else "undecodable_image"


def _cloud(message: Any) -> str | None:
    count, step = message.width * message.height, message.point_step
    if count == 0:
        return "no_points"
    row_step = derived_row_step(message.width, message.height, step, message.row_step)
    if step <= 0 or row_step < message.width * step:
        return "wrong_step"
    if len(message.data) < row_step * (message.height - 1) + message.width * step:
        return "truncated_data"
    fields = {field.name: field for field in message.fields}
    if not {"x", "y", "z"} <= set(fields) or fields["x"].datatype not in DATATYPES:
        return "bad_fields"
    x = fields["x"]
    dtype = np.dtype(DATATYPES[x.datatype]).newbyteorder(">" if message.is_bigendian else "<")
    if x.offset + dtype.itemsize > step:
        return "wrong_step"
    first_row = np.ndarray((message.width,), dtype, message.data, x.offset, (step,))
    # Organised clouds may well have an empty first row; only a flat one tells everything by it.
    return "no_points" if message.height == 1 and not np.isfinite(first_row).any() else None
