"""Each display of the RViz and Foxglove views is a plugin that exists, on a topic that a recording has or a node offers."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

pytest.importorskip("rclpy", reason="needs ROS 2: run `make build`, then tests through scripts/env.sh")
pytest.importorskip("jepa_ros.msg", reason="needs the built interfaces: run `make build`, then tests through scripts/env.sh")

from paths import RESOURCES, ROOT
from rclpy.qos import DurabilityPolicy, QoSCompatibility, QoSProfile, ReliabilityPolicy, qos_check_compatible
from ros_harness import Robot

from jepa_ros.ros.tools.output_bag import is_latched
from jepa_ros.ros.tools.output_log import OUTPUTS, SHAPE
from jepa_ros.sensing import bag_info

RECORDED = {topic.name: topic.type_name for topic in bag_info(RESOURCES / "tiny_bag").topics} | OUTPUTS | SHAPE
PLUGINS = {  # of rviz_default_plugins (plugins_description.xml of ros2/rviz): class -> the type that it shows
    "Grid": None,
    "TF": None,
    "Map": "nav_msgs/msg/OccupancyGrid",
    "PointCloud2": "sensor_msgs/msg/PointCloud2",
    "MarkerArray": "visualization_msgs/msg/MarkerArray",
    "Path": "nav_msgs/msg/Path",
    "Odometry": "nav_msgs/msg/Odometry",
    "Image": "sensor_msgs/msg/Image",
    "Polygon": "geometry_msgs/msg/PolygonStamped",
}
TOOLS = {"Interact", "MoveCamera", "Measure", "SetGoal"}
VIEWS = {"ThirdPersonFollower", "TopDownOrtho"}


@pytest.fixture(scope="module")
def rviz() -> dict[str, Any]:
    return yaml.safe_load((ROOT / "config" / "jepa_ros.rviz").read_text())["Visualization Manager"]


@pytest.fixture(scope="module")
def offered() -> Iterator[dict[str, tuple[str, QoSProfile]]]:
    """Topic -> type and QoS of all that the two nodes publish."""
    robot = Robot(publish=False)
    for node in ("world_model", "planner"):
        robot.start_node(node, autostart=True, model="persistence", device="cpu")
    last = ("/world_model/annotated_image", "/planner/footprint", "/planner/markers", "/world_model/occupancy_grid/in_4_8s")
    there = robot.spin_until(lambda: all(robot.node.get_publishers_info_by_topic(topic) for topic in last), 60.0)
    names = {topic for topic, _ in robot.node.get_topic_names_and_types() if topic.startswith(("/world_model/", "/planner/"))}
    ends = {topic: robot.node.get_publishers_info_by_topic(topic) for topic in names}
    yield {topic: (each[0].topic_type, each[0].qos_profile) for topic, each in ends.items() if each}
    robot.close()
    assert there, sorted(names)


def plugin(entry: dict[str, Any]) -> str:
    package, name = entry["Class"].split("/")
    assert package == "rviz_default_plugins"
    return name


@pytest.mark.ros
def test_every_display_of_rviz_has_its_topic_and_type(rviz, offered) -> None:
    shown = set()
    for display in rviz["Displays"]:
        kind = PLUGINS[plugin(display)]
        if kind is None:
            continue
        topic = display["Topic"]["Value"]
        assert {RECORDED.get(topic, kind), offered.get(topic, (kind,))[0]} == {kind}, display["Name"]
        assert topic in (offered if topic.startswith(("/world_model/", "/planner/")) else RECORDED), display["Name"]
        shown.add(topic)
        recorded = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL if is_latched(topic) else DurabilityPolicy.VOLATILE)
        asked = QoSProfile(
            depth=1,
            reliability=ReliabilityPolicy[display["Topic"]["Reliability Policy"].upper().replace(" ", "_")],
            durability=DurabilityPolicy[display["Topic"]["Durability Policy"].upper().replace(" ", "_")],
        )
        if topic in RECORDED:
            assert qos_check_compatible(recorded, asked)[0] != QoSCompatibility.ERROR, topic
        live = offered[topic][1] if topic in offered else recorded
        assert qos_check_compatible(live, asked)[0] != QoSCompatibility.ERROR, topic
        assert live.durability == recorded.durability, "played back as it was live"
        assert (asked.durability == DurabilityPolicy.TRANSIENT_LOCAL) == is_latched(topic), "who comes late sees it, too"
    assert shown >= {"/world_model/occupancy_grid", "/world_model/markers", "/planner/path", "/planner/footprint", "/odom", "/lidar/points"}
    assert sum(topic.startswith("/world_model/occupancy_grid/") for topic in shown) == 4


def test_rviz_sets_goals_for_the_planner_and_looks_from_above(rviz) -> None:
    assert {plugin(tool) for tool in rviz["Tools"]} == TOOLS
    goal = next(tool for tool in rviz["Tools"] if plugin(tool) == "SetGoal")
    assert goal["Topic"]["Value"] == "/planner/goal_pose"
    views = [rviz["Views"]["Current"], *rviz["Views"]["Saved"]]
    assert {plugin(view) for view in views} == VIEWS


def named_topics(tree: Any, key: str = "") -> Iterator[str]:
    """Topics that a Foxglove layout names, as keys or as values."""
    if isinstance(tree, dict):
        for name, value in tree.items():
            if key == "topics":
                yield name
            yield from named_topics(value, name)
    elif isinstance(tree, list):
        for value in tree:
            yield from named_topics(value, key)
    elif isinstance(tree, str) and tree.startswith("/"):
        yield tree.split(".")[0]


@pytest.mark.ros
def test_every_topic_of_foxglove_is_recorded_or_offered(offered) -> None:
    layout = json.loads((ROOT / "config" / "jepa_ros.foxglove.json").read_text())
    named = set(named_topics(layout))
    assert {"/world_model/occupancy_grid", "/camera/image_raw", "/diagnostics"} <= named
    grids = [shown for topic, shown in layout["configById"]["3D!scene"]["topics"].items() if "occupancy_grid" in topic]
    assert len(grids) == 5
    assert all(grid["colorMode"] == "custom" and grid["minColor"].endswith("00") for grid in grids), "what is improbable is not drawn"
    published_to = {"/planner/goal_pose"}  # where a click goes, not what is shown
    assert named - published_to <= set(RECORDED) | set(offered), named - set(RECORDED) - set(offered)
