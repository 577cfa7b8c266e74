"""Order and surroundings of the tests: the quick ones first, nodes in a DDS domain of their own."""

import importlib.util
import os
import signal
import sys

import pytest

# A robot or a colleague on domain 0 must not hear the tests, nor they it. From 50 to 99 are the domains of single tests (ros_harness).
os.environ.setdefault("ROS_DOMAIN_ID", str(10 + os.getpid() % 40))

# Under nohup, or in the background of a script, these are ignored, and nodes that the tests start would inherit that.
signal.signal(signal.SIGHUP, signal.SIG_DFL)
signal.signal(signal.SIGINT, signal.default_int_handler)

HAS_ROS = importlib.util.find_spec("rclpy") is not None
collect_ignore_glob = [] if HAS_ROS else ["ros/*"]


@pytest.fixture(scope="module", autouse=True)
def no_node_is_left_running():
    """A fixture that fails before it yields closes nothing: its nodes would answer in the place of a later test's."""
    yield
    harness = sys.modules.get("ros_harness")
    for robot in tuple(harness.OPEN) if harness else ():
        robot.close()


def pytest_report_header():
    return None if HAS_ROS else "no rclpy here: the tests of the nodes are left out (run them in scripts/env.sh)"


def pytest_collection_modifyitems(config, items):
    items.sort(key=lambda item: [item.get_closest_marker(mark) is not None for mark in ("slow", "launch", "ros")])
    if not config.pluginmanager.hasplugin("rerunfailures"):
        return
    # Nodes answer in wall time, and a machine that others use, too, may stand still for a second. What is broken fails every time; what is
    # run again is reported.
    for item in items:
        if item.get_closest_marker("ros"):
            item.add_marker(pytest.mark.flaky(reruns=2, reruns_delay=3))
