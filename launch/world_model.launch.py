"""Starts the lifecycle nodes world_model and planner, and brings them up where autostart is true.

ros2 launch jepa_ros world_model.launch.py model:=scene_jepa params_file:=/path/to/my.yaml
"""

import os
from functools import partial
from pathlib import Path

from ament_index_python.packages import get_package_share_directory
from launch import LaunchContext, LaunchDescription
from launch.actions import DeclareLaunchArgument, OpaqueFunction, RegisterEventHandler, SetEnvironmentVariable, TimerAction
from launch.event_handlers import OnProcessStart
from launch.events.process import ProcessStarted
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import LifecycleNode, LifecycleTransition
from launch_ros.parameter_descriptions import ParameterValue
from launch_ros.ros_adapters import get_ros_node
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import GetState
from rclpy.task import Future

SHARE = Path(get_package_share_directory("jepa_ros"))
NODES = ("world_model", "planner")
BRING_UP = [Transition.TRANSITION_CONFIGURE, Transition.TRANSITION_ACTIVATE]
RESPAWN_DELAY_S = 2.0
STOP_TIMEOUT_S = "15"  # a Python with torch takes seconds to leave on a busy machine
POLL_S = 0.5


def generate_launch_description() -> LaunchDescription:
    arguments = [
        DeclareLaunchArgument("namespace", default_value="", description="namespace of the nodes"),
        DeclareLaunchArgument("use_sim_time", default_value="false", choices=["true", "false"], description="take the time from /clock"),
        DeclareLaunchArgument("params_file", default_value=str(SHARE / "config" / "jepa_ros.yaml"), description="parameters of both nodes"),
        DeclareLaunchArgument(
            "autostart", default_value="true", choices=["true", "false"], description="configure and activate the nodes, also after a crash"
        ),
        DeclareLaunchArgument("log_level", default_value="info", description="debug, info, warn, error"),
        DeclareLaunchArgument("model", default_value="", description="back-end, for example scene_jepa (empty: what params_file says)"),
        DeclareLaunchArgument("device", default_value="", description="auto, cpu, cuda (empty: what params_file says)"),
        DeclareLaunchArgument("weights", default_value="", description="of the back-end, a path (empty: what params_file says)"),
    ]
    return LaunchDescription([*arguments, *shared_memory(), OpaqueFunction(function=start_nodes)])


def shared_memory() -> list[SetEnvironmentVariable]:
    """Fast DDS loses most large best-effort messages without it. A profile that the user has chosen stays."""
    variable = "FASTRTPS_DEFAULT_PROFILES_FILE" if os.environ.get("ROS_DISTRO") == "jazzy" else "FASTDDS_DEFAULT_PROFILES_FILE"
    return [] if variable in os.environ else [SetEnvironmentVariable(variable, str(SHARE / "config" / "fastdds.xml"))]


def start_nodes(context: LaunchContext) -> list:
    overrides = {name: LaunchConfiguration(name).perform(context) for name in ("model", "device", "weights")}
    overrides["pipeline.weights"] = overrides["weights"]  # world_model's name for it; each node takes the one that it knows
    parameters = {name: value for name, value in overrides.items() if value}
    actions: list = []
    for name in NODES:
        node = LifecycleNode(
            package="jepa_ros",
            executable=name,
            name=name,
            namespace=LaunchConfiguration("namespace"),
            parameters=[
                LaunchConfiguration("params_file"),
                {"use_sim_time": ParameterValue(LaunchConfiguration("use_sim_time"), value_type=bool), **parameters},
            ],
            ros_arguments=["--log-level", LaunchConfiguration("log_level")],
            output="screen",
            emulate_tty=True,
            respawn=True,
            respawn_delay=RESPAWN_DELAY_S,
            sigterm_timeout=STOP_TIMEOUT_S,
        )
        if LaunchConfiguration("autostart").perform(context) == "true":
            # A respawned node is unconfigured again, so each start of the process brings it up.
            actions.append(RegisterEventHandler(OnProcessStart(target_action=node, on_start=partial(bring_up, node=node))))
        actions.append(node)
    return actions


def bring_up(event: ProcessStarted, context: LaunchContext, node: LifecycleNode) -> list:
    """Configure and activate once this very process answers.

    A service of a killed predecessor counts as available until its DDS lease ends; a transition requested from it would never come back.
    """
    client = get_ros_node(context).create_client(GetState, f"{node.node_name}/get_state")

    def ask(_: LaunchContext) -> list:
        return [TimerAction(period=POLL_S, actions=[OpaqueFunction(function=check, args=[client.call_async(GetState.Request())])])]

    def check(_: LaunchContext, answer: Future) -> list:
        if node.process_details is None or node.process_details["pid"] != event.pid:
            return []
        if answer.done():
            return [LifecycleTransition(lifecycle_node_names=[node.node_name], transition_ids=BRING_UP)]
        client.remove_pending_request(answer)
        return ask(context)

    return ask(context)
