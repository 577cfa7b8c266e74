"""Processes of others beside a robot: a viewer that hangs, clients that die. Each function is all that its process does."""

from __future__ import annotations

import os
import signal
import sys
import time

import rclpy
from geometry_msgs.msg import Twist
from nav_msgs.msg import Path
from visualization_msgs.msg import MarkerArray

from jepa_ros.msg import OccupancyForecast, PedestrianForecastArray
from jepa_ros.srv import PlanPath


def listen_for_good() -> None:
    """Listens to everything, reliably; says when."""
    rclpy.init()
    node = rclpy.create_node("viewer")
    topics = {"occupancy": OccupancyForecast, "pedestrians": PedestrianForecastArray, "markers": MarkerArray}
    for topic, kind in topics.items():
        node.create_subscription(kind, f"/world_model/{topic}", print, 10)
    node.create_subscription(Path, "/planner/path", print, 10)
    node.create_subscription(Twist, "/cmd_vel", print, 10)
    until_s = time.monotonic() + 2.0
    while time.monotonic() < until_s:
        rclpy.spin_once(node, timeout_sec=0.1)
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    rclpy.spin(node)


def ask_and_die() -> None:
    """Asks for plans and is killed before they come."""
    rclpy.init()
    node = rclpy.create_node("hasty")
    client = node.create_client(PlanPath, "/planner/plan_path")
    if client.wait_for_service(5.0):
        for _ in range(5):
            client.call_async(PlanPath.Request(deadline=0.5))
    time.sleep(0.02)
    os.kill(os.getpid(), signal.SIGKILL)
