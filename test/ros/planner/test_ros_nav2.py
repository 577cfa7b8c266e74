"""The planner as Nav2's ComputePathToPose, over real DDS."""

import time

import pytest

pytest.importorskip("rclpy", reason="needs ROS 2: run `make build`, then tests through scripts/env.sh")
pytest.importorskip("jepa_ros.msg", reason="needs the built interfaces: run `make build`, then tests through scripts/env.sh")
pytest.importorskip("nav2_msgs", reason="nav2_msgs is not installed (a robot with Nav2 has it)")
pytestmark = pytest.mark.ros

from action_msgs.msg import GoalStatus  # noqa: E402
from nav2_msgs.action import ComputePathToPose  # noqa: E402
from planning_scenes import make_scene  # noqa: E402
from rclpy.action import ActionClient  # noqa: E402
from ros_harness import Robot  # noqa: E402
from test_ros_planner import ENCLOSED, World, ahead  # noqa: E402

from jepa_ros.planning.guide import BELIEVED_AFTER_S  # noqa: E402


@pytest.fixture
def world():
    robot = Robot()
    world = World(robot)
    world.start(autostart=True)
    client = ActionClient(robot.node, ComputePathToPose, "/planner/compute_path_to_pose")
    assert robot.spin_until(client.server_is_ready, 60.0)
    yield world, client
    client.destroy()
    robot.close()


def ask(world: World, client: ActionClient, **goal):
    sent = client.send_goal_async(ComputePathToPose.Goal(**goal))
    assert world.robot.spin_until(sent.done, 20.0)
    result = sent.result().get_result_async()
    assert world.robot.spin_until(result.done, 20.0)
    return result.result().status, result.result().result


def test_a_path_a_refusal_and_an_unsafe_scene(world) -> None:
    world, client = world
    status, result = ask(world, client, goal=ahead(make_scene(), 3.0))
    assert (status, result.error_code) == (GoalStatus.STATUS_ABORTED, ComputePathToPose.Result.UNKNOWN)
    assert "STALE_SENSORS" in result.error_msg

    scene = world.say(make_scene())
    status, result = ask(world, client, goal=ahead(scene, 3.0))
    assert (status, result.error_code) == (GoalStatus.STATUS_SUCCEEDED, ComputePathToPose.Result.NONE)
    assert len(result.path.poses) > 2
    assert result.planning_time.nanosec > 0

    time.sleep(BELIEVED_AFTER_S)  # until then what was free a moment ago may be people
    scene = world.say(make_scene(walls=ENCLOSED))
    status, result = ask(world, client, goal=ahead(scene, 6.0))
    assert (status, result.error_code) == (GoalStatus.STATUS_ABORTED, ComputePathToPose.Result.NO_VALID_PATH)
    assert not result.path.poses, "a braking trajectory is no path to a goal"

    scene = world.say(make_scene())
    status, result = ask(world, client, goal=ahead(scene, 3.0), use_start=True)
    assert status == GoalStatus.STATUS_ABORTED
    assert "use_start" in result.error_msg
