"""The /clock of a bag that is played, as a function of log time.

Mostly that is the log time itself. A simulation recorded with the wall's receive times is the exception: its stamps are seconds since the
simulator started, and against a clock of receive times every forecast would be decades old. Then the recorded /clock decides, and where
none was recorded the stamps of the sensors do.
"""

from __future__ import annotations

import bisect
from collections.abc import Iterable
from itertools import islice

from jepa_ros.ros.tools.output_bag import header_stamp_ns
from jepa_ros.ros.topics import CLOUD, COMPRESSED, IMAGE, ODOMETRY
from jepa_ros.sensing import BagInfo, read_raw
from jepa_ros.types import NANOSECONDS

CLOCK = "rosgraph_msgs/msg/Clock"
STAMPED = (CLOUD, IMAGE, COMPRESSED, ODOMETRY)  # the first of them that a bag has is asked
SAMPLED = 20  # stamps that are looked at
MOST_TURN_S = 0.1  # of the wall's time that counts in one turn of the player; a turn takes 0.04 s
FAR_NS = 30 * NANOSECONDS  # no sensor is logged so long after its stamp; a sensor's clock that is off by less is the sensor's fault


class BagClock:
    """Log time -> clock time, both ns. Between two known pairs it runs evenly, beyond the last as fast as log time."""

    def __init__(self, pairs: Iterable[tuple[int, int]] = (), source: str = "log times") -> None:
        """pairs: (log time, clock time) by log time; none = the log times are the clock."""
        self.source = source
        self._pairs = sorted(pairs)

    def at(self, log_ns: int) -> int:
        if not self._pairs:
            return log_ns
        index = bisect.bisect_right(self._pairs, log_ns, key=lambda pair: pair[0]) - 1
        then_ns, clock_ns = self._pairs[max(index, 0)]
        if index < 0 or index + 1 == len(self._pairs):
            return clock_ns + log_ns - then_ns
        next_ns, next_clock_ns = self._pairs[index + 1]
        if next_clock_ns < clock_ns:  # the simulation was reset: time goes on until then
            return clock_ns + log_ns - then_ns
        return clock_ns + (next_clock_ns - clock_ns) * (log_ns - then_ns) // max(1, next_ns - then_ns)


class BagTime:
    """How much of a bag has been played, s, while the wall's time goes on."""

    def __init__(self, now_s: float) -> None:
        self.played_s = 0.0
        self._last_s = now_s

    def advance(self, now_s: float, rate: float) -> None:
        """`rate`: bag seconds per second; 0 = paused.

        Where the machine stalls, playing is late: a burst of all that was missed would be dropped by listeners that keep the newest.
        """
        self.played_s += min(now_s - self._last_s, MOST_TURN_S) * rate
        self._last_s = now_s


def recorded_clock_topic(info: BagInfo) -> str | None:
    """The bag's own /clock, where it has one."""
    return next((topic.name for topic in info.topics if topic.type_name == CLOCK and topic.count), None)


def bag_clock(info: BagInfo) -> BagClock:
    """The clock of a bag. Reads the bag once more where its stamps and its log times are of different clocks."""
    recorded = recorded_clock_topic(info)
    if recorded is not None:  # a Clock message is a stamp and nothing else, as a header begins
        return BagClock(_stamps(info, recorded), f"the recorded {recorded}")
    stamped = next((topic.name for kind in STAMPED for topic in info.topics if topic.type_name == kind and topic.count), None)
    if stamped is None:
        return BagClock()
    offsets = sorted(log_ns - stamp_ns for log_ns, stamp_ns in islice(_stamps(info, stamped), SAMPLED))
    if not offsets or abs(offsets[len(offsets) // 2]) < FAR_NS:
        return BagClock()
    return BagClock(_stamps(info, stamped), f"the stamps of {stamped}")


def _stamps(info: BagInfo, topic: str) -> Iterable[tuple[int, int]]:
    """(log time, stamp) of each message that has a stamp."""
    pairs = ((raw.log_time_ns, header_stamp_ns(raw.data)) for raw in read_raw(info.path, [topic]))
    return (pair for pair in pairs if pair[1] > 0)
