"""Starts the lifecycle nodes world_model and planner, and brings them up where autostart is true.

ros2 launch jepa_ros world_model.launch.py model:=scene_jepa params_file:=/path/to/my.yaml

From a launch file of your own include jepa_ros.launch.py: these short names may be yours, too.
"""

from pathlib import Path

from ament_index_python.packages import get_package_share_directory
from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument, IncludeLaunchDescription
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration

SHARE = Path(get_package_share_directory("jepa_ros"))
ARGUMENTS = {
    "namespace": ("", "namespace of the nodes"),
    "use_sim_time": ("", "take the time from /clock: true or false (empty: what params_file says)"),
    "params_file": (str(SHARE / "config" / "jepa_ros.yaml"), "parameters of both nodes"),
    "autostart": ("", "configure and activate the nodes, also after a crash: true or false (empty: what params_file says, else true)"),
    "log_level": ("info", "debug, info, warn, error"),
    "model": ("", "back-end, for example scene_jepa (empty: what params_file says)"),
    "device": ("", "auto, cpu, cuda (empty: what params_file says)"),
    "weights": ("", "of the back-end, a path (empty: what params_file says)"),
}


def generate_launch_description() -> LaunchDescription:
    nodes = IncludeLaunchDescription(
        PythonLaunchDescriptionSource(str(SHARE / "launch" / "jepa_ros.launch.py")),
        launch_arguments=[(f"jepa_{name}", LaunchConfiguration(name)) for name in ARGUMENTS],
    )
    arguments = [DeclareLaunchArgument(name, default_value=value, description=text) for name, (value, text) in ARGUMENTS.items()]
    return LaunchDescription([*arguments, nodes])
