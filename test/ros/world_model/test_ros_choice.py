"""The rule on a live graph: what is gone is left when another candidate steps in, and nothing else flaps."""

from collections import Counter

import numpy as np
import pytest
import sensing_messages as messages

pytest.importorskip("rclpy", reason="needs ROS 2")

from jepa_ros.ros.topics import CLOUD, ODOMETRY, TF, LiveChoice
from jepa_ros.ros.world_model import worker as worker_module
from jepa_ros.ros.world_model.subscriptions import InputConfig
from jepa_ros.ros.world_model.worker import PipelineWorker
from jepa_ros.sensing.topic_choice.verdicts import Named

T = messages.START_S
SECOND = 10**9


def live(*topics, named=None):
    choice = LiveChoice(named or Named(), ("camera", "lidar", "odometry"))
    choice.see(dict(topics))
    choice.look("/tf_static", TF, messages.transforms(*messages.EXTRINSICS), 0)
    return choice


def test_a_dead_odometry_is_left_when_another_is_there_and_waited_for_when_not():
    graph = {"/odom": ODOMETRY, "/other_odometry": ODOMETRY}
    choice = live(*graph.items())
    for k in range(20):
        for topic in graph:
            choice.look(topic, ODOMETRY, messages.odometry(T + 0.1 * k, x=0.1 * k, speed=1.0), k * SECOND // 10)
    assert choice.decide(2 * SECOND).odometry == "/odom"
    choice.see({"/other_odometry": ODOMETRY})
    assert choice.decide(3 * SECOND).odometry == "/other_odometry"
    choice.see({})
    assert choice.decide(4 * SECOND).odometry == "/other_odometry"
    choice.see(graph)
    assert choice.decide(5 * SECOND).odometry == "/odom"


def test_an_odometry_that_says_no_more_is_left_though_its_publisher_stays():
    graph = {"/odom": ODOMETRY, "/other_odometry": ODOMETRY}
    choice = live(*graph.items())
    for k in range(100):
        for topic in graph if k < 20 else ["/other_odometry"]:
            choice.look(topic, ODOMETRY, messages.odometry(T + 0.1 * k, x=0.1 * k, speed=1.0), k * SECOND // 10)
    assert choice.decide(10 * SECOND).odometry == "/other_odometry"


def test_a_dead_lidar_is_waited_for_until_another_steps_in():
    choice = live(("/points", CLOUD))
    choice.look("/points", CLOUD, messages.cloud(T), 0)
    assert choice.decide(0).lidars == ("/points",)
    choice.see({})
    assert choice.decide(SECOND).lidars == ("/points",)
    choice.see({"/new": CLOUD})
    assert choice.decide(2 * SECOND).lidars == ("/points",)  # it has not shown anything yet
    choice.look("/new", CLOUD, messages.cloud(T + 2), 0)
    assert choice.decide(3 * SECOND).lidars == ("/new",)


def test_named_clouds_are_all_taken_and_the_old_parameter_still_works():
    choice = live(("/a", CLOUD), ("/b", CLOUD), ("/c", CLOUD), named=Named(lidars=["/a", "/b"]))
    assert choice.decide(0).lidars == ("/a", "/b")
    assert InputConfig(cloud_topic="/a").cloud_topic == "/a"
    with pytest.raises(ValueError, match="cloud_topic"):
        InputConfig(cloud_topic="/a", cloud_topics=("/b",))


class Failing:
    """A source and a pipeline of which each step fails in its own words."""

    epoch = 0

    def __init__(self):
        self.last_timings_ms = {}
        self.number = 0

    def take(self):
        self.number += 1
        if self.number <= 500:
            word = "".join(chr(97 + digit) for digit in map(int, str(self.number)))
            raise RuntimeError(f"at {self.number}: {0.5 * self.number} m" if self.number % 2 else word)
        return None

    def reset(self):
        pass


def test_kinds_of_errors_are_bounded_and_nothing_a_timer_reads_changes_under_it():
    source = Failing()
    worker = PipelineWorker(source, source, lambda *_: None, lambda _: None, lambda _: None, None, lambda _: 0.0)
    worker.start()
    while source.number <= 500:
        counted = worker.errors
        assert sum(counted.values()) >= 0
        worker.wake()
    worker.stop()
    errors = worker.errors
    assert errors.total() == 500
    assert len(errors) <= worker_module.MOST_KINDS + 1
    assert errors["RuntimeError: at #: # m"] == 250
    assert errors is not worker.errors
    assert isinstance(errors, Counter)
    assert np.isfinite(errors.total())


def test_an_odometry_that_is_discovered_first_does_not_win_by_that():
    """Publishers of one robot are discovered one after the other, and a change of odometry begins a new epoch."""
    choice = live(("/ground_truth/odom", ODOMETRY))
    choice.look("/ground_truth/odom", ODOMETRY, messages.odometry(T, frame="map"), 0)
    assert choice.decide(0).odometry is None
    choice.see({"/ground_truth/odom": ODOMETRY, "/odom": ODOMETRY})
    choice.look("/odom", ODOMETRY, messages.odometry(T), SECOND // 4)
    assert choice.decide(SECOND // 4).odometry == "/odom"


def test_an_odometry_with_nothing_against_it_is_taken_at_once_and_the_only_one_after_a_second():
    assert tell_one("odom").odometry == "/only"
    assert tell_one("map").odometry is None
    assert tell_one("map", after_ns=SECOND).odometry == "/only"


def tell_one(frame, after_ns=0):
    choice = live(("/only", ODOMETRY))
    choice.look("/only", ODOMETRY, messages.odometry(T, frame=frame), 0)
    return choice.decide(after_ns)
