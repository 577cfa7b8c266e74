"""demo.launch.py ends in every way that an operator, a script or the kernel has for it, and leaves no process behind, RViz included."""

import os
import signal
import subprocess
import time
import uuid
from pathlib import Path

import pytest

# The repository's own launch/ folder would pass for a package called launch; launch_ros exists only where ROS 2 is sourced.
pytest.importorskip("launch_ros", reason="launch is not on PyPI; source a ROS 2 to run the launch tests")

from paths import RESOURCES

MARK = "JEPA_ROS_TEST_RUN"  # every process that comes of a launch inherits it
RVIZ = "#!/bin/sh\nexec sleep 300 # stands in for RViz, which heeds SIGINT and SIGTERM, too\n"
pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]


@pytest.fixture
def rviz(tmp_path) -> Path:
    """A prefix with a package rviz2 whose program runs until it is told to stop."""
    program = tmp_path / "lib" / "rviz2" / "rviz2"
    index = tmp_path / "share" / "ament_index" / "resource_index" / "packages" / "rviz2"
    for path, text in ((program, RVIZ), (index, "")):
        path.parent.mkdir(parents=True)
        path.write_text(text)
    program.chmod(0o755)
    return tmp_path


class Demo:
    """`ros2 launch jepa_ros demo.launch.py` in a session of its own, as in a terminal. `mark`: in the environment of all that it starts."""

    def __init__(self, prefix: Path) -> None:
        self.mark = f"{MARK}={uuid.uuid4()}"
        self._log = prefix / "log"
        environment = os.environ | dict([self.mark.split("=")]) | {"AMENT_PREFIX_PATH": f"{prefix}:{os.environ['AMENT_PREFIX_PATH']}"}
        arguments = [f"bag:={RESOURCES / 'tiny_bag'}", "model:=persistence", "device:=cpu", "rate:=0.01"]
        with self._log.open("w") as output:
            self.launch = subprocess.Popen(
                # pytest may have been started with signals ignored (nohup, a script's background), which would be inherited.
                ["env", "--default-signal", "ros2", "launch", "jepa_ros", "demo.launch.py", *arguments],
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                env=environment,
            )

    def said(self) -> str:
        return self._log.read_text()

    def processes(self) -> dict[int, str]:
        """Those that run because of it, by number."""
        paths = Path("/proc").glob("[0-9]*")
        return {int(path.name): text(path / "cmdline") for path in paths if self.mark in text(path / "environ")}

    def wait(self, done, timeout_s: float) -> None:
        deadline_s = time.monotonic() + timeout_s
        while not done():
            assert time.monotonic() < deadline_s, (self.processes(), self.said())
            time.sleep(0.1)


def text(path: Path) -> str:
    """Of a file of a process; empty where that has ended meanwhile."""
    try:
        return path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return ""


@pytest.fixture
def demo(rviz):
    demo = Demo(rviz)
    yield demo
    for pid in demo.processes():
        os.kill(pid, signal.SIGKILL)
    demo.launch.wait(10.0)


WAYS = {
    "Ctrl-C": lambda pid: os.killpg(pid, signal.SIGINT),  # a terminal signals the whole group
    "SIGINT": lambda pid: os.kill(pid, signal.SIGINT),  # a script knows launch alone
    "SIGTERM": lambda pid: os.kill(pid, signal.SIGTERM),
    "SIGHUP": lambda pid: os.kill(pid, signal.SIGHUP),
    "SIGKILL": lambda pid: os.kill(pid, signal.SIGKILL),
}


@pytest.mark.parametrize("way", WAYS)
def test_the_demo_leaves_nothing_behind(demo, way):
    demo.wait(lambda: demo.said().count("activate: done") == 2 and "/clock follows" in demo.said(), 90.0)
    kinds = ("world_model", "planner", "bag_player", "sleep 300")
    assert all(any(kind in command for command in demo.processes().values()) for kind in kinds), demo.processes()
    WAYS[way](demo.launch.pid)
    # Nobody has asked yet how launch ended: it still has a number while its nodes must see that it is gone.
    demo.wait(lambda: not demo.processes(), 20.0)
    demo.launch.wait(1.0)
    assert "Traceback" not in demo.said(), demo.said()


@pytest.mark.parametrize("way", ["SIGTERM", "SIGKILL"])
def test_killed_while_its_nodes_start_it_leaves_nothing_behind(demo, way):
    """Before they have asked to be told: what counts is whether launch still lives when they do."""
    demo.wait(lambda: sum("--ros-args" in command for command in demo.processes().values()) >= 2, 60.0)
    WAYS[way](demo.launch.pid)
    demo.wait(lambda: not demo.processes(), 20.0)
