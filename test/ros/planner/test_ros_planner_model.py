"""The world model inside the planner node: when it is loaded, and whose latents it takes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="needs ROS 2: run `make build`, then tests through scripts/env.sh")
pytest.importorskip("jepa_ros.msg", reason="needs the built interfaces: run `make build`, then tests through scripts/env.sh")
pytestmark = pytest.mark.ros

from planning_scenes import make_scene  # noqa: E402
from ros_harness import Robot  # noqa: E402
from ros_planner_world import World, ahead  # noqa: E402

from jepa_ros.backends import load_world_model  # noqa: E402
from jepa_ros.srv import Imagine  # noqa: E402
from jepa_ros.types import PlanStatus  # noqa: E402


def test_without_a_request_for_it_no_model_is_loaded_and_no_latent_is_listened_to() -> None:
    robot = Robot()
    try:
        world = World(robot)
        world.start(autostart="true", model_at_start="false")
        scene = world.say(make_scene(), latent=False)
        assert world.plan(ahead(scene, 3.0)).status.code == PlanStatus.OK
        world.robot.spin(1.0)
        assert world.latent.get_subscription_count() == 1, "the robot's own"
        steps = np.zeros((1, 2, 3)).ravel().tolist()
        request = Imagine.Request(candidates=1, steps=2, poses=steps, deadline=5.0)
        first = robot.call(Imagine, "/planner/imagine", request)
        assert (first.status.code, "being loaded" in first.status.message) == (PlanStatus.TIMEOUT, True), first.status.message
        assert robot.spin_until(lambda: world.latent.get_subscription_count() == 2, 60.0)
        world.met = False
        world.say(make_scene())
        answer = robot.call(Imagine, "/planner/imagine", request)
        assert answer.status.code == PlanStatus.OK, answer.status.message
    finally:
        robot.close()


def test_a_second_look_at_the_best_motions_takes_the_latents_of_the_same_model() -> None:
    robot = Robot()
    try:
        world = World(robot, load_world_model("scene_jepa", device="cpu").spec)
        world.start(autostart="true", planner__rehearsed=8)
        scene = world.say(make_scene(), latent=False)
        answer = world.plan(ahead(scene, 3.0))
        assert (answer.status.code, "no latent" in answer.status.message) == (PlanStatus.STALE_SENSORS, True), answer.status.message
        scene = world.say(make_scene())
        answer = world.plan(ahead(scene, 3.0))
        assert (answer.status.code, answer.fallback) == (PlanStatus.OK, False), answer.status.message
        world.spec = replace(world.spec, version="another")
        scene = world.say(make_scene())
        answer = world.plan(ahead(scene, 3.0))
        assert (answer.status.code, "another" in answer.status.message) == (PlanStatus.UNSUPPORTED, True), answer.status.message
    finally:
        robot.close()
