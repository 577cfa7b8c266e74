"""Monitors the arrival of each topic: the age of the last message, the share of sent messages that arrive, and why the others do not."""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass, field
from statistics import median
from typing import Any

from jepa_ros.ros.machine import EXPORT
from jepa_ros.types import NANOSECONDS

WINDOW_S = 3.0
ENOUGH_SENT = 8  # fewer say little
GOOD_SHARE = 0.4  # of what was sent: a machine that is busy for a moment is no fault of the transport
LARGE = f"Fast DDS loses large messages: {EXPORT} where the driver starts, too"


@dataclass
class _Arrivals:
    publisher: bytes = b""
    newest: deque[tuple[float, int, float]] = field(default_factory=lambda: deque(maxlen=500))  # (steady s, publisher's count, waited s)


class ArrivalMonitor:
    """Fed by the subscriptions' callbacks, read by the diagnostics, in one thread."""

    def __init__(self) -> None:
        self._topics: dict[str, _Arrivals] = {}
        self._published_s: dict[str, float] = {}  # when a topic that nothing has come of was first seen to be published

    def note(self, topic: str, info: dict[str, Any]) -> None:
        """A message came. info: as rclpy gives it beside the message."""
        number, publisher = info.get("publication_sequence_number"), info.get("publisher_gid", {}).get("data", b"")
        arrivals = self._topics.setdefault(topic, _Arrivals())
        if publisher != arrivals.publisher:  # another, or several in turn: their counts say nothing together
            arrivals.publisher = publisher
            arrivals.newest.clear()
        waited_s = (time.time_ns() - info["received_timestamp"]) / NANOSECONDS if info.get("received_timestamp") else 0.0
        arrivals.newest.append((time.monotonic(), number or 0, waited_s))

    def forget(self, topic: str) -> None:
        """It is listened to no more."""
        self._topics.pop(topic, None)
        self._published_s.pop(topic, None)

    def silent_s(self, topic: str) -> float | None:
        """Since its last message; None where none has come."""
        arrivals = self._topics.get(topic)
        return time.monotonic() - arrivals.newest[-1][0] if arrivals and arrivals.newest else None

    def unheard(self, topic: str) -> str | None:
        """What to say of a topic that somebody publishes, where nothing has come since this was asked first, WINDOW_S ago."""
        if topic in self._topics or time.monotonic() - self._published_s.setdefault(topic, time.monotonic()) < WINDOW_S:
            return None
        return f"it is published, and no message arrives: its driver sends none, or {LARGE}"

    def loss(self, topic: str) -> str | None:
        """What to say where most messages of the last WINDOW_S did not arrive; None where enough did."""
        since_s = time.monotonic() - WINDOW_S
        heard = self._topics.get(topic, _Arrivals()).newest
        late = [one for one in heard if one[0] > since_s]
        if len(late) == 1:  # so few that the window holds one: from the one before
            late = list(heard)[-2:]
        if len(late) < 2 or not late[-1][1]:
            return None
        sent = late[-1][1] - late[0][1] + 1
        if sent < ENOUGH_SENT or len(late) >= GOOD_SHARE * sent:
            return None
        period_s = (late[-1][0] - late[0][0]) / (sent - 1)
        if median(waited_s for _, _, waited_s in late) > period_s / 2:  # they came, and newer ones replaced them before they were read
            return f"{len(late)} of {sent} messages are read: this machine is too busy (they wait longer than the next one takes to come)"
        return f"{len(late)} of {sent} messages arrive: {LARGE}"
