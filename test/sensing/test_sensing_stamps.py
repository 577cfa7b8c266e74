"""Whatever stamps come, observations ascend, and a good stream is used again after a few frames."""

import numpy as np
import pytest
import sensing_messages as messages
from hypothesis import given, settings
from hypothesis import strategies as st

from jepa_ros.sensing import MalformedMessage, SensorHub
from jepa_ros.sensing.decode.errors import stamp_ns
from jepa_ros.sensing.time.pace import Pace

T = messages.START_S
PUT = {
    "points": lambda hub, stamp_s: hub.put_cloud("points", messages.cloud(stamp_s)),
    "front": lambda hub, stamp_s: hub.put_image("front", messages.image(stamp_s)),
    "odom": lambda hub, stamp_s: hub.put_odometry("odom", messages.odometry(stamp_s, x=stamp_s - T)),
}
garbage = st.lists(
    st.tuples(st.sampled_from(sorted(PUT)), st.one_of(st.floats(0.001, 4e9), st.floats(-20.0, 20.0).map(lambda off: T + 1.0 + off))),
    max_size=12,
)


class Stream:
    def __init__(self):
        self.now_ns = 0
        self.hub = SensorHub(clock_ns=lambda: self.now_ns)
        self.hub.put_transforms(messages.transforms(*messages.EXTRINSICS), static=True)
        self.hub.put_camera_info("front", messages.camera_info())
        self.taken = []  # (epoch, stamp)

    def take(self):
        while (observation := self.hub.take(patient=False)) is not None:
            self.taken.append((self.hub.epoch, observation.stamp_ns))

    def good(self, start_s, frames):
        for index in range(frames):
            self.now_ns += 100_000_000
            for name in ("odom", "front", "points"):
                PUT[name](self.hub, start_s + 0.1 * index)
            self.take()


@given(garbage, st.floats(-50.0, 50.0))
@settings(max_examples=60, deadline=None)
def test_no_stamps_lock_a_good_stream_out(bad, back_s):
    """Good frames, wrong stamps of any input, and good frames again: where the bag left off, later, or earlier (a loop)."""
    stream = Stream()
    stream.good(T, 5)
    for name, stamp_s in bad:
        stream.now_ns += 10_000_000
        PUT[name](stream.hub, abs(stamp_s))
        stream.take()
    start_s = T + 60.0 + back_s
    stream.good(start_s, 12)
    assert stream.taken == sorted(set(stream.taken)), "stamps ascend within an epoch, and epochs ascend"
    assert stream.taken[-1][1] == round((start_s + 1.1) * 1e9)
    ego = stream.hub
    assert all(counters.received >= counters.used for counters in ego.status().values())


@given(st.integers(-(2**31), 2**31 - 1), st.integers(0, 2**32 - 1))
@settings(max_examples=200, deadline=None)
def test_a_stamp_is_exact_or_absurd(seconds, nanoseconds):
    header = messages.header(1.0, "lidar")
    header.stamp.sec, header.stamp.nanosec = seconds, nanoseconds
    if seconds >= 0 and nanoseconds < 10**9 and seconds + nanoseconds > 0:
        assert stamp_ns(header) == seconds * 10**9 + nanoseconds
    else:
        with pytest.raises(MalformedMessage, match="absurd_stamp"):
            stamp_ns(header)


def test_stamps_are_never_rounded_through_a_float():
    header = messages.header(1.0, "lidar")
    header.stamp.sec, header.stamp.nanosec = 1_700_000_000, 123_456_789
    assert stamp_ns(header) == 1_700_000_000_123_456_789 != int(np.float64(1_700_000_000.123456789) * 1e9)


# -- stamps that stand still while time goes on ------------------------------------------------------------------------------------------

MS = 10**6
START = 1000 * 10**9


def flagged(stamps_ns, others_ns):
    pace = Pace()
    return [pace.stands_still(START + own, START + other) for own, other in zip(stamps_ns, others_ns, strict=True)]


def as_nanoseconds(ns):
    """A time in ms written into the nanoseconds of its second."""
    return ns - ns % 10**9 + ns % 10**9 // MS


TIMES = [100 * MS * k for k in range(60)]


@pytest.mark.parametrize("wrong", [as_nanoseconds, lambda ns: ns - ns % 10**9, lambda _: 0])
def test_stamps_that_stand_still_are_found(wrong):
    told = flagged([wrong(ns) for ns in TIMES], TIMES)
    assert all(told[16:])
    assert not any(flagged(TIMES, [wrong(ns) for ns in TIMES])), "it is the others whose stamps stand still"


def test_what_is_late_double_or_in_bunches_is_none_of_them():
    assert not any(flagged(TIMES, [ns + 700 * MS for ns in TIMES]))
    assert not any(flagged([ns - ns % (200 * MS) for ns in TIMES], TIMES))  # each comes twice
    assert not any(flagged(TIMES, [ns - ns % (500 * MS) + 500 * MS for ns in TIMES]))  # five at a time
    assert not any(flagged(TIMES, [0] * len(TIMES)))  # nobody else is there
    assert not any(flagged([ns % 10**9 for ns in TIMES], [ns % 10**9 for ns in TIMES]))  # a bag that starts again and again


def test_sweeps_whose_stamps_stand_still_are_refused_by_name():
    hub = SensorHub()
    hub.put_transforms(messages.transforms(*messages.EXTRINSICS), static=True)
    for k in range(300):
        hub.put_odometry("/odom", messages.odometry(1000.0 + 0.02 * k, x=0.02 * k, speed=1.0))
        if k % 5 == 0:
            hub.put_cloud("/points", messages.cloud(as_nanoseconds(START + 20 * MS * k) / 1e9))
    status = hub.status()
    assert status["/points"].malformed["stalled_stamp"] >= 40
    assert not status["/odom"].malformed
