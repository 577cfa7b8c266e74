"""What runs beside the world model on a thread of its own: the same answers, its errors told, nothing left running."""

import threading
import time

import numpy as np
import pytest
import torch
from test_pipeline import observation

from jepa_ros.pipeline import WorldModelPipeline
from jepa_ros.threads import Beside
from jepa_ros.types import SceneState


class AtOnce(Beside):
    """Does each work where it is begun."""

    def begin(self, work, *arguments):
        future = super().begin(work, *arguments)
        future.exception()
        return future


def run(pipeline: WorldModelPipeline) -> list[SceneState]:
    rng = np.random.default_rng(0)
    return [pipeline.step(observation(0.1 * step, rng)) for step in range(40)]


def test_a_step_says_the_same_as_one_stage_after_the_other():
    pipeline, in_turn = (WorldModelPipeline.load("scene_jepa", device="cpu") for _ in range(2))
    in_turn._beside = AtOnce("in_turn")
    for state, other in zip(run(pipeline), run(in_turn), strict=True):
        np.testing.assert_array_equal(state.occupancy.probability, other.occupancy.probability)
        np.testing.assert_array_equal(state.pedestrians.modes_m, other.pedestrians.modes_m)
        np.testing.assert_array_equal(state.people.ids, other.people.ids)
        np.testing.assert_equal(state.surprise, other.surprise)
    assert np.isfinite(state.surprise)
    assert len(state.people.ids)
    assert {"people", "forecast", "surprise"} <= set(state.timings_ms)


def test_an_error_beside_reaches_the_caller_and_the_next_step_works(monkeypatch):
    pipeline = WorldModelPipeline.load("persistence", device="cpu")
    rng = np.random.default_rng(0)

    def broken(*_: object) -> None:
        raise ValueError("no room for so many")

    with monkeypatch.context() as patch:
        patch.setattr(pipeline._tracker, "follow", broken)
        with pytest.raises(ValueError, match="no room for so many"):
            pipeline.step(observation(0.0, rng))
    assert pipeline.step(observation(0.1, rng)).stamp_ns == 100_000_000


def test_nothing_runs_on_when_the_block_is_left_by_an_error():
    done = threading.Event()

    def slow() -> None:
        time.sleep(0.2)
        done.set()

    def leave_at_once() -> None:
        with Beside("slow") as beside:
            beside.begin(slow)
            raise KeyError("model")

    with pytest.raises(KeyError):
        leave_at_once()
    assert done.is_set()


def test_work_is_done_in_turn_without_gradients_and_on_another_thread():
    weights, order = torch.ones(2, requires_grad=True), []
    with Beside("work") as beside:
        first = beside.begin(lambda: order.append((time.sleep(0.05), 1)))
        second = beside.begin(lambda: (order.append((None, 2)), (2 * weights).requires_grad, threading.current_thread().name))
        assert second.result()[1:] == (False, "work_0")
        assert first.done()
    assert [number for _, number in order] == [1, 2]
