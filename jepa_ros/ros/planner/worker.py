"""Answers every request by its deadline, even while the planning thread is busy.

One thread plans, the most urgent request first; another only watches the clock and answers for those whose time is up.
"""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from rclpy.task import Future

from jepa_ros.threads import heed_torch_threads, quick_turns

JOIN_S = 30.0
ANSWER_S = 0.004  # kept free before each deadline for the way of the answer, at least
MOST_ANSWER_S = 0.06  # and at most, on a machine that is too busy
ANSWER_MEMORY_S = 3.0  # what was slow longer ago than this says nothing of now
READING = 1.5  # a request waits for the executor about half as long as an answer does
MISSES_KEPT = 40  # answers that are looked back at
MISSES_MEMORY_S = 10.0  # if they are not older than this
FEW = 8
WORTH_A_WARNING = 0.25
OF_AGE = 0.4  # of a plan's highest age, for making the next: that one is begun up to a command's period later, and must be there in time
MOST_STRETCH = 100.0  # of the time for one plan, where its bound allows it
KEPT = 10_000  # answers that percentiles are taken over


@dataclass(eq=False)
class _Job:
    work: Callable[[float], Any]  # seconds that are left -> answer
    late: Callable[[], Any]
    due_s: float  # steady clock
    future: Future = field(default_factory=Future)
    taken: bool = False
    ready_s: float = math.inf


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


class AnswerTime:
    """How long before its deadline an answer must be ready: as long as answers took of late to get out.

    On a busy machine threads wait for a processor, and for each other: what is aimed at the deadline itself then comes late.
    """

    def __init__(self) -> None:
        self._slowest: deque[tuple[float, float]] = deque()  # (when, how long), each slower than all that came after it

    def add(self, took_s: float, now_s: float) -> None:
        while self._slowest and self._slowest[-1][1] <= took_s:
            self._slowest.pop()
        self._slowest.append((now_s, took_s))

    def needed_s(self, now_s: float) -> float:
        while self._slowest and self._slowest[0][0] < now_s - ANSWER_MEMORY_S:
            self._slowest.popleft()
        slowest_s = self._slowest[0][1] if self._slowest else 0.0
        return min(max(ANSWER_S, READING * slowest_s), MOST_ANSWER_S)


class Misses:
    """How many of the newest answers were not there in time."""

    def __init__(self, now_s: Callable[[], float] = time.monotonic) -> None:
        self._now_s = now_s
        self._recent: deque[tuple[float, bool]] = deque(maxlen=MISSES_KEPT)

    def note(self, missed: bool) -> None:
        self._recent.append((self._now_s(), missed))

    def told(self) -> tuple[int, int] | None:
        """(missed, of so many) where that is worth a warning: a quarter of what was asked of late, and not a handful."""
        recent = [missed for at_s, missed in list(self._recent) if at_s > self._now_s() - MISSES_MEMORY_S]
        missed = sum(recent)
        return (missed, len(recent)) if len(recent) >= FEW and missed >= WORTH_A_WARNING * len(recent) else None


class PlanningTime:
    """How long one replanning may take: `least_s` while that is enough, longer while plans are not ready by then.

    A plan that is driven by may be so and so old: what goes into making the next one is a share of that.
    """

    def __init__(self) -> None:
        self.misses = Misses()
        self._stretch = 1.0

    def seconds(self, least_s: float, max_age_s: float) -> float:
        return max(least_s, min(self._stretch * least_s, OF_AGE * max_age_s))

    def note(self, ready: bool) -> None:
        """Whether a plan was ready in time."""
        self.misses.note(not ready)
        self._stretch = min(max(1.0, self._stretch * (0.95 if ready else 1.5)), MOST_STRETCH)


class DeadlineWorker:
    """Runs until `close()`. `wake` is called after each answer, so that an executor looks at what awaits it."""

    def __init__(self, wake: Callable[[], None]) -> None:
        self._wake = wake
        self._answer_time = AnswerTime()  # of the executor's thread alone
        self._changed = threading.Condition()
        self._jobs: list[_Job] = []
        self._closed = False
        self._threads = [threading.Thread(target=run, name=f"planner_{run.__name__}", daemon=True) for run in (self._plan, self._watch)]
        for thread in self._threads:
            thread.start()

    async def ask(self, work: Callable[[float], Any], late: Callable[[], Any], deadline_s: float) -> Any:
        """`submit`, awaited in the executor: ready so long before the deadline that the answer can be out when it comes."""
        job = self._add(work, late, deadline_s - self._answer_time.needed_s(time.monotonic()))
        answer = await job.future
        now_s = time.monotonic()
        self._answer_time.add(now_s - min(job.ready_s, job.due_s), now_s)
        return answer

    def submit(self, work: Callable[[float], Any], late: Callable[[], Any], deadline_s: float) -> Future:
        """A future of `work(seconds left)`, or of `late()` where that is not done `deadline_s` from now. Neither may raise."""
        return self._add(work, late, deadline_s).future

    def _add(self, work: Callable[[float], Any], late: Callable[[], Any], deadline_s: float) -> _Job:
        now_s = time.monotonic()
        job = _Job(work, late, now_s + deadline_s)
        if deadline_s <= 0.0:
            job.ready_s = now_s
            job.future.set_result(late())
            return job
        with self._changed:
            self._jobs.append(job)
            self._changed.notify_all()
        return job

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
        answer = make()
        job.ready_s = time.monotonic()
        job.future.set_result(answer)
        self._wake()

    def _plan(self) -> None:
        heed_torch_threads()
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
            with quick_turns:
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
