"""Checks that the stamps of an input advance as time does: milliseconds written as nanoseconds stand still and then jump.

Time is what the other inputs say, not when messages come: a slow simulation, or a bag played slowly, is no fault.
"""

from __future__ import annotations

from collections import deque

import numpy as np

from jepa_ros.types import NANOSECONDS

MESSAGES, FEWEST = 128, 10
LEAST_NS, LONGEST_NS = NANOSECONDS // 2, 2 * NANOSECONDS  # that the others go on while an input is judged by them
SPREAD = 0.4  # of that: the longest step of the others; after a longer one nobody knows who has jumped
STANDING = 0.2  # of the steps of others
COMMON = 0.75  # quantile of the steps: messages that come twice, or in bunches, stand still now and then
SELDOM = 8  # messages between two looks


class Pace:
    """Of one input."""

    def __init__(self) -> None:
        self._steps: deque[tuple[int, int]] = deque(maxlen=MESSAGES)  # ns by its own stamps, and by those of the others
        self._last: tuple[int, int] | None = None
        self._count = 0
        self._stands = False

    def stands_still(self, stamp_ns: int, others_ns: int) -> bool:
        """Whether its stamps stand still, one more included. `others_ns`: the newest stamp of all other inputs, 0 = none."""
        last, self._last = self._last, (stamp_ns, others_ns)
        if last is None or not others_ns or not last[1]:
            return False
        own, passed = stamp_ns - last[0], others_ns - last[1]
        if own < 0 or passed < 0:  # time has jumped
            self._steps.clear()
            self._stands = False
            return False
        self._steps.append((own, passed))
        self._count += 1
        if not self._count % SELDOM:
            self._look()
        return self._stands

    def _look(self) -> None:
        total = sum(passed for _, passed in self._steps)
        while total - self._steps[0][1] > LONGEST_NS:
            total -= self._steps.popleft()[1]
        own, passed = np.array(self._steps, np.float64).T
        known = len(own) >= FEWEST and total >= LEAST_NS and passed.max() <= SPREAD * total
        self._stands = known and bool(np.quantile(own, COMMON) < STANDING * passed.mean())
