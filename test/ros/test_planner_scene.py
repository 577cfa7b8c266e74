"""What stands, as the planner reads it: beside the objects of the same sweep, of another, and beside people alone. No node runs."""

from __future__ import annotations

import threading
import time
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from planning_scenes import make_scene

pytest.importorskip("rclpy", reason="needs ROS 2: run `make build`, then tests through scripts/env.sh")
pytest.importorskip("jepa_ros.msg", reason="needs the built interfaces: run `make build`, then tests through scripts/env.sh")
pytestmark = pytest.mark.ros

from rclpy.serialization import serialize_message  # noqa: E402

from jepa_ros.movers import BoxForecast, TrackedVehicles  # noqa: E402
from jepa_ros.msg import ObjectForecastArray  # noqa: E402
from jepa_ros.objects.scene.cells import with_movers  # noqa: E402
from jepa_ros.planning.scene import PlanningScene  # noqa: E402
from jepa_ros.ros import conversions  # noqa: E402
from jepa_ros.ros.planner.inputs import Came, Heard  # noqa: E402
from jepa_ros.ros.planner.scene import SceneReader  # noqa: E402
from jepa_ros.ros.world_model.objects import objects_message  # noqa: E402
from jepa_ros.types import NANOSECONDS, SceneState  # noqa: E402

FRAMES = conversions.Frames("base_link", "odom")
WALKER, CAR = (3.0, -2.0), (-4.0, 3.0)


def crossing() -> SceneState:
    """Somebody walks and a car drives; the model sees both where they are, and always will."""
    anchor = np.eye(4)
    scene = make_scene(people=((*WALKER, 0.0, 1.0),), anchor=anchor)
    poses = np.array([*CAR, 0.0]) + 1.2 * np.arange(1, 13)[None, None, :, None] * np.array([1.0, 0.0, 0.0])
    vehicles = TrackedVehicles(
        ids=np.array([7]),
        boxes=np.array([[*CAR, 0.0, 4.0, 1.8]]),
        velocities_mps=np.array([[3.0, 0.0]]),
        yaw_rates_radps=np.zeros(1),
        existence=np.array([0.9]),
        heights_m=np.array([1.5]),
    )
    probability = scene.occupancy.probability.copy()
    for x_m, y_m in (WALKER, CAR):
        probability[:, int((y_m + 12.8) / 0.4), int((x_m + 12.8) / 0.4)] = 1.0
    forecast = BoxForecast(poses, np.ones((1, 1)), np.tile(0.01 * np.eye(2), (1, 1, 12, 1, 1)), 0.4 * np.arange(1, 13))
    occupancy = replace(scene.occupancy, probability=probability, seen=np.ones(probability.shape[1:], bool))
    return with_movers(replace(scene, occupancy=occupancy, vehicles=vehicles, vehicle_forecast=forecast))


def read(state: SceneState, told: SceneState, vehicles: bool = True) -> PlanningScene:
    """`state` is published with the objects of `told`, or with its people alone."""
    now_s = time.monotonic()
    objects = serialize_message(objects_message(told, ("", ""), FRAMES))
    people = serialize_message(conversions.pedestrians_message(told, "", FRAMES, 6))
    heard = Heard(
        Came(conversions.occupancy_message(state, FRAMES), now_s),
        None if vehicles else Came(people, now_s),
        Came(objects, now_s) if vehicles else None,
        (),
        None,
    )
    inputs = SimpleNamespace(
        heard=lambda: heard,
        objects_type=ObjectForecastArray,
        lock=threading.Lock(),
        tree=None,
        anchors=SimpleNamespace(at=lambda stamp_ns: None),
        uses_lidar=False,
        age_s=lambda stamp_ns, received_s: 0.0,
    )
    return SceneReader(inputs, "cpu", surprise=False).scene(1.0)[0]


def now_at(scene: PlanningScene, place: tuple[float, float]) -> float:
    column, row = int((place[0] + 12.8) / 0.4), int((place[1] + 12.8) / 0.4)
    return float(scene.occupancy.probability[0, row, column])


def test_objects_of_the_same_sweep_are_no_part_of_what_stands() -> None:
    scene = read(crossing(), crossing())
    assert len(scene.moving.positions_m) == 2
    assert (now_at(scene, WALKER), now_at(scene, CAR)) == (0.0, 0.0)


def test_beside_people_alone_a_car_is_an_obstacle() -> None:
    scene = read(crossing(), crossing(), vehicles=False)
    assert len(scene.moving.positions_m) == 1
    assert (now_at(scene, WALKER), now_at(scene, CAR)) == (0.0, 1.0)


def test_whom_the_objects_of_an_earlier_sweep_do_not_hold_is_an_obstacle() -> None:
    state = crossing()
    nobody = make_scene(anchor=np.eye(4))
    earlier = replace(state, stamp_ns=state.stamp_ns - NANOSECONDS // 10, people=nobody.people, pedestrians=nobody.pedestrians)
    scene = read(state, earlier)
    assert len(scene.moving.positions_m) == 1
    assert (now_at(scene, WALKER), now_at(scene, CAR)) == (1.0, 0.0)
