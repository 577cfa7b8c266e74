"""The picture is drawn from whatever there is, at its stated size, and what it shows depends on what it is given."""

import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.image import imread

from jepa_ros.forecast.constant_turn_rate import ConstantTurnRate
from jepa_ros.forecast.constant_velocity import ConstantVelocity
from jepa_ros.movers import TrackedVehicles
from jepa_ros.types import (
    CameraImage,
    CameraModel,
    EgoState,
    LidarSweep,
    Observation,
    OccupancyForecast,
    PedestrianForecast,
    Plan,
    PlanStatus,
    SceneState,
    TrackedPeople,
    Tracks,
)
from jepa_ros.viz.boxes import LARGEST_M, is_capped, spread_ellipse
from jepa_ros.viz.scene import draw_scene

STAMP_NS = 1_700_000_000_000_000_000
PLAN_GREEN = (5, 150, 105)
BRAKING_RED = (220, 38, 38)


def observation(lidar: bool = True, size: tuple[int, int] | None = (400, 120)) -> Observation:
    points = np.random.default_rng(0).uniform([-20, -20, 0], [20, 20, 2], (5000, 3)).astype(np.float32)
    sweep = LidarSweep(STAMP_NS, points, None, None, None, np.eye(4)) if lidar else None
    cameras: tuple[CameraImage, ...] = ()
    if size is not None:
        width, height = size
        intrinsics = np.array([[0.6 * width, 0, width / 2], [0, 0.6 * width, height / 2], [0, 0, 1]])
        optical = np.array([[0.0, 0, 1, 1], [-1, 0, 0, 0], [0, -1, 0, 1.6], [0, 0, 0, 1]])
        rgb = np.full((height, width, 3), 90, np.uint8)
        cameras = (CameraImage(STAMP_NS, "front", rgb, CameraModel(width, height, intrinsics, np.empty(0)), optical),)
    return Observation(STAMP_NS, EgoState(STAMP_NS, np.eye(4), np.array([3.0, 0.0])), sweep, cameras)


def state(people: int = 3) -> SceneState:
    time_s = 0.4 * np.arange(-7, 1)
    starts = np.array([[8.0, 2.0], [12.0, -4.0], [6.0, -2.0]])[:people]
    velocities = np.array([[0.2, -1.2], [-4.0, 1.0], [0.0, 0.0]])[:people]
    history = Tracks(starts[:, None] + time_s[None, :, None] * velocities[:, None], np.ones((people, 8), bool), 0.4)
    tracked = TrackedPeople(np.arange(people), starts, velocities, np.full(people, 0.9), np.full(people, 0.3), history)
    occupancy = np.zeros((13, 64, 64), np.float32)
    occupancy[:, 40:44, 30:50] = 0.9
    forecast = OccupancyForecast(occupancy, 0.4 * np.arange(13), 0.8, (-25.6, -25.6))
    latent = np.zeros((4, 2))
    return SceneState(
        stamp_ns=STAMP_NS,
        anchor_pose=np.eye(4),
        ego=EgoState(STAMP_NS, np.eye(4), np.zeros(2)),
        latent=latent,
        predicted=np.zeros((12, 4, 2)),
        occupancy=forecast,
        people=tracked,
        pedestrians=ConstantVelocity().predict(history),
        surprise=float("nan"),
        timings_ms={"encode": 5.0, "predict": 2.0},
        sensors=("lidar", "camera"),
    )


def plan(fallback: bool = False) -> Plan:
    path = np.column_stack([np.linspace(0, 10, 13), np.zeros(13), np.zeros(13)])
    status = PlanStatus.NO_SAFE_PATH if fallback else PlanStatus.OK
    return Plan(status, "", path, np.zeros((12, 2)), 0.4, 1.0, 0.01, 0.05, fallback)


def picture(path: Path, seen: Observation, scene: SceneState, way: Plan | None) -> np.ndarray:
    draw_scene(seen, scene, way, path)
    pixels = (imread(path)[..., :3] * 255).round().astype(int)
    assert pixels.shape == (1080, 1920, 3)
    return pixels


def amount(pixels: np.ndarray, colour: tuple[int, int, int]) -> int:
    return int((np.abs(pixels - colour).max(axis=-1) < 4).sum())


def test_everything_at_once_shows_the_plan_and_is_quick(tmp_path: Path) -> None:
    start = time.process_time()
    pixels = picture(tmp_path / "scene.png", observation(), state(), plan())
    assert time.process_time() - start < 10.0  # two seconds on an idle core
    assert amount(pixels, PLAN_GREEN) > 500
    assert amount(pixels, BRAKING_RED) < 50


def test_a_braking_trajectory_does_not_look_like_a_plan(tmp_path: Path) -> None:
    pixels = picture(tmp_path / "scene.png", observation(), state(), plan(fallback=True))
    assert amount(pixels, BRAKING_RED) > 500
    assert amount(pixels, PLAN_GREEN) < 50


@pytest.mark.parametrize("missing", ["camera", "lidar", "people", "plan", "occupancy"])
def test_a_missing_part_leaves_the_rest(tmp_path: Path, missing: str) -> None:
    seen = observation(lidar=missing != "lidar", size=None if missing == "camera" else (320, 240))
    scene = state(people=0 if missing == "people" else 3)
    if missing == "occupancy":
        scene = replace(scene, occupancy=replace(scene.occupancy, probability=np.zeros((13, 0, 0), np.float32)))
    pixels = picture(tmp_path / "scene.png", seen, scene, None if missing == "plan" else plan())
    assert (amount(pixels, PLAN_GREEN) > 500) == (missing != "plan")
    assert len(np.unique(pixels.reshape(-1, 3), axis=0)) > 100


def test_a_planless_answer_is_no_line(tmp_path: Path) -> None:
    refused = Plan(PlanStatus.TIMEOUT, "no time", np.zeros((0, 3)), np.zeros((0, 2)), 0.4, 0.0, 1.0, 0.1)
    assert amount(picture(tmp_path / "scene.png", observation(), state(), refused), PLAN_GREEN) < 50


def test_nobody_around_as_a_message_tells_it(tmp_path: Path) -> None:
    """Without people, an array of forecasts does not say the times of its steps either."""
    scene = state(people=0)
    nobody = PedestrianForecast(np.zeros((0, 1, 0, 2)), np.zeros((0, 1)), np.zeros((0, 1, 0, 2, 2)), np.zeros(0))
    assert amount(picture(tmp_path / "scene.png", observation(), replace(scene, pedestrians=nobody), plan()), PLAN_GREEN) > 500


def test_vehicles_are_boxes_and_a_huge_ellipse_is_capped(tmp_path: Path) -> None:
    states = np.array([[14.0, 3.0, 0.4, 6.0, 0.0, 0.1], [10.0, -7.0, 1.5, 0.0, 0.0, 0.0]])
    boxes = np.column_stack((states[:, :3], [4.4, 4.4], [1.8, 1.8]))
    velocities = states[:, 3:4] * np.column_stack((np.cos(states[:, 2]), np.sin(states[:, 2])))
    unsure = np.tile(np.diag([0.1, 0.1, 0.05, 40.0, 1.0, 0.05]), (2, 1, 1))
    vehicles = TrackedVehicles(np.array([7, 8]), boxes, velocities, states[:, 5], np.full(2, 0.9), np.full(2, 1.5), states, unsure)
    scene = replace(state(people=0), vehicles=vehicles, vehicle_forecast=ConstantTurnRate().predict(vehicles))
    assert is_capped(scene)
    assert not is_capped(state(people=0))
    brown = (161, 98, 7)
    assert amount(picture(tmp_path / "with.png", observation(), scene, None), brown) > 200
    assert amount(picture(tmp_path / "without.png", observation(), state(people=0), None), brown) == 0
    assert max(spread_ellipse(np.diag([900.0, 0.01]), scene).width, spread_ellipse(np.diag([900.0, 0.01]), scene).height) == 2 * LARGEST_M


def test_the_head_ends_before_the_map_whatever_it_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[Figure] = []
    save = Figure.savefig
    monkeypatch.setattr(Figure, "savefig", lambda self, *args, **kwargs: drawn.append(self) or save(self, *args, **kwargs))
    note = "700 of 800 frames, 100 dropped     140 of 190 plans OK, 3 of them for somebody who crossed"
    draw_scene(observation(size=(320, 240)), state(), plan(), tmp_path / "scene.png", note=note)
    (figure,) = drawn
    map_begins = max(axes.get_window_extent().x0 for axes in figure.axes)
    ends = [text.get_window_extent().x1 for text in figure.texts]
    assert max(ends) <= map_begins
    assert any(text.get_text().endswith(note) for text in figure.texts)
