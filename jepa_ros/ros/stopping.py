"""How a process of this package ends: on a signal it sends zero velocity while it can still publish, and exits with status 0.

ROS 2's own handlers shut the context down first; after that nothing can be published, and the base would keep the last velocity. So ours
replace them. Python may run a signal handler seconds late (a wait in the middleware, a model that loads). A thread that the interpreter's
wake-up pipe wakes therefore does what is urgent. This module imports little, so that it works before everything that takes seconds to
import.
"""

from __future__ import annotations

import ctypes
import os
import select
import signal
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from types import FrameType

PARENT_VARIABLE = "JEPA_ROS_END_WITH_PARENT"  # process id of who starts nodes that must not go on without it: a launch file, the demo
SET_PARENT_DEATH_SIGNAL = 1  # PR_SET_PDEATHSIG of <sys/prctl.h>
SAME_PRESS_S = 1.0  # a terminal and a launch file may both pass on one Ctrl-C
LEAVE_S = 12.0  # before launch kills (15 s): a step of the model that does not end must not be waited for without end


class StopAsked(Exception):
    """Raised by work that is asked to stop."""


class Stopping:
    """From `install()` on, SIGINT, SIGTERM and SIGHUP set `asked`. Until `begin()` they end the process where it is: nothing moves yet."""

    def __init__(self) -> None:
        self.asked = threading.Event()
        self._at_once: list[Callable[[], None]] = []
        self._lock = threading.Lock()  # of `_at_once`: a signal while it is filled must neither be lost nor half heard
        self._begun = False
        self._installed = False

    def install(self) -> None:
        """To be called by the main thread, as Python requires; calling it again does no harm."""
        if self._installed:
            return
        self._installed = True
        read_end, write_end = os.pipe()
        os.set_blocking(write_end, False)
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._on_signal)  # also where a shell's background job inherited SIGINT as ignored: launch sends it
        if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # ignored: nohup, which means it
            signal.signal(signal.SIGHUP, self._on_signal)
        signal.set_wakeup_fd(write_end, warn_on_full_buffer=False)
        threading.Thread(target=self._watch, args=(read_end,), name="stopping", daemon=True).start()
        if parent := os.environ.get(PARENT_VARIABLE):
            end_with_parent(int(parent))

    def begin(self) -> None:
        """From now on a signal no longer ends the process by itself: the caller must check `asked`."""
        self._begun = True

    def at_once(self, *steps: Callable[[], None]) -> None:
        """What to do, in this order and in a thread of its own, when a signal comes; done now where one has come already."""
        with self._lock:
            self._at_once += steps
            late = self.asked.is_set()
        if late:
            run_all(steps)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if not self._begun:
            os._exit(0)

    def _watch(self, read_end: int) -> None:
        os.read(read_end, 1)
        with self._lock:
            self.asked.set()
            steps = tuple(self._at_once)
        began_s = time.monotonic()
        run_all(steps)
        while (left_s := began_s + LEAVE_S - time.monotonic()) > 0:
            ready, _, _ = select.select([read_end], [], [], left_s)
            if ready and os.read(read_end, 64) and time.monotonic() - began_s > SAME_PRESS_S:
                break
        say("told to stop again, or too slow to end: leaving without waiting for what still runs")
        os._exit(0)


def run_all(steps: tuple[Callable[[], None], ...]) -> None:
    """Run each of them, even if others raise."""
    for step in steps:
        run_one(step)


def run_one(step: Callable[[], None]) -> None:
    """What it raises is written to stderr."""
    try:
        step()
    except Exception as error:
        say(f"while stopping: {type(error).__name__}: {error}")


def say(text: str) -> None:
    """On stderr, which a closed terminal has taken along."""
    with suppress(OSError, ValueError):
        print(text, file=sys.stderr, flush=True)


def end_with_parent(starter: int) -> None:
    """SIGTERM for this process when its parent ends, however it ends (Linux); now, where the process that started it has ended already.

    That one is asked by its number, not told by the parent being process 1: in a container the launch file itself often is.
    """
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(SET_PARENT_DEATH_SIGNAL, signal.SIGTERM)
    if has_ended(starter):
        os.kill(os.getpid(), signal.SIGTERM)


def has_ended(pid: int) -> bool:
    """Also where it still has a number because nobody has asked yet how it ended."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except PermissionError:  # it is there, and somebody else's
        return False
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rsplit(")", 1)[1].split()[0] in ("Z", "X")
    except OSError:  # no Linux
        return False


STOPPING = Stopping()
