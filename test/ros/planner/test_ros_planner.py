"""The planner node as a process of its own, over real DDS, fed with made-up forecasts."""

from __future__ import annotations

import math
import time
from dataclasses import replace

import numpy as np
import pytest
import yaml

pytest.importorskip("rclpy", reason="needs ROS 2: run `make build`, then tests through scripts/env.sh")
pytest.importorskip("jepa_ros.msg", reason="needs the built interfaces: run `make build`, then tests through scripts/env.sh")
pytestmark = pytest.mark.ros

from geometry_msgs.msg import TransformStamped  # noqa: E402
from lifecycle_msgs.msg import Transition  # noqa: E402
from paths import ROOT  # noqa: E402
from planning_scenes import goal_at, in_anchor, make_scene  # noqa: E402
from ros_harness import Robot, values  # noqa: E402
from ros_planner_world import ENCLOSED, FRAMES, MAX_AGE_S, SPEC, World, ahead, goal_message  # noqa: E402
from tf2_msgs.msg import TFMessage  # noqa: E402

from jepa_ros.config import from_dict  # noqa: E402
from jepa_ros.planning.guide import BELIEVED_AFTER_S  # noqa: E402
from jepa_ros.ros import conversions  # noqa: E402
from jepa_ros.ros.planner.config import PlannerNodeConfig  # noqa: E402
from jepa_ros.ros.planner.worker import DeadlineWorker  # noqa: E402
from jepa_ros.srv import Imagine, PlanActions  # noqa: E402
from jepa_ros.types import PlanStatus  # noqa: E402


@pytest.fixture(scope="module")
def world():
    robot = Robot()
    world = World(robot)
    yield world
    robot.close()


def test_statuses_through_the_life_of_the_node(world: World) -> None:
    world.start()
    assert world.change(Transition.TRANSITION_CONFIGURE)
    assert world.plan(goal_message(0.0, 0.0)).status.code == PlanStatus.NOT_ACTIVE
    assert world.change(Transition.TRANSITION_ACTIVATE)

    answer = world.plan(goal_message(0.0, 0.0))
    assert answer.status.code == PlanStatus.STALE_SENSORS
    assert "no occupancy forecast" in answer.status.message
    scene = world.say(make_scene(), age_s=5.0)
    answer = world.plan(ahead(scene, 3.0))
    assert answer.status.code == PlanStatus.STALE_SENSORS
    assert "5." in answer.status.message, "the age is in the message"

    scene = world.say(make_scene())
    answer = world.plan(ahead(scene, 3.0))
    assert (answer.status.code, answer.fallback) == (PlanStatus.OK, False), answer.status.message
    path = np.array([(p.pose.position.x, p.pose.position.y, 0.0) for p in answer.path.poses])
    assert np.hypot(*(in_anchor(scene, path)[-1] - (3.0, 0.0))) < 0.4
    assert len(answer.commands) == len(path) - 1
    assert answer.path.header.frame_id == "odom"
    assert answer.reaches_goal
    assert answer.distance_to_goal_m == pytest.approx(math.dist((3.0, 0.0), in_anchor(scene, path)[-1]), abs=1e-3)
    assert world.robot.spin_until(lambda: bool(world.paths and world.paths[-1].poses), 5.0), "the path is published"
    away = world.plan(goal_message(500.0, 0.0))
    assert (away.status.code, away.reaches_goal) == (PlanStatus.OK, False)
    assert away.distance_to_goal_m > 300.0
    scene = world.say(make_scene(seen=lambda x, y: x < 0.0))
    answer = world.plan(ahead(scene, 3.0))
    assert (answer.status.code, answer.fallback) == (PlanStatus.UNSEEN, True), answer.status.message
    world.say(make_scene(), age_s=5.0)
    world.paths.clear()
    assert world.plan(ahead(scene, 3.0)).status.code == PlanStatus.STALE_SENSORS
    assert world.robot.spin_until(lambda: bool(world.paths), 5.0), "a refusal takes the last path off the screen"
    assert not world.paths[-1].poses
    rng = np.random.default_rng(0)
    for _ in range(200):
        world.transforms.publish(rng.bytes(int(rng.integers(0, 200))))
        world.robot.publishers["/odom"].publish(rng.bytes(int(rng.integers(0, 200))))
    scene = world.say(make_scene())
    assert world.plan(ahead(scene, 3.0)).status.code == PlanStatus.OK, "bytes that are no message harm nothing"
    time.sleep(MAX_AGE_S)
    answer = world.plan(ahead(scene, 3.0))
    assert answer.status.code == PlanStatus.STALE_SENSORS, "the world model has gone silent"

    time.sleep(BELIEVED_AFTER_S)  # until then what was free a moment ago may be people
    enclosed = world.say(make_scene(walls=ENCLOSED))
    answer = world.plan(ahead(enclosed, 6.0))
    assert (answer.status.code, answer.fallback) == (PlanStatus.NO_SAFE_PATH, True)
    scene = world.say(make_scene())
    assert world.plan(ahead(scene, 3.0), deadline=0.0045).status.code == PlanStatus.TIMEOUT
    assert world.plan(ahead(scene, math.nan)).status.code == PlanStatus.INVALID_GOAL
    for field, bad in (("deadline", -1.0), ("deadline", math.nan), ("max_speed", -1.0), ("goal_tolerance", math.nan)):
        scene = world.say(make_scene())
        answer = world.plan(ahead(scene, 3.0), **{field: bad})
        assert answer.status.code == PlanStatus.INVALID_REQUEST
        assert field in answer.status.message
    counts = values(world.robot.next_diagnostics()["planner: requests"])
    assert int(counts["answered.OK"]) >= 1
    assert "answered.INTERNAL_ERROR" not in counts
    assert world.change(Transition.TRANSITION_DEACTIVATE)
    assert world.plan(goal_message(0.0, 0.0)).status.code == PlanStatus.NOT_ACTIVE
    assert world.change(Transition.TRANSITION_CLEANUP)
    world.met = False
    assert world.change(Transition.TRANSITION_CONFIGURE)
    assert world.change(Transition.TRANSITION_ACTIVATE)


def test_goals_in_other_frames(world: World) -> None:
    scene = world.say(make_scene())
    answer = world.plan(goal_message(3.0, 0.0, "base_link"))
    assert answer.status.code == PlanStatus.OK, answer.status.message
    end = answer.path.poses[-1].pose.position
    assert np.hypot(*(in_anchor(scene, np.array([[end.x, end.y, 0.0]]))[0] - (3.0, 0.0))) < 0.4
    assert world.plan(goal_message(3.0, 0.0, "base_link", scene.stamp_ns)).status.code == PlanStatus.OK
    answer = world.plan(goal_message(3.0, 0.0, "map"))
    assert answer.status.code == PlanStatus.UNKNOWN_FRAME
    assert "'map'" in answer.status.message
    assert math.isnan(answer.distance_to_goal_m)
    edge = TransformStamped(header=conversions.header_message(scene.stamp_ns, "map"), child_frame_id="odom")
    edge.transform.translation.x = 10.0
    world.robot.spin_until(lambda: world.transforms.get_subscription_count() > 0)
    for _ in range(5):
        world.transforms.publish(TFMessage(transforms=[edge]))
        world.robot.spin(0.1)
    scene = world.say(make_scene())
    goal = goal_at(scene, 3.0, 0.0)
    answer = world.plan(goal_message(float(goal[0]) + 10.0, float(goal[1]), "map"))
    assert answer.status.code == PlanStatus.OK, answer.status.message
    end = answer.path.poses[-1].pose.position
    assert math.dist((end.x, end.y), goal[:2]) < 0.4


def test_without_odometry_the_forecasts_poses_serve() -> None:
    robot = Robot()
    try:
        robot.node.destroy_publisher(robot.publishers["/odom"])
        world = World(robot)
        world.start(autostart="true", model="''")
        scene = world.say(make_scene(), odometry=False, latent=False)
        assert world.plan(ahead(scene, 3.0)).status.code == PlanStatus.OK
        assert robot.call(Imagine, "/planner/imagine", Imagine.Request()).status.code == PlanStatus.UNSUPPORTED
    finally:
        robot.close()


def test_imagine_and_plan_actions(world: World) -> None:
    def ask(**fields: object) -> Imagine.Response:
        world.say(make_scene(people=((2.0, 0.0, 0.0, 0.0),), sigma_mps=0.02))
        return world.robot.call(Imagine, "/planner/imagine", Imagine.Request(deadline=5.0, **fields))

    ahead_m = np.linspace(0.4, 4.8, 12)
    towards = np.stack((ahead_m, 0 * ahead_m, 0 * ahead_m), -1)
    away = towards * (-1.0, 1.0, 1.0)
    poses = np.stack((towards, away)).ravel().tolist()
    answer = ask(candidates=2, steps=12, poses=poses, return_latents=True)
    assert answer.status.code == PlanStatus.OK, answer.status.message
    assert answer.collision_probability[0] > 0.9 > 0.1 > answer.collision_probability[1]
    assert answer.cost[1] < answer.cost[0]
    assert answer.people_moved_m[0] > 0.2 > answer.people_moved_m[1]
    assert list(answer.latent_shape) == [2, 12, *SPEC.latent_shape]
    assert len(answer.latents) == 2 * 12 * 128 * 128 * 2 * 2
    assert "poses" in ask(candidates=2, steps=12, poses=[0.0]).status.message
    assert ask(candidates=2, steps=99, poses=poses).status.code == PlanStatus.INVALID_REQUEST

    def act(**fields: object) -> PlanActions.Response:
        world.say(make_scene())
        return world.robot.call(PlanActions, "/planner/plan_actions", PlanActions.Request(deadline=5.0, **fields))

    goal = conversions.latent_state_message(replace(make_scene(), latent=np.ones(SPEC.latent_shape)), SPEC, FRAMES)
    answer = act(goal_latent=goal)
    assert answer.status.code == PlanStatus.OK, answer.status.message
    assert list(answer.shape) == [12, 3]
    assert len(answer.actions) == 36
    assert answer.energy > 0.0
    assert act().status.code == PlanStatus.INVALID_REQUEST
    goal.model_version = "another"
    assert "another" in act(goal_latent=goal).status.message
    image = PlanActions.Request().goal_image
    image.height, image.width, image.encoding, image.step, image.data = 1, 1, "rgb8", 3, [1, 2, 3]
    assert act(goal_image=image).status.code == PlanStatus.UNSUPPORTED


def test_the_shipped_parameters_are_the_defaults() -> None:
    shipped = yaml.safe_load((ROOT / "config" / "jepa_ros.yaml").read_text())["/**/planner"]["ros__parameters"]
    assert from_dict(PlannerNodeConfig, shipped) == PlannerNodeConfig()


def test_the_clock_answers_for_work_that_does_not_end() -> None:
    worker = DeadlineWorker(lambda: None)
    started_s = time.monotonic()
    slow = worker.submit(lambda left_s: time.sleep(1.0) or "done", lambda: "late", 0.1)
    queued = worker.submit(lambda left_s: "done", lambda: "late", 0.3)
    while not queued.done():
        time.sleep(0.005)
    assert (slow.result(), queued.result()) == ("late", "late")
    assert time.monotonic() - started_s < 0.8, "nobody waited for the work"
    patient = worker.submit(lambda left_s: left_s, lambda: "late", 60.0)
    urgent = worker.submit(lambda left_s: "first", lambda: "late", 30.0)
    while not patient.done():
        time.sleep(0.005)
    assert urgent.result() == "first"
    assert 50.0 < patient.result() < 60.0
    worker.close()
