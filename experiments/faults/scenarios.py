"""Faults on a running robot, one after the other. Each says how it is begun and how it is ended; `judge` says what came of it."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

import numpy as np
import rclpy
from rcl_interfaces.msg import Parameter as ParameterMessage
from rcl_interfaces.msg import ParameterType, ParameterValue
from rcl_interfaces.srv import SetParameters
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from visualization_msgs.msg import MarkerArray

from experiments.common import busy
from experiments.faults import gate
from experiments.faults.gate import CAMERA, CLOCK, INFO, LIDAR, ODOMETRY, STATIC, TRANSFORMS, Spoiler
from experiments.faults.robot import Robot
from jepa_ros.msg import OccupancyForecast
from jepa_ros.types import NANOSECONDS

SUBSCRIBERS = 200
BUSY = 8
INPUTS = {"lidar": (LIDAR,), "camera": (CAMERA, INFO), "odometry": (ODOMETRY,), "transforms": (TRANSFORMS,)}
JUMP_S = 60.0

# A fault lasts as long as the context that it gives.
Fault = Callable[[Robot], "contextmanager[None]"]


@contextmanager
def spoiled(robot: Robot, topics: tuple[str, ...], make: Callable[[], Spoiler]) -> Iterator[None]:
    """While it lasts, messages on these topics go through a spoiler."""
    robot.gate.spoil.update({topic: make() for topic in topics})
    try:
        yield
    finally:
        robot.gate.heal()


@contextmanager
def killed(robot: Robot, name: str) -> Iterator[None]:
    """With -9; started again when the fault ends, as a launch file would."""
    robot.kill(name)
    try:
        yield
    finally:
        robot.start(name)


@contextmanager
def jumped(robot: Robot, seconds: float) -> Iterator[None]:
    """Clock and stamps alike, for good: a simulator that was set back, a bag that began again."""
    robot.gate.jump_ns += round(seconds * NANOSECONDS)
    yield


@contextmanager
def clock_ahead(robot: Robot, seconds: float) -> Iterator[None]:
    """The clock alone: a machine whose time was set while its sensors' was not."""
    with spoiled(robot, (CLOCK,), lambda: gate.stamped(seconds)):
        yield


@contextmanager
def busy_machine(robot: Robot) -> Iterator[None]:
    """While it lasts, other processes take the processors."""
    with busy(BUSY):
        yield


@contextmanager
def many_subscribers(robot: Robot) -> Iterator[None]:
    """Half on the occupancy forecast, half on the markers, in a process of their own."""
    process = multiprocessing.get_context("spawn").Process(target=_subscribe, daemon=True)
    process.start()
    try:
        yield
    finally:
        process.terminate()
        process.join()


def _subscribe() -> None:
    context = Context()
    rclpy.init(context=context)
    node = Node("crowd_of_listeners", context=context)
    for index in range(SUBSCRIBERS):
        kind, topic = ((OccupancyForecast, "occupancy"), (MarkerArray, "markers"))[index % 2]
        node.create_subscription(kind, f"/world_model/{topic}", lambda _: None, 1, raw=True)
    executor = SingleThreadedExecutor(context=context)
    executor.add_node(node)
    executor.spin()


@contextmanager
def parameters_set(robot: Robot) -> Iterator[None]:
    """Twenty times a second, good ones and such as cannot be, on both nodes."""
    clients = {name: robot.node.create_client(SetParameters, f"/{name}/set_parameters") for name in ("planner", "world_model")}
    rng = np.random.default_rng(0)
    wild = [0.3, 0.9, 1.5, float("nan"), float("inf"), -1.0, 1e308]

    def set_one() -> None:
        number = ParameterValue(type=ParameterType.PARAMETER_DOUBLE, double_value=float(rng.choice(wild)))
        text = ParameterValue(type=ParameterType.PARAMETER_STRING, string_value="x" * int(rng.integers(0, 5000)))
        name = str(rng.choice(["planner.limits.max_speed_mps", "default_deadline_s", "inputs.max_age_s", "no.such.name", "device"]))
        request = SetParameters.Request(parameters=[ParameterMessage(name=name, value=text if rng.random() < 0.3 else number)])
        clients[str(rng.choice(list(clients)))].call_async(request)

    timer = robot.node.create_timer(0.05, set_one)
    try:
        yield
    finally:
        robot.node.destroy_timer(timer)
        kept = ParameterValue(type=ParameterType.PARAMETER_DOUBLE, double_value=robot.max_age_s)
        speed = ParameterValue(type=ParameterType.PARAMETER_DOUBLE, double_value=1.5)
        good = [
            ParameterMessage(name="inputs.max_age_s", value=kept),
            ParameterMessage(name="planner.limits.max_speed_mps", value=speed),
        ]
        clients["planner"].call_async(SetParameters.Request(parameters=good))
        time.sleep(0.5)


@contextmanager
def garbage(robot: Robot) -> Iterator[None]:
    """Every sensor message, transform and clock tick is bytes that are no message."""
    rng = np.random.default_rng(1)
    with spoiled(robot, (LIDAR, CAMERA, INFO, ODOMETRY, TRANSFORMS), lambda: gate.garbled(rng)):
        yield


@contextmanager
def everything_pulled(robot: Robot) -> Iterator[None]:
    """While it lasts, no sensor, transform or clock gets through."""
    with spoiled(robot, (LIDAR, CAMERA, INFO, ODOMETRY, TRANSFORMS, STATIC, CLOCK), lambda: gate.pulled):
        yield


def faults() -> dict[str, Fault]:
    """Name -> fault, in the order in which they are tried."""
    found: dict[str, Fault] = {}
    for name, topics in INPUTS.items():
        found[f"{name} pulled"] = partial(spoiled, topics=topics, make=lambda: gate.pulled)
        found[f"{name} late by 1 s"] = partial(spoiled, topics=topics, make=lambda: gate.delayed(1.0))
        found[f"{name} doubled"] = partial(spoiled, topics=topics, make=lambda: gate.doubled)
        found[f"{name} in swapped order"] = partial(spoiled, topics=topics, make=gate.swapped)
        if name != "transforms":
            found[f"{name} stamped 5 s ahead"] = partial(spoiled, topics=topics, make=lambda: gate.stamped(5.0))
    found["everything pulled, the clock too"] = everything_pulled
    found["no message is one"] = garbage
    found["clock and stamps jump ahead"] = partial(jumped, seconds=JUMP_S)
    found["clock and stamps jump back"] = partial(jumped, seconds=-JUMP_S)
    found["the clock alone is 5 s ahead"] = partial(clock_ahead, seconds=5.0)
    found["200 subscribers"] = many_subscribers
    found["parameters set without pause"] = parameters_set
    found["eight busy processes"] = busy_machine
    found["world_model killed with -9"] = partial(killed, name="world_model")
    found["planner killed with -9"] = partial(killed, name="planner")
    found["simulator killed with -9"] = partial(killed, name="simulator")
    return found
