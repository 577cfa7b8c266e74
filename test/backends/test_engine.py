"""Engines give what eager torch gives, are built once, and where they cannot be built eager torch runs."""

import contextlib
import logging
import threading

import numpy as np
import pytest
import torch

from jepa_ros.backends import engine
from jepa_ros.backends.scene_jepa.config import SceneJepaConfig
from jepa_ros.backends.scene_jepa.graphs import parts
from jepa_ros.backends.scene_jepa.model import SceneJepa
from jepa_ros.memory import LatentMemory
from jepa_ros.prediction import predict_in_parts
from jepa_ros.types import NANOSECONDS, CameraImage, CameraModel, EgoState, LidarSweep, Observation

SMALL = SceneJepaConfig(stem=8, body=8, camera=8, trunk=8, step=8, probe=8, narrow=2, history=2, horizon=3, head=8)
NEEDS_GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")


def untrained(device: str = "cpu") -> SceneJepa:
    torch.manual_seed(0)
    model = SceneJepa(SMALL).to(device).eval().requires_grad_(False)
    for parameter in model.parameters():
        parameter.normal_(std=0.1)  # what starts at zero would hide a mistake
    return model


def parts_of(model: SceneJepa) -> dict[str, engine.Part]:
    return parts(model.config, model.encoder, model.predictor, model.occupancy_head, model.occupancy_probe, 3, model.device)


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(SceneJepa, "fast", lambda self: contextlib.nullcontext())  # float32 on any processor
    return tmp_path / "jepa_ros" / "engines"


def street(step: int, cameras: int) -> Observation:
    rng = np.random.default_rng(step)
    ground = np.column_stack([rng.uniform(-20, 20, (5000, 2)), rng.normal(0, 0.01, 5000)])
    body = np.column_stack([5 + rng.uniform(-0.4, 0.4, 300), 0.6 * step + rng.uniform(-0.4, 0.4, 300), rng.uniform(0, 1.7, 300)])
    stamp_ns = round(0.4 * step * NANOSECONDS)
    forward = np.array([[0, 0, 1, 0], [-1, 0, 0, 0], [0, -1, 0, 1.5], [0, 0, 0, 1.0]])
    model = CameraModel(400, 225, np.array([[230.0, 0, 199.5], [0, 230.0, 112], [0, 0, 1]]), np.empty(0))
    images = [CameraImage(stamp_ns, str(k), rng.integers(0, 255, (225, 400, 3), np.uint8), model, forward) for k in range(cameras)]
    sweep = LidarSweep(stamp_ns, np.concatenate([ground, body]).astype(np.float32), None, None, None, np.eye(4))
    return Observation(stamp_ns, EgoState(stamp_ns, np.eye(4), np.zeros(2)), sweep, tuple(images))


def outputs(model: SceneJepa, cameras: int) -> list[torch.Tensor]:
    """Everything that a stream reads of a model."""
    memory, read = LatentMemory(model), []
    for step in range(4):
        observation = street(step, cameras)
        memory.add(observation.stamp_ns, observation.odom_from_anchor, model.encode(observation)[0])
    prediction = predict_in_parts(model, memory, torch.randn(3, 3, generator=torch.Generator().manual_seed(0)))
    read = [memory.newest_ND, model.occupancy(memory.newest_ND[None]), prediction.occupancy(), prediction.next_ND(20)]
    return [values.float().cpu() for values in read]


@pytest.mark.parametrize("name", list(parts_of(untrained())))
def test_every_part_exports_strictly_so_nothing_in_it_waits_for_the_host(name):
    part = parts_of(untrained())[name]
    program = torch.export.export(part.module, part.inputs, strict=True)
    for exported, eager in zip(program.module()(*part.inputs), part.module(*part.inputs), strict=True):
        torch.testing.assert_close(exported, eager, rtol=0, atol=1e-4)
    assert max(float(values.std()) for values in part.module(*part.inputs) if values.numel()) > 1e-3


@pytest.mark.timeout(400)  # exporters are slow on a busy machine
def test_onnxruntime_says_what_eager_torch_says_and_is_built_once(cache):
    for package in ("onnxruntime", "onnx", "onnxscript"):
        pytest.importorskip(package, reason="pip install 'jepa_ros[engine]'")
    model = untrained()
    expected = [outputs(model, cameras) for cameras in (0, 1, 2)]  # of two cameras there is no graph: eager
    assert model.use_engine("onnxruntime") == "onnxruntime"
    assert set(model._engine.graphs) == set(parts_of(model))
    for cameras, eager in enumerate(expected):
        for values, reference in zip(outputs(model, cameras), eager, strict=True):
            torch.testing.assert_close(values, reference, rtol=0, atol=engine.TOLERANCE)
    built = {path: path.stat().st_mtime_ns for path in cache.iterdir()}
    assert len(built) == len(parts_of(model))
    assert untrained().use_engine("onnxruntime") == "onnxruntime"
    assert {path: path.stat().st_mtime_ns for path in cache.iterdir()} == built


def test_a_graph_that_cannot_be_had_is_told_and_eager_torch_runs(cache, monkeypatch, caplog):
    def broken(name, part, fingerprint):
        raise RuntimeError("no such operator")

    monkeypatch.setattr(engine, "_missing", lambda *_: "")
    monkeypatch.setitem(engine._BUILDERS, "onnxruntime", broken)
    model = untrained()
    assert model.use_engine("onnxruntime") == "eager"
    assert "no such operator" in caplog.text
    assert outputs(model, 1)[2].shape == (3, 128, 128)
    wrong = lambda name, part, fingerprint: lambda *inputs: tuple(values + 0.01 for values in part.module(*inputs))  # noqa: E731
    monkeypatch.setitem(engine._BUILDERS, "onnxruntime", wrong)
    assert model.use_engine("onnxruntime") == "eager"
    assert "differs from eager torch by 0.01" in caplog.text


def test_what_is_missing_is_named_with_the_command(monkeypatch, caplog):
    monkeypatch.setattr(engine, "find_spec", lambda package: None)
    model = untrained()
    assert model.use_engine("onnxruntime") == "eager"
    assert "pip install 'jepa_ros[engine]'" in caplog.text
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        assert model.use_engine("auto") == "eager"  # nobody asked for it
        assert not caplog.text
    assert model.use_engine("cudagraph") == "eager"
    with pytest.raises(ValueError, match="choose one of auto, eager"):
        model.use_engine("tensorflow")


def test_auto_takes_what_was_faster_and_keeps_to_it(cache, monkeypatch):
    monkeypatch.setattr(engine, "_missing", lambda *_: "")
    monkeypatch.setitem(engine._BUILDERS, "onnxruntime", lambda name, part, fingerprint: part.module)
    model = untrained()
    monkeypatch.setattr(engine, "_is_faster", lambda part, *_: part.module.__class__.__name__ == "ProbeGraph")
    assert model.use_engine("auto") == "onnxruntime"
    assert set(model._engine.graphs) == {"probe"}
    monkeypatch.setattr(engine, "_is_faster", lambda part, *_: True)  # another day, another load
    model.use_engine("auto")
    assert set(model._engine.graphs) == {"probe"}
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache.parent / "other"))
    model.use_engine("auto")
    assert set(model._engine.graphs) == set(parts_of(model))


def test_of_two_that_choose_at_once_the_first_is_right(cache, monkeypatch):
    monkeypatch.setattr(engine, "_missing", lambda *_: "")
    monkeypatch.setitem(engine._BUILDERS, "onnxruntime", lambda name, part, fingerprint: part.module)
    other, model = untrained(), untrained()
    monkeypatch.setattr(engine, "_is_faster", lambda part, *_: part.module.__class__.__name__ == "ProbeGraph")

    def slow(part: engine.Part, *_: object) -> bool:
        with monkeypatch.context() as another_process:
            another_process.setattr(engine, "_is_faster", lambda part, *_: part.module.__class__.__name__ == "ProbeGraph")
            other.use_engine("auto")
        return True

    monkeypatch.setattr(engine, "_is_faster", slow)
    model.use_engine("auto")
    assert set(model._engine.graphs) == set(other._engine.graphs) == {"probe"}


def test_a_cache_that_cannot_be_written_is_named_and_the_model_runs(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(engine, "_missing", lambda *_: "")
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert untrained().use_engine("auto") == "eager"
    assert "set XDG_CACHE_HOME" in caplog.text


def test_what_is_faster_is_asked_beside_a_busy_interpreter():
    """Operation by operation, eager torch waits for the other thread; alone it would look faster than it is in a step."""
    beside: list[bool] = []

    class Watching(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            beside.append("neighbour" in {thread.name for thread in threading.enumerate()})
            return x

    part = engine.Part(Watching(), (torch.zeros(1),))
    engine._is_faster(part, part.module, contextlib.nullcontext)
    assert len(beside) == 2 * (engine.RUNS + 1)
    assert all(beside)
    part.module(*part.inputs)
    assert beside[-1] is False, "it ends with the question"


@NEEDS_GPU
def test_a_captured_graph_says_what_eager_torch_says_on_the_gpu():
    model = untrained("cuda")
    expected = outputs(model, 1)
    assert model.use_engine("cudagraph") == "cudagraph"
    for values, reference in zip(outputs(model, 1), expected, strict=True):
        torch.testing.assert_close(values, reference, rtol=0, atol=0.05)  # bfloat16


@NEEDS_GPU
def test_staging_reuses_pinned_memory_and_copies_what_it_is_given():
    staging, device = engine.Staging(), torch.device("cuda")
    first, second = torch.randn(3, 4), torch.randn(3, 4)
    there = [staging("x", values, device) for values in (first, second)]
    torch.cuda.synchronize()
    for values, copy in zip((first, second), there, strict=True):
        assert torch.equal(values, copy.cpu())
    assert staging._pinned["x"][0].is_pinned()
