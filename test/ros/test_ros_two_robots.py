"""Two whole robots in one domain, each in its namespace: neither hears, moves or speaks for the other."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="needs ROS 2: run `make build`, then tests through scripts/env.sh")
pytest.importorskip("jepa_ros.msg", reason="needs the built interfaces: run `make build`, then tests through scripts/env.sh")
pytestmark = [pytest.mark.ros, pytest.mark.slow, pytest.mark.timeout(300)]

from diagnostic_msgs.msg import DiagnosticArray  # noqa: E402
from geometry_msgs.msg import PoseStamped, Twist  # noqa: E402
from nav_msgs.msg import Odometry  # noqa: E402
from rcl_interfaces.msg import Log  # noqa: E402
from rclpy.node import Node  # noqa: E402
from rclpy.qos import qos_profile_rosout_default  # noqa: E402
from ros_harness import Robot  # noqa: E402
from sensor_msgs.msg import PointCloud2  # noqa: E402

from jepa_ros.msg import OccupancyForecast  # noqa: E402

NAMES = ("/r1", "/r2")
# As Nav2's bring-up does it: transforms (and here time, too) of each robot's own.
OWN = {"/tf": "tf", "/tf_static": "tf_static", "/clock": "clock"}
SMALL = {"lidar_rings": 16, "lidar_azimuths": 360, "cameras": 0, "people": 0, "scenario": "hall"}
START_S = 120.0


class Two:
    """Both robots, and what was heard of each."""

    def __init__(self) -> None:
        self.net = Robot(publish=False)
        node = self.net.node
        self.occupancy: dict[str, list[OccupancyForecast]] = {name: [] for name in NAMES}
        self.places: dict[str, list[tuple[float, float]]] = {name: [] for name in NAMES}
        self.commands: dict[str, list[Twist]] = {name: [] for name in NAMES}
        self.statuses: dict[str, Any] = {}
        self.loggers: set[str] = set()
        self.logged: list[str] = []
        self.simulators, self.goals = {}, {}
        node.create_subscription(DiagnosticArray, "/diagnostics", self._on_diagnostics, 50)
        node.create_subscription(Log, "/rosout", self._on_log, qos_profile_rosout_default)  # latched: with what was said before
        for seed, name in enumerate(NAMES):
            node.create_subscription(OccupancyForecast, f"{name}/world_model/occupancy", self.occupancy[name].append, 5)
            node.create_subscription(Odometry, f"{name}/odom", lambda odometry, name=name: self._on_odometry(name, odometry), 5)
            node.create_subscription(Twist, f"{name}/cmd_vel", self.commands[name].append, 20)
            self.goals[name] = node.create_publisher(PoseStamped, f"{name}/planner/goal_pose", 1)
            there = {"__ns": name, **OWN}
            self.simulators[name] = self.net.start_node("simulator", there, seed=20000 + seed, rate_hz=5.0, use_sim_time=True, **SMALL)
            self.net.start_node("world_model", there, model="persistence", autostart=True, use_sim_time=True)
            driving = {"controller__enabled": True, "controller__max_age_s": 1.0, "controller__planning_s": 0.3}
            self.net.start_node("planner", there, model="''", autostart=True, use_sim_time=True, **driving)

    def strangers(self) -> list[tuple[str, str]]:
        """(topic, node) of every node of one robot that listens to what lies in the other's namespace, or to a /tf of nobody's."""
        found = []
        for topic, _ in self.net.node.get_topic_names_and_types():
            owner = next((name for name in NAMES if topic.startswith(f"{name}/")), "nobody" if topic in OWN else "")
            listeners = self.net.node.get_subscriptions_info_by_topic(topic)
            found += [
                (topic, f"{one.node_namespace}/{one.node_name}")
                for one in listeners
                if owner and one.node_namespace in NAMES and one.node_namespace != owner
            ]
        return found

    def moved_m(self, name: str) -> float:
        places = np.array(self.places[name])
        return float(np.linalg.norm(places[-1] - places[0]))

    def _on_odometry(self, name: str, message: Odometry) -> None:
        self.places[name].append((message.pose.pose.position.x, message.pose.pose.position.y))

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        self.statuses.update({status.name: status for status in message.status})

    def _on_log(self, message: Log) -> None:
        self.loggers.add(message.name)
        self.logged.append(f"{message.name}: {message.msg}")


@pytest.fixture(scope="module")
def two() -> Iterator[Two]:
    two = Two()
    both = two.net.spin_until(lambda: all(len(two.occupancy[name]) > 3 for name in NAMES), START_S)
    assert both, (two.logged, {name: len(two.occupancy[name]) for name in NAMES})
    assert two.net.spin_until(lambda: all(goals.get_subscription_count() for goals in two.goals.values()), START_S)
    yield two
    two.net.close()


def test_each_listens_to_its_own_robot_alone(two: Two) -> None:
    assert two.strangers() == []
    listeners = {f"{one.node_namespace}/{one.node_name}" for one in two.net.node.get_subscriptions_info_by_topic("/r1/lidar/points")}
    assert "/r1/world_model" in listeners, "what was asked for is what is listened to"
    spy = Node("spy", namespace="/r2", context=two.net.node.context)
    spy.create_subscription(PointCloud2, "/r1/lidar/points", lambda _: None, 1)
    assert two.net.spin_until(lambda: two.strangers() == [("/r1/lidar/points", "/r2/spy")]), "who does otherwise would be seen"
    spy.destroy_node()
    assert two.net.spin_until(lambda: two.strangers() == [])


def test_diagnostics_and_log_carry_the_namespace(two: Two) -> None:
    complete = two.net.spin_until(
        lambda: {f"{name}/{node}: node" for name in NAMES for node in ("world_model", "planner")} <= set(two.statuses)
    )
    assert complete, sorted(two.statuses)
    assert all(status.startswith(("/r1/", "/r2/")) for status in two.statuses), sorted(two.statuses)
    assert {f"{name[1:]}.{node}" for name in NAMES for node in ("world_model", "planner")} <= two.loggers, two.loggers


def test_a_goal_moves_one_robot(two: Two) -> None:
    goal = PoseStamped()
    goal.header.frame_id = "base_link"
    goal.pose.position.x = 4.0
    still = len(two.places["/r2"])
    two.goals["/r1"].publish(goal)
    moved = two.net.spin_until(lambda: any(twist.linear.x > 0.2 for twist in two.commands["/r1"]), 60.0)
    assert moved, two.statuses["/r1/planner: controller"].message
    start_m = two.moved_m("/r1")
    assert two.net.spin_until(lambda: two.moved_m("/r1") > start_m + 0.5, 60.0)
    assert two.commands["/r2"] == []
    assert len(two.places["/r2"]) > still, "it is there all the while"


def test_one_that_loses_its_sensors_does_not_take_the_others(two: Two) -> None:
    simulator = two.simulators["/r2"]
    simulator.kill()
    simulator.wait()
    lost = two.net.spin_until(
        lambda: any("/r2/lidar/points" in line or "silent" in line for line in two.logged if line.startswith("r2.world_model")), 30.0
    )
    assert lost, two.logged[-20:]
    heard = len(two.occupancy["/r1"])
    two.net.spin(5.0)  # a found topic is given up for another after 2 s
    assert two.strangers() == []
    assert len(two.occupancy["/r1"]) > heard + 3, "the other goes on"
    count = len(two.occupancy["/r2"])
    two.net.spin(2.0)
    assert len(two.occupancy["/r2"]) == count, "nothing new is seen, so nothing new is said"
