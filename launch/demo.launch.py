"""Plays a bag into world_model and planner and shows it all in RViz.

ros2 launch jepa_ros demo.launch.py bag:=/path/to/bag
"""

import os
import shutil
from pathlib import Path

from ament_index_python.packages import get_package_share_directory, get_packages_with_prefixes
from launch import LaunchContext, LaunchDescription
from launch.actions import DeclareLaunchArgument, EmitEvent, IncludeLaunchDescription, LogInfo, OpaqueFunction, RegisterEventHandler
from launch.conditions import IfCondition
from launch.event_handlers import OnProcessExit
from launch.events import Shutdown
from launch.events.process import ProcessExited
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node

from jepa_ros.ros.stopping import PARENT_VARIABLE
from jepa_ros.ros.tools.launching import stop_with_launch

SHARE = Path(get_package_share_directory("jepa_ros"))
SIM_TIME = {"use_sim_time": True}


def generate_launch_description() -> LaunchDescription:
    arguments = [
        DeclareLaunchArgument(
            "bag", default_value="", description="MCAP or SQLite3 bag (empty: a small simulated one, made on the first run)"
        ),
        DeclareLaunchArgument("rate", default_value="1.0", description="speed of the playback"),
        DeclareLaunchArgument("rviz", default_value="true", choices=["true", "false"], description="show it in RViz"),
        DeclareLaunchArgument("model", default_value="", description="back-end, for example scene_jepa (empty: what params_file says)"),
        DeclareLaunchArgument("device", default_value="", description="auto, cpu, cuda (empty: what params_file says)"),
        DeclareLaunchArgument("weights", default_value="", description="of the back-end, a path (empty: what params_file says)"),
    ]
    nodes = IncludeLaunchDescription(
        PythonLaunchDescriptionSource(str(SHARE / "launch" / "jepa_ros.launch.py")),
        launch_arguments={
            "jepa_use_sim_time": "true",
            "jepa_model": LaunchConfiguration("model"),
            "jepa_device": LaunchConfiguration("device"),
            "jepa_weights": LaunchConfiguration("weights"),
        }.items(),
    )
    return LaunchDescription([*arguments, nodes, *rviz(), OpaqueFunction(function=play)])


def rviz() -> list:
    """RViz where it is installed; robots and wheels have none. It ends with launch, as our nodes do by themselves."""
    if "rviz2" not in get_packages_with_prefixes():
        return [LogInfo(msg="rviz2 is not installed here: open config/jepa_ros.foxglove.json in Foxglove, or record the topics")]
    node = Node(
        package="rviz2",
        executable="rviz2",
        arguments=["-d", str(SHARE / "config" / "jepa_ros.rviz")],
        parameters=[SIM_TIME],
        condition=IfCondition(LaunchConfiguration("rviz")),
        prefix="setpriv --pdeathsig TERM" if shutil.which("setpriv") else None,  # of util-linux
    )
    return [stop_with_launch(node), node]


def play(context: LaunchContext) -> list:
    """The player waits for world_model to listen; the end of the bag ends the demo."""
    bag = LaunchConfiguration("bag").perform(context)
    if not bag:
        from jepa_ros.ros.tools.demo import default_bag

        bag = str(default_bag())
    player = Node(
        package="jepa_ros",
        executable="bag_player",
        name="bag_player",
        parameters=[{"bag": bag, "rate": float(LaunchConfiguration("rate").perform(context)), "wait_s": 120.0}],
        output="screen",
        additional_env={PARENT_VARIABLE: str(os.getpid())},
    )
    return [stop_with_launch(player), player, RegisterEventHandler(OnProcessExit(target_action=player, on_exit=finish))]


def finish(_: ProcessExited, context: LaunchContext) -> list:
    # The player also exits because somebody pressed Ctrl-C; launch fails on a second shutdown.
    return [] if context.is_shutdown else [EmitEvent(event=Shutdown(reason="the bag is over"))]
