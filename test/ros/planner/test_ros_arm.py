"""An owner's whole way: a simulated arm is recorded over DDS, the command trains a model on the bag, the nodes answer with it."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("mujoco", reason="the simulated arm needs MuJoCo: pip install 'jepa_ros[sim]'")
pytest.importorskip("rclpy", reason="needs ROS 2: run `make build`, then tests through scripts/env.sh")
pytest.importorskip("jepa_ros.msg", reason="needs the built interfaces: run `make build`, then tests through scripts/env.sh")
pytestmark = [pytest.mark.ros, pytest.mark.slow, pytest.mark.timeout(600)]

from rclpy.serialization import serialize_message  # noqa: E402
from ros_harness import Robot  # noqa: E402
from sensor_msgs.msg import Image  # noqa: E402

from jepa_ros.ros.tools.output_bag import OutputBag  # noqa: E402
from jepa_ros.ros.tools.recorder import message_class  # noqa: E402
from jepa_ros.srv import Imagine, PlanActions  # noqa: E402
from jepa_ros.training.__main__ import main  # noqa: E402
from jepa_ros.types import PlanStatus  # noqa: E402

RECORDED = {
    "/camera/image_raw": "sensor_msgs/msg/Image",
    "/wrist_camera/image_raw": "sensor_msgs/msg/Image",
    "/arm/pose": "geometry_msgs/msg/PoseStamped",
    "/joint_states": "sensor_msgs/msg/JointState",
    "/arm/gripper_command": "std_msgs/msg/Float64",
    "/arm/held": "std_msgs/msg/Bool",
}
# Whichever are the first that are heard: among the learned and among the judged grips some are held and some are lost.
EPISODES, FRAMES = 40, 9
TINY = """
topics: {image: /camera/image_raw, wrist: /wrist_camera/image_raw, command: /arm/gripper_command, outcome: /arm/held}
held_out: 0.4
training:
  steps: 3
  member_steps: 2
  inverse_steps: 2
  batch: 2
  member_batch: 2
  model: {width: 8, channels: 8, predictor_width: 24, predictor_depth: 1, predictor_heads: 2, members: 2, hold_width: 8}
"""
OPEN = [0.0, 0.0, 0.1, 0.0, 0.0, 0.0, 0.0, 0.0]
CLOSED = [0.0, 0.0, 0.05, 0.0, 0.0, 0.0, 0.55, 0.65]


def record(path) -> None:
    """What the simulated arm says of EPISODES grips."""
    robot, bag = Robot(publish=False), OutputBag(path)
    try:
        for topic, kind in RECORDED.items():
            bag.add(topic, kind, False)

            def take(message, topic=topic) -> None:
                robot.heard[topic].append(None)
                bag.write(topic, robot.clock_ns, serialize_message(message))

            robot.node.create_subscription(message_class(kind), topic, take, 100)
        robot.clock_ns = 1_750_000_000_000_000_000

        def on_clock(message) -> None:
            robot.clock_ns = message.clock.sec * 1_000_000_000 + message.clock.nanosec

        robot.node.create_subscription(message_class("rosgraph_msgs/msg/Clock"), "/clock", on_clock, 100)
        robot.start_node("arm_simulator", rate_factor=20.0)
        assert robot.spin_until(lambda: len(robot.heard["/camera/image_raw"]) >= EPISODES * FRAMES, 300.0), (
            "the simulated arm says too little"
        )
    finally:
        robot.close()
        bag.close()


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    folder = tmp_path_factory.mktemp("arm")
    record(folder / "bag.mcap")
    (folder / "tiny.yaml").write_text(TINY)
    assert main(["arm", str(folder / "bag.mcap"), "--out", str(folder / "out"), "--config", str(folder / "tiny.yaml")]) == 0
    return folder / "out" / "arm.safetensors"


@pytest.fixture(scope="module")
def robot(weights):
    robot = Robot(publish=False)
    try:
        robot.node.create_subscription(Image, "/camera/image_raw", robot.heard["image"].append, 5)
        frames = ("world base_link", "base_link camera_optical_frame", "base_link wrist_camera_optical_frame")
        still = "[" + ", ".join(f'"{frame} 0 0 0 0 0 0"' for frame in frames) + "]"
        robot.start_node(
            autostart="true", model="arm", pipeline__weights=weights, use_sim_time="true",
            sensing__base_frame="base_link", sensing__odom_frame="world", sensing__static_transforms=still,
        )  # fmt: skip
        robot.start_node(
            "planner", autostart="true", model="arm", model_at_start="true", weights=weights, use_sim_time="true", inputs__max_age_s=30.0
        )
        robot.start_node("arm_simulator", explore="false")
        assert robot.spin_until(lambda: len(robot.heard["latent"]) > 3, 240.0), "the world model says nothing"
        assert robot.spin_until(lambda: bool(robot.heard["image"]), 30.0), "the world model hears the arm's camera, the test does not"
        yield robot
    finally:
        robot.close()


def test_imagined_motions_come_with_the_probability_that_the_grip_holds(robot):
    actions = np.zeros((2, 4, 7))
    actions[0, :, 2], actions[1, :, 2] = 0.01, 0.05
    request = Imagine.Request(candidates=2, steps=4, actions=actions.flatten().tolist(), state=OPEN + CLOSED, deadline=20.0)
    answer = robot.call(Imagine, "/planner/imagine", request)
    assert answer.status.code == PlanStatus.OK, answer.status.message
    hold = np.array(answer.hold_probability).reshape(2, 4)
    assert ((hold > 0) & (hold < 1)).all()
    assert (np.diff(hold) <= 1e-6).all()
    np.testing.assert_allclose(answer.cost, 1 - hold[:, -1], atol=1e-5)
    assert len(answer.hold_spread) == 8
    wrong = robot.call(Imagine, "/planner/imagine", Imagine.Request(candidates=2, steps=4, actions=[0.0], state=CLOSED, deadline=5.0))
    assert wrong.status.code == PlanStatus.INVALID_REQUEST
    assert "candidates x steps x 7 = 56" in wrong.status.message


def test_a_plan_holds_as_surely_as_asked_or_is_none(robot):
    request = PlanActions.Request(goal_image=robot.heard["image"][-1], state=OPEN + CLOSED, horizon=2, deadline=20.0)
    answer = robot.call(PlanActions, "/planner/plan_actions", request)
    assert answer.status.code == PlanStatus.OK, answer.status.message
    assert list(answer.shape) == [2, 7]
    assert len(answer.hold_probability) == len(answer.hold_spread) == 2
    request.min_hold_probability = 0.9999
    request.deadline = 1.0
    answer = robot.call(PlanActions, "/planner/plan_actions", request)
    assert answer.status.code == PlanStatus.NO_SAFE_PATH, answer.status.message
    assert "0.9999" in answer.status.message or "1.00" in answer.status.message
    assert not answer.actions
