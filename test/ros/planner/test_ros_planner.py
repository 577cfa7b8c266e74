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

from geometry_msgs.msg import Pose, PoseStamped, Quaternion, TransformStamped  # noqa: E402
from lifecycle_msgs.msg import Transition  # noqa: E402
from lifecycle_msgs.srv import ChangeState  # noqa: E402
from nav_msgs.msg import Odometry, Path  # noqa: E402
from paths import ROOT  # noqa: E402
from planning_scenes import goal_at, in_anchor, make_scene  # noqa: E402
from ros_harness import Robot, values  # noqa: E402
from tf2_msgs.msg import TFMessage  # noqa: E402

from jepa_ros.backends import load_world_model  # noqa: E402
from jepa_ros.config import from_dict  # noqa: E402
from jepa_ros.msg import LatentState, OccupancyForecast, PedestrianForecastArray  # noqa: E402
from jepa_ros.planning.guide import BELIEVED_AFTER_S  # noqa: E402
from jepa_ros.protocols import ModelSpec  # noqa: E402
from jepa_ros.ros import conversions  # noqa: E402
from jepa_ros.ros.planner.config import PlannerNodeConfig  # noqa: E402
from jepa_ros.ros.planner.worker import DeadlineWorker  # noqa: E402
from jepa_ros.srv import Imagine, PlanActions, PlanPath  # noqa: E402
from jepa_ros.types import PlanStatus, SceneState  # noqa: E402

FRAMES = conversions.Frames("base_link", "odom")
SPEC = ModelSpec("persistence", "1", 0.4, 1, 12, (128 * 128, 2), 3, ("lidar",))
MAX_AGE_S = 2.0  # a busy machine is no world model gone silent
ENCLOSED = ((-2.4, -2.4, 2.4, -2.0), (-2.4, 2.0, 2.4, 2.4), (-2.4, -2.4, -2.0, 2.4), (2.0, -2.4, 2.4, 2.4))


class World:
    """Says what a world_model node would say, and asks the planner."""

    def __init__(self, robot: Robot, spec: ModelSpec = SPEC) -> None:
        self.robot = robot
        self.spec = spec
        node = robot.node
        self.occupancy = node.create_publisher(OccupancyForecast, "/world_model/occupancy", 5)
        self.pedestrians = node.create_publisher(PedestrianForecastArray, "/world_model/pedestrians", 5)
        self.latent = node.create_publisher(LatentState, "/world_model/latent", 5)
        self.transforms = node.create_publisher(TFMessage, "/tf", 5)
        self.paths: list[Path] = []
        self.met = False
        node.create_subscription(Path, "/planner/path", self.paths.append, 5)

    def start(self, **parameters: object) -> None:
        defaults = {"model": self.spec.name, "model_at_start": "true", "inputs__max_age_s": MAX_AGE_S}
        self.robot.start_node("planner", **{**defaults, **parameters})

    def change(self, transition: int) -> bool:
        request = ChangeState.Request(transition=Transition(id=transition))
        return self.robot.call(ChangeState, "/planner/change_state", request).success

    def say(self, scene: SceneState, age_s: float = 0.0, odometry: bool = True, latent: bool = True) -> SceneState:
        """Publish a scene as if it was seen `age_s` ago; wait until it must have come."""
        if not self.met:
            publishers = (self.occupancy, self.pedestrians, *((self.latent,) if latent else ()))
            assert self.robot.spin_until(lambda: all(publisher.get_subscription_count() > 1 for publisher in publishers), 60.0)
            self.robot.spin(0.5)  # one of them is the robot's own; that we know the node does not mean that it knows us
            self.met = True
        stamp_ns = time.time_ns() - round(age_s * 1e9)
        scene = replace(scene, stamp_ns=stamp_ns, ego=replace(scene.ego, stamp_ns=stamp_ns), latent=np.zeros(self.spec.latent_shape))
        if odometry:
            message = Odometry(header=conversions.header_message(stamp_ns, "odom"), child_frame_id="base_link")
            message.pose.pose = conversions.pose_message(scene.ego.odom_from_base)
            message.twist.twist.linear.x = float(scene.ego.velocity_mps[0])
            self.robot.publishers["/odom"].publish(message)
        self.pedestrians.publish(conversions.pedestrians_message(scene, "constant_velocity", FRAMES))
        self.occupancy.publish(conversions.occupancy_message(scene, FRAMES))
        if latent:
            self.latent.publish(conversions.latent_state_message(scene, self.spec, FRAMES))
        self.robot.spin(0.15)
        return scene

    def plan(self, goal: PoseStamped, deadline: float = 2.0, **fields: float) -> PlanPath.Response:
        return self.robot.call(PlanPath, "/planner/plan_path", PlanPath.Request(goal=goal, deadline=deadline, **fields))


def goal_message(x: float, y: float, frame: str = "odom", stamp_ns: int = 0) -> PoseStamped:
    pose = Pose(orientation=Quaternion(x=0.0, y=0.0, z=0.0, w=0.0))
    pose.position.x, pose.position.y = x, y
    return PoseStamped(header=conversions.header_message(stamp_ns, frame), pose=pose)


def ahead(scene: SceneState, x_m: float, y_m: float = 0.0) -> PoseStamped:
    goal = goal_at(scene, x_m, y_m)
    return goal_message(float(goal[0]), float(goal[1]))


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
