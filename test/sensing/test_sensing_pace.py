"""Stamps that stand still while time goes on are told from slow playing, bunches and messages that come twice."""

import pytest
import sensing_messages as messages

from jepa_ros.sensing import SensorHub
from jepa_ros.sensing.time.pace import Pace

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
    assert all(told[12:])
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
    assert status["/points"].malformed["stalled_stamp"] >= 45
    assert not status["/odom"].malformed
