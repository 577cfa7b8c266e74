"""Logs each problem of the diagnostics once, again when it changes, and when it has gone."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable
from typing import Any

from diagnostic_msgs.msg import DiagnosticStatus

QUIET_S = 30.0  # a problem that comes and goes is reported once in so long
NUMBER = re.compile(r"[-+]?\d+(\.\d+)?")


class ProblemLog:
    """Logs problems and remembers which it has logged."""

    def __init__(self, logger: Any) -> None:
        self._logger = logger
        self._present: dict[str, str] = {}  # status -> the problem that it has, its numbers left out
        self._said_s: dict[tuple[str, str], float] = {}
        self._to_be_ended: set[str] = set()  # statuses of which a problem was logged since they were last well

    def say(self, statuses: Iterable[DiagnosticStatus]) -> None:
        """Log what is new in them."""
        now_s = time.monotonic()
        for status in statuses:
            if status.level == DiagnosticStatus.OK:
                self._present.pop(status.name, None)
                if status.name in self._to_be_ended:
                    self._to_be_ended.discard(status.name)
                    self._logger.info(f"{status.name}: recovered: {status.message}")
                continue
            problem = NUMBER.sub("#", status.message)
            if self._present.get(status.name) == problem:
                continue
            self._present[status.name] = problem
            if now_s - self._said_s.get((status.name, problem), -QUIET_S) < QUIET_S:
                continue
            self._said_s[status.name, problem] = now_s
            self._to_be_ended.add(status.name)
            if status.level == DiagnosticStatus.ERROR:
                self._logger.error(f"{status.name}: {status.message}")
            else:
                self._logger.warning(f"{status.name}: {status.message}")
