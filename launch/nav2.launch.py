"""jepa_ros under Nav2: our nodes beside nav2_bringup's navigation_launch.py, and trees that send their paths to our planner.

ros2 launch jepa_ros nav2.launch.py nav2_params_file:=/path/to/nav2_params.yaml

Localisation and the map are yours, as with navigation_launch.py. docs/tutorials/nav2.md says what goes where.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import yaml
from ament_index_python.packages import PackageNotFoundError, get_package_share_directory
from launch import LaunchContext, LaunchDescription
from launch.actions import DeclareLaunchArgument, GroupAction, IncludeLaunchDescription, LogInfo, OpaqueFunction
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import SetRemap

SHARE = Path(get_package_share_directory("jepa_ros"))
TREE = SHARE / "config" / "nav2_navigate_to_pose.xml"


def generate_launch_description() -> LaunchDescription:
    arguments = [
        DeclareLaunchArgument("use_sim_time", default_value="false", choices=["true", "false"], description="take the time from /clock"),
        DeclareLaunchArgument("nav2_params_file", default_value="", description="parameters of Nav2 (empty: those of nav2_bringup)"),
        DeclareLaunchArgument("params_file", default_value=str(SHARE / "config" / "nav2.yaml"), description="what jepa_ros changes"),
        DeclareLaunchArgument("cmd_vel", default_value="cmd_vel_nav", description="our commands: the input of Nav2's velocity_smoother"),
        DeclareLaunchArgument("model", default_value="", description="back-end of jepa_ros (empty: scene_jepa)"),
    ]
    return LaunchDescription([*arguments, our_nodes(), OpaqueFunction(function=nav2)])


def our_nodes() -> GroupAction:
    names = {"jepa_use_sim_time": "use_sim_time", "jepa_params_file": "params_file", "jepa_model": "model"}
    include = IncludeLaunchDescription(
        PythonLaunchDescriptionSource(str(SHARE / "launch" / "jepa_ros.launch.py")),
        launch_arguments=[(ours, LaunchConfiguration(name)) for ours, name in names.items()],
    )
    return GroupAction([SetRemap("cmd_vel", LaunchConfiguration("cmd_vel")), include])


def nav2(context: LaunchContext) -> list:
    try:
        bringup = Path(get_package_share_directory("nav2_bringup"))
    except PackageNotFoundError:
        return [LogInfo(msg="nav2_bringup is not installed: only jepa_ros starts (sudo apt install ros-$ROS_DISTRO-nav2-bringup)")]
    theirs = LaunchConfiguration("nav2_params_file").perform(context) or str(bringup / "params" / "nav2_params.yaml")
    ours = LaunchConfiguration("params_file").perform(context)
    include = IncludeLaunchDescription(
        PythonLaunchDescriptionSource(str(bringup / "launch" / "navigation_launch.py")),
        launch_arguments=[("use_sim_time", LaunchConfiguration("use_sim_time")), ("params_file", merged(theirs, ours))],
    )
    return [GroupAction([include])]


def merged(theirs: str, ours: str) -> str:
    """A file of Nav2's parameters with ours in them: Nav2 takes one file."""
    parameters = yaml.safe_load(Path(theirs).read_text()) or {}
    changes = yaml.safe_load(Path(ours).read_text()) or {}
    costmap = changes.get("/**/global_costmap", {})
    parameters.setdefault("global_costmap", {}).setdefault("global_costmap", {}).setdefault("ros__parameters", {}).update(
        costmap.get("ros__parameters", {})
    )
    navigator = parameters.setdefault("bt_navigator", {}).setdefault("ros__parameters", {})
    navigator["default_nav_to_pose_bt_xml"] = str(TREE)
    handle, path = tempfile.mkstemp(prefix="nav2_with_jepa_ros_", suffix=".yaml")
    with os.fdopen(handle, "w") as file:
        yaml.safe_dump(parameters, file)
    return path
