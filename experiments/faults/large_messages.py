"""How many large messages arrive between two processes: `make bench-large-messages`. Prints a table, then one JSON line.

A driver sends clouds or images; a listener counts what it reads. It queues as many as world_model does, or `--queue N`: what came and was
replaced by newer messages before it was read is not counted. Each side runs with and without `config/fastdds.xml`, and the listener asks
for best effort or, where the driver offers it, for reliable delivery.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import select
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import rclpy
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import Image, PointCloud2
from tqdm import tqdm

from experiments.common import processor
from jepa_ros.ros.conversions import byte_array, header_message
from jepa_ros.ros.world_model.subscriptions import NEWEST, SWEEPS

PROFILE = Path(__file__).parents[2] / "config" / "fastdds.xml"
VARIABLE = "FASTDDS_DEFAULT_PROFILES_FILE"
SETTLE_S = 2.0
START_S = 120.0  # a machine that does other things, too


@dataclass(frozen=True)
class Load:
    """What drivers send."""

    name: str
    megabytes: float
    rate_hz: float
    topics: int = 1

    @property
    def kind(self) -> type:
        return PointCloud2 if "cloud" in self.name else Image


LOADS = (
    Load("1 cloud of 1.6 MB", 1.6, 10.0),
    Load("3 clouds of 1.6 MB", 1.6, 10.0, topics=3),
    Load("1080p image", 6.2, 15.0),
    Load("4K image", 24.9, 5.0),
)


def send(load: Load, reliability: str, seconds: float, _: int) -> None:
    """The driver, a process of its own; the sequence number travels in the stamp."""
    rclpy.init()
    node = Node("driver")
    qos = QoSProfile(depth=5, reliability=ReliabilityPolicy[reliability])
    publishers = [node.create_publisher(load.kind, f"/large_{index}", qos) for index in range(load.topics)]
    while not all(publisher.get_subscription_count() for publisher in publishers):
        time.sleep(0.05)
    time.sleep(SETTLE_S)
    message = load.kind(data=byte_array(np.zeros(round(1e6 * load.megabytes), np.uint8)))
    begun_s = time.monotonic()
    for number in range(round(seconds * load.rate_hz)):
        message.header = header_message(time.time_ns(), "sensor")
        for publisher in publishers:
            publisher.publish(message)
        time.sleep(max(0.0, begun_s + (number + 1) / load.rate_hz - time.monotonic()))
    time.sleep(1.0)
    node.destroy_node()
    rclpy.try_shutdown()


def listen(load: Load, reliability: str, _: float, queue: int) -> None:
    """The listener, a process of its own, until a line comes: prints how many arrived and their median time on the way, ms."""
    context = Context()
    rclpy.init(context=context)
    node = Node("listener", context=context)
    own = SWEEPS if load.kind is PointCloud2 else NEWEST
    qos = QoSProfile(depth=queue or own.depth, reliability=ReliabilityPolicy[reliability])
    ways_ms: list[float] = []

    def take(data: bytes, info: dict[str, int]) -> None:
        ways_ms.append((time.time_ns() - info["source_timestamp"]) / 1e6)

    for index in range(load.topics):
        node.create_subscription(load.kind, f"/large_{index}", take, qos, raw=True)
    executor = SingleThreadedExecutor(context=context)
    executor.add_node(node)
    while not select.select([sys.stdin], [], [], 0.0)[0]:
        executor.spin_once(timeout_sec=0.1)
    print(json.dumps([len(ways_ms), float(np.median(ways_ms)) if ways_ms else float("nan")]))
    node.destroy_node()
    rclpy.shutdown(context=context)


def measure(
    number: int, sender_profile: bool, listener_profile: bool, offered: str, asked: str, seconds: float, queue: int
) -> tuple[float, float]:
    """(share that was read, median ms on the way) of one load."""
    load = LOADS[number]
    listener = _start("listen", number, asked, seconds, listener_profile, queue)
    sender = _start("send", number, offered, seconds, sender_profile, queue)
    try:
        sender.wait(START_S + seconds)
        output, _ = listener.communicate("\n", timeout=START_S)
    finally:
        for process in (sender, listener):
            process.terminate()
            process.wait()
    count, way_ms = json.loads(output)
    return count / (round(seconds * load.rate_hz) * load.topics), way_ms


def _start(role: str, number: int, reliability: str, seconds: float, profile: bool, queue: int) -> subprocess.Popen[str]:
    environment = {name: value for name, value in os.environ.items() if name != VARIABLE}
    if profile:
        environment[VARIABLE] = str(PROFILE)
    command = [sys.executable, "-m", "experiments.faults.large_messages", "--role", role, "--load", str(number)]
    command += ["--reliability", reliability, "--seconds", str(seconds), "--queue", str(queue)]
    return subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def main() -> int:
    """Run the bench and print its table."""
    parser = argparse.ArgumentParser(prog="make bench-large-messages", description=__doc__.split("\n")[0] if __doc__ else "")
    parser.add_argument("--seconds", type=float, default=6.0, help="of sending, for each row (default: %(default)s)")
    parser.add_argument("--sensor-data", action="store_true", help="best effort on both sides only, as drivers and world_model have it")
    parser.add_argument("--queue", type=int, default=0, help="of the listener, messages (default: as world_model has it)")
    parser.add_argument("--role", choices=("send", "listen"), help=argparse.SUPPRESS)
    parser.add_argument("--load", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--reliability", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.role:
        role = {"send": send, "listen": listen}[arguments.role]
        role(LOADS[arguments.load], arguments.reliability, arguments.seconds, arguments.queue)
        return 0
    qualities = (("BEST_EFFORT", "BEST_EFFORT"), ("RELIABLE", "BEST_EFFORT"), ("RELIABLE", "RELIABLE"))
    if arguments.sensor_data:
        qualities = qualities[:1]
    rows = []
    print("| load | driver's profile | ours | driver offers | we ask for | arrived | median on the way |\n|---|---|---|---|---|---|---|")
    cases = list(itertools.product(range(len(LOADS)), (False, True), (False, True), qualities))
    for number, sender_profile, listener_profile, (offered, asked) in tqdm(cases, unit="row", disable=None):
        share, way_ms = measure(number, sender_profile, listener_profile, offered, asked, arguments.seconds, arguments.queue)
        rows.append([LOADS[number].name, sender_profile, listener_profile, offered, asked, round(share, 3), round(way_ms, 1)])
        words = ["yes" if one else "no" for one in (sender_profile, listener_profile)]
        tqdm.write(f"| {LOADS[number].name} | {words[0]} | {words[1]} | {offered} | {asked} | {share:.0%} | {way_ms:.1f} ms |")
        sys.stdout.flush()
    print(json.dumps({"bench": "large_messages", "seconds": arguments.seconds, "machine": processor(), "rows": rows}))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
