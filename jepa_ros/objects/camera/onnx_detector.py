"""A detector in an ONNX file: "image" in, "boxes" and "scores" out, and the names of its classes in the file's metadata.

    image   (1, 3, S, S) float32, RGB, 0-255
    boxes   (N, 4) left, top, right, bottom in pixels of the image
    scores  (N, C) 0-1
    metadata "names": a JSON list of C class names

`make camera-detector` writes such a file. Whatever normalisation a network wants is part of the file.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from jepa_ros.movers import ImageBoxes
from jepa_ros.objects.camera.classes import UnknownClass, kind_of
from jepa_ros.sensing.decode.lens import opencv
from jepa_ros.types import CameraImage, FloatArray

MISSING = "onnxruntime is not installed: pip install 'jepa_ros[camera]', or leave pipeline.camera.detector empty"
LEAST_SCORE = 0.1  # lower ones are noise
OVERLAP = 0.6  # of two boxes of one kind, over what both cover: the better one stays
GREY = 114  # beyond the edge of the image


class OnnxDetector:
    """`protocols.Detector2D`. Raises ValueError where the file cannot be used, with what to do."""

    def __init__(self, path: str | Path, threads: int = 1) -> None:
        try:
            import onnxruntime
        except ImportError as error:
            raise ValueError(MISSING) from error
        if opencv() is None:
            raise ValueError("OpenCV is not installed, which scales images for the camera's detector: install python3-opencv")
        if not Path(path).is_file():
            raise ValueError(f"camera detector {str(path)!r} is no file; make camera-detector writes one and says where")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # other processes want the cores
        options.log_severity_level = 3
        try:
            self._session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime has a class of its own for each way in which a file can be bad
            raise ValueError(f"{path} cannot be loaded by onnxruntime: {error}") from error
        inputs = {one.name: one.shape for one in self._session.get_inputs()}
        outputs = {one.name for one in self._session.get_outputs()}
        shape, names = inputs.get("image", []), self._session.get_modelmeta().custom_metadata_map.get("names", "")
        square = len(shape) == 4 and shape[:2] == [1, 3] and shape[2] == shape[3] and isinstance(shape[2], int)
        if len(inputs) != 1 or not square or not {"boxes", "scores"} <= outputs or not names.startswith("["):
            wanted = "image (1, 3, S, S) in, boxes and scores out, and names in its metadata"
            raise ValueError(f"{path}: inputs {inputs}, outputs {sorted(outputs)}; a camera detector has {wanted} (docs/camera.md)")
        self.side_px = int(shape[2])
        self._kinds = np.array([_number(name) for name in json.loads(names)])

    def detect(self, image: CameraImage, regions_px: FloatArray) -> ImageBoxes:
        """`protocols.Detector2D.detect`."""
        boxes, scores, kinds = [np.zeros((0, 4))], [np.zeros(0)], [np.zeros(0, np.intp)]
        for region in regions_px:
            found, likely = self._session.run(["boxes", "scores"], {"image": crop(image.rgb, region, self.side_px)})
            likely = np.where(self._kinds >= 0, likely, 0.0)
            best = likely.argmax(axis=1)
            score = likely[np.arange(len(best)), best]
            keep = np.flatnonzero(score >= LEAST_SCORE)
            keep = keep[distinct(found[keep], score[keep], self._kinds[best[keep]])]
            scale = (region[2] - region[0]) / self.side_px
            boxes.append((found[keep] + 0.5) * scale - 0.5 + np.tile(region[:2] + 0.5, 2))
            scores.append(score[keep].astype(float))
            kinds.append(self._kinds[best[keep]])
        scales = self.side_px / np.maximum(regions_px[:, 2] - regions_px[:, 0], 1e-6)
        return ImageBoxes(
            image.stamp_ns, image.name, np.concatenate(boxes), np.concatenate(scores), np.concatenate(kinds), regions_px, scales
        )


def crop(rgb: NDArray[np.uint8], region_px: FloatArray, side_px: int) -> NDArray[np.float32]:
    """(1, 3, S, S) the square region of an image, grey beyond its edges."""
    scale = side_px / float(region_px[2] - region_px[0])
    # Of pixel centres: where the middle of the first pixel of the crop lies.
    shift = -scale * (region_px[:2] + 0.5) + 0.5 * scale - 0.5
    warp = np.array([[scale, 0.0, shift[0]], [0.0, scale, shift[1]]])
    cv2 = opencv()
    way = cv2.INTER_LINEAR if scale > 0.6 else cv2.INTER_AREA
    if scale <= 0.6:  # warpAffine skips pixels; a smaller image first
        small = cv2.resize(rgb, None, fx=scale, fy=scale, interpolation=way)
        factor = np.array([small.shape[1] / rgb.shape[1], small.shape[0] / rgb.shape[0]])
        warp = np.array([[scale / factor[0], 0.0, shift[0]], [0.0, scale / factor[1], shift[1]]])
        rgb = small
    cut = cv2.warpAffine(rgb, warp, (side_px, side_px), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT, borderValue=(GREY,) * 3)
    return np.ascontiguousarray(cut.transpose(2, 0, 1)[None], np.float32)


def distinct(boxes: FloatArray, scores: FloatArray, kinds: NDArray[np.intp]) -> NDArray[np.intp]:
    """Rows that stay where of two boxes of one kind that cover nearly the same only the better one does; best first."""
    order, kept = np.argsort(-scores, kind="stable"), []
    area = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    while len(order):
        first, rest = order[0], order[1:]
        kept.append(first)
        low, high = np.maximum(boxes[rest, :2], boxes[first, :2]), np.minimum(boxes[rest, 2:], boxes[first, 2:])
        both = np.prod(np.clip(high - low, 0.0, None), axis=1)
        order = rest[(both <= OVERLAP * np.maximum(area[rest] + area[first] - both, 1e-6)) | (kinds[rest] != kinds[first])]
    return np.array(kept, np.intp)


def _number(name: str) -> int:
    try:
        kind = kind_of(name)
    except UnknownClass as error:
        raise ValueError(f"the camera detector has a class {error}, whose meaning is not known; known names: docs/camera.md") from error
    return -1 if kind is None else int(kind)
