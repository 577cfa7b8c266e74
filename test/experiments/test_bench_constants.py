"""Hand-set numbers are found, changed wherever they are used, and put back; the table tells those that matter."""

import json

import numpy as np
import pytest

from experiments.constants.numbers import changed, numbers_of
from experiments.constants.report import matters, table
from jepa_ros.objects import detection
from jepa_ros.sensing import terrain
from jepa_ros.sensing.terrain import Terrain

NUMBERS = {number.label: number for number in numbers_of()}


def test_a_number_is_changed_where_it_is_used_and_put_back():
    """A ramp of 36 % is no street, unless steeper streets are said to be some."""
    slope = NUMBERS["sensing.terrain.SLOPE"]
    x, y = (axis.ravel() for axis in np.meshgrid(np.arange(-17.95, 18.0, 0.1), np.arange(-5.95, 6.0, 0.1)))
    ramp = np.column_stack((x, y, 0.36 * np.clip(x - 4.0, 0, None)))
    place = np.array([[14.0, 0.0]])

    def height() -> float:
        return float(Terrain.fit(ramp, 0.0).at(place)[0])

    as_it_is = height()
    with changed(slope, 0.5):
        assert height() == pytest.approx(3.6, abs=0.2)
    assert slope.value == terrain.SLOPE
    assert height() == as_it_is < 1.0


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
