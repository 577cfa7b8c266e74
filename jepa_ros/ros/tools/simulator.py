"""A simulated robot over DDS: camera, lidar, odometry, TF, /clock and ground truth of a world with walking people; takes cmd_vel."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from geometry_msgs.msg import Twist
from rclpy.clock import Clock as SteadyClock
from rclpy.clock import ClockType
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from rosgraph_msgs.msg import Clock

from jepa_ros.config import param, validate
from jepa_ros.exchange.messages import STATIC_TOPIC, STORE
from jepa_ros.ros.conversions import time_message
from jepa_ros.ros.entry import run
from jepa_ros.ros.parameters import Parameters
from jepa_ros.ros.tools.recorder import message_class
from jepa_ros.sim.messages import frame_messages, motion_messages, static_messages, topics
from jepa_ros.sim.places.worlds import PLACES
from jepa_ros.sim.sensors.recording import Recorder
from jepa_ros.sim.sensors.rig import Camera, Lidar
from jepa_ros.sim.simulation import Simulation
from jepa_ros.types import NANOSECONDS


@dataclass(frozen=True)
class SimulatorConfig:
    """The place, the sensors and the pace."""

    scenario: str = param("hall", "the place; streets have a car, halls and corridors a robot", choices=tuple(PLACES))
    seed: int = param(20000, "another seed is another layout with other people", at_least=0, at_most=2**31 - 1)
    people: int = param(-1, "number of people; -1 = as many as the place has", at_least=-1, at_most=200)
    tracks: str = param("", "file of recorded people (rows of frame, id, x, y; ETH/UCY) in place of simulated ones; suits the square")
    rate_hz: float = param(5.0, "sensor frames per simulated second", at_least=0.5, at_most=50.0)
    rate_factor: float = param(1.0, "simulated seconds per second, where the machine keeps up", at_least=0.01, at_most=100.0)
    lidar_rings: int = param(32, "16, 32 or 64; 0 = no lidar", at_least=0, at_most=64)
    lidar_azimuths: int = param(900, "lidar columns", at_least=8, at_most=4096)
    cameras: int = param(1, "number of cameras, evenly around; the first looks ahead", at_least=0, at_most=6)
    camera_width: int = param(400, "pixels", at_least=8, at_most=1920)
    camera_height: int = param(225, "pixels", at_least=8, at_most=1200)
    command_timeout_s: float = param(
        0.5, "without a cmd_vel for this long, simulated s, a commanded ego stops", at_least=0.05, at_most=60.0
    )

    def __post_init__(self) -> None:
        validate(self)


class SensorTopics:
    """Publishers of everything that a recorder measures, and of /clock."""

    def __init__(self, node: Node, recorder: Recorder, start_ns: int, without: tuple[str, ...] = ()) -> None:
        """start_ns: stamp of the simulation's beginning. without: beginnings of topics that are left out."""
        self._recorder = recorder
        self._start_ns = start_ns
        self._types = {topic: kind for topic, kind in topics(recorder).items() if not topic.startswith(without)}
        # No name is absolute but those that ROS 2 fixes, so that a namespace holds a whole robot.
        self._outputs = {
            topic: node.create_publisher(message_class(kind), topic if topic.startswith("/tf") else topic[1:], _quality(topic))
            for topic, kind in self._types.items()
        }
        self._clock_publisher = node.create_publisher(Clock, "/clock", QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT))
        self._publish(static_messages(recorder, start_ns))

    def tell_time(self) -> int:
        """Publishes the simulation's time on /clock; that time, ns."""
        stamp_ns = self._start_ns + round(self._recorder.simulation.time_s * NANOSECONDS)
        self._clock_publisher.publish(Clock(clock=time_message(stamp_ns)))
        return stamp_ns

    def tell_motion(self) -> int:
        """Publishes the time and the odometry, which bases tell more often than lidars sweep; that time, ns."""
        stamp_ns = self.tell_time()
        self._publish(motion_messages(self._recorder.odometer, stamp_ns))
        return stamp_ns

    def measure(self) -> int:
        """Publishes the time, then what is measured now; its stamp, ns."""
        stamp_ns = self.tell_time()
        self._publish(frame_messages(self._recorder, self._recorder.frame(), stamp_ns))
        return stamp_ns

    def _publish(self, messages: Iterable[tuple[str, Any]]) -> None:
        for topic, message in messages:
            if topic in self._outputs:
                self._outputs[topic].publish(bytes(STORE.serialize_cdr(message, self._types[topic])))


class Simulator(Node):
    """Drives its route by itself until the first cmd_vel; from then on it is driven by commands."""

    def __init__(self) -> None:
        super().__init__("simulator")
        self._config = Parameters(self, SimulatorConfig).config
        config = self._config
        simulation = Simulation(config.scenario, config.seed, None if config.people < 0 else config.people, config.tracks or None)
        lidar = Lidar(config.lidar_rings, config.lidar_azimuths) if config.lidar_rings else None
        camera = Camera(config.camera_width, config.camera_height) if config.cameras else None
        self._recorder = Recorder(simulation, config.seed, lidar, camera, config.cameras)
        self._last_command_s: float | None = None
        self._topics = SensorTopics(self, self._recorder, time.time_ns())
        self.create_subscription(Twist, "cmd_vel", self._on_command, 1)
        # A steady clock: under use_sim_time the node would otherwise wait for the time that it makes itself.
        period_s = 1.0 / (config.rate_hz * config.rate_factor)
        self._timer = self.create_timer(period_s, self._on_timer, clock=SteadyClock(clock_type=ClockType.STEADY_TIME))
        self.get_logger().info(
            f"{config.scenario} {config.seed}: {simulation.crowd.present.sum()} people, {len(simulation.vehicles)} vehicles"
        )

    def _on_timer(self) -> None:
        simulation = self._recorder.simulation
        if self._last_command_s is not None and simulation.time_s - self._last_command_s > self._config.command_timeout_s:
            simulation.command(0.0, 0.0)
        self._recorder.step(1.0 / self._config.rate_hz)
        self._topics.measure()

    def _on_command(self, message: Twist) -> None:
        self._last_command_s = self._recorder.simulation.time_s
        self._recorder.simulation.command(message.linear.x, message.angular.z)


def _quality(topic: str) -> QoSProfile:
    durability = DurabilityPolicy.TRANSIENT_LOCAL if topic == STATIC_TOPIC else DurabilityPolicy.VOLATILE
    return QoSProfile(depth=5, reliability=ReliabilityPolicy.RELIABLE, durability=durability)


def main() -> int:
    """Entry point of the `simulator` executable."""
    return run("simulator", Simulator)


if __name__ == "__main__":
    sys.exit(main())
