"""The way of the data with the persistence back-end on a small synthetic stream: a wall, and a person who walks."""

from dataclasses import replace

import numpy as np
import pytest

from jepa_ros.forecast.constant_velocity import ConstantVelocity
from jepa_ros.movers import BoxForecast
from jepa_ros.pipeline import PipelineConfig, WorldModelPipeline
from jepa_ros.planning import Planner
from jepa_ros.types import NANOSECONDS, CameraImage, CameraModel, EgoState, LidarSweep, Observation, PlanStatus, SceneState

WALK_MPS = 1.2


def sweep(rng: np.random.Generator, person_xy_m: tuple[float, float]) -> np.ndarray:
    ground = np.column_stack([rng.uniform(-20, 20, (8000, 2)), rng.normal(0, 0.01, 8000)])
    wall = np.column_stack([rng.uniform(-20, 20, 4000), np.full(4000, 10.0), rng.uniform(0, 3, 4000)])
    x, y = person_xy_m
    facing = np.arctan2(-y, -x)
    parts = ((-0.12, 0.08, 0.0, 0.85, 90), (0.12, 0.08, 0.0, 0.85, 90), (0.0, 0.24, 0.8, 1.45, 200), (0.0, 0.1, 1.45, 1.7, 60))
    person = np.concatenate([_side(rng, x, y + aside, facing, *part) for aside, *part in parts])  # legs, trunk, head
    return np.concatenate([ground, wall, person]).astype(np.float32)


def _side(
    rng: np.random.Generator, x: float, y: float, facing: float, radius_m: float, low_m: float, high_m: float, count: int
) -> np.ndarray:
    """The half of an upright cylinder that a lidar at the origin sees."""
    angle = facing + rng.uniform(-1.4, 1.4, count)
    return np.column_stack([x + radius_m * np.cos(angle), y + radius_m * np.sin(angle), rng.uniform(low_m, high_m, count)])


def observation(stamp_s: float, rng: np.random.Generator) -> Observation:
    stamp_ns = round(stamp_s * NANOSECONDS)
    points = sweep(rng, (6.0, -4.0 + WALK_MPS * stamp_s))
    return Observation(stamp_ns, EgoState(stamp_ns, np.eye(4), np.zeros(2)), LidarSweep(stamp_ns, points, None, None, None, np.eye(4)))


@pytest.fixture(scope="module")
def pipeline() -> WorldModelPipeline:
    loaded = WorldModelPipeline.load("persistence", device="cpu")
    loaded.warm_up()
    return loaded


@pytest.fixture(scope="module")
def states(pipeline) -> list[SceneState]:
    rng = np.random.default_rng(0)
    return [pipeline.step(observation(0.1 * step, rng)) for step in range(40)]


def test_state_has_the_shapes_that_the_api_promises(pipeline, states):
    state, spec = states[-1], pipeline.spec
    assert state.latent.shape == spec.latent_shape
    assert state.predicted.shape == (spec.horizon, *spec.latent_shape)
    assert state.occupancy.probability.shape == (spec.horizon + 1, spec.grid.rows, spec.grid.columns)
    np.testing.assert_allclose(state.occupancy.times_s, 0.4 * np.arange(13))
    assert state.stamp_ns == round(3.9 * NANOSECONDS)
    assert {"encode", "predict", "people", "forecast"} <= set(state.timings_ms)


def test_occupancy_now_shows_wall_and_person_but_not_the_ground(states):
    occupancy = states[-1].occupancy
    cell = ((np.array([[0.0, 10.0], [5.8, -4.0 + WALK_MPS * 3.9], [5.0, 5.0]]) - occupancy.origin_m) / occupancy.resolution_m).astype(int)
    wall, person, free = occupancy.probability[0, cell[:, 1], cell[:, 0]]
    assert wall > 0.5
    assert person > 0.5
    assert free < 0.1


def test_the_walker_is_tracked_under_one_id_and_forecast_ahead(states):
    def nearest(state: SceneState) -> int:
        truth = np.array([6.0, -4.0 + WALK_MPS * state.stamp_s])
        distance = np.linalg.norm(state.people.positions_m - truth, axis=1)
        assert distance.min() < 0.4
        return int(distance.argmin())

    rows = [(state, nearest(state)) for state in states[15:]]
    assert len({int(state.people.ids[row]) for state, row in rows}) == 1
    state, row = rows[-1]
    ahead_m = state.pedestrians.most_likely()[row, 4] - state.people.positions_m[row]  # 2.0 s on
    np.testing.assert_allclose(ahead_m, [0.0, 2.0 * WALK_MPS], atol=0.6)


def test_surprise_comes_once_predictions_are_due_and_stays_in_range(states):
    surprises = np.array([state.surprise for state in states])
    assert np.isnan(surprises[:4]).all()
    known = surprises[np.isfinite(surprises)]
    assert len(known) > 10
    assert ((known >= 0) & (known <= 1)).all()


def test_a_step_back_in_time_starts_the_stream_anew(pipeline, states):
    again = pipeline.step(observation(0.0, np.random.default_rng(1)))
    assert len(again.people.ids) == 0
    assert np.isnan(again.surprise)


def test_without_the_lidar_occupancy_is_unknown_rather_than_free(pipeline):
    camera = CameraImage(10, "camera", np.zeros((90, 160, 3), np.uint8), CameraModel(160, 90, np.eye(3), np.zeros(0)), np.eye(4))
    state = pipeline.step(Observation(10, EgoState(10, np.eye(4), np.zeros(2)), cameras=(camera,)))
    assert state.sensors == ("camera",)
    assert state.occupancy.probability.size == 0
    plan = Planner().plan(state, np.array([5.0, 0.0, np.nan]), deadline_s=1.0)
    assert plan.status == PlanStatus.UNSUPPORTED
    assert len(plan.path) == 0


def test_an_unknown_model_names_the_known_ones():
    with pytest.raises(ValueError, match="scene_jepa"):
        WorldModelPipeline.load("no_such_model")


def test_a_forecaster_can_be_chosen_by_name():

    chosen = WorldModelPipeline.load("persistence", "cpu", PipelineConfig(forecaster="constant_velocity"))
    assert isinstance(chosen.forecaster, ConstantVelocity)


def test_vehicles_and_cyclists_are_forecast_by_what_is_chosen():
    chosen = WorldModelPipeline.load("persistence", "cpu", PipelineConfig(traffic_forecaster="constant_turn_rate"))
    assert chosen.traffic_forecaster.name == "constant_turn_rate"
    shipped = WorldModelPipeline.load("persistence", "cpu")
    assert shipped.traffic_forecaster.name == "learned_traffic"
    asked = []

    class Asked:
        name = "asked"

        def predict(self, vehicles, people=None, ego=None):
            asked.append((len(vehicles), people, ego))
            return BoxForecast()

        def predict_with_cyclists(self, vehicles, people, pedestrians, ego=None):
            asked.append(pedestrians)
            return self.predict(vehicles, people, ego), replace(pedestrians, modes_m=pedestrians.modes_m + 100.0)

    shipped.traffic_forecaster = Asked()
    rng, told = np.random.default_rng(3), None
    for tick in range(8):
        told = shipped.step(observation(0.1 * tick, rng))
    assert asked[-1][1] is told.people
    assert asked[-1][2].stamp_ns == told.stamp_ns
    np.testing.assert_array_equal(told.pedestrians.modes_m, asked[-2].modes_m + 100.0)
    assert told.vehicle_forecast.poses.shape[0] == 0
