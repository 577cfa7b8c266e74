"""The SROS 2 policy allows all that the running nodes use, and nothing that they never use: held against the real graph."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree

import pytest

pytest.importorskip("rclpy", reason="needs ROS 2: run `make build`, then tests through scripts/env.sh")
pytest.importorskip("jepa_ros.msg", reason="needs the built interfaces: run `make build`, then tests through scripts/env.sh")
pytestmark = pytest.mark.ros

from paths import ROOT  # noqa: E402
from rclpy.action import get_action_server_names_and_types_by_node  # noqa: E402
from ros_harness import Robot  # noqa: E402

POLICY = ROOT / "config" / "sros2" / "jepa_ros.policy.xml"
SENSORS = {"lidar/points", "camera/image_raw", "camera/camera_info", "odom"}
# What a node uses only on request: latents for imagined futures, the clock of a simulation (both are on here, or not at all).
# And what needs Nav2's or Autoware's messages.
ON_REQUEST = {
    "/world_model/latent",
    "/world_model/detections",
    "/world_model/predicted_objects",
    "/planner/trajectory",
    "/clock",
    "/parameter_events",
    "/speed_limit",
    "/planner/follow_path",
    "/planner/compute_path_to_pose",
    "/planner/path",
    "/planner/footprint",
}


def allowed(node: str, kind: str, right: str) -> set[str]:
    """Full names of the topics or services that the policy allows a node."""
    profile = next(one for one in ElementTree.parse(POLICY).iter("profile") if one.get("node") == node)
    names = [item.text for group in profile.iter(kind) if group.get(right) == "ALLOW" for item in group]
    return {full_name(name.strip(), node) for name in names if name}


def full_name(name: str, node: str) -> str:
    return name if name.startswith("/") else f"/{node}{name[1:]}" if name.startswith("~") else f"/{name}"


@pytest.fixture(scope="module")
def robot():
    robot = Robot(publish=False)
    small = {"lidar_rings": 16, "lidar_azimuths": 360, "camera_width": 64, "camera_height": 36, "scenario": "hall"}
    robot.start_node("simulator", remap={"/ground_truth/odom": "/hidden_odom"}, use_sim_time=True, **small)
    shared = {"autostart": True, "use_sim_time": True, "inputs__odometry_topic": "/odom"}
    robot.start_node("world_model", inputs__image_topics="[/camera/image_raw]", inputs__cloud_topic="/lidar/points", **shared)
    robot.start_node("planner", controller__enabled=True, **shared)
    names = {"world_model", "planner"}
    ready = robot.spin_until(lambda: names <= set(robot.node.get_node_names()) and bool(robot.heard["occupancy"]), 90.0)
    assert ready, "the nodes did not come up"
    robot.spin(2.0)
    yield robot
    robot.close()


@pytest.mark.parametrize("node", ["world_model", "planner"])
def test_the_policy_is_what_the_node_uses(robot, node) -> None:
    graph = robot.node
    used = {
        ("topics", "subscribe"): graph.get_subscriber_names_and_types_by_node(node, "/"),
        ("topics", "publish"): graph.get_publisher_names_and_types_by_node(node, "/"),
        ("services", "reply"): graph.get_service_names_and_types_by_node(node, "/"),
    }
    used["actions", "execute"] = get_action_server_names_and_types_by_node(graph, node, "/")
    for (kind, right), found in used.items():
        names = {name for name, _ in found if "/_action/" not in name}
        permitted = allowed(node, kind, right)
        assert names <= permitted, f"{node} would be refused: {sorted(names - permitted)}"
        spare = permitted - names - ON_REQUEST
        assert not spare, f"{node} never uses {sorted(spare)} and need not be allowed to"


def test_no_wildcard_is_in_the_policy() -> None:
    assert "*" not in POLICY.read_text().split("-->", 1)[1]
