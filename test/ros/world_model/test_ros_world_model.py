"""The world_model node as a process of its own, over real DDS."""

from __future__ import annotations

import signal
import time

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="needs ROS 2: run `make build`, then tests through scripts/env.sh")
pytest.importorskip("jepa_ros.msg", reason="needs the built interfaces: run `make build`, then tests through scripts/env.sh")
pytestmark = pytest.mark.ros

from lifecycle_msgs.msg import State, Transition  # noqa: E402
from lifecycle_msgs.srv import ChangeState, GetState  # noqa: E402
from paths import RESOURCES  # noqa: E402
from rcl_interfaces.msg import Parameter, ParameterType, ParameterValue  # noqa: E402
from rcl_interfaces.srv import DescribeParameters, GetParameters, ListParameters, SetParameters  # noqa: E402
from ros_harness import OUTPUTS, START_NS, Robot, stamp_ns, values  # noqa: E402
from sensor_msgs.msg import Image  # noqa: E402

from jepa_ros.ros.entry import WRONG_CONFIGURATION  # noqa: E402

CONFIGURE, ACTIVATE = Transition.TRANSITION_CONFIGURE, Transition.TRANSITION_ACTIVATE
DEACTIVATE, CLEANUP = Transition.TRANSITION_DEACTIVATE, Transition.TRANSITION_CLEANUP
TINY_BAG = RESOURCES / "tiny_bag"
LISTENED = ("/lidar", "/odom", "/cam/image_raw", "/cam/camera_info")


@pytest.fixture(scope="module")
def shared():
    """One node process, unconfigured, for the tests that leave it as they found it."""
    robot = Robot()
    start(robot)
    yield robot
    robot.close()


@pytest.fixture
def active(shared):
    shared.forget()
    assert change(shared, CONFIGURE)
    assert change(shared, ACTIVATE)
    shared.wait_until_heard_by(*LISTENED)
    yield shared
    assert change(shared, DEACTIVATE)
    assert change(shared, CLEANUP)


@pytest.fixture
def robot():
    robot = Robot()
    yield robot
    robot.close()


def start(robot: Robot, **parameters):
    given = {"model": "persistence", "inputs__image_topics": "[/cam/image_raw]", **parameters}
    return robot.start_node(**given)


def change(robot: Robot, transition: int) -> bool:
    return robot.call(ChangeState, "/world_model/change_state", ChangeState.Request(transition=Transition(id=transition))).success


def state(robot: Robot) -> int:
    return robot.call(GetState, "/world_model/get_state", GetState.Request()).current_state.id


def set_parameter(robot: Robot, name: str, value: ParameterValue):
    request = SetParameters.Request(parameters=[Parameter(name=name, value=value)])
    return robot.call(SetParameters, "/world_model/set_parameters", request).results[0]


def text(value: str) -> ParameterValue:
    return ParameterValue(type=ParameterType.PARAMETER_STRING, string_value=value)


def test_every_output_has_the_stamp_of_its_input(active):
    stamps = active.drive(10)
    assert active.spin_until(lambda: all(active.heard[topic] for topic in OUTPUTS)), {t: len(active.heard[t]) for t in OUTPUTS}
    for topic in ("latent", "latent_forecast", "occupancy", "occupancy_grid", "pedestrians"):
        heard = [stamp_ns(message) for message in active.heard[topic]]
        assert set(heard) <= set(stamps), topic
        assert heard == sorted(set(heard)), topic
    occupancy = active.heard["occupancy"][-1]
    grid = np.array(occupancy.probability).reshape(len(occupancy.times_s), occupancy.rows, occupancy.columns)
    assert grid[0].max() == 255
    assert (occupancy.header.frame_id, occupancy.fixed_frame_id) == ("base_link", "odom")
    assert occupancy.anchor_pose.position.x == pytest.approx((stamp_ns(occupancy) - START_NS) / 1e9)

    report = active.next_diagnostics()
    assert values(report["node"])["lifecycle"] == "active"
    latency = values(report["latency"])
    for stage in ("transport", "receive", "decode", "encode", "predict", "forecast", "publish", "end_to_end"):
        assert 0.0 <= float(latency[f"latency.{stage}.p50_ms"]) <= float(latency[f"latency.{stage}.p99_ms"]) < 10_000
    assert values(report["sensors"])["in_use"] == "lidar, camera"
    assert int(values(report["worker"])["steps"]) == len(active.heard["latent"])
    lidar = {key: int(value) for key, value in values(report["input /lidar"]).items() if key != "kind" and not key.startswith("notice.")}
    assert lidar["received"] == lidar["used"] + lidar["dropped_newest_wins"] + lidar["stale"]


def test_deactivate_closes_the_gate_and_a_bad_model_leaves_the_node_alive(shared):
    assert change(shared, CONFIGURE)
    assert change(shared, ACTIVATE)
    shared.wait_until_heard_by(*LISTENED)
    assert change(shared, DEACTIVATE)
    assert shared.spin_until(lambda: shared.publishers["/lidar"].get_subscription_count() == 0)
    shared.forget()
    shared.drive(3)
    assert not shared.heard["latent"]
    assert change(shared, CLEANUP)

    refused = set_parameter(shared, "model", text("no_such_model"))
    assert not refused.successful
    assert "choose one of" in refused.reason
    assert set_parameter(shared, "model", text("scene_jepa")).successful
    assert set_parameter(shared, "pipeline.weights", text("/no/such/weights.safetensors")).successful
    assert not change(shared, CONFIGURE)
    assert state(shared) == State.PRIMARY_STATE_UNCONFIGURED
    assert values(shared.next_diagnostics()["node"])["lifecycle"] == "unconfigured"
    assert set_parameter(shared, "pipeline.weights", text("")).successful
    assert set_parameter(shared, "model", text("persistence")).successful


def test_a_bag_goes_in_and_every_output_comes_out_also_after_a_kill():
    """No topic is named: the node finds them by type. The bag goes round, so a new node sees time fall back now and then."""
    robot = Robot(publish=False)
    try:
        robot.start_node("bag_player", bag=TINY_BAG, loop="true")
        for _ in range(2):
            robot.forget()
            process = robot.start_node(model="persistence", autostart="true")
            assert robot.spin_until(lambda: all(robot.heard[topic] for topic in OUTPUTS), 60), {t: len(robot.heard[t]) for t in OUTPUTS}
            process.send_signal(signal.SIGKILL)
            process.wait()
            robot.spin(0.5)
    finally:
        robot.close()


def test_a_jump_back_in_time_clears_the_history(active):
    active.drive(8, START_NS + 60 * 10**9)
    assert active.spin_until(lambda: bool(active.heard["latent"]))
    before = len(active.heard["latent"])
    active.drive(8, START_NS)
    assert active.spin_until(lambda: stamp_ns(active.heard["latent"][-1]) < START_NS + 10**9), "nothing after the jump"
    assert len(active.heard["latent"]) > before
    worker = values(active.next_diagnostics()["worker"])
    assert worker["history_cleared"] == "1"
    assert worker["errors"] == "0"


def test_a_lost_sensor_is_named_and_the_other_goes_on(active):
    active.drive(4)
    active.drive(15, START_NS + 10**9, lidar=False)
    report = active.next_diagnostics()
    assert report["sensors"].message == "camera only: lidar lost"
    assert values(report["sensors"])["in_use"] == "camera"
    active.drive(15, START_NS + 3 * 10**9, camera=False)
    report = active.next_diagnostics()
    assert report["sensors"].message == "lidar only: camera lost"
    assert values(report["sensors"])["in_use"] == "lidar"
    active.drive(4, START_NS + 5 * 10**9)
    assert active.next_diagnostics()["sensors"].level == b"\x00"


def test_parameters_are_described_and_guarded(shared):
    names = ["model", "inputs.cloud_topic", "outputs.top_modes", "sensing.match_tolerance_s", "pipeline.forecaster"]
    descriptors = shared.call(DescribeParameters, "/world_model/describe_parameters", DescribeParameters.Request(names=names)).descriptors
    assert all(descriptor.description for descriptor in descriptors)
    assert [descriptor.read_only for descriptor in descriptors] == [False] * 5
    refused = set_parameter(shared, "outputs.top_modes", ParameterValue(type=ParameterType.PARAMETER_INTEGER, integer_value=0))
    assert not refused.successful
    assert "top_modes" in refused.reason
    assert change(shared, CONFIGURE)
    fixed = set_parameter(shared, "inputs.cloud_topic", text("/other"))
    assert not fixed.successful
    assert "cleanup" in fixed.reason, "what to do first"
    assert change(shared, CLEANUP)
    assert set_parameter(shared, "inputs.cloud_topic", text("/lidar")).successful
    assert set_parameter(shared, "inputs.cloud_topic", text("")).successful


def test_every_parameter_has_a_value_that_can_be_dumped_and_read_again(shared):
    """`ros2 param dump` asks for all values at once; one that is unset would spoil the answer."""
    names = shared.call(ListParameters, "/world_model/list_parameters", ListParameters.Request()).result.names
    values = shared.call(GetParameters, "/world_model/get_parameters", GetParameters.Request(names=names)).values
    assert len(values) == len(names) > 20
    assert [name for name, value in zip(names, values, strict=True) if value.type == ParameterType.PARAMETER_NOT_SET] == []


def test_a_bad_parameter_at_start_is_named(robot):
    process = start(robot, outputs__top_modes=0)
    assert process.wait(30) == WRONG_CONFIGURATION
    assert "outputs.top_modes" in process.stderr.read()


def test_the_annotated_image_is_drawn_for_who_looks(active) -> None:
    """And the plan is listened to only meanwhile. The first picture waits for what draws it to be imported."""
    images: list[Image] = []
    active.drive(4)
    assert active.node.count_subscribers("/planner/path") == 0
    looking = active.node.create_subscription(Image, "/world_model/annotated_image", images.append, 5)
    stamps, end_s = [], time.monotonic() + 60.0
    while not images and time.monotonic() < end_s:
        stamps += active.drive(5, (stamps[-1] if stamps else START_NS) + 1_000_000_000)
    assert images, "none came"
    assert (images[-1].width, images[-1].height, images[-1].encoding) == (64, 48, "rgb8")
    assert stamp_ns(images[-1]) in stamps
    assert active.node.count_subscribers("/planner/path") == 1
    assert active.node.count_subscribers("/planner/footprint") == 1, "the width of the strip is the planner's to say"
    active.node.destroy_subscription(looking)
    end_s = time.monotonic() + 30.0
    while active.node.count_subscribers("/planner/path") and time.monotonic() < end_s:
        stamps += active.drive(2, stamps[-1] + 1_000_000_000)
    assert active.node.count_subscribers("/planner/path") == 0
