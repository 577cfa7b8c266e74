"""A launch that ends while its planner drives at full speed, whoever ended it and how: zero is heard last, and the robot stops in time."""

import os
import signal
import subprocess
import time

import numpy as np
import pytest

# The repository's own launch/ folder would pass for a package called launch; launch_ros exists only where ROS 2 is sourced.
pytest.importorskip("launch_ros", reason="launch is not on PyPI; source a ROS 2 to run the launch tests")

from geometry_msgs.msg import PoseStamped, Twist
from nav_msgs.msg import Odometry
from ros_harness import Robot, braking_m

SPEED_MPS = 1.5
# Wide, like the time to plan: this is about stopping, also on a machine that is busy with other tests.
PARAMETERS = f"""
/**/planner:
  ros__parameters:
    inputs: {{odometry_topic: /odom}}
    controller: {{enabled: true, max_age_s: 1.2, planning_s: 0.4}}
    planner: {{limits: {{max_speed_mps: {SPEED_MPS}}}}}
"""
FRAME_S = 0.2
HURRY_S = 1.0  # what launch, and a test machine that is busy with other things, may take to tell the nodes
# Another node of the outer launch file, whose end ends everything.
OUTER = """
from launch import LaunchDescription
from launch.actions import ExecuteProcess, IncludeLaunchDescription, Shutdown
from launch.launch_description_sources import PythonLaunchDescriptionSource
from ament_index_python.packages import get_package_share_directory

def generate_launch_description():
    ours = get_package_share_directory("jepa_ros") + "/launch/world_model.launch.py"
    arguments = dict(one.split(":=", 1) for one in ARGUMENTS)
    return LaunchDescription([
        ExecuteProcess(cmd=["sh", "-c", "echo $$ > FOLDER/other; exec sleep 300"], on_exit=Shutdown()),
        IncludeLaunchDescription(PythonLaunchDescriptionSource(ours), launch_arguments=arguments.items()),
    ])
"""
# A base without a watchdog: it goes on with the last command that it has heard.
SIMULATOR = {
    "lidar_rings": 16,
    "lidar_azimuths": 360,
    "cameras": 0,
    "people": 0,
    "scenario": "hall",
    "rate_hz": 1 / FRAME_S,
    "command_timeout_s": 60.0,
}
ARGUMENTS = ("model:=persistence", "device:=cpu", "use_sim_time:=true")
pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


class Launched:
    """The simulated robot, and `ros2 launch` that drives it."""

    def __init__(self, folder) -> None:
        file = folder / "parameters.yaml"
        file.write_text(PARAMETERS)
        self.net = Robot(publish=False)
        self.commands: list[Twist] = []
        self.speed_mps = 0.0
        self.place = np.zeros(2)
        self.net.node.create_subscription(Twist, "/cmd_vel", self.commands.append, 50)
        self.net.node.create_subscription(Odometry, "/odom", self._on_odometry, 5)
        self.goals = self.net.node.create_publisher(PoseStamped, "/planner/goal_pose", 1)
        self.net.start_node("simulator", **SIMULATOR)
        arguments = [*ARGUMENTS, f"params_file:={file}"]
        self.other = folder / "other"
        outer = folder / "outer.launch.py"
        outer.write_text(OUTER.replace("ARGUMENTS", repr(arguments)).replace("FOLDER", str(folder)))
        command = ["env", "--default-signal", "ros2", "launch", str(outer)]
        environment = os.environ | {"ROS_DOMAIN_ID": str(self.net.domain), "OMP_NUM_THREADS": "1"}
        self._log = folder / "log"
        with self._log.open("w") as output:
            self.launch = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, env=environment, start_new_session=True)

    def wait(self, done, timeout_s: float = 240.0) -> None:
        assert self.net.spin_until(done, timeout_s), self._log.read_text()

    def close(self) -> None:
        if self.launch.poll() is None:
            self.launch.kill()  # its nodes end with it
            self.launch.wait()
        self.net.close()

    def _on_odometry(self, message: Odometry) -> None:
        self.speed_mps = message.twist.twist.linear.x
        self.place = np.array([message.pose.pose.position.x, message.pose.pose.position.y])


@pytest.fixture
def launched(tmp_path):
    launched = Launched(tmp_path)
    yield launched
    launched.close()


def press_twice(launched: Launched) -> None:
    os.killpg(launched.launch.pid, signal.SIGINT)
    time.sleep(1.5)
    os.killpg(launched.launch.pid, signal.SIGINT)


WAYS = {
    # To launch alone, as a script or systemd does:
    "SIGINT": lambda launched: launched.launch.send_signal(signal.SIGINT),
    "SIGTERM": lambda launched: launched.launch.send_signal(signal.SIGTERM),
    "SIGKILL": lambda launched: launched.launch.send_signal(signal.SIGKILL),
    # To all of its group, as a terminal does:
    "Ctrl-C": lambda launched: os.killpg(launched.launch.pid, signal.SIGINT),
    "Ctrl-C twice": press_twice,
    "closed terminal": lambda launched: os.killpg(launched.launch.pid, signal.SIGHUP),
    "another node ends": lambda launched: os.kill(int(launched.other.read_text()), signal.SIGTERM),
}


@pytest.mark.parametrize("way", WAYS)
def test_launch_ends_while_the_robot_drives_and_it_stands(launched, way) -> None:
    launched.wait(lambda: launched.goals.get_subscription_count() and len(launched.net.heard["occupancy"]) > 5)
    goal = PoseStamped()
    goal.header.frame_id = "base_link"
    goal.pose.position.x = 12.0
    launched.goals.publish(goal)
    launched.wait(lambda: launched.speed_mps > 0.93 * SPEED_MPS, 40.0)
    start = launched.place
    WAYS[way](launched)
    launched.wait(lambda: abs(launched.speed_mps) < 0.02, 20.0)
    last = launched.commands[-1]
    assert (last.linear.x, last.linear.y, last.angular.z) == (0.0, 0.0, 0.0)
    driven_m = float(np.linalg.norm(launched.place - start))
    assert driven_m < braking_m(SPEED_MPS, HURRY_S + FRAME_S), driven_m
    count = len(launched.commands)
    launched.net.spin(2.0)
    assert all(command.linear.x == 0.0 for command in launched.commands[count:]), "nor does anything start it again"
    launched.launch.wait(30.0)
