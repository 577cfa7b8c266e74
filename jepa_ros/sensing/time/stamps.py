"""Which stamps to accept: distinguishes a real jump of time from a single wrong message.

One bad stamp must neither make all later good ones look old, nor pass for a jump in time. So a stamp that does not fit is held as a
suspect; only suspects that agree with one another, with nothing ordinary arriving between them, are a jump.
"""

from __future__ import annotations

import enum
from collections.abc import Callable
from dataclasses import dataclass

from jepa_ros.types import NANOSECONDS

MAX_AHEAD_NS = 10 * NANOSECONDS  # beyond the newest of the other inputs, time passed since then added
COHERENT_NS = NANOSECONDS  # suspects this close together tell the same time
CONFIRMATIONS = 3
ACTIVE_NS = 2 * NANOSECONDS  # an input silent for longer has no say


class Verdict(enum.Enum):
    """What to do with a message, judged by its stamp."""

    ACCEPT = "accept"
    SUSPECT = "suspect"  # hold the message: it is used if a jump is confirmed, else it was absurd
    JUMP = "jump"  # this message and the suspects before it are the new time


@dataclass
class _Input:
    stamp_ns: int
    arrival_ns: int
    behind_ns: list[int]  # stamps in a row that fell back while other inputs went on


class StampGate:
    """Judges the stamps of all inputs together. Not thread-safe: its owner holds the lock."""

    def __init__(self, jump_back_s: float, clock_ns: Callable[[], int]) -> None:
        """`clock_ns`: when messages arrive; need not have anything to do with their stamps."""
        self._jump_back_ns = round(jump_back_s * NANOSECONDS)
        self._clock_ns = clock_ns
        self._inputs: dict[str, _Input] = {}
        self._suspects: list[tuple[str, int]] = []

    def judge(self, name: str, stamp: int) -> Verdict:
        """What to do with a message of input `name` that carries this stamp."""
        now = self._clock_ns()
        last = self._inputs.get(name)
        fits = self._fits_others(name, stamp, now)
        falls_back = last is not None and stamp < last.stamp_ns - self._jump_back_ns
        if fits and not falls_back:
            self._accept(name, stamp, now)
            return Verdict.ACCEPT
        if self._confirms_jump(name, stamp, now):
            self._inputs, self._suspects = {}, []
            self._accept(name, stamp, now)
            return Verdict.JUMP
        if fits and last is not None and self._confirms_own_fall(last, stamp):
            del self._inputs[name]  # its last stamp was the wrong one
            self._accept(name, stamp, now)
            return Verdict.ACCEPT
        return Verdict.SUSPECT

    def plausible(self, stamp: int) -> bool:
        """Whether a stamp lies near those of the inputs; for messages that shall not move time themselves."""
        newest = max((known.stamp_ns for known in self._inputs.values()), default=None)
        return newest is None or abs(stamp - newest) <= MAX_AHEAD_NS

    def _accept(self, name: str, stamp: int, now: int) -> None:
        known = self._inputs.setdefault(name, _Input(stamp, now, []))
        known.stamp_ns, known.arrival_ns, known.behind_ns = max(known.stamp_ns, stamp), now, []
        self._suspects = []

    def _fits_others(self, name: str, stamp: int, now: int) -> bool:
        others = [known for other, known in self._inputs.items() if other != name and now - known.arrival_ns <= ACTIVE_NS]
        others = others or list(self._inputs.values())
        if not others:
            return True
        newest = max(others, key=lambda known: known.stamp_ns)
        passed = max(now - newest.arrival_ns, 0)
        return -MAX_AHEAD_NS <= stamp - newest.stamp_ns <= MAX_AHEAD_NS + passed

    def _confirms_jump(self, name: str, stamp: int, now: int) -> bool:
        if self._suspects and abs(stamp - self._suspects[-1][1]) > COHERENT_NS:
            self._suspects = []
        self._suspects.append((name, stamp))
        del self._suspects[:-64]
        if len(self._suspects) < CONFIRMATIONS:
            return False
        active = {other for other, known in self._inputs.items() if now - known.arrival_ns <= ACTIVE_NS}
        told_by = {suspect for suspect, _ in self._suspects}
        if len(active | told_by) >= 2:
            return len(told_by) >= 2
        return len({suspect_stamp for _, suspect_stamp in self._suspects}) >= CONFIRMATIONS

    @staticmethod
    def _confirms_own_fall(last: _Input, stamp: int) -> bool:
        if last.behind_ns and abs(stamp - last.behind_ns[-1]) > COHERENT_NS:
            last.behind_ns = []
        last.behind_ns.append(stamp)
        return len(set(last.behind_ns)) >= CONFIRMATIONS
