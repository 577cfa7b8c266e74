"""NanoDet from its TensorFlow.js weights as one ONNX file: an image in, boxes and scores out.

The network says for each cell of three grids how likely each class is, and how far each side of a box lies from the middle of the cell, as
a distribution over whole strides; its mean is the distance (Generalized Focal Loss, Li et al. 2020). That is part of the file, so that
whoever runs it needs no code of NanoDet's.
"""

from __future__ import annotations

import argparse
import json
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from jepa_ros.exchange.tfjs import OnnxGraph, convert
from jepa_ros.objects.camera.classes import COCO as NAMES

SIDE = 416
STRIDES = (8, 16, 32)
BINS = 11  # distances of 0 to 10 strides
# Of blue, green and red, as the network was trained (the configuration of NanoDet-g).
MEAN, SPREAD = (103.53, 116.28, 123.675), (57.375, 57.12, 58.395)


def write(source: Path, target: Path) -> None:
    """From nanodet.json, its weights beside it, to an ONNX file. Raises ValueError where the model is another one."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    graph, image, outputs = convert(source)
    head = OnnxGraph()
    # RGB, bytes as float32, (1, 3, SIDE, SIDE) -> blue, green, red about zero.
    flipped = head.add("Gather", ["image", head.constant("bgr", np.array([2, 1, 0]))], "image/bgr", axis=1)
    mean = head.constant("image/mean", np.array(MEAN, np.float32).reshape(1, 3, 1, 1))
    spread = head.constant("image/spread", np.array(SPREAD, np.float32).reshape(1, 3, 1, 1))
    head.add("Div", [head.add("Sub", [flipped, mean], "image/centred"), spread], image)
    graph.nodes[:0] = head.nodes
    graph.constants |= head.constants
    _boxes(graph, outputs)
    onnx_graph = helper.make_graph(
        graph.nodes,
        "nanodet",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, SIDE, SIDE])],
        [
            helper.make_tensor_value_info("boxes", TensorProto.FLOAT, [None, 4]),
            helper.make_tensor_value_info("scores", TensorProto.FLOAT, [None, len(NAMES)]),
        ],
        [numpy_helper.from_array(value, name) for name, value in graph.constants.items()],
    )
    model = helper.make_model(onnx_graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    helper.set_model_props(model, {"names": json.dumps(NAMES), "model": "NanoDet-g, RangiLyu/nanodet, Apache-2.0"})
    onnx.checker.check_model(model)
    partial = target.with_suffix(".partial")
    onnx.save(model, str(partial))
    partial.replace(target)


def _boxes(graph: OnnxGraph, outputs: dict[str, tuple[int, ...]]) -> None:
    """Join the grids into "boxes" (N, 4: left, top, right, bottom in pixels of the input) and "scores" (N, C)."""
    of_shape = {shape[1:]: name for name, shape in outputs.items()}
    bins = graph.constant("bins", np.arange(BINS, dtype=np.float32))
    sides = graph.constant("sides", np.array([1, -1, 4, BINS]))
    scores, boxes = [], []
    for stride in STRIDES:
        cells = SIDE // stride
        if not {(cells**2, len(NAMES)), (cells**2, 4 * BINS)} <= set(of_shape):
            raise ValueError(f"no NanoDet-g: outputs {outputs}; fetch the package in the version that scripts/camera_detector.sh names")
        scores.append(of_shape[cells**2, len(NAMES)])
        spread = of_shape[cells**2, 4 * BINS]
        shares = graph.add("Softmax", [graph.add("Reshape", [spread, sides], f"{spread}/by_side")], f"{spread}/shares", axis=-1)
        signed = graph.constant(f"{spread}/signed", np.array([-stride, -stride, stride, stride], np.float32))
        pixels = graph.add("Mul", [graph.add("MatMul", [shares, bins], f"{spread}/strides"), signed], f"{spread}/pixels")
        column, row = np.meshgrid(np.arange(cells), np.arange(cells))
        middle = stride * (np.stack((column, row, column, row), axis=-1).reshape(1, -1, 4) + 0.5) - 0.5
        boxes.append(graph.add("Add", [pixels, graph.constant(f"{spread}/middle", middle.astype(np.float32))], f"{spread}/box"))
    for name, parts, width in (("scores", scores, len(NAMES)), ("boxes", boxes, 4)):
        joined = graph.add("Concat", parts, f"{name}/joined", axis=1)
        graph.add("Reshape", [joined, graph.constant(f"{name}/flat", np.array([-1, width]))], name)


def main(argv: list[str] | None = None) -> int:
    """`python -m jepa_ros.exchange camera_detector nanodet.json TARGET.onnx`."""
    parser = argparse.ArgumentParser(prog="camera_detector", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("source", type=Path, help="nanodet.json, its weights beside it")
    parser.add_argument("target", type=Path, help="the ONNX file to write")
    args = parser.parse_args(argv)
    if find_spec("onnx") is None:
        print("onnx is not installed: pip install 'jepa_ros[camera]'", file=sys.stderr)
        return 1
    try:
        write(args.source, args.target)
    except (OSError, ValueError) as error:
        print(error, file=sys.stderr)
        return 1
    print(f"{args.target}: set pipeline.camera.detector to 'nanodet', or to this path")
    return 0
