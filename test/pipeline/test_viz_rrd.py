"""output.rrd holds the run: people as boxes, forecasts as strips, a map for each horizon at the time it is due, plan, curves, layout."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from test_viz_scene import STAMP_NS, observation, plan, state

from jepa_ros.forecast.constant_turn_rate import ConstantTurnRate
from jepa_ros.types import TrackedVehicles
from jepa_ros.viz import rrd
from jepa_ros.viz.report.moments import moment


def test_without_rerun_it_says_what_to_install(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(rrd, "rerun", None)
    assert not rrd.is_installed()
    with pytest.raises(ImportError, match="pip install rerun-sdk"):
        rrd.Recording(tmp_path / "output.rrd", STAMP_NS, None)


@pytest.fixture(scope="module")
def recorded(tmp_path_factory) -> tuple[Path, dict]:
    """The file of two moments 0.5 s apart, and its chunks as tables: entity -> rows with the names of components and timelines."""
    pytest.importorskip("rerun", reason=rrd.MISSING)
    from rerun.chunk import RrdReader

    path = tmp_path_factory.mktemp("rrd") / "output.rrd"
    states = np.array([[10.0, 3.0, 0.5, 6.0, 0.0, 0.0]])
    boxes = np.array([[10.0, 3.0, 0.5, 4.2, 1.8]])
    one = np.ones(1)
    vehicles = TrackedVehicles(
        np.array([7]), boxes, np.array([[5.0, 2.7]]), 0 * one, 0.9 * one, 1.5 * one, states, np.tile(0.1 * np.eye(6), (1, 1, 1))
    )
    first = replace(state(2), vehicles=vehicles, vehicle_forecast=ConstantTurnRate().predict(vehicles))
    second = replace(state(3), stamp_ns=STAMP_NS + 500_000_000)
    seen = observation()
    recording = rrd.Recording(path, STAMP_NS, (400, 120))
    recording.add(seen, first, plan(), moment(seen, first, plan(), STAMP_NS))
    recording.add(seen, second, None, moment(seen, second, None, STAMP_NS))
    recording.curve("surprise", STAMP_NS, 0.7)
    recording.curve("latency_ms", STAMP_NS, 80.0)
    recording.say(STAMP_NS, "NO_SAFE_PATH: blocked", good=False)
    recording.close()
    entities: dict[str, list[dict]] = {}
    for chunk in RrdReader(path).stream():
        table = chunk.to_record_batch()
        kept = table.select([name for name in table.schema.names if name != "log_time"])  # of the writing, not of the run
        entities.setdefault(chunk.entity_path.lstrip("/"), []).extend(kept.to_pylist())
    return path, entities


def column(entities: dict, entity: str, name: str) -> list:
    """The values of a component over the rows of an entity."""
    return [value for row in entities[entity] for key, value in row.items() if key.endswith(name) and value is not None]


def test_people_are_boxes_and_their_forecasts_strips(recorded) -> None:
    _, entities = recorded
    centres = column(entities, "odom/people/boxes", "centers")
    assert [len(boxes) for boxes in centres] == [2, 3]
    assert np.allclose(np.array(centres[0])[:, :2], state(2).people.positions_m, atol=1e-3)
    strips = column(entities, "odom/people/forecasts", "strips")
    assert len(strips[0]) >= 2, "at least one way for each of the two who walk"
    assert all(len(strip) == 1 + len(state().pedestrians.times_s) for strip in strips[0])
    assert column(entities, "odom/people/boxes", "labels")[1][2] == "", "who stands has no words"


def test_vehicles_are_turned_boxes_with_a_way(recorded) -> None:
    _, entities = recorded
    assert np.allclose(np.array(column(entities, "odom/vehicles/boxes", "half_sizes")[0][0])[:2], [2.1, 0.9], atol=1e-3)
    assert len(column(entities, "odom/vehicles/forecasts", "strips")[0]) == 1


def test_each_horizon_is_on_the_timeline_when_it_is_due(recorded) -> None:
    _, entities = recorded
    times_s = state().occupancy.times_s
    maps = sorted(name for name in entities if name.startswith("odom/occupancy/"))
    assert maps == ["odom/occupancy/in_1_2_s", "odom/occupancy/in_2_4_s", "odom/occupancy/in_4_8_s", "odom/occupancy/now"]
    ahead_s = [seconds(row["due"]) - seconds(row["seen"]) for row in entities["odom/occupancy/in_2_4_s"]]
    assert ahead_s == pytest.approx([times_s[6]] * 2)
    tiles = np.array(column(entities, "odom/occupancy/now", "centers")[0])
    assert len(tiles) == 4 * 20
    assert tiles[:, 0].min() == pytest.approx(-25.6 + 30.5 * 0.8, abs=1e-4)
    assert tiles[:, 1].min() == pytest.approx(-25.6 + 40.5 * 0.8, abs=1e-4), "rows are along y"


def test_plan_camera_curves_and_words_are_there(recorded) -> None:
    _, entities = recorded
    way = np.array(column(entities, "odom/plan", "strips")[0][0])
    assert np.allclose(way[:, :2], plan().path[:, :2], atol=1e-3)
    assert len(entities["odom/plan"]) == 2, "the second moment has no plan, and clears the first one's"
    assert column(entities, "camera", "blob")
    assert column(entities, "curves/surprise", "scalars") == [[0.7]]
    assert column(entities, "plans", "text") == [["NO_SAFE_PATH: blocked"]]


def test_rerun_itself_takes_the_file_and_its_layout(recorded) -> None:
    from rerun.chunk import RrdReader

    path, _ = recorded
    assert RrdReader(path).blueprints()


def seconds(value) -> float:
    return value.total_seconds()
