"""A node ends when it is told to while it starts, and with whoever started it; it takes nobody for ended who lives."""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytest.importorskip("rclpy", reason="needs ROS 2: run `make build`, then tests through scripts/env.sh")
pytest.importorskip("jepa_ros.msg", reason="needs the built interfaces: run `make build`, then tests through scripts/env.sh")
pytestmark = pytest.mark.ros

from paths import ROOT  # noqa: E402
from rclpy.utilities import get_rmw_implementation_identifier  # noqa: E402
from ros_harness import Robot  # noqa: E402

from jepa_ros.ros import entry  # noqa: E402
from jepa_ros.ros.entry import WRONG_CONFIGURATION  # noqa: E402
from jepa_ros.ros.machine import YOUNG_S, avoid_full_memory, full_memory, remove_dead_segments, transport_problems  # noqa: E402
from jepa_ros.ros.stopping import has_ended  # noqa: E402


@pytest.mark.parametrize("after_s", [0.0, 0.5, 1.5, 3.0])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_while_it_starts_ends_it_quietly(after_s: float, number: int) -> None:
    """From the moment on at which it listens to signals: a busy machine takes its time to start Python."""
    command = [sys.executable, "-m", "jepa_ros.ros", "planner", "--ros-args", "-p", "autostart:=true"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True)
    deadline_s = time.monotonic() + 60.0
    while not catches(process.pid, signal.SIGTERM):
        assert time.monotonic() < deadline_s, "it never listened"
        time.sleep(0.01)
    time.sleep(after_s)
    process.send_signal(number)
    errors = process.communicate(timeout=20)[1]
    assert process.returncode == 0, errors
    assert "Traceback" not in errors


def catches(pid: int, number: int) -> bool:
    """Whether a process has a handler of its own for a signal."""
    status = Path(f"/proc/{pid}/status").read_text()
    caught = next(line.split()[1] for line in status.splitlines() if line.startswith("SigCgt:"))
    return bool(int(caught, 16) >> (number - 1) & 1)


@pytest.mark.parametrize("name", ["planner", "velocity_timeout"])
def test_a_node_that_ends_gives_its_shared_memory_back(name: str) -> None:
    """A lifecycle node as well as a plain one: each would leave 134 MB behind at every end."""
    if "fastrtps" not in get_rmw_implementation_identifier():
        pytest.skip("of Fast DDS's shared memory alone")
    robot = Robot(publish=False)
    try:
        process = robot.start_node(name)
        assert robot.spin_until(lambda: name in robot.node.get_node_names(), 60.0)
        held = {segment for segment in Path("/dev/shm").glob("fastdds_????????????????") if _is_owner(process.pid, segment)}
        assert held
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
        assert not [segment for segment in held if segment.exists()]
    finally:
        robot.close()


def _is_owner(pid: int, segment: Path) -> bool:
    """It has the file open whose lock says that the segment's owner lives."""
    return any(os.path.realpath(file) == f"{segment}_el" for file in Path(f"/proc/{pid}/fd").iterdir())


def test_what_a_killed_process_left_in_shared_memory_goes_and_nothing_else(tmp_path) -> None:
    dead, alive, young, other = (f"fastdds_{letter * 16}" for letter in "abcd")
    for name in (dead, alive, young):
        (tmp_path / name).write_bytes(b"messages")
        (tmp_path / f"{name}_el").touch()
    for name in (f"{other}", f"{other}_sl", "mine_el", "fastdds_port7411_el"):
        (tmp_path / name).touch()
    long_ago_s = time.time() - 2 * YOUNG_S
    for path in tmp_path.iterdir():
        if path.name != f"{young}_el":
            os.utime(path, (long_ago_s, long_ago_s))
    before = {path.name for path in tmp_path.iterdir()}
    with (tmp_path / f"{alive}_el").open() as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert remove_dead_segments(tmp_path) == 1
    assert before - {path.name for path in tmp_path.iterdir()} == {dead, f"{dead}_el"}
    assert remove_dead_segments(tmp_path / "none") == 0


def test_it_ends_with_its_parent() -> None:
    """A launch that is killed leaves no nodes behind."""
    start = "import subprocess, sys, time; print(subprocess.Popen(sys.argv[1:]).pid, flush=True); time.sleep(60)"
    node = [sys.executable, "-m", "jepa_ros.ros", "velocity_timeout"]
    environment = os.environ | {"JEPA_ROS_END_WITH_PARENT": str(os.getpid())}  # that one lives: it is the parent's end that tells
    with subprocess.Popen([sys.executable, "-c", start, *node], stdout=subprocess.PIPE, text=True, env=environment) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        time.sleep(3.0)
        assert os.path.exists(f"/proc/{pid}")
        parent.kill()
    deadline_s = time.monotonic() + 10.0
    while time.monotonic() < deadline_s and runs(pid):
        time.sleep(0.1)
    assert not runs(pid)


def test_a_starter_that_ended_unasked_has_ended() -> None:
    """It keeps its number until somebody asks how it ended: a node that starts just then must not live on."""
    with subprocess.Popen([sys.executable, "-c", ""]) as starter:
        deadline_s = time.monotonic() + 10.0
        while runs(starter.pid) and time.monotonic() < deadline_s:
            time.sleep(0.05)
        assert os.path.exists(f"/proc/{starter.pid}")
        assert has_ended(starter.pid)
    assert not has_ended(os.getpid())


def test_a_launch_file_may_be_process_one() -> None:
    """As in a container that starts it: a node whose parent is process 1 has not lost its parent."""
    within = ["unshare", "--pid", "--fork", "--mount-proc"]
    if shutil.which("unshare") is None or subprocess.run([*within, "true"], check=False, capture_output=True).returncode:
        pytest.skip("no process namespace can be made here")
    start = "import os, subprocess, sys; os.environ['JEPA_ROS_END_WITH_PARENT'] = str(os.getpid()); "
    start += "node = subprocess.Popen(sys.argv[1:]); "
    start += "time = __import__('time'); time.sleep(4.0); print(os.getpid(), node.poll(), flush=True); node.kill()"
    node = [sys.executable, "-m", "jepa_ros.ros", "velocity_timeout"]
    told = subprocess.run([*within, sys.executable, "-c", start, *node], capture_output=True, text=True, timeout=60, check=False)
    assert told.stdout.split() == ["1", "None"], told.stdout + told.stderr


def runs(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("planner:\n\tros__parameters: {threads: 1}\n", "parameters.yaml"),  # tabs, as an editor puts them
        ("planner: {threads: 1}\n", "parameters.yaml"),  # ros__parameters is missing
        ("planner: {ros__parameters: {model: &again [*again]}}\n", "alias"),
    ],
)
def test_a_parameter_file_that_cannot_be_parsed_is_named_once_and_for_good(tmp_path, text: str, says: str) -> None:
    """Exit status 78: the launch files do not start it again."""
    (tmp_path / "parameters.yaml").write_text(text)
    command = [sys.executable, "-m", "jepa_ros.ros", "planner", "--ros-args", "--params-file", str(tmp_path / "parameters.yaml")]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == WRONG_CONFIGURATION, ended.stderr
    assert "Traceback" not in ended.stderr
    (line,) = (line for line in ended.stderr.splitlines() if line.startswith("planner: "))
    assert says in line


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"ROS_DOMAIN_ID": "999"}, "ROS_DOMAIN_ID = 999: give 0 to 232"),
        # Without security libraries in the middleware, or without the enclave's keys: either is said.
        ({"ROS_SECURITY_ENABLE": "true", "ROS_SECURITY_STRATEGY": "Enforce", "ROS_SECURITY_KEYSTORE": "/nonexistent"}, "secur"),
    ],
    ids=["domain", "enclave"],
)
def test_what_the_middleware_refuses_is_one_line(change: dict[str, str], says: str) -> None:
    command = [sys.executable, "-m", "jepa_ros.ros", "velocity_timeout"]
    ended = subprocess.run(command, env=os.environ | change, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == WRONG_CONFIGURATION, ended.stderr
    assert "Traceback" not in ended.stderr
    (line,) = (line for line in ended.stderr.splitlines() if line.startswith("velocity_timeout: "))
    assert says in line.lower() or says in line


def test_an_rclpy_that_is_too_old_is_refused_in_one_line(monkeypatch, capsys) -> None:
    """As Humble's is: it has no callbacks after parameters were set."""
    from rclpy.node import Node

    monkeypatch.delattr(Node, "add_post_set_parameters_callback")
    monkeypatch.setattr(entry.STOPPING, "install", lambda: None)
    assert entry.run("planner", lambda: pytest.fail("no node may be made")) == WRONG_CONFIGURATION
    (line,) = capsys.readouterr().err.splitlines()
    assert "use Jazzy, Kilted or Lyrical" in line


def test_a_shared_memory_that_is_full_is_named_before_the_middleware_meets_it(tmp_path, monkeypatch) -> None:
    profile = tmp_path / "fastdds.xml"
    profile.write_text((ROOT / "config" / "fastdds.xml").read_text())
    environment = {"FASTDDS_DEFAULT_PROFILES_FILE": str(profile)}
    for free, full in ((0, True), (64 << 20, False), (1 << 30, False)):
        left = os.statvfs_result((4096, 4096, 1 << 20, free // 4096, free // 4096, 0, 0, 0, 0, 255))
        monkeypatch.setattr(os, "statvfs", lambda _, left=left: left)
        assert ("SIGBUS" in full_memory()) is full
        changed = dict(environment)
        said = avoid_full_memory(changed)
        if free > 128 << 20:
            assert (said, changed) == ("", environment)
            continue
        assert "a segment takes 128 MB: UDP is used instead" in said
        assert "FASTDDS_DEFAULT_PROFILES_FILE" not in changed
        assert changed["FASTDDS_BUILTIN_TRANSPORTS"] == "UDPv4"
        assert transport_problems("rmw_fastrtps_cpp", changed) == [said], "the node's own report says so, too"
    monkeypatch.setattr(os, "statvfs", lambda _: os.statvfs_result((4096, 4096, 1 << 20, 0, 0, 0, 0, 0, 0, 255)))
    profile.write_text(profile.read_text().replace("jepa_ros_shm", "mine"))
    changed = dict(environment)
    assert "is used all the same" in avoid_full_memory(changed)
    assert "FASTDDS_DEFAULT_PROFILES_FILE" in changed, "a profile of the user's may hold more than transports"
