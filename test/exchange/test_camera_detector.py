"""A TensorFlow.js graph becomes the same function in ONNX; the fetched detector becomes one that says boxes."""

from __future__ import annotations

import base64
import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional

from jepa_ros.exchange.__main__ import main
from jepa_ros.exchange.tfjs import convert, read_weights
from jepa_ros.objects.camera.loading import fetched_detector
from jepa_ros.types import CameraImage, CameraModel

EXTRA = "pip install 'jepa_ros[camera]'"


def text(value: str) -> dict[str, str]:
    return {"s": base64.b64encode(value.encode()).decode()}


def numbers(*values: int) -> dict[str, dict[str, list[str]]]:
    return {"list": {"i": [str(value) for value in values]}}


class Writer:
    """A model.json with its weights, put together by hand."""

    def __init__(self) -> None:
        self.nodes: list[dict] = []
        self.entries: list[dict] = []
        self.data = b""

    def constant(self, name: str, value: np.ndarray, half: bool = False) -> str:
        entry = {"name": name, "shape": list(value.shape), "dtype": value.dtype.name}
        if half:
            entry["quantization"] = {"dtype": "float16", "original_dtype": "float32"}
        self.nodes.append({"name": name, "op": "Const"})
        self.entries.append(entry)
        self.data += value.astype(np.float16).tobytes() if half else value.tobytes()
        return name

    def node(self, kind: str, name: str, *inputs: str, **attributes: dict) -> str:
        self.nodes.insert(0, {"name": name, "op": kind, "input": list(inputs), "attr": attributes})  # in no order that helps
        return name

    def save(self, folder: Path, outputs: dict[str, tuple[int, ...]]) -> Path:
        (folder / "weights.bin").write_bytes(self.data)
        signature = {f"{name}:0": {"tensorShape": {"dim": [{"size": str(size)} for size in shape]}} for name, shape in outputs.items()}
        model = {
            "modelTopology": {"node": self.nodes},
            "weightsManifest": [{"paths": ["weights.bin"], "weights": self.entries}],
            "signature": {"outputs": signature},
        }
        (folder / "model.json").write_text(json.dumps(model))
        return folder / "model.json"


def small_model(folder: Path, kernel: np.ndarray, bias: np.ndarray) -> Path:
    """(1, 3, 9, 9): padded, convolved with stride 2, leaky, pooled, scaled up, joined, cut, squashed."""
    w, ints = Writer(), lambda *values: np.array(values, np.int32)
    w.nodes.append({"name": "image", "op": "Placeholder"})
    last = w.node("Transpose", "last", "image", w.constant("perm", ints(0, 2, 3, 1)))
    padded = w.node("Pad", "padded", last, w.constant("pads", np.array([[0, 0], [1, 1], [1, 1], [0, 0]], np.int32)))
    strides = {"strides": numbers(1, 2, 2, 1), "dilations": numbers(1, 1, 1, 1)}
    conv = w.node("Conv2D", "conv", padded, w.constant("kernel", kernel, half=True), padding=text("VALID"), **strides)
    leaky = w.node("LeakyRelu", "leaky", w.node("AddV2", "sum", conv, w.constant("bias", bias)), alpha={"f": 0.1})
    pool = {"ksize": numbers(1, 3, 3, 1), "strides": numbers(1, 2, 2, 1), "padding": text("SAME")}
    larger = w.node(
        "ResizeBilinear", "larger", w.node("MaxPool", "pool", leaky, **pool), w.constant("size", ints(5, 5)),
        half_pixel_centers={"b": True}, align_corners={"b": False},
    )  # fmt: skip
    joined = w.node("ConcatV2", "joined", leaky, larger, w.constant("axis", np.array(3, np.int32)))
    w.node("SplitV", "cut", joined, w.constant("sizes", ints(6, 2)), w.constant("cut_axis", np.array(-1, np.int32)))
    w.node("Sigmoid", "squashed", "cut:1")
    shape = w.node("AddV2", "shape", w.constant("base", ints(1, 25, 2)), w.node(
        "SparseToDense", "none", w.constant("where", np.zeros((0, 1), np.int32)), w.constant("length", ints(3)),
        w.constant("values", np.zeros(0, np.int32)), w.constant("zero", np.array(0, np.int32)),
    ))  # fmt: skip
    w.node("Identity", "Identity", w.node("Reshape", "flat", "squashed", shape))
    return w.save(folder, {"Identity": (1, 25, 2)})


def test_a_graph_says_in_onnx_what_it_says_in_tensorflow(tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx", reason=EXTRA)
    onnxruntime = pytest.importorskip("onnxruntime", reason=EXTRA)
    rng = np.random.default_rng(0)
    kernel = rng.normal(size=(3, 3, 3, 4)).astype(np.float16).astype(np.float32)
    bias, image = rng.normal(size=4).astype(np.float32), rng.normal(size=(1, 3, 9, 9)).astype(np.float32)
    graph, source, outputs = convert(small_model(tmp_path, kernel, bias))
    assert (source, outputs) == ("image", {"Identity": (1, 25, 2)})
    helper = onnx.helper
    made = helper.make_graph(
        graph.nodes, "small", [helper.make_tensor_value_info("image", onnx.TensorProto.FLOAT, [1, 3, 9, 9])],
        [helper.make_tensor_value_info("Identity", onnx.TensorProto.FLOAT, None)],
        [onnx.numpy_helper.from_array(np.asarray(value), name) for name, value in graph.constants.items()],
    )  # fmt: skip
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    (got,) = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"]).run(None, {"image": image})

    leaky = functional.leaky_relu(
        functional.conv2d(torch.tensor(image), torch.tensor(kernel.transpose(3, 2, 0, 1)), torch.tensor(bias), 2, 1), 0.1
    )
    pooled = functional.max_pool2d(functional.pad(leaky, (1, 1, 1, 1), value=-torch.inf), 3, 2)  # SAME: 5 -> 3, one on each side
    larger = functional.interpolate(pooled, (5, 5), mode="bilinear", align_corners=False)
    want = torch.sigmoid(torch.cat((leaky, larger), 1)[:, 6:]).permute(0, 2, 3, 1).reshape(1, 25, 2)
    np.testing.assert_allclose(got, want.numpy(), atol=1e-5)


def test_what_is_not_known_is_named(tmp_path: Path) -> None:
    pytest.importorskip("onnx", reason=EXTRA)
    w = Writer()
    w.nodes.append({"name": "image", "op": "Placeholder"})
    w.node("Softplus", "odd", "image")
    with pytest.raises(ValueError, match=r"operator 'Softplus' \(odd\) is not translated"):
        convert(w.save(tmp_path, {"odd": (1,)}))


def test_weights_that_end_early_are_refused(tmp_path: Path) -> None:
    (tmp_path / "weights.bin").write_bytes(b"1234")
    entry = {"name": "kernel", "shape": [3], "dtype": "float32"}
    with pytest.raises(ValueError, match=r"end within 'kernel': fetch the package again"):
        read_weights(tmp_path, [{"paths": ["weights.bin"], "weights": [entry]}])


def test_quantised_weights_get_their_scale(tmp_path: Path) -> None:
    (tmp_path / "w.bin").write_bytes(bytes([0, 128, 255]))
    packed = {"name": "w", "shape": [3], "dtype": "float32", "quantization": {"dtype": "uint8", "scale": 0.1, "min": -1.0}}
    np.testing.assert_allclose(read_weights(tmp_path, [{"paths": ["w.bin"], "weights": [packed]}])["w"], [-1.0, 11.8, 24.5], atol=1e-5)


def test_the_fetched_package_becomes_a_detector(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime", reason=EXTRA)
    pytest.importorskip("onnx", reason=EXTRA)
    source = Path(os.environ.get("JEPA_ROS_NANODET", tmp_path / "none")) / "nanodet.json"
    target = tmp_path / "nanodet_g.onnx"
    if source.is_file():
        assert main(["camera_detector", str(source), str(target)]) == 0
    elif fetched_detector().is_file():
        target = fetched_detector()
    else:
        pytest.skip("no detector was fetched: make camera-detector, or JEPA_ROS_NANODET = folder of nanodet.json")
    from jepa_ros.objects.camera.onnx_detector import OnnxDetector

    detector = OnnxDetector(target)
    rgb = np.full((480, 640, 3), 128, np.uint8)
    image = CameraImage(5, "front", rgb, CameraModel(640, 480, np.eye(3), np.zeros(0)), np.eye(4))
    seen = detector.detect(image, np.array([[0.0, 0, 416, 416], [200.0, 50, 408, 258]]))
    assert (seen.stamp_ns, seen.camera, detector.side_px) == (5, "front", 416)
    np.testing.assert_allclose(seen.scales, [1.0, 2.0])
    assert (seen.scores < 0.3).all()  # nobody in a grey wall


def says(path: Path, boxes: np.ndarray, scores: np.ndarray, names: list[str], side: int | str = 64) -> Path:
    """A detector that says the same of every image."""
    onnx = pytest.importorskip("onnx", reason=EXTRA)
    helper, numpy_helper, kind = onnx.helper, onnx.numpy_helper, onnx.TensorProto.FLOAT
    constants = {
        name: numpy_helper.from_array(value.astype(np.float32), f"{name}/value") for name, value in (("boxes", boxes), ("scores", scores))
    }
    graph = helper.make_graph(
        [helper.make_node("Constant", [], [name], value=value) for name, value in constants.items()], "says",
        [helper.make_tensor_value_info("image", kind, [1, 3, side, side])],
        [helper.make_tensor_value_info(name, kind, value.dims) for name, value in constants.items()],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    helper.set_model_props(model, {"names": json.dumps(names)} if names else {})
    onnx.save(model, str(path))
    return path


def test_boxes_of_a_region_come_back_in_pixels_of_the_image(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime", reason=EXTRA)
    from jepa_ros.objects.camera.onnx_detector import OnnxDetector

    boxes = np.array([[-0.5, -0.5, 31.5, 63.5], [10, 10, 20, 20], [0, 0, 30, 62], [5, 5, 9, 9]])
    scores = np.array([[0.8, 0.1, 0.0], [0.2, 0.6, 0.1], [0.5, 0.0, 0.0], [0.01, 0.0, 0.9]])
    detector = OnnxDetector(says(tmp_path / "some.onnx", boxes, scores, ["person", "car", "kite"]))
    image = CameraImage(5, "front", np.zeros((300, 400, 3), np.uint8), CameraModel(400, 300, np.eye(3), np.zeros(0)), np.eye(4))
    seen = detector.detect(image, np.array([[99.5, 49.5, 227.5, 177.5]]))  # twice as many pixels as the input
    assert seen.kinds.tolist() == [0, 3]  # the kite is none of ours, and of two people on one another the better stays
    np.testing.assert_allclose(seen.boxes_px[0], [99.5, 49.5, 163.5, 177.5])
    np.testing.assert_allclose(seen.scores, [0.8, 0.6])
    assert seen.scales.tolist() == [0.5]


@pytest.mark.parametrize(("names", "side", "message"), [([], 64, "a camera detector has"), (["person"], "S", "a camera detector has"),
                                                        (["gizmo"], 64, "has a class gizmo, whose meaning is not known")])  # fmt: skip
def test_files_that_are_no_detectors_are_refused(tmp_path: Path, names: list[str], side: int | str, message: str) -> None:
    pytest.importorskip("onnxruntime", reason=EXTRA)
    from jepa_ros.objects.camera.onnx_detector import OnnxDetector

    with pytest.raises(ValueError, match=message):
        OnnxDetector(says(tmp_path / "odd.onnx", np.zeros((1, 4)), np.zeros((1, 1)), names, side))


def test_a_file_that_is_no_graph_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("onnx", reason=EXTRA)
    (tmp_path / "nanodet.json").write_text("{}")
    assert main(["camera_detector", str(tmp_path / "nanodet.json"), str(tmp_path / "out.onnx")]) == 1
    assert "nanodet.json" in capsys.readouterr().err
    assert not (tmp_path / "out.onnx").exists()
