"""The nodes world_model and planner, for launch files of your own: every argument begins with jepa_, so that none of yours is taken for it.

README.md shows how to include it.
"""

import os
from pathlib import Path

import yaml
from ament_index_python.packages import get_package_share_directory
from launch import LaunchContext, LaunchDescription
from launch.actions import DeclareLaunchArgument, LogInfo, OpaqueFunction, SetEnvironmentVariable, TimerAction
from launch.events.process import ProcessExited
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue

from jepa_ros.ros.entry import WRONG_CONFIGURATION
from jepa_ros.ros.stopping import PARENT_VARIABLE
from jepa_ros.ros.tools.launching import stop_with_launch

SHARE = Path(get_package_share_directory("jepa_ros"))
NODES = {
    "world_model": {"weights": "pipeline.weights"},
    "planner": {},
}  # and how a node calls an argument, where it has another name for it
RESPAWN_DELAY_S = 2.0
STOP_TIMEOUT_S = "15"  # a Python with torch takes seconds to leave on a busy machine
BOOLEAN = ["", "true", "false"]


def generate_launch_description() -> LaunchDescription:
    arguments = [
        DeclareLaunchArgument("jepa_namespace", default_value="", description="namespace of the nodes"),
        DeclareLaunchArgument("jepa_use_sim_time", default_value="", choices=BOOLEAN, description="take the time from /clock"),
        DeclareLaunchArgument(
            "jepa_params_file", default_value=str(SHARE / "config" / "jepa_ros.yaml"), description="parameters of both nodes"
        ),
        DeclareLaunchArgument(
            "jepa_autostart",
            default_value="",
            choices=BOOLEAN,
            description="configure and activate the nodes, also after a crash (empty: what the parameter file says, else true)",
        ),
        DeclareLaunchArgument("jepa_log_level", default_value="info", description="debug, info, warn, error"),
        DeclareLaunchArgument("jepa_model", default_value="", description="back-end, for example scene_jepa (empty: what the file says)"),
        DeclareLaunchArgument("jepa_device", default_value="", description="auto, cpu, cuda (empty: what the file says)"),
        DeclareLaunchArgument("jepa_weights", default_value="", description="of the back-end, a path (empty: what the file says)"),
    ]
    return LaunchDescription([*arguments, *shared_memory(), OpaqueFunction(function=start_nodes)])


def shared_memory() -> list[SetEnvironmentVariable]:
    """Fast DDS loses most large best-effort messages without it. A profile that the user has chosen stays."""
    variable = "FASTRTPS_DEFAULT_PROFILES_FILE" if os.environ.get("ROS_DISTRO") == "jazzy" else "FASTDDS_DEFAULT_PROFILES_FILE"
    return [] if variable in os.environ else [SetEnvironmentVariable(variable, str(SHARE / "config" / "fastdds.xml"))]


def start_nodes(context: LaunchContext) -> list:
    return [action for name in NODES for action in start_node(context, name)]


def start_node(context: LaunchContext, name: str) -> list:
    def started_again(event: ProcessExited, context: LaunchContext) -> list:
        """A node that failed is started again; one that was told to stop, or whose parameters cannot be, would only end again."""
        if context.is_shutdown or event.returncode == 0:
            return []
        if event.returncode == WRONG_CONFIGURATION:
            return [LogInfo(msg=f"{name} is not restarted: its parameters are invalid, see its last line")]
        return [TimerAction(period=RESPAWN_DELAY_S, actions=[OpaqueFunction(function=start_node, args=[name])])]

    node = Node(
        package="jepa_ros",
        executable=name,
        name=name,
        namespace=LaunchConfiguration("jepa_namespace"),
        parameters=[LaunchConfiguration("jepa_params_file"), overrides(context, name)],
        ros_arguments=["--log-level", LaunchConfiguration("jepa_log_level")],
        output="screen",
        emulate_tty=True,
        additional_env={PARENT_VARIABLE: str(os.getpid())},
        sigterm_timeout=STOP_TIMEOUT_S,
        on_exit=started_again,
    )
    return [stop_with_launch(node), node]


def overrides(context: LaunchContext, name: str) -> dict:
    """What the arguments say, and not the file."""

    def given(argument: str) -> str:
        return LaunchConfiguration(f"jepa_{argument}").perform(context)

    values: dict = {NODES[name].get(key, key): given(key) for key in ("model", "device", "weights") if given(key)}
    autostart = given("autostart") or ("" if mentions_autostart(given("params_file"), name) else "true")
    if autostart:
        values["autostart"] = ParameterValue(autostart == "true", value_type=bool)
    if given("use_sim_time"):
        values["use_sim_time"] = ParameterValue(given("use_sim_time") == "true", value_type=bool)
    return values


def mentions_autostart(params_file: str, name: str) -> bool:
    """Whether a parameter file decides it for this node, under its name, a path to it or a wildcard."""
    sections = yaml.safe_load(Path(params_file).read_text()) or {}
    return any(
        "autostart" in ((section or {}).get("ros__parameters") or {})
        for path, section in sections.items()
        if path.rsplit("/", 1)[-1] in (name, "**", "*")
    )
