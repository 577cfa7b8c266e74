"""Plays a bag over DDS: the recorded bytes on the recorded topics with the recorded quality of service, and /clock.

For homes without `ros2 bag`. MCAP or SQLite3, a folder or a file. A bag with a /clock of its own plays that one; where stamps and log
times are of different clocks, /clock follows the stamps. What is latched by its nature (/tf_static) is latched whatever the bag says.
"""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass

from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.publisher import Publisher
from rclpy.qos import DurabilityPolicy, QoSProfile
from rosgraph_msgs.msg import Clock

from jepa_ros.config import param, validate
from jepa_ros.ros.entry import run
from jepa_ros.ros.parameters import Parameters
from jepa_ros.ros.stamps import time_message
from jepa_ros.ros.stopping import STOPPING, StopAsked
from jepa_ros.ros.tools.bag_clock import CLOCK, BagTime, bag_clock, recorded_clock_topic
from jepa_ros.ros.tools.output_bag import is_latched
from jepa_ros.ros.tools.recorder import message_class
from jepa_ros.ros.topics import CLOUD, COMPRESSED, IMAGE
from jepa_ros.sensing import BagInfo, bag_info, read_raw
from jepa_ros.types import NANOSECONDS

CLOCK_PERIOD_S = 0.04  # every listener wakes for each tick
SETTLE_S = 1.0  # a node that has found its first topic finds the others within this
REPORT_PERIOD_S = 5.0
OWN_TOPICS = ("/rosout", "/parameter_events")


@dataclass(frozen=True)
class BagPlayerConfig:
    """What is played, and how."""

    bag: str = param("", "path of the bag: a folder or a file")
    rate: float = param(1.0, "speed; 2 = twice as fast as recorded", at_least=0.01, at_most=100.0, read_only=False)
    loop: bool = param(False, "start again at the end", read_only=False)
    paused: bool = param(False, "hold; set to false to go on", read_only=False)
    wait_for: str = param("world_model", "do not start before this node listens to a sensor of the bag; empty = start at once")
    wait_s: float = param(30.0, "longest wait for it, s", at_least=0.0, at_most=3600.0)

    def __post_init__(self) -> None:
        validate(self)


class BagPlayer(Node):
    """`play()` returns when the bag is over."""

    def __init__(self) -> None:
        super().__init__("bag_player")
        self._settings = Parameters(self, BagPlayerConfig)
        self._info = bag_info(self._config.bag)
        self._bag_clock = None if recorded_clock_topic(self._info) else bag_clock(self._info)
        self._clock_publisher = self.create_publisher(Clock, "/clock", QoSProfile(depth=1)) if self._bag_clock else None
        source = self._bag_clock.source if self._bag_clock else "the recorded clock"
        self.get_logger().info(f"/clock follows {source}")
        self._executor = SingleThreadedExecutor()
        self._executor.add_node(self)
        self._spin(SETTLE_S)  # let the graph come in, to see what is published already
        self._bag_publishers = self._create_publishers(self._info)
        self._sensors = [topic.name for topic in self._info.topics if topic.type_name in (IMAGE, COMPRESSED, CLOUD)]

    @property
    def _config(self) -> BagPlayerConfig:
        return self._settings.config

    def play(self) -> None:
        self._wait_for_listener()
        self._give_way()
        while True:
            self._play_once()
            if not self._config.loop:
                self._spin(SETTLE_S)  # the last messages are still on their way
                return

    def _create_publishers(self, info: BagInfo) -> dict[str, Publisher]:
        publishers = {}
        for topic in info.topics:
            if topic.name in OWN_TOPICS or (topic.type_name == CLOCK and not topic.count) or self.count_publishers(topic.name):
                self.get_logger().info(f"{topic.name} is published by a running node; the recorded one is left out")
                continue
            try:
                message_type = message_class(topic.type_name)
            except (ModuleNotFoundError, AttributeError):
                self.get_logger().warning(f"{topic.name} is left out: {topic.type_name} is not installed here")
                continue
            # A single message is for everybody, or for nobody who comes a moment late. Volatile listeners hear a latched topic as well.
            latched = topic.latched or is_latched(topic.name) or topic.count == 1
            durability = DurabilityPolicy.TRANSIENT_LOCAL if latched else DurabilityPolicy.VOLATILE
            publishers[topic.name] = self.create_publisher(message_type, topic.name, QoSProfile(depth=100, durability=durability))
        return publishers

    def _give_way(self) -> None:
        """Leave what turned out to be published by a running node to it: on a busy machine the graph comes in late."""
        for topic in [topic for topic in self._bag_publishers if self.count_publishers(topic) > 1]:
            self.get_logger().info(f"{topic} is published by a running node; the recorded one is left out")
            self.destroy_publisher(self._bag_publishers.pop(topic))

    def _wait_for_listener(self) -> None:
        """Until the awaited node's subscriptions to the bag's sensors exist and their number has settled."""
        wanted, deadline_s = self._config.wait_for, time.monotonic() + self._config.wait_s
        seen, since_s = 0, time.monotonic()
        while wanted and time.monotonic() < deadline_s:
            listeners = [info for topic in self._sensors for info in self.get_subscriptions_info_by_topic(topic)]
            count = sum(info.node_name == wanted for info in listeners)
            if count != seen:
                seen, since_s = count, time.monotonic()
            if seen and time.monotonic() - since_s > SETTLE_S:
                return
            self._spin(0.1)
        if wanted:
            self.get_logger().warning(f"{wanted} has not subscribed after {self._config.wait_s:.0f} s; playing anyway")

    def _play_once(self) -> None:
        """Bag time advances by steps of wall time times the rate, so that rate and pause can change under way."""
        self._publish_clock(0.0)  # nodes on simulated time have none before
        bag_time, said_s, clock_s = BagTime(time.monotonic()), 0.0, 0.0
        for message in read_raw(self._config.bag, self._bag_publishers):
            due_s = (message.log_time_ns - self._info.start_ns) / NANOSECONDS
            while bag_time.played_s < due_s or self._config.paused:
                wait_s = CLOCK_PERIOD_S if self._config.paused else (due_s - bag_time.played_s) / self._config.rate
                self._spin(min(CLOCK_PERIOD_S, wait_s))
                now_s = time.monotonic()
                bag_time.advance(now_s, 0.0 if self._config.paused else self._config.rate)
                if now_s - clock_s >= CLOCK_PERIOD_S:
                    clock_s = now_s
                    self._publish_clock(min(bag_time.played_s, due_s))  # never past a message that is still to come
            self._bag_publishers[message.topic].publish(message.data)
            if bag_time.played_s - said_s >= REPORT_PERIOD_S:
                said_s = bag_time.played_s
                self.get_logger().info(f"{said_s:.0f} of {self._info.duration_s:.0f} s")

    def _spin(self, duration_s: float) -> None:
        until_s = time.monotonic() + duration_s
        while (left_s := until_s - time.monotonic()) > 0:
            if STOPPING.asked.is_set():
                raise StopAsked
            self._executor.spin_once(timeout_sec=left_s)

    def _publish_clock(self, played_s: float) -> None:
        if self._bag_clock is not None and self._clock_publisher is not None:
            clock_ns = self._bag_clock.at(self._info.start_ns + round(played_s * NANOSECONDS))
            self._clock_publisher.publish(Clock(clock=time_message(clock_ns)))


def main() -> int:
    """Entry point of the `bag_player` executable."""
    return run("bag_player", BagPlayer, BagPlayer.play)


if __name__ == "__main__":
    sys.exit(main())
