"""How many threads numerics take, how they take turns, where their memory comes from, and work beside the caller's.

Matrix products of NumPy and SciPy are small here. OpenBLAS, whoever imported it first, would split them over all cores, and its threads
spin while they wait, against those of torch: with two torch threads a step took 290 ms where 140 are enough. torch's own threads are
`torch.set_num_threads`, and not changed here, but respected.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import AbstractContextManager, nullcontext
from functools import lru_cache
from threading import Lock
from types import TracebackType
from typing import Any, TypeVar

try:
    from threadpoolctl import ThreadpoolController
except ModuleNotFoundError:  # an apt home without it: OPENBLAS_NUM_THREADS=1 does the same, if it is set before NumPy is imported
    ThreadpoolController = None

T = TypeVar("T")
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # of malloc.h
KEPT = 4 << 20  # bytes
TURN_S = 1e-4  # s; a step alone gains nothing more from shorter ones


@lru_cache(maxsize=1)
def _libraries() -> Any:
    """Those that are loaded when this is first asked: by then NumPy and SciPy are."""
    import scipy.linalg  # noqa: F401 - loads its own OpenBLAS

    return ThreadpoolController()


def one_blas_thread() -> AbstractContextManager[object]:
    """`with one_blas_thread(): ...`; what the user has set holds again afterwards."""
    if ThreadpoolController is None:
        return nullcontext()
    limited: AbstractContextManager[object] = _libraries().limit(limits=1, user_api="blas")
    return limited


@lru_cache(maxsize=1)
def keep_freed_memory() -> bool:
    """Have the C library keep what arrays of up to KEPT give back, for the next of that size; False where it cannot (no glibc).

    A step makes some hundred arrays of 0.1 to 3 MB. Each of them was mapped anew, and the kernel cleared it page by page: 2,000 to 3,000
    page faults a step, 4 % of its time. What a process holds grows by what one step takes. Larger arrays are rare and go back to the
    system: kept, a rare one that fits nowhere would leave the process larger for good.
    """
    return _set_malloc((M_MMAP_THRESHOLD, KEPT), (M_TRIM_THRESHOLD, 1 << 30))


def give_back_freed_memory() -> bool:
    """Hand the pages that nobody uses back to the system; False where the C library cannot (no glibc).

    For after `keep_freed_memory`: what is kept is cut up by what lives on in between. Now and then an array fits into no gap, and the
    process grows by some MB for good although it uses no more than before. What the next step needs it takes anew: once a minute this costs
    some 5,000 page faults, a few ms.
    """
    try:
        ctypes.CDLL(None).malloc_trim(0)
    except (AttributeError, OSError, TypeError):
        return False
    return True


def _set_malloc(*options: tuple[int, int]) -> bool:
    try:
        set_option = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return False
    return all(set_option(option, value) == 1 for option, value in options)


def heed_torch_threads() -> None:
    """Call this in each thread that computes with torch: it then uses as many threads as `torch.set_num_threads` set.

    That number reaches OpenMP thread by thread, when torch first looks it up there. Convolutions do not look it up: where nothing else did
    before, they take all cores, whose threads then wait for each other by spinning.
    """
    import torch

    torch.get_num_threads()


class QuickTurns:
    """`with quick_turns: ...`: threads that wait for the interpreter get it after TURN_S; afterwards what the user has set holds again.

    A thread of pure Python, such as a callback of the same process, otherwise keeps it for 5 ms at a time, and each of the hundreds of
    operations of a step waits for that: beside such a thread a step of 45 ms took 6 s, and takes 0.25 s so. It is the whole process's, so
    the first who enters sets it and the last who leaves sets it back.
    """

    def __init__(self) -> None:
        self._lock, self._inside, self._usual_s = Lock(), 0, 0.0

    def __enter__(self) -> None:
        with self._lock:
            if self._inside == 0:
                self._usual_s = sys.getswitchinterval()
                sys.setswitchinterval(min(TURN_S, self._usual_s))
            self._inside += 1

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        with self._lock:
            self._inside -= 1
            if self._inside == 0:
                sys.setswitchinterval(self._usual_s)


quick_turns = QuickTurns()


class Beside:
    """`with beside: answer = beside.begin(work, ...); ...; answer.result()`. One thread: what was begun first is done first.

    At the end of the block everything that was begun is done, also where the block raised. Work takes no gradients, and as many torch
    threads as whoever begins it.
    """

    def __init__(self, name: str) -> None:
        """name: of the thread."""
        self._thread = ThreadPoolExecutor(1, name)
        self._thread.submit(heed_torch_threads)  # it starts now, not in the first step
        self._begun: list[Future[Any]] = []

    def __enter__(self) -> Beside:
        return self

    def begin(self, work: Callable[..., T], *arguments: object) -> Future[T]:
        """What it raises is raised by the future's `result`."""
        import torch

        future = self._thread.submit(_with_torch_threads, torch.get_num_threads(), work, *arguments)
        self._begun.append(future)
        return future

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        wait(self._begun)
        self._begun.clear()


def _with_torch_threads(count: int, work: Callable[..., T], *arguments: object) -> T:
    import torch

    if torch.get_num_threads() != count:
        torch.set_num_threads(count)
    with torch.inference_mode():  # of each thread
        return work(*arguments)
