"""Monitors the arrival of each topic: the age of the last message, and the share of sent messages that arrive."""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass, field
from typing import Any

from jepa_ros.ros.machine import EXPORT

WINDOW_S = 3.0
ENOUGH_SENT = 8  # fewer say little
GOOD_SHARE = 0.4  # of what was sent: a machine that is busy for a moment is no fault of the transport


@dataclass
class _Arrivals:
    publisher: bytes = b""
    newest: deque[tuple[float, int]] = field(default_factory=lambda: deque(maxlen=500))  # (steady s, the publisher's own count)


class ArrivalMonitor:
    """Fed by the subscriptions' callbacks, read by the diagnostics, in one thread."""

    def __init__(self) -> None:
        self._topics: dict[str, _Arrivals] = {}

    def note(self, topic: str, info: dict[str, Any]) -> None:
        """A message came. info: as rclpy gives it beside the message."""
        number, publisher = info.get("publication_sequence_number"), info.get("publisher_gid", {}).get("data", b"")
        arrivals = self._topics.setdefault(topic, _Arrivals())
        if publisher != arrivals.publisher:  # another, or several in turn: their counts say nothing together
            arrivals.publisher = publisher
            arrivals.newest.clear()
        arrivals.newest.append((time.monotonic(), number or 0))

    def forget(self, topic: str) -> None:
        """It is listened to no more."""
        self._topics.pop(topic, None)

    def silent_s(self, topic: str) -> float | None:
        """Since its last message; None where none has come."""
        arrivals = self._topics.get(topic)
        return time.monotonic() - arrivals.newest[-1][0] if arrivals and arrivals.newest else None

    def loss(self, topic: str) -> str | None:
        """What to say where most messages of the last WINDOW_S did not arrive; None where enough did."""
        since_s = time.monotonic() - WINDOW_S
        late = [(at_s, number) for at_s, number in self._topics.get(topic, _Arrivals()).newest if at_s > since_s]
        if len(late) < 2 or not late[-1][1]:
            return None
        sent = late[-1][1] - late[0][1] + 1
        if sent < ENOUGH_SENT or len(late) >= GOOD_SHARE * sent:
            return None
        return (
            f"{len(late)} of {sent} messages arrive: this machine is too busy, or Fast DDS loses large messages: "
            f"{EXPORT} where the driver starts, too"
        )
