"""The doctor's two sources of a robot's shape: a parameter file, and the parameters of nodes that run."""

import time

import pytest

rclpy = pytest.importorskip("rclpy", reason="needs ROS 2: run `make build`, then tests through scripts/env.sh")
pytest.importorskip("jepa_ros.msg", reason="needs the built interfaces: run `make build`, then tests through scripts/env.sh")

from rclpy.context import Context  # noqa: E402
from rclpy.executors import SingleThreadedExecutor  # noqa: E402
from rclpy.node import Node  # noqa: E402
from rclpy.parameter import Parameter  # noqa: E402
from ros_harness import DOMAINS  # noqa: E402

from jepa_ros.planning.footprint import Footprint  # noqa: E402
from jepa_ros.ros.tools.doctor.body import RunningShapes  # noqa: E402
from jepa_ros.ros.tools.doctor.cli import examine_planner  # noqa: E402

pytestmark = pytest.mark.ros

MOST_S = 20.0  # on a busy machine


def test_the_shape_is_that_of_the_file_or_of_running_nodes() -> None:
    context = Context()
    rclpy.init(context=context, domain_id=50 + next(DOMAINS) % 50)
    told = [Parameter("planner.footprint", value="[[1, 0.5], [1, -0.5], [-0.2, -0.5], [-0.2, 0.5]]")]
    assert examine_planner(told, context=context)[0].reach_m == pytest.approx(1.25**0.5)
    assert examine_planner([], context=context)[0] is None, "a default says nothing of this robot"
    nodes = {name: Node(name, context=context) for name in ("world_model", "planner", "doctor_here")}
    nodes["world_model"].declare_parameter("sensing.own_body_m", [-1.0, -0.5, 0.6, 0.5])
    nodes["planner"].declare_parameter("planner.footprint", "")
    nodes["planner"].declare_parameter("planner.robot_radius_m", 0.7)
    executor = SingleThreadedExecutor(context=context)
    for node in nodes.values():
        executor.add_node(node)
    until_s = time.monotonic() + MOST_S
    while len(nodes["doctor_here"].get_node_names()) < len(nodes) and time.monotonic() < until_s:
        executor.spin_once(timeout_sec=0.05)
    shapes = RunningShapes(nodes["doctor_here"])
    while (shapes.footprint() is None or shapes.own_body_m() is None) and time.monotonic() < until_s:
        executor.spin_once(timeout_sec=0.05)
    assert (shapes.footprint(), shapes.own_body_m()) == (Footprint.of(0.7), (-1.0, -0.5, 0.6, 0.5))
    executor.shutdown()
    rclpy.shutdown(context=context)
