"""What runs the static parts of a world model. Eager torch is the reference; an engine runs a part as one graph where that pays.

    eager         torch, operation by operation
    onnxruntime   on processors: exported once, kept in the user's cache, run by ONNX Runtime (pip install 'jepa_ros[engine]')
    cudagraph     on NVIDIA: captured when it is built, replayed with one launch
    auto          the engine of the device if it is installed, for the parts that it ran faster than eager when it was built; else eager

A part is only taken where it equals eager torch within TOLERANCE. Whatever cannot be built is said in the log, with what to do, and runs
eagerly. What was faster is measured once and kept beside the graphs, so that a machine gives the same answer twice.
"""

from __future__ import annotations

import json
import logging
import os
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

ENGINES = ("auto", "eager", "onnxruntime", "cudagraph")
TOLERANCE = 1e-3  # largest difference from eager float32, of latents whose observed channels reach 4
RUNS = 5  # of which the median says which is faster

log = logging.getLogger(__name__)
Precision = Callable[[], AbstractContextManager[object]]


class Graph(Protocol):
    """A part, ready to run. Its outputs are its own until the next call."""

    def __call__(self, *inputs: Tensor) -> tuple[Tensor, ...]: ...


@dataclass(frozen=True)
class Part:
    """A module of tensors alone, and inputs of the shapes that it will see."""

    module: nn.Module
    inputs: tuple[Tensor, ...]


@dataclass(frozen=True)
class Engine:
    """The parts that do not run eagerly, by name."""

    name: str
    graphs: Mapping[str, Graph]

    def get(self, part: str) -> Graph | None:
        return self.graphs.get(part)


EAGER = Engine("eager", {})


def cache_folder() -> Path:
    """Where built graphs are kept: in the user's cache (XDG), never in the package."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "jepa_ros" / "engines"


def build(engine: str, parts: Mapping[str, Part], fingerprint: str, precision: Precision) -> Engine:
    """An engine for these parts. fingerprint: of the weights, part of the name of what is kept. precision: in which eager would run.

    Raises ValueError for an unknown engine; never for one that cannot be had here.
    """
    if engine not in ENGINES:
        raise ValueError(f"unknown engine {engine!r}; choose one of {', '.join(ENGINES)}")
    device = next(iter(parts.values())).inputs[0].device.type
    wanted = {"cuda": "cudagraph", "cpu": "onnxruntime"}.get(device, "eager") if engine == "auto" else engine
    reason = _missing(wanted, device)
    if wanted == "eager" or reason:
        if reason and engine != "auto":
            log.warning("engine %s cannot be used: %s; eager torch runs instead", engine, reason)
        return EAGER
    if wanted == "onnxruntime" and not _can_keep():
        log.warning(
            "engine %s: %s cannot be written, so nothing can be kept there; eager torch runs (set XDG_CACHE_HOME)", wanted, cache_folder()
        )
        return EAGER
    threads, capability = torch.get_num_threads(), torch.backends.cpu.get_cpu_capability()
    kept = cache_folder() / f"choice_{wanted}_{fingerprint}_torch{_version()}_{threads}threads_{capability}.json"
    chosen = json.loads(kept.read_text()) if engine == "auto" and kept.is_file() else None
    graphs: dict[str, Graph] = {}
    for name, part in parts.items():
        if chosen is not None and name not in chosen:
            continue
        try:
            graph = _BUILDERS[wanted](name, part, fingerprint)
            difference = _difference(part, graph, precision if wanted == "cudagraph" else nullcontext)
        except Exception as error:  # whatever exporters and runtimes raise: the part runs as it always can
            log.warning("%s: %s could not be built (%s: %s); it runs in eager torch", wanted, name, type(error).__name__, error)
            continue
        if not difference <= TOLERANCE:
            log.warning(
                "%s: %s differs from eager torch by %.2g, more than %g; it runs in eager torch", wanted, name, difference, TOLERANCE
            )
        elif engine != "auto" or chosen is not None or _is_faster(part, graph, precision):
            graphs[name] = graph
    if engine == "auto" and chosen is None:
        _write(kept, lambda path: path.write_text(json.dumps(list(graphs))), replace=False)
        graphs = {name: graphs[name] for name in json.loads(kept.read_text()) if name in graphs}
    log.info("engine %s runs %s", wanted, ", ".join(graphs) or "nothing: eager torch is faster here")
    return Engine(wanted, graphs) if graphs else EAGER


def _can_keep() -> bool:
    with suppress(OSError):
        cache_folder().mkdir(parents=True, exist_ok=True)
    return os.access(cache_folder(), os.R_OK | os.W_OK | os.X_OK)


def _missing(engine: str, device: str) -> str:
    """What stands in the way of an engine; empty = nothing."""
    if engine == "onnxruntime":
        lacking = [package for package in ("onnxruntime", "onnx", "onnxscript") if find_spec(package) is None]
        if device != "cpu":
            return f"it runs on a processor, the model is on {device}"
        return f"{', '.join(lacking)} is not installed (pip install 'jepa_ros[engine]')" if lacking else ""
    if engine == "cudagraph" and device != "cuda":
        return f"it needs an NVIDIA GPU, the model is on {device}"
    return ""


def _onnxruntime(name: str, part: Part, fingerprint: str) -> Graph:
    import onnxruntime

    path = cache_folder() / f"{name}_{fingerprint}_torch{_version()}.onnx"
    if not path.is_file():
        log.info("onnxruntime: building %s, once for these weights; kept in %s", name, path.parent)
        _write(path, lambda partial: _export(part, partial))
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = torch.get_num_threads(), 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # other processes want the cores
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    names = [one.name for one in session.get_inputs()]

    def run(*inputs: Tensor) -> tuple[Tensor, ...]:
        feeds: dict[str, Any] = dict(zip(names, (one.float().contiguous().numpy() for one in inputs), strict=True))
        return tuple(torch.from_numpy(np.asarray(one)) for one in session.run(None, feeds))

    return run


def _export(part: Part, path: Path) -> None:
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnx_ir", "onnxscript")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)  # they tell every step, and name every package that they can do without
    try:
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")
            program = torch.onnx.export(torch.export.export(part.module, part.inputs, strict=True), dynamo=True, verbose=False)
            assert program is not None
            program.save(str(path), external_data=False)
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def _write(path: Path, make: Callable[[Path], object], replace: bool = True) -> None:
    """Whole or not at all: another process may write the same at the same time. replace: False = whoever was first is right."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(f".{os.getpid()}.partial")
    try:
        make(partial)
        if replace:
            os.replace(partial, path)
        else:
            with suppress(FileExistsError):
                os.link(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def _version() -> str:
    return str(torch.__version__).split("+")[0]


def _cudagraph(name: str, part: Part, fingerprint: str) -> Graph:
    """Nothing is kept: a capture takes less than a second."""
    held = [one.clone() for one in part.inputs]
    native = torch.autocast("cuda", torch.bfloat16, enabled=torch.cuda.is_bf16_supported(), cache_enabled=False)
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.inference_mode(), native:
        with torch.cuda.stream(side):
            for _ in range(3):  # what is set up lazily must not be captured
                part.module(*held)
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            results = part.module(*held)

    def run(*inputs: Tensor) -> tuple[Tensor, ...]:
        for place, one in zip(held, inputs, strict=True):
            place.copy_(one, non_blocking=True)
        graph.replay()
        return tuple(result.float() for result in results)

    return run


_BUILDERS: dict[str, Callable[[str, Part, str], Graph]] = {"onnxruntime": _onnxruntime, "cudagraph": _cudagraph}


@torch.inference_mode()
def _difference(part: Part, graph: Graph, precision: Precision) -> float:
    """Largest difference between a graph and eager torch."""
    with precision():
        expected = part.module(*part.inputs)
    pairs = zip(expected, graph(*part.inputs), strict=True)
    return max((float((one.float() - other.float()).abs().max()) if one.numel() else 0.0) for one, other in pairs)


@torch.inference_mode()
def _is_faster(part: Part, graph: Graph, precision: Precision) -> bool:
    """While another thread is at work in Python, as in a step: each operation of eager torch has to wait for the interpreter."""

    def eager(*inputs: Tensor) -> object:
        with precision():
            return part.module(*inputs)

    with _neighbour() if part.inputs[0].device.type == "cpu" else nullcontext():
        return _median_s(graph, part.inputs) < _median_s(eager, part.inputs)


@contextmanager
def _neighbour() -> Iterator[None]:
    """A thread that keeps the interpreter for most of the time, in stretches as short as those of finding people (under 0.1 ms)."""
    done = threading.Event()

    def work() -> None:
        values = np.ones(20_000)
        while not done.is_set():
            sum(range(6_000))
            np.sqrt(values)

    thread = threading.Thread(target=work, name="neighbour", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def _median_s(run: Callable[..., object], inputs: tuple[Tensor, ...]) -> float:
    taken = []
    for _ in range(RUNS + 1):
        start = time.perf_counter()
        run(*inputs)
        if inputs[0].is_cuda:
            torch.cuda.synchronize()
        taken.append(time.perf_counter() - start)
    return float(np.median(taken[1:]))


class Staging:
    """Brings a frame's tensors to the device: over pinned memory that is reused, so that a copy does not block. On a CPU: nothing."""

    def __init__(self) -> None:
        self._pinned: dict[str, tuple[Tensor, torch.cuda.Event]] = {}

    def __call__(self, name: str, values: Tensor, device: torch.device) -> Tensor:
        if device.type != "cuda":
            return values.to(device)
        held = self._pinned.get(name)
        if held is None or held[0].shape != values.shape or held[0].dtype != values.dtype:
            held = (torch.empty_like(values, device="cpu").pin_memory(), torch.cuda.Event())
        buffer, copied = self._pinned[name] = held
        copied.synchronize()  # the last frame's copy; by now it is long done
        buffer.copy_(values)
        there = buffer.to(device, non_blocking=True)
        copied.record()
        return there
