"""Hand-set numbers are found, changed wherever they are used, and put back; the table tells those that matter."""

import json

import numpy as np
import pytest

from experiments.constants.numbers import changed, numbers_of
from experiments.constants.report import matters, table
from jepa_ros.objects import detection, ground
from jepa_ros.objects.ground import GroundGrid

NUMBERS = {number.label: number for number in numbers_of()}


def test_a_number_is_changed_where_it_is_used_and_put_back():
    """A ramp of 30 % is no street, unless the steepest street is said to be steeper."""
    steepest = NUMBERS["objects.ground.STEEPEST"]
    x, y = np.meshgrid(np.arange(2.0, 18.0, 0.25), np.arange(-6.0, 6.0, 0.25))
    ramp = np.column_stack((x.ravel(), y.ravel(), 0.45 * x.ravel()))
    place = np.array([[14.0, 0.0]])

    def height() -> float:
        return float(GroundGrid.fit(ramp, 20.0, 0.0).at(place)[0])

    as_it_is = height()
    with changed(steepest, 0.6):
        assert height() == pytest.approx(0.45 * 14.0, abs=0.5)
    assert steepest.value == ground.STEEPEST
    assert height() == as_it_is != pytest.approx(0.45 * 14.0, abs=0.5)


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
