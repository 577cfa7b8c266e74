"""Starts world_model and planner for an arm with a gripper: ros2 launch jepa_ros arm.launch.py weights:=/path/to/arm.safetensors

Without an arm: ros2 launch jepa_ros arm.launch.py simulate:=true use_sim_time:=true weights:=simulated
params_file names parameters of your own in place of config/arm.yaml.
"""

from pathlib import Path

from ament_index_python.packages import get_package_share_directory
from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument, IncludeLaunchDescription
from launch.conditions import IfCondition
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node

SHARE = Path(get_package_share_directory("jepa_ros"))
ARGUMENTS = {
    "model": ("arm", "arm, or another back-end with actions of an arm: vjepa2_ac"),
    "weights": (
        "",
        "arm.safetensors, of python -m jepa_ros.training arm, or simulated: those of the simulated arm; "
        "of vjepa2_ac the folder that backends.convert made",
    ),
    "params_file": (str(SHARE / "config" / "arm.yaml"), "parameters of both nodes"),
    "namespace": ("", "namespace of the nodes"),
    "use_sim_time": ("", "take the time from /clock: true or false (empty: what params_file says)"),
    "device": ("", "auto, cpu, cuda (empty: what params_file says)"),
    "log_level": ("info", "debug, info, warn, error"),
}
PASSED = ("model", "weights", "params_file", "namespace", "use_sim_time", "device", "log_level")


def generate_launch_description() -> LaunchDescription:
    nodes = IncludeLaunchDescription(
        PythonLaunchDescriptionSource(str(SHARE / "launch" / "jepa_ros.launch.py")),
        launch_arguments=[(f"jepa_{name}", LaunchConfiguration(name)) for name in PASSED],
    )
    simulated = Node(
        package="jepa_ros", executable="arm_simulator", namespace=LaunchConfiguration("namespace"),
        condition=IfCondition(LaunchConfiguration("simulate")),
    )  # fmt: skip
    arguments = [DeclareLaunchArgument(name, default_value=value, description=text) for name, (value, text) in ARGUMENTS.items()]
    simulate = DeclareLaunchArgument(
        "simulate", default_value="false", description="also start a simulated arm; then set use_sim_time:=true"
    )
    return LaunchDescription([*arguments, simulate, nodes, simulated])
