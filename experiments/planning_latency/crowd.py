"""A synthetic crowd over DDS: what a world_model node and the robot's odometry would publish of it, at 10 Hz."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import Any

import numpy as np
from diagnostic_msgs.msg import DiagnosticArray
from nav_msgs.msg import Odometry
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node

from jepa_ros.msg import LatentState, OccupancyForecast, PedestrianForecastArray
from jepa_ros.planning.example_scene import DT_S, crowd_scene
from jepa_ros.protocols import ModelSpec
from jepa_ros.ros import conversions
from jepa_ros.types import SceneState, TrackedPeople, Tracks

RATE_HZ = 10.0
START_S = 120.0  # by then the planner listens to everything
INSTRUMENT_NICE = -10  # of clients and crowd, where it is allowed: what keeps them waiting is not the planner's lateness
FRAMES = conversions.Frames()


def prefer_this_thread() -> None:
    """Raises this thread's priority where the system allows it: the instrument must not wait for what it measures."""
    with suppress(PermissionError):
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), INSTRUMENT_NICE)


def crowd_state(people: int, spec: ModelSpec, seed: int) -> SceneState:
    """What a pipeline would know of a synthetic crowd; latents are random. Same seed, same state."""
    scene = crowd_scene(people, seed=seed)
    generator = np.random.default_rng(seed)
    velocities = scene.moving.forecast.most_likely()[:, 0] - scene.moving.positions_m
    positions = scene.moving.positions_m
    tracks = Tracks(positions[:, None], np.ones((people, 1), bool), DT_S)
    return SceneState(
        stamp_ns=scene.stamp_ns,
        anchor_pose=scene.anchor_pose,
        ego=scene.ego,
        latent=generator.standard_normal(spec.latent_shape).astype(np.float32),
        predicted=np.zeros((0, *spec.latent_shape), np.float32),
        occupancy=scene.occupancy,
        people=TrackedPeople(np.arange(people), positions, velocities / DT_S, scene.moving.existence, scene.moving.radii_m, tracks),
        pedestrians=scene.moving.forecast,
        surprise=0.0,
    )


def messages(state: SceneState, spec: ModelSpec, now_ns: int) -> dict[str, Any]:
    """What a world_model node, and the robot's odometry under "odom", say of this state at `now_ns`, by topic."""
    state = replace(state, stamp_ns=now_ns, ego=replace(state.ego, stamp_ns=now_ns))
    odometry = Odometry(header=conversions.header_message(now_ns, FRAMES.fixed), child_frame_id=FRAMES.base)
    odometry.pose.pose = conversions.pose_message(state.ego.odom_from_base)
    return {
        "odom": odometry,
        "pedestrians": conversions.pedestrians_message(state, "made_up", FRAMES),
        "occupancy": conversions.occupancy_message(state, FRAMES),
        "latent": conversions.latent_state_message(state, spec, FRAMES),
    }


class Crowd:
    """Says what a world_model node would say, from a thread of its own, and listens to the planner's diagnostics."""

    def __init__(self, people: int, spec: ModelSpec) -> None:
        self.diagnostics: dict[str, str] = {}
        self._scenes = [crowd_state(people, spec, seed) for seed in range(5)]
        self._spec = spec
        self._node = Node("load_crowd")
        kinds = {"occupancy": OccupancyForecast, "pedestrians": PedestrianForecastArray, "latent": LatentState}
        self._publishers = {name: self._node.create_publisher(kind, f"/world_model/{name}", 5) for name, kind in kinds.items()}
        self._odometry = self._node.create_publisher(Odometry, "/odom", 5)
        self._node.create_subscription(DiagnosticArray, "/diagnostics", self._hear, 10)
        self._timer = self._node.create_timer(1.0 / RATE_HZ, self._say)
        self._said = 0
        self._executor = SingleThreadedExecutor()
        self._executor.add_node(self._node)
        self._thread = threading.Thread(target=self._spin, daemon=True)
        self._thread.start()

    def wait_until_heard(self, check: Callable[[], None]) -> None:
        """Until the planner listens to all of it, and for a second more. Raises TimeoutError with the topics that it does not take.

        check: raises where the planner has ended.
        """
        publishers = [*self._publishers.values(), self._odometry]
        deadline_s = time.monotonic() + START_S
        while unheard := [one.topic_name for one in publishers if not one.get_subscription_count()]:
            check()
            if time.monotonic() > deadline_s:
                raise TimeoutError(f"after {START_S:.0f} s nobody listens to {', '.join(unheard)}")
            time.sleep(0.1)
        time.sleep(1.0)

    def close(self) -> None:
        self._executor.shutdown()
        self._thread.join(5.0)
        self._node.destroy_node()

    def _spin(self) -> None:
        prefer_this_thread()
        self._executor.spin()

    def _say(self) -> None:
        self._said += 1
        state = self._scenes[self._said // 20 % len(self._scenes)]
        for name, message in messages(state, self._spec, self._node.get_clock().now().nanoseconds).items():
            (self._odometry if name == "odom" else self._publishers[name]).publish(message)

    def _hear(self, message: DiagnosticArray) -> None:
        for status in message.status:
            if status.name == "planner: requests":
                self.diagnostics = {pair.key: pair.value for pair in status.values}
