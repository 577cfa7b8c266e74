"""One thread owns the model: it takes the newest observation, steps the pipeline, hands the result on.

What came in meanwhile is skipped, never queued.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Protocol

from jepa_ros.ros.latency import LatencyBook
from jepa_ros.types import Observation, SceneState

POLL_S = 0.02  # what waits for a match that never comes must be taken although nothing arrives to say so
JOIN_S = 30.0


class Pipeline(Protocol):
    def step(self, observation: Observation) -> SceneState: ...
    def reset(self) -> None: ...


class Source(Protocol):
    """What the worker takes observations from."""

    @property
    def epoch(self) -> int:
        """Counts the jumps back in time."""
        ...

    @property
    def last_timings_ms(self) -> Mapping[str, float]:
        """ "receive" and "decode" of the observation taken last."""
        ...

    def take(self) -> Observation | None: ...


class PipelineWorker:
    """Steps `pipeline` with whatever is newest in `source`, whenever `wake()` says that something came.

    An exception in a step is counted in `errors`, told to `report`, and costs the history (the pipeline is reset) but never the thread.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        source: Source,
        publish: Callable[[SceneState], None],
        keep_score: Callable[[SceneState], None],
        report: Callable[[str], None],
        latency: LatencyBook,
        transport_ms: Callable[[int], float],
    ) -> None:
        """keep_score: called once a state is published, so that nobody waits for it.

        transport_ms: how long the sensor message with a given stamp was on its way to us; it counts into "end_to_end".
        """
        self.errors: Counter[str] = Counter()
        self.steps = 0
        self.resets = 0
        self.last: SceneState | None = None
        self._pipeline = pipeline
        self._source = source
        self._publish = publish
        self._keep_score = keep_score
        self._report = report
        self._latency = latency
        self._transport_ms = transport_ms
        self._epoch = source.epoch
        self._wake = threading.Event()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="world_model_worker", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def wake(self) -> None:
        self._wake.set()

    def stop(self) -> None:
        """Let the step in progress finish, then end the thread. Raises RuntimeError where it does not end."""
        self._stop.set()
        self._wake.set()
        self._thread.join(JOIN_S)
        if self._thread.is_alive():
            raise RuntimeError(f"the model's step did not end within {JOIN_S:.0f} s; kill the node")

    def _run(self) -> None:
        while not self._stop.is_set():
            self._wake.wait(POLL_S)
            self._wake.clear()
            try:
                while not self._stop.is_set() and self._step_once():
                    pass
            except Exception as error:  # a bad frame, a full GPU: the next frame may be good
                text = f"{type(error).__name__}: {error}"
                self.errors[text] += 1
                self._report(text)
                self._pipeline.reset()

    def _step_once(self) -> bool:
        """Take one observation through the pipeline; False where there is none."""
        observation = self._source.take()
        if self._source.epoch != self._epoch:
            self._epoch = self._source.epoch
            self.resets += 1
            self._pipeline.reset()
        if observation is None:
            return False
        taken_s = time.perf_counter()
        timings_ms = dict(self._source.last_timings_ms)
        before_ms = self._transport_ms(observation.stamp_ns) + sum(timings_ms.values())

        state = self._pipeline.step(observation)
        timings_ms.update(state.timings_ms)
        stepped_s = time.perf_counter()
        self._publish(state)
        timings_ms["publish"] = 1e3 * (time.perf_counter() - stepped_s)
        timings_ms["end_to_end"] = before_ms + 1e3 * (time.perf_counter() - taken_s)

        published_s = time.perf_counter()
        self._keep_score(state)
        timings_ms["score"] = 1e3 * (time.perf_counter() - published_s)
        for stage, elapsed_ms in timings_ms.items():
            self._latency.add(stage, elapsed_ms)
        self.last = state
        self.steps += 1
        return True
