"""A launch that ends while its planner drives at full speed: the base has heard zero last, whoever ended it and how."""

import os
import signal
import subprocess

import pytest

# The repository's own launch/ folder would pass for a package called launch; launch_ros exists only where ROS 2 is sourced.
pytest.importorskip("launch_ros", reason="launch is not on PyPI; source a ROS 2 to run the launch tests")

from geometry_msgs.msg import PoseStamped, Twist
from nav_msgs.msg import Odometry
from ros_harness import Robot

SPEED_MPS = 1.5
# Wide, like the time to plan: this is about stopping, also on a machine that is busy with other tests.
PARAMETERS = f"""
/**/planner:
  ros__parameters:
    inputs: {{odometry_topic: /odom}}
    controller: {{enabled: true, max_age_s: 1.2, planning_s: 0.4}}
    planner: {{limits: {{max_speed_mps: {SPEED_MPS}}}}}
"""
# A base without a watchdog: it goes on with the last command that it has heard.
SIMULATOR = {
    "lidar_rings": 16,
    "lidar_azimuths": 360,
    "cameras": 0,
    "people": 0,
    "scenario": "hall",
    "rate_hz": 5.0,
    "command_timeout_s": 60.0,
}
ARGUMENTS = ("model:=persistence", "device:=cpu", "use_sim_time:=true")
pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


class Launched:
    """The simulated robot, and `ros2 launch` that drives it."""

    def __init__(self, folder) -> None:
        file = folder / "parameters.yaml"
        file.write_text(PARAMETERS)
        self.net = Robot(publish=False)
        self.commands: list[Twist] = []
        self.speed_mps = 0.0
        self.net.node.create_subscription(Twist, "/cmd_vel", self.commands.append, 50)
        self.net.node.create_subscription(Odometry, "/odom", self._on_odometry, 5)
        self.goals = self.net.node.create_publisher(PoseStamped, "/planner/goal_pose", 1)
        self.net.start_node("simulator", **SIMULATOR)
        command = ["env", "--default-signal", "ros2", "launch", "jepa_ros", "world_model.launch.py", *ARGUMENTS, f"params_file:={file}"]
        environment = os.environ | {"ROS_DOMAIN_ID": str(self.net.domain), "OMP_NUM_THREADS": "1"}
        self._log = folder / "log"
        with self._log.open("w") as output:
            self.launch = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, env=environment, start_new_session=True)

    def wait(self, done, timeout_s: float = 120.0) -> None:
        assert self.net.spin_until(done, timeout_s), self._log.read_text()

    def close(self) -> None:
        if self.launch.poll() is None:
            self.launch.kill()  # its nodes end with it
            self.launch.wait()
        self.net.close()

    def _on_odometry(self, message: Odometry) -> None:
        self.speed_mps = message.twist.twist.linear.x


@pytest.fixture
def launched(tmp_path):
    launched = Launched(tmp_path)
    yield launched
    launched.close()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL], ids=["Ctrl-C", "SIGTERM", "SIGKILL"])
def test_launch_ends_while_the_robot_drives_and_it_stands(launched, number) -> None:
    launched.wait(lambda: launched.goals.get_subscription_count() and len(launched.net.heard["occupancy"]) > 5)
    goal = PoseStamped()
    goal.header.frame_id = "base_link"
    goal.pose.position.x = 12.0
    launched.goals.publish(goal)
    launched.wait(lambda: launched.speed_mps > 0.93 * SPEED_MPS, 40.0)
    launched.launch.send_signal(number)  # to launch alone, as a script does
    launched.wait(lambda: abs(launched.speed_mps) < 0.02, 20.0)
    last = launched.commands[-1]
    assert (last.linear.x, last.linear.y, last.angular.z) == (0.0, 0.0, 0.0)
    count = len(launched.commands)
    launched.net.spin(2.0)
    assert all(command.linear.x == 0.0 for command in launched.commands[count:]), "nor does anything start it again"
    launched.launch.wait(30.0)
