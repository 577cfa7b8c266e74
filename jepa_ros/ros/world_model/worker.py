"""One thread owns the model: it takes the newest observation, steps the pipeline, hands the result on to a second one, which publishes.

What came in meanwhile is skipped, never queued. Building messages is slow, and the model hardly needs the interpreter: so the next step
begins while the last result is published. At most one result waits for that; a step that is ahead of it waits too.
"""

from __future__ import annotations

import queue
import re
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from jepa_ros.ros.latency import LatencyBook
from jepa_ros.threads import give_back_freed_memory, heed_torch_threads
from jepa_ros.types import Observation, SceneState

POLL_S = 0.02  # what waits for a match that never comes must be taken although nothing arrives to say so
JOIN_S = 30.0
GIVE_BACK_S = 60.0  # freed memory, so that what the process holds does not grow
MOST_KINDS, LONGEST_KIND = 16, 200
OTHER = "other errors"
NUMBER = re.compile(r"0x[0-9a-fA-F]+|\d+(?:\.\d+)?(?:e[-+]?\d+)?")


class Pipeline(Protocol):
    """What the worker needs of a pipeline."""

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


@dataclass(frozen=True)
class Result:
    """The result of one step, and the time it has taken so far."""

    state: SceneState
    observation: Observation  # that it was made from
    timings_ms: dict[str, float]
    before_ms: float  # from the sensor's message to the step
    taken_s: float  # time.perf_counter() when the step began


class PipelineWorker:
    """Steps `pipeline` with the newest observation of `source` after each `wake()`.

    An exception in a step is counted in `errors`, passed to `report`, and costs the history (the pipeline is reset) but never the thread.
    One in publishing is counted and reported, and costs that result.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        source: Source,
        publish: Callable[[SceneState, Observation], None],
        keep_score: Callable[[SceneState], None],
        report: Callable[[str], None],
        latency: LatencyBook,
        transport_ms: Callable[[int], float],
    ) -> None:
        """keep_score: called once a state is published, so that nobody waits for it.

        transport_ms: how long the sensor message with a given stamp was on its way to us; it counts into "end_to_end".
        """
        self._errors: Counter[str] = Counter()
        self._errors_lock = threading.Lock()  # two threads count, a timer reads
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
        self._results: queue.Queue[Result | None] = queue.Queue(maxsize=1)  # None: no more will come
        self._threads = [
            threading.Thread(target=self._run, name="world_model_worker", daemon=True),
            threading.Thread(target=self._run_publishing, name="world_model_publisher", daemon=True),
        ]

    @property
    def errors(self) -> Counter[str]:
        """A copy: kind of error -> how often, in the order in which the kinds were first met. At most MOST_KINDS + 1 kinds."""
        with self._errors_lock:
            return Counter(self._errors)

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def wake(self) -> None:
        self._wake.set()

    def stop(self) -> None:
        """Let the step in progress finish and its result be published, then end the threads. Raises RuntimeError where they do not end."""
        self._stop.set()
        self._wake.set()
        for thread in self._threads:
            thread.join(JOIN_S)
        if any(thread.is_alive() for thread in self._threads):
            raise RuntimeError(f"the model's step did not end within {JOIN_S:.0f} s; kill the node")

    def _run(self) -> None:
        given_back_s = time.monotonic()
        while not self._stop.is_set():
            self._wake.wait(POLL_S)
            self._wake.clear()
            try:
                while not self._stop.is_set() and self._step_once():
                    if time.monotonic() - given_back_s > GIVE_BACK_S:  # after a step: the time until the next sweep is free
                        give_back_freed_memory()
                        given_back_s = time.monotonic()
            except Exception as error:  # a bad frame, a full GPU: the next frame may be good
                self._count(error)
                self._pipeline.reset()
        self._results.put(None)

    def _step_once(self) -> bool:
        """Take one observation through the pipeline; False if there is none."""
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
        self._results.put(Result(state, observation, timings_ms | dict(state.timings_ms), before_ms, taken_s))
        return True

    def _run_publishing(self) -> None:
        heed_torch_threads()  # forecasts of objects are joined into the occupancy here
        while (result := self._results.get()) is not None:
            self._publish_once(result)

    def _publish_once(self, result: Result) -> None:
        started_s = time.perf_counter()
        try:
            self._publish(result.state, result.observation)
            published_s = time.perf_counter()
            self._keep_score(result.state)
        except Exception as error:  # the publishers of a node that is being taken down, for one
            self._count(error)
            return
        timings_ms = result.timings_ms | {
            "publish": 1e3 * (published_s - started_s),
            "end_to_end": result.before_ms + 1e3 * (published_s - result.taken_s),
            "score": 1e3 * (time.perf_counter() - published_s),
        }
        for stage, elapsed_ms in timings_ms.items():
            self._latency.add(stage, elapsed_ms)
        self.last = result.state
        self.steps += 1

    def _count(self, error: Exception) -> None:
        text = f"{type(error).__name__}: {error}"
        kind = NUMBER.sub("#", text)[:LONGEST_KIND]  # errors that differ in their figures only are one kind
        with self._errors_lock:
            known = kind in self._errors or len(self._errors) < MOST_KINDS
            self._errors[kind if known else OTHER] += 1
        self._report(text)
