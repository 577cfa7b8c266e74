"""The launch files under real launch: arguments, lifecycle, recovery from a crash. Only a sourced ROS 2 has launch."""

import os
import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

# The repository's own launch/ folder would pass for a package called launch; launch_ros exists only where ROS 2 is sourced.
pytest.importorskip("launch_ros", reason="launch is not on PyPI; source a ROS 2 to run the launch tests")
launch_pytest = pytest.importorskip("launch_pytest", reason="sudo apt install ros-$ROS_DISTRO-launch-pytest")

import rclpy  # noqa: E402
from launch import LaunchDescription  # noqa: E402
from launch.actions import IncludeLaunchDescription  # noqa: E402
from launch.launch_description_sources import PythonLaunchDescriptionSource  # noqa: E402
from paths import RESOURCES, ROOT  # noqa: E402
from rclpy.node import Node  # noqa: E402

from jepa_ros.backends.random_checkpoint import SAVERS, random_checkpoint  # noqa: E402
from jepa_ros.msg import LatentState  # noqa: E402
from jepa_ros.ros.tools.lifecycle_client import LifecycleClient  # noqa: E402

LAUNCH = ROOT / "launch"
README = ROOT / "README.md"
NODES = ("world_model", "planner")
pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]


def included(name: str, **arguments: str) -> LaunchDescription:
    source = PythonLaunchDescriptionSource(str(LAUNCH / name))
    return LaunchDescription([IncludeLaunchDescription(source, launch_arguments=list(arguments.items()))])


@launch_pytest.fixture
def by_hand() -> LaunchDescription:
    return included("world_model.launch.py", namespace="by_hand", autostart="false", model="persistence", device="cpu", log_level="warn")


@launch_pytest.fixture
def by_itself() -> LaunchDescription:
    return included("world_model.launch.py", namespace="by_itself", model="persistence", device="cpu")


@launch_pytest.fixture
def every_back_end(tmp_path_factory) -> LaunchDescription:
    folder = tmp_path_factory.mktemp("weights")
    return LaunchDescription(
        [
            included(
                "world_model.launch.py", namespace=model, model=model, weights=str(random_checkpoint(model, folder / model)), device="cpu"
            )
            for model in SAVERS
        ]
    )


@launch_pytest.fixture
def demo() -> LaunchDescription:
    bag = RESOURCES / "tiny_bag"
    return included("demo.launch.py", bag=str(bag), rviz="false", model="persistence", device="cpu")


OUTER = """
from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument, IncludeLaunchDescription
from launch.launch_description_sources import PythonLaunchDescriptionSource


def generate_launch_description():
    mine = [DeclareLaunchArgument(name, default_value="mine") for name in ("model", "params_file", "namespace", "device", "autostart")]
    return LaunchDescription([*mine, IncludeLaunchDescription(PythonLaunchDescriptionSource({inner!r}))])
"""
BY_FILE = """
/**/world_model:
  ros__parameters: {model: persistence, device: cpu}
/**/planner:
  ros__parameters: {model: persistence, device: cpu, autostart: false, planner: {limits: {max_sped_mps: 1.0}}}
"""


@launch_pytest.fixture
def inside_another(tmp_path) -> LaunchDescription:
    """The front page's launch file, included by one that uses the same short names for something else."""
    snippet = re.search(r"```python\n(.*?generate_launch_description.*?)\n```", README.read_text(), re.DOTALL)
    assert snippet, "the front page shows how to include the launch file"
    shown = '{"jepa_use_sim_time": "false"}'
    assert shown in snippet[1]
    parameters, inner, outer = (tmp_path / name for name in ("parameters.yaml", "my_robot.launch.py", "outer.launch.py"))
    parameters.write_text(BY_FILE)
    inner.write_text(snippet[1].replace(shown, repr({"jepa_params_file": str(parameters), "jepa_namespace": "inside"})))
    outer.write_text(OUTER.format(inner=str(inner)))
    return LaunchDescription([IncludeLaunchDescription(PythonLaunchDescriptionSource(str(outer)))])


@pytest.fixture
def observer():
    rclpy.init()
    node = Node("observer")
    yield node
    node.destroy_node()
    rclpy.try_shutdown()


@pytest.mark.launch(fixture=by_hand)
def test_the_lifecycle_goes_round_and_again(observer):
    steps = (
        ("configure", "inactive"),
        ("activate", "active"),
        ("deactivate", "inactive"),
        ("cleanup", "unconfigured"),
        ("configure", "inactive"),
        ("activate", "active"),
    )
    for name in NODES:
        client = LifecycleClient(observer, f"/by_hand/{name}")
        assert client.state(timeout_s=60.0) == "unconfigured"
        for transition, state in steps:
            client.transition(transition)
            assert client.state() == state, f"{name} after {transition}"


@pytest.mark.launch(fixture=by_itself)
def test_a_killed_node_comes_back_active(observer):
    for name in NODES:
        wait_until_active(observer, f"/by_itself/{name}")
    os.kill(process_of("world_model"), signal.SIGKILL)
    time.sleep(1.0)
    wait_until_active(observer, "/by_itself/world_model")


@pytest.mark.launch(fixture=every_back_end)
@pytest.mark.timeout(400)  # six processes at once
def test_one_launch_file_starts_every_back_end(observer):
    for model in SAVERS:
        for name in NODES:
            wait_until_active(observer, f"/{model}/{name}", timeout_s=180.0)


@pytest.mark.launch(fixture=demo)
def test_the_demo_plays_a_bag_through_the_nodes(observer):
    heard: list[LatentState] = []
    observer.create_subscription(LatentState, "/world_model/latent", heard.append, 10)
    deadline_s = time.monotonic() + 120.0
    while not heard and time.monotonic() < deadline_s:
        rclpy.spin_once(observer, timeout_sec=0.1)
    assert heard
    assert heard[0].model_name == "persistence"


@pytest.mark.launch(fixture=inside_another)
def test_included_it_takes_nothing_of_the_outer_file_and_the_file_decides_autostart(observer):
    wait_until_active(observer, "/inside/world_model")
    assert LifecycleClient(observer, "/inside/planner").state(timeout_s=60.0) == "unconfigured"


@pytest.fixture
def launched(tmp_path) -> Iterator[Callable[..., tuple[subprocess.Popen, Path]]]:
    """`ros2 launch` as an operator starts it, in a session without a terminal; a test that fails leaves none running."""
    started: list[subprocess.Popen] = []

    def start(*arguments: str) -> tuple[subprocess.Popen, Path]:
        log = tmp_path / f"log{len(started)}"
        with log.open("w") as output:
            # pytest may have been started with signals ignored (nohup, a script's background), which would be inherited.
            command = [
                "env",
                "--default-signal",
                "ros2",
                "launch",
                "jepa_ros",
                "world_model.launch.py",
                "model:=persistence",
                "device:=cpu",
                *arguments,
            ]
            started.append(subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, start_new_session=True))
        return started[-1], log

    yield start
    for launch in started:
        if launch.poll() is None:
            launch.kill()  # its nodes end with it
            launch.wait()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL, signal.SIGHUP])
def test_launch_ends_and_leaves_no_node_behind(launched, number):
    launch, log = launched("namespace:=ending")
    assert waited(lambda: log.read_text().count("activate: done") == 2, 90.0), log.read_text()
    pids = [process_of(name, "/ending") for name in NODES]
    launch.send_signal(number)  # to launch alone, as a script does
    launch.wait(30.0)
    assert waited(lambda: not any(map(runs, pids)), 15.0)
    said = log.read_text()
    assert "Traceback" not in said, said
    if number == signal.SIGINT:  # by the others launch itself ends, and tells nothing more
        assert said.count("process has finished cleanly") == 2, said


def test_a_wrong_configuration_is_said_once_and_not_started_again(launched):
    launch, log = launched("namespace:=wrong", "model:=bogus")
    assert waited(lambda: log.read_text().count("is not restarted") == 2, 60.0), log.read_text()
    time.sleep(4.0)
    said = log.read_text()
    launch.send_signal(signal.SIGTERM)
    launch.wait(30.0)
    for name in NODES:
        assert len(re.findall(rf"{name}: .*bogus", said)) == 1, said
    assert "scene_jepa" in said, said  # what can be chosen


def waited(done, timeout_s: float) -> bool:
    deadline_s = time.monotonic() + timeout_s
    while not done() and time.monotonic() < deadline_s:
        time.sleep(0.1)
    return bool(done())


def runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def process_of(name: str, namespace: str = "/by_itself") -> int:
    """The pid of the node that this test launched; other tests may run nodes of the same name."""
    wanted = {f"__node:={name}", f"__ns:={namespace}"}
    return next(int(path.parent.name) for path in Path("/proc").glob("[0-9]*/cmdline") if wanted <= set(words(path)))


def words(path: Path) -> list[str]:
    try:
        return path.read_text().split("\0")
    except OSError:  # ended meanwhile
        return []


def wait_until_active(observer: Node, name: str, timeout_s: float = 90.0) -> None:
    deadline_s = time.monotonic() + timeout_s
    state = None
    while time.monotonic() < deadline_s:
        try:
            # A new client each time: one that has met the killed process keeps on waiting for it.
            state = LifecycleClient(observer, name).state(timeout_s=5.0)
        except TimeoutError:
            continue
        if state == "active":
            return
        time.sleep(0.2)
    pytest.fail(f"{name} is {state} after {timeout_s} s")
