"""report.html holds all that it shows, and a browser draws it from disk: camera, map, horizons, curves, plans."""

import os
import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from matplotlib.image import imread
from test_viz_scene import STAMP_NS, amount, observation, plan, state

from jepa_ros.viz import theme
from jepa_ros.viz.report.moments import moment
from jepa_ros.viz.report.page import Grid, PlanRow, Report, write_page

BROWSER = next((path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None)
HOSTILE = "</script><b id=broken>bag</b>"


@pytest.fixture(scope="module")
def page(tmp_path_factory) -> Path:
    """Two moments; in the second one a person more, and what is occupied at the horizon is elsewhere than now."""
    later = replace(state(3), stamp_ns=STAMP_NS + 1_500_000_000, surprise=0.7)
    fast = np.hypot(*later.people.velocities_mps.T) > 3.0
    later = replace(later, people=replace(later.people, riding=np.where(fast, 0.9, 0.1)))
    later.occupancy.probability[6:] = np.roll(later.occupancy.probability[6:], -20, axis=1)
    moments = [moment(observation(), state(2), None, STAMP_NS), moment(observation(), later, plan(), STAMP_NS)]
    rows = [
        PlanRow(None, "STALE_SENSORS", "no forecast", None, None, None),
        PlanRow(0.0, "NO_SAFE_PATH", "blocked by 1", None, None, 12.0),
        PlanRow(1.4, "OK", "", 0.01, 2.0, 30.0),
    ]
    report = Report(HOSTILE, "2 of 2 frames", Grid.of(later.occupancy), [0.4, 0.8], moments, [(1.5, 0.7)], [(0.0, 80.0), (1.5, 90.0)], rows)
    path = tmp_path_factory.mktemp("report") / "report.html"
    write_page(report, path)
    return path


def browse(page: Path, place: str, *more: str) -> str:
    """The page as the browser has it when everything is drawn."""
    if BROWSER is None:
        pytest.skip("no Chromium here: apt-get install chromium")
    options = ["--headless", "--disable-gpu", "--hide-scrollbars", "--window-size=1200,900", "--virtual-time-budget=3000"]
    options += ["--no-sandbox"] if os.geteuid() == 0 else []
    profile = f"--user-data-dir={page.parent / 'profile'}"
    command = [BROWSER, *options, profile, *more, f"file://{page}#{place}"]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout


def test_nothing_is_fetched(page: Path) -> None:
    text = page.read_text()
    assert not re.findall(r"""(?:src|href)\s*=\s*["']|https?://|@import|fetch\(""", text)
    assert page.stat().st_size < 300_000


def test_a_browser_shows_the_moment_that_was_asked_for(page: Path) -> None:
    first, second = browse(page, "moment=0&step=0", "--dump-dom"), browse(page, "moment=1&step=6", "--dump-dom")
    assert 'data-shown="0/0"' in first
    assert 'data-shown="1/6"' in second
    assert re.search(r'id="ahead">now<', first)
    assert re.search(r'id="ahead">in 2.4 s<', second)
    assert re.search(r'id="when">1.50 s<', second)
    people = re.search(r'<tbody id="people">(.*?)</tbody>', second, re.DOTALL)
    assert people is not None
    assert people[1].count("<tr") == 3
    assert people[1].index("4.1") < people[1].index("1.2"), "the fastest first: the cyclist"
    assert re.search(r"<td>cyclist</td><td[^>]*>4.1<", people[1]), "who is named as one"
    assert people[1].count("<td>person</td>") == 2
    assert "2 people, 1 cyclist, 0 vehicles" in second
    assert re.search(r'<tr class="here"><td class="n">1.4</td><td>OK', second), "the plan of that moment"
    assert "surprise 0.7" in second
    assert "surprise not scored" in first
    assert HOSTILE.replace("<", "&lt;").replace(">", "&gt;") in second
    assert '<b id="broken"' not in second


def test_it_opens_where_a_rider_is_in_view(page: Path) -> None:
    """At the very beginning of a recording nobody is tracked yet: a newcomer would see an empty map."""
    opened = browse(page, "", "--dump-dom")
    assert 'data-shown="1/3"' in opened
    assert re.search(r'id="ahead">in 1.2 s<', opened)


def test_the_map_shows_left_on_the_left_and_the_horizon_that_was_chosen(page: Path) -> None:
    shots = []
    for step in (0, 12):
        shot = page.parent / f"{step}.png"
        browse(page, f"moment=1&step={step}", f"--screenshot={shot}")
        shots.append((imread(shot)[..., :3] * 255).round().astype(int))
    now, later = (shot[:, 640:] for shot in shots)  # the column of the map
    way = np.nonzero(np.abs(now - colour(theme.PLAN)).max(axis=-1) < 70)[1]
    occupied = np.nonzero(np.abs(now - colour(theme.HORIZON_COLOURS[0])).max(axis=-1) < 50)[1]
    assert len(way) > 200
    assert len(occupied) > 2000
    assert np.median(occupied) < np.median(way) - 50, "what stands to the left of the plan"
    at_horizon = np.nonzero(np.abs(later - colour(theme.HORIZON_COLOURS[3])).max(axis=-1) < 60)[1]
    assert np.median(at_horizon) > np.median(way) + 50, "and will be to its right"
    assert amount(shots[0][:250, :600], (90, 90, 90)) > 20_000, "the camera's grey image"


def colour(name: str) -> np.ndarray:
    return np.array([int(name[index : index + 2], 16) for index in (1, 3, 5)])
