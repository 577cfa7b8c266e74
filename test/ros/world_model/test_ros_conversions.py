"""Our types survive the way into messages and back."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="needs ROS 2: run `make build`, then tests through scripts/env.sh")
pytest.importorskip("jepa_ros.msg", reason="needs the built interfaces: run `make build`, then tests through scripts/env.sh")
pytestmark = pytest.mark.ros

from nav_msgs.msg import Odometry  # noqa: E402
from rclpy.serialization import deserialize_message, serialize_message  # noqa: E402

from jepa_ros.protocols import ModelSpec  # noqa: E402
from jepa_ros.ros import conversions, readers  # noqa: E402
from jepa_ros.ros.world_model.markers import ellipse, marker_array  # noqa: E402
from jepa_ros.ros.world_model.outputs import OutputConfig, Outputs  # noqa: E402
from jepa_ros.sensing.frames.ego import read_odometry  # noqa: E402
from jepa_ros.types import (  # noqa: E402
    EgoState,
    OccupancyForecast,
    PedestrianForecast,
    Plan,
    PlanStatus,
    SceneState,
    TrackedPeople,
    Tracks,
)

FRAMES = conversions.Frames("base_link", "odom")
SPEC = ModelSpec("scene_jepa", "1", 0.4, 4, 12, (6, 5), 3, ("lidar",))
STAMP_NS = 1_317_042_272_349_123_457  # a float would lose the last digits


def pose(yaw: float, x: float, y: float) -> np.ndarray:
    matrix = np.eye(4)
    matrix[:2, :2] = [[np.cos(yaw), -np.sin(yaw)], [np.sin(yaw), np.cos(yaw)]]
    matrix[:2, 3] = x, y
    return matrix


def scene(people: int = 3, modes: int = 20, seed: int = 1) -> SceneState:
    rng = np.random.default_rng(seed)
    steps = 12
    positions = rng.normal(size=(people, 2)) * 5
    probabilities = rng.random((people, modes))
    anchor = pose(0.7, 3.0, -2.0)
    return SceneState(
        stamp_ns=STAMP_NS,
        anchor_pose=anchor,
        ego=EgoState(STAMP_NS, anchor, np.array([2.0, 0.0]), 0.3),
        latent=rng.normal(size=(6, 5)),
        predicted=rng.normal(size=(steps, 6, 5)),
        occupancy=OccupancyForecast(rng.random((steps + 1, 8, 10)).astype(np.float32), 0.4 * np.arange(steps + 1), 0.4, (-2.0, -1.6)),
        people=TrackedPeople(
            ids=np.arange(people) + 2**40,
            positions_m=positions,
            velocities_mps=rng.normal(size=(people, 2)),
            existence=rng.random(people),
            radii_m=rng.random(people),
            history=Tracks(positions[:, None], np.ones((people, 1), bool), 0.4),
        ),
        pedestrians=PedestrianForecast(
            rng.normal(size=(people, modes, steps, 2)),
            probabilities / probabilities.sum(axis=1, keepdims=True),
            np.broadcast_to(np.diag([0.2, 0.1]), (people, modes, steps, 2, 2)),
            0.4 * np.arange(1, steps + 1),
        ),
        surprise=0.25,
    )


class Listened:
    """A node whose every publisher is listened to, and what was published."""

    def __init__(self) -> None:
        self.published: dict[str, list] = {}

    def create_lifecycle_publisher(self, kind, topic, qos):
        messages = self.published.setdefault(topic, [])
        return SimpleNamespace(get_subscription_count=lambda: 1, publish=messages.append)


def test_markers_keep_their_period_and_begin_anew_after_a_jump_back() -> None:
    node = Listened()
    outputs = Outputs(node, SPEC, ("constant_velocity", "constant_turn_rate"), lambda: OutputConfig(markers_period_s=0.2))
    for step in (0, 1, 2, 3, 4, -50, -49, -48):
        outputs.publish(replace(scene(people=1), stamp_ns=STAMP_NS + 100_000_000 * step), FRAMES)
    marked = [message.markers[0].header.stamp for message in node.published["~/markers"]]
    tenths = [round((stamp.sec * 10**9 + stamp.nanosec - STAMP_NS) / 1e8) for stamp in marked]
    assert tenths == [0, 2, 4, -50, -48]
    assert len(node.published["~/pedestrians"]) == 8


def over_the_wire(message):
    return deserialize_message(serialize_message(message), type(message))


def test_latents_and_their_forecast():
    state = scene()
    message = over_the_wire(conversions.latent_state_message(state, SPEC, FRAMES))
    assert readers.received_of(message).stamp_ns == STAMP_NS
    np.testing.assert_allclose(readers.received_of(message).odom_from_anchor, state.anchor_pose, atol=1e-12)
    np.testing.assert_allclose(readers.latents_of(message), state.latent, atol=2e-3)
    assert (message.model_name, message.header.frame_id, message.fixed_frame_id, message.surprise) == (
        "scene_jepa",
        "base_link",
        "odom",
        0.25,
    )

    forecast = over_the_wire(conversions.latent_forecast_message(state, SPEC, FRAMES))
    np.testing.assert_allclose(readers.latents_of(forecast), state.predicted, atol=2e-3)
    np.testing.assert_allclose(forecast.horizons_s, 0.4 * np.arange(1, 13), rtol=1e-6)
    # 2 m/s with 0.3 rad/s: after 0.4 s on an arc of 0.8 m that turned by 0.12 rad.
    assert forecast.ego_poses[0].position.x == pytest.approx(0.8 * np.sinc(0.06 / np.pi) * np.cos(0.06))
    assert 2 * np.arctan2(forecast.ego_poses[0].orientation.z, forecast.ego_poses[0].orientation.w) == pytest.approx(0.12)


def test_a_latent_that_lies_about_its_size_is_refused():
    message = conversions.latent_state_message(scene(), SPEC, FRAMES)
    message.shape = [7, 5]
    with pytest.raises(ValueError, match=r"\(7, 5\)"):
        readers.latents_of(message)


def test_unknown_never_looks_free_in_a_message():
    state = scene()
    seen, probability = np.ones((8, 10), bool), state.occupancy.probability.copy()
    seen[2, 3] = False
    probability[:, 2, 3] = 0.0
    probability[5, 4, 7] = np.nan
    probability[:, 0, 0], probability[:, 7, 9] = -0.1, 1.2
    state = replace(state, occupancy=replace(state.occupancy, probability=probability, seen=seen))
    message = over_the_wire(conversions.occupancy_message(state, FRAMES))
    back = readers.occupancy_of(message)
    assert sorted(zip(*np.nonzero(~back.seen), strict=True)) == [(2, 3), (4, 7)]
    assert back.probability[5, 4, 7] == 1.0
    assert (back.probability[0, 0, 0], back.probability[0, 7, 9]) == (0.0, 1.0)
    for horizon_s in (0.0, 2.0):  # unknown now is unknown later
        grid = over_the_wire(conversions.occupancy_grid_message(replace(state, anchor_pose=np.eye(4)), horizon_s, FRAMES))
        cells = np.array(grid.data).reshape(grid.info.height, grid.info.width)
        column, row = np.rint(np.array([-2.0 - grid.info.origin.position.x, -1.6 - grid.info.origin.position.y]) / 0.4).astype(int)
        own = cells[row : row + 8, column : column + 10]
        assert sorted(zip(*np.nonzero(own == -1), strict=True)) == [(2, 3), (4, 7)]
        assert (own[0, 0], own[7, 9]) == (0, 100)
    message.seen = message.seen[:-1]
    with pytest.raises(ValueError, match="79 bytes of `seen`"):
        readers.occupancy_of(message)


def test_people_whose_place_is_no_number_are_refused_not_lost():
    message = conversions.pedestrians_message(scene(), "constant_velocity", FRAMES)
    assert len(readers.moving_of(over_the_wire(message)).positions_m) == 3
    message.pedestrians[1].modes[2].positions[4].x = np.nan
    with pytest.raises(ValueError, match="not finite"):
        readers.moving_of(over_the_wire(message))


@pytest.mark.parametrize(
    "wild", [{"resolution_m": 0.0}, {"resolution_m": float("nan")}, {"times_s": [0.4, 0.0]}, {"x": 1e300}, {"times_s": [0.0, 1e999]}]
)
def test_a_grid_that_cannot_be_is_refused(wild) -> None:
    """Whoever publishes it: a planner that divides by its cells' size is none the wiser."""
    message = conversions.occupancy_message(scene(), FRAMES)
    if "times_s" in wild:
        wild["times_s"] += message.times_s[2:]
    for name, value in wild.items():
        setattr(message.origin if name == "x" else message, name, value)
    with pytest.raises(ValueError, match=r"no grid|times that grow"):
        readers.occupancy_of(message)


def test_occupancy_and_the_grid_for_viewing():
    state = scene()
    message = over_the_wire(conversions.occupancy_message(state, FRAMES))
    back = readers.occupancy_of(message)
    np.testing.assert_allclose(back.probability, state.occupancy.probability, atol=0.5 / 255 + 1e-6)
    np.testing.assert_allclose(back.times_s, state.occupancy.times_s, rtol=1e-6)
    assert back.origin_m == state.occupancy.origin_m

    assert back.seen.all(), "a scene that says nothing of it is known whole"
    grid = over_the_wire(conversions.occupancy_grid_message(state, 1.3, FRAMES))
    assert grid.header.frame_id == "odom"
    assert (grid.info.origin.orientation.w, grid.info.origin.orientation.z) == (1.0, 0.0), "a static layer reads no rotation"
    cells = np.array(grid.data).reshape(grid.info.height, grid.info.width)
    percent = 100 * state.occupancy.probability[3]  # 1.2 s is the step nearest to 1.3 s
    corner = np.array([grid.info.origin.position.x, grid.info.origin.position.y])
    row, column = np.indices(percent.shape)
    in_anchor = np.stack([0.4 * (column + 0.5) - 2.0, 0.4 * (row + 0.5) - 1.6, 0 * row, 1 + 0 * row], axis=-1)
    x, y = np.floor(((in_anchor @ state.anchor_pose.T)[..., :2] - corner) / 0.4).astype(int).transpose(2, 0, 1)
    assert (cells[y, x] >= np.rint(percent) - 0.51).all(), "what is occupied stays occupied in its place"
    assert cells[y, x].mean() < percent.mean() + 20, "and does not grow"
    assert cells[0, 0] == cells[-1, -1] == -1, "what is outside of the forecast is unknown, not free"

    message.rows += 1
    with pytest.raises(ValueError, match="bytes"):
        readers.occupancy_of(message)


def test_the_grid_keeps_its_size_and_unknown_cells_at_every_heading():
    state = scene()
    probability = state.occupancy.probability.copy()
    probability[:, 2:5, 3:6] = np.nan
    state = replace(state, occupancy=replace(state.occupancy, probability=probability))
    sizes = set()
    for yaw in np.linspace(-3.0, 3.0, 13):
        turned = replace(state, anchor_pose=pose(yaw, 3.03, -2.07))
        grid = over_the_wire(conversions.occupancy_grid_message(turned, 0.0, FRAMES))
        sizes.add((grid.info.width, grid.info.height))
        middle = turned.anchor_pose @ np.array([-2.0 + 0.4 * 4.5, -1.6 + 0.4 * 3.5, 0.0, 1.0])
        column, row = np.floor((middle[:2] - [grid.info.origin.position.x, grid.info.origin.position.y]) / 0.4).astype(int)
        assert np.array(grid.data).reshape(grid.info.height, -1)[row, column] == -1
        assert grid.info.origin.position.x / 0.4 == pytest.approx(round(grid.info.origin.position.x / 0.4)), "cells stay where they are"
    assert len(sizes) == 1, "a costmap would be made anew at each turn"


def test_pedestrians_keep_the_likeliest_modes():
    state = scene()
    message = over_the_wire(conversions.pedestrians_message(state, "learned", FRAMES, top_modes=6))
    published = np.array([[mode.probability for mode in person.modes] for person in message.pedestrians])
    assert published.shape == (3, 6)
    assert (np.diff(published, axis=1) <= 0).all()

    people, forecast = readers.people_of(message)
    np.testing.assert_array_equal(people.ids, state.people.ids)
    np.testing.assert_allclose(people.velocities_mps, state.people.velocities_mps)
    np.testing.assert_allclose(forecast.most_likely(), state.pedestrians.most_likely())
    np.testing.assert_allclose(forecast.probabilities.sum(axis=1), 1.0)
    assert np.linalg.cholesky(forecast.covariances_m2).shape == (3, 6, 12, 2, 2)


def test_people_with_fewer_modes_are_padded_and_no_people_is_fine():
    message = conversions.pedestrians_message(scene(), "learned", FRAMES)
    message.pedestrians[1].modes = message.pedestrians[1].modes[:2]
    _, forecast = readers.people_of(message)
    assert forecast.modes_m.shape == (3, 6, 12, 2)
    np.testing.assert_array_equal(forecast.probabilities[1, 2:], 0.0)
    assert forecast.probabilities[1].sum() == pytest.approx(1.0)

    people, forecast = readers.people_of(over_the_wire(conversions.pedestrians_message(scene(people=0), "learned", FRAMES)))
    assert people.positions_m.shape == (0, 2)
    assert forecast.most_likely().shape[0] == 0


def test_markers_show_every_person_once():
    state = scene()
    markers = over_the_wire(marker_array(state, FRAMES)).markers
    spaces = [marker.ns for marker in markers]
    assert markers[0].action == markers[0].DELETEALL
    assert (spaces.count("people"), spaces.count("modes"), spaces.count("spread")) == (3, 18, 9)
    assert len({marker.id for marker in markers}) == len(markers)
    assert {marker.lifetime.sec for marker in markers} == {1}, "nobody stays in the picture when the node has ended"
    modes = [marker for marker in markers if marker.ns == "modes"][:6]
    assert modes[0].scale.x > modes[5].scale.x
    assert modes[0].color.a > modes[5].color.a
    assert len(modes[0].points) == 13
    assert marker_array(scene(people=0), FRAMES).markers


def test_an_ellipse_has_the_axes_of_its_covariance():
    turn = pose(0.5, 0, 0)[:2, :2]
    placed, size = ellipse(np.zeros(2), turn @ np.diag([4.0, 0.25]) @ turn.T)
    assert (size.x, size.y) == pytest.approx((4.0, 1.0))
    yaw = 2 * np.arctan2(placed.orientation.z, placed.orientation.w)
    assert np.sin(yaw - 0.5) == pytest.approx(0.0, abs=1e-9)  # an axis has no direction


def test_odometry_and_the_path_of_a_plan():
    odometry = Odometry(header=conversions.header_message(STAMP_NS, "odom"))
    odometry.pose.pose = conversions.pose_message(pose(1.0, 4.0, 5.0))
    odometry.twist.twist.linear.x, odometry.twist.twist.angular.z = 1.5, 0.2
    ego = read_odometry(over_the_wire(odometry)).state
    assert ego.stamp_ns == STAMP_NS
    np.testing.assert_allclose(ego.odom_from_base, pose(1.0, 4.0, 5.0), atol=1e-12)
    assert (ego.velocity_mps[0], ego.yaw_rate_radps) == (1.5, 0.2)
    odometry.twist.twist.linear.x = 1e6
    with pytest.raises(ValueError, match=r"1\.e\+06|1000000"):
        read_odometry(odometry)

    path = np.array([[0.0, 0, 0], [1, 0, 0.1]])
    plan = Plan(PlanStatus.OK, "", path, np.array([[2.5, 0.25]]), 0.4, 1.0, 0.0, 0.01)
    message = over_the_wire(conversions.path_message(plan, STAMP_NS, "odom"))
    assert [readers.stamp_ns_of(step.header.stamp) - STAMP_NS for step in message.poses] == [0, 400_000_000]
    assert conversions.command_messages(replace(plan))[0].linear.x == 2.5
