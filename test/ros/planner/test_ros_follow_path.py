"""The controller as Nav2's FollowPath, over real DDS and the real action: a client that behaves as bt_navigator does, a robot that obeys.

The client sends a path, sends a newer one while the first is followed (bt_navigator does at every replanning), cancels, reads the codes.
The robot integrates cmd_vel and tells where it is; the scenes around it are made by hand.
"""

import math
import time

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="needs ROS 2: run `make build`, then tests through scripts/env.sh")
pytest.importorskip("jepa_ros.msg", reason="needs the built interfaces: run `make build`, then tests through scripts/env.sh")
pytest.importorskip("nav2_msgs", reason="nav2_msgs is not installed (a robot with Nav2 has it)")
pytestmark = pytest.mark.ros


from action_msgs.msg import GoalStatus  # noqa: E402
from nav2_msgs.action import FollowPath  # noqa: E402
from nav2_msgs.msg import SpeedLimit  # noqa: E402
from nav_msgs.msg import Path  # noqa: E402
from rclpy.action import ActionClient  # noqa: E402
from ros_driven_robot import Base  # noqa: E402
from ros_harness import Robot  # noqa: E402
from ros_planner_world import ENCLOSED, World, goal_message  # noqa: E402

Code = FollowPath.Result


class Navigator:
    """As nav2_behavior_tree's BtActionNode uses an action: it sends goals, newer ones over older ones, cancels, and takes what comes."""

    def __init__(self, base: Base) -> None:
        self.base = base
        self.feedback: list = []
        self.client = ActionClient(base.world.robot.node, FollowPath, "follow_path")

    def send(self, path: Path, **names: str):
        sent = self.client.send_goal_async(
            FollowPath.Goal(path=path, **names), feedback_callback=lambda m: self.feedback.append(m.feedback)
        )
        assert self.base.until(sent.done, 10.0)
        return sent.result()

    def result(self, handle, timeout_s: float = 30.0):
        answer = handle.get_result_async()
        assert self.base.until(answer.done, timeout_s), f"no result; {self.base.pose}"
        return answer.result().status, answer.result().result


def path(*places: tuple[float, float], yaw: float | None = None, frame: str = "odom") -> Path:
    message = Path()
    message.header.frame_id = frame
    message.poses = [goal_message(x, y, frame) for x, y in places]
    if yaw is not None:
        message.poses[-1].pose.orientation.z, message.poses[-1].pose.orientation.w = math.sin(yaw / 2), math.cos(yaw / 2)
    return message


@pytest.fixture(scope="module")
def driven():
    robot = Robot()
    world = World(robot)
    rules = {"controller__patience_s": 1.5, "controller__progress_allowance_s": 4.0, "planner__goal_tolerance_m": 0.3}
    stack = {"controller__enabled": True, "controller__stamped": True, "controller__follow_path": "follow_path"}
    world.start(autostart=True, model="''", model_at_start=False, **stack, **rules)
    base = Base(world)
    navigator = Navigator(base)
    assert robot.spin_until(navigator.client.server_is_ready, 60.0)
    base.until(lambda: False, 2.0)
    yield base, navigator
    navigator.client.destroy()
    robot.close()


@pytest.fixture
def nav(driven):
    base, navigator = driven
    base.pose, base.walls, base._twist = np.zeros(3), (), (0.0, 0.0)
    base.commands.clear()
    navigator.feedback.clear()
    base.until(lambda: False, 3.5)  # what stood in the test before is forgotten
    return base, navigator


def test_a_path_is_followed_to_its_end_with_commands_feedback_and_a_code(nav) -> None:
    base, navigator = nav
    corner = path(*[(x, 0.0) for x in np.arange(0.0, 3.01, 0.25)], *[(3.0, y) for y in np.arange(0.25, 2.51, 0.25)], yaw=math.pi / 2)
    status, result = navigator.result(navigator.send(corner, controller_id="FollowPath", goal_checker_id="general_goal_checker"))
    assert (status, result.error_code) == (GoalStatus.STATUS_SUCCEEDED, Code.NONE), result.error_msg
    assert np.linalg.norm(base.pose[:2] - [3.0, 2.5]) < 0.45
    assert abs(math.remainder(base.pose[2] - math.pi / 2, 2 * math.pi)) < 0.7
    assert base.stands()
    told = [getattr(feedback, "tracking_feedback", feedback) for feedback in navigator.feedback]  # of Lyrical; Jazzy and Kilted have less
    assert told[0].distance_to_goal > 3.0 > told[-1].distance_to_goal
    assert max(one.speed for one in told) > 0.3
    if hasattr(told[0], "position_tracking_error"):
        assert max(abs(one.position_tracking_error) for one in told) < 1.0, "it keeps to the path"
        assert told[-1].current_path_index > told[0].current_path_index
    moves = [at_s for at_s, message in base.commands if message.twist.linear.x > 0.05]
    rate_hz = (len(moves) - 1) / (moves[-1] - moves[0])
    print(f"{rate_hz:.1f} commands per second")
    assert rate_hz > 10.0, "at the controller's rate (20 Hz), with room for a busy machine"
    assert base.commands[-1][1].header.frame_id == "base_link"


def test_a_newer_path_takes_over_without_a_halt_and_cancel_stops(nav) -> None:
    base, navigator = nav
    first = navigator.send(path((0.0, 0.0), (8.0, 0.0)))
    outcome = first.get_result_async()
    assert base.until(lambda: base.pose[0] > 1.0, 15.0)
    second = navigator.send(path((1.0, 0.0), (8.0, 1.0)))
    took_over_s = time.monotonic()
    assert base.until(outcome.done, 5.0)
    assert (outcome.result().status, outcome.result().result.error_code) == (GoalStatus.STATUS_ABORTED, Code.NONE)
    assert base.until(lambda: base.pose[0] > 2.5, 15.0)
    speeds = [message.twist.linear.x for at_s, message in base.commands if at_s > took_over_s - 0.2]
    assert min(speeds) > 0.1, "no halt between two paths"
    cancelled = second.cancel_goal_async()
    status, result = navigator.result(second)
    assert cancelled.done()
    assert (status, result.error_code) == (GoalStatus.STATUS_CANCELED, Code.NONE)
    assert base.stands()


@pytest.mark.parametrize(
    ("sent", "names", "code", "says"),
    [
        (path(), {}, "INVALID_PATH", "no pose"),
        (path((0.0, 0.0), (math.nan, 0.0)), {}, "INVALID_PATH", "finite"),
        (path((0.0, 0.0), (3.0, 0.0)), {"controller_id": "DWB"}, "INVALID_CONTROLLER", "DWB"),
        (path((0.0, 0.0), (3.0, 0.0)), {"goal_checker_id": "precise"}, "INVALID_CONTROLLER", "goal_checker_id"),
        (path((0.0, 0.0), (3.0, 0.0), frame="map"), {}, "TF_ERROR", "map"),
    ],
)
def test_what_cannot_be_followed_is_given_back_with_its_code(driven, sent, names, code, says) -> None:
    _, navigator = driven
    status, result = navigator.result(navigator.send(sent, **names))
    assert (status, result.error_code) == (GoalStatus.STATUS_ABORTED, getattr(Code, code)), result.error_msg
    assert says in result.error_msg


def test_a_robot_that_is_walled_in_or_blind_or_stuck_says_which(nav) -> None:
    base, navigator = nav
    handle = navigator.send(path((0.0, 0.0), (6.0, 0.0)))
    base.walls = ENCLOSED
    status, result = navigator.result(handle)
    assert (status, result.error_code) in [
        (GoalStatus.STATUS_ABORTED, Code.PATIENCE_EXCEEDED),
        (GoalStatus.STATUS_ABORTED, Code.FAILED_TO_MAKE_PROGRESS),
    ], result.error_msg
    assert base.stands()

    base.walls, base.pose = (), np.zeros(3)
    base.until(lambda: False, 3.5)
    handle = navigator.send(path((0.0, 0.0), (6.0, 0.0)))
    answer = handle.get_result_async()
    assert base.world.robot.spin_until(answer.done, 15.0), "nothing is said of the world any more"
    assert answer.result().result.error_code == Code.CONTROLLER_TIMED_OUT, answer.result().result.error_msg
    assert base.stands()

    base.step()
    handle = navigator.send(path((0.0, 0.0), (6.0, 0.0)))
    still = base.step
    answer = handle.get_result_async()
    end_s = time.monotonic() + 20.0
    while not answer.done() and time.monotonic() < end_s:
        base._twist = (0.0, 0.0)  # commands move nothing
        still()
    assert answer.done()
    assert answer.result().result.error_code == Code.FAILED_TO_MAKE_PROGRESS, answer.result().result.error_msg


def test_a_speed_limit_holds_until_it_is_lifted(nav) -> None:
    base, navigator = nav
    limits = base.world.robot.node.create_publisher(SpeedLimit, "speed_limit", 1)
    assert base.world.robot.spin_until(limits.get_subscription_count, 10.0)
    limits.publish(SpeedLimit(percentage=True, speed_limit=20.0))
    base.world.robot.spin(0.3)
    handle = navigator.send(path((0.0, 0.0), (12.0, 0.0)))
    assert base.until(lambda: base.pose[0] > 1.0, 20.0)
    assert max(message.twist.linear.x for _, message in base.commands) <= 0.31, "20 % of 1.5 m/s"
    limits.publish(SpeedLimit(speed_limit=0.0))
    assert base.until(lambda: base.commands[-1][1].twist.linear.x > 0.6, 10.0)
    handle.cancel_goal_async()
    navigator.result(handle)
