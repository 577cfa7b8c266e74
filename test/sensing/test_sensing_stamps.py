"""Whatever stamps come, observations ascend, and a good stream is used again after a few frames."""

import numpy as np
import pytest
import sensing_messages as messages
from hypothesis import given, settings
from hypothesis import strategies as st

from jepa_ros.sensing import MalformedMessage, SensorHub
from jepa_ros.sensing.decode.errors import stamp_ns

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
