"""The launch files under real launch: arguments, lifecycle, recovery from a crash. Only a sourced ROS 2 has launch."""

import os
import signal
import time
from pathlib import Path

import pytest

# The repository's own launch/ folder would pass for a package called launch; launch_ros exists only where ROS 2 is sourced.
pytest.importorskip("launch_ros", reason="launch is not on PyPI; source a ROS 2 to run the launch tests")
launch_pytest = pytest.importorskip("launch_pytest", reason="sudo apt install ros-$ROS_DISTRO-launch-pytest")

import rclpy  # noqa: E402
from launch import LaunchDescription  # noqa: E402
from launch.actions import IncludeLaunchDescription  # noqa: E402
from launch.launch_description_sources import PythonLaunchDescriptionSource  # noqa: E402
from rclpy.node import Node  # noqa: E402

from jepa_ros.backends.random_checkpoint import SAVERS, random_checkpoint  # noqa: E402
from jepa_ros.msg import LatentState  # noqa: E402
from jepa_ros.ros.tools.lifecycle_client import LifecycleClient  # noqa: E402

LAUNCH = Path(__file__).parents[1] / "launch"
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
    bag = Path(__file__).parent / "resources" / "tiny_bag"
    return included("demo.launch.py", bag=str(bag), rviz="false", model="persistence", device="cpu")


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


def process_of(name: str) -> int:
    """The pid of the node that this test launched; other tests may run nodes of the same name."""
    wanted = {f"__node:={name}", "__ns:=/by_itself"}
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
