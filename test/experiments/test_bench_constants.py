"""Hand-set numbers are found, changed wherever they are used, and put back; the table tells those that matter."""

import json

import numpy as np
import pytest

from experiments.constants.report import LIMITS
from experiments.driving import numbers as planner_numbers
from experiments.numbers import Number, changed, measure, numbers_of, strength, table
from jepa_ros.objects import blobs
from jepa_ros.sensing import terrain
from jepa_ros.sensing.terrain import Terrain

NUMBERS = {number.label: number for number in numbers_of()}


def test_a_number_is_changed_where_it_is_used_and_put_back():
    """A ramp of 15 % is ground, unless no street is said to rise like that."""
    steepest = NUMBERS["sensing.terrain.STEEPEST"]
    x, y = (axis.ravel() for axis in np.meshgrid(np.arange(-17.95, 18.0, 0.1), np.arange(-5.95, 6.0, 0.1)))
    ramp = np.column_stack((x, y, 0.15 * np.clip(x - 4.0, 0, None)))
    place = np.array([[14.0, 0.0]])

    def height() -> float:
        return float(Terrain.fit(ramp, 0.0).at(place)[0])

    as_it_is = height()
    with changed(steepest, 0.02):
        assert height() < 1.0
    assert steepest.value == terrain.STEEPEST
    assert height() == as_it_is == pytest.approx(1.5, abs=0.1)


def test_counts_change_by_one_at_least_and_sizes_stay():
    assert NUMBERS["objects.blobs.MOST_IN_GROUP"].times(0.99) == blobs.MOST_IN_GROUP - 1
    assert not [label for label in NUMBERS if label.endswith(("HEIGHT_BINS", "BEARINGS"))]


def test_the_table_begins_with_what_matters():
    base = {"recall": 0.9, "wrong": 0.1}
    rows = {
        "as it is": {"1": base},
        "idle": {"value": {"value": 1.0}, "0.7": base, "1.4": {"recall": 0.9, "wrong": 0.11}},
        "strong": {"value": {"value": 2.0}, "0.7": {"recall": 0.7, "wrong": 0.1}, "1.4": base},
    }
    assert strength(rows, "strong", LIMITS) == pytest.approx(10.0)
    assert strength(json.loads(json.dumps(rows)), "idle", LIMITS) == pytest.approx(0.5)
    lines = table(rows, LIMITS).splitlines()
    assert lines[-2].startswith("| **`strong`** | 2 | -0.200, +0.000")
    assert lines[-1].startswith("| `idle` | 1 |")


def test_every_number_is_judged_once_and_a_run_that_was_broken_off_goes_on(tmp_path):
    steepest, calls = NUMBERS["sensing.terrain.STEEPEST"], []

    def judge(number: Number | None) -> dict[str, float]:
        calls.append((number, terrain.STEEPEST))
        return {"figure": terrain.STEEPEST}

    rows = measure([steepest], judge, tmp_path / "new" / "rows.jsonl")
    assert [value / steepest.value for _, value in calls] == pytest.approx([1.0, 0.7, 1.4])
    assert rows["sensing.terrain.STEEPEST"]["1.4"]["figure"] == pytest.approx(1.4 * steepest.value)
    assert measure([steepest], judge, tmp_path / "new" / "rows.jsonl") == rows
    assert len(calls) == 3


def test_the_planners_numbers_are_compared_plan_by_plan():
    base = [[1.0, 0.0, 1.0, 2.0], [1.0, 0.0, 0.5, 3.0], [0.0, 0.0, 2.0, 0.0]]
    further = [[planned, contact, gap_m, nearer_m + 0.1 * number] for number, (planned, contact, gap_m, nearer_m) in enumerate(base, 9)]
    rows = {
        "as it is": {"1": base},
        "idle": {"value": [[1.0]], "0.7": base, "1.4": [[*base[0][:3], 9.0], *base[1:]]},
        "strong": {"value": [[2.0]], "0.7": further, "1.4": base},
    }
    assert not planner_numbers.matters(rows, "idle"), "one plan of three that differs much"
    assert planner_numbers.matters(rows, "strong"), "all plans differ alike"
    assert "| **`strong`** | 2 | +0.000 (0.000), +0.000 (0.000), +0.000 (0.000), +1.000 (0.058) |" in planner_numbers.table(rows)
    labels = [number.label for number in planner_numbers.planner_numbers()]
    assert {"planning.surroundings.AHEAD_M", "planning.PlannerConfig.weights.person"} <= set(labels)
    assert not [label for label in labels if label.endswith(("robot_radius_m", "AWAY_M", "seed"))]


def test_a_plan_is_carried_out_with_the_number_that_was_changed():
    """A search of 8 samples finds another motion than one of 512; both are driven to their ends."""
    moment = next(planner_numbers.moments(1))
    weight = next(n for n in planner_numbers.planner_numbers() if n.name == "search.samples")
    as_it_is, few = (planner_numbers.results_with([moment], weight, samples) for samples in (512, 8))
    assert len(few[0]) == len(planner_numbers.FIGURES)
    assert as_it_is != few
