"""Hand-set numbers are found, changed wherever they are used, and put back; the table tells those that matter."""

import json

import numpy as np
import pytest

from experiments.constants.report import matters, table
from experiments.numbers import changed, numbers_of
from jepa_ros.objects import detection
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
    assert NUMBERS["objects.detection.MOST_IN_GROUP"].times(0.99) == detection.MOST_IN_GROUP - 1
    assert not [label for label in NUMBERS if label.endswith(("HEIGHT_BINS", "BEARINGS"))]


def test_the_table_begins_with_what_matters():
    base = {"recall": 0.9, "wrong": 0.1}
    rows = {
        "as it is": {"1": base},
        "idle": {"value": {"value": 1.0}, "0.7": base, "1.4": {"recall": 0.9, "wrong": 0.11}},
        "strong": {"value": {"value": 2.0}, "0.7": {"recall": 0.7, "wrong": 0.1}, "1.4": base},
    }
    assert matters(rows, "strong")
    assert not matters(json.loads(json.dumps(rows)), "idle")
    lines = table(rows).splitlines()
    assert lines[-2].startswith("| **`strong`** | 2 | -0.200, +0.000")
    assert lines[-1].startswith("| `idle` | 1 |")
