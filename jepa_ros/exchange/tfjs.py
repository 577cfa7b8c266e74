"""A TensorFlow.js graph model as an ONNX graph, without TensorFlow: the operators that convolutional detectors use.

TensorFlow keeps channels last, ONNX first: each operator that minds stands between two transpositions, which ONNX Runtime cancels out.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Node = Mapping[str, Any]
FIRST, LAST = [0, 3, 1, 2], [0, 2, 3, 1]  # transpositions that bring channels first, and last again
DTYPES = {"float32": np.float32, "int32": np.int32, "bool": np.bool_, "uint8": np.uint8}
STORED = {"float16": np.float16, "uint8": np.uint8, "uint16": np.uint16}


@dataclass
class OnnxGraph:
    """Nodes and constants of an ONNX graph while it is put together."""

    nodes: list[Any] = field(default_factory=list)
    constants: dict[str, Array] = field(default_factory=dict)

    def add(self, kind: str, inputs: list[str], output: str, **attributes: Any) -> str:
        """One node of one output, whose name is returned."""
        from onnx import helper

        self.nodes.append(helper.make_node(kind, inputs, [output], **attributes))
        return output

    def split(self, source: str, sizes: Array, outputs: list[str], axis: int) -> None:
        """One node that cuts a tensor along an axis."""
        from onnx import helper

        sizes_name = self.constant(f"{outputs[0]}/sizes", np.asarray(sizes, np.int64))
        self.nodes.append(helper.make_node("Split", [source, sizes_name], outputs, axis=axis))

    def constant(self, name: str, value: Array) -> str:
        self.constants[name] = value
        return name


def read_weights(folder: Path, manifest: list[dict[str, Any]]) -> dict[str, Array]:
    """Name -> array, of the groups of a weights manifest; quantised ones at full width. Raises ValueError where the files are too short."""
    weights: dict[str, Array] = {}
    for group in manifest:
        data, at = b"".join((folder / path).read_bytes() for path in group["paths"]), 0
        for entry in group["weights"]:
            dtype, packed = np.dtype(DTYPES[entry["dtype"]]), entry.get("quantization")
            stored = np.dtype(STORED[packed["dtype"]]) if packed else dtype
            count = int(np.prod(entry["shape"], dtype=np.int64))
            if at + count * stored.itemsize > len(data):
                raise ValueError(f"{group['paths']} end within {entry['name']!r}: fetch the package again")
            values = np.frombuffer(data, stored, count, at).astype(dtype)
            if packed and "scale" in packed:
                values = values * dtype.type(packed["scale"]) + dtype.type(packed["min"])
            weights[entry["name"]] = values.reshape(entry["shape"])
            at += count * stored.itemsize
    return weights


def convert(path: Path) -> tuple[OnnxGraph, str, dict[str, tuple[int, ...]]]:
    """The graph of a model.json with its weights beside it, the name of its input, and its outputs with their shapes.

    Raises ValueError for a file that is no graph model, and for an operator that is not known here, named.
    """
    model = json.loads(path.read_text())
    if not {"modelTopology", "weightsManifest", "signature"} <= set(model):
        raise ValueError(f"{path} is no TensorFlow.js graph model: it has {sorted(model)}")
    weights = read_weights(path.parent, model["weightsManifest"])
    graph, known = OnnxGraph(), dict[str, Array]()
    inputs = []
    for node in _in_order(model["modelTopology"]["node"]):
        name, kind = node["name"], node["op"]
        sources = [source.removesuffix(":0").lstrip("^") for source in node.get("input", [])]
        if kind == "Const":
            known[name] = weights[name]
        elif kind == "Placeholder":
            inputs.append(name)
        elif sources and all(source in known for source in sources) and kind in FOLDED:
            known[name] = FOLDED[kind](*(known[source] for source in sources))
        elif kind in TRANSLATED:
            TRANSLATED[kind](_Call(graph, known, name, sources, node.get("attr", {})))
        else:
            raise ValueError(f"{path.name}: operator {kind!r} ({name}) is not translated; known: {', '.join(sorted(TRANSLATED))}")
    if len(inputs) != 1:
        raise ValueError(f"{path.name}: {len(inputs)} inputs, expected one image")
    outputs = {
        name.removesuffix(":0"): tuple(int(dim["size"]) for dim in output["tensorShape"]["dim"])
        for name, output in model["signature"]["outputs"].items()
    }
    return graph, inputs[0], outputs


@dataclass(frozen=True)
class _Call:
    """One TensorFlow node about to be translated."""

    graph: OnnxGraph
    known: Mapping[str, Array]  # constants so far
    name: str
    sources: list[str]
    attributes: Mapping[str, Any]

    def tensor(self, number: int) -> str:
        """Name of an input in the ONNX graph; constants enter it when something reads them."""
        source = self.sources[number]
        if source in self.known and source not in self.graph.constants:
            self.graph.constant(source, self.known[source])
        return source

    def value(self, number: int) -> Array:
        """An input that must be a constant."""
        source = self.sources[number]
        if source not in self.known:
            raise ValueError(f"{self.name}: input {number} ({source}) is not a constant")
        return self.known[source]

    def integers(self, attribute: str) -> list[int]:
        return [int(value) for value in self.attributes[attribute]["list"]["i"]]

    def text(self, attribute: str) -> str:
        return base64.b64decode(self.attributes[attribute]["s"]).decode()

    def channels_first(self, kind: str, inputs: list[str], **attributes: Any) -> None:
        """The operator between two transpositions; `inputs` are those after the image."""
        first = self.graph.add("Transpose", [self.tensor(0)], f"{self.name}/first", perm=FIRST)
        done = self.graph.add(kind, [first, *inputs], f"{self.name}/done", **attributes)
        self.graph.add("Transpose", [done], self.name, perm=LAST)

    def same(self, kind: str, **attributes: Any) -> None:
        self.graph.add(kind, [self.tensor(number) for number in range(len(self.sources))], self.name, **attributes)


def _plain(kind: str, call: _Call) -> None:
    call.same(kind)


def _leaky(call: _Call) -> None:
    call.same("LeakyRelu", alpha=float(call.attributes["alpha"]["f"]))


def _transpose(call: _Call) -> None:
    call.graph.add("Transpose", [call.tensor(0)], call.name, perm=call.value(1).tolist())


def _reshape(call: _Call) -> None:
    shape = call.graph.constant(f"{call.name}/shape", call.value(1).astype(np.int64))
    call.graph.add("Reshape", [call.tensor(0), shape], call.name)


def _pad(call: _Call) -> None:
    ends = call.graph.constant(f"{call.name}/ends", call.value(1).astype(np.int64).T.ravel())
    value = call.value(2) if len(call.sources) > 2 else np.float32(0)
    call.graph.add("Pad", [call.tensor(0), ends, call.graph.constant(f"{call.name}/value", np.asarray(value, np.float32))], call.name)


def _concat(call: _Call) -> None:
    parts = [call.tensor(number) for number in range(len(call.sources) - 1)]
    call.graph.add("Concat", parts, call.name, axis=int(call.value(len(parts))))


def _split(call: _Call) -> None:
    sizes = call.value(1)
    call.graph.split(call.tensor(0), sizes, [call.name, *(f"{call.name}:{part}" for part in range(1, len(sizes)))], int(call.value(2)))


def _convolution(call: _Call) -> None:
    weights = call.value(1).transpose(3, 2, 0, 1)  # height, width, in, out -> out, in, height, width
    _, up, across, _ = call.integers("strides")
    _, down, along, _ = call.integers("dilations")
    name = call.graph.constant(f"{call.name}/weights", np.ascontiguousarray(weights))
    call.channels_first("Conv", [name], strides=[up, across], dilations=[down, along], auto_pad=_padding(call))


def _largest(call: _Call) -> None:
    _, up, across, _ = call.integers("strides")
    _, height, width, _ = call.integers("ksize")
    call.channels_first("MaxPool", [], kernel_shape=[height, width], strides=[up, across], auto_pad=_padding(call))


def _padding(call: _Call) -> str:
    return {"VALID": "VALID", "SAME": "SAME_UPPER"}[call.text("padding")]


def _resize(call: _Call) -> None:
    half = call.attributes.get("half_pixel_centers", {}).get("b", False)
    corners = call.attributes.get("align_corners", {}).get("b", False)
    way = "align_corners" if corners else "half_pixel" if half else "asymmetric"
    first = call.graph.add("Transpose", [call.tensor(0)], f"{call.name}/first", perm=FIRST)
    size = call.graph.constant(f"{call.name}/size", call.value(1).astype(np.int64))
    shape = call.graph.add("Shape", [first], f"{call.name}/shape", end=2)  # of batch and channels, which stay
    whole = call.graph.add("Concat", [shape, size], f"{call.name}/whole", axis=0)
    done = call.graph.add("Resize", [first, "", "", whole], f"{call.name}/done", mode="linear", coordinate_transformation_mode=way)
    call.graph.add("Transpose", [done], call.name, perm=LAST)


def _dense(indices: Array, shape: Array, values: Array, fill: Array) -> Array:
    dense = np.full([int(size) for size in shape], fill)
    dense[tuple(np.asarray(indices, np.intp).T)] = values
    return dense


def _in_order(nodes: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Each after what it reads."""
    named, done, ordered = {node["name"]: node for node in nodes}, set[str](), list[dict[str, Any]]()
    waiting = [(node, False) for node in reversed(nodes)]
    while waiting:
        node, read = waiting.pop()
        if node["name"] in done:
            continue
        if read:
            done.add(node["name"])
            ordered.append(node)
            continue
        waiting.append((node, True))
        waiting += [(named[source.split(":")[0].lstrip("^")], False) for source in node.get("input", [])]
    return ordered


FOLDED: dict[str, Callable[..., Array]] = {"Add": np.add, "AddV2": np.add, "SparseToDense": _dense}
TRANSLATED: dict[str, Callable[[_Call], None]] = {
    **{name: partial(_plain, kind) for name, kind in (("Add", "Add"), ("AddV2", "Add"), ("Sigmoid", "Sigmoid"), ("Identity", "Identity"))},
    "LeakyRelu": _leaky,
    "Transpose": _transpose,
    "Reshape": _reshape,
    "Pad": _pad,
    "PadV2": _pad,
    "ConcatV2": _concat,
    "SplitV": _split,
    "Conv2D": _convolution,
    "MaxPool": _largest,
    "ResizeBilinear": _resize,
}
