"""Every request gets its answer by its deadline, whatever the planning is doing.

One thread plans, the most urgent request first; another only watches the clock and answers for those whose time is up.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from rclpy.task import Future

JOIN_S = 30.0
KEPT = 10_000  # answers that percentiles are taken over


@dataclass(eq=False)
class _Job:
    work: Callable[[float], Any]  # seconds that are left -> answer
    late: Callable[[], Any]
    due_s: float  # steady clock
    future: Future = field(default_factory=Future)
    taken: bool = False


class Lateness:
    """How much later than their deadline answers were handed over, s; 0 for those in time."""

    def __init__(self) -> None:
        self._late_s: deque[float] = deque(maxlen=KEPT)

    def add(self, late_s: float) -> None:
        self._late_s.append(max(0.0, late_s))

    def percentiles_ms(self) -> dict[str, float]:
        """Of the newest answers; empty where there was none."""
        late_ms = 1e3 * np.array(self._late_s)
        return {f"p{share:g}": float(np.percentile(late_ms, share)) for share in (50, 99, 99.9, 100)} if len(late_ms) else {}


class DeadlineWorker:
    """Runs until `close()`. `wake` is called after each answer, so that an executor looks at what awaits it."""

    def __init__(self, wake: Callable[[], None]) -> None:
        self._wake = wake
        self._changed = threading.Condition()
        self._jobs: list[_Job] = []
        self._closed = False
        self._threads = [threading.Thread(target=run, name=f"planner_{run.__name__}", daemon=True) for run in (self._plan, self._watch)]
        for thread in self._threads:
            thread.start()

    def submit(self, work: Callable[[float], Any], late: Callable[[], Any], deadline_s: float) -> Future:
        """A future of `work(seconds left)`, or of `late()` where that is not done `deadline_s` from now. Neither may raise."""
        job = _Job(work, late, time.monotonic() + deadline_s)
        with self._changed:
            self._jobs.append(job)
            self._changed.notify_all()
        return job.future

    def close(self) -> None:
        """Answer what is open as late, end the threads. Raises RuntimeError where the planning does not end."""
        with self._changed:
            self._closed = True
            open_jobs = list(self._jobs)
            self._changed.notify_all()
        for job in open_jobs:
            self._answer(job, job.late)
        for thread in self._threads:
            thread.join(JOIN_S)
            if thread.is_alive():
                raise RuntimeError(f"{thread.name} did not end within {JOIN_S:.0f} s; kill the node")

    def _answer(self, job: _Job, make: Callable[[], Any]) -> None:
        with self._changed:
            if job not in self._jobs:
                return  # the other thread was first
            self._jobs.remove(job)
            self._changed.notify_all()
        job.future.set_result(make())
        self._wake()

    def _plan(self) -> None:
        while True:
            with self._changed:
                waiting = [job for job in self._jobs if not job.taken]
                if self._closed:
                    return
                if not waiting:
                    self._changed.wait()
                    continue
                job = min(waiting, key=lambda one: one.due_s)
                job.taken = True
            answer = job.work(job.due_s - time.monotonic())
            self._answer(job, lambda answer=answer: answer)

    def _watch(self) -> None:
        while True:
            with self._changed:
                if self._closed:
                    return
                next_job = min(self._jobs, key=lambda one: one.due_s, default=None)
                left_s = None if next_job is None else next_job.due_s - time.monotonic()
                if left_s is None or left_s > 0:
                    self._changed.wait(left_s)
                    continue
            assert next_job is not None
            self._answer(next_job, next_job.late)
